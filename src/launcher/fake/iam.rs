//! IAM as the fake machine has it.

use std::collections::BTreeSet;

use super::refused;
use crate::launcher::host::{Blueprint, HostError};
use crate::model::InstanceId;

#[derive(Debug, Default)]
pub(in crate::launcher) struct FakeIam {
    pub(in crate::launcher) is_away: bool,
    /// Whose secret it knows.
    pub(in crate::launcher) known: BTreeSet<InstanceId>,
    /// Who was registered with it, and gave the secret back while it was away.
    pub(in crate::launcher) gone: BTreeSet<InstanceId>,
}

impl FakeIam {
    fn answers(&self) -> Result<(), HostError> {
        if self.is_away {
            Err(refused("the call of IAM"))
        } else {
            Ok(())
        }
    }

    pub(super) fn register(&mut self, blueprint: &Blueprint) -> Result<(), HostError> {
        self.answers()?;
        self.gone.remove(&blueprint.id);
        self.known.insert(blueprint.id);
        Ok(())
    }

    pub(super) fn unregister(&mut self, id: InstanceId) {
        if self.is_away && self.known.contains(&id) {
            self.gone.insert(id);
        } else {
            self.known.remove(&id);
        }
    }

    pub(super) fn knows(&self, id: InstanceId) -> Result<bool, HostError> {
        self.answers()?;
        Ok(self.known.contains(&id))
    }

    pub(super) fn tell_who_is_gone(&mut self) {
        if !self.is_away {
            for id in std::mem::take(&mut self.gone) {
                self.known.remove(&id);
            }
        }
    }
}
