//! What CM is told, and what outlives a restart.

use std::os::unix::fs::PermissionsExt as _;

use super::super::format::LONGEST;
use super::super::store::staged;
use super::*;

#[tokio::test]
async fn without_a_file_there_is_no_version_and_no_error() {
    let served = node().start();

    assert_eq!(served.status().await, status("", ""));
    let got = served.device("camera").await;
    assert_eq!(
        got.lacks[0].reason,
        "device camera: the node has no unit configuration"
    );
}

#[tokio::test]
async fn what_is_set_is_in_force_at_once_and_after_a_restart() {
    let node = node();
    let served = node.start();

    assert_eq!(served.check("1", &config()).await, status("1", ""));
    assert_eq!(served.status().await, status("", ""));
    let mut changes = served.handle.changes();
    assert_eq!(served.set("1", &config()).await, status("1", ""));
    assert!(changes.has_changed().unwrap());
    changes.mark_unchanged();
    assert_eq!(served.device("camera").await.lacks, []);
    served.stop().await;

    let served = node.start();
    assert_eq!(served.status().await, status("1", ""));
    assert_eq!(served.device("camera").await.devices[0].shared_count, 2);
    let mode = fs::metadata(node.file()).unwrap().permissions().mode();
    assert_eq!(mode & 0o7777, 0o600);
    let stored: Value = serde_json::from_slice(&fs::read(node.file()).unwrap()).unwrap();
    assert_eq!(stored["vendorVersion"], "1");
    assert!(!staged(&node.file()).exists());
}

#[tokio::test]
async fn same_version_is_accepted_with_the_same_content_alone() {
    let node = node();
    let served = node.start();
    served.set("1", &config()).await;
    let mut other = config();
    other["priority"] = json!(9);

    assert_eq!(served.set("1", &config()).await, status("1", ""));
    assert_eq!(served.check("1", &config()).await, status("1", ""));
    for answer in [
        served.set("1", &other).await,
        served.check("1", &other).await,
    ] {
        assert_eq!(answer.vendor_version, "1");
        assert!(answer.error.contains("another version"), "{answer:?}");
    }
    assert_eq!(served.set("2", &other).await, status("2", ""));
    assert_eq!(served.status().await, status("2", ""));
}

#[tokio::test]
async fn what_is_not_accepted_leaves_the_old_one_in_force() {
    let node = node();
    let served = node.start();
    served.set("1", &config()).await;
    let mut bad = config();
    bad["devices"][0]["hostDevices"] = json!(["/etc/passwd"]);
    let mut foreign = config();
    foreign["nodeType"] = json!("other");

    for (config, text) in [
        (&bad, "host device \"/etc/passwd\""),
        (
            &foreign,
            "it is for nodes of type \"other\", and this node is of type \"main\"",
        ),
        (&json!([1]), "no JSON object"),
    ] {
        for answer in [
            served.check("2", config).await,
            served.set("2", config).await,
        ] {
            assert_eq!(answer.vendor_version, "2");
            assert!(answer.error.contains(text), "{answer:?}");
        }
    }
    assert_eq!(served.status().await, status("1", ""));
    assert_eq!(served.device("camera").await.lacks, []);
}

#[tokio::test]
async fn missing_devices_and_groups_refuse_it_and_are_told() {
    let node = Node::new();
    let mut served = node.start();
    let mut config = config();
    config["resources"][0]["groups"] = json!(["nobody-here"]);

    let checked = served.check("1", &config).await;
    assert!(served.alerts.try_recv().is_err());
    let set = served.set("1", &config).await;

    let missing = [
        errors(
            "camera",
            &[
                "device /dev/video0 is not present on the system",
                "device /dev/media is not present on the system",
            ],
        ),
        errors(
            "bluetooth",
            &["group nobody-here is not present on the system"],
        ),
    ];
    assert_eq!(checked.error, set.error);
    assert!(
        set.error
            .contains("camera: device /dev/video0 is not present"),
        "{set:?}"
    );
    assert_eq!(served.alert().await, missing);
    assert_eq!(served.status().await, status("", ""));
    assert!(!node.file().exists());
}

