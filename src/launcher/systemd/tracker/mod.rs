//! What systemd's signals say, as events. Pure.
//!
//! A signal repeats all properties, so only what differs from the last one is
//! an event. An exit is told by its time stamp: the same code twice is two
//! exits. On the way to a restart a unit is `failed` and `inactive` for a
//! moment; that it stays so is told only after a look.

use std::collections::{BTreeMap, BTreeSet};

use crate::launcher::{Exit, UnitChange, UnitEvent, UnitState};
use crate::model::InstanceId;

/// `Result` of a unit that used more memory than it may.
const OUT_OF_MEMORY: &str = "oom-kill";

/// `Result` of a unit that runs.
const SUCCESS: &str = "success";

/// What is known of the end of a main process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct ExitRecord {
    /// Microseconds of the monotonic clock; 0: none ended yet.
    pub stamp: u64,
    /// `CLD_EXITED`, `CLD_KILLED` or `CLD_DUMPED`.
    pub code: i32,
    /// Exit code or signal.
    pub status: i32,
}

impl ExitRecord {
    /// How it ended, if it did.
    pub(crate) fn exit(self) -> Option<Exit> {
        match (self.stamp, self.code) {
            (0, _) => None,
            (_, 1) => Some(Exit::Code(self.status)),
            (_, 2 | 3) => Some(Exit::Signal(self.status)),
            _ => None,
        }
    }
}

/// What one signal, or one look, says of a unit.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Observation {
    /// `ActiveState`.
    pub state: Option<UnitState>,
    /// `Result`.
    pub result: Option<String>,
    /// The `ExecMain…` properties.
    pub exit: Option<ExitRecord>,
    /// `NRestarts`: restarts by systemd since the last start.
    pub restarts: Option<u32>,
}

/// What a signal brought.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Heard {
    /// What is new.
    pub changes: Vec<UnitChange>,
    /// Whether to look at the unit: it has ended, or is on its way to a
    /// restart, which goes through the same states.
    pub look: bool,
}

/// A moment between two signals.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Moment(u64);

#[derive(Debug, Default)]
struct Unit {
    result: String,
    exit: ExitRecord,
    /// `None`: not known yet.
    restarts: Option<u32>,
    /// The end before the next restart was told.
    told_exit: bool,
    told: Option<(UnitState, String)>,
    /// Number of the last signal.
    signal: u64,
}

/// All units of instances, as systemd last described them.
#[derive(Debug, Default)]
pub(crate) struct Tracker {
    units: BTreeMap<InstanceId, Unit>,
    signals: u64,
    /// Microseconds of the monotonic clock. What ended before is no news.
    beginning: u64,
}

impl Tracker {
    /// For units that are there already: what ended before this moment, in
    /// microseconds of the monotonic clock, is not told.
    pub(crate) fn beginning(moment: u64) -> Self {
        Self {
            beginning: moment,
            ..Self::default()
        }
    }

    /// A unit that is there already, in this state. So many restarts of it were told.
    pub(crate) fn begin(&mut self, id: InstanceId, state: UnitState, restarts: u32) {
        let unit = self.units.entry(id).or_default();
        unit.restarts = Some(restarts);
        if state == UnitState::Active {
            SUCCESS.clone_into(&mut unit.result);
        }
        unit.told = Some((state, unit.result.clone()));
    }

    /// Takes a signal in.
    pub(crate) fn hear(&mut self, id: InstanceId, mut seen: Observation) -> Heard {
        self.signals += 1;
        let unit = self.units.entry(id).or_default();
        unit.signal = self.signals;
        let ends = |state: &UnitState| matches!(state, UnitState::Failed | UnitState::Inactive);
        let look = seen.state.as_ref().is_some_and(ends);
        if look {
            seen.state = None;
        }

        Heard {
            changes: unit.take(id, seen),
            look,
        }
    }

    /// Now: for a look that begins.
    pub(crate) fn now(&self) -> Moment {
        Moment(self.signals)
    }

    /// Takes in what a look saw that began at `then`. Signals since then are
    /// newer and stay.
    pub(crate) fn see(
        &mut self,
        then: Moment,
        id: InstanceId,
        seen: Observation,
    ) -> Vec<UnitChange> {
        let unit = self.units.entry(id).or_default();
        if unit.signal > then.0 {
            return Vec::new();
        }

        unit.take(id, seen)
    }

