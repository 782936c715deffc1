//! The firewall as it is wanted, beside the firewall that the kernel has.

use std::os::fd::{AsFd as _, OwnedFd};

use tracing::{info, warn};

use super::nft::{Counters, Firewall, Tampering, Watch};
use crate::model::{Chain, Flow};
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
    wanted: Rules,
    /// The kernel has what is wanted, as far as we know.
    whole: bool,
}

impl Tables {
    /// The tables of the network namespace `host`.
    pub(super) fn new(host: OwnedFd, wanted: Rules) -> Self {
        Self {
            host,
            firewall: None,
            wanted,
            whole: false,
        }
    }

    /// Takes over what is there already: the kernel gets it with the first
    /// change, or, when that has been, at once.
    pub(in crate::networkmanager) fn inherit(
        &mut self,
        changes: Vec<Change>,
    ) -> Result<(), NetworkError> {
        if self.whole {
            return self.change(changes).map(drop);
        }

        self.note(changes);
        Ok(())
    }

    fn note(&mut self, changes: Vec<Change>) {
        for change in changes {
            self.wanted.apply(change);
        }
    }

    /// Makes changes, all of them or none. Returns what was counted last for
    /// those that are gone.
    pub(in crate::networkmanager) fn change(
        &mut self,
        changes: Vec<Change>,
    ) -> Result<Counters, NetworkError> {
        let undo: Vec<Change> = changes
            .iter()
            .rev()
            .map(|change| self.undo(change))
            .collect();
        if self.whole {
            let outcome = self.firewall()?.change(&changes);
            self.note(changes);
            return outcome.inspect_err(|_| self.note(undo));
        }

        let takes_away = changes
            .iter()
            .all(|change| matches!(change, Change::RemoveBridge(_) | Change::RemoveInstance(_)));
        self.note(changes);
        match self.begin() {
            // Who leaves is not held up by tables that cannot be had: there is
            // nothing in them.
            Err(error) if takes_away => {
                warn!(error = %Chain(&error), "there is no firewall");
                Ok(Counters::default())
            }
            outcome => outcome.inspect_err(|_| self.note(undo)),
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
        self.wanted.node = Flow::default();
        for rules in self.wanted.instances.values_mut() {
            rules.start = Flow::default();
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
        if self.whole {
            let by = tampering.by.as_deref().unwrap_or("another program");
            warn!(by, "the firewall was changed from outside, and is mended");
            let healed = self.firewall()?.heal(tampering);
            self.whole = healed.is_ok();
            healed?;
        }

        Ok(())
    }

    fn begin(&mut self) -> Result<Counters, NetworkError> {
        let wanted = self.wanted.clone();
        let counters = self.firewall()?.restore(wanted)?;
        self.whole = true;
        info!(
            networks = self.wanted.bridges.len(),
            instances = self.wanted.instances.len(),
            "firewall is in place"
        );

        Ok(counters)
    }

    /// What takes a change back.
    fn undo(&self, change: &Change) -> Change {
        match change {
            Change::SetBridge(name, _) | Change::RemoveBridge(name) => {
                match self.wanted.bridges.get(name) {
                    Some(rules) => Change::SetBridge(name.clone(), rules.clone()),
                    None => Change::RemoveBridge(name.clone()),
                }
            }
            Change::SetInstance(id, _) | Change::RemoveInstance(id) => {
                match self.wanted.instances.get(id) {
                    Some(rules) => Change::SetInstance(*id, rules.clone()),
                    None => Change::RemoveInstance(*id),
                }
            }
        }
    }
}
