//! Whatever happens in whatever order, CM ends up with the present state.

use std::collections::BTreeMap;

use super::*;

/// What can happen to a node, its launcher and its connection.
#[derive(Clone, Debug)]
enum Happening {
    /// CM sends a list with so many instances.
    List(usize),
    /// The launcher takes up the next list that CM sent.
    TakenUp,
    Settled,
    Unsettled,
    Failed(usize),
    Recovered(usize),
    /// A crash that systemd heals at once.
    Crash(usize),
    /// The old version is kept.
    Kept(usize),
    Connected,
    Disconnected,
    /// One message gets through.
    Sent,
    /// The outbox looks at the launcher's state.
    Looked,
}

fn happening() -> impl Strategy<Value = Happening> {
    prop_oneof![
        1 => (0..4_usize).prop_map(Happening::List),
        2 => Just(Happening::TakenUp),
        3 => Just(Happening::Settled),
        1 => Just(Happening::Unsettled),
        1 => (0..4_usize).prop_map(Happening::Failed),
        1 => (0..4_usize).prop_map(Happening::Recovered),
        1 => (0..4_usize).prop_map(Happening::Crash),
        1 => (0..4_usize).prop_map(Happening::Kept),
        2 => Just(Happening::Connected),
        1 => Just(Happening::Disconnected),
        6 => Just(Happening::Sent),
        6 => Just(Happening::Looked),
    ]
}

/// The launcher, the outbox, and CM as it sees the messages.
struct World {
    launcher: RunStatus,
    /// Which one each instance of the list is, and how many there have been.
    ids: Vec<InstanceId>,
    instances: u128,
    /// Lists that CM sent and the launcher has not taken up.
    waiting: Vec<usize>,
    outbox: Outbox,
    connected: bool,
    greeted: bool,
    /// Generations that CM was told on this connection.
    answered: Vec<u64>,
    known: Option<Vec<InstanceStatus>>,
    /// The newest fault of each instance that CM knows of, by its index.
    known_faults: BTreeMap<i64, u64>,
}

impl World {
    fn new() -> Self {
        let launcher = unsettled(0, vec![report(active(0))]);

        Self {
            outbox: Outbox::new(launcher.clone()),
            launcher,
            ids: vec![InstanceId::from_u128(0)],
            instances: 1,
            waiting: vec![],
            connected: false,
            greeted: false,
            answered: vec![],
            known: None,
            known_faults: BTreeMap::new(),
        }
    }

    fn on(&mut self, happening: &Happening) {
        match *happening {
            Happening::List(count) if self.connected => {
                self.waiting.push(count);
                self.outbox.run_requested();
            }
            Happening::List(_) => {}
            Happening::TakenUp => self.take_up(),
            Happening::Settled => self.launcher.settled = true,
            Happening::Unsettled => self.launcher.settled = false,
            Happening::Failed(index) => self.change(index, |report| {
                report.desired.state = RunState::Failed(ErrorInfo::new("stopped"));
            }),
            Happening::Recovered(index) => self.change(index, |report| {
                report.desired.state = RunState::Active;
                report.kept = None;
            }),
            Happening::Crash(index) => {
                let id = self.ids.get(index).copied();
                self.change(index, |report| {
                    let number = faults_of(report) + 1;
                    report.last_fault = id.map(|instance| Fault {
                        instance,
                        ..fault(number).unwrap()
                    });
                });
            }
            Happening::Kept(index) => self.change(index, |report| {
                report.desired.state = RunState::Failed(ErrorInfo::new("not installed"));
                report.kept = Some(InstanceStatus {
                    version: 0,
                    state: RunState::Active,
                    ..report.desired.clone()
                });
            }),
            Happening::Connected if !self.connected => {
                self.connected = true;
                self.outbox.connected();
            }
            Happening::Connected => {}
            Happening::Disconnected => {
                self.connected = false;
                self.greeted = false;
                self.known = None;
                self.answered.clear();
                self.outbox.disconnected();
            }
            Happening::Sent => {
                self.send();
            }
            Happening::Looked => self.outbox.set_status(self.launcher.clone()),
        }
    }

    fn take_up(&mut self) {
        if self.waiting.is_empty() {
            return;
        }

        let count = self.waiting.remove(0);
        // What ran on runs on.
        let before = std::mem::take(&mut self.launcher.instances);
        self.ids.truncate(count);
        while self.ids.len() < count {
            let index = i64::try_from(self.ids.len()).unwrap();
            self.known_faults.remove(&index);
            self.ids.push(InstanceId::from_u128(self.instances));
            self.instances += 1;
        }
        let faults = before.into_iter().map(|report| report.last_fault);
        let instances = (0..).zip(faults.chain(std::iter::repeat(None)).take(count));
        let instances = instances.map(|(index, last_fault)| InstanceReport {
            last_fault,
            ..report(active(index))
        });
        self.launcher = unsettled(self.launcher.generation + 1, instances.collect());
    }

