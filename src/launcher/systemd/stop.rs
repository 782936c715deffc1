//! The stop of a unit.

use std::fs;
use std::time::Duration;

use nix::sys::signal::Signal;
use tokio::sync::broadcast;
use tokio::sync::broadcast::error::RecvError;
use tokio::time::timeout;
use zbus::Connection;

use super::bus::{self, ManagerProxy, is_no_such_unit};
use super::start::{call, reset};
use super::watch::JobEvent;
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
        let mut jobs = self.jobs()?;
        let listed = bus::listed(connection, id);
        let Some(row) = listed.await.map_err(call("look at a unit"))? else {
            return Ok(());
        };
        let state = row.3.as_str();
        if state != "deactivating" && matches!(row.8.as_str(), "stop" | "restart") {
            return self.end(connection, manager, id, state, &mut jobs).await;
        }
        let job = match manager.stop_unit(&name, "replace").await {
            Err(error) if is_no_such_unit(&error) => return Ok(()),
            other => other.map_err(call("stop the unit"))?,
        };
        // After the stop was asked for: systemd must not take it for a crash. A
        // container that is only being started does not run the service yet.
        if state == "activating" || is_deaf(connection, id).await {
            kill(manager, &name, "main", Signal::SIGKILL as i32).await?;
        }

        let deadline = self.settings.stop_deadline;
        if let Ok(end) = timeout(deadline, self.job_end(&mut jobs, id, &job)).await {
            return end.map(drop);
        }
        kill(manager, &name, "all", Signal::SIGKILL as i32).await?;
        match timeout(LAST_DEADLINE, self.job_end(&mut jobs, id, &job)).await {
            Ok(end) => end.map(drop),
            Err(_) => Err(SystemdError::StopHangs(deadline + LAST_DEADLINE)),
        }
    }

    /// Ends a unit whose stop systemd has put off: it stops all instances, and
    /// waits for us to go first. A job of ours would wait with it. It starts
    /// nothing again that it is to stop.
    async fn end(
        &self,
        connection: &Connection,
        manager: &ManagerProxy<'_>,
        id: InstanceId,
        state: &str,
        news: &mut broadcast::Receiver<JobEvent>,
    ) -> Result<(), SystemdError> {
        let name = names::unit_name(id);
        let signal = match bus::service(connection, id).await {
            Ok(service) if state != "activating" && !is_deaf(connection, id).await => service
                .kill_signal()
                .await
                .unwrap_or(Signal::SIGTERM as i32),
            _ => Signal::SIGKILL as i32,
        };
        kill(manager, &name, "main", signal).await?;

        let patience = self.settings.end_deadline;
        if let Ok(end) = timeout(patience, self.unit_end(connection, id, news)).await {
            return end;
        }
        kill(manager, &name, "all", Signal::SIGKILL as i32).await?;
        timeout(LAST_DEADLINE, self.unit_end(connection, id, news))
            .await
            .unwrap_or(Err(SystemdError::StopHangs(patience + LAST_DEADLINE)))
    }

    /// Waits until nothing of a unit runs. Needs a receiver from before.
    async fn unit_end(
        &self,
        connection: &Connection,
        id: InstanceId,
        news: &mut broadcast::Receiver<JobEvent>,
    ) -> Result<(), SystemdError> {
        loop {
            let listed = bus::listed(connection, id).await;
            let row = listed.map_err(call("look at a unit"))?;
            let has_ended = row.is_none_or(|row| {
                matches!(row.3.as_str(), "inactive" | "failed") || row.4 == "auto-restart"
            });
            if has_ended {
                return Ok(());
            }
            loop {
                match news.recv().await {
                    Ok(JobEvent::Unit(changed)) if changed == id => break,
                    Ok(JobEvent::Missed) | Err(RecvError::Lagged(_)) => break,
                    Ok(JobEvent::Unit(_) | JobEvent::Removed { .. }) => {}
                    Err(RecvError::Closed) => return Err(SystemdError::Disconnected),
                }
            }
        }
    }

    /// Whether systemd stops all instances: with the machine, or their target.
    pub(crate) async fn is_all_stopping(&self) -> Result<bool, SystemdError> {
        bus::is_all_stopping(&self.connection()?)
            .await
            .map_err(call("say whether the machine goes down"))
    }
}

/// Whether the main process would not notice the unit's stop signal. What
/// cannot be found out is left to the unit's own deadline.
pub(super) async fn is_deaf(connection: &Connection, id: InstanceId) -> bool {
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

pub(super) async fn kill(
    manager: &ManagerProxy<'_>,
    name: &str,
    who: &str,
    signal: i32,
) -> Result<(), SystemdError> {
    match manager.kill_unit(name, who, signal).await {
        Ok(()) => Ok(()),
        // There may be no process any more.
        Err(error @ zbus::Error::MethodError(..)) => {
            tracing::debug!(unit = name, %error, "nothing to kill");
            Ok(())
        }
        Err(error) => Err(call("kill the unit")(error)),
    }
}
