//! The check in the background: all content, one item at a time.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::{self, MissedTickBehavior};

use super::cannot_verify;
use super::compare::{Finding, compare, record_as_it_is};
use super::pace::{Speed, Thorough};
use crate::layermanager::error::{ContentError, DamageError};
use crate::layermanager::installed::read_service;
use crate::layermanager::locks::locked;
use crate::layermanager::record::RecordError;
use crate::layermanager::shared::{Alive, Item, Shared};
use crate::layermanager::spawn::blocking;
use crate::layermanager::store::{self, ServiceRow};
use crate::model::Chain;

/// When all content is read, and how fast.
#[derive(Clone, Copy, Debug)]
pub struct CheckSettings {
    /// From the start to the first check.
    pub first: Duration,
    /// From one check to the next.
    pub period: Duration,
    /// Bytes per second.
    pub rate: u64,
}

impl Default for CheckSettings {
    fn default() -> Self {
        Self {
            first: Duration::from_mins(1),
            period: Duration::from_hours(24),
            rate: 8 << 20,
        }
    }
}

/// What came of a check.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Summary {
    items: u64,
    files: u64,
    bytes: u64,
    damaged: u64,
    /// Items that could not be looked at.
    passed_over: u64,
}

/// An installed item.
struct Installed {
    item: Item,
    directory: PathBuf,
    /// Of a service.
    row: Option<ServiceRow>,
}

/// Checks until there is no handle any more. What is in use is proven at once:
/// instances may run on it that were not started by us.
pub(in crate::layermanager) async fn run(
    shared: Arc<Shared>,
    mut alive: Alive,
    settings: CheckSettings,
    mut demand: mpsc::Receiver<()>,
) {
    if let Err(error) = shared.prove_what_is_in_use(&alive).await {
        tracing::warn!(error = %Chain(&error), "cannot verify what is in use");
    }

    let mut ticks = time::interval_at(time::Instant::now() + settings.first, settings.period);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut pass: Option<Pass> = None;
    loop {
        tokio::select! {
            _ = ticks.tick(), if pass.is_none() => {
                pass = Some(Pass::begin(&shared, &alive, settings.rate, false));
            }
            Some(()) = demand.recv() => match &pass {
                Some(pass) => pass.speed.go(),
                None => pass = Some(Pass::begin(&shared, &alive, settings.rate, true)),
            },
            () = ended(&mut pass) => pass = None,
            _ = alive.changed() => break,
        }
    }
    if pass.is_some() {
        // It looks now and then whether we are stopping.
        ended(&mut pass).await;
    }
}

/// A check that is being made.
struct Pass {
    speed: Arc<Speed>,
    work: JoinHandle<()>,
}

impl Pass {
    fn begin(shared: &Arc<Shared>, alive: &watch::Receiver<()>, rate: u64, full: bool) -> Self {
        let speed = Arc::new(Speed::new(rate, full));
        let (shared, alive, pace) = (Arc::clone(shared), alive.clone(), Arc::clone(&speed));
        let work = tokio::spawn(async move {
            match shared.check(&alive, &pace).await {
                Ok(()) | Err(ContentError::Stopped) => {}
                Err(error) => {
                    tracing::warn!(error = %Chain(&error), "cannot check installed content");
                }
            }
        });
        Self { speed, work }
    }
}

/// Waits for the end of the check; for ever if there is none.
async fn ended(pass: &mut Option<Pass>) {
    match pass {
        Some(pass) => {
            if let Err(error) = (&mut pass.work).await
                && let Ok(panic) = error.try_into_panic()
            {
                std::panic::resume_unwind(panic);
            }
        }
        None => std::future::pending().await,
    }
}

impl Shared {
    async fn prove_what_is_in_use(&self, alive: &Alive) -> Result<(), ContentError> {
        for installed in self.installed(true).await? {
            let Installed {
                item, directory, ..
            } = installed;
            let looked = match self.look(&item, &directory, alive).await {
                Ok(Finding::Damaged(error)) => self.damaged(&item, &directory, &error).await,
                other => other.map(drop),
            };
            match looked {
                Err(ContentError::Stopped) => return Ok(()),
                Err(error) => tracing::warn!(%item, error = %Chain(&error), "not verified"),
                Ok(()) => {}
            }
        }
        Ok(())
    }

    pub(super) async fn check(
        &self,
        alive: &Alive,
        speed: &Arc<Speed>,
    ) -> Result<(), ContentError> {
        let began = Instant::now();
        let installed = self.installed(false).await?;
        let present: Vec<_> = installed
            .iter()
            .map(|each| each.directory.clone())
            .collect();
        locked(&self.verification.proven).retain(|directory| present.contains(directory));
        tracing::info!(items = installed.len(), "checking installed content");

        let mut summary = Summary::default();
        for each in installed {
            summary.items += 1;
            match self.check_item(&each, alive, speed, &mut summary).await {
                Err(ContentError::Stopped) => return Err(ContentError::Stopped),
                Err(error) => {
                    summary.passed_over += 1;
                    tracing::warn!(item = %each.item, error = %Chain(&error), "not checked");
                }
                Ok(()) => {}
            }
        }
        let Summary {
            items,
            files,
            bytes,
            damaged,
            passed_over,
        } = summary;
        let seconds = began.elapsed().as_secs();
        tracing::info!(
            items,
            files,
            bytes,
            damaged,
            passed_over,
            seconds,
            "installed content was checked"
        );
        Ok(())
    }

