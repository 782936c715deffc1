//! A service manager for tests: systemd's interfaces on a socket pair.

mod unit;

use std::collections::BTreeMap;
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use zbus::connection::Builder;
use zbus::{Connection, Guid, ObjectPath, OwnedObjectPath, Variant};

use super::bus::UnitRow;
use super::names::{instance_of_unit, unit_path};
use super::watch::Connect;
use crate::model::InstanceId;
use unit::{Service, Unit};

const MANAGER: &str = "/org/freedesktop/systemd1";
const MANAGER_NAME: &str = "org.freedesktop.systemd1.Manager";
const UNIT_NAME: &str = "org.freedesktop.systemd1.Unit";
const SERVICE_NAME: &str = "org.freedesktop.systemd1.Service";

/// What becomes of a start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Start {
    /// The unit is active.
    #[default]
    Works,
    /// The job fails; the unit would be started again.
    Fails,
    /// The service ends with code 7, and the unit is in this state then.
    Ends(&'static str),
    /// The job never ends.
    Hangs,
}

#[derive(Clone, Debug, Default)]
pub(super) struct FakeUnit {
    pub state: String,
    pub sub_state: String,
    pub result: String,
    pub main_pid: u32,
    /// Time stamp, code and status.
    pub exit: (u64, i32, i32),
    pub job: u32,
    pub job_type: String,
    /// The signal that ends it.
    pub dies_of: Option<i32>,
    pub need_reload: bool,
    pub restarts: u32,
}

#[derive(Debug, Default)]
pub(super) struct Book {
    /// All calls but those that only ask, in order.
    pub calls: Vec<String>,
    pub units: BTreeMap<InstanceId, FakeUnit>,
    pub start: Start,
    /// Drop-ins are missed until the next reload.
    pub misses_drop_ins: bool,
    jobs: u32,
    /// Questions after results that wait for their answers, and the most of them.
    asking: (usize, usize),
    lists: usize,
    /// Connections that were made; only the last one lives.
    server: Option<Connection>,
}

/// Connects to itself.
#[derive(Clone, Debug, Default)]
pub(super) struct FakeManager {
    book: Arc<Mutex<Book>>,
}

#[derive(Debug, zbus::DBusError)]
#[zbus(prefix = "org.freedesktop.systemd1")]
enum Refusal {
    #[zbus(error)]
    Bus(zbus::Error),
    NoSuchUnit(String),
    BadUnitSetting(String),
}

impl FakeManager {
    pub(super) fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn server(&self) -> Connection {
        self.book().server.clone().expect("someone has connected")
    }

