//! Packages that are not what they should be, and what becomes of them.

#[expect(dead_code, reason = "each file of tests uses a part of it")]
mod device;

use aos_package::hex;
use aos_package::hostile::{self as hostile_packages, Expected};
use device::lab::{Device, UNIT_DIR, WORKING_DIR};
use device::service::{Layer, PackedLayer, PackedService, Service, beside_a_good_one};
use device::state::{State, Status, address, assert_reasons, status_of};
use device::unit::Unit;

const HOSTILE: &str = include_str!("fixtures/hostile.py");

/// Files that no package may touch, read or replace.
const WATCHED: &str = "/etc /etc/shadow /etc/passwd /etc/victim /root /usr /var/aos";

/// Has the packages made; `PackedService::new` takes them from `hostile/`.
fn make_hostile_packages(device: &Device) {
    device.python(HOSTILE, &[&format!("{UNIT_DIR}/hostile")]);
}

fn hostile(name: &str) -> PackedService {
    PackedService::new(name, 1, &format!("hostile/{name}.tar"))
}

#[test]
#[ignore = "needs root: run ci/test.sh"]
fn damaged_package_is_the_error_of_its_instances_alone() {
    let device = Device::up();
    make_hostile_packages(&device);
    let whole = |id: &str| PackedService::new(id, 1, "hostile/whole.tar");
    let services = [
        whole("bad-sha256").told("sha3_256", "00".repeat(32)),
        whole("bad-sha512").told("sha3_512", "00".repeat(64)),
        whole("bad-size").told("size", 1),
        whole("absent")
            .told("package", serde_json::Value::Null)
            .told("url", "file:///no/such/package.tar")
            .told("size", 1)
            .told("sha3_256", "00".repeat(32))
            .told("sha3_512", "00".repeat(64)),
        hostile("truncated"),
        PackedService::new("truncated-gzip", 1, "hostile/truncated.tar.gz"),
        hostile("bad-blob"),
        hostile("no-manifest"),
        hostile("text"),
        hostile("empty"),
    ];
    device.start_sm();
    let mut unit = Unit::start(&device);

    let statuses = unit.run(&beside_a_good_one(&device, &services));

    assert_reasons(
        &statuses,
        &[
            ("bad-sha256", &["digest", "sha3-256", "checksum"]),
            ("bad-sha512", &["digest", "sha3-512", "checksum"]),
            ("bad-size", &["size", "bytes"]),
            ("absent", &["no such file"]),
            (
                "truncated",
                &["truncated", "unexpected end", "incomplete", "ends"],
            ),
            (
                "truncated-gzip",
                &[
                    "truncated",
                    "unexpected end",
                    "incomplete",
                    "ends",
                    "corrupt",
                ],
            ),
            ("bad-blob", &["digest"]),
            ("no-manifest", &["manifest.json"]),
            ("text", &["archive", "tar", "header", "manifest"]),
            ("empty", &["empty", "manifest.json", "archive"]),
        ],
    );
    // Nothing half-done stays.
    let installed = device.sh(&format!("ls -d {WORKING_DIR}/services/*/ | wc -l"));
    assert_eq!(installed, "1");
    assert_eq!(
        device
            .sh(&format!(
                "ls -A {WORKING_DIR}/download {WORKING_DIR}/extract | grep -v : || true"
            ))
            .trim(),
        ""
    );
}

#[test]
#[ignore = "needs root: run ci/test.sh"]
fn no_entry_of_a_package_leaves_its_root() {
    let device = Device::up();
    make_hostile_packages(&device);
    device.write("/etc/victim", "untouched");
    device.sh("chown 0:42 /etc/victim && chmod 640 /etc/victim");
    let look = format!("stat -c '%n %u:%g %a %Y %s' {WATCHED}; ls -A /etc; cat /etc/victim");
    let before = device.sh(&look);
    let refused = [
        "by-name",
        "by-link",
        "by-relative-link",
        "by-hard-link",
        "by-hard-link-up",
    ];
    let mut services: Vec<_> = refused.iter().map(|name| hostile(name)).collect();
    services.push(hostile("by-absolute-name"));
    device.start_sm();
    let mut unit = Unit::start(&device);

    let statuses = unit.run(&beside_a_good_one(&device, &services));

    assert_eq!(device.sh(&look), before);
    assert!(status_of(&statuses, "good").is_active(), "{statuses:#?}");
    for name in refused {
        let reason = status_of(&statuses, name).reason();
        // The entry is named, so that the maker of the package finds it.
        let entry = if name.starts_with("by-hard") {
            "inside"
        } else {
            name
        };
        assert!(reason.contains(entry), "{name}: {reason}");
    }
    assert_eq!(
        device.sh(&format!(
            "find {WORKING_DIR} -name 'by-*' -newer /etc/victim | grep -v by-absolute-name || true"
        )),
        ""
    );
}

