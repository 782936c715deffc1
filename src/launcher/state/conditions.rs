//! What overridden variables and the cloud mean for the instances.

use std::time::Duration;

use tracing::info;

use super::wanted::instead;
use super::{LauncherState, Progress};
use crate::launcher::event::Action;
use crate::launcher::host::{Blueprint, Need};
use crate::launcher::instance::Phase;
use crate::launcher::offline::Cloud;
use crate::launcher::overrides::Overrides;
use crate::launcher::plan;
use crate::launcher::slot::Slot;
use crate::model::{ErrorInfo, InstanceId};

/// What CM is told of an instance that may not be without the cloud any longer.
const OFFLINE: &str = "offline timeout";

impl LauncherState {
    /// With what is in force at start.
    pub(in crate::launcher) fn under(mut self, overrides: Overrides, cloud: Cloud) -> Self {
        self.overrides = overrides;
        self.cloud = cloud;
        self
    }

    /// Those that get other variables now are drawn again. One that only waits, or
    /// whose content is on its way, will be in any case.
    pub(super) fn overridden(&mut self, overrides: Overrides) {
        let old = std::mem::replace(&mut self.overrides, overrides);
        for wanted in &mut self.wanted {
            let ident = &wanted.info.ident;
            if old.of(ident) == self.overrides.of(ident) {
                continue;
            }
            let slot = self.slots.get(&wanted.id);
            match &wanted.progress {
                Progress::Content | Progress::Damaged(_) | Progress::Waiting(..) => {}
                // The version before comes back with what it had.
                Progress::Reverting { .. } | Progress::Reverted(_) => {}
                // What runs in its place is an older version, and goes on.
                Progress::Failed(_) if slot.is_some_and(|slot| slot.phase().is_up()) => {}
                Progress::Failed(_) if plan::refusal(ident, wanted.service.as_ref()).is_some() => {}
                Progress::Preparing(_)
                | Progress::Proving(..)
                | Progress::Ready(_)
                | Progress::Started
                | Progress::NotChanged(..)
                | Progress::Failed(_) => {
                    info!(instance_id = %wanted.id, %ident, "its environment variables changed");
                    wanted.again(slot);
                }
            }
        }
    }

    /// Those that have been without the cloud for too long stop; those that only
    /// waited for it start.
    pub(super) fn cloud_is(&mut self, cloud: Cloud) -> Vec<Action> {
        self.cloud = cloud;
        if cloud == Cloud::There {
            self.may_be_had(Need::Cloud);
            return Vec::new();
        }

        let mut actions = Vec::new();
        for wanted in &mut self.wanted {
            let slot = self.slots.get_mut(&wanted.id);
            let running = slot.filter(|slot| {
                let ttl = slot.blueprint().and_then(|own| own.offline_ttl);
                runs_on(slot) && cloud.forbids_running(ttl)
            });
            match &wanted.progress {
                Progress::Proving(_, blueprint) | Progress::Ready(blueprint)
                    if cloud.forbids_start(blueprint.offline_ttl) =>
                {
                    wanted.wait_for(Need::Cloud, ErrorInfo::new(OFFLINE));
                }
                Progress::Started | Progress::NotChanged(..) if running.is_some() => {
                    wanted.wait_for(Need::Cloud, ErrorInfo::new(OFFLINE));
                }
                // It was an older version that ran.
                Progress::Failed(own) | Progress::Reverted(own) if running.is_some() => {
                    let error = instead(own, OFFLINE);
                    wanted.fail(error);
                }
                Progress::Content
                | Progress::Damaged(_)
                | Progress::Preparing(_)
                | Progress::Proving(..)
                | Progress::Ready(_)
                | Progress::Started
                | Progress::NotChanged(..)
                | Progress::Waiting(..)
                | Progress::Reverting { .. }
                | Progress::Reverted(_)
                | Progress::Failed(_) => {}
            }
            if let Some(slot) = running {
                actions.extend(slot.stop());
            }
        }

        actions
    }

    /// Whether an instance must not be had without the cloud. What runs already is
    /// left alone while CM may still say that the cloud is there.
    pub(super) fn lacks_cloud(&self, id: InstanceId, blueprint: &Blueprint) -> bool {
        let ttl = blueprint.offline_ttl;
        let runs = self.slots.get(&id).is_some_and(|slot| slot.runs(blueprint));
        self.cloud.forbids_running(ttl) || !runs && self.cloud.forbids_start(ttl)
    }

    /// It waits for the cloud, and what runs of it stops.
    pub(super) fn wait_for_cloud(&mut self, id: InstanceId) -> Vec<Action> {
        if let Some(wanted) = self.wanted.get_mut(id) {
            wanted.wait_for(Need::Cloud, ErrorInfo::new(OFFLINE));
        }
        self.slots.get_mut(&id).map(Slot::stop).unwrap_or_default()
    }

    /// How long the cloud may be away before the next instance has to stop.
    pub(in crate::launcher) fn offline_timeout(&self) -> Option<Duration> {
        let limits = |slot: &Slot| slot.blueprint().and_then(|own| own.offline_ttl);
        self.slots
            .values()
            .filter(|slot| runs_on(slot))
            .filter_map(limits)
            .min()
    }
}

/// Whether it runs, or is on the way to it, and nothing stops it yet.
fn runs_on(slot: &Slot) -> bool {
    let phase = slot.phase();
    (phase == Phase::Acquiring || phase.is_up()) && !slot.stop_wanted()
}
