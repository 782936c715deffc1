//! Any history of a clock, of instances and of power.

use std::collections::BTreeMap;
use std::time::Duration;

use proptest::prelude::*;
use tokio::time::Instant;

use super::accounts::Key;
use super::book::{Moment, TrafficBook};
use super::days::{self, Days, Turn};
use super::store::{Loaded, Row, Save};
use crate::model::{Flow, InstanceId};
use crate::storage::Clock;

const DAY: i64 = 24 * 60 * 60;
const QUOTA: u64 = 100;
const INSTANCES: u128 = 3;

#[derive(Clone, Debug)]
enum Step {
    /// Time passes, and the kernel is asked at its end and at midnights.
    Pass(i64),
    /// An instance wants to send so much, and the node does.
    Send(u128, u64),
    Attach(u128),
    Detach(u128),
    /// Somebody sets the clock. It is noticed, or not yet.
    Jump(Jump, bool),
    /// SM is started anew.
    Restart,
    /// The machine is off for a while, and its clock shows this then.
    Reboot(i64, Option<Jump>),
    /// The same, without what was counted since the last write.
    PowerCut(i64, Option<Jump>),
}

#[derive(Clone, Copy, Debug)]
enum Jump {
    Right,
    By(i64),
    /// A time that is the same each time.
    To(i64),
}

#[derive(Default)]
struct Disk {
    days: Option<Days>,
    rows: BTreeMap<Key, (i64, u64)>,
}

impl Disk {
    fn write(&mut self, save: &Save) {
        if save.replace {
            self.rows.clear();
        }
        let today = save.days.today();
        let rows = save.rows.iter().map(|(key, bytes)| (*key, (today, *bytes)));
        self.rows.extend(rows);
        self.days = Some(save.days.clone());
    }

    fn load(&self) -> Loaded {
        let row = |(key, (day, bytes)): (&Key, &(i64, u64))| Row {
            key: *key,
            day: *day,
            bytes: *bytes,
        };
        Loaded {
            days: self.days.clone(),
            rows: self.rows.iter().map(row).collect(),
            unreadable: false,
        }
    }
}

/// What happens on a day of the world.
#[derive(Default)]
struct Events {
    /// The clock was right when it began.
    right: bool,
    jumps: u64,
    sent: BTreeMap<u128, u64>,
    lost: u64,
}

struct World {
    real: i64,
    /// How far the clock is ahead.
    ahead: i64,
    begin: (i64, Instant),
    book: TrafficBook,
    disk: Disk,
    node: u64,
    kernel: BTreeMap<InstanceId, u64>,
    /// What is to be counted since the last new day; the node's under 0.
    expected: BTreeMap<u128, u64>,
    /// What a power cut goes back to.
    written: BTreeMap<u128, u64>,
    days: BTreeMap<i64, Events>,
    begun: u32,
}

fn id(instance: u128) -> InstanceId {
    InstanceId::from_u128(instance)
}

fn sent(bytes: u64) -> Flow {
    Flow {
        received: 0,
        sent: bytes,
    }
}

impl World {
    fn new() -> Self {
        let real = (days::day_of(Clock::built()) + 1000) * DAY + DAY / 3;
        let begin = (real, Instant::now());
        let now = Moment {
            wall: real,
            at: begin.1,
        };
        Self {
            real,
            ahead: 0,
            begin,
            book: TrafficBook::restored(Loaded::default(), now),
            disk: Disk::default(),
            node: 0,
            kernel: BTreeMap::new(),
            expected: BTreeMap::new(),
            written: BTreeMap::new(),
            days: BTreeMap::new(),
            begun: 0,
        }
    }

    fn now(&self) -> Moment {
        let elapsed = Duration::from_secs((self.real - self.begin.0).unsigned_abs());
        Moment {
            wall: self.real + self.ahead,
            at: self.begin.1 + elapsed,
        }
    }

    fn today(&mut self) -> &mut Events {
        self.days.entry(days::day_of(self.real)).or_default()
    }

