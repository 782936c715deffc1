//! Any interleaving ends with the last desired state.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;
use crate::launcher::host::{Exit, Resource};
use crate::model::InstanceIdent;

/// Something that happens to the unit.
#[derive(Clone, Debug)]
enum Happening {
    List(Vec<(u8, u8)>, u8, bool),
    Refuse(u8, u8),
    RefuseReleases(u8),
    Crash(u8),
    GiveUp(u8),
    /// Installs of this version, or of the layer, fail from now on.
    Break(u8),
    Mend,
    Damage(u8),
    /// The next proof of this one fails.
    Rot(u8),
    Restart,
    Pause,
}

const SERVICES: [&str; 3] = ["a", "bb", "ccc"];

fn happening() -> impl Strategy<Value = Happening> {
    prop_oneof![
        4 => (prop::collection::vec((0u8..3, 0u8..3), 0..5), 1u8..3, any::<bool>())
            .prop_map(|(instances, version, force)| Happening::List(instances, version, force)),
        1 => (0u8..3, 0u8..5).prop_map(|(service, resource)| Happening::Refuse(service, resource)),
        1 => (0u8..4).prop_map(Happening::RefuseReleases),
        2 => (0u8..4).prop_map(Happening::Crash),
        1 => (0u8..4).prop_map(Happening::GiveUp),
        1 => (0u8..7).prop_map(Happening::Break),
        1 => Just(Happening::Mend),
        1 => (0u8..7).prop_map(Happening::Damage),
        1 => (0u8..7).prop_map(Happening::Rot),
        1 => Just(Happening::Restart),
        2 => Just(Happening::Pause),
    ]
}

/// The layer that one of the services needs.
const LAYER: &str = "sha256:aa";

/// Versions 1 and 2 of each service, and the layer.
fn item(n: u8) -> ContentItem {
    match SERVICES.get(usize::from(n % 4)) {
        Some(id) => ContentItem::Service(service(id, u64::from(n / 4) + 1).key()),
        None => ContentItem::Layer(LAYER.into()),
    }
}

fn name(item: &ContentItem) -> String {
    match item {
        ContentItem::Service(key) => key.to_string(),
        ContentItem::Layer(digest) => digest.clone(),
    }
}

fn policy(keeps: bool) -> UpdatePolicy {
    if keeps {
        UpdatePolicy::KeepOld
    } else {
        UpdatePolicy::Replace
    }
}

async fn start(keeps: bool) -> Unit {
    let unit = Unit::start_with(policy(keeps)).await;
    let layers = vec![LAYER.to_owned()];
    unit.host.book().needs.insert(SERVICES[0].into(), layers);
    unit
}

fn desired(instances: &[(u8, u8)], version: u8, force: bool) -> DesiredState {
    let services = SERVICES.map(|id| (id, u64::from(version)));
    let instances: Vec<_> = instances
        .iter()
        .map(|(service, index)| {
            let priority = u64::from(service * index) % 3;
            (SERVICES[usize::from(*service)], i64::from(*index), priority)
        })
        .collect();
    DesiredState {
        force_restart: force,
        layers: vec![LayerInfo {
            digest: LAYER.into(),
            ..LayerInfo::default()
        }],
        ..list(&services, &instances)
    }
}

async fn happens(mut unit: Unit, what: Happening) -> Unit {
    let nth = |unit: &Unit, n: u8| unit.host.instances().into_iter().nth(usize::from(n));
    match what {
        Happening::List(instances, version, force) => {
            unit.launcher.run(desired(&instances, version, force)).await;
        }
        Happening::Break(n) => {
            unit.host.book().broken.insert(name(&item(n)));
        }
        Happening::Mend => unit.host.book().broken.clear(),
        Happening::Damage(n) => unit.host.content_is_damaged(&item(n)).await,
        Happening::Rot(n) => {
            unit.host.book().rotten.insert(item(n), 1);
        }
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

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap()
}

impl Unit {
    /// Whose unit runs.
    fn running(&self) -> BTreeMap<InstanceIdent, InstanceId> {
        let status = self.status.borrow();
        let idents = status.instances.iter().map(|each| &each.desired.ident);
        let stored = self.host.book().idents.clone();
        idents
            .filter_map(|ident| Some((ident.clone(), *stored.get(&ident.to_string())?)))
            .filter(|(_, id)| self.host.book().held.contains(&(*id, Resource::Unit)))
            .collect()
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn whatever_happened_the_last_list_runs_and_nothing_else_is_held(
        history in prop::collection::vec(happening(), 0..25),
        last in prop::collection::vec((0u8..3, 0u8..3), 0..5),
        keeps in any::<bool>(),
    ) {
        runtime().block_on(async {
            let mut unit = start(keeps).await;
            for what in history {
                unit = happens(unit, what).await;
                // Nobody reads them, and there is room for some only.
                unit.alerts();
            }
            unit.host.book().broken.clear();
            unit.host.book().rotten.clear();
            unit.host.book().refuse.clear();
            unit.host.book().refuse_releases = 0;
            // What refused once is tried again by itself before the last list comes.
            tokio::time::advance(std::time::Duration::from_secs(3)).await;

            let first = unit.run(&desired(&last, 1, false)).await;
            let status = unit.run(&desired(&last, 1, false)).await;

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

    #[test]
    fn with_keep_old_no_failing_install_takes_down_what_stays_in_the_list(
        lists in prop::collection::vec(
            (
                prop::collection::vec((0u8..3, 0u8..3), 0..6),
                1u8..4,
                any::<bool>(),
                prop::collection::btree_set(0u8..12, 0..6),
                any::<bool>(),
            ),
            1..8,
        ),
    ) {
        runtime().block_on(async {
            let mut unit = start(true).await;
            for (instances, version, force, broken, restart) in lists {
                if restart {
                    unit = unit.restart().await;
                    unit.until(|status| status.settled).await;
                }
                let broken: BTreeSet<_> = broken.into_iter().map(|n| name(&item(n))).collect();
                unit.host.book().broken.clone_from(&broken);
                unit.host.book().stops.clear();
                let running = unit.running();

                let list = desired(&instances, version, force);
                let status = unit.run(&list).await;

                let stops = unit.host.book().stops.clone();
                let still = unit.running();
                for report in &status.instances {
                    let ident = &report.desired.ident;
                    let Some(id) = running.get(ident) else { continue };
                    prop_assert_eq!(still.get(ident), Some(id), "{}", brief(report));
                    let key = service(ident.service_id.as_str(), u64::from(version)).key();
                    let layer = ident.service_id.as_str() == SERVICES[0] && broken.contains(LAYER);
                    if layer || broken.contains(&key.to_string()) {
                        prop_assert!(!stops.contains(id), "{} was stopped", brief(report));
                        prop_assert!(report.kept.is_some(), "{}", brief(report));
                    }
                }
            }
            Ok(())
        })?;
    }
}
