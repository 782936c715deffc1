//! Installed content that is found damaged.

use super::*;

fn item(id: &str, version: u64) -> ContentItem {
    ContentItem::Service(service(id, version).key())
}

fn layer(digest: &str) -> ContentItem {
    ContentItem::Layer(digest.into())
}

const REASON: &str = "bin/app has other content";

/// Two services that need one layer, and one that does not.
async fn layered(unit: &mut Unit) -> DesiredState {
    for id in ["web", "api"] {
        let layers = vec!["sha256:aa".to_owned()];
        unit.host.book().needs.insert(id.into(), layers);
    }
    let mut desired = list(
        &[("web", 1), ("api", 1), ("other", 1)],
        &[("web", 0, 0), ("api", 1, 0), ("other", 2, 0)],
    );
    desired.layers.push(LayerInfo {
        digest: "sha256:aa".into(),
        ..LayerInfo::default()
    });
    unit.run(&desired).await;
    unit.history();
    desired
}

fn is_active(status: &RunStatus) -> bool {
    let mut instances = status.instances.iter();
    instances.all(|each| each.desired.state == RunState::Active)
}

#[tokio::test(start_paused = true)]
async fn damage_stops_the_instances_of_the_service_heals_and_starts_them_again() {
    let mut unit = Unit::start().await;
    let services = [("slow", 1), ("other", 1)];
    unit.host.finish_what_is_slow();
    unit.run(&list(&services, &[("slow", 0, 0), ("other", 1, 0)]))
        .await;
    unit.host.hold_what_is_slow();
    unit.history();

    unit.host.content_is_damaged(&item("slow", 1)).await;
    let failed = unit.until(|status| !is_active(status)).await;
    unit.host.finish_what_is_slow();
    let healed = unit.until(is_active).await;

    let text = format!("slow/me/0 v1 failed: service slow version 1 is damaged: {REASON}");
    assert_eq!(briefs(&failed), [text.as_str(), "other/me/1 v1 active"]);
    assert!(failed.settled, "CM is told as of any other failure");
    assert_eq!(
        briefs(&healed),
        ["slow/me/0 v1 active", "other/me/1 v1 active"]
    );
    assert_eq!(
        unit.history(),
        [
            "service slow version 1 is damaged",
            "stop slow",
            "install slow version 1",
            "prove service slow version 1",
            "start slow version 1",
        ]
    );
    let alert = format!("aos-servicemanager: service slow version 1 is damaged: {REASON}");
    assert_eq!(unit.alerts(), [alert]);
    let directories = unit.host.book().retained.directories.clone();
    assert!(
        directories
            .iter()
            .all(|path| !path.starts_with("/content/service slow version 1/0")),
        "the damaged directory may go"
    );
}

