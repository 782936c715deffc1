//! Tells when a device or the list of groups may have changed.
//!
//! The kernel tells of each name that comes and goes in the directories that lead
//! to the devices of the configuration. `/dev` is busy: what is of no interest
//! wakes nobody up, and what comes in a burst is told once.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::fs;
use std::io;
use std::os::fd::AsFd as _;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};
use tokio::net::unix::pipe;
use tokio::time::{Instant, sleep_until};
use tracing::warn;

use super::check;
use super::format::UnitConfig;
use super::look::Places;

/// A burst is over after so long without news.
const QUIET: Duration = Duration::from_millis(50);
/// A burst is told of after so long, even if it goes on.
const LONGEST: Duration = Duration::from_millis(500);
/// Directories that are watched at the most.
const MOST: usize = 512;
/// Links that are followed one after the other.
const LINKS: usize = 8;

/// What is watched, and what came of it.
#[derive(Debug, Default)]
pub(super) struct Watch {
    kernel: Option<Kernel>,
    burst: Option<Burst>,
}

#[derive(Debug)]
struct Kernel {
    /// It is read like a pipe.
    inotify: pipe::Receiver,
    /// Names that matter, in whatever directory.
    names: BTreeSet<OsString>,
}

#[derive(Clone, Copy, Debug)]
struct Burst {
    /// When it is told of at the latest.
    until: Instant,
    /// When it is over, unless there is more.
    quiet: Instant,
}

impl Watch {
    /// Watches what matters to this configuration, and nothing else. What comes
    /// after this returned is told.
    pub(super) fn rearm(&mut self, config: Option<&UnitConfig>, places: &Places) {
        self.kernel = None;
        let directories = config.map_or_else(BTreeMap::new, |config| directories(config, places));
        if directories.is_empty() {
            return;
        }
        match Kernel::new(&directories) {
            Ok(kernel) => self.kernel = Some(kernel),
            Err(error) => {
                warn!(%error, "devices that come and go are noticed only when they are needed");
            }
        }
    }

    /// Returns when it is worth while to look again. Without anything to watch it
    /// waits for ever.
    ///
    /// Cancel safe.
    pub(super) async fn changed(&mut self) {
        loop {
            let due = self.burst.map(|burst| burst.quiet.min(burst.until));
            let news = tokio::select! {
                biased;
                () = sleep_for(due) => {
                    self.burst = None;
                    return;
                }
                news = next(self.kernel.as_ref()) => news,
            };
            let now = Instant::now();
            match news {
                Ok(false) => {}
                Ok(true) => {
                    let until = self.burst.map_or(now + LONGEST, |burst| burst.until);
                    let quiet = now + QUIET;
                    self.burst = Some(Burst { until, quiet });
                }
                Err(error) => {
                    warn!(%error, "the watch of the devices broke down, and is set up again");
                    self.kernel = None;
                    let until = now + LONGEST;
                    self.burst = Some(Burst {
                        until,
                        quiet: until,
                    });
                }
            }
        }
    }
}

impl Kernel {
    fn new(directories: &BTreeMap<PathBuf, BTreeSet<OsString>>) -> io::Result<Self> {
        let inotify = Inotify::init(InitFlags::IN_NONBLOCK | InitFlags::IN_CLOEXEC)?;
        let changes = AddWatchFlags::IN_CREATE
            | AddWatchFlags::IN_DELETE
            | AddWatchFlags::IN_MOVE
            | AddWatchFlags::IN_CLOSE_WRITE
            | AddWatchFlags::IN_ONLYDIR;
        if directories.len() > MOST {
            warn!(
                directories = directories.len(),
                watched = MOST,
                "devices lie in more directories than are watched"
            );
        }
        for directory in directories.keys().take(MOST) {
            match inotify.add_watch(directory, changes) {
                // It went meanwhile: the one above tells when it is back.
                Ok(_) | Err(Errno::ENOENT | Errno::ENOTDIR) => {}
                Err(errno) => return Err(errno.into()),
            }
        }

        Ok(Self {
            inotify: pipe::Receiver::from_owned_fd_unchecked(
                inotify.as_fd().try_clone_to_owned()?,
            )?,
            names: directories.values().flatten().cloned().collect(),
        })
    }

