mod refusals;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use aos_package::{ExecutionConfig, Quotas, ServiceDevice};
use serde_json::{Value, json};

use super::*;
use crate::model::{
    InstanceId, InstanceIdent, InstanceInfo, Provision, ServiceContent, ServiceKey,
};

pub(super) fn texts(entries: &[&str]) -> Vec<String> {
    entries.iter().map(|&entry| entry.to_owned()).collect()
}

pub(super) fn service() -> ServiceContent {
    ServiceContent {
        layer_digests: Vec::new(),
        key: ServiceKey {
            id: "service".into(),
            version: 1,
        },
        provider_id: "provider".into(),
        gid: 3000,
        manifest_digest: "sha256:00".to_owned(),
        root: "/content/root".into(),
        layers: Vec::new(),
        image: ImageConfig {
            architecture: "amd64".to_owned(),
            os: "linux".to_owned(),
            config: ExecutionConfig {
                entrypoint: texts(&["/bin/app", "--run"]),
                cmd: texts(&["fast"]),
                env: texts(&["COLOUR=blue"]),
                working_dir: "/data".to_owned(),
                ..ExecutionConfig::default()
            },
        },
        config: ServiceConfig::default(),
    }
}

pub(super) fn blueprint(service: ServiceContent) -> Blueprint {
    Blueprint {
        variables: crate::launcher::Variables::default(),
        provision: Provision::default(),
        offline_ttl: None,
        id: InstanceId::from_u128(0x42),
        info: InstanceInfo {
            ident: InstanceIdent {
                service_id: "service".into(),
                subject_id: "subject".into(),
                index: 0,
            },
            uid: 5000,
            ..InstanceInfo::default()
        },
        service: Arc::new(service),
        start_window: Duration::from_millis(1200),
        start_burst: 3,
        probes: Vec::new(),
        fingerprint: String::new(),
    }
}

pub(super) fn sources() -> Sources {
    Sources {
        nsswitch: Some("/etc/nsswitch.conf".into()),
        ssl: Some("/etc/ssl".into()),
        hosts: "/run/x/hosts".into(),
        resolv_conf: "/run/x/resolv.conf".into(),
        state: None,
        storage: None,
        lent: Vec::new(),
    }
}

pub(super) fn around(sources: &Sources) -> Surroundings<'_> {
    Surroundings {
        secret: None,
        netns: Path::new("/run/netns/x"),
        cgroups_path: "/system.slice/unit/container",
        sources,
        devices: &[],
        cpus: 2,
        controllers: Controllers {
            memory: true,
            swap: false,
            cpu: true,
            pids: true,
        },
        seccomp: None,
        user_namespace: false,
    }
}

fn spec_with(blueprint: &Blueprint, sources: &Sources, secret: Option<&str>) -> Value {
    let around = Surroundings {
        secret,
        ..around(sources)
    };

    serde_json::to_value(runtime_spec(blueprint, around).unwrap()).unwrap()
}

fn spec_of(service: ServiceContent) -> Value {
    spec_with(&blueprint(service), &sources(), None)
}

pub(super) fn mount_of<'a>(spec: &'a Value, destination: &str) -> Option<&'a Value> {
    spec["mounts"]
        .as_array()
        .unwrap()
        .iter()
        .find(|mount| mount["destination"] == destination)
}

#[test]
fn a_plain_service_has_this_process() {
    let spec = spec_of(service());

    assert_eq!(
        spec["process"],
        json!({
            "terminal": false,
            "user": {"uid": 5000, "gid": 3000},
            "args": ["/bin/app", "--run", "fast"],
            "env": [
                "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
                "TERM=xterm",
                "COLOUR=blue",
                "AOS_SERVICE_ID=service",
                "AOS_SUBJECT_ID=subject",
                "AOS_INSTANCE_INDEX=0",
                "AOS_INSTANCE_ID=00000000-0000-0000-0000-000000000042",
            ],
            "cwd": "/data",
            "capabilities": {
                "bounding": ["CAP_AUDIT_WRITE", "CAP_KILL", "CAP_NET_BIND_SERVICE"],
                "effective": [],
                "permitted": [],
            },
            "rlimits": [{"type": "RLIMIT_NOFILE", "hard": 1024, "soft": 1024}],
            "noNewPrivileges": true,
        })
    );
}

#[test]
fn a_plain_service_has_this_surrounding() {
    let spec = spec_of(service());

    assert_eq!(spec["ociVersion"], "1.0.2");
    assert_eq!(spec["root"], json!({"path": "rootfs", "readonly": true}));
    assert_eq!(spec["hostname"], "00000000-0000-0000-0000-000000000042");
    assert_eq!(
        spec["linux"],
        json!({
            "cgroupsPath": "/system.slice/unit/container",
            "resources": {"devices": [{"allow": false, "access": "rwm"}]},
            "namespaces": [
                {"type": "pid"},
                {"type": "network", "path": "/run/netns/x"},
                {"type": "ipc"},
                {"type": "uts"},
                {"type": "mount"},
                {"type": "cgroup"},
            ],
            "maskedPaths": MASKED_PATHS,
            "readonlyPaths": READONLY_PATHS,
        })
    );
}

