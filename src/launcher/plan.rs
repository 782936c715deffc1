//! What is wanted, and whose turn it is.

use std::collections::{BTreeMap, BTreeSet};

use tracing::warn;

use super::host::Blueprint;
use super::instance::Phase;
use super::slot::Slot;
use super::state::{Progress, Wanted};
use crate::model::{DesiredState, ErrorInfo, InstanceId, InstanceIdent, ServiceKey};

/// The instances of a list, each once, in its order. `ids` has one for each.
pub(super) fn wanted(
    list: &DesiredState,
    ids: &BTreeMap<InstanceIdent, InstanceId>,
) -> Vec<Wanted> {
    let mut seen = BTreeSet::new();
    let mut wanted = Vec::with_capacity(list.instances.len());
    for info in &list.instances {
        let Some(id) = ids.get(&info.ident) else {
            continue;
        };
        if !seen.insert(id) {
            warn!(ident = %info.ident, "the list names an instance twice: the first one counts");
            continue;
        }
        let service = newest_version(list, &info.ident);
        let progress = match refusal(&info.ident, service.as_ref()) {
            Some(reason) => Progress::Failed(ErrorInfo::new(reason)),
            None => Progress::Content,
        };
        wanted.push(Wanted {
            id: *id,
            info: info.clone(),
            service,
            progress,
        });
    }

    wanted
}

fn newest_version(list: &DesiredState, ident: &InstanceIdent) -> Option<ServiceKey> {
    let versions = list
        .services
        .iter()
        .filter(|service| service.id == ident.service_id);
    versions
        .max_by_key(|service| service.version.aos)
        .map(|service| service.key())
}

/// Why an instance cannot be had at all, whatever its content.
pub(super) fn refusal(ident: &InstanceIdent, service: Option<&ServiceKey>) -> Option<String> {
    if ident.index < 0 {
        return Some(format!("instance index {} is negative", ident.index));
    }
    if service.is_none() {
        return Some(format!(
            "service {} is not in the desired list",
            ident.service_id
        ));
    }

    None
}

/// The instances that may start, or stop in order to be started anew: those of
/// the highest priority that still has work to do, and of these the ones that
/// nothing stands in the way of.
pub(super) fn turn(wanted: &[Wanted], slots: &BTreeMap<InstanceId, Slot>) -> Vec<InstanceId> {
    let starting = |wanted: &&Wanted| match wanted.progress {
        Progress::Content | Progress::Preparing(_) | Progress::Proving(..) | Progress::Ready(_) => {
            true
        }
        Progress::Started => slots
            .get(&wanted.id)
            .is_some_and(|slot| slot.phase() == Phase::Acquiring),
        Progress::Failed(_)
        | Progress::Damaged(_)
        | Progress::Waiting(..)
        | Progress::NotChanged(..) => false,
    };
    let Some(priority) = wanted
        .iter()
        .filter(starting)
        .map(|wanted| wanted.info.priority)
        .max()
    else {
        return Vec::new();
    };

    wanted
        .iter()
        .filter(|wanted| wanted.info.priority == priority)
        .filter(|each| match &each.progress {
            // Its own old self has to stop, whatever else it waits for.
            Progress::Ready(_) if holds_something(slots, each.id) => true,
            Progress::Ready(blueprint) => obstacles(blueprint, each.id, wanted, slots).is_empty(),
            _ => false,
        })
        .map(|wanted| wanted.id)
        .collect()
}

/// Instances that wait for their turn to be started anew, and hold what another
/// one needs: they stop now.
pub(super) fn in_the_way(wanted: &[Wanted], slots: &BTreeMap<InstanceId, Slot>) -> Vec<InstanceId> {
    let obstacles: BTreeSet<_> = wanted
        .iter()
        .filter_map(|each| match &each.progress {
            Progress::Ready(blueprint) => Some(obstacles(blueprint, each.id, wanted, slots)),
            _ => None,
        })
        .flatten()
        .collect();

    wanted
        .iter()
        .filter(|each| matches!(each.progress, Progress::Ready(_)) && obstacles.contains(&each.id))
        .map(|each| each.id)
        .collect()
}

fn holds_something(slots: &BTreeMap<InstanceId, Slot>, id: InstanceId) -> bool {
    slots
        .get(&id)
        .is_some_and(|slot| slot.phase() != Phase::Stopped)
}

/// The other instances that hold an address or a directory that `blueprint`
/// names, and that will let go of it, or may. One that runs and stays is none:
/// the list names the same thing twice, and the machine refuses the second.
fn obstacles(
    blueprint: &Blueprint,
    own: InstanceId,
    wanted: &[Wanted],
    slots: &BTreeMap<InstanceId, Slot>,
) -> Vec<InstanceId> {
    let may_let_go = |id: &InstanceId| match wanted.iter().find(|wanted| wanted.id == *id) {
        None => true,
        Some(wanted) => match wanted.progress {
            Progress::Started
            | Progress::NotChanged(..)
            | Progress::Waiting(..)
            | Progress::Failed(_) => false,
            Progress::Content
            | Progress::Damaged(_)
            | Progress::Preparing(_)
            | Progress::Proving(..)
            | Progress::Ready(_) => true,
        },
    };

    slots
        .iter()
        .filter(|(id, slot)| **id != own && slot.phase() != Phase::Stopped && !slot.is_stuck())
        .filter(|(_, slot)| {
            slot.blueprint()
                .is_some_and(|other| conflict(blueprint, other))
        })
        .filter(|(id, slot)| slot.phase() == Phase::Releasing || may_let_go(id))
        .map(|(id, _)| *id)
        .collect()
}

fn conflict(one: &Blueprint, other: &Blueprint) -> bool {
    let (a, b) = (&one.info, &other.info);
    let same = |x: &str, y: &str| !x.is_empty() && x == y;

    (one.network_id() == other.network_id() && same(&a.network.ip, &b.network.ip))
        || same(&a.state_path, &b.state_path)
        || same(&a.storage_path, &b.storage_path)
}
