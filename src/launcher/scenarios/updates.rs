//! New versions, and what becomes of the old one meanwhile.

use super::*;
use crate::launcher::Exit;

fn versions(retained: &[ServiceKey]) -> Vec<u64> {
    retained.iter().map(|key| key.version).collect()
}

#[tokio::test(start_paused = true)]
async fn the_old_version_runs_while_the_new_one_is_installed_and_keeps_its_id() {
    let mut unit = Unit::start().await;
    unit.host.finish_what_is_slow();
    unit.run(&list(&[("slow", 1)], &[("slow", 0, 0)])).await;
    let id = unit.id_of_only();
    unit.host.hold_what_is_slow();
    unit.history();

    unit.launcher
        .run(list(&[("slow", 2)], &[("slow", 0, 0)]))
        .await;
    unit.launcher.alive().await;
    let meanwhile = unit.history();
    unit.host.finish_what_is_slow();
    let status = unit
        .until(|status| status.settled && status.generation == 2)
        .await;

    assert_eq!(meanwhile, Vec::<String>::new());
    assert_eq!(
        unit.history(),
        [
            "install slow version 2",
            "prove service slow version 2",
            "stop slow",
            "start slow version 2"
        ]
    );
    assert_eq!(briefs(&status), ["slow/me/0 v2 active"]);
    assert_eq!(unit.id_of_only(), id);
    assert_eq!(versions(&unit.host.book().retained.services), [2]);
}

#[tokio::test(start_paused = true)]
async fn a_crash_of_the_old_version_is_none_of_the_new_one() {
    let mut unit = Unit::start().await;
    unit.host.finish_what_is_slow();
    unit.run(&list(&[("slow", 1)], &[("slow", 0, 0)])).await;
    let id = unit.id_of_only();
    unit.host.hold_what_is_slow();
    unit.launcher
        .run(list(&[("slow", 2)], &[("slow", 0, 0)]))
        .await;
    unit.host
        .systemd_says(id, UnitEvent::Exited(Exit::Signal(9)))
        .await;
    let old = unit
        .until(|status| status.instances[0].last_fault.is_some())
        .await;

    unit.host.finish_what_is_slow();
    let new = unit
        .until(|status| status.settled && status.generation == 2)
        .await;
    unit.host
        .systemd_says(id, UnitEvent::Exited(Exit::Signal(9)))
        .await;
    let again = unit
        .until(|status| status.instances[0].last_fault.is_some())
        .await;

    let fault = |status: &RunStatus| {
        let fault = status.instances[0].last_fault.as_ref()?;
        Some((fault.version, fault.number))
    };
    assert_eq!(fault(&old), Some((1, 1)));
    assert_eq!(briefs(&new), ["slow/me/0 v2 active"]);
    assert_eq!(fault(&new), None);
    assert_eq!(fault(&again), Some((2, 2)));
}

#[tokio::test(start_paused = true)]
async fn an_update_whose_layer_cannot_be_installed_keeps_the_old_version() {
    let mut unit = Unit::start().await;
    unit.run(&list(&[("web", 1)], &[("web", 0, 0)])).await;
    unit.starts();
    let layers = vec!["sha256:aa".to_owned()];
    unit.host.book().needs.insert("web".into(), layers);
    unit.host.book().broken.insert("sha256:aa".into());
    let mut update = list(&[("web", 2)], &[("web", 0, 0)]);
    update.layers.push(LayerInfo {
        digest: "sha256:aa".into(),
        ..LayerInfo::default()
    });

    let status = unit.run(&update).await;

    let expected = "web/me/0 v2 failed: sha256:aa is refused, kept v1 active";
    assert_eq!(briefs(&status), [expected]);
    assert_eq!(unit.starts(), Vec::<String>::new());
}

#[tokio::test(start_paused = true)]
async fn a_kept_version_is_adopted_and_stays_until_a_later_install_succeeds() {
    let mut unit = Unit::start().await;
    unit.host.book().broken.insert("web version 2".into());
    unit.run(&list(&[("web", 1)], &[("web", 0, 0)])).await;
    unit.run(&list(&[("web", 2)], &[("web", 0, 0)])).await;
    unit.history();

    let mut unit = unit.restart().await;
    let kept = unit.until(|status| status.settled).await;
    let in_use = unit.host.book().retained.clone();
    let tried = unit.history();
    unit.host.book().broken.clear();
    let mut unit = unit.restart().await;
    let updated = unit.until(|status| status.settled).await;

    let expected = "web/me/0 v2 failed: web version 2 is refused, kept v1 active";
    assert_eq!(briefs(&kept), [expected]);
    assert_eq!(tried, ["install web version 2"]);
    assert_eq!(versions(&in_use.services), [1, 2]);
    assert_eq!(
        in_use.directories,
        [std::path::Path::new(
            "/content/service web version 1/0/rootfs"
        )]
    );
    assert_eq!(briefs(&updated), ["web/me/0 v2 active"]);
    assert_eq!(versions(&unit.host.book().retained.services), [2]);
}

