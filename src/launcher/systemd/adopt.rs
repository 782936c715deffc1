//! The unit of a running instance, after a start of SM.

use super::bus::ManagerProxy;
use super::{DropIn, Systemd, SystemdError, unit_files};
use crate::model::InstanceId;

impl Systemd {
    /// The drop-in that the unit of an instance has, if any.
    pub(crate) async fn drop_in(&self, id: InstanceId) -> Result<Option<String>, SystemdError> {
        let files = self.files.clone();
        unit_files::blocking(move || files.read(id))
            .await
            .map_err(|source| SystemdError::UnitFile { id, source })
    }

    /// Gives a running unit another drop-in, and has systemd read it. The instance
    /// does not notice.
    pub(crate) async fn redraw(&self, drop_in: &DropIn<'_>) -> Result<(), SystemdError> {
        let id = drop_in.id;
        let (files, text) = (self.files.clone(), drop_in.text());
        unit_files::blocking(move || files.write(id, &text))
            .await
            .map_err(|source| SystemdError::UnitFile { id, source })?;
        let connection = self.connection()?;
        let manager = ManagerProxy::new(&connection)
            .await
            .map_err(SystemdError::Connect)?;

        self.reload(&manager).await
    }
}
