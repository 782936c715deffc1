//! What lies in the directories of the host and of its instances.

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use super::LinuxSettings;
use super::lent::find_mounts;
use crate::launcher::HostError;
use crate::launcher::files::{Owner, remove_file, state_file, storage_directory};
use crate::launcher::spec::Sources;
use crate::model::{InstanceId, InstanceInfo, Provision};

/// A file or directory of an instance refuses.
#[derive(Debug, thiserror::Error)]
#[error("cannot {what} {}", path.display())]
struct FilesystemError {
    what: &'static str,
    path: PathBuf,
    #[source]
    source: io::Error,
}

/// What the instance is shown besides its image. Makes its state and storage.
pub(super) fn find_sources(
    settings: &LinuxSettings,
    bundle: &Path,
    info: &InstanceInfo,
    gid: u32,
    provision: &Provision,
) -> Result<Sources, HostError> {
    let own = |name: &str| {
        let own = settings.working_dir.join("etc").join(name);
        own.exists().then_some(own)
    };
    let hosts = |name: &str| {
        let path = Path::new("/etc").join(name);
        own(name).or_else(|| path.exists().then_some(path))
    };
    let owner = Owner { uid: info.uid, gid };
    // First: what is not there must not leave anything.
    let lent = find_mounts(provision).map_err(HostError::new)?;
    let some = |path: &str| (!path.is_empty()).then(|| path.to_owned());

    Ok(Sources {
        nsswitch: hosts("nsswitch.conf"),
        ssl: hosts("ssl"),
        hosts: own("hosts").unwrap_or_else(|| bundle.join("hosts")),
        resolv_conf: own("resolv.conf").unwrap_or_else(|| bundle.join("resolv.conf")),
        state: some(&info.state_path)
            .map(|path| state_file(&settings.state_dir, &path, owner))
            .transpose()
            .map_err(HostError::new)?,
        storage: some(&info.storage_path)
            .map(|path| storage_directory(&settings.storage_dir, &path, owner))
            .transpose()
            .map_err(HostError::new)?,
        lent,
    })
}

pub(super) fn remove_spec(bundle: &Path) -> Result<(), HostError> {
    for name in ["config.json", "hosts", "resolv.conf", "runtime.log", ".pid"] {
        let path = bundle.join(name);
        remove_file(&path).map_err(failed("remove", &path))?;
    }

    Ok(())
}

/// When the runtime last started an instance, also without SM: the time of its
/// PID file.
#[must_use]
pub fn started_at(run_dir: &Path, id: InstanceId) -> Option<SystemTime> {
    let path = run_dir
        .join(super::in_use::BUNDLES)
        .join(id.to_string())
        .join(".pid");
    fs::metadata(path).and_then(|file| file.modified()).ok()
}

pub(super) fn private_directory(parent: &Path, name: &str) -> Result<PathBuf, HostError> {
    let path = parent.join(name);
    fs::create_dir_all(parent).map_err(failed("make", parent))?;
    match DirBuilder::new().mode(0o700).create(&path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
            return Err(failed("make", &path)(error));
        }
        _ => {}
    }

    // Mounts are known by paths without links.
    path.canonicalize().map_err(failed("find", &path))
}

pub(super) fn ids_in(directory: &Path) -> Result<Vec<InstanceId>, HostError> {
    let entries = fs::read_dir(directory).map_err(failed("read", directory))?;

    Ok(entries
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .collect())
}

pub(super) fn failed(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> HostError {
    let path = path.to_owned();
    move |source| HostError::new(FilesystemError { what, path, source })
}

/// Runs work that blocks where it holds nobody up.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, HostError> + Send + 'static,
) -> Result<T, HostError> {
    tokio::task::spawn_blocking(work)
        .await
        .unwrap_or_else(|error| Err(HostError::new(error)))
}