    fn step(&mut self, step: &Step) {
        match *step {
            Step::Pass(seconds) => self.pass(seconds),
            Step::Send(instance, bytes) => self.send(instance, bytes),
            Step::Attach(instance) => self.attach(instance),
            Step::Detach(instance) => self.detach(instance),
            Step::Jump(jump, noticed) => {
                self.jump(jump);
                if noticed {
                    self.poll();
                }
            }
            Step::Restart => {
                self.poll();
                self.start();
            }
            Step::Reboot(off, jump) => {
                self.poll();
                self.boot(off, jump);
            }
            Step::PowerCut(off, jump) => {
                let total = |bytes: &BTreeMap<u128, u64>| bytes.values().sum::<u64>();
                let lost = total(&self.expected) - total(&self.written);
                self.expected = self.written.clone();
                self.today().lost += lost;
                self.boot(off, jump);
                self.today().lost += lost;
            }
        }
    }

    fn pass(&mut self, seconds: i64) {
        let end = self.real + seconds;
        while self.real < end {
            let midnight = days::rest_of_day(self.now().wall).as_secs();
            let step = i64::try_from(midnight).unwrap().min(end - self.real);
            self.go_on(step);
            self.poll();
        }
    }

    /// Time goes by. The days that begin meanwhile learn whether the clock is
    /// right.
    fn go_on(&mut self, seconds: i64) {
        let before = days::day_of(self.real);
        self.real += seconds;
        for day in before + 1..=days::day_of(self.real) {
            self.days.entry(day).or_default().right = self.ahead == 0;
        }
    }

    fn poll(&mut self) {
        let node = sent(self.node);
        let instances: BTreeMap<_, _> = self
            .kernel
            .iter()
            .map(|(id, bytes)| (*id, sent(*bytes)))
            .collect();
        let now = self.now();
        match self.book.look(now) {
            Turn::Same => self.book.read(node, &instances),
            Turn::New => {
                let ended = self.book.turn(now, node, &instances);
                assert_eq!(ended.node.sent, self.count(0), "the day that ended");
                self.node = 0;
                self.kernel.values_mut().for_each(|bytes| *bytes = 0);
                self.expected.clear();
                self.begun += 1;
            }
        }
        self.write();
        self.check();
    }

    fn write(&mut self) {
        if let Some(save) = self.book.unsaved() {
            self.disk.write(&save);
            self.book.saved(save);
        }
        assert_eq!(self.book.unsaved(), None);
        self.written = self.expected.clone();
    }

    fn count(&self, whose: u128) -> u64 {
        self.expected.get(&whose).copied().unwrap_or_default()
    }

    fn send(&mut self, instance: u128, bytes: u64) {
        self.node += bytes;
        *self.expected.entry(0).or_default() += bytes;
        let Some(counter) = self.kernel.get_mut(&id(instance)) else {
            return;
        };

        let passed = bytes.min(QUOTA.saturating_sub(*counter));
        *counter += passed;
        *self.expected.entry(instance).or_default() += passed;
        *self.today().sent.entry(instance).or_default() += passed;
    }

    fn attach(&mut self, instance: u128) {
        if !self.kernel.contains_key(&id(instance)) {
            let start = self.book.start(id(instance));
            assert_eq!(start, sent(self.count(instance)));
            self.kernel.insert(id(instance), start.sent);
        }
    }

    fn detach(&mut self, instance: u128) {
        let last = self.kernel.remove(&id(instance));
        self.book.stop(id(instance), last.map(sent));
        // All is written with it, but only what was read.
        if let Some(save) = self.book.unsaved() {
            self.disk.write(&save);
            self.book.saved(save);
        }
        let count = self.count(instance);
        self.written.insert(instance, count);
    }

    fn jump(&mut self, jump: Jump) {
        let ahead = match jump {
            Jump::Right => 0,
            Jump::By(seconds) => self.ahead + seconds,
            Jump::To(time) => time - self.real,
        };
        if ahead != self.ahead {
            self.ahead = ahead;
            self.today().jumps += 1;
        }
    }

