//! The library under test: the only place that calls it.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use aos_servicemanager::layermanager::{Content, ContentSettings, Users};
use aos_servicemanager::model::{LayerInfo, ServiceInfo, ServiceKey};
use aos_servicemanager::storage::Database;
use rusqlite::Connection;

/// Longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(20);

/// Where things are in a working directory.
#[derive(Clone, Debug)]
pub struct Layout {
    pub root: PathBuf,
}

impl Layout {
    pub fn database(&self) -> PathBuf {
        self.root.join("sm.db")
    }

    pub fn services(&self) -> PathBuf {
        self.root.join("services")
    }

    pub fn layers(&self) -> PathBuf {
        self.root.join("layers")
    }

    pub fn extract(&self) -> PathBuf {
        self.root.join("extract")
    }

    fn settings(&self, ttl: Duration) -> ContentSettings {
        ContentSettings {
            services_dir: self.services(),
            layers_dir: self.layers(),
            services_part_limit: 0,
            layers_part_limit: 0,
            download_dir: self.root.join("download"),
            ca_cert: None,
            extract_dir: self.extract(),
            service_ttl: ttl,
            layer_ttl: ttl,
            users: Users::none(),
        }
    }
}

/// A store in use.
pub struct Store {
    layout: Layout,
    content: Content,
    // Closed after the content, which uses it.
    _database: Database,
}

impl Store {
    /// As the service manager starts: the database, the content, and once it is
    /// known what runs, what is in use.
    pub async fn start(root: &Path, ttl: Duration) -> Result<Self> {
        let layout = Layout {
            root: root.to_owned(),
        };
        let opened =
            Database::open(&layout.database(), &[]).context("the database does not open")?;
        ensure!(
            opened.set_aside.is_none(),
            "the database was taken for damaged"
        );
        let content = Content::start(layout.settings(ttl), opened.database.clone())
            .await
            .context("the content does not start")?;

        Ok(Self {
            layout,
            content,
            _database: opened.database,
        })
    }

    pub async fn install_service(&self, info: &ServiceInfo) -> Result<Vec<String>> {
        Ok(self.content.install_service(info).await?)
    }

    pub async fn install_layer(&self, info: &LayerInfo) -> Result<()> {
        Ok(self.content.install_layer(info).await?)
    }

    /// Reads a service as one who runs it does.
    pub async fn read_service(&self, key: &ServiceKey) -> Result<()> {
        self.content.service(key).await?;
        Ok(())
    }

    pub async fn retain(&self, services: Vec<ServiceKey>, layers: Vec<String>) -> Result<()> {
        Ok(self.content.retain(services, layers).await?)
    }

    /// Ends as the service manager does: with its database closed.
    pub async fn stop(self) -> Result<()> {
        let log = self.layout.root.join("sm.db-wal");
        drop(self);
        // The last one that closes the database removes the log.
        wait_until("the database to be closed", || Ok(!log.exists())).await
    }
}

/// Waits for what nothing tells of.
pub async fn wait_until(what: &str, is_so: impl Fn() -> Result<bool>) -> Result<()> {
    let start = Instant::now();
    while !is_so()? {
        if start.elapsed() > PATIENCE {
            bail!("waited in vain for {what}");
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    Ok(())
}

/// A row of `services` or `layers`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    pub key: Key,
    /// Relative to the directory of its kind.
    pub path: PathBuf,
    /// What tells one content under the same key from another.
    pub content: String,
    pub is_cached: bool,
}

/// What a row is of.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Key {
    Service(String, u64),
    Layer(String),
}

/// Reads both tables, past the library.
pub fn rows(layout: &Layout) -> Result<Vec<Row>> {
    let connection = Connection::open(layout.database())?;
    let relative = |directory: PathBuf, path: String| {
        let path = PathBuf::from(path);
        path.strip_prefix(&directory)
            .map_or_else(|_| path.clone(), Path::to_owned)
    };
    let mut rows = connection
        .prepare("SELECT id, aos_version, path, package_digest, cached_since FROM services ORDER BY 1, 2")?
        .query_map([], |row| {
            Ok(Row {
                key: Key::Service(row.get(0)?, row.get::<_, i64>(1)?.unsigned_abs()),
                path: relative(layout.services(), row.get(2)?),
                content: row.get::<_, Option<String>>(3)?.unwrap_or_default(),
                is_cached: row.get::<_, Option<i64>>(4)?.is_some(),
            })
        })?
        .collect::<Result<Vec<_>, _>>()?;
    let layers = connection
        .prepare("SELECT digest, path, cached_since FROM layers ORDER BY 1")?
        .query_map([], |row| {
            let digest = row.get::<_, String>(0)?;
            Ok(Row {
                key: Key::Layer(digest.clone()),
                path: relative(layout.layers(), row.get(1)?),
                content: digest,
                is_cached: row.get::<_, Option<i64>>(2)?.is_some(),
            })
        })?
        .collect::<Result<Vec<_>, _>>()?;
    rows.extend(layers);
    Ok(rows)
}

/// What SQLite says of the file.
pub fn integrity(layout: &Layout) -> Result<()> {
    let connection = Connection::open(layout.database())?;
    let verdict: String = connection.query_row("PRAGMA integrity_check", [], |row| row.get(0))?;
    ensure!(verdict == "ok", "integrity_check: {verdict}");
    Ok(())
}
