//! One state: the store is started on it as after a cut, and looked at.
//!
//! Nothing here knows how the library does what it does: rows are read by SQL,
//! directories by walking.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

use crate::drive::{self, Expected, Mark, keys};
use crate::packages::{Info, Packages};
use crate::store::{self, Key, Layout, Row, Store};
use crate::tree::{self, Listing};

const TTL: Duration = Duration::from_secs(1_000_000);

/// What is to hold at a moment.
#[derive(Clone, Debug)]
pub struct Duty<'a> {
    /// What has been acknowledged.
    pub before: &'a Mark,
    /// What was being done.
    pub after: &'a Mark,
}

/// What is known beforehand.
pub struct Knowledge {
    pub packages: Packages,
    pub expected: Expected,
}

/// Fails with the first thing that is wrong.
pub async fn check(knowledge: &Knowledge, root: &Path, duty: &Duty<'_>) -> Result<()> {
    let layout = Layout {
        root: root.to_owned(),
    };
    let store = start(&layout).await.context("first start")?;
    let found = look(knowledge, &layout).context("after the first start")?;
    allowed(knowledge, &found, duty)?;
    for key in found.keys() {
        if let Key::Service(..) = key {
            let (services, _) = keys(std::iter::once(key.clone()));
            // Its layers may not have come yet, or have gone.
            if has_layers(knowledge, &found, key) {
                store.read_service(&services[0]).await?;
            }
        }
    }
    store.stop().await.context("first stop")?;
    store::integrity(&layout)?;
    let first = snapshot(&layout)?;

    let store = start(&layout).await.context("second start")?;
    let second = snapshot(&layout)?;
    let differs = tree::difference(&first, &second);
    ensure!(
        differs.is_empty(),
        "the second start changes something: {differs}"
    );

    let names = again(duty);
    for name in &names {
        let package = knowledge.packages.named(name);
        match &package.info {
            Info::Service(info) => drop(store.install_service(info).await?),
            Info::Layer(info) => store.install_layer(info).await?,
        }
    }
    let installed = rows_by_key(&layout)?;
    for name in &names {
        let package = knowledge.packages.named(name);
        let row = installed.get(&package.key);
        let row = row.with_context(|| format!("{name} was installed again, and has no row"))?;
        whole(knowledge, &layout, row).context("installed again")?;
        ensure!(
            row.content == package.content,
            "{name} was installed again, and is another one"
        );
    }
    store.stop().await.context("second stop")?;
    Ok(())
}

async fn start(layout: &Layout) -> Result<Store> {
    let store = Store::start(&layout.root, TTL).await?;
    let in_use = store::rows(layout)?
        .into_iter()
        .filter(|row| !row.is_cached);
    let (services, layers) = keys(in_use.map(|row| row.key));
    store.retain(services, layers).await?;
    Ok(store)
}

fn rows_by_key(layout: &Layout) -> Result<BTreeMap<Key, Row>> {
    let rows = store::rows(layout)?.into_iter();
    Ok(rows.map(|row| (row.key.clone(), row)).collect())
}

/// Rows and directories agree, all that is there is whole, and nothing else is.
fn look(knowledge: &Knowledge, layout: &Layout) -> Result<BTreeMap<Key, String>> {
    let rows = rows_by_key(layout)?;
    let mut known = HashSet::new();
    let mut found = BTreeMap::new();
    for (key, row) in &rows {
        let name = whole(knowledge, layout, row)?;
        let path = drive::item(layout, row);
        let mut record = path.clone().into_os_string();
        record.push(".files");
        known.extend([path, PathBuf::from(record)]);
        found.insert(key.clone(), name);
    }
    for directory in [layout.services(), layout.layers().join("sha256")] {
        for path in entries(&directory)? {
            ensure!(known.contains(&path), "{} is left", path.display());
        }
    }
    for path in entries(&layout.layers())? {
        ensure!(path.ends_with("sha256"), "{} is left", path.display());
    }
    let left = entries(&layout.extract())?;
    ensure!(left.is_empty(), "{left:?} are left");
    Ok(found)
}

fn entries(directory: &Path) -> Result<Vec<PathBuf>> {
    if !directory.exists() {
        return Ok(Vec::new());
    }
    let entries = std::fs::read_dir(directory)?;
    Ok(entries
        .map(|entry| Ok(entry?.path()))
        .collect::<std::io::Result<_>>()?)
}

/// Returns the name of the package.
fn whole(knowledge: &Knowledge, layout: &Layout, row: &Row) -> Result<String> {
    let package = knowledge.packages.of(&row.key, &row.content);
    let name = package
        .with_context(|| format!("nothing like it was installed: {row:?}"))?
        .name;
    let directory = drive::item(layout, row);
    ensure!(directory.is_dir(), "{name} has a row and no directory");
    let found = tree::list(&directory)?;
    let differs = tree::difference(&knowledge.expected[name], &found);
    ensure!(differs.is_empty(), "{name} is damaged: {differs}");
    Ok(name.to_owned())
}

/// What was acknowledged is there, or what took its place by what was being done.
fn allowed(knowledge: &Knowledge, found: &BTreeMap<Key, String>, duty: &Duty<'_>) -> Result<()> {
    let by_key = |mark: &Mark| -> BTreeMap<Key, String> {
        let named = mark.there.iter();
        named
            .map(|name| (knowledge.packages.named(name).key.clone(), name.clone()))
            .collect()
    };
    let (before, after) = (by_key(duty.before), by_key(duty.after));
    let keys: BTreeSet<_> = before
        .keys()
        .chain(after.keys())
        .chain(found.keys())
        .collect();
    for key in keys {
        let (old, new, is) = (before.get(key), after.get(key), found.get(key));
        if is != old && is != new {
            bail!(
                "there is {is:?}; before `{}` there was {old:?}, after it {new:?}",
                duty.after.step
            );
        }
    }
    Ok(())
}

fn has_layers(knowledge: &Knowledge, found: &BTreeMap<Key, String>, key: &Key) -> bool {
    let needed = match found[key].as_str() {
        "web-2" => &["base", "extra"][..],
        "log-7" => &["extra"],
        _ => &["base"],
    };
    needed
        .iter()
        .all(|name| found.contains_key(&knowledge.packages.named(name).key))
}

/// What is installed again: what was being installed, and something that is there.
fn again<'a>(duty: &Duty<'a>) -> Vec<&'a String> {
    let new = duty.after.there.iter();
    let missing = new.filter(|name| !duty.before.there.contains(name));
    missing.chain(duty.after.there.first()).collect()
}

/// All rows and files.
fn snapshot(layout: &Layout) -> Result<Listing> {
    let mut all = Listing::new();
    for row in store::rows(layout)? {
        all.insert(format!("row {:?}", row.key), format!("{row:?}"));
    }
    for directory in [layout.services(), layout.layers(), layout.extract()] {
        if directory.exists() {
            let listed = tree::list(&directory)?.into_iter();
            let base = directory.display();
            all.extend(listed.map(|(path, line)| (format!("{base}/{path}"), line)));
        }
    }
    Ok(all)
}