#[test]
#[ignore = "needs root: run ci/test.sh"]
fn links_of_an_image_to_the_host_show_and_change_nothing_of_it() {
    let device = Device::up();
    make_hostile_packages(&device);
    device.write("/etc/victim", "of the host");
    let look = format!("stat -c '%n %u:%g %a %Y %s' {WATCHED}; cat /etc/victim");
    let before = device.sh(&look);
    device.start_sm();
    let mut unit = Unit::start(&device);
    let services = ["shadow", "usr-is-etc", "etc-is-host"].map(hostile);
    let spy = Service::probe("spy")
        .link("x", "/etc/shadow")
        .link("etc", "/proc/1/root/etc")
        .link("host", "/../../../../etc")
        .pack(&device);
    let state = beside_a_good_one(&device, &services).with(&spy, 30);

    let statuses = unit.run(&state);

    assert_eq!(device.sh(&look), before);
    for name in ["good", "shadow", "spy"] {
        assert!(status_of(&statuses, name).is_active(), "{statuses:#?}");
    }
    // Without /usr and /bin it has no shell: it is not that of the host.
    status_of(&statuses, "usr-is-etc").reason();
    for path in [
        "/x",
        "/etc/shadow",
        "/host/shadow",
        "/host/victim",
        "/etc/victim",
    ] {
        let url = format!("http://{}:8080/read?path={path}", address(30));
        let answer = device.fetch_patiently(&url);
        assert!(answer.starts_with("error"), "{path}: {answer}");
    }
    // What is linked from inside a root is not what is given to the group.
    for instance in device
        .instances()
        .iter()
        .filter(|instance| instance.main_pid != 0)
    {
        let etc = device.sh(&format!("ls -A /proc/{}/root/etc/", instance.main_pid));
        assert!(
            !etc.contains("shadow") && !etc.contains("victim"),
            "{}: {etc}",
            instance.name
        );
    }
}

#[test]
#[ignore = "needs root: run ci/test.sh"]
fn special_files_are_left_out_and_setuid_bits_cleared() {
    let device = Device::up();
    make_hostile_packages(&device);
    device.start_sm();
    let mut unit = Unit::start(&device);

    let statuses = unit.run(&beside_a_good_one(&device, &[hostile("devices")]));

    assert!(statuses.iter().all(Status::is_active), "{statuses:#?}");
    let pid = device.instance("devices", 0).main_pid;
    let root = device.sh(&format!(
        "cd /proc/{pid}/root; ls -d disk pipe setuid 2>/dev/null || true; stat -c %a setuid"
    ));
    assert_eq!(root, "setuid\n755");
}

#[test]
#[ignore = "needs root: run ci/test.sh"]
fn missing_layer_is_named_and_found_when_it_comes() {
    let device = Device::up();
    device.start_sm();
    let mut unit = Unit::start(&device);
    let layer = Layer::new("data")
        .file("data/page", "of the layer")
        .pack(&device);
    let needy = Service::probe("needy").layer(&layer).pack(&device);
    let state = beside_a_good_one(&device, std::slice::from_ref(&needy));

    let statuses = unit.run(&state);
    assert!(status_of(&statuses, "good").is_active(), "{statuses:#?}");
    let reason = status_of(&statuses, "needy").reason();
    let digest = layer.digest.trim_start_matches("sha256:");
    assert!(
        reason.contains("layer") && reason.contains(digest),
        "{reason}"
    );
    let good = device.instance("good", 0);

    unit.run_well(&state.layer(&layer));

    let url = format!("http://{}:8080/read?path=/data/page", address(20));
    assert_eq!(device.fetch_patiently(&url), "of the layer");
    assert_eq!(device.instance("good", 0), good);
}

#[test]
#[ignore = "needs root: run ci/test.sh"]
fn update_that_cannot_be_installed_leaves_the_old_version_running() {
    let device = Device::up();
    device.start_sm();
    let mut unit = Unit::start(&device);
    let old = Service::sleeper("app").pack(&device);
    unit.run_well(&State::new().with(&old, 10));
    let before = device.instance("app", 0);
    let new = Service::sleeper("app")
        .version(2)
        .pack(&device)
        .told("sha3_512", "11".repeat(64));

    let statuses = unit.run(&State::new().with(&new, 10));
    let failed = status_of(&statuses, "app");
    assert_eq!(
        (failed.version, failed.run_state.as_str()),
        (2, "failed"),
        "{failed:?}"
    );
    let kept = unit.wait_told("the old version", Status::is_active);
    assert_eq!(kept.version, 1);
    assert_eq!(device.instance("app", 0), before);

    unit.run_well(&State::new().with(&old, 10));
    assert_eq!(device.instance("app", 0), before);
}

