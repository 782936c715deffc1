//! A restart that systemd carries out.

use nix::sys::signal::Signal;
use zbus::Error;

use super::bus::{ManagerProxy, is_no_such_unit};
use super::start::call;
use super::stop::{is_deaf, kill};
use super::{Systemd, SystemdError, names};
use crate::model::InstanceId;

impl Systemd {
    /// Has the service stopped as a stop would, and started again. Returns when
    /// systemd has begun; what comes of it is told by changes. A unit that does not
    /// run is left alone, so that a stop always wins.
    pub(crate) async fn restart(&self, id: InstanceId) -> Result<(), SystemdError> {
        let _turn = self.calls.acquire().await;
        let connection = self.connection()?;
        let manager = ManagerProxy::new(&connection)
            .await
            .map_err(SystemdError::Connect)?;
        let name = names::unit_name(id);
        let is_deaf = is_deaf(&connection, id).await;
        match manager.try_restart_unit(&name, "replace").await {
            Err(error @ Error::MethodError(..)) if is_no_such_unit(&error) => return Ok(()),
            other => other.map_err(call("restart the unit"))?,
        };
        if is_deaf {
            kill(&manager, &name, "main", Signal::SIGKILL as i32).await?;
        }

        Ok(())
    }
}
