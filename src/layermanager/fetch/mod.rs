//! Packages, from this machine or from a server.
//!
//! [`Fetcher::open`] gives a reader of all bytes in order. What is downloaded goes
//! to the reader from memory and, before that, to a file of the download
//! directory, from which it is gone on with after a cut, a crash or a restart.
//! Nothing is looked at twice: size, ETag and date only keep it from going on with
//! another file, and the package's sums, which the install computes, decide.
//!
//! At most as many downloads as installs are under way: an install opens its
//! package only when it has one of their slots.

mod address;
mod answer;
mod download;
mod error;
mod exchange;
mod interest;
mod limits;
mod progress;
mod reader;
mod retry;
mod spool;
mod sweep;
mod trust;

#[cfg(test)]
mod tests;

use std::fs::{File, OpenOptions};
use std::io::Read;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use nix::fcntl::OFlag;
use tokio::sync::{OwnedMutexGuard, mpsc, watch};

pub(super) use address::Address;
pub(super) use download::closed;
pub use error::{AttemptError, FetchError};
pub(super) use interest::Interest;
pub(super) use limits::Patience;
pub use progress::{Download, Downloads};

use super::source::{Source, UrlError};
use super::space::PartialDownloads;
use super::spawn::blocking;
use crate::model::{LayerInfo, ServiceInfo};
use download::{Downloader, Message};
use exchange::Client;
use interest::Registry;
use limits::QUEUE;
use progress::Board;
use reader::{DownloadReader, FileReader};
use spool::{Found, Meta};

/// What downloads need.
#[derive(Clone, Debug)]
pub(super) struct FetchSettings {
    /// Where partial downloads are.
    pub(super) directory: PathBuf,
    /// Root certificates that are trusted besides the system's.
    pub(super) ca_cert: Option<PathBuf>,
    /// How long is waited for what.
    pub(super) patience: Patience,
}

/// What CM says of a package.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct PackageId {
    /// Bytes.
    pub(super) size: u64,
    /// Of all bytes.
    pub(super) sha3_256: Vec<u8>,
    /// Of all bytes.
    pub(super) sha3_512: Vec<u8>,
}

impl From<&ServiceInfo> for PackageId {
    fn from(info: &ServiceInfo) -> Self {
        Self {
            size: info.size,
            sha3_256: info.sha256.clone(),
            sha3_512: info.sha512.clone(),
        }
    }
}

impl From<&LayerInfo> for PackageId {
    fn from(info: &LayerInfo) -> Self {
        Self {
            size: info.size,
            sha3_256: info.sha256.clone(),
            sha3_512: info.sha512.clone(),
        }
    }
}

/// An open package.
pub(super) struct Fetched {
    /// All bytes, once and in order. Blocks; not for use in a task. Its errors
    /// are found by [`FetchError::within`].
    pub(super) reader: Box<dyn Read + Send>,
    /// All bytes, once the reader has come to its end.
    pub(super) file: Arc<File>,
}

/// Who waits for a package.
#[derive(Clone, Debug)]
pub(super) struct Waiting {
    /// Closed when the caller no longer waits: a download from which nothing
    /// comes is given up then.
    pub(super) caller: watch::Receiver<()>,
    /// Closed when the service manager stops.
    pub(super) alive: watch::Receiver<()>,
}

/// Opens packages. Clones are handles of the same.
#[derive(Clone, Debug)]
pub(super) struct Fetcher {
    settings: FetchSettings,
    registry: Arc<Registry>,
    board: Board,
}

impl Fetcher {
    pub(super) fn new(settings: FetchSettings) -> Self {
        Self {
            registry: Registry::new(settings.directory.clone()),
            board: Board::default(),
            settings,
        }
    }

    /// Clears the download directory of what cannot be gone on with. For the
    /// start, before anybody has an interest. Blocks.
    pub(super) fn sweep(&self, now: SystemTime) -> Result<(), FetchError> {
        sweep::sweep(&self.settings.directory, now)
    }

    /// Interest in a package, for `item` as people call it. Keeps its partial
    /// download while anybody has it.
    pub(super) fn interest(&self, id: &PackageId, item: &str) -> Interest {
        self.registry.interest(id, item)
    }

    /// The partial downloads that nobody has an interest in.
    pub(super) fn partial(&self) -> Arc<dyn PartialDownloads> {
        Arc::clone(&self.registry) as Arc<dyn PartialDownloads>
    }

    /// The downloads that are under way.
    pub(super) fn downloads(&self) -> watch::Receiver<Downloads> {
        self.board.watch()
    }

