//! What the name server is told.

use std::net::Ipv4Addr;

use super::cases::instance;
use super::machine::{Machine, Manager, id, network, on_own_machine};
use crate::networkmanager::NetworkError;

const ALICE: Ipv4Addr = Ipv4Addr::new(10, 1, 0, 2);
const BOB: Ipv4Addr = Ipv4Addr::new(10, 1, 0, 3);

async fn start(machine: &Machine) -> Manager {
    let manager = machine.start().await;
    let list = vec![network("one", [10, 1, 0]), network("two", [10, 2, 0])];
    manager.networks.update(list).await;
    manager
}

#[test]
#[ignore = "needs root: run ci/test.sh"]
fn instance_is_published_until_it_leaves() {
    on_own_machine(async |machine| {
        let manager = start(&machine).await;
        manager.networks.adopted().await.unwrap();
        let before = machine.published();

        manager
            .networks
            .attach(instance(1, "one", ALICE))
            .await
            .unwrap();

        let added: Vec<_> = machine.published().difference(&before).cloned().collect();
        let names = ["1.subject.service", "host-1", &id(1).to_string()];
        let expected = names.map(|name| format!("{name} 10.1.0.2 in one on br-one 10.1.0.1/24"));
        let mut sorted = expected.to_vec();
        sorted.sort();
        assert_eq!(added, sorted);
        manager.networks.detach(id(1)).await.unwrap();
        assert_eq!(machine.published(), before);
    });
}

#[test]
#[ignore = "needs root: run ci/test.sh"]
fn names_stay_while_the_manager_is_away_and_when_it_is_back() {
    on_own_machine(async |machine| {
        let manager = start(&machine).await;
        let requests = [instance(1, "one", ALICE), instance(2, "one", BOB)];
        for request in requests.clone() {
            manager.networks.attach(request).await.unwrap();
        }
        let before = machine.published();

        manager.stop().await;
        assert_eq!(machine.published(), before);
        let manager = start(&machine).await;
        assert_eq!(machine.published(), before);

        for request in requests {
            manager.networks.adopt(request).await.unwrap();
        }
        manager.networks.adopted().await.unwrap();
        assert_eq!(machine.published(), before);
    });
}

#[test]
#[ignore = "needs root: run ci/test.sh"]
fn taken_name_is_the_error_of_the_second_in_its_network() {
    on_own_machine(async |machine| {
        let manager = start(&machine).await;
        let networks = &manager.networks;
        let mut first = instance(1, "one", ALICE);
        first.hostname = Some("same".into());
        networks.attach(first).await.unwrap();
        let before = (machine.inventory(), machine.rules(), machine.published());

        let mut second = instance(2, "one", BOB);
        second.hostname = Some("SAME".into());
        let refused = networks.attach(second).await.unwrap_err();

        assert!(
            matches!(refused, NetworkError::NameTaken { .. }),
            "{refused}"
        );
        assert_eq!(
            (machine.inventory(), machine.rules(), machine.published()),
            before
        );
        let mut elsewhere = instance(2, "two", Ipv4Addr::new(10, 2, 0, 2));
        elsewhere.hostname = Some("same".into());
        networks.attach(elsewhere).await.unwrap();
        networks.detach(id(1)).await.unwrap();
        let mut next = instance(3, "one", BOB);
        next.hostname = Some("same".into());
        networks.attach(next).await.unwrap();
    });
}

#[test]
#[ignore = "needs root: run ci/test.sh"]
fn network_that_goes_is_no_longer_published() {
    on_own_machine(async |machine| {
        let manager = start(&machine).await;
        manager.networks.adopted().await.unwrap();
        assert_eq!(machine.published().len(), 2);

        manager.networks.update(Vec::new()).await;
        manager.networks.alive().await.unwrap();

        assert!(machine.published().is_empty());
    });
}
