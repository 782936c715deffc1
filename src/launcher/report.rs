//! What CM is told of one instance.

use super::host::Need;
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
        | Progress::Reverting { error, .. }
        | Progress::Reverted(error)
        | Progress::NotChanged(error, _) => RunState::Failed(error.clone()),
        Progress::Started => running
            .and_then(run_state)
            .unwrap_or_else(|| being_started(wanted)),
        Progress::Content | Progress::Preparing(_) | Progress::Proving(..) | Progress::Ready(_) => {
            being_started(wanted)
        }
    };
    // What still runs although its successor failed is the old version.
    let kept = match (&wanted.progress, running) {
        (
            Progress::Failed(_)
            | Progress::Damaged(_)
            | Progress::Reverted(_)
            | Progress::Waiting(Need::Device, _),
            Some(slot),
        ) => slot.blueprint().map(|own| {
            let state = run_state(slot).unwrap_or_else(|| being_started(wanted));
            status(own.service.key.version, state)
        }),
        _ => None,
    };

    // One of the version before would be taken for one of this.
    let last_fault = running
        .and_then(|slot| Some((slot.blueprint()?, slot.last_fault()?)))
        .filter(|(own, fault)| fault.version == own.service.key.version)
        .map(|(_, fault)| fault.clone());

    InstanceReport {
        desired: status(version, desired),
        kept,
        last_fault,
    }
}

/// Nothing while it is still to be seen whether it stays.
fn run_state(slot: &Slot) -> Option<RunState> {
    match slot.health() {
        Health::Up => Some(RunState::Active),
        Health::Down(error) => Some(RunState::Failed(error.clone())),
        Health::Confirming { .. } => None,
    }
}

/// Nobody is told this while the list has not settled; afterwards it is what it
/// was before SM began to start it anew.
fn being_started(wanted: &Wanted) -> RunState {
    wanted
        .shown
        .clone()
        .unwrap_or_else(|| RunState::Failed(ErrorInfo::new("the instance is being started")))
}
