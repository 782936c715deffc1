//! systemd's D-Bus interfaces, as far as they are used.

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use zbus::proxy::CacheProperties;
use zbus::{Connection, OwnedObjectPath};

use super::names::{TARGET, UNIT_PATTERN, instance_of_unit, unit_name, unit_path};
use super::tracker::{ExitRecord, Observation, unit_state};
use crate::model::InstanceId;

/// Units that are looked at at a time, with five calls each. The bus refuses calls of
/// a connection that waits for 128 answers.
pub(crate) const TOGETHER: usize = 8;

/// One row of `ListUnitsByPatterns`: name, description, load state, active
/// state, sub-state, followed unit, unit path, job id, job type, job path.
pub(crate) type UnitRow = (
    String,
    String,
    String,
    String,
    String,
    String,
    OwnedObjectPath,
    u32,
    String,
    OwnedObjectPath,
);

#[zbus::proxy(
    interface = "org.freedesktop.systemd1.Manager",
    default_service = "org.freedesktop.systemd1",
    default_path = "/org/freedesktop/systemd1"
)]
pub(crate) trait Manager {
    fn subscribe(&self) -> zbus::Result<()>;
    fn get_unit(&self, name: &str) -> zbus::Result<OwnedObjectPath>;
    fn start_unit(&self, name: &str, mode: &str) -> zbus::Result<OwnedObjectPath>;
    fn stop_unit(&self, name: &str, mode: &str) -> zbus::Result<OwnedObjectPath>;
    fn try_restart_unit(&self, name: &str, mode: &str) -> zbus::Result<OwnedObjectPath>;
    fn kill_unit(&self, name: &str, who: &str, signal: i32) -> zbus::Result<()>;
    fn reset_failed_unit(&self, name: &str) -> zbus::Result<()>;
    fn reload(&self) -> zbus::Result<()>;
    #[zbus(property)]
    fn system_state(&self) -> zbus::Result<String>;
    fn list_units_by_names(&self, names: &[&str]) -> zbus::Result<Vec<UnitRow>>;
    fn list_units_by_patterns(
        &self,
        states: &[&str],
        patterns: &[&str],
    ) -> zbus::Result<Vec<UnitRow>>;
}

#[zbus::proxy(
    interface = "org.freedesktop.systemd1.Unit",
    default_service = "org.freedesktop.systemd1"
)]
pub(crate) trait Unit {
    #[zbus(property)]
    fn active_state(&self) -> zbus::Result<String>;
    #[zbus(property)]
    fn need_daemon_reload(&self) -> zbus::Result<bool>;
    #[zbus(property)]
    fn job(&self) -> zbus::Result<(u32, OwnedObjectPath)>;
}

#[zbus::proxy(
    interface = "org.freedesktop.systemd1.Service",
    default_service = "org.freedesktop.systemd1"
)]
pub(crate) trait Service {
    #[zbus(property)]
    fn result(&self) -> zbus::Result<String>;
    #[zbus(property, name = "MainPID")]
    fn main_pid(&self) -> zbus::Result<u32>;
    #[zbus(property)]
    fn kill_signal(&self) -> zbus::Result<i32>;
    #[zbus(property)]
    fn exec_main_code(&self) -> zbus::Result<i32>;
    #[zbus(property)]
    fn exec_main_status(&self) -> zbus::Result<i32>;
    #[zbus(property)]
    fn exec_main_exit_timestamp_monotonic(&self) -> zbus::Result<u64>;
    #[zbus(property, name = "NRestarts")]
    fn n_restarts(&self) -> zbus::Result<u32>;
}

/// The unit of an instance. systemd loads a unit whose properties are asked
/// for: ask only for units that it has.
pub(crate) async fn unit(
    connection: &Connection,
    id: InstanceId,
) -> zbus::Result<UnitProxy<'static>> {
    UnitProxy::builder(connection)
        .path(unit_path(id))
        .cache_properties(CacheProperties::No)
        .build()
        .await
}

/// The service part of the unit of an instance.
pub(crate) async fn service(
    connection: &Connection,
    id: InstanceId,
) -> zbus::Result<ServiceProxy<'static>> {
    ServiceProxy::builder(connection)
        .path(unit_path(id))
        .cache_properties(CacheProperties::No)
        .build()
        .await
}

