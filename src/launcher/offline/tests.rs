//! Clocks that jump, and restarts of all kinds.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use proptest::prelude::*;

use super::*;

/// Seconds since 1970 when the program was built.
const BUILT: i64 = 1_700_000_000;
const MINUTE: Duration = Duration::from_secs(60);

/// A machine whose clocks a test moves.
#[derive(Clone, Debug)]
struct Machine {
    wall: u64,
    since_boot: u64,
    boots: u32,
}

impl Machine {
    fn new() -> Self {
        Self {
            wall: BUILT.cast_unsigned() + 1000,
            since_boot: 50,
            boots: 1,
        }
    }

    fn now(&self) -> Moment {
        Moment {
            wall: UNIX_EPOCH + Duration::from_secs(self.wall),
            since_boot: Duration::from_secs(self.since_boot),
            boot: Arc::from(self.boots.to_string()),
        }
    }

    fn passes(&mut self, seconds: u64) {
        self.wall += seconds;
        self.since_boot += seconds;
    }

    fn boots(&mut self, wall: u64) {
        self.wall = wall;
        self.since_boot = 3;
        self.boots += 1;
    }

    fn calendar(&self) -> Calendar {
        Calendar::new(BUILT, &self.now())
    }

    fn starts(&self, stored: Option<&LastOnline>) -> (Offline, Calendar) {
        let calendar = self.calendar();
        (Offline::start(stored, &calendar, &self.now()), calendar)
    }

    fn wall(&self) -> SystemTime {
        self.now().wall
    }
}

/// SM was online, and loses the cloud now.
fn disconnected(machine: &Machine) -> (Offline, Calendar) {
    let (mut offline, calendar) = machine.starts(None);
    offline.tell(true, &machine.now());
    offline.tell(false, &machine.now());
    (offline, calendar)
}

fn away(seconds: u64) -> Cloud {
    Cloud::Away(Duration::from_secs(seconds))
}

#[test]
fn while_online_nothing_counts() {
    let mut machine = Machine::new();
    let (mut offline, _) = machine.starts(None);

    assert!(offline.tell(true, &machine.now()));
    machine.passes(1_000_000);

    assert!(!offline.tell(true, &machine.now()));
    assert_eq!(offline.cloud(&machine.now()), Cloud::There);
    assert!(!offline.cloud(&machine.now()).forbids_start(Some(MINUTE)));
}

#[test]
fn time_counts_from_the_loss_and_ends_with_the_return() {
    let mut machine = Machine::new();
    let (mut offline, _) = disconnected(&machine);
    machine.passes(59);
    let before = offline.cloud(&machine.now());
    assert!(!offline.tell(false, &machine.now()));
    machine.passes(1);
    let after = offline.cloud(&machine.now());
    offline.tell(true, &machine.now());

    assert_eq!((before, after), (away(59), away(60)));
    assert!(!before.forbids_running(Some(MINUTE)) && after.forbids_running(Some(MINUTE)));
    assert!(!after.forbids_running(None));
    assert_eq!(offline.cloud(&machine.now()), Cloud::There);
}

#[test]
fn jumps_of_the_wall_clock_change_nothing_while_the_machine_is_up() {
    for wall in [0, 5_000_000_000] {
        let mut machine = Machine::new();
        let (offline, _) = disconnected(&machine);

        machine.wall = wall;
        machine.passes(10);

        assert_eq!(offline.cloud(&machine.now()), away(10));
    }
}

#[test]
fn restart_of_sm_goes_on_counting_whatever_the_wall_clock_does() {
    for wall in [0, 5_000_000_000] {
        let mut machine = Machine::new();
        let (offline, calendar) = disconnected(&machine);
        machine.passes(100);
        let stored = offline.last_online(&calendar, &machine.now());
        machine.passes(20);
        machine.wall = wall;

        let (mut again, _) = machine.starts(Some(&stored));
        let untold = again.cloud(&machine.now());
        machine.passes(1);
        again.tell(false, &machine.now());

        assert_eq!(untold, Cloud::Unknown(Duration::from_secs(120)));
        assert_eq!(again.cloud(&machine.now()), away(121));
    }
}

#[test]
fn time_without_power_counts_as_the_clock_says() {
    let mut machine = Machine::new();
    let (offline, calendar) = disconnected(&machine);
    machine.passes(100);
    let stored = offline.last_online(&calendar, &machine.now());

    machine.boots(machine.wall + 5000);
    let (again, _) = machine.starts(Some(&stored));

    assert_eq!(
        again.cloud(&machine.now()),
        Cloud::Unknown(Duration::from_secs(5100))
    );
}

