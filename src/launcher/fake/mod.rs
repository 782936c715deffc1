//! A machine for tests: it keeps a book of what is held, and refuses on demand.

mod network;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use tokio::sync::{mpsc, watch};

pub(super) use self::network::BAD_RULE;
use self::network::FakeNetworks;
use super::blueprint::fixed;
use super::host::{
    Adopted, Blueprint, Found, Host, HostError, Order, Resource, Target, UnitChange, UnitEvent,
    UnitState,
};
use crate::model::{
    ContentItem, Damage, InUse, InstanceId, LayerInfo, ServiceContent, ServiceInfo, ServiceKey,
};

#[derive(Debug, Default)]
pub(super) struct Book {
    /// What the machine keeps for whom.
    pub(super) held: BTreeSet<(InstanceId, Resource)>,
    /// What was started with which version, most recent last.
    pub(super) starts: Vec<(String, u64)>,
    /// Whose unit was started last as which instance.
    pub(super) idents: BTreeMap<String, InstanceId>,
    /// Whose unit was stopped, most recent last.
    pub(super) stops: Vec<InstanceId>,
    /// Places in networks.
    pub(super) networks: FakeNetworks,
    /// Who is being changed.
    changing: BTreeSet<InstanceId>,
    /// Acquisitions that are refused, by service.
    pub(super) refuse: BTreeSet<(String, Resource)>,
    /// Releases that are refused so many times more.
    pub(super) refuse_releases: u32,
    /// Services and layers that cannot be installed.
    pub(super) broken: BTreeSet<String>,
    /// What services ask for, by their ids.
    pub(super) configs: BTreeMap<String, aos_package::ServiceConfig>,
    /// Layers that services need.
    pub(super) needs: BTreeMap<String, Vec<String>>,
    /// What the content manager was told is in use.
    pub(super) retained: InUse,
    /// What became of content and instances, in order.
    pub(super) history: Vec<String>,
    /// How often an item was found damaged, installed anew, and so moved.
    moved: BTreeMap<ContentItem, u32>,
    /// Items that are found damaged when they are looked at, so many times more.
    pub(super) rotten: BTreeMap<ContentItem, u32>,
    /// Things that went wrong in the test's own terms.
    pub(super) violations: Vec<String>,
}

/// Handle of the machine; the book is shared.
#[derive(Clone, Debug)]
pub(super) struct FakeHost {
    book: Arc<Mutex<Book>>,
    /// Installs of services whose id starts with `slow` wait for this,
    /// acquisitions and changes for those whose id starts with `stuck`, and so
    /// does what follows a change or a refusal for those whose id starts with `late`.
    slow: watch::Sender<bool>,
    units: mpsc::Sender<UnitChange>,
    damage: mpsc::Sender<Damage>,
    networks: watch::Sender<u64>,
}

/// What the machine says to one service manager.
pub(super) struct Words {
    pub(super) units: mpsc::Receiver<UnitChange>,
    pub(super) damage: mpsc::Receiver<Damage>,
    pub(super) networks: watch::Receiver<u64>,
}

impl FakeHost {
    pub(super) fn new() -> (Self, Words) {
        Self::with(Arc::default(), watch::Sender::new(false))
    }

    /// The same machine for a service manager that starts again.
    pub(super) fn restarted(&self) -> (Self, Words) {
        {
            let mut book = self.book();
            book.changing.clear();
            book.networks.restarted();
        }
        Self::with(self.book.clone(), self.slow.clone())
    }

    fn with(book: Arc<Mutex<Book>>, slow: watch::Sender<bool>) -> (Self, Words) {
        let (units, unit_changes) = mpsc::channel(64);
        let (damage, found) = mpsc::channel(64);
        let (networks, changed) = watch::channel(0);
        let host = Self {
            book,
            slow,
            units,
            damage,
            networks,
        };
        let words = Words {
            units: unit_changes,
            damage: found,
            networks: changed,
        };
        (host, words)
    }