#[tokio::test(start_paused = true)]
async fn a_damaged_layer_concerns_all_services_that_need_it_and_no_other() {
    let mut unit = Unit::start().await;
    layered(&mut unit).await;

    unit.host.content_is_damaged(&layer("sha256:aa")).await;
    unit.until(|status| !is_active(status)).await;
    let healed = unit.until(is_active).await;

    assert_eq!(healed.instances.len(), 3);
    let mut history = unit.history();
    history.retain(|what| what.starts_with("st") || what.starts_with("install"));
    history.sort();
    assert_eq!(
        history,
        [
            "install sha256:aa",
            "start api version 1",
            "start web version 1",
            "stop api",
            "stop web",
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_healed_stays_failed_and_is_tried_again_by_the_next_list() {
    let mut unit = Unit::start().await;
    let desired = list(&[("web", 1)], &[("web", 0, 0)]);
    unit.run(&desired).await;
    unit.host.book().broken.insert("web version 1".into());
    unit.history();

    unit.host.content_is_damaged(&item("web", 1)).await;
    let failed = unit
        .until(|status| brief(&status.instances[0]).contains("refused"))
        .await;
    tokio::time::advance(std::time::Duration::from_secs(3600)).await;
    unit.launcher.alive().await;
    let tried = unit.history();
    unit.host.book().broken.clear();
    let again = unit.run(&desired).await;

    assert_eq!(
        briefs(&failed),
        [format!(
            "web/me/0 v1 failed: service web version 1 is damaged: {REASON}; web version 1 is refused"
        )]
    );
    let installs = tried.iter().filter(|what| what.starts_with("install"));
    assert_eq!(installs.count(), 1);
    assert_eq!(briefs(&again), ["web/me/0 v1 active"]);
}

#[tokio::test(start_paused = true)]
async fn damage_found_before_a_start_is_healed_within_the_run() {
    let mut unit = Unit::start().await;
    unit.host.book().rotten.insert(item("web", 1), 1);

    let status = unit.run(&list(&[("web", 1)], &[("web", 0, 0)])).await;

    assert_eq!(briefs(&status), ["web/me/0 v1 active"]);
    assert_eq!(unit.host.book().violations, Vec::<String>::new());
    assert_eq!(unit.alerts().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn content_that_is_damaged_each_time_is_given_up() {
    let mut unit = Unit::start().await;
    unit.host.book().rotten.insert(item("web", 1), u32::MAX);

    let status = unit.run(&list(&[("web", 1)], &[("web", 0, 0)])).await;

    let history = unit.history();
    let installs = history.iter().filter(|what| what.starts_with("install"));
    assert_eq!(installs.count(), 2);
    assert_eq!(
        briefs(&status),
        [format!(
            "web/me/0 v1 failed: service web version 1 is damaged: {REASON}"
        )]
    );
}

#[tokio::test(start_paused = true)]
async fn content_that_is_damaged_year_after_year_is_healed_each_time() {
    let mut unit = Unit::start().await;
    unit.run(&list(&[("web", 1)], &[("web", 0, 0)])).await;

    for _ in 0..5 {
        unit.host.content_is_damaged(&item("web", 1)).await;
        unit.until(|status| !is_active(status)).await;
        unit.until(is_active).await;
    }

    assert_eq!(unit.starts().len(), 6);
    assert_eq!(unit.host.book().violations, Vec::<String>::new());
}

#[tokio::test(start_paused = true)]
async fn a_damaged_update_leaves_the_old_version_running() {
    let mut unit = Unit::start().await;
    unit.run(&list(&[("web", 1)], &[("web", 0, 0)])).await;
    unit.starts();
    unit.host.book().rotten.insert(item("web", 2), u32::MAX);

    let status = unit.run(&list(&[("web", 2)], &[("web", 0, 0)])).await;

    assert_eq!(
        briefs(&status),
        [format!(
            "web/me/0 v2 failed: service web version 2 is damaged: {REASON}, kept v1 active"
        )]
    );
    assert_eq!(unit.starts(), Vec::<String>::new());
}

#[tokio::test(start_paused = true)]
async fn a_kept_version_that_is_damaged_cannot_be_healed_and_stops() {
    let mut unit = Unit::start().await;
    unit.host.book().broken.insert("web version 2".into());
    unit.run(&list(&[("web", 1)], &[("web", 0, 0)])).await;
    unit.run(&list(&[("web", 2)], &[("web", 0, 0)])).await;

    unit.host.content_is_damaged(&item("web", 1)).await;
    let status = unit
        .until(|status| status.instances[0].kept.is_none())
        .await;
    unit.until(|_| true).await;

    assert_eq!(
        briefs(&status),
        [format!(
            "web/me/0 v2 failed: web version 2 is refused; what ran instead: service web \
             version 1 is damaged: {REASON}"
        )]
    );
}

#[tokio::test(start_paused = true)]
async fn damage_of_what_nobody_wants_touches_nothing_and_is_told() {
    let mut unit = Unit::start().await;
    unit.run(&list(&[("web", 1)], &[("web", 0, 0)])).await;
    unit.history();

    unit.host.content_is_damaged(&item("cached", 7)).await;
    unit.launcher.alive().await;
    unit.launcher.alive().await;

    assert_eq!(unit.history(), ["service cached version 7 is damaged"]);
    assert_eq!(unit.alerts().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn damage_heals_no_instance_that_cannot_be() {
    let mut unit = Unit::start().await;
    unit.run(&list(&[("web", 1)], &[("web", -1, 0), ("web", 0, 0)]))
        .await;

    unit.host.content_is_damaged(&item("web", 1)).await;
    unit.until(|status| !brief(&status.instances[1]).contains("active"))
        .await;
    let healed = unit
        .until(|status| brief(&status.instances[1]).contains("active"))
        .await;

    assert_eq!(
        briefs(&healed)[0],
        "web/me/-1 v1 failed: instance index -1 is negative"
    );
}

#[tokio::test(start_paused = true)]
async fn running_instances_are_not_proven_again() {
    let mut unit = Unit::start().await;
    let desired = list(&[("web", 1)], &[("web", 0, 0)]);
    unit.run(&desired).await;
    let first = unit.history();

    unit.run(&desired).await;
    let mut unit = unit.restart().await;
    unit.until(|status| status.settled).await;

    let proofs = |history: &[String]| {
        let proofs = history.iter().filter(|what| what.starts_with("prove"));
        proofs.count()
    };
    assert_eq!(proofs(&first), 1);
    assert_eq!(proofs(&unit.history()), 0);
}