#[tokio::test]
async fn file_that_is_of_no_use_is_told_and_replaced() {
    for text in ["{", "[]", "", &" ".repeat(LONGEST + 1)] {
        let node = node();
        node.store(text);
        let served = node.start();

        let told = served.status().await;
        let got = served.device("camera").await;

        assert_eq!(told.vendor_version, "");
        assert!(told.error.contains("is no unit configuration"), "{told:?}");
        let reason = &got.lacks[0].reason;
        assert!(
            reason.contains("the unit configuration is of no use: "),
            "{reason}"
        );
        assert_eq!(served.set("1", &config()).await, status("1", ""));
        assert_eq!(served.device("camera").await.lacks, []);
    }
}

#[tokio::test]
async fn stored_one_of_another_node_is_of_no_use_and_replaced() {
    let node = node();
    let served = node.start();
    served.set("1", &config()).await;
    node.is_of_type("new");
    let mut mended = config();
    mended["nodeType"] = json!("new");

    let told = served.status().await;
    let got = served.resource("bluetooth").await;

    assert_eq!(told.vendor_version, "1");
    assert!(
        told.error.contains("it is for nodes of type \"main\""),
        "{told:?}"
    );
    assert!(
        got.lacks[0].reason.contains("it is for nodes of type"),
        "{got:?}"
    );
    assert_eq!(served.set("1", &mended).await, status("1", ""));
    assert_eq!(served.resource("bluetooth").await.lacks, []);
}

#[tokio::test]
async fn nothing_is_accepted_before_the_type_of_the_node_is_known() {
    let node = node();
    node.kind.send_replace(None);
    let mut stored = config();
    stored["vendorVersion"] = json!("1");
    node.store(&stored.to_string());
    let served = node.start();

    // What was accepted before is in force all the same.
    assert_eq!(served.status().await, status("1", ""));
    assert_eq!(served.device("camera").await.lacks, []);
    assert_eq!(served.set("1", &config()).await, status("1", ""));
    let refused = served.set("2", &config()).await;
    assert!(refused.error.contains("not known yet"), "{refused:?}");
    node.is_of_type("main");
    assert_eq!(served.set("2", &config()).await, status("2", ""));
}

#[tokio::test]
async fn entry_that_an_old_release_accepted_is_lacked_by_those_who_ask_for_it_alone() {
    let node = node();
    let mut stored = config();
    stored["vendorVersion"] = json!("1");
    stored["resources"][0]["hosts"] = json!([{"ip": "vis.local", "hostname": "vis"}]);
    node.store(&stored.to_string());
    let served = node.start();

    assert_eq!(served.status().await, status("1", ""));
    assert_eq!(served.device("camera").await.lacks, []);
    let reason = &served.resource("bluetooth").await.lacks[0].reason;
    assert!(
        reason.contains("\"vis.local\" is no IP address"),
        "{reason}"
    );
}

#[tokio::test]
async fn place_that_cannot_be_written_is_an_error_and_changes_nothing() {
    let node = node();
    fs::write(node.directory.path().join("etc"), "a file").unwrap();
    let served = node.start();

    let refused = served.set("1", &config()).await;

    assert!(refused.error.contains("is not stored"), "{refused:?}");
    assert!(!served.device("camera").await.lacks.is_empty());
}

/// A power cut leaves the old file or the new one, and perhaps one half written.
#[tokio::test]
async fn after_a_power_cut_the_same_request_is_accepted() {
    let node = node();
    let served = node.start();
    served.set("1", &config()).await;
    served.stop().await;
    let mut new = config();
    new["priority"] = json!(9);

    for is_new in [false, true] {
        fs::write(staged(&node.file()), "{ half").unwrap();
        if is_new {
            let mut stored = new.clone();
            stored["vendorVersion"] = json!("2");
            node.store(&stored.to_string());
        }
        let served = node.start();

        let version = if is_new { "2" } else { "1" };
        assert_eq!(served.status().await, status(version, ""));
        assert_eq!(served.set("2", &new).await, status("2", ""));
        assert!(!is_new || staged(&node.file()).exists());
        served.stop().await;
    }
}
