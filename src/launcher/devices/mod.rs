//! Who gets a device that only so many may use at a time. Pure.
//!
//! Who holds is told by the slots alone: each that is not stopped holds the
//! devices of what it runs. [`share`] says who has to do without, [`Room`] who
//! may start already.
//!
//! Nobody gives way unless another one asks and is better: by priority, and
//! among equals the one that has the device stays. So neither a change of
//! priorities nor one of the unit configuration stops anybody by itself.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use super::host::Blueprint;
use super::instance::Phase;
use super::plan::next_of;
use super::slot::Slot;
use super::state::Wanted;
use crate::model::InstanceId;

#[cfg(test)]
mod tests;

/// Names that a reason lists at the most.
const NAMES: usize = 4;

/// Why an instance does without a device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    /// The device.
    pub(super) device: String,
    /// Who has it, for a human.
    pub(super) reason: String,
}

/// How many may use each device, as far as anybody has asked for it since that
/// last changed.
#[derive(Debug, Default)]
pub(super) struct Limits(BTreeMap<String, usize>);

impl Limits {
    /// What is in force now.
    pub(super) fn learn(&mut self, blueprint: &Blueprint) {
        for (device, limit) in limits(blueprint) {
            self.0.insert(device.to_owned(), limit);
        }
    }

    /// Where nothing is known, what these were drawn with counts.
    fn with<'a>(
        &'a self,
        blueprints: impl Iterator<Item = &'a Blueprint>,
    ) -> BTreeMap<&'a str, usize> {
        let known = self.0.iter();
        let mut all: BTreeMap<_, _> = known.map(|(name, limit)| (name.as_str(), *limit)).collect();
        for (device, limit) in blueprints.flat_map(limits) {
            all.entry(device).or_insert(limit);
        }
        all
    }

    /// Something else is in force.
    pub(super) fn forget(&mut self) {
        self.0.clear();
    }
}

/// Someone who has devices, or asks for them.
struct Claim<'a> {
    id: InstanceId,
    name: String,
    /// `None`: it is not wanted, and cannot be stopped.
    priority: Option<u64>,
    devices: BTreeSet<&'a str>,
    asks: bool,
    is_stuck: bool,
    /// The lowest is served first.
    rank: (bool, Reverse<u64>, u8, usize),
}

/// Those that have to do without, and why: who asks and does not get it, and who
/// has it and gives way. `asking` wants to start with these blueprints; `limits`
/// says how many may use what.
pub(super) fn share<'a>(
    wanted: &'a [Wanted],
    slots: &'a BTreeMap<InstanceId, Slot>,
    asking: &BTreeMap<InstanceId, &'a Blueprint>,
    limits: &Limits,
) -> BTreeMap<InstanceId, Refusal> {
    let limits = limits.with(asking.values().copied());
    let limit_of = |device: &str| limits.get(device).copied();
    let mut asked = asking.values().flat_map(|blueprint| devices(blueprint));
    if asked.all(|device| limit_of(device).is_none_or(|limit| limit == usize::MAX)) {
        return BTreeMap::new();
    }

    let mut claims = claims(wanted, slots, asking);
    claims.sort_by_key(|claim| claim.rank);
    let mut users: BTreeMap<&str, Vec<&Claim<'_>>> = BTreeMap::new();
    let mut denied = Vec::new();
    for claim in &claims {
        // More may run than are allowed now. They stay, and count, until a better
        // one takes a place.
        let is_full = |device: &&str| {
            let users = users.get(device).map_or(&[][..], Vec::as_slice);
            let is_full = limit_of(device).is_some_and(|limit| users.len() >= limit);
            is_full && (claim.asks || users.iter().any(|user| user.asks))
        };
        let full = claim.devices.iter().copied().find(is_full);
        match full {
            Some(device) if !claim.is_stuck => denied.push((claim, device)),
            _ => {
                for device in &claim.devices {
                    users.entry(device).or_default().push(claim);
                }
            }
        }
    }

    denied
        .into_iter()
        .map(|(claim, device)| {
            let users = users.get(device).map_or(&[][..], Vec::as_slice);
            (claim.id, refusal(claim, device, users))
        })
        .collect()
}

