//! A small disk with content that nobody uses on it.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use tempfile::TempDir;

use super::super::disk::{Disk, Partition};
use super::super::{Abandoned, Amount, PartialDownloads, Space, SpaceSettings};
use crate::layermanager::keeper::{Keeper, Users};
use crate::storage::Database;

/// What stays free of a disk of that size.
pub(super) const SPARE: u64 = 64 << 10;
const SIZE_FOR_SPARE: u64 = SPARE * 100;

/// A disk on which only what is below `root` takes space, and what was written
/// elsewhere.
#[derive(Debug)]
pub(in crate::layermanager::space) struct SmallDisk {
    root: PathBuf,
    size: u64,
    /// Free without what is below `root`.
    free: AtomicU64,
    inodes: AtomicU64,
    silent: AtomicBool,
}

impl SmallDisk {
    pub(super) fn write(&self, bytes: u64) {
        self.free.fetch_sub(bytes, Ordering::SeqCst);
    }

    pub(super) fn leave_inodes(&self, count: u64) {
        self.inodes.store(count, Ordering::SeqCst);
    }

    pub(super) fn fall_silent(&self) {
        self.silent.store(true, Ordering::SeqCst);
    }

    pub(super) fn free(&self) -> u64 {
        let free = self.free.load(Ordering::SeqCst);
        free.saturating_sub(content_of(&self.root))
    }
}

/// Bytes of all files below; what vanishes meanwhile has none.
fn content_of(path: &Path) -> u64 {
    let Ok(entries) = fs::read_dir(path) else {
        return fs::metadata(path).map_or(0, |metadata| metadata.len());
    };
    entries
        .flatten()
        .map(|entry| content_of(&entry.path()))
        .sum()
}

impl Disk for SmallDisk {
    fn partition(&self, _: &Path) -> io::Result<Partition> {
        if self.silent.load(Ordering::SeqCst) {
            return Err(io::Error::other("no answer"));
        }
        Ok(Partition {
            id: 1,
            size: Amount {
                bytes: self.size,
                inodes: 50,
            },
            free: Amount {
                bytes: self.free(),
                inodes: self.inodes.load(Ordering::SeqCst),
            },
        })
    }
}

type Said = Arc<Mutex<Result<Vec<PathBuf>, &'static str>>>;

/// A device with such a disk.
pub(in crate::layermanager::space) struct Small {
    _directory: TempDir,
    root: PathBuf,
    pub(super) disk: Arc<SmallDisk>,
    pub(super) keeper: Arc<Keeper>,
    pub(super) space: Space,
    said: Said,
}

impl Small {
    pub(super) fn with_free(free: u64) -> Self {
        Self::make(SIZE_FOR_SPARE, free, 0)
    }

    /// A disk of `free` and the spare; the services may take some percent.
    pub(super) fn limited(free: u64, percent: u8) -> Self {
        Self::make(free + SPARE, free, percent)
    }

    fn make(size: u64, free: u64, percent: u8) -> Self {
        let directory = TempDir::new().unwrap();
        let root = directory.path().to_owned();
        for name in ["services", "layers", "downloads"] {
            fs::create_dir(root.join(name)).unwrap();
        }
        let disk = Arc::new(SmallDisk {
            root: root.clone(),
            size,
            free: AtomicU64::new(free + size.min(SIZE_FOR_SPARE) / 100),
            inodes: AtomicU64::new(u64::MAX),
            silent: AtomicBool::new(false),
        });
        let said: Said = Arc::new(Mutex::new(Ok(Vec::new())));
        let users = Arc::clone(&said);
        let users = Users::new(move || users.lock().unwrap().clone().map_err(io::Error::other));
        let keeper = Arc::new(Keeper {
            services_dir: root.join("services"),
            layers_dir: root.join("layers"),
            database: Database::in_memory().unwrap(),
            locks: Arc::default(),
            users,
            replaced: Mutex::default(),
            strays: Mutex::default(),
        });
        let settings = SpaceSettings {
            services_dir: root.join("services"),
            services_part_limit: percent,
            layers_dir: root.join("layers"),
            layers_part_limit: 0,
            download_dir: root.join("downloads"),
        };
        let space = Space::on(
            Arc::clone(&disk) as Arc<dyn Disk>,
            settings,
            Arc::clone(&keeper),
        );
        Self {
            _directory: directory,
            root,
            disk,
            keeper,
            space,
            said,
        }
    }