    async fn check_item(
        &self,
        installed: &Installed,
        alive: &Alive,
        speed: &Arc<Speed>,
        summary: &mut Summary,
    ) -> Result<(), ContentError> {
        let Installed {
            item,
            directory,
            row,
        } = installed;
        let digest = row.as_ref().map(|row| row.manifest_digest.clone());
        let place = directory.clone();
        let (own_alive, own_speed) = (alive.clone(), Arc::clone(speed));
        let (finding, bytes) = blocking(move || {
            let stopped = || own_alive.has_changed().is_err();
            let mut depth = Thorough {
                speed: &own_speed,
                bytes: 0,
            };
            let finding = documents(&place, digest.as_deref(), || {
                compare(&place, &mut depth, &stopped)
            });
            (finding, depth.bytes)
        })
        .await?;
        let mut finding = finding.map_err(cannot_verify(directory))?;
        summary.bytes += bytes;
        // It may have gone meanwhile, file by file.
        if self.directory_of(item).await?.as_deref() != Some(directory) {
            return Ok(());
        }

        if let Finding::Unrecorded = finding
            && self.is_trusted(installed).await?
        {
            finding = self.record(installed, alive).await?;
        }
        self.found(item, directory, &finding).await?;
        match finding {
            Finding::Same(files) | Finding::Touched(files) => summary.files += files,
            Finding::Unrecorded => {}
            Finding::Damaged(error) => {
                summary.damaged += 1;
                self.damaged(item, directory, &error).await?;
            }
        }
        Ok(())
    }

    /// Whether an item of the older release is what that installed, as far as its
    /// own hash can tell.
    async fn is_trusted(&self, installed: &Installed) -> Result<bool, ContentError> {
        Ok(match &installed.row {
            Some(row) => self.known_damage(row).is_none() && !self.awaits_check(&row.key).await?,
            None => true,
        })
    }

    /// Records the files of an item that an older release installed. Its documents
    /// are in order; what its files were only that release knew.
    async fn record(&self, installed: &Installed, alive: &Alive) -> Result<Finding, ContentError> {
        let (directory, alive) = (installed.directory.clone(), alive.clone());
        let item = &installed.item;
        let digest = installed.row.as_ref();
        let digest = digest.map(|row| row.manifest_digest.clone());
        tracing::info!(%item, "recording its files");

        let place = directory.clone();
        let recorded = blocking(move || {
            let roots = match digest {
                Some(digest) => match read_service(&place, &digest) {
                    Ok(service) => service.roots,
                    // It was in order just now: the next check knows more.
                    Err(_) => return Ok(Finding::Unrecorded),
                },
                None => vec![place.clone()],
            };
            let stopped = || alive.has_changed().is_err();
            record_as_it_is(&roots, &place, &stopped).map(|()| Finding::Same(0))
        })
        .await?;
        match recorded {
            Ok(finding) => Ok(finding),
            Err(RecordError::Read { path, source }) if super::difference::is_damage(&source) => {
                Ok(Finding::Damaged(DamageError::Read { path, source }))
            }
            Err(error) => Err(cannot_verify(&directory)(error)),
        }
    }

    /// All items, the services first.
    async fn installed(&self, only_in_use: bool) -> Result<Vec<Installed>, ContentError> {
        let services = store::services(&self.database).await?;
        let layers = store::layers(&self.database).await?;
        let in_use = super::store::in_use(&self.database).await?;
        let services = services.into_iter().map(|row| Installed {
            item: Item::Service(row.key.clone()),
            directory: self.settings.services_dir.join(&row.path),
            row: Some(row),
        });
        let layers = layers.into_iter().map(|row| Installed {
            item: Item::Layer(row.digest),
            directory: self.settings.layers_dir.join(row.path),
            row: None,
        });
        Ok(services
            .chain(layers)
            .filter(|each| !only_in_use || in_use.contains(&each.item))
            .collect())
    }
}

/// Reads the documents of a service, and goes on if they are right.
fn documents<E>(
    directory: &Path,
    manifest_digest: Option<&str>,
    goes_on: impl FnOnce() -> Result<Finding, E>,
) -> Result<Finding, E> {
    match manifest_digest.map(|digest| read_service(directory, digest)) {
        Some(Err(error)) if is_damage(&error) => Ok(Finding::Damaged(error)),
        Some(Ok(_) | Err(_)) | None => goes_on(),
    }
}

/// Whether the error is that of the content, and not ours.
pub(in crate::layermanager) fn is_damage(error: &DamageError) -> bool {
    match error {
        DamageError::Read { source, .. } => super::difference::is_damage(source),
        DamageError::Digest { .. }
        | DamageError::Content { .. }
        | DamageError::Manifest { .. }
        | DamageError::Document { .. }
        | DamageError::Files(_)
        | DamageError::Record(_)
        | DamageError::Row(_) => true,
    }
}