#[test]
#[ignore = "needs root: run ci/test.sh"]
fn service_that_comes_back_is_taken_from_the_cache() {
    let device = Device::up();
    device.start_sm();
    let mut unit = Unit::start(&device);
    let app = Service::sleeper("app").pack(&device);
    let state = State::new().with(&app, 10);
    let path = state.save(&device);
    unit.run_well(&state);
    unit.stop_all();
    device.assert_clean();
    // The peers read sizes and digests from the package; from here on they have
    // to be told.
    let facts = device.python(
        "import hashlib, json, sys\n\
         data = open(sys.argv[1], 'rb').read()\n\
         print(json.dumps([len(data), hashlib.sha3_256(data).hexdigest(), hashlib.sha3_512(data).hexdigest()]))",
        &[&format!("{UNIT_DIR}/app-1.tar")],
    );
    let facts: serde_json::Value = serde_json::from_str(&facts).unwrap();
    device.sh(&format!("rm {UNIT_DIR}/app-1.tar {path}"));
    let gone = app
        .told("size", facts[0].clone())
        .told("sha3_256", facts[1].clone())
        .told("sha3_512", facts[2].clone());

    unit.run_well(&State::new().with(&gone, 10));

    assert_eq!(device.processes().len(), 1);
}

/// Packages whose point is their size, and the time that it takes to make them.
const LARGE: &[&str] = &["entries-a-million"];

#[test]
#[ignore = "needs root: run ci/test.sh"]
fn no_package_that_tries_to_do_harm_escapes_hangs_or_leaves_anything() {
    let device = Device::up();
    device.write("/etc/victim", "untouched");
    device.start_sm();
    let mut unit = Unit::start(&device);
    let good = Service::sleeper("good").pack(&device);
    unit.run_well(&State::new().with(&good, 10));
    let before = device.instance("good", 0);
    let look = format!("stat -c '%n %u:%g %a %Y %s' {WATCHED}; ls -A /etc /root /");
    let host = device.sh(&look);
    let all = hostile_packages::all();
    let tried: Vec<_> = all
        .iter()
        .filter(|package| !LARGE.contains(&package.name.as_str()))
        .collect();
    assert!(tried.len() >= 60, "{}", tried.len());
    let directory = device.path(UNIT_DIR).join("harm");
    std::fs::create_dir(&directory).expect("the root is ours");
    let mut wrong = Vec::new();

    for (number, package) in tried.iter().enumerate() {
        let file = format!("{number}.tar");
        let packed = package
            .write(&directory.join(&file))
            .expect("there is room");
        let entry = |id: &str| {
            serde_json::json!({
                "id": id,
                "version": 1,
                "provider": "provider1",
                "gid": 5002,
                "url": format!("file://{UNIT_DIR}/harm/{file}"),
                "size": packed.size,
                "sha3_256": hex(&packed.sha3_256),
                "sha3_512": hex(&packed.sha3_512),
            })
        };
        let state = State::new().with(&good, 10);
        let state = match &packed.layer_digest {
            Some(digest) => {
                let mut entry = entry("harm");
                entry["digest"] = digest.to_string().into();
                let fields = entry.as_object_mut().expect("it is an object");
                fields.remove("provider");
                fields.remove("gid");
                state.layer(&PackedLayer {
                    digest: digest.to_string(),
                    entry,
                })
            }
            None => {
                let id = format!("harm{number}");
                let entry = entry(&id);
                state.with(&PackedService { id, entry }, 11)
            }
        };
        let statuses = unit.run(&state);
        if !status_of(&statuses, "good").is_active() {
            wrong.push(format!("{}: took the good one down", package.name));
        }
        if let (Expected::Refused(words), None) = (&package.expected, &packed.layer_digest) {
            let status = status_of(&statuses, &format!("harm{number}"));
            let reason = status.error.as_ref().map_or("", |error| error.0.as_str());
            if !reason.contains(words) {
                wrong.push(format!("{}: `{reason}`, not `{words}`", package.name));
            }
        }
        std::fs::remove_file(directory.join(&file)).expect("the root is ours");
    }

    unit.run_well(&State::new().with(&good, 10));
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert_eq!(device.instance("good", 0), before);
    assert_eq!(device.sh(&look), host);
    assert_eq!(
        device.sh(&format!(
            "ls -d {WORKING_DIR}/*/.staging* 2>/dev/null || true"
        )),
        ""
    );
}
