//! A new version on trial, and the version that comes back if it fails.
//!
//! A version of a service with probes is on trial until it is confirmed. What ran
//! before, if it was confirmed itself, is kept until then.

use std::sync::Arc;

use super::{Health, Slot, Verdict};
use crate::launcher::event::{Action, Refused, Trial};
use crate::launcher::host::{Blueprint, Need};
use crate::model::ErrorInfo;

/// What was stored of an instance besides what it runs with.
#[derive(Debug, Default)]
pub(in crate::launcher) struct Past {
    /// It is not confirmed yet.
    pub(in crate::launcher) on_trial: bool,
    /// What comes back if the next version fails.
    pub(in crate::launcher) before: Option<Arc<Blueprint>>,
    /// The version that failed its trial.
    pub(in crate::launcher) refused: Option<Refused>,
}

impl Slot {
    /// The same, with its past.
    pub(in crate::launcher) fn with_past(mut self, past: Past) -> Self {
        self.on_trial = past.on_trial && self.phase().is_up();
        self.before = past.before;
        self.refused = past.refused;
        self
    }

    /// What comes back if what runs, or is to run next, fails its trial.
    pub(in crate::launcher) fn before(&self) -> Option<&Arc<Blueprint>> {
        self.before.as_ref()
    }

    /// Whether a failure brings the version before back.
    pub(in crate::launcher) fn may_go_back(&self) -> bool {
        self.on_trial && self.before.is_some()
    }

    /// What runs ends for this. It comes back if that fails, if it is another
    /// version and was confirmed itself.
    pub(in crate::launcher) fn give_way_to(&mut self, next: &Blueprint) {
        let was_confirmed = self.phase().is_up()
            && !self.on_trial
            && !matches!(self.health, Health::Confirming { .. });
        if was_confirmed {
            self.before = self
                .blueprint
                .clone()
                .filter(|own| can_come_back(own, next));
        }
    }

    /// Starts a stopped instance with what the list says.
    pub(in crate::launcher) fn start(
        &mut self,
        blueprint: Arc<Blueprint>,
        generation: u64,
    ) -> Vec<Action> {
        self.before = self
            .before
            .take()
            .filter(|own| can_come_back(own, &blueprint));
        self.on_trial = !blueprint.probes.is_empty();
        self.refused = None;
        self.begin(blueprint, generation)
    }

    /// Its trial has failed: once it has stopped, the version before comes back.
    pub(in crate::launcher) fn fail_trial(&mut self, error: &ErrorInfo) {
        self.on_trial = false;
        self.refused = self.blueprint.as_ref().map(|own| Refused {
            fingerprint: own.fingerprint.clone(),
            message: error.message.clone(),
            exit_code: error.exit_code,
        });
    }

    /// What came back has to be started anew, with this.
    pub(in crate::launcher) fn come_back_as(&mut self, blueprint: Arc<Blueprint>) {
        self.before = Some(blueprint);
    }

    /// Starts a stopped instance with the version before.
    pub(in crate::launcher) fn go_back(&mut self, generation: u64) -> Vec<Action> {
        match self.before.take() {
            Some(blueprint) => self.begin(blueprint, generation),
            None => Vec::new(),
        }
    }

    /// It is tried again when it may have what it lacks. What was to come back still
    /// can.
    pub(super) fn waits(&mut self, need: Need, error: ErrorInfo) -> Verdict {
        if self.refused.is_some() {
            self.before = self.blueprint.clone();
        }
        Verdict::Waits(need, error)
    }

    /// Why the version with these inputs failed its trial, if that was the last one.
    pub(in crate::launcher) fn has_refused(&self, blueprint: &Blueprint) -> Option<ErrorInfo> {
        let refused = self.refused.as_ref()?;
        (refused.fingerprint == blueprint.fingerprint).then(|| ErrorInfo {
            exit_code: refused.exit_code,
            ..ErrorInfo::new(refused.message.clone())
        })
    }

    /// As it is stored.
    pub(super) fn trial(&self) -> Option<Trial> {
        if self.on_trial {
            let before = self.before.clone();
            return Some(Trial::Runs { before });
        }

        self.refused.clone().map(Trial::Refused)
    }
}

/// A service without probes has no trial, and the same version no other one.
fn can_come_back(before: &Blueprint, next: &Blueprint) -> bool {
    before.service.key != next.service.key && !next.probes.is_empty()
}