    /// Changes a unit and says so, as systemd does: the service first.
    pub(super) async fn change(&self, id: InstanceId, change: impl FnOnce(&mut FakeUnit)) {
        let unit = {
            let mut book = self.book();
            let unit = book.units.entry(id).or_default();
            change(unit);
            unit.clone()
        };
        let (stamp, code, status) = unit.exit;
        let service: [(&str, Variant<'_>); 5] = [
            ("Result", unit.result.into()),
            ("ExecMainExitTimestampMonotonic", stamp.into()),
            ("ExecMainCode", code.into()),
            ("ExecMainStatus", status.into()),
            ("NRestarts", unit.restarts.into()),
        ];
        self.tell(id, SERVICE_NAME, service).await;
        self.tell(id, UNIT_NAME, [("ActiveState", unit.state.into())])
            .await;
    }

    /// Breaks the connection, like a restart of the bus.
    pub(super) async fn hang_up(&self) {
        let server = self.book().server.take();
        if let Some(server) = server {
            server.close().await.unwrap();
        }
    }

    /// The most questions after results that waited at the same time.
    pub(super) fn most_asked(&self) -> usize {
        self.book().asking.1
    }

    /// How often units were listed.
    pub(super) fn lists(&self) -> usize {
        self.book().lists
    }

    /// systemd forgets a unit, and has it again.
    pub(super) async fn say_removed(&self, id: InstanceId) {
        let path = ObjectPath::try_from(unit_path(id)).unwrap();
        let body = (super::names::unit_name(id), path);
        self.emit(MANAGER, MANAGER_NAME, "UnitRemoved", &body).await;
    }

    pub(super) async fn say_reloaded(&self) {
        self.emit(MANAGER, MANAGER_NAME, "Reloading", &false).await;
    }

    async fn tell<const N: usize>(
        &self,
        id: InstanceId,
        interface: &str,
        changed: [(&str, Variant<'_>); N],
    ) {
        let body = (interface, BTreeMap::from(changed), Vec::<&str>::new());
        let properties = "org.freedesktop.DBus.Properties";
        self.emit(&unit_path(id), properties, "PropertiesChanged", &body)
            .await;
    }

    async fn end_job(&self, job: u32, unit: &str, result: &str) {
        let path = ObjectPath::try_from(format!("{MANAGER}/job/{job}")).unwrap();
        let body = (job, path, unit, result);
        self.emit(MANAGER, MANAGER_NAME, "JobRemoved", &body).await;
    }

    async fn emit<B>(&self, path: &str, interface: &str, member: &str, body: &B)
    where
        B: serde::Serialize + zbus::wire::DynamicType + Sync,
    {
        self.server()
            .emit_signal(None::<&str>, path, interface, member, body)
            .await
            .unwrap();
    }

    fn new_job(&self, call: &str, name: &str) -> (InstanceId, u32, OwnedObjectPath) {
        let mut book = self.book();
        book.calls.push(call.to_owned());
        book.jobs += 1;
        let path = ObjectPath::try_from(format!("{MANAGER}/job/{}", book.jobs)).unwrap();
        let id = instance_of_unit(name).expect("only units of instances are used");
        (id, book.jobs, path.into())
    }
}

impl Connect for FakeManager {
    async fn connect(&self) -> zbus::Result<Connection> {
        let (ours, theirs) = UnixStream::pair()?;
        let server = Builder::unix_stream(theirs)
            .server(Guid::generate())
            .p2p()
            .serve_at(MANAGER, Manager(self.clone()))
            .build();
        let client = Builder::unix_stream(ours).p2p().build();
        let (server, client) = tokio::try_join!(server, client)?;
        let ids: Vec<_> = self.book().units.keys().copied().collect();
        self.book().server = Some(server);
        for id in ids {
            self.serve(id).await;
        }

        Ok(client)
    }
}

impl FakeManager {
    async fn serve(&self, id: InstanceId) {
        let server = self.server();
        let objects = server.object_server();
        let path = unit_path(id);
        objects
            .at(path.as_str(), Unit(self.clone(), id))
            .await
            .unwrap();
        objects
            .at(path.as_str(), Service(self.clone(), id))
            .await
            .unwrap();
    }
}

struct Manager(FakeManager);

#[zbus::interface(name = "org.freedesktop.systemd1.Manager")]
impl Manager {
    fn subscribe(&self) {}

    fn get_unit(&self, name: &str) -> Result<OwnedObjectPath, Refusal> {
        let id = instance_of_unit(name).expect("only units of instances are used");
        if !self.0.book().units.contains_key(&id) {
            return Err(Refusal::NoSuchUnit(name.to_owned()));
        }
        Ok(ObjectPath::try_from(unit_path(id)).unwrap().into())
    }

    /// The end of the job is told before the answer: nothing may be missed.
    async fn start_unit(&self, name: &str, _mode: &str) -> Result<OwnedObjectPath, Refusal> {
        if self.0.book().misses_drop_ins {
            self.0.book().calls.push("start, refused".to_owned());
            return Err(Refusal::BadUnitSetting(name.to_owned()));
        }
        let (id, job, path) = self.0.new_job("start", name);
        let start = self.0.book().start;
        let (state, result, end) = match start {
            Start::Works => ("active", "success", Some("done")),
            Start::Fails => ("activating", "exit-code", Some("failed")),
            Start::Ends(state) => (state, "exit-code", Some("failed")),
            Start::Hangs => ("activating", "success", None),
        };
        self.0.book().units.insert(id, FakeUnit::default());
        self.0.serve(id).await;
        self.0
            .change(id, |unit| {
                unit.state = state.to_owned();
                unit.result = result.to_owned();
                unit.job = if end.is_none() { job } else { 0 };
                if let Start::Ends(_) = start {
                    unit.exit = (99, 1, 7);
                }
            })
            .await;
        if let Some(end) = end {
            self.0.end_job(job, name, end).await;
        }
        Ok(path)
    }

    async fn stop_unit(&self, name: &str, _mode: &str) -> Result<OwnedObjectPath, Refusal> {
        let (id, job, path) = self.0.new_job("stop", name);
        self.0
            .change(id, |unit| {
                unit.state = "inactive".to_owned();
                unit.job = 0;
            })
            .await;
        self.0.end_job(job, name, "done").await;
        Ok(path)
    }

    async fn kill_unit(&self, name: &str, who: &str, signal: i32) {
        let id = instance_of_unit(name).expect("only units of instances are used");
        let dies = {
            let mut book = self.0.book();
            book.calls.push(format!("kill {who} {signal}"));
            let unit = book.units.get(&id);
            unit.is_some_and(|unit| unit.dies_of == Some(signal))
        };
        if dies {
            let end = |unit: &mut FakeUnit| unit.state = "inactive".to_owned();
            self.0.change(id, end).await;
        }
    }

    fn try_restart_unit(&self, name: &str, _mode: &str) -> Result<OwnedObjectPath, Refusal> {
        let id = instance_of_unit(name).expect("only units of instances are used");
        if !self.0.book().units.contains_key(&id) {
            return Err(Refusal::NoSuchUnit(name.to_owned()));
        }
        Ok(self.0.new_job("restart", name).2)
    }

    /// systemd does not keep a unit that has nothing to remember.
    async fn reset_failed_unit(&self, name: &str) {
        let id = instance_of_unit(name).expect("only units of instances are used");
        self.0.book().calls.push("reset".to_owned());
        let kept = self
            .0
            .book()
            .units
            .get(&id)
            .is_some_and(|unit| unit.need_reload);
        if !kept && self.0.book().units.remove(&id).is_some() {
            self.0.say_removed(id).await;
        }
    }

    fn reload(&self) {
        let mut book = self.0.book();
        book.calls.push("reload".to_owned());
        book.misses_drop_ins = false;
    }

    #[expect(clippy::needless_pass_by_value, reason = "so they come from the bus")]
    fn list_units_by_patterns(&self, _states: Vec<&str>, patterns: Vec<&str>) -> Vec<UnitRow> {
        self.0.book().lists += 1;
        let root: OwnedObjectPath = ObjectPath::try_from("/").unwrap().into();
        let wanted = |id| {
            patterns.contains(&super::names::UNIT_PATTERN)
                || patterns.contains(&super::names::unit_name(id).as_str())
        };
        self.0
            .book()
            .units
            .iter()
            .filter(|&(&id, _)| wanted(id))
            .map(|(&id, unit)| {
                let text = String::new;
                let name = super::names::unit_name(id);
                let (state, path) = (unit.state.clone(), root.clone());
                (
                    name,
                    text(),
                    text(),
                    state,
                    unit.sub_state.clone(),
                    text(),
                    path,
                    unit.job,
                    unit.job_type.clone(),
                    root.clone(),
                )
            })
            .collect()
    }
}
