//! Any sequence of commands and failures.

mod views;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use proptest::prelude::*;

use super::fake_kernel::FakeKernel;
use super::{Book, NetworkPlan};
use crate::model::{InstanceId, NetworkId, NetworkParameters};
use crate::networkmanager::handle::AttachRequest;
use crate::networkmanager::plan::{self, Operation};
use crate::networkmanager::{NetworkError, names};

const NETWORKS: u8 = 4;
const INSTANCES: u128 = 6;
const INTERFACES: [&str; 2] = ["eth0", "eth1"];

/// What the task does around the book, without its loop.
struct World {
    book: Book,
    kernel: FakeKernel,
    /// Undoing fails as anything else does.
    undo_fails: bool,
    /// Instances whose detach failed, so that something of them may be left.
    stuck: BTreeSet<InstanceId>,
}

impl World {
    fn new(failures: Vec<bool>, undo_fails: bool, without_vlans: bool) -> Self {
        let mut kernel = FakeKernel::default();
        for name in INTERFACES {
            kernel.add_interface(name);
        }
        kernel.failures = failures;
        kernel.without_vlans = without_vlans;
        Self {
            book: Book::default(),
            kernel,
            undo_fails,
            stuck: BTreeSet::new(),
        }
    }

    fn carry_out(&mut self, operations: &[Operation]) -> Result<(), String> {
        let mut undoing = false;
        let undo_fails = self.undo_fails;
        let kernel = &mut self.kernel;
        plan::carry_out(operations, |batch| {
            let spared = (undoing && !undo_fails).then(|| std::mem::take(&mut kernel.failures));
            let outcome = kernel.perform(batch);
            if let Some(failures) = spared {
                kernel.failures = failures;
            }
            undoing |= outcome.is_err();
            outcome
        })
        .map_err(|failure| failure.cause)
    }

    fn carry_out_plan(&mut self, plan: &NetworkPlan) {
        let outcome = self.carry_out(&plan.operations).map_err(|_| {
            Arc::new(NetworkError::NotKnown {
                network: plan.network.clone(),
            })
        });
        self.book.planned(plan, outcome);
    }

    fn settle(&mut self) {
        let existing = self.kernel.existing();
        let vlans = self.book.vlans(&existing);
        for plan in self.book.plans(&existing) {
            self.carry_out_plan(&plan);
        }
        let networks = vlans.networks.into_iter().flat_map(|plan| plan.operations);
        let forwarding = self.book.forwarding(&existing);
        for operation in vlans.leaving.into_iter().chain(networks).chain(forwarding) {
            drop(self.carry_out(&[operation]));
        }
        for rejoin in self.book.rejoins(&self.kernel.existing()) {
            drop(self.kernel.perform(&[rejoin]));
        }
    }

    fn update(&mut self, list: Vec<NetworkParameters>) {
        self.book.update(list, &self.kernel.existing());
        self.settle();
    }

    /// After an event.
    fn look(&mut self) {
        self.update(self.book.wanted());
    }

    /// Somebody deletes a bridge, or a link to other nodes.
    fn delete(&mut self, n: usize) {
        let links = self.kernel.links.iter();
        let names: Vec<_> = links
            .filter(|(_, link)| link.bridge || link.vlan.is_some())
            .map(|(name, _)| name.clone())
            .collect();
        if !names.is_empty() {
            let failures = std::mem::take(&mut self.kernel.failures);
            let bridge = names[n % names.len()].clone();
            self.kernel
                .perform(&[Operation::DeleteBridge { bridge }])
                .unwrap();
            self.kernel.failures = failures;
            self.look();
        }
    }

    fn attach(&mut self, request: &AttachRequest) {
        let Ok(seat) = self.book.take_seat(request, host_end(request.id)) else {
            return;
        };
        match self.carry_out(&plan::attach(&seat)) {
            Ok(()) => drop(self.stuck.remove(&seat.instance)),
            Err(_) => self.leave(seat.instance),
        }
    }

