//! The firewall as it is wanted, beside the firewall that the kernel has.

use std::io;

use tracing::{info, warn};

use super::nft::{Counters, Firewall, Tampering, Watch};
use crate::model::Flow;
use crate::networkmanager::error::NetworkError;
use crate::networkmanager::firewall::{Change, Rules};

/// Keeps the kernel's tables what is wanted.
///
/// Until the first change the tables are those that an earlier SM left: running
/// instances go on with them while they are taken over one by one.
#[derive(Debug)]
pub(in crate::networkmanager) struct Tables {
    firewall: Firewall,
    wanted: Rules,
    /// The kernel has what is wanted, as far as we know.
    whole: bool,
}

impl Tables {
    pub(super) fn new(firewall: Firewall, wanted: Rules) -> Self {
        Self {
            firewall,
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
        let outcome = if self.whole {
            let outcome = self.firewall.change(&changes);
            self.note(changes);
            outcome
        } else {
            self.note(changes);
            self.begin()
        };

        outcome.inspect_err(|_| self.note(undo))
    }

    /// What has been counted so far.
    pub(in crate::networkmanager) fn counters(&mut self) -> Result<Counters, NetworkError> {
        self.firewall.counters()
    }

    /// Begins all counters and quotas from zero, and says what they said last.
    pub(in crate::networkmanager) fn new_day(&mut self) -> Result<Counters, NetworkError> {
        let last = self.firewall.new_day()?;
        self.wanted.node = Flow::default();
        for rules in self.wanted.instances.values_mut() {
            rules.start = Flow::default();
        }

        Ok(last)
    }

    /// Chains of other firewalls that drop what we accept.
    pub(in crate::networkmanager) fn foreign_drops(&mut self) -> Result<Vec<String>, NetworkError> {
        self.firewall.foreign_drops()
    }

    /// Notices what others do to the tables; within a runtime.
    pub(in crate::networkmanager) fn watch(&self) -> io::Result<Watch> {
        self.firewall.watch()
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
            self.firewall.heal(tampering)?;
        }

        Ok(())
    }

    fn begin(&mut self) -> Result<Counters, NetworkError> {
        let counters = self.firewall.restore(self.wanted.clone())?;
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