/// Looks at one unit.
pub(crate) async fn look_at(connection: &Connection, id: InstanceId) -> zbus::Result<Observation> {
    let unit = unit(connection, id).await?;
    let (state, seen) = tokio::try_join!(unit.active_state(), service_part(connection, id))?;

    Ok(Observation {
        state: Some(unit_state(&state)),
        ..seen
    })
}

/// Looks at what a list of units does not tell.
async fn service_part(connection: &Connection, id: InstanceId) -> zbus::Result<Observation> {
    let service = service(connection, id).await?;
    let (result, stamp, code, status, restarts) = tokio::try_join!(
        service.result(),
        service.exec_main_exit_timestamp_monotonic(),
        service.exec_main_code(),
        service.exec_main_status(),
        service.n_restarts(),
    )?;

    Ok(Observation {
        state: None,
        result: Some(result),
        exit: Some(ExitRecord {
            stamp,
            code,
            status,
        }),
        restarts: Some(restarts),
    })
}

/// The units of instances that systemd has loaded.
pub(crate) async fn loaded_units(
    connection: &Connection,
) -> zbus::Result<Vec<(InstanceId, UnitRow)>> {
    list(connection, UNIT_PATTERN).await
}

/// A unit as systemd lists it, unless it does not have it. To list a unit does not
/// load it, as looking at its properties does.
pub(crate) async fn listed(
    connection: &Connection,
    id: InstanceId,
) -> zbus::Result<Option<UnitRow>> {
    let rows = list(connection, &unit_name(id)).await?;
    Ok(rows.into_iter().next().map(|(_, row)| row))
}

/// Whether the machine goes down, or all instances do: the job of their target
/// says so.
pub(crate) async fn is_all_stopping(connection: &Connection) -> zbus::Result<bool> {
    let manager = ManagerProxy::builder(connection)
        .cache_properties(CacheProperties::No)
        .build()
        .await?;
    if manager.system_state().await? == "stopping" {
        return Ok(true);
    }

    let rows = manager.list_units_by_names(&[TARGET]).await?;
    Ok(rows.iter().any(|row| row.8 == "stop"))
}

/// The state that a unit stays in, if it does: not while it has a job, nor on
/// the way to a restart, which goes through `failed` and `inactive`.
pub(crate) fn settled_state(row: &UnitRow) -> Observation {
    Observation {
        state: (row.7 == 0).then(|| unit_state(&row.3)),
        ..Observation::default()
    }
}

async fn list(connection: &Connection, pattern: &str) -> zbus::Result<Vec<(InstanceId, UnitRow)>> {
    let manager = ManagerProxy::new(connection).await?;
    let rows = manager.list_units_by_patterns(&[], &[pattern]).await?;

    Ok(rows
        .into_iter()
        .filter_map(|row| Some((instance_of_unit(&row.0)?, row)))
        .collect())
}

/// Looks at all units of instances, some at a time.
pub(crate) async fn look_at_all(
    connection: &Connection,
) -> zbus::Result<Vec<(InstanceId, Observation)>> {
    let units = loaded_units(connection).await?;

    stream::iter(units)
        .map(|(id, row)| async move {
            let seen = service_part(connection, id).await?;
            let state = Some(unit_state(&row.3));
            Ok((id, Observation { state, ..seen }))
        })
        .buffer_unordered(TOGETHER)
        .try_collect()
        .await
}

/// Whether systemd says that it does not have the unit.
pub(crate) fn is_no_such_unit(error: &zbus::Error) -> bool {
    is_error(error, "org.freedesktop.systemd1.NoSuchUnit")
}

/// Whether systemd says that a unit file is wrong.
pub(crate) fn is_bad_unit(error: &zbus::Error) -> bool {
    is_error(error, "org.freedesktop.systemd1.BadUnitSetting")
}

/// Whether systemd says that we listen already.
pub(crate) fn is_subscribed(error: &zbus::Error) -> bool {
    is_error(error, "org.freedesktop.systemd1.AlreadySubscribed")
}

fn is_error(error: &zbus::Error, wanted: &str) -> bool {
    matches!(error, zbus::Error::MethodError(name, _, _) if name.as_str() == wanted)
}
