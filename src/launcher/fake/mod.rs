//! A machine for tests: it keeps a book of what is held, and refuses on demand.

mod book;
mod clocks;
mod control;
mod devices;
mod iam;
mod network;

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::{mpsc, watch};

pub(super) use self::book::Book;
pub(super) use self::network::BAD_RULE;
use super::blueprint::fixed;
use super::host::{
    Adopted, Blueprint, Exit, Found, Host, HostError, Moment, Order, Resource, Target, UnitChange,
    UnitEvent, UnitState,
};
use super::probes::Probe;
use crate::config::duration_from_json;
use crate::model::{
    ContentItem, Damage, InUse, InstanceId, LayerInfo, ServiceContent, ServiceInfo,
};

/// Handle of the machine; the book is shared.
#[derive(Clone, Debug)]
pub(super) struct FakeHost {
    book: Arc<Mutex<Book>>,
    /// Installs of services whose id starts with `slow` wait for this,
    /// acquisitions and changes for those whose id starts with `stuck`, and so
    /// does what follows a change or a refusal for those whose id starts with `late`,
    /// and the start of units whose id starts with `hung`.
    slow: watch::Sender<bool>,
    units: mpsc::Sender<UnitChange>,
    damage: mpsc::Sender<Damage>,
    networks: watch::Sender<u64>,
    devices: watch::Sender<u64>,
    iam: watch::Sender<u64>,
    started: watch::Sender<u64>,
}

/// What the machine says to one service manager.
pub(super) struct Words {
    pub(super) units: mpsc::Receiver<UnitChange>,
    pub(super) damage: mpsc::Receiver<Damage>,
    pub(super) networks: watch::Receiver<u64>,
    pub(super) iam: watch::Receiver<u64>,
    pub(super) devices: watch::Receiver<u64>,
}

impl FakeHost {
    fn take(&self, blueprint: &Blueprint, resource: Resource) -> Result<(), HostError> {
        let service = blueprint.info.ident.service_id.to_string();
        let mut book = self.book();
        if book.refuse.contains(&(service, resource)) {
            return Err(refused(&format!("{resource:?}")));
        }
        book.step(blueprint.id);
        if resource == Resource::Network {
            book.networks.enter(blueprint)?;
        }
        if resource == Resource::Secret {
            let faults = book.devices.take(blueprint.id, &blueprint.service.config);
            book.violations.extend(faults);
            if blueprint.needs_secret() {
                book.iam.register(blueprint)?;
            }
        }
        if !book.held.insert((blueprint.id, resource)) {
            book.violations
                .push(format!("{resource:?} taken twice for {}", blueprint.id));
        }
        if resource == Resource::Unit {
            let (root, layers, _) = book.roots(&blueprint.service.key);
            if (&root, &layers) != (&blueprint.service.root, &blueprint.service.layers) {
                book.violations
                    .push(format!("{} started on damaged content", blueprint.id));
            }
            book.history
                .push(format!("start {}", blueprint.service.key));
            let variables = blueprint.variables.to_vec();
            book.variables
                .insert(blueprint.info.ident.to_string(), variables);
            book.running
                .insert(blueprint.id, blueprint.service.key.to_string());
            book.idents
                .insert(blueprint.info.ident.to_string(), blueprint.id);
            book.starts.push((
                blueprint.info.ident.to_string(),
                blueprint.service.key.version,
            ));
        }
        Ok(())
    }
}

fn service_of(target: &Target) -> &str {
    let ident = target.ident.as_ref();
    ident.map_or("?", |ident| ident.service_id.as_str())
}

fn refused(what: &str) -> HostError {
    HostError::new(format!("{what} is refused"))
}

impl Host for FakeHost {
    async fn install_service(&self, service: &ServiceInfo) -> Result<Vec<String>, HostError> {
        if service.id.as_str().starts_with("slow") {
            drop(self.slow.subscribe().wait_for(|done| *done).await);
        }
        let mut book = self.book();
        book.history.push(format!("install {}", service.key()));
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
        let mut book = self.book();
        book.history.push(format!("install {}", layer.digest));
        if book.broken.contains(&layer.digest) {
            return Err(refused(&layer.digest));
        }
        Ok(())
    }

    async fn retain(&self, in_use: InUse) -> Result<(), HostError> {
        self.book().retained = in_use;
        Ok(())
    }

    async fn prove(&self, blueprint: &Blueprint) -> Result<(), HostError> {
        let content = &blueprint.service;
        let layers = content.layer_digests.iter().cloned();
        let service = ContentItem::Service(content.key.clone());
        for item in std::iter::once(service).chain(layers.map(ContentItem::Layer)) {
            let is_rotten = {
                let mut book = self.book();
                book.history.push(format!("prove {item}"));
                let times = book.rotten.entry(item.clone()).or_default();
                let is_rotten = *times > 0;
                *times = times.saturating_sub(1);
                is_rotten
            };
            if is_rotten {
                self.content_is_damaged(&item).await;
                return Err(refused(&format!("damaged {item}")));
            }
        }
        Ok(())
    }