#[test]
fn device_without_a_clock_counts_on_from_where_it_was() {
    let mut machine = Machine::new();
    let (offline, calendar) = disconnected(&machine);
    machine.passes(100);
    let stored = offline.last_online(&calendar, &machine.now());

    machine.boots(5);
    let (again, calendar) = machine.starts(Some(&stored));
    machine.passes(60);

    assert_eq!(again.cloud(&machine.now()), away(160));
    assert!(
        calendar.time(&machine.now())
            >= UNIX_EPOCH + Duration::from_secs(BUILT.cast_unsigned() + 60)
    );
    // The clock is set: nobody was away for fifty years.
    machine.wall = BUILT.cast_unsigned() + 9000;
    assert_eq!(again.cloud(&machine.now()), away(160));
    assert_eq!(calendar.time(&machine.now()), machine.wall());
}

#[test]
fn nobody_stops_before_cm_had_the_time_to_speak() {
    let mut machine = Machine::new();
    let (offline, calendar) = disconnected(&machine);
    machine.passes(3600);
    let stored = offline.last_online(&calendar, &machine.now());

    let (again, _) = machine.starts(Some(&stored));
    let first = again.cloud(&machine.now());
    machine.passes(29);
    let left = again.left_for_cm(&machine.now());
    machine.passes(1);
    let last = again.cloud(&machine.now());

    assert!(!first.forbids_running(Some(MINUTE)) && first.forbids_start(Some(MINUTE)));
    assert_eq!(left, Some(Duration::from_secs(1)));
    assert!(last.forbids_running(Some(MINUTE)));
    assert_eq!(again.left_for_cm(&machine.now()), None);
}

#[test]
fn device_that_was_never_online_begins_at_its_first_start() {
    let mut machine = Machine::new();
    let (offline, calendar) = machine.starts(None);
    let stored = offline.last_online(&calendar, &machine.now());
    machine.passes(40);

    let (again, _) = machine.starts(Some(&stored));

    assert_eq!(offline.cloud(&machine.now()), away(40));
    assert_eq!(
        again.cloud(&machine.now()),
        Cloud::Unknown(Duration::from_secs(40))
    );
}

#[test]
fn second_of_the_older_release_is_read() {
    let machine = Machine::new();
    let online = machine.wall - 77;

    let stored = LastOnline::from_text(&online.to_string()).unwrap();
    let (offline, _) = machine.starts(Some(&stored));

    assert_eq!(
        offline.cloud(&machine.now()),
        Cloud::Unknown(Duration::from_secs(77))
    );
    for text in ["", "null", "\"now\"", "{}", "[]", r#"{"awayMs": -1}"#] {
        assert!(LastOnline::from_text(text).is_err(), "{text}");
    }
}

#[derive(Clone, Debug)]
enum Happening {
    Passes(u64),
    Jumps(u64),
    Told(bool),
    Restarts,
    Boots(u64),
}

fn any_happening() -> impl Strategy<Value = Happening> {
    let wall = prop_oneof![
        Just(0),
        Just(5),
        BUILT.cast_unsigned()..BUILT.cast_unsigned() * 2
    ];
    prop_oneof![
        4 => (0u64..5000).prop_map(Happening::Passes),
        1 => wall.clone().prop_map(Happening::Jumps),
        2 => any::<bool>().prop_map(Happening::Told),
        2 => Just(Happening::Restarts),
        1 => wall.prop_map(Happening::Boots),
    ]
}

proptest! {
    /// Whatever the wall clock does: what has passed since the loss of the cloud
    /// while the machine was up counts wholly, nothing else does unless a boot lay
    /// in between, and while online nothing counts.
    #[test]
    fn no_jump_makes_time_or_loses_it(history in prop::collection::vec(any_happening(), 0..60)) {
        let mut machine = Machine::new();
        let (mut offline, mut calendar) = machine.starts(None);
        // The least that counts; and whether it is all.
        let (mut passed, mut exact, mut online) = (0, true, false);

        for happening in history {
            match happening {
                Happening::Passes(seconds) => {
                    machine.passes(seconds);
                    if !online {
                        passed += seconds;
                    }
                }
                Happening::Jumps(wall) => machine.wall = wall,
                Happening::Told(is_online) => {
                    offline.tell(is_online, &machine.now());
                    online = is_online;
                    if online {
                        (passed, exact) = (0, true);
                    }
                }
                Happening::Restarts | Happening::Boots(_) => {
                    let stored = offline.last_online(&calendar, &machine.now());
                    let stored = LastOnline::from_text(&stored.to_text()).unwrap();
                    if let Happening::Boots(wall) = happening {
                        machine.boots(wall);
                        exact = false;
                    }
                    (offline, calendar) = machine.starts(Some(&stored));
                    online = false;
                }
            }
            match offline.cloud(&machine.now()) {
                Cloud::There => prop_assert!(online),
                Cloud::Away(away) | Cloud::Unknown(away) => {
                    prop_assert!(!online);
                    prop_assert!(away.as_secs() >= passed, "{away:?} {passed}");
                    prop_assert!(!exact || away.as_secs() == passed, "{away:?} {passed}");
                }
            }
        }
    }

    #[test]
    fn no_stored_text_panics(text in "\\PC{0,60}") {
        drop(LastOnline::from_text(&text));
    }
}
