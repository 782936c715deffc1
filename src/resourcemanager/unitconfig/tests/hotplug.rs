//! Devices that come and go.

use super::*;

async fn unplugged(node: &Node) -> Served {
    let mut served = node.start();
    served.set("1", &config()).await;
    node.unplug("video0");
    assert_eq!(served.alert().await, gone(&["/dev/video0"]));
    served
}

fn gone(paths: &[&str]) -> Vec<ResourceErrors> {
    let texts: Vec<_> = paths
        .iter()
        .map(|path| format!("device {path} is not present on the system"))
        .collect();
    let texts: Vec<_> = texts.iter().map(String::as_str).collect();
    vec![errors("camera", &texts)]
}

async fn changed(changes: &mut watch::Receiver<u64>) {
    timeout(PATIENCE, changes.changed()).await.unwrap().unwrap();
}

#[tokio::test]
async fn device_that_is_missing_at_the_start_is_told_once_and_noticed_when_it_comes() {
    let node = node();
    node.unplug("video0");
    let mut stored = config();
    stored["vendorVersion"] = json!("1");
    node.store(&stored.to_string());
    let mut served = node.start();

    assert_eq!(served.alert().await, gone(&["/dev/video0"]));
    assert_eq!(served.status().await, status("1", ""));
    let mut changes = served.handle.changes();
    changes.mark_unchanged();
    node.plug("video0");
    changed(&mut changes).await;

    assert_eq!(served.device("camera").await.lacks, []);
    assert!(served.alerts.try_recv().is_err());
}

#[tokio::test]
async fn device_that_goes_is_told_each_time_that_it_goes() {
    let node = node();
    let mut served = unplugged(&node).await;
    let mut changes = served.handle.changes();

    changes.mark_unchanged();
    node.plug("video0");
    changed(&mut changes).await;
    node.unplug("video0");

    assert_eq!(served.alert().await, gone(&["/dev/video0"]));
    let lacks = served.device("camera").await.lacks;
    assert!(lacks[0].reason.contains("/dev/video0"), "{lacks:?}");
}

#[tokio::test]
async fn alert_names_all_that_is_missing_then() {
    let node = node();
    let mut served = unplugged(&node).await;

    fs::remove_dir_all(node.dev("media")).unwrap();

    assert_eq!(served.alert().await, gone(&["/dev/video0", "/dev/media"]));
}

#[tokio::test]
async fn burst_is_told_once_and_other_names_never() {
    let node = node();
    let mut served = unplugged(&node).await;
    let before = *served.handle.changes().borrow();
    let mut changes = served.handle.changes();
    changes.mark_unchanged();

    for n in 0..200 {
        node.plug(&format!("loop{n}"));
        node.plug("video0");
        if n < 199 {
            node.unplug("video0");
        }
    }
    changed(&mut changes).await;
    served.handle.alive().await;

    assert_eq!(*changes.borrow(), before + 1);
    assert!(served.alerts.try_recv().is_err());
}

#[tokio::test]
async fn links_and_directories_on_the_way_are_followed() {
    let node = Node::new();
    let config = json!({
        "nodeType": "main",
        "devices": [{"name": "gnss", "hostDevices": ["/dev/by-name/gnss"]}],
    });
    let mut served = node.start();
    node.plug("deep/er/tty7");
    fs::create_dir(node.dev("by-name")).unwrap();
    symlink("../deep/er/tty7", node.dev("by-name/gnss")).unwrap();
    assert_eq!(served.set("1", &config).await, status("1", ""));
    let missing = errors(
        "gnss",
        &["device /dev/by-name/gnss is not present on the system"],
    );
    let mut changes = served.handle.changes();

    fs::remove_dir_all(node.dev("deep")).unwrap();
    assert_eq!(served.alert().await, std::slice::from_ref(&missing));

    changes.mark_unchanged();
    node.plug("deep/er/tty7");
    changed(&mut changes).await;
    assert_eq!(served.device("gnss").await.lacks, []);

    fs::rename(node.dev("by-name"), node.dev("elsewhere")).unwrap();
    assert_eq!(served.alert().await, [missing]);
}

#[tokio::test]
async fn group_that_comes_is_noticed() {
    let node = node();
    let mut stored = config();
    stored["vendorVersion"] = json!("1");
    stored["devices"][0]["groups"] = json!(["render"]);
    node.store(&stored.to_string());
    let mut served = node.start();
    let missing = errors("camera", &["group render is not present on the system"]);
    assert_eq!(served.alert().await, [missing]);
    let mut changes = served.handle.changes();
    changes.mark_unchanged();

    // As groupadd does it.
    let new = node.directory.path().join("group+");
    fs::write(&new, "render:x:107:\naudio:x:29:\nroot:x:0:\n").unwrap();
    fs::rename(new, node.directory.path().join("group")).unwrap();
    changed(&mut changes).await;

    let got = served.device("camera").await;
    assert_eq!((got.lacks.len(), &got.devices[0].gids), (0, &vec![107]));
}

#[tokio::test]
async fn alert_waits_until_there_is_room() {
    let node = node();
    let (reports, mut alerts) = mpsc::channel(1);
    let filler = Report::Monitoring(crate::model::NodeMonitoring {
        timestamp: std::time::SystemTime::now(),
        node: crate::model::Usage::default(),
        instances: Vec::new(),
    });
    reports.send(filler).await.unwrap();
    let settings = UnitConfigSettings {
        file: node.file(),
        places: node.places(),
    };
    let (handle, task) = UnitConfigs::start(settings, node.kind.subscribe(), reports);
    let task = tokio::spawn(task.run());
    let (answer, told) = oneshot::channel();
    handle.set(text("1", &config()), answer).await;
    told.await.unwrap();

    node.unplug("video0");
    changed(&mut handle.changes()).await;
    handle.alive().await;
    alerts.recv().await.unwrap();

    let alert = timeout(PATIENCE, alerts.recv()).await.unwrap();
    assert!(matches!(alert, Some(Report::Alert(_))), "{alert:?}");
    drop(handle);
    task.await.unwrap();
}
