//! A server of packages in the device, with faults on demand.

use serde::Deserialize;

use super::lab::{Device, PATIENCE, UNIT_DIR, wait_until};
use super::service::PackedService;

const SERVER: &str = include_str!("../fixtures/package_server.py");
const PROGRAM: &str = "/var/aos/package_server.py";
const LOG: &str = "/var/aos/package_server.log";

/// A request that has ended.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Answered {
    pub(crate) path: String,
    pub(crate) range: Option<String>,
    pub(crate) if_range: Option<String>,
    pub(crate) status: u16,
    /// Bytes of the body.
    pub(crate) sent: u64,
}

/// Serves the unit's directory on port 8000 until the device ends.
#[derive(Debug)]
pub(crate) struct Server<'a> {
    device: &'a Device,
}

impl<'a> Server<'a> {
    pub(crate) fn start(device: &'a Device) -> Self {
        device.write(PROGRAM, SERVER);
        device.sh(&format!(
            "touch {LOG}; systemd-run --quiet --unit=packages python3 {PROGRAM} {UNIT_DIR} {LOG}"
        ));
        wait_until(PATIENCE, "the server of packages", || {
            device
                .try_sh(
                    "python3 -c 'import socket; socket.create_connection((\"127.0.0.1\", 8000))'",
                )
                .status
                .success()
                .then_some(())
                .ok_or("it does not listen")
        });
        Self { device }
    }

    /// Where a package is; `how` is what the fixture's first lines say.
    pub(crate) fn url(how: &str, service: &PackedService) -> String {
        format!("http://127.0.0.1:8000/{how}/{}", service.file())
    }

    /// All requests that have ended.
    pub(crate) fn answered(&self) -> Vec<Answered> {
        let log = self.device.sh(&format!("cat {LOG}"));
        log.lines()
            .map(|line| serde_json::from_str(line).expect("the server writes JSON"))
            .collect()
    }
}