#[test]
fn mounts_are_those_of_the_default_then_those_of_the_host() {
    let spec = spec_of(service());

    let mounts: Vec<_> = spec["mounts"]
        .as_array()
        .unwrap()
        .iter()
        .map(|mount| mount["destination"].as_str().unwrap())
        .collect();
    assert_eq!(
        mounts,
        [
            "/proc",
            "/dev",
            "/dev/pts",
            "/dev/shm",
            "/dev/mqueue",
            "/sys",
            "/sys/fs/cgroup",
            "/etc/nsswitch.conf",
            "/etc/ssl",
            "/etc/hosts",
            "/etc/resolv.conf",
        ]
    );
    assert_eq!(
        mount_of(&spec, "/etc/hosts").unwrap(),
        &json!({
            "destination": "/etc/hosts",
            "type": "bind",
            "source": "/run/x/hosts",
            "options": ["bind", "ro", "nosuid", "nodev"],
        })
    );
}

#[test]
fn quotas_become_limits() {
    let mut service = service();
    service.config.quotas = Quotas {
        cpu_limit: Some(50),
        ram_limit: Some(1 << 20),
        pids_limit: Some(9),
        no_file_limit: Some(64),
        tmp_limit: Some(4096),
        ..Quotas::default()
    };

    let spec = spec_of(service);

    let resources = &spec["linux"]["resources"];
    assert_eq!(
        resources["cpu"],
        json!({"quota": 100_000, "period": 100_000})
    );
    assert_eq!(resources["memory"], json!({"limit": 1 << 20}));
    assert_eq!(resources["pids"], json!({"limit": 9}));
    assert_eq!(
        spec["process"]["rlimits"],
        json!([
            {"type": "RLIMIT_NOFILE", "hard": 64, "soft": 64},
            {"type": "RLIMIT_NPROC", "hard": 9, "soft": 9},
        ])
    );
    assert_eq!(
        mount_of(&spec, "/tmp").unwrap()["options"],
        json!(["nosuid", "strictatime", "mode=1777", "size=4096"])
    );
}

#[test]
fn state_and_storage_are_writable() {
    let sources = Sources {
        state: Some("/states/a".into()),
        storage: Some("/storages/b".into()),
        ..sources()
    };

    let spec = spec_with(&blueprint(service()), &sources, None);

    for (inside, outside) in [("/state.dat", "/states/a"), ("/storage", "/storages/b")] {
        let mount = mount_of(&spec, inside).unwrap();
        assert_eq!(mount["source"], outside);
        assert_eq!(mount["options"], json!(["bind", "rw", "nosuid", "nodev"]));
    }
}

#[test]
fn every_bind_and_the_tmp_have_a_mount_point() {
    let mut service = service();
    service.config.quotas.tmp_limit = Some(1);
    let sources = Sources {
        state: Some("/states/a".into()),
        storage: Some("/storages/b".into()),
        ..sources()
    };

    let points = mount_points(&sources, tmp_limit(&service.config));
    assert_eq!(points.last().unwrap().mode, 0o1777);
    let spec = spec_with(&blueprint(service), &sources, None);

    for mount in spec["mounts"].as_array().unwrap() {
        let destination = mount["destination"].as_str().unwrap();
        // These two are made by the runtime inside /dev and /sys.
        if destination.starts_with("/dev/") || destination.starts_with("/sys/") {
            continue;
        }
        assert!(
            points.iter().any(|point| point.path == destination),
            "{destination}"
        );
    }
}

#[test]
fn what_the_host_lacks_is_not_mounted() {
    let sources = Sources {
        nsswitch: None,
        ssl: None,
        ..sources()
    };

    let spec = spec_with(&blueprint(service()), &sources, None);

    assert_eq!(mount_of(&spec, "/etc/ssl"), None);
    assert_eq!(mount_of(&spec, "/etc/nsswitch.conf"), None);
    assert_eq!(mount_of(&spec, "/tmp"), None);
}

#[test]
fn service_config_sets_host_name_and_kernel_parameters() {
    let mut service = service();
    service.config.hostname = Some("web".to_owned());
    service.config.sysctl = Some(BTreeMap::from([(
        "net.ipv4.ip_forward".to_owned(),
        "1".to_owned(),
    )]));

    let spec = spec_of(service);

    assert_eq!(spec["hostname"], "web");
    assert_eq!(spec["linux"]["sysctl"], json!({"net.ipv4.ip_forward": "1"}));
}

#[test]
fn a_service_that_runs_as_root_has_its_capabilities_in_force() {
    let mut blueprint = blueprint(service());
    blueprint.info.uid = 0;

    let spec = spec_with(&blueprint, &sources(), None);

    assert_eq!(
        spec["process"]["capabilities"]["effective"],
        json!(CAPABILITIES)
    );
    assert_eq!(
        spec["process"]["capabilities"]["permitted"],
        json!(CAPABILITIES)
    );
}

#[test]
fn the_secret_reaches_the_environment() {
    let spec = spec_with(&blueprint(service()), &sources(), Some("s3cret"));

    let env = spec["process"]["env"].as_array().unwrap();
    assert_eq!(env.last().unwrap(), "AOS_SECRET=s3cret");
}

#[test]
fn working_directory_is_made_absolute() {
    for (given, used) in [
        ("", "/"),
        ("app", "/app"),
        ("/app/", "/app/"),
        ("//x", "/x"),
    ] {
        let mut service = service();
        service.image.config.working_dir = given.to_owned();

        let spec = spec_of(service);

        assert_eq!(spec["process"]["cwd"], used);
    }
}
