//! How long things take. Prints; asserts nothing.

use std::time::Instant;

use tokio::task::JoinSet;

use super::machine::{id, network, on_own_machine, request};

#[test]
#[ignore = "needs root: run ci/test.sh"]
fn time_of_attaching_and_detaching() {
    on_own_machine(async |machine| {
        let manager = machine.start().await;
        manager
            .networks
            .update(vec![network("provider", [10, 1, 0])])
            .await;
        manager.networks.alive().await.unwrap();

        for count in [1_u8, 1, 1, 8, 32, 200] {
            let start = Instant::now();
            let mut jobs = JoinSet::new();
            for n in 0..count {
                let networks = manager.networks.clone();
                jobs.spawn(async move {
                    let request = request(id(n.into()), "provider", [10, 1, 0, n + 2]);
                    networks.attach(request).await.unwrap();
                });
            }
            jobs.join_all().await;
            let attached = start.elapsed();

            let start = Instant::now();
            let mut jobs = JoinSet::new();
            for n in 0..count {
                let networks = manager.networks.clone();
                jobs.spawn(async move { networks.detach(id(n.into())).await.unwrap() });
            }
            jobs.join_all().await;
            println!("{count}: attach {attached:?}, detach {:?}", start.elapsed());
        }
    });
}