    pub(super) fn services(&self) -> PathBuf {
        self.root.join("services")
    }

    pub(super) fn layers(&self) -> PathBuf {
        self.root.join("layers")
    }

    /// Adds content that takes up no more of the disk than there was before it.
    pub(super) async fn service(&self, name: &'static str, since: i64, size: u64) -> PathBuf {
        let path = self.content(&self.services(), name, size);
        self.row(
            "INSERT INTO services VALUES (?1, 1, '', '', '', 0, ?1, '', '', ?2, ?3)",
            name,
            size,
            since,
        )
        .await;
        path
    }

    pub(super) async fn layer(&self, name: &'static str, since: i64, size: u64) -> PathBuf {
        let path = self.content(&self.layers(), name, size);
        self.row(
            "INSERT INTO layers VALUES (?1, '', 1, '', '', ?1, ?2, ?3)",
            name,
            size,
            since,
        )
        .await;
        path
    }

    fn content(&self, directory: &Path, name: &str, size: u64) -> PathBuf {
        let path = directory.join(name);
        // What cannot be made cannot be removed.
        if fs::create_dir(&path).is_ok() {
            fs::write(path.join("file"), vec![0; usize::try_from(size).unwrap()]).unwrap();
            self.disk.free.fetch_add(size, Ordering::SeqCst);
        }
        path
    }

    async fn row(&self, sql: &'static str, name: &'static str, size: u64, since: i64) {
        self.keeper
            .database
            .call(move |connection| {
                connection.execute(sql, (name, size.cast_signed(), since))?;
                Ok(())
            })
            .await
            .unwrap();
    }

    pub(super) async fn row_says(&self, name: &'static str, size: u64) {
        let sql = "UPDATE layers SET size = ?2, cached_since = ?3 WHERE digest = ?1";
        self.row(sql, name, size, 1).await;
    }

    pub(super) async fn use_layers(&self) {
        self.keeper
            .database
            .call(|connection| {
                connection.execute("UPDATE layers SET cached_since = NULL", [])?;
                Ok(())
            })
            .await
            .unwrap();
    }

    /// Paths of what is installed.
    pub(super) async fn rows(&self) -> Vec<String> {
        let sql = "SELECT path FROM services UNION SELECT path FROM layers";
        let rows = self.keeper.database.call(move |connection| {
            let mut statement = connection.prepare(sql)?;
            let rows = statement.query_map([], |row| row.get(0))?;
            Ok(rows.collect::<Result<_, _>>()?)
        });
        rows.await.unwrap()
    }

    pub(super) fn users_say(&self, said: Result<Vec<PathBuf>, &'static str>) {
        *self.said.lock().unwrap() = said;
    }

    /// One that nobody waits for, and one that somebody came to wait for just
    /// before it would have been removed.
    pub(super) fn partial_downloads(&self, size: u64) -> (PathBuf, PathBuf) {
        let downloads = self.root.join("downloads");
        let paths = [
            self.content(&downloads, "left", size),
            downloads.join("wanted"),
        ];
        fs::write(&paths[1], "").unwrap();
        let [left, wanted] = paths.clone();
        self.space.set_downloads(Arc::new(Partials {
            left: left.clone(),
            wanted: wanted.clone(),
            size,
        }));
        (left, wanted)
    }
}

#[derive(Debug)]
struct Partials {
    left: PathBuf,
    wanted: PathBuf,
    size: u64,
}

impl PartialDownloads for Partials {
    fn abandoned(&self) -> Vec<Abandoned> {
        let abandoned = |path: &PathBuf, since| Abandoned {
            path: path.clone(),
            size: Amount {
                bytes: self.size,
                inodes: 1,
            },
            since,
        };
        let mut found = vec![abandoned(&self.wanted, 0)];
        if self.left.exists() {
            found.push(abandoned(&self.left, 1));
        }
        found
    }

    fn remove(&self, path: &Path) -> io::Result<bool> {
        if path == self.wanted {
            return Ok(false);
        }
        fs::remove_dir_all(path).map(|()| true)
    }
}
