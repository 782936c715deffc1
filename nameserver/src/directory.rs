//! The files of the service manager: read, and watched.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Read as _};
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use aos_names::{EXTENSION, LONGEST_FILE, NetworkNames};
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};
use tokio::net::unix::pipe;
use tokio::time::{Instant, sleep_until};

use crate::log;

/// How long to wait for a directory that is not there.
const ABSENT: Duration = Duration::from_secs(1);
/// Networks that are served; no node has as many.
const MOST_FILES: usize = 256;

/// What the files say, by their names.
#[derive(Debug, Default)]
pub(crate) struct Contents {
    networks: BTreeMap<String, NetworkNames>,
    /// What is wrong with files, so that it is told once.
    faults: BTreeMap<String, String>,
    /// What is wrong with the directory.
    fault: Option<String>,
}

impl Contents {
    pub(crate) fn networks(&self) -> impl Iterator<Item = &NetworkNames> {
        self.networks.values()
    }

    /// Reads the directory. What is not good leaves what was known before; a
    /// file that is gone takes its network away.
    pub(crate) fn read(&mut self, directory: &Path) {
        match list(directory) {
            Ok(files) => {
                self.fault = None;
                self.networks.retain(|name, _| files.contains_key(name));
                self.faults.retain(|name, _| files.contains_key(name));
                for (name, path) in files {
                    self.read_file(name, &path);
                }
            }
            // It may be made at any moment: that is no error.
            Err(error) => {
                let fault = format!("cannot read {}: {error}", directory.display());
                if self.fault.as_ref() != Some(&fault) {
                    log::info(&format!("{fault}; names stay as they are"));
                }
                self.fault = Some(fault);
            }
        }
    }

    fn read_file(&mut self, name: String, path: &Path) {
        let outcome = text(path).map_err(|error| error.to_string());
        let outcome = outcome.and_then(|text| {
            NetworkNames::read(&text).map_err(|error| match std::error::Error::source(&error) {
                Some(source) => format!("{error}: {source}"),
                None => error.to_string(),
            })
        });
        match outcome {
            Ok(names) => {
                self.faults.remove(&name);
                self.networks.insert(name, names);
            }
            Err(fault) => {
                if self.faults.get(&name) != Some(&fault) {
                    let path = path.display();
                    log::error(&format!(
                        "cannot use {path}: {fault}; its names stay as they are"
                    ));
                }
                self.faults.insert(name, fault);
            }
        }
    }
}

fn list(directory: &Path) -> io::Result<BTreeMap<String, PathBuf>> {
    let mut files = BTreeMap::new();
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        if path.extension().is_some_and(|end| end == EXTENSION)
            && let Some(name) = path.file_name().and_then(|name| name.to_str())
            && files.len() < MOST_FILES
        {
            files.insert(name.to_owned(), path);
        }
    }

    Ok(files)
}

/// No more than is too much.
fn text(path: &Path) -> io::Result<Vec<u8>> {
    let limit = u64::try_from(LONGEST_FILE).unwrap_or(u64::MAX);
    let mut text = Vec::new();
    fs::File::open(path)?
        .take(limit.saturating_add(1))
        .read_to_end(&mut text)?;
    Ok(text)
}

/// Tells when something in the directory has changed.
#[derive(Debug)]
pub(crate) struct Watch {
    directory: PathBuf,
    inotify: Option<pipe::Receiver>,
    /// When to look for a directory that is not watched. Kept here, as whoever
    /// waits may give up in the middle.
    look_at: Instant,
    /// Whoever waits knows that the directory is not there.
    is_told: bool,
}

impl Watch {
    pub(crate) fn new(directory: &Path) -> Self {
        Self {
            directory: directory.to_owned(),
            inotify: None,
            look_at: Instant::now(),
            is_told: false,
        }
    }

    /// Returns when the directory is to be read: it has changed, is gone, or is
    /// watched from now on. May be dropped at any time.
    pub(crate) async fn changed(&mut self) {
        loop {
            match &self.inotify {
                None => {
                    sleep_until(self.look_at).await;
                    self.look_at = Instant::now() + ABSENT;
                    match watch(&self.directory) {
                        Ok(inotify) => {
                            self.inotify = Some(inotify);
                            self.is_told = false;
                            return;
                        }
                        // It may have gone before it was ever watched.
                        Err(_) if !self.is_told => {
                            self.is_told = true;
                            return;
                        }
                        Err(_) => {}
                    }
                }
                Some(inotify) => {
                    if !next(inotify).await.unwrap_or(false) {
                        self.inotify = None;
                        self.is_told = true;
                        self.look_at = Instant::now() + ABSENT;
                    }
                    return;
                }
            }
        }
    }
}

fn watch(directory: &Path) -> io::Result<pipe::Receiver> {
    let inotify = Inotify::init(InitFlags::IN_NONBLOCK | InitFlags::IN_CLOEXEC)?;
    let changes = AddWatchFlags::IN_CLOSE_WRITE
        | AddWatchFlags::IN_MOVE
        | AddWatchFlags::IN_DELETE
        | AddWatchFlags::IN_DELETE_SELF
        | AddWatchFlags::IN_MOVE_SELF
        | AddWatchFlags::IN_ONLYDIR;
    inotify.add_watch(directory, changes)?;
    // It is read like a pipe.
    pipe::Receiver::from_owned_fd_unchecked(inotify.as_fd().try_clone_to_owned()?)
}

/// Waits for events and takes all of them. `false`: no more will come.
async fn next(inotify: &pipe::Receiver) -> io::Result<bool> {
    let mut buffer = [0; 4096];
    let mut is_watched = true;
    let mut is_any = false;
    while !is_any {
        inotify.readable().await?;
        loop {
            match inotify.try_read(&mut buffer) {
                Ok(0) => return Ok(false),
                Ok(length) => {
                    is_any = true;
                    is_watched &= !is_gone(buffer.get(..length).unwrap_or_default());
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
    }

    Ok(is_watched)
}

/// Whether one of the events, as the kernel writes them, says that the
/// directory is no longer watched, or is somewhere else.
fn is_gone(mut events: &[u8]) -> bool {
    const HEADER: usize = 16;
    let gone = (AddWatchFlags::IN_IGNORED | AddWatchFlags::IN_MOVE_SELF).bits();
    while let Some((header, rest)) = events.split_at_checked(HEADER) {
        let word = |at: usize| {
            let bytes = header.get(at..).and_then(|bytes| bytes.first_chunk());
            bytes.map_or(0, |bytes| u32::from_ne_bytes(*bytes))
        };
        if word(4) & gone != 0 {
            return true;
        }
        let name = usize::try_from(word(12)).unwrap_or(usize::MAX);
        events = rest.get(name..).unwrap_or_default();
    }

    false
}
