//! Who the users of an instance are on the host.

use super::lab::{Device, WORKING_DIR};
use super::manager::Running;
use super::state::UID;

/// Who root inside is on the host, user and group.
pub(crate) const ROOT: &str = "2000000000";

/// A device on which this runtime runs the services.
pub(crate) fn device_with(runtime: &str) -> Device {
    // crun is not used with hybrid cgroups.
    let device = match runtime {
        "crun" => Device::up_with(&["--cgroup", "legacy"]),
        _ => Device::up(),
    };
    device.sh(&format!(
        "ln -s $(command -v {runtime}) {WORKING_DIR}/{runtime}"
    ));
    device
}

/// The maps of users and groups of an instance's main process, one space apart.
pub(crate) fn users(device: &Device, instance: &Running) -> [String; 2] {
    ["uid_map", "gid_map"].map(|file| {
        let file = device.sh(&format!("cat /proc/{}/{file}", instance.main_pid));
        let line = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
        file.lines().map(line).collect::<Vec<_>>().join("\n")
    })
}

/// The same as they have to be for an instance in these groups.
pub(crate) fn users_in(gids: &[u32]) -> [String; 2] {
    let own = |id: &u32| format!("\n{id} {id} 1");
    let gids: String = gids.iter().map(own).collect();
    [
        format!("0 {ROOT} 1{}", own(&UID)),
        format!("0 {ROOT} 1\n5 2000000005 1{gids}"),
    ]
}

/// Whether an instance is in the host's own user namespace.
pub(crate) fn shares_the_hosts(device: &Device, instance: &Running) -> bool {
    let of = |pid: u32| device.sh(&format!("readlink /proc/{pid}/ns/user"));
    of(instance.main_pid) == of(1)
}
