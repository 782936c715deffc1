//! The stop of a unit.

use std::fs;
use std::time::Duration;

use nix::sys::signal::Signal;
use tokio::time::timeout;
use zbus::Connection;

use super::bus::{self, ManagerProxy, is_no_such_unit};
use super::start::{call, reset};
use super::{Systemd, SystemdError, names, signals};
use crate::model::InstanceId;

/// For a unit whose processes were all killed.
const LAST_DEADLINE: Duration = Duration::from_secs(10);

impl Systemd {
    /// Stops the unit of an instance and removes all that is left of it. A unit
    /// that is not there is stopped.
    pub(crate) async fn stop(&self, id: InstanceId) -> Result<(), SystemdError> {
        let connection = self.connection()?;
        let manager = ManagerProxy::new(&connection)
            .await
            .map_err(SystemdError::Connect)?;

        if self.is_loaded(&manager, id).await? {
            self.stop_loaded(&connection, &manager, id).await?;
            reset(&manager, id).await?;
        }

        self.clean(id).await
    }

    async fn stop_loaded(
        &self,
        connection: &Connection,
        manager: &ManagerProxy<'_>,
        id: InstanceId,
    ) -> Result<(), SystemdError> {
        let name = names::unit_name(id);
        let unit = bus::unit(connection, id)
            .await
            .map_err(call("look at a unit"))?;
        let state = unit.active_state().await.map_err(call("look at a unit"))?;
        let mut jobs = self.jobs()?;
        let job = match manager.stop_unit(&name, "replace").await {
            Err(error) if is_no_such_unit(&error) => return Ok(()),
            other => other.map_err(call("stop the unit"))?,
        };
        // After the stop was asked for: systemd must not take it for a crash. A
        // container that is only being started does not run the service yet.
        if state == "activating" || is_deaf(connection, id).await {
            kill(manager, &name, "main").await?;
        }

        let deadline = self.settings.stop_deadline;
        if let Ok(end) = timeout(deadline, self.job_end(&mut jobs, id, &job)).await {
            return end.map(drop);
        }
        kill(manager, &name, "all").await?;
        match timeout(LAST_DEADLINE, self.job_end(&mut jobs, id, &job)).await {
            Ok(end) => end.map(drop),
            Err(_) => Err(SystemdError::StopHangs(deadline + LAST_DEADLINE)),
        }
    }
}

/// Whether the main process would not notice the unit's stop signal. What
/// cannot be found out is left to the unit's own deadline.
async fn is_deaf(connection: &Connection, id: InstanceId) -> bool {
    let asked = async {
        let service = bus::service(connection, id).await?;
        tokio::try_join!(service.main_pid(), service.kill_signal())
    };
    let Ok((pid, signal)) = asked.await else {
        return false;
    };
    if pid == 0 {
        return false;
    }

    fs::read_to_string(format!("/proc/{pid}/status"))
        .is_ok_and(|status| !signals::hears(&status, signal))
}

async fn kill(manager: &ManagerProxy<'_>, name: &str, who: &str) -> Result<(), SystemdError> {
    match manager.kill_unit(name, who, Signal::SIGKILL as i32).await {
        Ok(()) => Ok(()),
        // There may be no process any more.
        Err(error @ zbus::Error::MethodError(..)) => {
            tracing::debug!(unit = name, %error, "nothing to kill");
            Ok(())
        }
        Err(error) => Err(call("kill the unit")(error)),
    }
}