    fn change(&mut self, index: usize, change: impl FnOnce(&mut InstanceReport)) {
        if let Some(report) = self.launcher.instances.get_mut(index) {
            change(report);
        }
    }

    fn send(&mut self) -> bool {
        let Some(state) = self.outbox.next_state() else {
            return false;
        };
        assert!(self.connected, "sent without a connection");

        let seen = &self.outbox.status;
        if let State::Run(told) | State::Update(told) = &state {
            for failed in told.iter().filter(|told| told.state != RunState::Active) {
                let index = failed.ident.index;
                let at = usize::try_from(index).unwrap();
                let fault = seen.instances[at].last_fault.as_ref();
                if let Some(fault) = fault.filter(|fault| self.ids.get(at) == Some(&fault.instance))
                {
                    self.known_faults.insert(index, fault.number);
                }
            }
        }
        match state {
            State::NodeConfiguration => {
                assert!(!self.greeted, "greeted twice");
                self.greeted = true;
            }
            State::Run(all) => {
                assert!(self.greeted, "instances before the node");
                assert!(seen.settled, "answered before it settled");
                assert!(!self.answered.contains(&seen.generation), "answered twice");
                let idents = |all: &[InstanceStatus]| {
                    all.iter()
                        .map(|status| status.ident.clone())
                        .collect::<Vec<_>>()
                };
                let listed = seen.instances.iter().map(|report| report.desired.clone());
                assert_eq!(idents(&all), idents(&listed.collect::<Vec<_>>()));
                self.answered.push(seen.generation);
                self.known = Some(all);
            }
            State::Update(changed) => {
                assert!(seen.settled, "updated while unsettled");
                assert!(self.waiting.is_empty(), "updated before an answer");
                assert!(!changed.is_empty(), "updated without a change");
                let known = self
                    .known
                    .as_mut()
                    .expect("updated before the first answer");
                for status in changed {
                    let place = known
                        .iter_mut()
                        .find(|known| known.ident == status.ident)
                        .expect("updated an instance that is not in the list");
                    *place = status;
                }
            }
        }

        true
    }

    /// Lets everything come to rest with a connection.
    fn rest(&mut self) {
        while !self.waiting.is_empty() {
            self.on(&Happening::TakenUp);
        }
        self.on(&Happening::Settled);
        self.on(&Happening::Looked);
        self.on(&Happening::Connected);
        let messages = std::iter::from_fn(|| self.send().then_some(()))
            .take(100)
            .count();
        assert!(messages < 100, "never comes to rest");
    }
}

fn faults_of(report: &InstanceReport) -> u64 {
    report.last_fault.as_ref().map_or(0, |fault| fault.number)
}

proptest! {
    #[test]
    fn cm_ends_up_with_the_present_state(
        happenings in prop::collection::vec(happening(), 0..80),
    ) {
        let mut world = World::new();

        for happening in &happenings {
            world.on(happening);
        }
        world.rest();

        let present = world
            .launcher
            .instances
            .iter()
            .map(|report| report.kept.clone().unwrap_or(report.desired.clone()))
            .collect::<Vec<_>>();
        prop_assert_eq!(world.known, Some(present));
        prop_assert_eq!(world.answered.last(), Some(&world.launcher.generation));
    }

    /// Several may be told as one, the newest.
    #[test]
    fn no_crash_is_missed(happenings in prop::collection::vec(happening(), 0..80)) {
        let mut world = World::new();

        for happening in &happenings {
            world.on(happening);
        }
        world.rest();

        for report in &world.launcher.instances {
            let known = world.known_faults.get(&report.desired.ident.index);
            prop_assert_eq!(known.copied().unwrap_or_default(), faults_of(report));
        }
    }

    #[test]
    fn crash_after_all_was_told_is_always_told(
        happenings in prop::collection::vec(happening(), 0..40),
    ) {
        let mut world = World::new();
        for happening in &happenings {
            world.on(happening);
        }
        world.rest();
        prop_assume!(!world.launcher.instances.is_empty());

        world.on(&Happening::Disconnected);
        world.on(&Happening::Recovered(0));
        world.on(&Happening::Crash(0));
        world.on(&Happening::Looked);
        world.on(&Happening::Connected);
        let mut told = vec![];
        for state in drain(&mut world.outbox) {
            if let State::Update(changed) = state {
                told.extend(changed.into_iter().filter(|status| status.ident.index == 0));
            }
        }

        let number = faults_of(&world.launcher.instances[0]);
        let crash = failed(0, &format!("fault {number}"));
        prop_assert_eq!(told, [crash, active(0)]);
    }
}