#[tokio::test(start_paused = true)]
async fn a_layer_that_only_the_old_version_needs_is_in_use_as_long_as_that_runs() {
    let mut unit = Unit::start().await;
    let layers = vec!["sha256:aa".to_owned()];
    unit.host.book().needs.insert("web".into(), layers);
    unit.host.book().broken.insert("web version 2".into());
    unit.run(&list(&[("web", 1)], &[("web", 0, 0)])).await;

    unit.run(&list(&[("web", 2)], &[("web", 0, 0)])).await;
    let kept = unit.host.book().retained.layers.clone();
    unit.run(&DesiredState::default()).await;

    assert_eq!(kept, ["sha256:aa"]);
    assert_eq!(unit.host.book().retained, crate::model::InUse::default());
}

#[tokio::test(start_paused = true)]
async fn an_instance_that_cannot_start_keeps_nothing_else_from_being_let_go() {
    let mut unit = Unit::start().await;
    unit.run(&list(&[("old", 1)], &[("old", 0, 0)])).await;
    let refusal = ("web".into(), crate::launcher::host::Resource::Network);
    unit.host.book().refuse.insert(refusal);

    unit.run(&list(&[("web", 1)], &[("web", 0, 0)])).await;

    let retained = unit.host.book().retained.services.clone();
    assert_eq!(retained, [service("web", 1).key()]);
}

#[tokio::test(start_paused = true)]
async fn what_is_taken_down_has_gone_before_anything_is_installed() {
    let mut unit = Unit::start().await;
    unit.run(&list(&[("old", 1)], &[("old", 0, 0)])).await;
    unit.history();

    unit.run(&list(&[("web", 1)], &[("web", 0, 0)])).await;

    let history = unit.history();
    assert_eq!(history[..2], ["stop old", "install web version 1"]);
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_taken_down_holds_up_no_install() {
    let mut unit = Unit::start().await;
    unit.run(&list(&[("old", 1)], &[("old", 0, 0)])).await;
    unit.host.book().refuse_releases = u32::MAX;

    let status = unit.run(&list(&[("web", 1)], &[("web", 0, 0)])).await;

    assert_eq!(briefs(&status), ["web/me/0 v1 active"]);
    let retained = unit.host.book().retained.services.clone();
    assert_eq!(retained, [service("old", 1).key(), service("web", 1).key()]);
}

#[tokio::test(start_paused = true)]
async fn replace_gives_up_the_old_version_before_the_new_one_is_installed() {
    let mut unit = Unit::start_with(UpdatePolicy::Replace).await;
    unit.run(&list(&[("web", 1)], &[("web", 0, 0)])).await;
    unit.history();

    let status = unit.run(&list(&[("web", 2)], &[("web", 0, 0)])).await;

    assert_eq!(
        unit.history(),
        [
            "stop web",
            "install web version 2",
            "prove service web version 2",
            "start web version 2"
        ]
    );
    assert_eq!(briefs(&status), ["web/me/0 v2 active"]);
}

#[tokio::test(start_paused = true)]
async fn replace_has_nothing_left_when_the_new_version_fails() {
    let mut unit = Unit::start_with(UpdatePolicy::Replace).await;
    unit.host.book().broken.insert("web version 2".into());
    unit.run(&list(&[("web", 1)], &[("web", 0, 0)])).await;

    let status = unit.run(&list(&[("web", 2)], &[("web", 0, 0)])).await;

    assert_eq!(
        briefs(&status),
        ["web/me/0 v2 failed: web version 2 is refused"]
    );
    assert!(unit.host.book().held.is_empty());
    assert_eq!(versions(&unit.host.book().retained.services), [2]);
}

#[tokio::test(start_paused = true)]
async fn replace_leaves_alone_what_has_the_same_version() {
    let mut unit = Unit::start_with(UpdatePolicy::Replace).await;
    let services = [("web", 1), ("other", 1)];
    unit.run(&list(&services, &[("web", 0, 0), ("other", 0, 0)]))
        .await;
    unit.starts();

    let services = [("web", 1), ("other", 2)];
    unit.run(&list(&services, &[("web", 0, 0), ("other", 0, 0)]))
        .await;
    let mut unit = unit.restart().await;
    let status = unit.until(|status| status.settled).await;

    assert_eq!(
        briefs(&status),
        ["web/me/0 v1 active", "other/me/0 v2 active"]
    );
    assert_eq!(unit.starts(), ["other/me/0 v2"]);
}