    pub(super) fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap()
    }

    pub(super) fn hold_what_is_slow(&self) {
        self.slow.send_replace(false);
    }

    pub(super) fn finish_what_is_slow(&self) {
        self.slow.send_replace(true);
    }

    /// UpdateNetworks: all networks but these are known from now on.
    pub(super) fn networks_are_known_but(&self, unknown: &[&str]) {
        self.book().networks.unknown = unknown.iter().map(|&id| id.to_owned()).collect();
        self.networks.send_modify(|changes| *changes += 1);
    }

    /// The content manager finds the item damaged.
    pub(super) async fn content_is_damaged(&self, item: &ContentItem) {
        let damage = {
            let mut book = self.book();
            book.history.push(format!("{item} is damaged"));
            let directory = book.directory(item);
            *book.moved.entry(item.clone()).or_default() += 1;
            Damage {
                item: item.clone(),
                directory,
                reason: "bin/app has other content".into(),
            }
        };
        self.damage.send(damage).await.unwrap();
    }

    pub(super) async fn systemd_says(&self, id: InstanceId, event: UnitEvent) {
        self.units.send(UnitChange { id, event }).await.unwrap();
    }

    /// Ids that hold anything.
    pub(super) fn instances(&self) -> BTreeSet<InstanceId> {
        self.book().held.iter().map(|(id, _)| *id).collect()
    }
}

impl Book {
    fn step(&mut self, id: InstanceId) {
        if self.changing.contains(&id) {
            self.violations
                .push(format!("a step of {id} beside its change"));
        }
    }

    fn directory(&self, item: &ContentItem) -> PathBuf {
        let moved = self.moved.get(item).copied().unwrap_or_default();
        PathBuf::from(format!("/content/{item}/{moved}"))
    }

    /// Roots of the service and of its layers.
    fn roots(&self, service: &ServiceKey) -> (PathBuf, Vec<PathBuf>, Vec<String>) {
        let root = self.directory(&ContentItem::Service(service.clone()));
        let digests = self.needs.get(service.id.as_str());
        let digests = digests.cloned().unwrap_or_default();
        let layers = digests.iter().cloned().map(ContentItem::Layer);
        let layers = layers.map(|layer| self.directory(&layer)).collect();
        (root.join("rootfs"), layers, digests)
    }
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
        Ok(Blueprint {
            id: *id,
            info: info.clone(),
            variables: variables.clone(),
            fingerprint: format!("{inputs:?} {service} {root:?} {layers:?} {variables:?}"),
            service: Arc::new(ServiceContent {
                key: service.clone(),
                provider_id: "provider".into(),
                gid: 1000,
                manifest_digest: service.to_string(),
                root,
                layers,
                layer_digests,
                image: aos_package::ImageConfig::default(),
                config: config.unwrap_or_default(),
            }),
            start_window: Duration::from_millis(1200),
            start_burst: 3,
        })
    }

    async fn acquire(&self, blueprint: &Blueprint, resource: Resource) -> Result<(), HostError> {
        tokio::task::yield_now().await;
        if blueprint.service.key.id.as_str().starts_with("stuck") {
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
        }
        Ok(())
    }

    async fn release(&self, target: &Target, resource: Resource) -> Result<(), HostError> {
        tokio::task::yield_now().await;
        let mut book = self.book();
        book.step(target.id);
        if book.refuse_releases > 0 {
            book.refuse_releases -= 1;
            return Err(refused(&format!("release of {resource:?}")));
        }
        if book.held.remove(&(target.id, resource)) && resource == Resource::Unit {
            book.history.push(format!("stop {}", service_of(target)));
            book.stops.push(target.id);
        }
        if resource == Resource::Network {
            book.networks.leave(target.id);
        }
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

    async fn adopt(&self, blueprint: &Blueprint) -> Result<Adopted, HostError> {
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
}