    fn detach(&mut self, instance: InstanceId) {
        let mut outcome = Ok(());
        for operation in plan::detach(instance, Some(&host_end(instance))) {
            outcome = outcome.and(self.kernel.perform(&[operation]));
        }
        if outcome.is_ok() {
            self.stuck.remove(&instance);
            self.leave(instance);
        } else {
            self.stuck.insert(instance);
        }
    }

    fn leave(&mut self, instance: InstanceId) {
        self.book.leave_seat(instance);
        for network in self.book.deserted() {
            if let Some(plan) = self.book.plan(&network, &self.kernel.existing()) {
                self.carry_out_plan(&plan);
            }
        }
    }

    /// SM ends and starts again; the launcher adopts what was attached.
    fn restart(&mut self, seats: &BTreeMap<InstanceId, AttachRequest>) {
        let members = std::mem::take(&mut self.book.members);
        self.book = Book::restored(self.book.stored(), &self.kernel.existing());
        self.settle();
        for instance in members.into_keys() {
            let adopted = seats
                .get(&instance)
                .is_some_and(|request| self.book.take_seat(request, host_end(request.id)).is_ok());
            if !adopted {
                self.detach(instance);
            }
        }
    }
}

fn host_end(instance: InstanceId) -> String {
    format!("veth{instance}")
}

#[derive(Clone, Debug)]
enum Action {
    Update(Vec<NetworkParameters>),
    Attach(Box<AttachRequest>),
    Detach(InstanceId),
    Restart,
    /// The default routes lead elsewhere now, or nowhere.
    Route(Vec<String>),
    /// Somebody deletes the n-th link that is not an interface.
    Delete(usize),
}

fn network(n: u8, subnet: u8, gateway: u8, vlan_id: u64) -> NetworkParameters {
    NetworkParameters {
        vlan_id,
        network_id: NetworkId::new(format!("network-{n}")),
        // 0: no subnet at all.
        subnet: match subnet {
            0 => String::new(),
            _ => format!("10.{subnet}.0.0/24"),
        },
        ip: format!("10.{subnet}.0.{gateway}"),
        ..NetworkParameters::default()
    }
}

fn any_network() -> impl Strategy<Value = NetworkParameters> {
    let vlan = prop_oneof![2 => Just(0), 3 => 1..5_u64, 1 => 4094..4097_u64];
    (0..NETWORKS, 0..6_u8, 1..3_u8, vlan)
        .prop_map(|(n, subnet, gateway, vlan)| network(n, subnet, gateway, vlan))
}

fn any_request() -> impl Strategy<Value = AttachRequest> {
    (0..INSTANCES, any_network(), 2..5_u8).prop_map(|(n, mut network, host)| {
        network.ip = format!("{}.{host}", network.ip.rsplit_once('.').unwrap().0);
        AttachRequest {
            id: InstanceId::from_u128(n),
            ident: Default::default(),
            network,
            provider_id: "".into(),
            hostname: None,
            extra_hosts: Vec::new(),
            exposed_ports: Vec::new(),
            speeds: Default::default(),
            limits: Default::default(),
        }
    })
}

fn any_action() -> impl Strategy<Value = Action> {
    prop_oneof![
        2 => prop::collection::vec(any_network(), 0..6).prop_map(Action::Update),
        5 => any_request().prop_map(|request| Action::Attach(Box::new(request))),
        2 => (0..INSTANCES).prop_map(|n| Action::Detach(InstanceId::from_u128(n))),
        1 => Just(Action::Restart),
        1 => Just(INTERFACES.map(String::from).to_vec())
            .prop_shuffle()
            .prop_flat_map(|names| prop::sample::subsequence(names, 0..=INTERFACES.len()))
            .prop_map(Action::Route),
        1 => any::<usize>().prop_map(Action::Delete),
    ]
}

fn any_failures() -> impl Strategy<Value = Vec<bool>> {
    prop::collection::vec(prop::bool::weighted(0.15), 0..120)
}