    async fn prepare(&self, order: &Order) -> Result<Blueprint, HostError> {
        let Order {
            id,
            info,
            service,
            variables,
        } = order;
        let inputs = fixed(info, &"provider".into());
        let (root, layers, layer_digests) = self.book().roots(service);
        let config = self.book().configs.get(service.id.as_str()).cloned();
        let config = config.unwrap_or_default();
        let ttl = config.offline_ttl.as_ref();
        let ttl = ttl.map(|ttl| duration_from_json(ttl).unwrap());
        let provision = self.book().devices.provide(&config);
        let probes = self.book().probes.get(&service.to_string()).cloned();
        Ok(Blueprint {
            id: *id,
            info: info.clone(),
            variables: variables.clone(),
            provision,
            fingerprint: {
                let variables = variables.join(" ");
                format!("{inputs:?} {service} {root:?} {layers:?} {variables}")
            },
            service: Arc::new(ServiceContent {
                key: service.clone(),
                provider_id: "provider".into(),
                gid: 1000,
                manifest_digest: service.to_string(),
                root,
                layers,
                layer_digests,
                image: aos_package::ImageConfig::default(),
                config,
            }),
            offline_ttl: ttl,
            start_window: Duration::from_millis(1200),
            start_burst: 3,
            probes: probes.unwrap_or_default(),
        })
    }

    async fn acquire(&self, blueprint: &Blueprint, resource: Resource) -> Result<(), HostError> {
        tokio::task::yield_now().await;
        if blueprint.service.key.id.as_str().starts_with("stuck") {
            drop(self.slow.subscribe().wait_for(|done| *done).await);
        }
        if resource == Resource::Unit && blueprint.service.key.id.as_str().starts_with("hung") {
            drop(self.slow.subscribe().wait_for(|done| *done).await);
        }
        let taken = self.take(blueprint, resource);
        if taken.is_err() && blueprint.service.key.id.as_str().starts_with("late") {
            drop(self.slow.subscribe().wait_for(|done| *done).await);
        }
        taken?;
        if resource == Resource::Unit {
            let state = UnitState::Active;
            let event = UnitEvent::State {
                state,
                result: "success".into(),
            };
            self.systemd_says(blueprint.id, event).await;
            self.started.send_modify(|starts| *starts += 1);
        }
        Ok(())
    }

    async fn release(&self, target: &Target, resource: Resource) -> Result<(), HostError> {
        tokio::task::yield_now().await;
        let mut book = self.book();
        book.step(target.id);
        if book.refuse_releases > 0 {
            book.refuse_releases -= 1;
            book.devices.release_is_refused(target.id);
            return Err(refused(&format!("release of {resource:?}")));
        }
        if book.held.remove(&(target.id, resource)) && resource == Resource::Unit {
            book.history.push(format!("stop {}", service_of(target)));
            book.stops.push(target.id);
        }
        if resource == Resource::Network {
            book.networks.leave(target.id);
        }
        if resource == Resource::Secret {
            book.devices.give_back(target.id);
            book.iam.unregister(target.id);
        }
        Ok(())
    }

    async fn knows_secret(&self, blueprint: &Blueprint) -> Result<bool, HostError> {
        tokio::task::yield_now().await;
        self.book().iam.knows(blueprint.id)
    }

    async fn tell_who_is_gone(&self) {
        self.book().iam.tell_who_is_gone();
    }

    fn now(&self) -> Moment {
        self.book().clocks.now()
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

    async fn adopt(&self, blueprint: &Blueprint) -> Result<Adopted, HostError> {
        self.book().devices.adopt(blueprint.id);
        match self.book().networks.adopt(blueprint) {
            Ok(()) => Ok(Adopted::Wholly),
            Err(error) if error.needs_restart() => Err(error),
            Err(error) => Ok(Adopted::WithoutNetwork(error)),
        }
    }

    async fn change(&self, blueprint: &Blueprint) -> Result<(), HostError> {
        let id = blueprint.id;
        let service = blueprint.service.key.id.as_str();
        {
            let mut book = self.book();
            book.step(id);
            if !book.held.contains(&(id, Resource::Network)) {
                book.violations
                    .push(format!("{id} is changed, and has no network"));
            }
            book.changing.insert(id);
        }
        tokio::task::yield_now().await;
        if service.starts_with("stuck") {
            drop(self.slow.subscribe().wait_for(|done| *done).await);
        }
        let outcome = self.book().networks.change(blueprint);
        if service.starts_with("late") {
            drop(self.slow.subscribe().wait_for(|done| *done).await);
        }
        self.book().changing.remove(&id);
        outcome
    }

    async fn probe(&self, blueprint: &Blueprint, _probe: &Probe) -> Result<(), HostError> {
        tokio::task::yield_now().await;
        let mut book = self.book();
        let key = blueprint.service.key.to_string();
        *book.asked.entry(key.clone()).or_default() += 1;
        if book.unwell.contains(&key) {
            return Err(refused("the question"));
        }
        Ok(())
    }

    async fn restart(&self, id: InstanceId) -> Result<(), HostError> {
        {
            let mut book = self.book();
            book.step(id);
            let service = book.running.get(&id).cloned().unwrap_or_default();
            book.restarts.push(service);
        }
        self.systemd_says(id, UnitEvent::Exited(Exit::Signal(15)))
            .await;
        for state in [UnitState::Activating, UnitState::Active] {
            let result = "success".into();
            self.systemd_says(id, UnitEvent::State { state, result })
                .await;
        }
        Ok(())
    }
}
