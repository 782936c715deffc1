//! Any interleaving ends with the last desired state.

use proptest::prelude::*;

use super::*;
use crate::launcher::host::{Exit, Resource};

/// Something that happens to the unit.
#[derive(Clone, Debug)]
enum Happening {
    List(Vec<(u8, u8)>, bool),
    Refuse(u8, u8),
    RefuseReleases(u8),
    Crash(u8),
    GiveUp(u8),
    Restart,
    Pause,
}

const SERVICES: [&str; 3] = ["a", "bb", "ccc"];

fn happening() -> impl Strategy<Value = Happening> {
    prop_oneof![
        4 => (prop::collection::vec((0u8..3, 0u8..3), 0..5), any::<bool>())
            .prop_map(|(instances, force)| Happening::List(instances, force)),
        1 => (0u8..3, 0u8..5).prop_map(|(service, resource)| Happening::Refuse(service, resource)),
        1 => (0u8..4).prop_map(Happening::RefuseReleases),
        2 => (0u8..4).prop_map(Happening::Crash),
        1 => (0u8..4).prop_map(Happening::GiveUp),
        1 => Just(Happening::Restart),
        2 => Just(Happening::Pause),
    ]
}

fn desired(instances: &[(u8, u8)], force: bool) -> DesiredState {
    let services = SERVICES.map(|id| (id, 1));
    let instances: Vec<_> = instances
        .iter()
        .map(|(service, index)| {
            let priority = u64::from(service * index) % 3;
            (SERVICES[usize::from(*service)], i64::from(*index), priority)
        })
        .collect();
    DesiredState {
        force_restart: force,
        ..list(&services, &instances)
    }
}

async fn happens(mut unit: Unit, what: Happening) -> Unit {
    let nth = |unit: &Unit, n: u8| unit.host.instances().into_iter().nth(usize::from(n));
    match what {
        Happening::List(instances, force) => unit.launcher.run(desired(&instances, force)).await,
        Happening::Refuse(service, resource) => {
            let what = Resource::ACQUIRE_ORDER[usize::from(resource)];
            unit.host
                .book()
                .refuse
                .insert((SERVICES[usize::from(service)].into(), what));
        }
        Happening::RefuseReleases(times) => {
            unit.host.book().refuse_releases = u32::from(times);
        }
        Happening::Crash(n) => {
            if let Some(id) = nth(&unit, n) {
                unit.host
                    .systemd_says(id, UnitEvent::Exited(Exit::Code(1)))
                    .await;
                unit.host
                    .systemd_says(id, state(UnitState::Active, "success"))
                    .await;
            }
        }
        Happening::GiveUp(n) => {
            if let Some(id) = nth(&unit, n) {
                unit.host
                    .systemd_says(id, state(UnitState::Failed, "exit-code"))
                    .await;
            }
        }
        Happening::Restart => unit = unit.restart().await,
        Happening::Pause => unit.launcher.alive().await,
    }
    unit
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn whatever_happened_the_last_list_runs_and_nothing_else_is_held(
        history in prop::collection::vec(happening(), 0..25),
        last in prop::collection::vec((0u8..3, 0u8..3), 0..5),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .unwrap();
        runtime.block_on(async {
            let mut unit = Unit::start().await;
            for what in history {
                unit = happens(unit, what).await;
            }
            unit.host.book().refuse.clear();
            unit.host.book().refuse_releases = 0;
            // What refused once is tried again by itself before the last list comes.
            tokio::time::advance(std::time::Duration::from_secs(3)).await;

            let first = unit.run(&desired(&last, false)).await;
            let status = unit.run(&desired(&last, false)).await;

            prop_assert_eq!(first.instances.len(), status.instances.len());
            let all_active =
                status.instances.iter().all(|each| each.desired.state == RunState::Active);
            prop_assert!(all_active, "{:?}", status);
            prop_assert_eq!(unit.host.instances().len(), status.instances.len());
            let held = unit.host.book().held.len();
            prop_assert_eq!(held, status.instances.len() * Resource::ACQUIRE_ORDER.len());
            prop_assert_eq!(&unit.host.book().violations, &Vec::<String>::new());
            Ok(())
        })?;
    }
}
