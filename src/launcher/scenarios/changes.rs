//! What is changed in place of instances that run.

use super::*;
use crate::launcher::fake::BAD_RULE;
use crate::launcher::host::Resource;
use crate::launcher::store::{Held, Store};
use crate::model::FirewallRule;

pub(super) fn rule(port: &str) -> FirewallRule {
    FirewallRule {
        dst_port: port.into(),
        proto: "tcp".into(),
        ..FirewallRule::default()
    }
}

fn bad_rule() -> FirewallRule {
    FirewallRule {
        proto: BAD_RULE.into(),
        ..FirewallRule::default()
    }
}

/// One instance with these rules.
pub(super) fn ruled(service: &str, rules: &[FirewallRule]) -> DesiredState {
    let mut desired = list(&[(service, 1)], &[(service, 0, 0)]);
    desired.instances[0].network.rules = rules.to_vec();
    desired
}

impl Unit {
    /// The rules of the only instance: on the machine, and as stored.
    pub(super) async fn rules(&self) -> (Vec<String>, Vec<String>) {
        let ports = |rules: &[FirewallRule]| -> Vec<String> {
            rules.iter().map(|rule| rule.dst_port.clone()).collect()
        };
        let places = self.host.book().networks.places.clone();
        let on_machine = places.values().next().map(|rules| ports(rules));
        let stored = ports(&self.held().await.info.network.rules);
        (on_machine.unwrap_or_default(), stored)
    }

    async fn held(&self) -> Held {
        let stored = Store::new(self.database.clone()).load().await.unwrap();
        stored
            .instances
            .into_iter()
            .find_map(|row| row.held)
            .unwrap()
    }

    fn changes(&self) -> u32 {
        std::mem::take(&mut self.host.book().networks.changes)
    }

    /// All that was sent is stored, and what follows from it without the
    /// database and without time has happened.
    pub(super) async fn idle(&self) {
        self.launcher.alive().await;
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
        self.launcher.alive().await;
    }

    /// Nothing was started or stopped since the last question, nor went wrong.
    pub(super) fn assert_untouched(&self) {
        assert_eq!(self.starts(), Vec::<String>::new());
        assert_eq!(self.host.book().stops, []);
        assert_eq!(self.host.book().violations, Vec::<String>::new());
    }
}

pub(super) fn both(port: &str) -> (Vec<String>, Vec<String>) {
    (vec![port.to_owned()], vec![port.to_owned()])
}

pub(super) const ACTIVE: [&str; 1] = ["web/me/0 v1 active"];

#[tokio::test(start_paused = true)]
async fn changed_rules_and_name_servers_are_given_without_a_restart() {
    let mut unit = Unit::start().await;
    unit.run(&ruled("web", &[rule("80")])).await;
    unit.starts();
    let mut desired = ruled("web", &[rule("81")]);

    let status = unit.run(&desired).await;
    let rules = unit.rules().await;
    desired.instances[0].network.dns_servers = vec!["10.0.0.53".into()];
    unit.run(&desired).await;

    assert_eq!(briefs(&status), ACTIVE);
    assert_eq!(rules, both("81"));
    assert_eq!(
        unit.held().await.info.network.dns_servers,
        ["10.0.0.53"],
        "the next start takes it over with them"
    );
    assert_eq!(unit.changes(), 2);
    unit.assert_untouched();
}

#[tokio::test(start_paused = true)]
async fn equal_rules_in_another_order_and_number_change_nothing() {
    let mut unit = Unit::start().await;
    unit.run(&ruled("web", &[rule("80"), rule("81")])).await;
    unit.starts();

    unit.run(&ruled("web", &[rule("81"), rule("80"), rule("81")]))
        .await;

    assert_eq!(unit.changes(), 0);
    unit.assert_untouched();
}