    /// Takes in what the first look saw, which began at `then`: all but an end since
    /// the beginning was so before. That systemd has started the unit again meanwhile is
    /// told nevertheless.
    pub(crate) fn meet(
        &mut self,
        then: Moment,
        id: InstanceId,
        seen: Observation,
    ) -> Vec<UnitChange> {
        let is_news = seen.exit.is_some_and(|exit| exit.stamp > self.beginning);
        let mut changes = self.see(then, id, seen);
        if is_news {
            return changes;
        }

        // Nobody was told of the end before a restart that is yet to come.
        if !changes.is_empty()
            && let Some(unit) = self.units.get_mut(&id)
        {
            unit.told_exit = false;
        }
        changes.retain(|change| change.event == UnitEvent::Restarted);
        changes
    }

    /// How often systemd has started the unit again, if that is known.
    pub(crate) fn restarts(&self, id: InstanceId) -> Option<u32> {
        self.units.get(&id)?.restarts
    }

    /// Takes in that a look that began at `then` found no such unit.
    pub(crate) fn miss(&mut self, then: Moment, id: InstanceId) -> Vec<UnitChange> {
        match self.units.remove(&id) {
            Some(mut unit) if unit.signal <= then.0 => unit.end(id),
            Some(unit) => {
                self.units.insert(id, unit);
                Vec::new()
            }
            None => Vec::new(),
        }
    }

    /// Takes in that a look that began at `then` found no other units.
    pub(crate) fn miss_others(
        &mut self,
        then: Moment,
        present: &BTreeSet<InstanceId>,
    ) -> Vec<UnitChange> {
        let others: Vec<_> = self
            .units
            .keys()
            .filter(|id| !present.contains(id))
            .copied()
            .collect();

        others
            .into_iter()
            .flat_map(|id| self.miss(then, id))
            .collect()
    }

    /// All that is known, for a listener who has missed something.
    pub(crate) fn everything(&self) -> Vec<UnitChange> {
        self.units
            .iter()
            .flat_map(|(&id, unit)| {
                let exit = unit.exit.exit().map(UnitEvent::Exited);
                let state = unit
                    .told
                    .clone()
                    .map(|(state, result)| UnitEvent::State { state, result });
                exit.into_iter()
                    .chain(state)
                    .map(move |event| UnitChange { id, event })
            })
            .collect()
    }
}

impl Unit {
    /// systemd does not have it any more: it does not run. One that failed has
    /// been told.
    fn end(&mut self, id: InstanceId) -> Vec<UnitChange> {
        if matches!(self.told, Some((UnitState::Failed, _))) {
            return Vec::new();
        }
        let ended = Observation {
            state: Some(UnitState::Inactive),
            ..Observation::default()
        };

        self.take(id, ended)
    }

    /// Takes an observation in and returns what is new in it.
    fn take(&mut self, id: InstanceId, seen: Observation) -> Vec<UnitChange> {
        let mut events = Vec::new();
        if let Some(result) = seen.result {
            if result == OUT_OF_MEMORY && self.result != OUT_OF_MEMORY {
                events.push(UnitEvent::OutOfMemory);
            }
            self.result = result;
        }
        if let Some(record) = seen.exit {
            let before = std::mem::replace(&mut self.exit, record);
            if record.stamp != before.stamp
                && let Some(exit) = record.exit()
            {
                self.told_exit = true;
                events.push(UnitEvent::Exited(exit));
            }
        }
        if let Some(restarts) = seen.restarts {
            // A restart begins with a new record of the main process: an end that
            // nobody was told of is known by the count alone.
            // Who started the unit anew made systemd count anew.
            let before = self.restarts.replace(restarts);
            let before = before.map(|before| if restarts < before { 0 } else { before });
            if before.is_some_and(|before| restarts > before)
                && !std::mem::take(&mut self.told_exit)
            {
                events.push(UnitEvent::Restarted);
            }
        }
        if self.exit.stamp == 0 {
            self.told_exit = false;
        }
        if let Some(state) = seen.state {
            let now = (state, self.result.clone());
            // systemd has only loaded it, to start it.
            let is_new = self.told.is_none() && state == UnitState::Inactive;
            if self.told.as_ref() != Some(&now) && !is_new {
                self.told = Some(now.clone());
                let (state, result) = now;
                events.push(UnitEvent::State { state, result });
            }
        }

        events
            .into_iter()
            .map(|event| UnitChange { id, event })
            .collect()
    }
}

/// A state as systemd names it.
pub(crate) fn unit_state(text: &str) -> UnitState {
    match text {
        "active" | "reloading" | "refreshing" => UnitState::Active,
        "activating" => UnitState::Activating,
        "deactivating" => UnitState::Deactivating,
        "failed" => UnitState::Failed,
        // "inactive", "maintenance": it does not run.
        _ => UnitState::Inactive,
    }
}

#[cfg(test)]
mod tests;
