//! What systemd's signals say, as events. Pure.
//!
//! A signal repeats all properties, so only what differs from the last one is
//! an event. An exit is told by its time stamp: the same code twice is two
//! exits.

use std::collections::BTreeMap;

use crate::launcher::{Exit, UnitChange, UnitEvent, UnitState};
use crate::model::InstanceId;

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
}

#[derive(Debug, Default)]
struct Unit {
    known: Observation,
    told: Option<(UnitState, String)>,
}

/// All units of instances, as systemd last described them.
#[derive(Debug, Default)]
pub(crate) struct Tracker {
    units: BTreeMap<InstanceId, Unit>,
}

impl Tracker {
    /// Takes an observation in and returns what is new in it.
    pub(crate) fn observe(&mut self, id: InstanceId, seen: Observation) -> Vec<UnitChange> {
        let unit = self.units.entry(id).or_default();
        let mut events = Vec::new();

        if let Some(result) = seen.result {
            unit.known.result = Some(result);
        }
        if let Some(record) = seen.exit {
            let before = unit.known.exit.replace(record).unwrap_or_default();
            if record.stamp != before.stamp
                && let Some(exit) = record.exit()
            {
                events.push(UnitEvent::Exited(exit));
            }
        }
        if let Some(state) = seen.state {
            unit.known.state = Some(state);
            let result = unit.known.result.clone().unwrap_or_default();
            let now = (state, result);
            if unit.told.as_ref() != Some(&now) {
                events.push(UnitEvent::State {
                    state: now.0,
                    result: now.1.clone(),
                });
                unit.told = Some(now);
            }
        }

        events
            .into_iter()
            .map(|event| UnitChange { id, event })
            .collect()
    }

    /// systemd has forgotten the unit: it does not run.
    pub(crate) fn forget(&mut self, id: InstanceId) -> Vec<UnitChange> {
        let Some(unit) = self.units.remove(&id) else {
            return Vec::new();
        };

        match unit.told {
            None | Some((UnitState::Inactive | UnitState::Failed, _)) => Vec::new(),
            Some(_) => vec![UnitChange {
                id,
                event: UnitEvent::State {
                    state: UnitState::Inactive,
                    result: unit.known.result.unwrap_or_default(),
                },
            }],
        }
    }

    /// The units that are known.
    pub(crate) fn ids(&self) -> Vec<InstanceId> {
        self.units.keys().copied().collect()
    }

    /// All that is known, for a listener who has missed something.
    pub(crate) fn everything(&self) -> Vec<UnitChange> {
        self.units
            .iter()
            .flat_map(|(&id, unit)| {
                let exit = unit
                    .known
                    .exit
                    .and_then(ExitRecord::exit)
                    .map(UnitEvent::Exited);
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
mod tests {
    use super::*;

    fn id() -> InstanceId {
        InstanceId::from_u128(1)
    }

    /// The signal of the service part, as it comes before that of the unit.
    fn service(result: &str, stamp: u64, code: i32, status: i32) -> Observation {
        Observation {
            state: None,
            result: Some(result.to_owned()),
            exit: Some(ExitRecord {
                stamp,
                code,
                status,
            }),
        }
    }

    fn unit(state: UnitState) -> Observation {
        Observation {
            state: Some(state),
            ..Observation::default()
        }
    }

    fn state(state: UnitState, result: &str) -> UnitEvent {
        UnitEvent::State {
            state,
            result: result.to_owned(),
        }
    }

    fn events(tracker: &mut Tracker, seen: Observation) -> Vec<UnitEvent> {
        tracker
            .observe(id(), seen)
            .into_iter()
            .map(|change| change.event)
            .collect()
    }

    #[test]
    fn a_crash_with_restart_is_told_in_order() {
        let mut tracker = Tracker::default();
        let told: Vec<_> = [
            service("success", 0, 0, 0),
            unit(UnitState::Activating),
            service("success", 0, 0, 0),
            unit(UnitState::Active),
            service("exit-code", 77, 1, 3),
            unit(UnitState::Activating),
            service("success", 0, 0, 0),
            unit(UnitState::Active),
        ]
        .into_iter()
        .flat_map(|seen| events(&mut tracker, seen))
        .collect();

        assert_eq!(
            told,
            [
                state(UnitState::Activating, "success"),
                state(UnitState::Active, "success"),
                UnitEvent::Exited(Exit::Code(3)),
                state(UnitState::Activating, "exit-code"),
                state(UnitState::Active, "success"),
            ]
        );
    }

    #[test]
    fn a_repeated_signal_is_no_event() {
        let mut tracker = Tracker::default();
        events(&mut tracker, service("signal", 5, 2, 9));
        events(&mut tracker, unit(UnitState::Failed));

        let again = events(&mut tracker, service("signal", 5, 2, 9));
        let state = events(&mut tracker, unit(UnitState::Failed));

        assert_eq!((again, state), (vec![], vec![]));
    }

    #[test]
    fn the_same_exit_twice_is_two_events() {
        let mut tracker = Tracker::default();

        let first = events(&mut tracker, service("exit-code", 5, 1, 1));
        let second = events(&mut tracker, service("exit-code", 6, 1, 1));

        assert_eq!(first, [UnitEvent::Exited(Exit::Code(1))]);
        assert_eq!(second, first);
    }

    #[test]
    fn signals_and_dumps_are_told_apart_from_codes() {
        for (code, exit) in [
            (1, Some(Exit::Code(9))),
            (2, Some(Exit::Signal(9))),
            (3, Some(Exit::Signal(9))),
            (0, None),
            (4, None),
        ] {
            assert_eq!(
                ExitRecord {
                    stamp: 1,
                    code,
                    status: 9
                }
                .exit(),
                exit
            );
        }
    }

    #[test]
    fn a_forgotten_unit_is_inactive() {
        let mut tracker = Tracker::default();
        events(&mut tracker, unit(UnitState::Active));

        let told = tracker.forget(id());

        assert_eq!(told[0].event, state(UnitState::Inactive, ""));
        assert_eq!(tracker.forget(id()), []);
        assert_eq!(tracker.ids(), []);
    }

    #[test]
    fn a_unit_that_had_ended_is_forgotten_silently() {
        let mut tracker = Tracker::default();
        events(&mut tracker, unit(UnitState::Failed));

        assert_eq!(tracker.forget(id()), []);
    }

    #[test]
    fn everything_repeats_what_was_told_last() {
        let mut tracker = Tracker::default();
        events(&mut tracker, service("signal", 5, 2, 9));
        events(&mut tracker, unit(UnitState::Failed));

        let all: Vec<_> = tracker
            .everything()
            .into_iter()
            .map(|change| change.event)
            .collect();

        assert_eq!(
            all,
            [
                UnitEvent::Exited(Exit::Signal(9)),
                state(UnitState::Failed, "signal")
            ]
        );
    }

    #[test]
    fn states_are_those_of_systemd() {
        for (text, state) in [
            ("active", UnitState::Active),
            ("reloading", UnitState::Active),
            ("activating", UnitState::Activating),
            ("deactivating", UnitState::Deactivating),
            ("failed", UnitState::Failed),
            ("inactive", UnitState::Inactive),
            ("something new", UnitState::Inactive),
        ] {
            assert_eq!(unit_state(text), state, "{text}");
        }
    }
}
