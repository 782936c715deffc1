//! What systemd calls an instance: unit, object path, cgroup.

use std::fmt::Write as _;

use crate::model::InstanceId;

const PREFIX: &str = "aos-service@";
const SUFFIX: &str = ".service";

/// Matches the units of all instances.
pub(crate) const UNIT_PATTERN: &str = "aos-service@*.service";

/// Its stop stops all instances.
pub(crate) const TARGET: &str = "aos.target";

/// Where systemd keeps its unit objects.
const UNIT_OBJECTS: &str = "/org/freedesktop/systemd1/unit/";

/// The slice that the template names, from the root of a cgroup hierarchy.
const SLICE: &str = r"/system.slice/system-aos\x2dservice.slice";

/// Name of the cgroup of the container inside that of its unit.
pub(crate) const CONTAINER: &str = "container";

/// Name of the cgroup of the runtime inside that of its unit.
pub(crate) const RUNTIME: &str = "runtime";

/// Name of the instance's unit.
pub(crate) fn unit_name(id: InstanceId) -> String {
    format!("{PREFIX}{id}{SUFFIX}")
}

/// Whose unit it is. Only the exact name of an instance's unit is one: ids are
/// written in one way alone.
pub(crate) fn instance_of_unit(unit: &str) -> Option<InstanceId> {
    let id: InstanceId = unit
        .strip_prefix(PREFIX)?
        .strip_suffix(SUFFIX)?
        .parse()
        .ok()?;
    (unit_name(id) == unit).then_some(id)
}

/// Object path of the instance's unit.
pub(crate) fn unit_path(id: InstanceId) -> String {
    let mut path = UNIT_OBJECTS.to_owned();
    for byte in unit_name(id).bytes() {
        if byte.is_ascii_alphanumeric() {
            path.push(char::from(byte));
        } else {
            write!(path, "_{byte:02x}").expect("writing to a String cannot fail");
        }
    }

    path
}

/// Whose unit is at an object path.
pub(crate) fn instance_of_path(path: &str) -> Option<InstanceId> {
    let mut name = String::new();
    let mut rest = path.strip_prefix(UNIT_OBJECTS)?;
    while let Some((plain, escaped)) = rest.split_once('_') {
        let code = u8::from_str_radix(escaped.get(..2)?, 16).ok()?;
        name.push_str(plain);
        name.push(char::from(code));
        rest = escaped.get(2..)?;
    }
    name.push_str(rest);

    instance_of_unit(&name)
}

/// Cgroup of the instance's unit, from the root of each hierarchy.
pub(crate) fn unit_cgroup(id: InstanceId) -> String {
    format!("{SLICE}/{}", unit_name(id))
}

/// Cgroup of the instance's container, from the root of each hierarchy.
pub(crate) fn container_cgroup(id: InstanceId) -> String {
    format!("{}/{CONTAINER}", unit_cgroup(id))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const UNIT: &str = "aos-service@0a1b2c3d-0000-4000-8000-0123456789ab.service";
    const PATH: &str = "/org/freedesktop/systemd1/unit/\
        aos_2dservice_400a1b2c3d_2d0000_2d4000_2d8000_2d0123456789ab_2eservice";

    #[test]
    fn unit_and_path_are_those_of_systemd() {
        let id = instance_of_unit(UNIT).unwrap();

        assert_eq!(id.to_string(), "0a1b2c3d-0000-4000-8000-0123456789ab");
        assert_eq!(unit_path(id), PATH);
        assert_eq!(instance_of_path(PATH), Some(id));
    }

    #[test]
    fn other_units_are_nobodys() {
        for unit in [
            "aos-service@.service",
            "aos-service@x.service",
            "aos-servicemanager.service",
            "aos-service@0a1b2c3d-0000-4000-8000-0123456789ab.socket",
            "aos-service@0A1B2C3D-0000-4000-8000-0123456789AB.service",
            "aos-service@0a1b2c3d00004000800001234567 89ab.service",
            "",
        ] {
            assert_eq!(instance_of_unit(unit), None, "{unit}");
        }
    }

    #[test]
    fn damaged_paths_are_nobodys() {
        for path in [
            "/org/freedesktop/systemd1/unit/aos_2dservice_4",
            "/org/freedesktop/systemd1/unit/aos_zzservice",
            "/org/freedesktop/systemd1/unit/_é",
            "/org/freedesktop/systemd1/job/1",
            "/",
        ] {
            assert_eq!(instance_of_path(path), None, "{path}");
        }
    }

    #[test]
    fn template_is_in_the_slice_that_the_cgroup_says() {
        let template = include_str!("../../../misc/systemd/aos-service@.service");

        let slice = SLICE.rsplit('/').next().unwrap();
        assert!(template.contains(&format!("\nSlice={slice}\n")));
        assert!(template.contains("\nDelegate=yes\n"));
        assert!(!template.contains("\nExecStart="), "it is the drop-in's");
    }

    #[test]
    fn container_is_inside_the_unit() {
        let id = instance_of_unit(UNIT).unwrap();

        assert_eq!(
            container_cgroup(id),
            format!(r"/system.slice/system-aos\x2dservice.slice/{UNIT}/container")
        );
    }

    proptest! {
        #[test]
        fn each_id_comes_back_from_its_names(bits: u128) {
            let id = InstanceId::from_u128(bits);

            prop_assert_eq!(instance_of_unit(&unit_name(id)), Some(id));
            prop_assert_eq!(instance_of_path(&unit_path(id)), Some(id));
        }

        #[test]
        fn no_text_is_too_odd_to_be_read(text: String) {
            let _ = instance_of_unit(&text);
            let _ = instance_of_path(&format!("{UNIT_OBJECTS}{text}"));
        }
    }
}
