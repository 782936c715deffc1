//! The example in `docs/` is what is sent.

use std::time::{Duration, SystemTime};

use serde_json::Value;

use crate::model::{
    ContentItem, ContentOverview, ErrorInfo, InstanceId, InstanceIdent, InstanceOverview,
    InstanceState, LauncherOverview, NetworkId, NetworkOverview, NodeInfo, NodeMonitoring,
    PartitionUsage, PeerState, ServiceId, ServiceKey, Usage,
};
use crate::status::{
    ContentView, DatabaseView, DesiredView, Document, DownloadView, InstanceView, NetworkView,
    NodeView, PeerView, PeersView, UsageView, time_text,
};

const EXAMPLE: &str = include_str!("../../../docs/status.example.json");

/// Seconds after the moment of the example.
fn at(seconds: i64) -> SystemTime {
    let moment = SystemTime::UNIX_EPOCH + Duration::from_secs(1_795_354_200);
    let distance = Duration::from_secs(seconds.unsigned_abs());
    if seconds < 0 {
        moment - distance
    } else {
        moment + distance
    }
}

fn error(message: &str, exit_code: i32) -> ErrorInfo {
    ErrorInfo {
        exit_code,
        ..ErrorInfo::new(message)
    }
}

fn instance(id: &str, service: &str, version: u64, state: InstanceState) -> InstanceOverview {
    InstanceOverview {
        id: id.parse::<InstanceId>().unwrap(),
        ident: Some(InstanceIdent {
            service_id: service.into(),
            subject_id: "me".into(),
            index: 0,
        }),
        version: Some(version),
        state,
        since: at(-2 * 86_400),
        running_version: None,
        network: Some((NetworkId::from("provider1"), "172.30.0.10".to_owned())),
        last_fault: None,
    }
}

fn instances() -> Vec<InstanceOverview> {
    vec![
        InstanceOverview {
            last_fault: Some((1, error("the service was killed by signal 9", 137))),
            ..instance(
                "11111111-2222-4333-8444-555555555555",
                "web",
                2,
                InstanceState::Active,
            )
        },
        InstanceOverview {
            since: at(-600),
            running_version: Some(3),
            network: Some((NetworkId::from("provider1"), "172.30.0.11".to_owned())),
            ..instance(
                "99999999-2222-4333-8444-555555555555",
                "db",
                4,
                InstanceState::Failed(error("the service exited with code 3", 3)),
            )
        },
    ]
}

fn content() -> ContentView {
    let mut content = ContentView {
        downloads: vec![DownloadView {
            item: "service db version 4".to_owned(),
            done: 5_000_000,
            total: 20_000_000,
            rate: 1_000_000,
        }],
        ..ContentView::default()
    };
    let id = ServiceId::from("db");
    content.take(vec![
        ContentOverview {
            item: ContentItem::Service(ServiceKey { id, version: 2 }),
            name: String::new(),
            version: 2,
            vendor_version: "2.0".to_owned(),
            size: 12_345_678,
            cached_since: Some(at(-2 * 86_400)),
        },
        ContentOverview {
            item: ContentItem::Layer("sha256:0000".to_owned()),
            name: "base".to_owned(),
            version: 1,
            vendor_version: "1.0".to_owned(),
            size: 4096,
            cached_since: None,
        },
    ]);
    content
}

fn peers() -> PeersView {
    let cm = PeerState {
        connected: true,
        since: at(-3598),
        last_error: None,
        next_try: None,
    };
    let message = "cannot connect to aosiam:8090: connection refused".to_owned();
    let iam = PeerState {
        connected: false,
        since: at(-30),
        last_error: Some((at(-2), message)),
        next_try: Some(at(4)),
    };

    PeersView {
        cm: PeerView::from(&cm),
        iam: PeerView::from(&iam),
    }
}

fn usage() -> UsageView {
    UsageView::from(NodeMonitoring {
        timestamp: at(0),
        node: Usage {
            ram: 500_000_000,
            cpu: 7,
            disks: vec![PartitionUsage {
                name: "storages".to_owned(),
                used_size: 1_000_000,
            }],
            in_traffic: 1000,
            out_traffic: 2000,
        },
        instances: Vec::new(),
    })
}

pub(super) fn document() -> Document {
    let launcher = LauncherOverview {
        generation: 2,
        settled: true,
        stored: true,
        instances: instances(),
    };
    let network = NetworkOverview {
        id: NetworkId::from("provider1"),
        bridge: "br-provider1".to_owned(),
        subnet: "172.30.0.0/16".to_owned(),
        gateway: "172.30.0.1".to_owned(),
        vlan_id: 5,
        instances: 2,
        removed: false,
        fault: None,
    };
    let node = NodeInfo {
        node_id: "main".to_owned(),
        node_type: "main-type".to_owned(),
    };
    let instances = launcher.instances.iter().cloned();

    Document {
        format: Document::FORMAT,
        time: time_text(at(0)),
        version: "0.1.0".to_owned(),
        pid: 321,
        started: time_text(at(-3600)),
        uptime: 3600,
        unanswered: Vec::new(),
        node: Some(NodeView::from(node)),
        peers: peers(),
        desired: Some(DesiredView::from(&launcher)),
        instances: Some(instances.map(InstanceView::from).collect()),
        networks: Some(vec![NetworkView::from(network)]),
        content: content(),
        database: DatabaseView {
            path: "/var/aos/servicemanager/servicemanager.db".to_owned(),
            bytes: 40_960,
        },
        usage: Some(usage()),
    }
}

#[test]
fn document_is_the_example_of_its_description() {
    let example: Value = serde_json::from_str(EXAMPLE).unwrap();

    let sent = serde_json::to_value(document()).unwrap();

    assert_eq!(sent, example);
}

#[test]
fn moments_before_1970_and_after_9999_are_still_texts() {
    let far = SystemTime::UNIX_EPOCH + Duration::from_secs(1 << 40);

    assert_eq!(
        time_text(SystemTime::UNIX_EPOCH - Duration::from_secs(9)),
        "1970-01-01T00:00:00Z"
    );
    assert_eq!(time_text(far), "@1099511627776");
}
