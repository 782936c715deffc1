//! `-reset`: the node forgets its services.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use anyhow::Context;
use tokio::sync::mpsc;
use tracing::{info, warn};

use crate::config::Config;
use crate::iamclient::Iam;
use crate::launcher::{Host, LinuxHost, LinuxSettings, Resource, Target};
use crate::layermanager::{Content, ContentSettings, Users};
use crate::model::Chain;
use crate::networkmanager::Networks;
use crate::resourcemanager::{UnitConfigSettings, UnitConfigs};
use crate::storage::{Database, WorkdirLock, copy_of_old};

/// Stops all instances and removes services, layers, database and unit
/// configuration. Storages and states stay.
///
/// # Errors
///
/// When a service manager runs on the working directory, an instance cannot be
/// stopped, or something cannot be removed. Nothing is removed before all
/// instances have stopped.
pub async fn reset(config: Config) -> anyhow::Result<()> {
    let _lock = WorkdirLock::take(&config.working_dir)?;

    stop_instances(&config).await?;

    for directory in [
        &config.services_dir,
        &config.layers_dir,
        &config.download_dir,
        &config.extract_dir,
    ] {
        remove(directory, fs::remove_dir_all)?;
    }
    for file in database_files(&config)
        .iter()
        .chain([&config.unit_config_file])
    {
        remove(file, fs::remove_file)?;
    }
    info!("reset is done; storages and states were kept");

    Ok(())
}

/// Works without the database, which may be why somebody resets.
async fn stop_instances(config: &Config) -> anyhow::Result<()> {
    let database = Database::in_memory()?;
    let (networks, task) =
        Networks::start(database.clone(), super::network_settings(config, None)).await?;
    let task = tokio::spawn(task.run());
    let (iam, _) = Iam::start(&super::iam_settings(config), database.clone());
    let content = Content::start(nowhere(config), database).await?;
    // Nothing is started, so nobody asks for it.
    let (reports, _) = mpsc::channel(1);
    let settings = UnitConfigSettings::new(config);
    let (unit_configs, _) = UnitConfigs::start(settings, iam.node_info(), reports);
    let (host, _units) = LinuxHost::new(
        LinuxSettings::new(config, 1),
        content,
        networks.clone(),
        unit_configs,
        iam,
    )
    .await?;

    for found in host.survey().await? {
        info!(instance_id = %found.id, "stopping");
        let target = Target {
            id: found.id,
            ident: None,
        };
        for resource in Resource::ACQUIRE_ORDER.into_iter().rev() {
            let released = host.release(&target, resource).await;
            released.with_context(|| format!("cannot stop instance {}", found.id))?;
        }
    }
    drop(host);
    // The bridges are empty now, and nobody will know them any more.
    networks.update(Vec::new()).await;
    drop(networks);
    if let Err(error) = task.await {
        warn!(error = %Chain(&error), "the network manager broke down");
    }

    Ok(())
}

/// The host wants a content manager, and this one must not touch what
/// instances still run on.
fn nowhere(config: &Config) -> ContentSettings {
    let directory = config.extract_dir.join("reset");

    ContentSettings {
        services_dir: directory.join("services"),
        layers_dir: directory.join("layers"),
        download_dir: directory.join("download"),
        extract_dir: directory.join("extract"),
        ..super::content_settings(config, Users::none())
    }
}

/// The database with all that is kept beside it.
fn database_files(config: &Config) -> [PathBuf; 5] {
    let at = |suffix| {
        config
            .working_dir
            .join(format!("{}{suffix}", super::DATABASE))
    };
    [
        at(""),
        at("-wal"),
        at("-shm"),
        at(".reserve"),
        copy_of_old(&at("")),
    ]
}

fn remove(path: &Path, how: fn(PathBuf) -> std::io::Result<()>) -> anyhow::Result<()> {
    match how(path.to_owned()) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot remove {}", path.display()))
        }
        Ok(()) | Err(_) => Ok(()),
    }
}