/// Runs the actions. `check` sees the world after each.
fn run(
    world: &mut World,
    actions: Vec<Action>,
    mut check: impl FnMut(&World) -> Result<(), TestCaseError>,
) -> Result<(), TestCaseError> {
    let mut seats = BTreeMap::new();
    for action in actions {
        match action {
            Action::Update(list) => world.update(list),
            Action::Attach(request) => {
                let attached = world.book.members.contains_key(&request.id);
                world.attach(&request);
                if !attached {
                    seats.insert(request.id, *request);
                }
            }
            Action::Detach(instance) => world.detach(instance),
            Action::Restart => world.restart(&seats),
            Action::Route(uplinks) => {
                world.kernel.uplinks = uplinks;
                world.look();
            }
            Action::Delete(n) => world.delete(n),
        }
        check(world)?;
    }

    Ok(())
}

/// What is left when all failures are over and all is taken back is nothing.
fn heal(world: &mut World) -> Result<(), TestCaseError> {
    world.kernel.failures.clear();
    world.kernel.uplinks = vec!["eth1".into(), "eth0".into()];
    let good: Vec<_> = (0..NETWORKS)
        .map(|n| network(n, n + 10, 1, u64::from(n)))
        .collect();

    world.update(good.clone());
    let bridges: BTreeMap<_, _> = world
        .kernel
        .links
        .values()
        .filter(|link| link.bridge)
        .map(|link| (link.alias.clone(), link.addresses.clone()))
        .collect();
    prop_assert_eq!(bridges.len(), good.len());
    let uplink = world.kernel.links["eth1"].index;
    let vlans = (1..NETWORKS).map(|n| {
        let alias = names::network_alias(&NetworkId::new(format!("network-{n}")));
        (u16::from(n), uplink, Some(alias))
    });
    prop_assert_eq!(world.vlans(), vlans.collect());
    // What is as it should be is left alone.
    prop_assert_eq!(world.pending(), 0);
    for network in good {
        let addresses = &bridges[&names::network_alias(&network.network_id)];
        let texts: Vec<_> = addresses
            .iter()
            .map(|address| address.to_string())
            .collect();
        prop_assert_eq!(texts, [format!("{}/24", network.ip)]);
    }

    world.update(Vec::new());
    for n in 0..INSTANCES {
        world.detach(InstanceId::from_u128(n));
    }
    let left: Vec<_> = world.kernel.links.keys().collect();
    prop_assert_eq!(left, INTERFACES);
    prop_assert_eq!(&world.kernel.namespaces, &BTreeMap::new());
    prop_assert!(world.book.networks.is_empty() && world.book.members.is_empty());
    Ok(())
}

proptest! {
    #[test]
    fn kernel_has_the_booked_instances_and_no_others(
        actions in prop::collection::vec(any_action(), 1..40),
        failures in any_failures(),
    ) {
        let mut world = World::new(failures, false, false);

        run(&mut world, actions, |world| {
            let present = world.instances();
            let booked: BTreeSet<_> = world.book.members.keys().copied().collect();
            prop_assert!(present.is_subset(&booked.union(&world.stuck).copied().collect()));
            for (instance, member) in &world.book.members {
                let inside = world.kernel.namespaces.get(instance).copied().flatten();
                let address = inside.map(|inside| inside.address);
                let whole = address == Some(member.address);
                prop_assert!(whole || world.stuck.contains(instance));
            }
            Ok(())
        })?;
        heal(&mut world)?;
    }

    #[test]
    fn what_could_not_even_be_undone_is_gone_in_the_end(
        actions in prop::collection::vec(any_action(), 1..40),
        failures in any_failures(),
    ) {
        let mut world = World::new(failures, true, false);

        run(&mut world, actions, |_| Ok(()))?;

        heal(&mut world)?;
    }

    #[test]
    fn kernel_without_802_1q_has_everything_else(
        actions in prop::collection::vec(any_action(), 1..40),
    ) {
        let mut world = World::new(Vec::new(), false, true);

        run(&mut world, actions, |world| {
            prop_assert!(world.vlans().is_empty());
            Ok(())
        })?;

        world.kernel.without_vlans = false;
        heal(&mut world)?;
    }

    #[test]
    fn after_a_look_there_is_nothing_left_to_do(
        actions in prop::collection::vec(any_action(), 1..40),
    ) {
        let mut world = World::new(Vec::new(), false, false);

        run(&mut world, actions, |_| Ok(()))?;
        world.look();

        prop_assert_eq!(world.pending(), 0);
    }
}
