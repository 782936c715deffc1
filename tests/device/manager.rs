//! The service manager on a device, and the instances that run there.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::lab::{Device, PATIENCE, wait_until};
use super::state::name;

const INSTANCES: &str = include_str!("instances.py");
const LEFTOVERS: &str = include_str!("leftovers.sh");
const UNIT: &str = "aos-servicemanager.service";

/// An instance, as systemd and the kernel have it.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub(crate) struct Running {
    /// Its unit's instance name.
    pub(crate) id: String,
    /// `SERVICE/SUBJECT/INDEX`, from the environment of its main process;
    /// empty if there is none.
    pub(crate) name: String,
    pub(crate) main_pid: u32,
    /// When the main process was started, in ticks since boot: no reused pid
    /// is taken for it.
    pub(crate) started: u64,
    pub(crate) state: String,
    pub(crate) restarts: u32,
    pub(crate) environment: BTreeMap<String, String>,
}

/// A process that is not another one with the same number.
pub(crate) type Process = (u32, u64);

impl Device {
    pub(crate) fn start_sm(&self) {
        self.sh(&format!("systemctl start {UNIT}"));
    }

    pub(crate) fn stop_sm(&self) {
        self.sh(&format!("systemctl stop {UNIT}"));
    }

    pub(crate) fn restart_sm(&self) {
        self.sh(&format!("systemctl restart {UNIT}"));
    }

    /// Kills the service manager at once; systemd may start it again.
    pub(crate) fn kill_sm(&self) {
        self.sh(&format!(
            "systemctl kill --kill-who=main --signal=KILL {UNIT}"
        ));
    }

    /// A property of the service manager's unit.
    pub(crate) fn sm_property(&self, property: &str) -> String {
        self.sh(&format!(
            "systemctl show --value --property={property} {UNIT}"
        ))
    }

    /// Waits until systemd calls the service manager active.
    pub(crate) fn wait_sm_active(&self) {
        wait_until(PATIENCE, "the service manager to be active", || {
            let state = self.sm_property("ActiveState");
            if state == "active" {
                Ok(())
            } else {
                Err(state)
            }
        });
    }

    /// Puts a drop-in beside the service manager's unit.
    pub(crate) fn sm_drop_in(&self, text: &str) {
        self.write(&format!("/etc/systemd/system/{UNIT}.d/50-test.conf"), text);
        self.sh("systemctl daemon-reload");
    }

    /// What the service manager has logged.
    pub(crate) fn sm_log(&self) -> String {
        self.sh(&format!("journalctl --output=cat --unit={UNIT}"))
    }

    /// All instances that systemd knows.
    pub(crate) fn instances(&self) -> Vec<Running> {
        let printed = self.python(INSTANCES, &[]);
        serde_json::from_str(&printed).expect("the script prints JSON")
    }

    /// A running instance.
    pub(crate) fn instance(&self, service: &str, index: u32) -> Running {
        let name = name(service, index);
        let instances = self.instances();
        let found = instances.iter().find(|instance| instance.name == name);
        found
            .unwrap_or_else(|| panic!("no {name} runs: {instances:#?}"))
            .clone()
    }

    /// Main processes by instance.
    pub(crate) fn processes(&self) -> BTreeMap<String, Process> {
        let instances = self.instances().into_iter();
        instances
            .filter(|instance| instance.main_pid != 0)
            .map(|instance| (instance.name, (instance.main_pid, instance.started)))
            .collect()
    }

    /// What the device still has of instances and networks, one thing a line.
    pub(crate) fn leftovers(&self) -> String {
        self.sh(LEFTOVERS)
    }

    /// No instance may hold anything; networks may be there.
    pub(crate) fn assert_no_instances(&self) {
        let left = self.leftovers();
        let left: Vec<_> = left
            .lines()
            .filter(|line| !line.starts_with("link br-"))
            .collect();
        assert!(left.is_empty(), "{left:#?}");
    }

    /// Nothing but cached content may be left. A unit that ended is unloaded
    /// when systemd finds the time.
    pub(crate) fn assert_clean(&self) {
        wait_until(PATIENCE, "nothing to be left", || match self.leftovers() {
            left if left.is_empty() => Ok(()),
            left => Err(left),
        });
    }
}
