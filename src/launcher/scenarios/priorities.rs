//! Priorities: who starts first, who ends first, and who is left alone.
//!
//! The cases are those of release 7.2.3, by our rule: a change of priority alone
//! restarts nothing.

use super::*;
use crate::launcher::host::Resource;

/// A service of that name with one instance each.
fn desired(instances: &[(&str, u64)]) -> DesiredState {
    let services: Vec<_> = instances.iter().map(|(name, _)| (*name, 1)).collect();
    let mut desired = list(&services, &[]);
    for (name, priority) in instances {
        let mut instance = instance(name, 0, *priority);
        // It stays, wherever in the list the instance is.
        instance.network.ip = format!("10.1.0.{}", name.as_bytes()[0]);
        desired.instances.push(instance);
    }
    desired
}

impl Unit {
    /// What was started and stopped, in order.
    fn turns(&self) -> Vec<String> {
        let history = self.history().into_iter();
        history
            .filter(|line| line.starts_with("start ") || line.starts_with("stop "))
            .map(|line| line.replace(" version 1", ""))
            .collect()
    }

    /// The same, of a list.
    async fn turns_of(&mut self, instances: &[(&str, u64)]) -> Vec<String> {
        self.run(&desired(instances)).await;
        self.turns()
    }
}

fn words(line: &str) -> Vec<&str> {
    line.split(", ").filter(|word| !word.is_empty()).collect()
}

/// Instances with their priorities.
type List<'a> = &'a [(&'a str, u64)];

#[tokio::test(start_paused = true)]
async fn priorities_order_starts_and_restart_nobody() {
    let mut unit = Unit::start().await;
    unit.host.book().refuse.insert(("x".into(), Resource::Unit));
    let cases: [(&str, List<'_>, &str); 12] = [
        (
            "from scratch",
            &[("a", 0), ("b", 50), ("c", 100)],
            "start c, start b, start a",
        ),
        ("raised above all", &[("a", 200), ("b", 50), ("c", 100)], ""),
        ("lowered below all", &[("a", 10), ("b", 50), ("c", 100)], ""),
        ("into the middle", &[("a", 75), ("b", 50), ("c", 100)], ""),
        (
            "a high one added",
            &[("a", 75), ("b", 50), ("c", 100), ("d", 300)],
            "start d",
        ),
        (
            "a low one added",
            &[("e", 1), ("a", 75), ("b", 50), ("c", 100), ("d", 300)],
            "start e",
        ),
        (
            "one added in the middle",
            &[
                ("e", 1),
                ("a", 75),
                ("f", 60),
                ("b", 50),
                ("c", 100),
                ("d", 300),
            ],
            "start f",
        ),
        (
            "the highest removed",
            &[("e", 1), ("a", 75), ("f", 60), ("b", 50), ("c", 100)],
            "stop d",
        ),
        (
            "the lowest removed",
            &[("a", 75), ("f", 60), ("b", 50), ("c", 100)],
            "stop e",
        ),
        (
            "the middle removed",
            &[("a", 75), ("b", 50), ("c", 100)],
            "stop f",
        ),
        (
            "others, in the same order",
            &[("a", 8), ("b", 7), ("c", 9)],
            "",
        ),
        (
            "one removed beside one that fails",
            &[("a", 8), ("x", 9), ("c", 9)],
            "stop b",
        ),
    ];

    for (name, instances, turns) in cases {
        assert_eq!(unit.turns_of(instances).await, words(turns), "{name}");
    }
    assert_eq!(
        unit.turns_of(&[("a", 8), ("c", 9)]).await,
        [""; 0],
        "the failed one removed"
    );
    assert_eq!(unit.host.instances().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn forced_restart_stops_and_starts_each_once_in_order_of_priority() {
    let mut unit = Unit::start().await;
    let instances = [("a", 0), ("b", 50), ("c", 100)];
    unit.turns_of(&instances).await;
    let mut forced = desired(&instances);
    forced.force_restart = true;

    unit.run(&forced).await;

    assert_eq!(
        unit.turns(),
        [
            "stop c", "start c", "stop b", "start b", "stop a", "start a"
        ]
    );
    // It was for that list alone, also when SM comes back to it.
    let mut unit = unit.restart().await;
    unit.until(|status| status.settled).await;
    assert_eq!(unit.turns(), [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn a_stored_list_starts_in_order_of_priority() {
    let mut unit = Unit::start().await;
    unit.turns_of(&[("a", 0), ("b", 50), ("c", 100)]).await;

    // As after a boot.
    let mut unit = unit.restart_after(|host| host.book().held.clear()).await;
    unit.until(|status| status.settled).await;

    assert_eq!(unit.turns(), ["start c", "start b", "start a"]);
}
