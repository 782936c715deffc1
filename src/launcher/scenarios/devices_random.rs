//! Whatever happens, a device is used by the best, and never by too many.

use proptest::prelude::*;

use super::devices::{camera, start};
use super::random::runtime;
use super::*;

const SERVICES: [&str; 3] = ["one", "two", "three"];

#[derive(Clone, Debug)]
enum Happening {
    /// Priorities of those that are wanted; whether all are restarted.
    List([Option<u8>; 3], bool),
    /// So many may use it.
    Share(u8),
    Unplug(bool),
    GiveUp(u8),
    RefuseReleases(u8),
    Restart,
}

fn happening() -> impl Strategy<Value = Happening> {
    prop_oneof![
        4 => (any_list(), any::<bool>()).prop_map(|(list, force)| Happening::List(list, force)),
        2 => (0u8..4).prop_map(Happening::Share),
        1 => any::<bool>().prop_map(Happening::Unplug),
        2 => (0u8..3).prop_map(Happening::GiveUp),
        1 => (0u8..3).prop_map(Happening::RefuseReleases),
        1 => Just(Happening::Restart),
    ]
}

fn any_list() -> impl Strategy<Value = [Option<u8>; 3]> {
    [
        prop::option::weighted(0.8, 0u8..3),
        prop::option::of(0u8..3),
        prop::option::of(0u8..3),
    ]
}

fn desired(priorities: [Option<u8>; 3], force_restart: bool) -> DesiredState {
    let wanted: Vec<_> = SERVICES
        .into_iter()
        .zip(priorities)
        .filter_map(|(service, priority)| Some((service, u64::from(priority?))))
        .collect();
    DesiredState {
        force_restart,
        ..camera(&wanted)
    }
}

async fn happens(unit: Unit, what: Happening) -> Unit {
    match what {
        Happening::List(priorities, force) => unit.launcher.run(desired(priorities, force)).await,
        Happening::Share(limit) => {
            // The machine judges starts by what is in force when they come.
            unit.calm().await;
            unit.host.devices_are(&[("camera", u64::from(limit))]);
            unit.idle().await;
        }
        Happening::Unplug(is_gone) => {
            unit.host
                .unplugged_are(if is_gone { &["camera"] } else { &[] });
        }
        Happening::GiveUp(n) => {
            if let Some(id) = unit.host.instances().into_iter().nth(usize::from(n)) {
                let gone = state(UnitState::Failed, "exit-code");
                unit.host.systemd_says(id, gone).await;
            }
        }
        Happening::RefuseReleases(times) => {
            unit.host.book().refuse_releases = u32::from(times);
        }
        Happening::Restart => return unit.restart().await,
    }
    unit
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn the_best_end_up_with_it_and_never_too_many(
        history in prop::collection::vec(happening(), 0..20),
        last in any_list(),
        limit in 0u8..4,
    ) {
        runtime().block_on(async {
            let mut unit = start().await;
            for what in history {
                unit = happens(unit, what).await;
                unit.alerts();
            }
            unit.host.book().refuse_releases = 0;
            unit.host.unplugged_are(&[]);
            tokio::time::advance(std::time::Duration::from_secs(3)).await;
            unit.calm().await;
            unit.host.devices_are(&[("camera", u64::from(limit))]);
            unit.idle().await;

            let status = unit.run(&desired(last, true)).await;
            unit.idle().await;

            let is_active = |report: &InstanceReport| report.desired.state == RunState::Active;
            let priority = |report: &InstanceReport| {
                let service = report.desired.ident.service_id.as_str();
                let index = SERVICES.iter().position(|name| *name == service).unwrap();
                last[index].unwrap()
            };
            let (active, refused): (Vec<_>, Vec<_>) =
                status.instances.iter().partition(|report| is_active(report));
            let wanted = status.instances.len();
            let expected = if limit == 0 { wanted } else { wanted.min(limit.into()) };
            prop_assert_eq!(active.len(), expected, "{:?}", status);
            let worst = active.iter().map(|report| priority(report)).min();
            let best = refused.iter().map(|report| priority(report)).max();
            prop_assert!(best.is_none() || best <= worst, "{:?}", status);
            prop_assert_eq!(unit.host.instances().len(), expected);
            prop_assert_eq!(&unit.host.book().violations, &Vec::<String>::new());
            Ok(())
        })?;
    }
}
