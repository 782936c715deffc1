//! Formats of packages: images of registries, and other compressions.

#[expect(dead_code, reason = "each file of tests uses a part of it")]
mod device;

use device::lab::{Device, UNIT_DIR, aosctl, succeed};
use device::service::{PackedService, Service};
use device::state::{State, address};
use device::unit::Unit;

const IMAGES: &str = include_str!("fixtures/images.py");
const PROBE: &str = include_str!("fixtures/probe.py");

#[test]
#[ignore = "needs root: run ci/test.sh"]
fn images_of_registries_run_as_they_are() {
    let device = Device::up();
    device.python(IMAGES, &[UNIT_DIR, PROBE]);
    device.start_sm();
    let mut unit = Unit::start(&device);
    let names = ["oci", "docker", "modern"];
    let state = names
        .iter()
        .zip(10..)
        .fold(State::new(), |state, (name, host)| {
            state.with(&PackedService::new(name, 1, &format!("{name}.tar")), host)
        });

    unit.run_well(&state);

    for (name, host) in names.iter().zip(10..) {
        let read = |path: &str| {
            device.fetch_patiently(&format!("http://{}:8080/read?path={path}", address(host)))
        };
        assert_eq!(read("/data/base"), "of the base", "{name}");
        assert_eq!(read("/data/both"), "of the top", "{name}");
        assert!(read("/data/gone").starts_with("error"), "{name}");
    }
    // An operator sees what they are before they are deployed.
    for name in names {
        let shown = succeed(
            aosctl()
                .arg("inspect")
                .arg(device.path(UNIT_DIR).join(format!("{name}.tar"))),
        );
        let shown = String::from_utf8(shown.stdout).expect("it prints text");
        assert!(shown.contains("/probe.py"), "{name}: {shown}");
    }
    unit.stop_all();
    device.assert_clean();
}

#[test]
#[ignore = "needs root: run ci/test.sh"]
fn every_compression_is_unpacked() {
    let device = Device::up();
    device.start_sm();
    let mut unit = Unit::start(&device);
    let kinds = ["none", "gzip", "zstd"];
    let state = kinds
        .iter()
        .zip(10..)
        .fold(State::new(), |state, (kind, host)| {
            let service = Service::probe(kind)
                .file("page", *kind)
                .option(format!("--compress={kind}"))
                .pack(&device);
            state.with(&service, host)
        });

    unit.run_well(&state);

    for (kind, host) in kinds.iter().zip(10..) {
        let url = format!("http://{}:8080/read?path=/page", address(host));
        assert_eq!(device.fetch_patiently(&url), *kind);
    }
}