    /// Whether any of the events, as the kernel writes them, matters.
    fn matters(&self, mut events: &[u8]) -> bool {
        const HEADER: usize = 16;
        let lost = (AddWatchFlags::IN_IGNORED | AddWatchFlags::IN_Q_OVERFLOW).bits();
        while let Some((header, rest)) = events.split_at_checked(HEADER) {
            let word = |at: usize| {
                let bytes = header.get(at..).and_then(|bytes| bytes.first_chunk());
                bytes.map_or(0, |bytes| u32::from_ne_bytes(*bytes))
            };
            let (mask, length) = (word(4), word(12));
            let length = usize::try_from(length)
                .unwrap_or(usize::MAX)
                .min(rest.len());
            let (name, rest) = rest.split_at(length);
            // It is filled up with zeros.
            let end = name.iter().position(|byte| *byte == 0);
            let name = OsStr::from_bytes(name.get(..end.unwrap_or(length)).unwrap_or_default());
            if mask & lost != 0 || self.names.contains(name) {
                return true;
            }
            events = rest;
        }
        false
    }
}

/// Takes what the kernel has to tell. Whether any of it matters.
async fn next(kernel: Option<&Kernel>) -> io::Result<bool> {
    let Some(kernel) = kernel else {
        return std::future::pending().await;
    };
    let mut buffer = [0; 4096];
    kernel.inotify.readable().await?;
    match kernel.inotify.try_read(&mut buffer) {
        Ok(length) => Ok(kernel.matters(buffer.get(..length).unwrap_or_default())),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(false),
        Err(error) => Err(error),
    }
}

async fn sleep_for(due: Option<Instant>) {
    match due {
        Some(due) => sleep_until(due).await,
        None => std::future::pending().await,
    }
}

/// The directories that lead to the devices, links followed, each with the names
/// in it that matter.
fn directories(config: &UnitConfig, places: &Places) -> BTreeMap<PathBuf, BTreeSet<OsString>> {
    let mut found = Directories::default();
    for entry in &config.devices {
        let Ok(device) = check::device(entry) else {
            continue;
        };
        for node in &device.host_devices {
            found.lead_to(&places.dev, &places.device(&node.host), LINKS);
        }
    }
    let mut groups = config.devices.iter().map(|entry| &entry.groups);
    let mut others = config.resources.iter().map(|entry| &entry.groups);
    let names_groups = |groups: &Vec<String>| !groups.is_empty();
    if (groups.any(names_groups) || others.any(names_groups))
        && let (Some(directory), Some(name)) = (places.group.parent(), places.group.file_name())
    {
        found.add(directory, name.to_owned());
    }

    found.0
}

#[derive(Debug, Default)]
struct Directories(BTreeMap<PathBuf, BTreeSet<OsString>>);

impl Directories {
    fn add(&mut self, directory: &Path, name: OsString) {
        self.0.entry(directory.to_owned()).or_default().insert(name);
    }

    /// From `base` on downwards. What is not below it is not watched.
    fn lead_to(&mut self, base: &Path, path: &Path, links: usize) {
        let Ok(below) = path.strip_prefix(base) else {
            return;
        };
        let mut directory = base.to_owned();
        let mut parts = below.components();
        while let Some(part) = parts.next() {
            self.add(&directory, part.as_os_str().to_owned());
            let next = directory.join(part);
            match fs::read_link(&next) {
                Ok(target) if links > 0 => {
                    let target = plain(&directory.join(target)).join(parts.as_path());
                    self.lead_to(base, &target, links - 1);
                    return;
                }
                _ if next.is_dir() => directory = next,
                _ => return,
            }
        }
    }
}

/// Without `.` and `..`, by the names alone.
fn plain(path: &Path) -> PathBuf {
    let mut plain = PathBuf::new();
    for part in path.components() {
        match part {
            std::path::Component::ParentDir => {
                plain.pop();
            }
            std::path::Component::CurDir => {}
            part => plain.push(part),
        }
    }
    plain
}