#[tokio::test(start_paused = true)]
async fn another_address_or_network_is_a_restart() {
    let mut unit = Unit::start().await;
    let mut desired = ruled("web", &[]);
    unit.run(&desired).await;
    unit.starts();

    desired.instances[0].network.ip = "10.0.0.9".into();
    unit.run(&desired).await;
    desired.instances[0].network.network_id = "other".into();
    unit.run(&desired).await;

    assert_eq!(unit.starts().len(), 2);
    assert_eq!(unit.changes(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_rule_that_cannot_be_read_is_told_and_the_instance_runs_on() {
    let mut unit = Unit::start().await;
    unit.run(&ruled("web", &[rule("80")])).await;
    unit.starts();

    let failed = unit.run(&ruled("web", &[bad_rule()])).await;
    let meanwhile = unit.rules().await;
    let reverted = unit.run(&ruled("web", &[rule("80")])).await;
    let attempts = unit.changes();
    let healed = unit.run(&ruled("web", &[rule("81")])).await;

    let expected = "web/me/0 v1 failed: its network could not be changed, it runs on as it was: \
                    a rule cannot be read";
    assert_eq!(briefs(&failed), [expected]);
    assert_eq!(meanwhile, both("80"));
    assert_eq!(briefs(&reverted), ACTIVE);
    assert_eq!(attempts, 1, "what it has need not be given again");
    assert_eq!(briefs(&healed), ACTIVE);
    assert_eq!(unit.rules().await, both("81"));
    unit.assert_untouched();
}

#[tokio::test(start_paused = true)]
async fn an_instance_with_a_bad_rule_is_not_started() {
    let mut unit = Unit::start().await;

    let status = unit.run(&ruled("web", &[bad_rule()])).await;
    unit.idle().await;

    assert_eq!(
        briefs(&status),
        ["web/me/0 v1 failed: a rule cannot be read"]
    );
    assert!(unit.host.book().held.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_change_that_the_machine_refused_is_made_by_the_next_list() {
    let mut unit = Unit::start().await;
    unit.run(&ruled("web", &[rule("80")])).await;
    unit.starts();
    unit.host.book().networks.refuse_changes = 1;

    let failed = unit.run(&ruled("web", &[rule("81")])).await;
    let status = unit.run(&ruled("web", &[rule("81")])).await;

    assert!(briefs(&failed)[0].ends_with("it runs on as it was: change is refused"));
    assert_eq!(briefs(&status), ACTIVE);
    assert_eq!(unit.rules().await, both("81"));
    unit.assert_untouched();
}

#[tokio::test(start_paused = true)]
async fn an_instance_that_ends_after_a_refused_change_is_failed_for_that() {
    let mut unit = Unit::start().await;
    unit.run(&ruled("web", &[])).await;
    unit.run(&ruled("web", &[bad_rule()])).await;
    let id = unit.id_of_only();

    unit.host
        .systemd_says(id, state(UnitState::Failed, "oom-kill"))
        .await;
    let status = unit
        .until(|status| brief(&status.instances[0]).contains("memory"))
        .await;

    assert!(!briefs(&status)[0].contains("runs on"), "{status:?}");
}

#[tokio::test(start_paused = true)]
async fn a_newer_list_supersedes_the_change_that_waits() {
    let mut unit = Unit::start().await;
    unit.host.finish_what_is_slow();
    unit.run(&ruled("stuck", &[rule("80")])).await;
    unit.host.hold_what_is_slow();
    unit.starts();

    for port in ["81", "82", "83"] {
        unit.launcher.run(ruled("stuck", &[rule(port)])).await;
        unit.idle().await;
    }
    unit.host.finish_what_is_slow();
    let status = unit
        .until(|status| status.settled && status.generation == 4)
        .await;

    assert_eq!(briefs(&status), ["stuck/me/0 v1 active"]);
    assert_eq!(unit.changes(), 2, "82 was never given");
    assert_eq!(unit.rules().await, both("83"));
    unit.assert_untouched();
}

#[tokio::test(start_paused = true)]
async fn a_list_does_not_settle_before_its_changes_are_made() {
    let mut unit = Unit::start().await;
    unit.host.finish_what_is_slow();
    unit.run(&ruled("late", &[rule("80")])).await;
    unit.host.hold_what_is_slow();

    unit.launcher.run(ruled("late", &[rule("81")])).await;
    unit.idle().await;

    assert!(!unit.status.borrow().settled);
}

#[tokio::test(start_paused = true)]
async fn rules_that_change_while_the_instance_starts_are_given_after_the_start() {
    let mut unit = Unit::start().await;
    unit.launcher.run(ruled("stuck", &[rule("80")])).await;
    unit.idle().await;

    unit.launcher.run(ruled("stuck", &[rule("81")])).await;
    unit.idle().await;
    unit.host.finish_what_is_slow();
    unit.until(|status| status.settled && status.generation == 2)
        .await;

    assert_eq!(unit.starts(), ["stuck/me/0 v1"]);
    assert_eq!(unit.rules().await, both("81"));
    unit.assert_untouched();
}

#[tokio::test(start_paused = true)]
async fn a_start_that_the_old_rules_make_impossible_is_made_with_the_new_ones() {
    let mut unit = Unit::start().await;
    unit.launcher.run(ruled("stuck", &[bad_rule()])).await;
    unit.idle().await;

    unit.launcher.run(ruled("stuck", &[rule("81")])).await;
    unit.idle().await;
    unit.host.finish_what_is_slow();
    let status = unit
        .until(|status| status.settled && status.generation == 2)
        .await;

    assert_eq!(briefs(&status), ["stuck/me/0 v1 active"]);
    assert_eq!(unit.rules().await, both("81"));
}

#[tokio::test(start_paused = true)]
async fn an_instance_is_not_stopped_in_the_middle_of_its_change() {
    let mut unit = Unit::start().await;
    unit.host.finish_what_is_slow();
    unit.run(&ruled("stuck", &[rule("80")])).await;
    unit.host.hold_what_is_slow();
    unit.launcher.run(ruled("stuck", &[rule("81")])).await;
    unit.idle().await;

    unit.launcher.run(DesiredState::default()).await;
    unit.idle().await;
    let stopped_early = unit.host.book().stops.clone();
    unit.host.finish_what_is_slow();
    unit.until(|status| status.settled && status.generation == 3)
        .await;

    assert_eq!(stopped_early, []);
    assert!(unit.host.book().held.is_empty());
    assert_eq!(unit.host.book().violations, Vec::<String>::new());
}

#[tokio::test(start_paused = true)]
async fn a_change_does_not_hold_up_the_confirmation_of_a_start() {
    let mut unit = Unit::start().await;
    unit.launcher.run(ruled("late", &[rule("80")])).await;
    unit.host.finish_what_is_slow();
    while !unit
        .host
        .book()
        .held
        .iter()
        .any(|(_, held)| *held == Resource::Unit)
    {
        tokio::task::yield_now().await;
    }
    unit.idle().await;

    unit.launcher.run(ruled("late", &[rule("81")])).await;
    let status = unit
        .until(|status| status.settled && status.generation == 2)
        .await;

    assert_eq!(briefs(&status), ["late/me/0 v1 active"]);
    assert_eq!(unit.starts().len(), 1);
}

/// SM ends while the change of rules is on its way, before or after the kernel
/// was told.
async fn ended_within_a_change(service: &str) {
    let mut unit = Unit::start().await;
    unit.host.finish_what_is_slow();
    unit.run(&ruled(service, &[rule("80")])).await;
    unit.host.hold_what_is_slow();
    unit.starts();
    unit.launcher.run(ruled(service, &[rule("81")])).await;
    unit.idle().await;
    let (on_machine, stored) = unit.rules().await;

    let mut unit = unit.restart().await;
    unit.host.finish_what_is_slow();
    unit.until(|status| status.settled).await;

    let told = if service == "late" { "81" } else { "80" };
    assert_eq!((on_machine, stored), (vec![told.into()], vec!["80".into()]));
    assert_eq!(unit.rules().await, both("81"));
    unit.assert_untouched();
}

#[tokio::test(start_paused = true)]
async fn an_end_before_the_kernel_was_told_of_a_change_loses_nothing() {
    ended_within_a_change("stuck").await;
}

#[tokio::test(start_paused = true)]
async fn an_end_between_the_kernel_and_the_database_loses_nothing() {
    ended_within_a_change("late").await;
}

#[tokio::test(start_paused = true)]
async fn a_restart_of_sm_keeps_an_instance_whose_change_was_refused() {
    let mut unit = Unit::start().await;
    unit.run(&ruled("web", &[rule("80")])).await;
    unit.run(&ruled("web", &[bad_rule()])).await;
    unit.starts();

    let mut unit = unit.restart().await;
    let status = unit.until(|status| status.settled).await;

    assert!(briefs(&status)[0].ends_with("a rule cannot be read"));
    assert_eq!(unit.rules().await, both("80"));
    unit.assert_untouched();
}
