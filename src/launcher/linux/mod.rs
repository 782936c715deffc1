//! The real machine.
//!
//! Joins the managers, the mounts, the runtime's configuration and systemd to
//! what the launcher asks for, and decides nothing of its own. Between two
//! steps of a start it keeps what the first learned for the second; all else is
//! on the machine, where [`Host::survey`] finds it after a restart of SM.

mod confinement;
mod directories;
mod in_use;
mod lent;
mod mend;
mod network;
mod probe;
mod secrets;
mod services;
mod settings;
mod steps;
mod user_namespace;

use std::collections::{BTreeSet, HashMap};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use nix::time::{ClockId, clock_gettime};
use tokio::sync::{Semaphore, mpsc};
use tracing::warn;

use super::blueprint::{Machine, draw};
use super::mounted::mounts_below;
use super::probes::Probe;
use super::rootfs::remove_root;
use super::rootfs_plan::top_entries;
use super::spec::Sources;
use super::systemd::{SystemBus, Systemd};
use super::{
    Adopted, Blueprint, Found, Host, HostError, Moment, Order, Resource, Target, UnitChange,
    UnitState,
};
use crate::iamclient::Iam;
use crate::layermanager::Content;
use crate::model::{InUse, InstanceId, LayerInfo, ServiceInfo};
use crate::networkmanager::{Attachment, Networks};
use crate::resourcemanager::UnitConfigs;
use directories::{blocking, failed, ids_in, private_directory, remove_spec};
use network::{attach_request, of_network};
use secrets::Registrations;
use services::Services;

pub use directories::started_at;
pub use in_use::content_in_use;
pub use settings::LinuxSettings;

/// See [`LinuxHost::looks`].
const LOOKS: usize = 8;

/// Where the kernel names its boot.
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

/// What a step of a start leaves for a later one.
#[derive(Debug, Default)]
struct Held {
    secret: Option<String>,
    attachment: Option<Attachment>,
    sources: Option<Sources>,
}

/// The machine that SM runs on.
#[derive(Debug)]
pub struct LinuxHost {
    settings: LinuxSettings,
    /// Runtime directories, by instance id.
    bundles: PathBuf,
    registrations: Registrations,
    /// What each instance is made of.
    records: PathBuf,
    content: Content,
    networks: Networks,
    unit_configs: UnitConfigs,
    iam: Iam,
    systemd: Systemd,
    /// Names the boot of the machine.
    boot: Arc<str>,
    held: Mutex<HashMap<InstanceId, Held>>,
    services: Services,
    /// Running instances whose files are looked at at a time. Each blocks a thread.
    looks: Semaphore,
    told_of_crun: AtomicBool,
}

impl LinuxHost {
    /// Makes the directories and connects to systemd. Changes of units come
    /// from now on; the receiver being dropped ends that.
    ///
    /// # Errors
    ///
    /// A directory cannot be made, or systemd cannot be reached.
    pub async fn new(
        mut settings: LinuxSettings,
        content: Content,
        networks: Networks,
        unit_configs: UnitConfigs,
        iam: Iam,
    ) -> Result<(Self, mpsc::Receiver<UnitChange>), HostError> {
        let (binds, bad) = top_entries(&settings.host_binds);
        if !bad.is_empty() {
            warn!(binds = ?bad, "host binds that name no directory in / are left out");
        }
        settings.host_binds = binds;
        let bundles = private_directory(&settings.run_dir, in_use::BUNDLES)?;
        let registrations = Registrations::below(&settings.run_dir)?;
        let records = private_directory(&settings.run_dir, in_use::RECORDS)?;
        let boot_id = Path::new(BOOT_ID);
        let boot = fs::read_to_string(boot_id).map_err(failed("read", boot_id))?;
        let boot = Arc::from(boot.trim());
        let (systemd, changes) = Systemd::connect(SystemBus, settings.systemd.clone())
            .await
            .map_err(HostError::new)?;

        let host = Self {
            settings,
            bundles,
            registrations,
            records,
            content,
            networks,
            unit_configs,
            iam,
            systemd,
            boot,
            held: Mutex::default(),
            services: Services::default(),
            looks: Semaphore::new(LOOKS),
            told_of_crun: AtomicBool::new(false),
        };
        Ok((host, changes))
    }

    /// Whether systemd stops all instances: with the machine, or with their target.
    ///
    /// # Errors
    ///
    /// systemd cannot be asked.
    pub async fn is_all_stopping(&self) -> Result<bool, HostError> {
        self.systemd.is_all_stopping().await.map_err(HostError::new)
    }

    fn bundle(&self, id: InstanceId) -> PathBuf {
        self.bundles.join(id.to_string())
    }

    fn held(&self) -> MutexGuard<'_, HashMap<InstanceId, Held>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Host for LinuxHost {
    async fn install_service(&self, service: &ServiceInfo) -> Result<Vec<String>, HostError> {
        self.content
            .install_service(service)
            .await
            .map_err(HostError::new)
    }

    async fn install_layer(&self, layer: &LayerInfo) -> Result<(), HostError> {
        self.content
            .install_layer(layer)
            .await
            .map_err(HostError::new)
    }

    async fn retain(&self, in_use: InUse) -> Result<(), HostError> {
        self.content.hold(in_use.directories);
        self.content
            .retain(in_use.services, in_use.layers)
            .await
            .map_err(HostError::new)
    }

