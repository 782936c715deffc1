//! A machine for tests: it keeps a book of what is held, and refuses on demand.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use tokio::sync::{mpsc, watch};

use super::host::{
    Blueprint, Found, Host, HostError, Resource, Target, UnitChange, UnitEvent, UnitState,
};
use crate::model::{InstanceId, InstanceInfo, LayerInfo, ServiceContent, ServiceInfo, ServiceKey};

#[derive(Debug, Default)]
pub(super) struct Book {
    /// What the machine keeps for whom.
    pub(super) held: BTreeSet<(InstanceId, Resource)>,
    /// What was started with which version, most recent last.
    pub(super) starts: Vec<(String, u64)>,
    /// Acquisitions that are refused, by service.
    pub(super) refuse: BTreeSet<(String, Resource)>,
    /// Releases that are refused so many times more.
    pub(super) refuse_releases: u32,
    /// Services and layers that cannot be installed.
    pub(super) broken: BTreeSet<String>,
    /// Layers that services need.
    pub(super) needs: BTreeMap<String, Vec<String>>,
    /// What the content manager was told is in use.
    pub(super) retained: Vec<ServiceKey>,
    /// Things that went wrong in the test's own terms.
    pub(super) violations: Vec<String>,
}

/// Handle of the machine; the book is shared.
#[derive(Clone, Debug)]
pub(super) struct FakeHost {
    book: Arc<Mutex<Book>>,
    /// Installs of services whose id starts with `slow` wait for this, and
    /// acquisitions for those whose id starts with `stuck`.
    slow: watch::Sender<bool>,
    units: mpsc::Sender<UnitChange>,
}

impl FakeHost {
    pub(super) fn new() -> (Self, mpsc::Receiver<UnitChange>) {
        let (units, changes) = mpsc::channel(64);
        (
            Self {
                book: Arc::default(),
                slow: watch::Sender::new(false),
                units,
            },
            changes,
        )
    }

    /// The same machine for a service manager that starts again.
    pub(super) fn restarted(&self) -> (Self, mpsc::Receiver<UnitChange>) {
        let (units, changes) = mpsc::channel(64);
        (
            Self {
                book: self.book.clone(),
                slow: self.slow.clone(),
                units,
            },
            changes,
        )
    }

    pub(super) fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap()
    }

    pub(super) fn finish_what_is_slow(&self) {
        self.slow.send_replace(true);
    }

    pub(super) async fn systemd_says(&self, id: InstanceId, event: UnitEvent) {
        self.units.send(UnitChange { id, event }).await.unwrap();
    }

    /// Ids that hold anything.
    pub(super) fn instances(&self) -> BTreeSet<InstanceId> {
        self.book().held.iter().map(|(id, _)| *id).collect()
    }
}

impl FakeHost {
    fn take(&self, blueprint: &Blueprint, resource: Resource) -> Result<(), HostError> {
        let service = blueprint.info.ident.service_id.to_string();
        let mut book = self.book();
        if book.refuse.contains(&(service, resource)) {
            return Err(refused(&format!("{resource:?}")));
        }
        if !book.held.insert((blueprint.id, resource)) {
            book.violations
                .push(format!("{resource:?} taken twice for {}", blueprint.id));
        }
        if resource == Resource::Unit {
            book.starts.push((
                blueprint.info.ident.to_string(),
                blueprint.service.key.version,
            ));
        }
        Ok(())
    }
}

fn refused(what: &str) -> HostError {
    HostError::new(format!("{what} is refused"))
}

impl Host for FakeHost {
    async fn install_service(&self, service: &ServiceInfo) -> Result<Vec<String>, HostError> {
        if service.id.as_str().starts_with("slow") {
            drop(self.slow.subscribe().wait_for(|done| *done).await);
        }
        let book = self.book();
        if book.broken.contains(&service.key().to_string()) {
            return Err(refused(&service.key().to_string()));
        }
        Ok(book
            .needs
            .get(service.id.as_str())
            .cloned()
            .unwrap_or_default())
    }

    async fn install_layer(&self, layer: &LayerInfo) -> Result<(), HostError> {
        if self.book().broken.contains(&layer.digest) {
            return Err(refused(&layer.digest));
        }
        Ok(())
    }

    async fn retain(&self, services: Vec<ServiceKey>, _: Vec<String>) -> Result<(), HostError> {
        self.book().retained = services;
        Ok(())
    }

    async fn prepare(
        &self,
        id: InstanceId,
        info: &InstanceInfo,
        service: &ServiceKey,
    ) -> Result<Blueprint, HostError> {
        let inputs = InstanceInfo {
            priority: 0,
            ..info.clone()
        };
        Ok(Blueprint {
            id,
            info: info.clone(),
            service: Arc::new(ServiceContent {
                key: service.clone(),
                provider_id: "provider".into(),
                gid: 1000,
                manifest_digest: service.to_string(),
                root: "/".into(),
                layers: Vec::new(),
                layer_digests: Vec::new(),
                image: aos_package::ImageConfig::default(),
                config: aos_package::ServiceConfig::default(),
            }),
            start_window: Duration::from_millis(1200),
            start_burst: 3,
            fingerprint: format!("{inputs:?} {service}"),
        })
    }

    async fn acquire(&self, blueprint: &Blueprint, resource: Resource) -> Result<(), HostError> {
        tokio::task::yield_now().await;
        if blueprint.service.key.id.as_str().starts_with("stuck") {
            drop(self.slow.subscribe().wait_for(|done| *done).await);
        }
        self.take(blueprint, resource)?;
        if resource == Resource::Unit {
            let state = UnitState::Active;
            let event = UnitEvent::State {
                state,
                result: "success".into(),
            };
            self.systemd_says(blueprint.id, event).await;
        }
        Ok(())
    }

    async fn release(&self, target: &Target, resource: Resource) -> Result<(), HostError> {
        tokio::task::yield_now().await;
        let mut book = self.book();
        if book.refuse_releases > 0 {
            book.refuse_releases -= 1;
            return Err(refused(&format!("release of {resource:?}")));
        }
        book.held.remove(&(target.id, resource));
        Ok(())
    }

    async fn survey(&self) -> Result<Vec<Found>, HostError> {
        let book = self.book();
        let ids: BTreeSet<_> = book.held.iter().map(|(id, _)| *id).collect();
        let whole = |id: InstanceId| {
            Resource::ACQUIRE_ORDER
                .iter()
                .all(|resource| book.held.contains(&(id, *resource)))
        };
        Ok(ids
            .into_iter()
            .map(|id| Found {
                id,
                whole: whole(id),
            })
            .collect())
    }

    async fn adopt(&self, _: &Blueprint) -> Result<(), HostError> {
        Ok(())
    }
}
