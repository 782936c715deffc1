//! A download directory, and somebody who installs.

use std::fs;
use std::io::{self, Read};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use aos_package::{PackageSums, hex};
use tempfile::TempDir;
use tokio::sync::watch;

use super::super::{
    FetchError, FetchSettings, Fetched, Fetcher, Interest, PackageId, Patience, Waiting,
};
use crate::layermanager::spawn::blocking;
use crate::model::Chain;

/// Bytes of which no two parts are equal.
pub(super) fn noise(length: usize) -> Vec<u8> {
    let mut random = fastrand::Rng::with_seed(length as u64);
    std::iter::repeat_with(|| random.u8(..))
        .take(length)
        .collect()
}

pub(super) fn id_of(content: &[u8]) -> PackageId {
    let sums = PackageSums::of(content);
    PackageId {
        size: content.len() as u64,
        sha3_256: sums.sha3_256.to_vec(),
        sha3_512: sums.sha3_512.to_vec(),
    }
}

/// Long enough for a machine that is busy, and short between two attempts.
pub(super) fn patience() -> Patience {
    let (long, short) = (Duration::from_secs(20), Duration::from_millis(1));
    Patience {
        connect: long,
        tls: long,
        answer: long,
        stall: long,
        backoff_min: short,
        backoff_max: 4 * short,
        retry_after_max: 4 * short,
        attempts: 4,
        progress: 10 * long,
    }
}

pub(super) struct Ground {
    pub(super) directory: TempDir,
    pub(super) fetcher: Arc<Fetcher>,
    settings: FetchSettings,
    _caller: watch::Sender<()>,
    _alive: watch::Sender<()>,
    pub(super) waiting: Waiting,
}

impl Ground {
    pub(super) fn new() -> Self {
        Self::with(patience(), None)
    }

    pub(super) fn with(patience: Patience, ca_cert: Option<PathBuf>) -> Self {
        let directory = TempDir::new().unwrap();
        let settings = FetchSettings {
            directory: directory.path().join("download"),
            ca_cert,
            patience,
        };
        let (caller_end, caller) = watch::channel(());
        let (alive_end, alive) = watch::channel(());
        Self {
            directory,
            fetcher: Arc::new(Fetcher::new(settings.clone())),
            settings,
            _caller: caller_end,
            _alive: alive_end,
            waiting: Waiting { caller, alive },
        }
    }

    /// As after a restart of the service manager.
    pub(super) fn restart(&mut self) {
        self.fetcher = Arc::new(Fetcher::new(self.settings.clone()));
        self.fetcher.sweep(std::time::SystemTime::now()).unwrap();
    }

    pub(super) fn interest(&self, id: &PackageId) -> Interest {
        self.fetcher.interest(id, "service web version 3")
    }

    pub(super) async fn open(
        &self,
        url: &str,
        id: &PackageId,
        interest: &Interest,
    ) -> Result<Fetched, FetchError> {
        self.fetcher.open(url, id, interest, &self.waiting).await
    }

    /// Downloads as an install does, and keeps nothing. Gives the bytes, or what CM
    /// is told.
    pub(super) async fn install(&self, url: &str, id: &PackageId) -> Result<Vec<u8>, String> {
        let interest = self.interest(id);
        let bytes = self.obtain(url, id, &interest).await?;
        interest.finish();
        Ok(bytes)
    }

    /// The right bytes: begins again where an install would.
    pub(super) async fn obtain(
        &self,
        url: &str,
        id: &PackageId,
        interest: &Interest,
    ) -> Result<Vec<u8>, String> {
        loop {
            let told = |error: FetchError| Chain(&error).to_string();
            let fetched = self.open(url, id, interest).await.map_err(told)?;
            let bytes = match read(fetched).await {
                Ok(bytes) => bytes,
                Err(error) if interest.again(&error, false) => continue,
                Err(error) => return Err(Chain(&error).to_string()),
            };
            if id_of(&bytes) == *id {
                return Ok(bytes);
            }
            let wrong = io::Error::other("SHA3-256 is wrong");
            if !interest.again(&wrong, true) {
                return Err(wrong.to_string());
            }
        }
    }

    pub(super) fn downloads(&self) -> PathBuf {
        self.settings.directory.clone()
    }

    pub(super) fn part(&self, id: &PackageId) -> PathBuf {
        self.downloads().join(format!("{}.part", hex(&id.sha3_256)))
    }

    pub(super) fn meta(&self, id: &PackageId) -> PathBuf {
        self.downloads().join(format!("{}.json", hex(&id.sha3_256)))
    }

    pub(super) fn names(&self) -> Vec<String> {
        let Ok(entries) = fs::read_dir(self.downloads()) else {
            return Vec::new();
        };
        entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect()
    }

    /// Downloads the first bytes, and leaves them as a crash does.
    pub(super) async fn leave(&mut self, url: &str, id: &PackageId, length: usize) {
        let interest = self.interest(id);
        let fetched = self.open(url, id, &interest).await.unwrap();
        drop(read_some(fetched, length).await.unwrap());
        drop(interest);
        // What was read ahead.
        let part = fs::OpenOptions::new()
            .write(true)
            .open(self.part(id))
            .unwrap();
        part.set_len(length as u64).unwrap();
        self.restart();
    }
}

/// All bytes that are left, checked to be those that are in the file.
pub(super) async fn read(mut fetched: Fetched) -> io::Result<Vec<u8>> {
    blocking(move || {
        let mut bytes = Vec::new();
        fetched.reader.read_to_end(&mut bytes)?;
        let mut on_disk = Vec::new();
        (&*fetched.file).read_to_end(&mut on_disk)?;
        assert!(on_disk.ends_with(&bytes));
        Ok(bytes)
    })
    .await
    .unwrap()
}

/// The first bytes, and the package to read on.
pub(super) async fn read_some(
    mut fetched: Fetched,
    length: usize,
) -> io::Result<(Vec<u8>, Fetched)> {
    blocking(move || {
        let mut bytes = vec![0; length];
        fetched.reader.read_exact(&mut bytes)?;
        Ok((bytes, fetched))
    })
    .await
    .unwrap()
}