    fn boot(&mut self, off: i64, jump: Option<Jump>) {
        self.go_on(off);
        if let Some(jump) = jump {
            self.jump(jump);
        }
        let attached: Vec<_> = self.kernel.keys().copied().collect();
        self.kernel.clear();
        self.start();
        self.node = self.book.node().sent;
        for instance in attached {
            let start = self.book.start(instance);
            self.kernel.insert(instance, start.sent);
        }
        self.poll();
    }

    /// SM starts. The kernel may have its counters yet.
    fn start(&mut self) {
        self.book = TrafficBook::restored(self.disk.load(), self.now());
        for instance in self.kernel.keys() {
            self.book.start(*instance);
        }
    }

    fn check(&self) {
        let figures = self.book.figures();
        assert_eq!(figures.node, sent(self.count(0)));
        assert!(figures.instances.keys().eq(self.kernel.keys()));
        for instance in 1..=INSTANCES {
            if let Some(flow) = figures.instances.get(&id(instance)) {
                assert_eq!(*flow, sent(self.count(instance)), "{instance}");
            }
        }
    }

    /// On a day that begins with the right time an instance gets its quota, and
    /// two more for each time that somebody sets the clock: that of the day it
    /// shows then, and that of the midnight after.
    fn check_quotas(&self) {
        for (day, events) in self.days.iter().filter(|(_, events)| events.right) {
            let most = QUOTA * (1 + 2 * events.jumps) + events.lost;
            for (instance, sent) in &events.sent {
                assert!(*sent <= most, "{instance} sent {sent} on day {day}");
            }
        }
    }
}

fn jump() -> impl Strategy<Value = Jump> {
    let fixed = World::new().real;
    prop_oneof![
        3 => Just(Jump::Right),
        2 => (-7200..7200_i64).prop_map(Jump::By),
        2 => (-5..5_i64).prop_map(|days| Jump::By(days * DAY)),
        1 => prop_oneof![Just(-1_i64), Just(1)].prop_map(|sign| Jump::By(sign * 20 * 365 * DAY)),
        // A start in 1970, at the time of the build, in a wrong year.
        2 => prop_oneof![Just(0), Just(fixed - 200 * DAY), Just(fixed + 9999 * DAY)]
            .prop_map(Jump::To),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    let off = || prop_oneof![Just(0), 0..DAY, 0..40 * DAY];
    let jumped = || proptest::option::of(jump());
    let instance = || 1..=INSTANCES;
    prop_oneof![
        4 => (1..3600_i64).prop_map(Step::Pass),
        2 => (3600..2 * DAY).prop_map(Step::Pass),
        6 => (instance(), 0..80_u64).prop_map(|(instance, bytes)| Step::Send(instance, bytes)),
        3 => instance().prop_map(Step::Attach),
        1 => instance().prop_map(Step::Detach),
        3 => (jump(), any::<bool>()).prop_map(|(jump, noticed)| Step::Jump(jump, noticed)),
        1 => Just(Step::Restart),
        1 => (off(), jumped()).prop_map(|(off, jump)| Step::Reboot(off, jump)),
        1 => (off(), jumped()).prop_map(|(off, jump)| Step::PowerCut(off, jump)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn no_byte_is_lost_or_counted_twice_and_no_quota_given_twice(
        steps in proptest::collection::vec(step(), 1..60)
    ) {
        let mut world = World::new();
        for step in &steps {
            world.step(step);
        }
        world.poll();
        world.check_quotas();
    }

    #[test]
    fn days_of_the_world_count_again_when_the_clock_is_right_again(
        steps in proptest::collection::vec(step(), 1..60)
    ) {
        let mut world = World::new();
        for step in &steps {
            world.step(step);
        }
        world.step(&Step::Jump(Jump::Right, true));
        let begun = world.begun;
        world.pass(40 * DAY);

        // But for those that were shown too early, and are remembered.
        prop_assert!(world.begun - begun >= 40 - 4);
    }
}