    /// Opens a file, or has a download begun or gone on with. Somebody else's of
    /// the same package is waited for.
    pub(super) async fn open(
        &self,
        url: &str,
        id: &PackageId,
        interest: &Interest,
        waiting: &Waiting,
    ) -> Result<Fetched, FetchError> {
        match Source::parse(url)? {
            Source::File(path) => {
                let size = id.size;
                blocking(move || open_file(&path, size)).await?
            }
            Source::Web(address) => self.open_web(address, id, interest, waiting).await,
        }
    }

    async fn open_web(
        &self,
        address: Address,
        id: &PackageId,
        interest: &Interest,
        waiting: &Waiting,
    ) -> Result<Fetched, FetchError> {
        if id.sha3_256.len() != 32 || id.sha3_512.len() != 64 {
            return Err(FetchError::Sums);
        }
        let lock = while_wanted(waiting, interest.lock().lock_owned()).await?;
        let (spool, wanted) = (interest.spool().clone(), id.clone());
        let found = blocking(move || spool.find(&wanted)).await??;

        match found {
            Found::Complete(file) => {
                let file = Arc::new(file);
                interest.trail().begin(Arc::clone(&file), true);
                let reader = FileReader::new(Arc::clone(&file), id.size);
                Ok(Fetched {
                    reader: Box::new(reader),
                    file,
                })
            }
            Found::Partial { file, length, meta } => {
                let there = There { file, length, meta };
                self.download(address, id, interest, waiting, Some(there), lock)
                    .await
            }
            Found::Nothing => {
                self.download(address, id, interest, waiting, None, lock)
                    .await
            }
        }
    }

    async fn download(
        &self,
        address: Address,
        id: &PackageId,
        interest: &Interest,
        waiting: &Waiting,
        there: Option<There>,
        lock: OwnedMutexGuard<()>,
    ) -> Result<Fetched, FetchError> {
        let url = address.to_string();
        // The ETag of another URL says nothing about this one.
        let validators = there
            .as_ref()
            .filter(|there| there.meta.url == url)
            .map(|there| there.meta.validators.clone());
        let (reader, mut messages) = mpsc::channel(QUEUE);
        let downloader = Downloader {
            client: Client {
                patience: self.settings.patience,
                ca_cert: self.settings.ca_cert.clone(),
            },
            address,
            item: interest.item().to_owned(),
            size: id.size,
            offset: there.as_ref().map_or(0, |there| there.length),
            validators: validators.unwrap_or_default(),
            reader,
            alive: waiting.alive.clone(),
            caller: waiting.caller.clone(),
            begun: false,
        };
        tokio::spawn(downloader.run());

        let (offset, validators) = match messages.recv().await {
            Some(Message::Begin { offset, validators }) => (offset, validators),
            Some(Message::Failed(error)) => return Err(error),
            _ => return Err(FetchError::Stopped),
        };
        let meta = Meta::new(id, url.clone(), validators);
        let spool = interest.spool().clone();
        let file = blocking(move || match there.filter(|_| offset > 0) {
            Some(there) if there.meta == meta => Ok(there.file),
            Some(there) => spool.describe(&meta).map(|()| there.file),
            None => spool.begin(&meta),
        })
        .await??;

        let file = Arc::new(file);
        interest.trail().begin(Arc::clone(&file), offset > 0);
        let tracker = self.board.begin(interest.item(), &url, offset, id.size);
        let reader = DownloadReader::new(
            Arc::clone(&file),
            offset,
            interest.spool().clone(),
            reader::Source {
                messages,
                tracker,
                _lock: lock,
            },
            interest.trail(),
        );
        Ok(Fetched {
            reader: Box::new(reader),
            file,
        })
    }
}

/// What an earlier download left.
struct There {
    file: File,
    length: u64,
    meta: Meta,
}

pub(super) fn open_file(path: &Path, size: u64) -> Result<Fetched, FetchError> {
    let file = OpenOptions::new()
        .read(true)
        // A FIFO must not make us wait.
        .custom_flags(OFlag::O_NONBLOCK.bits())
        .open(path)
        .map_err(FetchError::Open)?;
    let metadata = file.metadata().map_err(FetchError::Open)?;
    if !metadata.is_file() {
        return Err(FetchError::NotFile);
    }
    if metadata.len() != size {
        return Err(FetchError::Size {
            actual: metadata.len(),
            expected: size,
        });
    }

    let file = Arc::new(file);
    Ok(Fetched {
        // One byte more shows a file that grows.
        reader: Box::new(FileReader::new(Arc::clone(&file), size.saturating_add(1))),
        file,
    })
}

async fn while_wanted<T>(
    waiting: &Waiting,
    wait: impl Future<Output = T>,
) -> Result<T, FetchError> {
    let Waiting {
        mut caller,
        mut alive,
    } = waiting.clone();
    tokio::select! {
        biased;
        () = closed(&mut alive) => Err(FetchError::Stopped),
        () = closed(&mut caller) => Err(FetchError::Abandoned),
        done = wait => Ok(done),
    }
}
