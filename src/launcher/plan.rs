//! What is wanted, and whose turn it is.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use tracing::warn;

use super::devices::{Limits, Room};
use super::host::Blueprint;
use super::instance::Phase;
use super::slot::Slot;
use super::state::{Progress, Wanted, WantedList};
use crate::model::{DesiredState, ErrorInfo, InstanceId, InstanceIdent, ServiceId, ServiceKey};

/// The instances of a list, each once, in its order. `ids` has one for each.
pub(super) fn wanted(list: &DesiredState, ids: &BTreeMap<InstanceIdent, InstanceId>) -> WantedList {
    let newest = newest_versions(list);
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
        let service = newest.get(&info.ident.service_id).cloned();
        let progress = match refusal(&info.ident, service.as_ref()) {
            Some(reason) => Progress::Failed(ErrorInfo::new(reason)),
            None => Progress::Content,
        };
        wanted.push(Wanted {
            id: *id,
            info: info.clone(),
            service,
            progress,
            shown: None,
            without: None,
        });
    }

    wanted.into_iter().collect()
}

/// Of each service of the list the newest version.
pub(super) fn newest_versions(list: &DesiredState) -> HashMap<&ServiceId, ServiceKey> {
    let mut newest = HashMap::<_, ServiceKey>::new();
    for service in &list.services {
        let key = newest.entry(&service.id).or_insert_with(|| service.key());
        if service.version.aos >= key.version {
            *key = service.key();
        }
    }

    newest
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

/// The highest priority that still has work to do.
pub(super) fn turn_priority(wanted: &[Wanted], slots: &BTreeMap<InstanceId, Slot>) -> Option<u64> {
    let starting = |wanted: &&Wanted| match wanted.progress {
        Progress::Content
        | Progress::Preparing(_)
        | Progress::Proving(..)
        | Progress::Ready(_)
        | Progress::Reverting { .. } => true,
        Progress::Started | Progress::Reverted(_) => slots
            .get(&wanted.id)
            .is_some_and(|slot| slot.phase() == Phase::Acquiring),
        Progress::Failed(_)
        | Progress::Damaged(_)
        | Progress::Waiting(..)
        | Progress::NotChanged(..) => false,
    };

    wanted
        .iter()
        .filter(starting)
        .map(|wanted| wanted.info.priority)
        .max()
}

/// The instances that may start, or stop in order to be started anew: those of
/// the highest priority that still has work to do, and of these the ones that
/// nothing stands in the way of and whose devices are free.
pub(super) fn turn(
    wanted: &WantedList,
    slots: &BTreeMap<InstanceId, Slot>,
    limits: &Limits,
) -> Vec<InstanceId> {
    let Some(priority) = turn_priority(wanted, slots) else {
        return Vec::new();
    };
    let mut room = Room::of(slots, limits);

    let holders = holders(wanted, slots);
    wanted
        .iter()
        .filter(|wanted| wanted.info.priority == priority)
        .filter(|each| match &each.progress {
            // Its own old self has to stop, whatever else it waits for.
            Progress::Ready(_) if holds_something(slots, each.id) => true,
            progress => next_of(progress, each.id, slots).is_some_and(|next| {
                obstacles(next, each.id, &holders).next().is_none() && room.take(each.id, next)
            }),
        })
        .map(|wanted| wanted.id)
        .collect()
}

/// Instances that wait for their turn to be started anew, and hold what another
/// one needs: they stop now.
pub(super) fn in_the_way(
    wanted: &WantedList,
    slots: &BTreeMap<InstanceId, Slot>,
) -> Vec<InstanceId> {
    let holders = holders(wanted, slots);
    let obstacles: BTreeSet<_> = wanted
        .iter()
        .filter_map(|each| {
            let next = next_of(&each.progress, each.id, slots)?;
            Some(obstacles(next, each.id, &holders))
        })
        .flatten()
        .collect();

    wanted
        .iter()
        .filter(|each| matches!(each.progress, Progress::Ready(_)) && obstacles.contains(&each.id))
        .map(|each| each.id)
        .collect()
}

/// What an instance is to be started with as soon as it can be.
pub(super) fn next_of<'a>(
    progress: &'a Progress,
    id: InstanceId,
    slots: &'a BTreeMap<InstanceId, Slot>,
) -> Option<&'a Blueprint> {
    match progress {
        Progress::Ready(blueprint) => Some(blueprint),
        Progress::Reverting { proven: true, .. } => {
            slots.get(&id).and_then(Slot::before).map(|own| &**own)
        }
        _ => None,
    }
}

fn holds_something(slots: &BTreeMap<InstanceId, Slot>, id: InstanceId) -> bool {
    slots
        .get(&id)
        .is_some_and(|slot| slot.phase() != Phase::Stopped)
}

/// What instances run with that hold something and will let go of it, or may. One
/// that runs and stays is none of them: if the list names the same thing twice,
/// the machine refuses the second.
fn holders<'a>(
    wanted: &WantedList,
    slots: &'a BTreeMap<InstanceId, Slot>,
) -> Vec<(InstanceId, &'a Blueprint)> {
    let may_let_go = |id: InstanceId| match wanted.get(id) {
        None => true,
        Some(wanted) => match wanted.progress {
            Progress::Started
            | Progress::NotChanged(..)
            | Progress::Waiting(..)
            | Progress::Reverted(_)
            | Progress::Failed(_) => false,
            Progress::Reverting { .. }
            | Progress::Content
            | Progress::Damaged(_)
            | Progress::Preparing(_)
            | Progress::Proving(..)
            | Progress::Ready(_) => true,
        },
    };

    slots
        .iter()
        .filter(|(_, slot)| slot.phase() != Phase::Stopped && !slot.is_stuck())
        .filter(|(id, slot)| slot.phase() == Phase::Releasing || may_let_go(**id))
        .filter_map(|(id, slot)| Some((*id, &**slot.blueprint()?)))
        .collect()
}

/// The other instances that hold an address or a directory that `blueprint`
/// names.
fn obstacles<'a>(
    blueprint: &'a Blueprint,
    own: InstanceId,
    holders: &'a [(InstanceId, &Blueprint)],
) -> impl Iterator<Item = InstanceId> + 'a {
    holders
        .iter()
        .filter(move |(id, other)| *id != own && conflict(blueprint, other))
        .map(|(id, _)| *id)
}

fn conflict(one: &Blueprint, other: &Blueprint) -> bool {
    let (a, b) = (&one.info, &other.info);
    let same = |x: &str, y: &str| !x.is_empty() && x == y;

    (one.network_id() == other.network_id() && same(&a.network.ip, &b.network.ip))
        || same(&a.state_path, &b.state_path)
        || same(&a.storage_path, &b.storage_path)
}
