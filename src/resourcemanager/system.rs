//! Reading the kernel's figures.

use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use nix::sys::statvfs::statvfs;
use sysinfo::{MemoryRefreshKind, RefreshKind};
use tokio::time::Instant;

use super::usage::{CpuReading, CpuTimes, Ram, parse_stat};
use crate::config::PartitionConfig;

/// A figure cannot be had.
#[derive(Debug, thiserror::Error)]
pub(super) enum ReadError {
    /// The file cannot be read.
    #[error("cannot read {path}")]
    Read {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    /// The system does not tell.
    #[error("cannot find out how much RAM there is")]
    Memory(#[source] sysinfo::Error),
    /// The file has another form than it should have.
    #[error("cannot make sense of {path}")]
    Form { path: PathBuf },
}

/// What the node has and uses, at one moment.
#[derive(Debug)]
pub(super) struct Reading {
    pub(super) time: SystemTime,
    pub(super) cpu: CpuReading,
    pub(super) cpus: u64,
    pub(super) ram: Ram,
    /// One for each configured partition, in order.
    pub(super) spaces: Vec<Space>,
    /// What could not be read; its figures are 0.
    pub(super) errors: Vec<ReadError>,
}

/// Bytes of a partition.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Space {
    pub(super) total: u64,
    pub(super) used: u64,
}

/// Where the figures are.
#[derive(Debug)]
pub(super) struct System {
    proc: PathBuf,
    start: Instant,
    partitions: Vec<PartitionConfig>,
}

impl System {
    /// `proc` is where the proc file system is mounted.
    pub(super) fn new(proc: impl Into<PathBuf>, partitions: Vec<PartitionConfig>) -> Self {
        Self {
            proc: proc.into(),
            start: Instant::now(),
            partitions,
        }
    }

    pub(super) fn partitions(&self) -> &[PartitionConfig] {
        &self.partitions
    }

    /// Reads all figures. Blocks as long as the file systems do.
    pub(super) fn read(&self) -> Reading {
        let mut errors = Vec::new();
        let mut or_zero = |error| errors.push(error);
        let (times, cpus) =
            read_form(&self.proc.join("stat"), parse_stat).unwrap_or_else(|error| {
                or_zero(error);
                (CpuTimes::default(), 0)
            });
        let ram = ram().unwrap_or_else(|error| {
            or_zero(error);
            Ram::default()
        });
        let spaces = self
            .partitions
            .iter()
            .map(|partition| {
                space(&partition.path).unwrap_or_else(|error| {
                    or_zero(error);
                    Space::default()
                })
            })
            .collect();

        Reading {
            time: SystemTime::now(),
            cpu: CpuReading {
                at: self.start.elapsed(),
                times,
            },
            cpus,
            ram,
            spaces,
            errors,
        }
    }
}

/// What the kernel can free without swapping is not used.
fn ram() -> Result<Ram, ReadError> {
    let what = RefreshKind::nothing().with_memory(MemoryRefreshKind::nothing().with_ram());
    let system = sysinfo::System::new_with_specifics(what).map_err(ReadError::Memory)?;

    Ok(Ram {
        total: system.total_memory(),
        used: system.used_memory(),
    })
}

fn read_form<T>(path: &Path, parse: impl FnOnce(&str) -> Option<T>) -> Result<T, ReadError> {
    let text = std::fs::read_to_string(path).map_err(|source| ReadError::Read {
        path: path.to_owned(),
        source,
    })?;

    parse(&text).ok_or_else(|| ReadError::Form {
        path: path.to_owned(),
    })
}

fn space(path: &Path) -> Result<Space, ReadError> {
    let stat = statvfs(path).map_err(|errno| ReadError::Read {
        path: path.to_owned(),
        source: errno.into(),
    })?;
    let bytes = |blocks: u64| blocks.saturating_mul(stat.fragment_size());

    Ok(Space {
        total: bytes(stat.blocks()),
        used: bytes(stat.blocks().saturating_sub(stat.blocks_free())),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn partition(path: &str) -> PartitionConfig {
        PartitionConfig {
            name: "test".into(),
            types: Vec::new(),
            path: path.into(),
        }
    }

    #[test]
    fn this_machine_has_cpus_ram_and_a_root() {
        let system = System::new("/proc", vec![partition("/")]);

        let reading = system.read();

        assert!(reading.errors.is_empty(), "{:?}", reading.errors);
        assert!(reading.cpus > 0);
        assert!(reading.ram.used > 0 && reading.ram.used < reading.ram.total);
        assert!(reading.spaces[0].used <= reading.spaces[0].total);
        assert!(reading.spaces[0].total > 0);
    }

    #[test]
    fn figures_that_cannot_be_read_are_zero_with_an_error_each() {
        let system = System::new("/none", vec![partition("/none/partition"), partition("/")]);

        let reading = system.read();

        assert_eq!(reading.errors.len(), 2);
        assert_eq!((reading.cpus, reading.cpu.times), (0, CpuTimes::default()));
        assert_eq!(reading.spaces[0], Space::default());
        assert!(reading.spaces[1].total > 0);
    }
}
