//! The firewall as it is wanted, beside the firewall that the kernel has.

use std::os::fd::{AsFd as _, OwnedFd};

use tracing::{info, warn};

use super::nft::{Counters, Firewall, Tampering, Watch};
use crate::model::Chain;
use crate::networkmanager::error::NetworkError;
use crate::networkmanager::firewall::{Change, Rules};

/// Keeps the kernel's tables what is wanted.
///
/// Until the first change the tables are those that an earlier SM left: running
/// instances go on with them while they are taken over one by one.
#[derive(Debug)]
pub(in crate::networkmanager) struct Tables {
    host: OwnedFd,
    /// `None`: the kernel has not been asked yet, or has no nf_tables.
    firewall: Option<Firewall>,
    /// What the tables become with the next change. `None`: the firewall keeps
    /// them what they should be.
    pending: Option<Rules>,
}

impl Tables {
    /// The tables of the network namespace `host`.
    pub(super) fn new(host: OwnedFd, wanted: Rules) -> Self {
        Self {
            host,
            firewall: None,
            pending: Some(wanted),
        }
    }

    /// Takes over what is there already: the kernel gets it with the first
    /// change, or, when that has been, at once.
    pub(in crate::networkmanager) fn inherit(
        &mut self,
        changes: Vec<Change>,
    ) -> Result<(), NetworkError> {
        match &mut self.pending {
            Some(rules) => {
                rules.apply_all(changes);
                Ok(())
            }
            None => self.change(changes).map(drop),
        }
    }

    /// Makes changes, all of them or none. Returns what was counted last for
    /// those that are gone.
    pub(in crate::networkmanager) fn change(
        &mut self,
        changes: Vec<Change>,
    ) -> Result<Counters, NetworkError> {
        match self.pending.clone() {
            None => self.firewall()?.change(&changes),
            Some(rules) => self.begin(rules, changes),
        }
    }

    /// Makes the tables what is pending, and these changes.
    fn begin(&mut self, mut rules: Rules, changes: Vec<Change>) -> Result<Counters, NetworkError> {
        let takes_away = changes
            .iter()
            .all(|change| matches!(change, Change::RemoveBridge(_) | Change::RemoveInstance(_)));
        rules.apply_all(changes);
        let (networks, instances) = (rules.bridges.len(), rules.instances.len());
        let begun = self
            .firewall()
            .and_then(|firewall| firewall.restore(rules.clone()));
        match begun {
            Ok(counters) => {
                self.pending = None;
                info!(networks, instances, "firewall is in place");
                Ok(counters)
            }
            // Who leaves is not held up by tables that cannot be had: there is
            // nothing in them.
            Err(error) if takes_away => {
                warn!(error = %Chain(&error), "there is no firewall");
                self.pending = Some(rules);
                Ok(Counters::default())
            }
            Err(error) => Err(error),
        }
    }

    fn firewall(&mut self) -> Result<&mut Firewall, NetworkError> {
        let firewall = match self.firewall.take() {
            Some(firewall) => firewall,
            None => Firewall::open(self.host.as_fd()).map_err(|source| NetworkError::Firewall {
                operation: "use the kernel's firewall: is nf_tables there?".into(),
                source,
            })?,
        };

        Ok(self.firewall.insert(firewall))
    }

    /// What has been counted so far.
    pub(in crate::networkmanager) fn counters(&mut self) -> Result<Counters, NetworkError> {
        self.firewall()?.counters()
    }

    /// Begins all counters and quotas from zero, and says what they said last.
    pub(in crate::networkmanager) fn new_day(&mut self) -> Result<Counters, NetworkError> {
        let last = self.firewall()?.new_day()?;
        if let Some(rules) = &mut self.pending {
            rules.begin_day();
        }

        Ok(last)
    }

    /// Chains of other firewalls that drop what we accept.
    pub(in crate::networkmanager) fn foreign_drops(&mut self) -> Result<Vec<String>, NetworkError> {
        self.firewall()?.foreign_drops()
    }

    /// Notices what others do to the tables; within a runtime.
    pub(in crate::networkmanager) fn watch(&mut self) -> Result<Watch, NetworkError> {
        self.firewall()?
            .watch()
            .map_err(|source| NetworkError::Firewall {
                operation: "hear of changes of the firewall".into(),
                source,
            })
    }

    /// Makes the kernel's tables what is wanted, after others changed them.
    pub(in crate::networkmanager) fn heal(
        &mut self,
        tampering: &Tampering,
    ) -> Result<(), NetworkError> {
        // Before the first change there is nothing that we stand for.
        if self.pending.is_some() {
            return Ok(());
        }

        let by = tampering.by.as_deref().unwrap_or("another program");
        warn!(by, "the firewall was changed from outside, and is mended");
        let firewall = self.firewall()?;
        let healed = firewall.heal(tampering);
        if healed.is_err() {
            self.pending = Some(firewall.rules().clone());
        }
        healed.map(drop)
    }
}
