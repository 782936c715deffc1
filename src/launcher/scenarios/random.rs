//! Any interleaving ends with the last desired state.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;
use crate::launcher::fake::BAD_RULE;
use crate::launcher::host::{Exit, Resource};
use crate::launcher::store::Store;
use crate::model::{FirewallRule, InstanceIdent};

/// Something that happens to the unit.
#[derive(Clone, Debug)]
enum Happening {
    /// Instances, version, rules, force.
    List(Vec<(u8, u8)>, u8, u8, bool),
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
    /// So many changes in place are refused.
    RefuseChanges(u8),
    /// The network is known, or not.
    Networks(bool),
    /// The place of this one is not what it should be.
    DamagePlace(u8),
    /// The probes of this version fail, or all succeed.
    Unwell(Option<u64>),
    Restart,
    /// SM is away, and this one loses this meanwhile.
    Loses(u8, u8),
    /// All instances end with SM, which starts again.
    End,
    Pause,
}

const SERVICES: [&str; 3] = ["a", "bb", "ccc"];

fn happening() -> impl Strategy<Value = Happening> {
    prop_oneof![
        4 => (prop::collection::vec((0u8..3, 0u8..3), 0..5), 1u8..3, 0..RULES, any::<bool>())
            .prop_map(|(instances, version, rules, force)| {
                Happening::List(instances, version, rules, force)
            }),
        1 => (0u8..3).prop_map(Happening::RefuseChanges),
        1 => any::<bool>().prop_map(Happening::Networks),
        1 => (0u8..4).prop_map(Happening::DamagePlace),
        1 => (0u8..3, 0u8..5).prop_map(|(service, resource)| Happening::Refuse(service, resource)),
        1 => (0u8..4).prop_map(Happening::RefuseReleases),
        2 => (0u8..4).prop_map(Happening::Crash),
        1 => (0u8..4).prop_map(Happening::GiveUp),
        1 => (0u8..7).prop_map(Happening::Break),
        1 => Just(Happening::Mend),
        1 => (0u8..7).prop_map(Happening::Damage),
        1 => (0u8..7).prop_map(Happening::Rot),
        1 => prop::option::of(1u64..3).prop_map(Happening::Unwell),
        1 => Just(Happening::Restart),
        1 => (0u8..4, 0u8..5).prop_map(|(n, resource)| Happening::Loses(n, resource)),
        1 => Just(Happening::End),
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
    for version in 1..3 {
        let key = service(SERVICES[1], version).key().to_string();
        let probe = super::trials::probe();
        unit.host.book().probes.insert(key, vec![probe]);
    }
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

/// Ways to choose rules. The last one is no rule.
const RULES: u8 = 4;

/// The same instances, with these rules.
fn with_rules(mut desired: DesiredState, rules: u8) -> DesiredState {
    for instance in &mut desired.instances {
        instance.network.rules = rules_of(instance.ident.index, rules);
    }
    desired
}

fn rules_of(index: i64, rules: u8) -> Vec<FirewallRule> {
    let proto = if rules == RULES - 1 { BAD_RULE } else { "tcp" };
    vec![FirewallRule {
        dst_port: if index == 0 { 80 } else { u16::from(rules) }.to_string(),
        proto: if index == 0 { "tcp" } else { proto }.into(),
        ..FirewallRule::default()
    }]
}

fn set_networks(unit: &Unit, known: bool) {
    let unknown: &[&str] = if known { &[] } else { &["provider"] };
    unit.host.networks_are_known_but(unknown);
}

async fn happens(mut unit: Unit, what: Happening) -> Unit {
    let nth = |unit: &Unit, n: u8| unit.host.instances().into_iter().nth(usize::from(n));
    match what {
        Happening::List(instances, version, rules, force) => {
            let list = desired(&instances, version, force);
            unit.launcher.run(with_rules(list, rules)).await;
        }
        Happening::RefuseChanges(times) => {
            unit.host.book().networks.refuse_changes = u32::from(times);
        }
        Happening::Networks(known) => set_networks(&unit, known),
        Happening::DamagePlace(n) => {
            if let Some(id) = nth(&unit, n) {
                unit.host.book().networks.damaged.insert(id);
            }
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
        Happening::Unwell(Some(version)) => {
            let key = service(SERVICES[1], version).key().to_string();
            unit.host.book().unwell.insert(key);
        }
        Happening::Unwell(None) => unit.host.book().unwell.clear(),
        Happening::Restart => unit = unit.restart().await,
        Happening::Loses(n, resource) => {
            let lost = nth(&unit, n).map(|id| (id, Resource::ACQUIRE_ORDER[usize::from(resource)]));
            let loses = |host: &FakeHost| {
                host.book().held.retain(|held| Some(*held) != lost);
            };
            unit = unit.restart_after(loses).await;
        }
        Happening::End => {
            unit.launcher.end().await;
            unit = unit.restart().await;
        }
        Happening::Pause => unit.launcher.alive().await,
    }
    unit
}

pub(super) fn runtime() -> tokio::runtime::Runtime {
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

/// Every instance has these rules: on the machine, and as it is stored.
async fn assert_rules(unit: &Unit, rules: u8) -> Result<(), TestCaseError> {
    let places = unit.host.book().networks.places.clone();
    let stored = Store::new(unit.database.clone()).load().await.unwrap();
    for (id, place) in &places {
        let row = stored.instances.iter().find(|row| row.id == *id).unwrap();
        let wanted = rules_of(row.ident.index, rules);
        prop_assert_eq!(place, &wanted);
        prop_assert_eq!(&row.held.as_ref().unwrap().info.network.rules, &wanted);
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn whatever_happened_the_last_list_runs_and_nothing_else_is_held(
        history in prop::collection::vec(happening(), 0..25),
        last in prop::collection::vec((0u8..3, 0u8..3), 0..5),
        rules in 0..RULES - 1,
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
            unit.host.book().unwell.clear();
            unit.host.book().refuse_releases = 0;
            unit.host.book().networks.refuse_changes = 0;
            set_networks(&unit, true);
            // What refused once is tried again by itself before the last list comes.
            tokio::time::advance(std::time::Duration::from_secs(3)).await;

            let list = with_rules(desired(&last, 1, false), rules);
            let first = unit.run(&list).await;
            let status = unit.run(&list).await;

            prop_assert_eq!(first.instances.len(), status.instances.len());
            let all_active =
                status.instances.iter().all(|each| each.desired.state == RunState::Active);
            prop_assert!(all_active, "{:?}", status);
            prop_assert_eq!(unit.host.instances().len(), status.instances.len());
            let held = unit.host.book().held.len();
            prop_assert_eq!(held, status.instances.len() * Resource::ACQUIRE_ORDER.len());
            assert_rules(&unit, rules).await?;
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

    #[test]
    fn changes_of_rules_stop_nobody_whatever_comes_of_them(
        lists in prop::collection::vec(
            (0..RULES, 0u8..3, any::<bool>(), any::<bool>(), any::<bool>()),
            1..10,
        ),
        last in 0..RULES - 1,
    ) {
        runtime().block_on(async {
            let mut unit = start(true).await;
            let list = |rules| with_rules(desired(&[(0, 0), (1, 1), (2, 2)], 1, false), rules);
            unit.run(&list(0)).await;
            unit.starts();

            for (rules, refusals, known, restarts, waits) in lists {
                unit.host.book().networks.refuse_changes = u32::from(refusals);
                set_networks(&unit, known);
                if waits {
                    unit.run(&list(rules)).await;
                } else {
                    unit.launcher.run(list(rules)).await;
                }
                if restarts {
                    unit = unit.restart().await;
                }
            }
            unit.host.book().networks.refuse_changes = 0;
            set_networks(&unit, true);
            let status = unit.run(&list(last)).await;

            prop_assert!(briefs(&status).iter().all(|each| each.ends_with("active")));
            prop_assert_eq!(unit.starts(), Vec::<String>::new());
            prop_assert_eq!(&unit.host.book().stops, &[]);
            prop_assert_eq!(&unit.host.book().violations, &Vec::<String>::new());
            assert_rules(&unit, last).await?;
            Ok(())
        })?;
    }
}
