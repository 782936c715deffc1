//! Who does without a device, and who gets it after all.

use tracing::info;

use super::wanted::both;
use super::{LauncherState, Progress};
use crate::launcher::devices::{self, Refusal};
use crate::launcher::event::Action;
use crate::launcher::host::{Blueprint, Need};
use crate::launcher::instance::Phase;
use crate::launcher::plan;
use crate::model::{ErrorInfo, InstanceId, Lack};

impl LauncherState {
    /// Refuses devices that are used as often as allowed, has those give way that
    /// are in the way of a better one, and lets those try again that would get
    /// theirs now.
    pub(super) fn share_devices(&mut self) -> Vec<Action> {
        let mut actions = Vec::new();
        // Who is refused may go on with its old version, and that has devices too.
        loop {
            let priority = plan::turn_priority(&self.wanted, &self.slots);
            let asking = devices::asking(&self.wanted, &self.slots, priority);
            let refused = devices::share(&self.wanted, &self.slots, &asking, &self.limits);
            let mut is_news = false;
            for (id, refusal) in refused {
                let (changed, next) = self.refuse(id, &refusal);
                is_news |= changed;
                actions.extend(next);
            }
            if !is_news {
                break;
            }
        }
        self.let_those_try_again_who_would_get_it();

        actions
    }

    /// Whether that was news.
    fn refuse(&mut self, id: InstanceId, refusal: &Refusal) -> (bool, Vec<Action>) {
        let mut actions = Vec::new();
        let Some(wanted) = self.wanted.get_mut(id) else {
            return (false, actions);
        };
        let slot = self.slots.get_mut(&id);
        let slot = slot.filter(|slot| slot.phase() != Phase::Stopped && !slot.is_leaving());
        let mut error = ErrorInfo::new(&refusal.reason);
        let mut comes_back = false;
        let is_news = match &wanted.progress {
            Progress::Ready(blueprint) => {
                wanted.without = Some(blueprint.clone());
                true
            }
            Progress::Started | Progress::NotChanged(..) => {
                wanted.without = slot.as_ref().and_then(|slot| slot.blueprint().cloned());
                true
            }
            // It was the way out, and there is no other one.
            Progress::Reverting { error: first, .. } | Progress::Reverted(first) => {
                error = both(first, &error);
                comes_back = true;
                true
            }
            // What runs is an old version, or is about to be replaced.
            Progress::Content
            | Progress::Damaged(_)
            | Progress::Preparing(_)
            | Progress::Proving(..)
            | Progress::Waiting(..)
            | Progress::Failed(_) => false,
        };
        let gives_way = |own: &Blueprint| {
            let is_restarted = wanted.without.as_ref();
            !is_news
                || comes_back
                || devices::devices(own).any(|device| device == refusal.device)
                || is_restarted.is_some_and(|new| new.fingerprint == own.fingerprint)
        };
        let slot = slot.filter(|slot| slot.blueprint().is_some_and(|own| gives_way(own)));
        let has_stopped = slot.is_some();
        if let Some(slot) = slot {
            info!(instance_id = %id, reason = refusal.reason, "instance gives way");
            actions.extend(slot.stop());
        }
        if is_news {
            if comes_back {
                wanted.fail(error);
            } else {
                wanted.wait_for(Need::Device, error);
            }
            actions.extend(self.tell_of_device(id, &refusal.device, &refusal.reason));
        }

        (is_news || has_stopped, actions)
    }

    /// What a service asks for is not there: it does not start.
    pub(super) fn lacks(&mut self, id: InstanceId, lack: &Lack, new: &Blueprint) -> Vec<Action> {
        let mut actions = Vec::new();
        if let Some(wanted) = self.wanted.get_mut(id) {
            wanted.without = None;
            wanted.wait_for(Need::Device, ErrorInfo::new(&lack.reason));
        }
        // An old version runs on. The same one is to be started anew, and cannot.
        if let Some(slot) = self.slots.get_mut(&id)
            && slot.runs(new)
        {
            actions.extend(slot.stop());
        }
        if let Some(device) = &lack.device {
            actions.extend(self.tell_of_device(id, device, &lack.reason));
        }

        actions
    }

    /// Other devices and resources can be had, or other ones are meant: what is
    /// not started yet is planned anew.
    pub(super) fn devices_changed(&mut self) {
        self.limits.forget();
        self.may_be_had(Need::Device);
        for wanted in &mut self.wanted {
            let is_concerned = match &wanted.progress {
                Progress::Preparing(_) => true,
                Progress::Proving(_, blueprint) | Progress::Ready(blueprint) => {
                    let config = &blueprint.service.config;
                    config.devices.is_some() || config.resources.is_some()
                }
                _ => false,
            };
            if is_concerned {
                wanted.progress = Progress::Content;
            }
        }
    }

    /// Each by itself: who would get its devices now, beside those that have them
    /// or are about to, is planned anew, and then asks in its turn.
    fn let_those_try_again_who_would_get_it(&mut self) {
        let waits = |progress: &Progress| matches!(progress, Progress::Waiting(Need::Device, _));
        if !self.wanted.iter().any(|wanted| waits(&wanted.progress)) {
            return;
        }
        let priority = plan::turn_priority(&self.wanted, &self.slots);
        let asking = devices::asking(&self.wanted, &self.slots, priority);
        let served: Vec<_> = self
            .wanted
            .iter()
            .filter(|wanted| waits(&wanted.progress))
            .filter_map(|wanted| Some((wanted.id, wanted.without.as_deref()?)))
            .filter(|(id, blueprint)| {
                let mut asking = asking.clone();
                asking.insert(*id, blueprint);
                let refused = devices::share(&self.wanted, &self.slots, &asking, &self.limits);
                !refused.contains_key(id)
            })
            .map(|(id, _)| id)
            .collect();
        for wanted in &mut self.wanted {
            if served.contains(&wanted.id) {
                wanted.progress = Progress::Content;
            }
        }
    }

    /// An alert for each refusal, not for each try.
    fn tell_of_device(&mut self, id: InstanceId, device: &str, message: &str) -> Option<Action> {
        let ident = self.wanted.get(id)?.info.ident.clone();
        let told = self.told_devices.insert(id, device.to_owned());
        (told.as_deref() != Some(device)).then(|| Action::DeviceAlert {
            ident,
            device: device.to_owned(),
            message: message.to_owned(),
        })
    }
}
