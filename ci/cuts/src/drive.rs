//! What is recorded: the life of a few services and layers.
//!
//! After each step a line is written to the file `marks`: what is there now, and
//! has been acknowledged. The trace has it at its place among all that the
//! library did.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Write;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use aos_servicemanager::model::ServiceKey;
use serde::{Deserialize, Serialize};

use crate::packages::{Info, Packages};
use crate::store::{self, Key, Layout, Store};
use crate::tree;

const LONG: Duration = Duration::from_secs(1_000_000);

/// Of a line: what has been done, and what there is in the end, as names of
/// packages.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Mark {
    pub step: String,
    pub there: Vec<String>,
}

/// Listings of whole items, by the names of the packages.
pub type Expected = BTreeMap<String, tree::Listing>;

pub fn drive(directory: &Path) -> Result<()> {
    nix::sys::stat::umask(nix::sys::stat::Mode::from_bits_truncate(0o022));
    let packages = Packages::new(&directory.join("packages"));
    packages.write(&directory.join("packages"))?;
    let runtime = tokio::runtime::Runtime::new()?;
    let mut driver = Driver {
        packages,
        layout: Layout {
            root: directory.join("store"),
        },
        marks: File::create(directory.join("marks"))?,
        expected: Expected::new(),
    };
    runtime.block_on(driver.run())?;
    let expected = serde_json::to_vec_pretty(&driver.expected)?;
    fs::write(directory.join("expected.json"), expected)?;
    Ok(())
}

struct Driver {
    packages: Packages,
    layout: Layout,
    marks: File,
    expected: Expected,
}

impl Driver {
    async fn run(&mut self) -> Result<()> {
        let store = self.start(LONG).await?;
        self.done("start", &[])?;

        self.install(&store, &["base", "web-1a"]).await?;
        self.done("install", &["base", "web-1a"])?;
        self.retain(&store, &["base", "web-1a"]).await?;
        self.done("retain", &["base", "web-1a"])?;

        self.install(&store, &["web-1b"]).await?;
        self.done("replace under the same version", &["base", "web-1b"])?;
        self.retain(&store, &["base", "web-1b"]).await?;
        self.done("retain what replaced", &["base", "web-1b"])?;

        self.install(&store, &["extra"]).await?;
        self.done("install a layer", &["base", "extra", "web-1b"])?;
        let (web, log) = tokio::join!(
            self.install(&store, &["web-2"]),
            self.install(&store, &["log-7"])
        );
        web.and(log)?;
        let all = ["base", "extra", "web-1b", "web-2", "log-7"];
        self.done("install two at a time", &all)?;
        self.retain(&store, &["base", "extra", "web-2"]).await?;
        self.done("retain the newer one", &all)?;
        self.install(&store, &["log-7"]).await?;
        self.retain(&store, &["extra", "log-7"]).await?;
        self.done("restore what is cached", &all)?;
        store.stop().await?;
        self.done("stop", &all)?;

        // What is cached has had its time.
        let left = ["extra", "log-7"];
        let store = self.start(Duration::ZERO).await?;
        self.wait_for(&left).await?;
        self.done("expiry", &left)?;
        store.stop().await?;

        let store = self.start(LONG).await?;
        self.done("start again", &left)?;
        self.install(&store, &["base", "web-1a"]).await?;
        let all = ["base", "extra", "web-1a", "log-7"];
        self.done("install what has expired", &all)?;
        self.retain(&store, &[]).await?;
        self.done("retain nothing", &all)?;
        store.stop().await?;
        self.done("end", &all)
    }

    async fn start(&self, ttl: Duration) -> Result<Store> {
        let store = Store::start(&self.layout.root, ttl).await?;
        let rows = store::rows(&self.layout)?;
        let in_use = rows.into_iter().filter(|row| !row.is_cached);
        let (services, layers) = keys(in_use.map(|row| row.key));
        store.retain(services, layers).await?;
        Ok(store)
    }