fn claims<'a>(
    wanted: &'a [Wanted],
    slots: &'a BTreeMap<InstanceId, Slot>,
    asking: &BTreeMap<InstanceId, &'a Blueprint>,
) -> Vec<Claim<'a>> {
    let mut claims = Vec::new();
    let mut known = BTreeSet::new();
    for (index, each) in wanted.iter().enumerate() {
        known.insert(each.id);
        let slot = slots.get(&each.id);
        let asked = asking.get(&each.id).copied();
        let is_stuck = slot.is_some_and(Slot::is_stuck);
        let holds = slot.filter(|slot| has(slot) && (is_stuck || !slot.is_leaving()));
        let had = slot.and_then(Slot::blueprint);
        let blueprint = match (asked, holds) {
            (Some(blueprint), _) => blueprint,
            (None, Some(slot)) => match slot.blueprint() {
                Some(blueprint) => blueprint,
                None => continue,
            },
            (None, None) => continue,
        };
        let class = match (holds, had) {
            (Some(_), _) => 0,
            (None, Some(_)) => 1,
            (None, None) => 2,
        };
        let is_stuck = is_stuck && asked.is_none();
        claims.push(Claim {
            id: each.id,
            name: each.info.ident.to_string(),
            priority: Some(each.info.priority),
            devices: devices(blueprint).collect(),
            asks: asked.is_some(),
            is_stuck,
            rank: (!is_stuck, Reverse(each.info.priority), class, index),
        });
    }
    let stuck = slots
        .iter()
        .filter(|(id, slot)| !known.contains(*id) && slot.is_stuck() && has(slot));
    claims.extend(stuck.filter_map(|(id, slot)| {
        let blueprint = slot.blueprint()?;
        Some(Claim {
            id: *id,
            name: blueprint.info.ident.to_string(),
            priority: None,
            devices: devices(blueprint).collect(),
            asks: false,
            is_stuck: true,
            rank: (false, Reverse(u64::MAX), 0, 0),
        })
    }));

    claims
}

fn refusal(claim: &Claim<'_>, device: &str, users: &[&Claim<'_>]) -> Refusal {
    let better = |user: &&&Claim<'_>| user.priority > claim.priority && !user.is_stuck;
    let names = |users: &mut dyn Iterator<Item = &&Claim<'_>>| {
        let names: Vec<_> = users.take(NAMES).map(|user| user.name.clone()).collect();
        names.join(", ")
    };
    let reason = if users.iter().all(|user| better(&user)) {
        let names = names(&mut users.iter());
        format!("device {device} is used by {names} of higher priority")
    } else if let Some(stuck) = users.iter().find(|user| user.is_stuck) {
        let name = &stuck.name;
        format!("device {device} is used by {name}, which cannot be stopped")
    } else {
        let names = names(&mut users.iter());
        format!("device {device} is used as often as allowed: by {names}")
    };

    Refusal {
        device: device.to_owned(),
        reason,
    }
}

/// Places at the devices, as far as they are taken now.
#[derive(Debug)]
pub(super) struct Room<'a> {
    holders: BTreeMap<&'a str, BTreeSet<InstanceId>>,
    /// Something runs of which nobody knows what it has.
    has_leftovers: bool,
    limits: &'a Limits,
}

impl<'a> Room<'a> {
    pub(super) fn of(slots: &'a BTreeMap<InstanceId, Slot>, limits: &'a Limits) -> Self {
        let mut holders: BTreeMap<&str, BTreeSet<InstanceId>> = BTreeMap::new();
        let mut has_leftovers = false;
        for (id, slot) in slots.iter().filter(|(_, slot)| has(slot)) {
            match slot.blueprint() {
                Some(blueprint) => {
                    for device in devices(blueprint) {
                        holders.entry(device).or_default().insert(*id);
                    }
                }
                None => has_leftovers |= !slot.is_stuck(),
            }
        }

        Self {
            holders,
            has_leftovers,
            limits,
        }
    }

    /// Takes the places that an instance needs, if all of them are free.
    pub(super) fn take(&mut self, id: InstanceId, blueprint: &'a Blueprint) -> bool {
        let is_free = |(device, limit): (&str, usize)| {
            let others = self.holders.get(device).map_or(0, |holders| {
                holders.iter().filter(|holder| **holder != id).count()
            });
            others < limit && (!self.has_leftovers || limit == usize::MAX)
        };
        let limits = self.limits.with(std::iter::once(blueprint));
        let mut limited =
            devices(blueprint).filter_map(|device| Some((device, limits.get(device).copied()?)));
        let is_free = limited.all(is_free);
        if is_free {
            for device in devices(blueprint) {
                self.holders.entry(device).or_default().insert(id);
            }
        }

        is_free
    }
}

/// Those of a priority that are to be started, and with what.
pub(super) fn asking<'a>(
    wanted: &'a [Wanted],
    slots: &'a BTreeMap<InstanceId, Slot>,
    priority: Option<u64>,
) -> BTreeMap<InstanceId, &'a Blueprint> {
    wanted
        .iter()
        .filter(|each| Some(each.info.priority) == priority)
        .filter_map(|each| Some((each.id, next_of(&each.progress, each.id, slots)?)))
        .collect()
}

fn has(slot: &Slot) -> bool {
    slot.phase() != Phase::Stopped
}

/// Names of the devices that a service uses.
pub(super) fn devices(blueprint: &Blueprint) -> impl Iterator<Item = &str> {
    let devices = blueprint.service.config.devices.iter().flatten();
    devices.map(|device| device.name.as_str())
}

/// How many may use each of its devices.
fn limits(blueprint: &Blueprint) -> impl Iterator<Item = (&str, usize)> {
    blueprint.provision.devices.iter().map(|device| {
        let limit = match device.shared_count {
            0 => usize::MAX,
            count => usize::try_from(count).unwrap_or(usize::MAX),
        };
        (device.name.as_str(), limit)
    })
}
