//! What cannot run, and why.

use super::*;

type Damage = fn(&mut ServiceContent);

#[test]
fn what_cannot_run_is_refused_with_a_reason() {
    let cases: [(Damage, &str); 6] = [
        (
            |service| service.image.os = "windows".to_owned(),
            "unsupported OS in image config windows",
        ),
        (
            |service| service.image.os.clear(),
            "unsupported OS in image config ",
        ),
        (
            |service| {
                service.image.config.entrypoint.clear();
                service.image.config.cmd.clear();
            },
            "image config names no command: entrypoint and cmd are empty",
        ),
        (
            |service| {
                service.config.devices = Some(vec![ServiceDevice {
                    name: "camera".to_owned(),
                    permissions: "rx".to_owned(),
                }]);
            },
            "device camera: permissions \"rx\" are not any of r, w, m",
        ),
        (
            |service| {
                let parameter = ("kernel.panic".to_owned(), "1".to_owned());
                service.config.sysctl = Some(BTreeMap::from([parameter]));
            },
            "kernel parameter kernel.panic",
        ),
        (
            |service| service.image.config.env = texts(&["BAD"]),
            "cannot set the environment of the image config",
        ),
    ];

    for (damage, text) in cases {
        let mut service = service();
        damage(&mut service);

        let refused = check(&service.image, &service.config);

        assert_eq!(refused.unwrap_err().to_string(), text);
    }
}

#[test]
fn empty_lists_of_devices_and_resources_are_none() {
    let mut service = service();
    service.config.devices = Some(Vec::new());
    service.config.resources = Some(Vec::new());

    assert_eq!(check(&service.image, &service.config), Ok(()));
}

#[test]
fn limit_that_the_kernel_cannot_keep_is_refused_before_the_start() {
    let mut service = service();
    service.config.quotas.pids_limit = Some(5);
    let sources = sources();
    let mut around = around(&sources);
    around.controllers.pids = false;

    let refused = runtime_spec(&blueprint(service), around).unwrap_err();

    assert_eq!(
        refused.to_string(),
        "pidsLimit cannot be kept: this kernel has no pids controller"
    );
}

#[test]
fn profile_of_system_calls_is_part_of_the_spec() {
    let profile = Seccomp::BuiltIn(built_in("x86_64"));
    let sources = sources();
    let mut around = around(&sources);
    around.seccomp = Some(&profile);

    let spec = runtime_spec(&blueprint(service()), around).unwrap();

    let spec = serde_json::to_value(spec).unwrap();
    assert_eq!(spec["linux"]["seccomp"]["defaultAction"], "SCMP_ACT_ERRNO");
}
