//! Packages for installs: opened, unpacked, and opened again where that may help.

use std::io::{self, Read};
use std::sync::Arc;

use aos_package::Short;
use tokio::sync::SemaphorePermit;

use super::error::InstallError;
use super::fetch::{FetchError, Fetched, Interest, PackageId, Waiting};
use super::install::Source;
use super::installing::wanted;
use super::intake::package_error;
use super::package::{Expected, PackageError};
use super::shared::{Alive, Caller, Shared};
use super::source::{Source as Place, shown_url};
use super::space::{Kind, Reservation, Room};
use super::spawn::{Stopping, blocking};
use super::unpack::UnpackError;
use crate::model::Chain;

/// A package that is to be installed.
pub(super) struct Order {
    /// For people.
    pub(super) item: String,
    pub(super) url: String,
    pub(super) package: PackageId,
    /// Where its content goes to.
    pub(super) directory: Kind,
}

/// What an install has until it is done: its slot, and the bytes of its package.
pub(super) struct Supplied<'a> {
    _slot: SemaphorePermit<'a>,
    interest: Arc<Interest>,
}

impl Supplied<'_> {
    /// The package is needed no more.
    pub(super) async fn finish(self) -> Result<(), InstallError> {
        Ok(finish(self.interest).await?)
    }
}

impl Shared {
    /// Waits for a slot, opens the package and has `stage` take it in: again when
    /// the download has to begin again, or its bytes may be right the next time.
    pub(super) async fn supply<T: Send + 'static>(
        &self,
        order: Order,
        alive: Alive,
        mut caller: Caller,
        stage: impl Fn(Source<'_>) -> Result<T, InstallError> + Send + Sync + 'static,
    ) -> Result<(T, Supplied<'_>), InstallError> {
        // Before the wait: what another install of it downloads now is kept.
        let interest = Arc::new(self.fetcher.interest(&order.package, &order.item));
        let slot = wanted(&mut caller, self.slots.acquire())
            .await?
            .map_err(|_| InstallError::Stopped)?;
        let waiting = Waiting {
            caller,
            alive: alive.clone(),
        };
        let (stage, order) = (Arc::new(stage), Arc::new(order));
        let is_web = matches!(Place::parse(&order.url), Ok(Place::Web(_)));

        loop {
            let size = order.package.size;
            let mut room = self.space.reserve(order.directory, size).await;
            if is_web {
                // Nothing is downloaded only to find out how much is missing.
                room = Ok(room?);
            }
            let package = self.package(&order, is_web, &interest, &waiting).await?;
            let (stage, work, alive) = (Arc::clone(&stage), Arc::clone(&order), alive.clone());
            let staged = blocking(move || {
                let url = shown_url(&work.url);
                stage(Source {
                    expected: Expected {
                        url: &url,
                        id: &work.package,
                    },
                    package,
                    room: room.map(|room| Box::new(room) as Box<dyn Room>),
                    stopped: &|| alive.has_changed().is_err(),
                })
            });
            let error = match staged.await? {
                Ok(done) => {
                    let supplied = Supplied {
                        _slot: slot,
                        interest,
                    };
                    return Ok((done, supplied));
                }
                Err(error) => error,
            };

            let asked = Arc::clone(&interest);
            let (again, error) = blocking(move || {
                let again = asked.again(&error, has_wrong_sums(&error));
                (again, error)
            })
            .await?;
            if again {
                let item = Short(&order.item);
                tracing::warn!(%item, error = %Chain(&error), "beginning again");
                continue;
            }
            if is_of_the_package(&error) {
                finish(interest).await?;
            }
            return Err(told(error));
        }
    }

    /// Opens the package. Room for what has still to be downloaded is promised,
    /// and used up as the bytes come.
    async fn package(
        &self,
        order: &Order,
        is_web: bool,
        interest: &Interest,
        waiting: &Waiting,
    ) -> Result<Fetched, InstallError> {
        let Order { url, package, .. } = order;
        let spooled = interest.spooled();
        let room = if is_web {
            let missing = package.size.saturating_sub(spooled);
            Some(self.space.reserve(Kind::Downloads, missing).await?)
        } else {
            None
        };

        let opened = self.fetcher.open(url, package, interest, waiting).await;
        let mut fetched =
            opened.map_err(|error| told(package_error(&shown_url(url), error.into())))?;
        if let Some(room) = room {
            fetched.reader = Box::new(Spooling {
                reader: fetched.reader,
                spooled,
                room,
            });
        }
        Ok(fetched)
    }
}

/// Bytes that come from the spool, and then into it.
struct Spooling {
    reader: Box<dyn Read + Send>,
    /// To come without taking more of the disk.
    spooled: u64,
    room: Reservation,
}

impl Read for Spooling {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.reader.read(buffer)?;
        let new = (count as u64).saturating_sub(self.spooled);
        self.spooled = self.spooled.saturating_sub(count as u64);
        if new > 0 {
            self.room.take(new).map_err(io::Error::other)?;
        }
        Ok(count)
    }
}

async fn finish(interest: Arc<Interest>) -> Result<(), Stopping> {
    blocking(move || {
        if let Some(interest) = Arc::into_inner(interest) {
            interest.finish();
        }
    })
    .await
}

/// The error as it is told: an end is an end, wherever it was noticed.
fn told(error: InstallError) -> InstallError {
    match FetchError::within(&error) {
        Some(FetchError::Stopped) => InstallError::Stopped,
        Some(FetchError::Abandoned) => InstallError::Abandoned,
        Some(_) | None => error,
    }
}

fn has_wrong_sums(error: &InstallError) -> bool {
    match error {
        InstallError::Package { source, .. } => matches!(**source, PackageError::Sum { .. }),
        _ => false,
    }
}

/// Whether the package is whole and no good: its bytes are of no use any more.
fn is_of_the_package(error: &InstallError) -> bool {
    match error {
        InstallError::Package { source, .. } => matches!(
            **source,
            PackageError::Archive(_) | PackageError::Manifest(_)
        ),
        InstallError::Unpack { source, .. } => {
            !matches!(**source, UnpackError::Write { .. } | UnpackError::Read(_))
        }
        InstallError::Document { .. } | InstallError::OtherLayer { .. } => true,
        _ => false,
    }
}