    async fn prepare(&self, order: &Order) -> Result<Blueprint, HostError> {
        let read = || self.content.service(&order.service);
        let service = self.services.get(&order.service, read).await;
        let service = service.map_err(HostError::new)?;
        let machine = Machine {
            host_binds: &self.settings.host_binds,
            hosts: &self.settings.hosts,
        };

        let blueprint = draw(order, service, &machine).map_err(HostError::new)?;
        let config = &blueprint.service.config;
        let devices = config.devices.iter().flatten();
        let devices = devices.map(|device| device.name.clone()).collect();
        let resources = config.resources.clone().unwrap_or_default();

        Ok(Blueprint {
            provision: self.unit_configs.provide(devices, resources).await,
            ..blueprint
        })
    }

    async fn prove(&self, blueprint: &Blueprint) -> Result<(), HostError> {
        self.content
            .prove(&blueprint.service)
            .await
            .map_err(HostError::new)
    }

    async fn acquire(&self, blueprint: &Blueprint, resource: Resource) -> Result<(), HostError> {
        match resource {
            Resource::Secret => self.register(blueprint).await,
            Resource::Network => self.attach(blueprint).await,
            Resource::RootFilesystem => self.mount(blueprint).await,
            Resource::Spec => self.write_spec(blueprint).await,
            Resource::Unit => self.start_unit(blueprint).await,
        }
    }

    async fn release(&self, target: &Target, resource: Resource) -> Result<(), HostError> {
        let bundle = self.bundle(target.id);
        match resource {
            Resource::Unit => self.systemd.stop(target.id).await.map_err(HostError::new),
            Resource::Spec => blocking(move || remove_spec(&bundle)).await,
            Resource::RootFilesystem => {
                let (records, id) = (self.records.clone(), target.id);
                blocking(move || {
                    remove_root(&bundle).map_err(HostError::new)?;
                    in_use::forget(&records, id).map_err(failed("remove a record in", &records))
                })
                .await
            }
            Resource::Network => self
                .networks
                .detach(target.id)
                .await
                .map_err(HostError::new),
            // The first that is taken, the last that is given back.
            Resource::Secret => {
                self.unregister(target).await?;
                self.held().remove(&target.id);
                Ok(())
            }
        }
    }

    async fn knows_secret(&self, blueprint: &Blueprint) -> Result<bool, HostError> {
        self.secret_is_known(blueprint).await
    }

    async fn tell_who_is_gone(&self) {
        self.unregister_gone().await;
    }

    fn now(&self) -> Moment {
        let since_boot = clock_gettime(ClockId::CLOCK_BOOTTIME)
            .map(Duration::from)
            .expect("every kernel since 2.6.39 has this clock");
        Moment {
            wall: SystemTime::now(),
            since_boot,
            boot: self.boot.clone(),
        }
    }

    async fn survey(&self) -> Result<Vec<Found>, HostError> {
        let units = self.systemd.units().await.map_err(HostError::new)?;
        let networks: BTreeSet<_> = self
            .networks
            .found()
            .await
            .map_err(HostError::new)?
            .into_iter()
            .collect();
        let bundles = self.bundles.clone();
        let others = [self.registrations.known.clone(), self.records.clone()];
        let (mounted, directories) = blocking(move || {
            let mounted =
                mounts_below(&bundles).map_err(failed("look for mounts below", &bundles))?;
            let [registered, records] = others;
            let ids = [ids_in(&bundles)?, ids_in(&registered)?, ids_in(&records)?];
            Ok((mounted, ids.concat()))
        })
        .await?;
        let runs = |id: InstanceId| {
            units
                .iter()
                .any(|unit| unit.id == id && (unit.state == UnitState::Active || unit.restarting))
        };
        let whole = |id: InstanceId| {
            runs(id) && networks.contains(&id) && mounted.contains(&self.bundle(id).join("rootfs"))
        };

        let ids: BTreeSet<_> = units
            .iter()
            .map(|unit| unit.id)
            .chain(networks.iter().copied())
            .chain(directories)
            .collect();
        Ok(ids
            .into_iter()
            .map(|id| Found {
                id,
                whole: whole(id),
            })
            .collect())
    }

    async fn adopt(&self, blueprint: &Blueprint) -> Result<Adopted, HostError> {
        match self.adopt_network(blueprint).await {
            Ok(()) => Ok(Adopted::Wholly),
            Err(error) if error.needs_restart() => Err(error),
            Err(error) => Ok(Adopted::WithoutNetwork(error)),
        }
    }

    async fn change(&self, blueprint: &Blueprint) -> Result<(), HostError> {
        let is_attached = self
            .held()
            .get(&blueprint.id)
            .is_some_and(|held| held.attachment.is_some());
        if !is_attached {
            return self.adopt_network(blueprint).await;
        }

        let attachment = self
            .networks
            .change(attach_request(blueprint))
            .await
            .map_err(of_network)?;
        self.rewrite_texts(blueprint.id, attachment).await
    }

    async fn probe(&self, blueprint: &Blueprint, probe: &Probe) -> Result<(), HostError> {
        self.ask(blueprint, probe).await
    }

    async fn restart(&self, id: InstanceId) -> Result<(), HostError> {
        self.systemd.restart(id).await.map_err(HostError::new)
    }
}
