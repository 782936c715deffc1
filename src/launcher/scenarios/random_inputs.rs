//! Whatever CM, the cloud and IAM do, what they said last holds, without a new
//! list.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use aos_package::ServiceConfig;
use proptest::prelude::*;
use serde_json::json;
use tokio::time::sleep;

use super::overrides::{filter, set};
use super::random::runtime;
use super::*;

#[derive(Clone, Debug)]
enum Happening {
    /// Which services have an instance, and in which version.
    List(BTreeSet<u8>, u8),
    Variables(u8),
    Cloud(bool),
    /// IAM goes, or a process of it comes.
    Iam(bool, bool),
    /// SM starts again, after so many seconds.
    Restart(u8),
    Passes(u8),
}

/// One without wishes, one that needs a secret, one that may be offline for
/// a while, and one that needs both.
const SERVICES: [&str; 4] = ["a", "bb", "ccc", "dddd"];

fn happening() -> impl Strategy<Value = Happening> {
    prop_oneof![
        2 => (prop::collection::btree_set(0u8..4, 0..4), 1u8..3)
            .prop_map(|(services, version)| Happening::List(services, version)),
        2 => (0u8..3).prop_map(Happening::Variables),
        2 => any::<bool>().prop_map(Happening::Cloud),
        2 => (any::<bool>(), any::<bool>()).prop_map(|(goes, knows)| Happening::Iam(goes, knows)),
        1 => (0u8..40).prop_map(Happening::Restart),
        2 => (0u8..40).prop_map(Happening::Passes),
    ]
}

fn seconds(n: u8) -> Duration {
    Duration::from_secs(n.into())
}

async fn start() -> Unit {
    let unit = Unit::start().await;
    let vis = BTreeMap::from([("Signal".to_owned(), "r".to_owned())]);
    let permissions = BTreeMap::from([("vis".to_owned(), vis)]);
    for (id, needs_secret, may_be_offline) in [
        ("bb", true, false),
        ("ccc", false, true),
        ("dddd", true, true),
    ] {
        let config = ServiceConfig {
            permissions: needs_secret.then(|| permissions.clone()),
            offline_ttl: may_be_offline.then(|| json!("20s")),
            ..ServiceConfig::default()
        };
        unit.host.book().configs.insert(id.to_owned(), config);
    }
    unit
}

fn desired(services: &BTreeSet<u8>, version: u8) -> DesiredState {
    let ids: Vec<_> = services.iter().map(|n| SERVICES[usize::from(*n)]).collect();
    let services: Vec<_> = ids.iter().map(|id| (*id, u64::from(version))).collect();
    let instances: Vec<_> = ids.iter().map(|id| (*id, 0, id.len() as u64)).collect();
    list(&services, &instances)
}

async fn set_variables(unit: &Unit, n: u8) {
    let list: &[_] = &[set(filter("", "", None), &format!("A={n}"), None)];
    let errors = unit.overrides(if n == 0 { &[] } else { list }).await;
    assert!(errors.iter().all(String::is_empty), "{errors:?}");
}

async fn happens(unit: Unit, what: Happening) -> Unit {
    match what {
        Happening::List(services, version) => {
            unit.launcher.run(desired(&services, version)).await;
        }
        Happening::Variables(n) => set_variables(&unit, n).await,
        Happening::Cloud(online) => unit.launcher.cloud(online).await,
        Happening::Iam(true, _) => unit.host.iam_leaves(),
        Happening::Iam(false, knows) => unit.host.iam_is_back(knows),
        Happening::Restart(n) => {
            unit.later(Duration::ZERO).await;
            unit.task.abort();
            sleep(seconds(n)).await;
            return unit.restart().await;
        }
        Happening::Passes(n) => unit.later(seconds(n)).await,
    }
    unit
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn what_was_said_last_holds(
        history in prop::collection::vec(happening(), 0..25),
        services in prop::collection::btree_set(0u8..4, 0..4),
        later in prop::collection::vec(happening(), 0..6),
        variables in 0u8..3,
        knows in any::<bool>(),
    ) {
        runtime().block_on(async {
            let mut unit = start().await;
            for what in history {
                unit = happens(unit, what).await;
            }
            unit.launcher.run(desired(&services, 1)).await;
            for what in later {
                if !matches!(what, Happening::List(..)) {
                    unit = happens(unit, what).await;
                }
            }
            unit.launcher.cloud(true).await;
            unit.host.iam_is_back(knows);
            set_variables(&unit, variables).await;
            unit.later(seconds(60)).await;
            unit.later(seconds(60)).await;

            let status = unit.status.borrow().clone();
            let all_active = briefs(&status).iter().all(|brief| brief.ends_with("active"));
            prop_assert!(status.settled && all_active, "{:?}", briefs(&status));
            let ids = unit.host.instances();
            let book = unit.host.book();
            prop_assert_eq!(ids.len(), services.len());
            let expected = if variables == 0 { vec![] } else { vec![format!("A={variables}")] };
            for report in &status.instances {
                let ident = report.desired.ident.to_string();
                prop_assert_eq!(&book.variables[&ident], &expected, "{}", ident);
                let id = book.idents[&ident];
                let has_secret = ident.starts_with("bb/") || ident.starts_with("dddd/");
                prop_assert_eq!(book.iam.known.contains(&id), has_secret, "{}", ident);
            }
            prop_assert!(book.iam.known.is_subset(&ids), "IAM knows who is gone");
            prop_assert_eq!(&book.violations, &Vec::<String>::new());
            Ok(())
        })?;
    }
}
