//! What CM is told of one instance.

use super::slot::{Health, Slot};
use super::state::{Progress, Wanted};
use crate::model::{ErrorInfo, InstanceReport, InstanceStatus, RunState};

/// The present state of a wanted instance.
pub(super) fn report(wanted: &Wanted, slot: Option<&Slot>) -> InstanceReport {
    let status = |version, state| InstanceStatus {
        ident: wanted.info.ident.clone(),
        version,
        state,
    };
    let version = wanted.service.as_ref().map_or(0, |service| service.version);
    let running = slot.filter(|slot| slot.phase().is_up());

    let desired = match &wanted.progress {
        Progress::Failed(error)
        | Progress::Damaged(error)
        | Progress::Waiting(_, error)
        | Progress::NotChanged(error, _) => RunState::Failed(error.clone()),
        Progress::Started => running.map_or_else(being_started, run_state),
        Progress::Content | Progress::Preparing(_) | Progress::Proving(..) | Progress::Ready(_) => {
            being_started()
        }
    };
    // What still runs although its successor failed is the old version.
    let kept = match (&wanted.progress, running) {
        (Progress::Failed(_) | Progress::Damaged(_), Some(slot)) => slot
            .blueprint()
            .map(|blueprint| status(blueprint.service.key.version, run_state(slot))),
        _ => None,
    };

    InstanceReport {
        desired: status(version, desired),
        kept,
        last_fault: running.and_then(Slot::last_fault).cloned(),
    }
}

fn run_state(slot: &Slot) -> RunState {
    match slot.health() {
        Health::Up => RunState::Active,
        Health::Down(error) => RunState::Failed(error.clone()),
        Health::Confirming { .. } => being_started(),
    }
}

/// Nobody is told this while the list has not settled.
fn being_started() -> RunState {
    RunState::Failed(ErrorInfo::new("the instance is being started"))
}