    async fn install(&self, store: &Store, names: &[&str]) -> Result<()> {
        for name in names {
            match &self.packages.named(name).info {
                Info::Service(info) => drop(store.install_service(info).await?),
                Info::Layer(info) => store.install_layer(info).await?,
            }
        }
        Ok(())
    }

    async fn retain(&self, store: &Store, names: &[&str]) -> Result<()> {
        let named = names
            .iter()
            .map(|name| self.packages.named(name).key.clone());
        let (services, layers) = keys(named);
        store.retain(services, layers).await
    }

    /// Waits until there is nothing else any more.
    async fn wait_for(&self, names: &[&str]) -> Result<()> {
        store::wait_until("expiry", || {
            let rows = store::rows(&self.layout)?;
            let directories = fs::read_dir(self.layout.services())?.count()
                + fs::read_dir(self.layout.layers().join("sha256"))?.count();
            let records = rows
                .iter()
                .filter(|row| has_record(&self.layout, row))
                .count();
            Ok(rows.len() == names.len() && directories == rows.len() + records)
        })
        .await
    }

    /// Acknowledges a step, after a look whether it is done.
    fn done(&mut self, step: &str, there: &[&str]) -> Result<()> {
        // First of all: what the look needs is no part of the step.
        let mark = Mark {
            step: step.to_owned(),
            there: there.iter().map(|&name| name.to_owned()).collect(),
        };
        let mut line = serde_json::to_vec(&mark)?;
        line.push(b'\n');
        self.marks.write_all(&line)?;

        let rows = store::rows(&self.layout)?;
        ensure!(rows.len() == there.len(), "after {step}: {rows:#?}");
        for row in &rows {
            let package = self.packages.of(&row.key, &row.content);
            let package = package.with_context(|| format!("after {step}: {row:?}"))?;
            ensure!(
                there.contains(&package.name),
                "after {step} there is {}",
                package.name
            );
            let found = tree::list(&item(&self.layout, row))?;
            check_root(&package.root, &row.key, &found)
                .with_context(|| format!("after {step}: {}", package.name))?;
            let name = package.name.to_owned();
            if let Some(before) = self.expected.insert(name, found.clone()) {
                let differs = tree::difference(&before, &found);
                ensure!(differs.is_empty(), "after {step}: {differs}");
            }
        }
        Ok(())
    }
}

/// The root filesystem is all of a layer, and `rootfs` of a service.
fn check_root(root: &tree::Listing, key: &Key, found: &tree::Listing) -> Result<()> {
    let inner = found.iter().filter_map(|(path, line)| {
        let path = match key {
            Key::Service(..) => path.strip_prefix("rootfs/")?,
            Key::Layer(_) => Some(path.as_str()).filter(|path| *path != ".")?,
        };
        Some((path.to_owned(), line.clone()))
    });
    let differs = tree::difference(root, &inner.collect());
    ensure!(differs.is_empty(), "{differs}");
    Ok(())
}

/// Where the directory of a row is.
pub fn item(layout: &Layout, row: &store::Row) -> std::path::PathBuf {
    match row.key {
        Key::Service(..) => layout.services().join(&row.path),
        Key::Layer(_) => layout.layers().join(&row.path),
    }
}

/// Whether there is a record beside the directory of a row.
pub fn has_record(layout: &Layout, row: &store::Row) -> bool {
    let mut name = item(layout, row).into_os_string();
    name.push(".files");
    Path::new(&name).exists()
}

pub fn keys(keys: impl Iterator<Item = Key>) -> (Vec<ServiceKey>, Vec<String>) {
    let (mut services, mut layers) = (Vec::new(), Vec::new());
    for key in keys {
        match key {
            Key::Service(id, version) => services.push(ServiceKey {
                id: id.as_str().into(),
                version,
            }),
            Key::Layer(digest) => layers.push(digest),
        }
    }
    (services, layers)
}
