//! The start of a unit.

use tokio::sync::broadcast;
use tokio::sync::broadcast::error::RecvError;
use tokio::time::timeout;
use zbus::{Connection, OwnedObjectPath};

use super::bus::{self, ManagerProxy, is_bad_unit, is_no_such_unit};
use super::watch::JobEvent;
use super::{DropIn, Systemd, SystemdError, names, runtime_log, unit_files};
use crate::launcher::UnitState;
use crate::model::InstanceId;

impl Systemd {
    /// Starts the unit of an instance, and waits until the container has been
    /// started. On an error nothing of it is left.
    ///
    /// A service that ends at once is no error as long as systemd restarts it:
    /// what becomes of it is told by changes.
    pub(crate) async fn start(&self, drop_in: &DropIn<'_>) -> Result<(), SystemdError> {
        let result = self.try_start(drop_in).await;
        if result.is_err()
            && let Err(error) = self.stop(drop_in.id).await
        {
            tracing::warn!(instance_id = %drop_in.id, %error, "remains of a unit are left");
        }

        result
    }

    async fn try_start(&self, drop_in: &DropIn<'_>) -> Result<(), SystemdError> {
        let id = drop_in.id;
        let connection = self.connection()?;
        let manager = ManagerProxy::new(&connection)
            .await
            .map_err(SystemdError::Connect)?;

        let (files, text) = (self.files.clone(), drop_in.text());
        unit_files::blocking(move || files.write(id, &text))
            .await
            .map_err(|source| SystemdError::UnitFile { id, source })?;
        self.forget_the_past(&manager, id).await?;

        let mut jobs = self.jobs()?;
        let deadline = self.settings.start_deadline;
        let job = self.queue_start(&manager, id).await?;
        let done = timeout(deadline, self.job_end(&mut jobs, id, &job))
            .await
            .map_err(|_| SystemdError::StartHangs(deadline))??;
        if done == "done" {
            return Ok(());
        }

        self.why_not(&connection, drop_in, &done).await
    }

    /// A unit that systemd has kept, because it failed, counts its starts and
    /// has its old drop-in.
    async fn forget_the_past(
        &self,
        manager: &ManagerProxy<'_>,
        id: InstanceId,
    ) -> Result<(), SystemdError> {
        if !self.is_loaded(manager, id).await? {
            return Ok(());
        }
        reset(manager, id).await?;
        // Most units are gone now.
        if !self.is_loaded(manager, id).await? {
            return Ok(());
        }
        let unit = bus::unit(&self.connection()?, id)
            .await
            .map_err(call("look at a unit"))?;
        if unit
            .need_daemon_reload()
            .await
            .map_err(call("look at a unit"))?
        {
            self.reload(manager).await?;
        }

        Ok(())
    }

    async fn queue_start(
        &self,
        manager: &ManagerProxy<'_>,
        id: InstanceId,
    ) -> Result<OwnedObjectPath, SystemdError> {
        let name = names::unit_name(id);
        let job = match manager.start_unit(&name, "replace").await {
            // The template alone cannot be started: the drop-in was missed.
            Err(error) if is_bad_unit(&error) => {
                self.reload(manager).await?;
                manager.start_unit(&name, "replace").await
            }
            other => other,
        };

        job.map_err(call("start the unit"))
    }

    pub(super) async fn reload(&self, manager: &ManagerProxy<'_>) -> Result<(), SystemdError> {
        self.reloads
            .reload(|| manager.reload())
            .await
            .map_err(call("read the units again"))
    }

    pub(super) async fn is_loaded(
        &self,
        manager: &ManagerProxy<'_>,
        id: InstanceId,
    ) -> Result<bool, SystemdError> {
        match manager.get_unit(&names::unit_name(id)).await {
            Ok(_) => Ok(true),
            Err(error) if is_no_such_unit(&error) => Ok(false),
            Err(error) => Err(call("find the unit")(error)),
        }
    }

    /// Waits until the job has ended, and says how. Needs a receiver from
    /// before the job was made.
    pub(super) async fn job_end(
        &self,
        jobs: &mut broadcast::Receiver<JobEvent>,
        id: InstanceId,
        job: &OwnedObjectPath,
    ) -> Result<String, SystemdError> {
        loop {
            match jobs.recv().await {
                Ok(JobEvent::Removed { job: ended, result }) if ended == *job => return Ok(result),
                Ok(JobEvent::Removed { .. } | JobEvent::Unit(_)) => {}
                Ok(JobEvent::Missed) | Err(RecvError::Lagged(_)) => {
                    if let Some(result) = self.missed_end(id, job).await? {
                        return Ok(result);
                    }
                }
                Err(RecvError::Closed) => return Err(SystemdError::Disconnected),
            }
        }
    }

    /// How a job ended whose signal did not come; `None`: it has not, or
    /// systemd cannot be asked at the moment.
    async fn missed_end(
        &self,
        id: InstanceId,
        job: &OwnedObjectPath,
    ) -> Result<Option<String>, SystemdError> {
        // All who wait ask at the same time.
        let _turn = self.calls.acquire().await;
        let Ok(connection) = self.connection() else {
            return Ok(None);
        };
        let manager = ManagerProxy::new(&connection)
            .await
            .map_err(SystemdError::Connect)?;
        if !self.is_loaded(&manager, id).await? {
            return Ok(Some("failed".to_owned()));
        }
        let unit = bus::unit(&connection, id)
            .await
            .map_err(call("look at a unit"))?;
        let (_, current) = unit.job().await.map_err(call("look at a unit"))?;
        if current == *job {
            return Ok(None);
        }
        let seen = bus::look_at(&connection, id)
            .await
            .map_err(call("look at a unit"))?;
        let active = seen.state == Some(UnitState::Active);

        Ok(Some(if active { "done" } else { "failed" }.to_owned()))
    }

    /// Finds out why a start job did not succeed.
    async fn why_not(
        &self,
        connection: &Connection,
        drop_in: &DropIn<'_>,
        job_result: &str,
    ) -> Result<(), SystemdError> {
        let seen = bus::look_at(connection, drop_in.id)
            .await
            .map_err(call("look at a unit"))?;
        let result = seen.result.unwrap_or_default();
        if let Some(exit) = seen.exit.and_then(super::tracker::ExitRecord::exit) {
            return match seen.state {
                Some(UnitState::Failed | UnitState::Inactive) | None => {
                    Err(SystemdError::Ended { exit, result })
                }
                Some(_) => Ok(()),
            };
        }

        let log = drop_in.directory.join("runtime.log");
        let reason = unit_files::blocking(move || Ok(runtime_log::last_error(&log)))
            .await
            .ok()
            .flatten();

        Err(SystemdError::Start {
            reason: reason.unwrap_or_else(|| format!("unit {result}, job {job_result}")),
        })
    }
}

/// A unit without failures cannot be reset, which is as good.
pub(super) async fn reset(manager: &ManagerProxy<'_>, id: InstanceId) -> Result<(), SystemdError> {
    match manager.reset_failed_unit(&names::unit_name(id)).await {
        Err(error) if !is_no_such_unit(&error) => Err(call("reset the unit")(error)),
        _ => Ok(()),
    }
}

pub(super) fn call(what: &'static str) -> impl Fn(zbus::Error) -> SystemdError {
    move |source| SystemdError::Call { what, source }
}
