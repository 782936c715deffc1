//! Power cuts: runs the content store under a tracer, and replays each state
//! that a cut could have left on the disk. See `docs/power-cuts.md`.
//!
//! - [`packages`], [`drive`]: what is recorded
//! - [`strace`], [`calls`], [`disk`]: from the trace to what is on the disk, and
//!   what could be missing there
//! - [`states`]: which states are tried
//! - [`materialise`], [`check`]: one state, and whether it is survived
//! - [`store`]: all calls of the library under test

mod calls;
mod check;
mod disk;
mod drive;
mod materialise;
mod packages;
mod replay;
mod states;
mod store;
mod strace;
mod tree;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

#[derive(Debug, Parser)]
#[command(name = "cuts", disable_help_subcommand = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Do what is to be recorded; to be run under strace
    Drive {
        /// Directory for packages and store
        directory: PathBuf,
    },
    /// Replay states of a trace
    Replay {
        /// Directory that `drive` was given
        directory: PathBuf,
        /// What strace wrote
        trace: PathBuf,
        /// How many states are tried
        #[arg(long, default_value_t = 300)]
        states: usize,
        /// The same number tries the same states
        #[arg(long, default_value_t = 1)]
        seed: u64,
        /// Where states are laid out; best in memory
        #[arg(long, default_value = "/dev/shm")]
        scratch: PathBuf,
    },
}

fn main() -> Result<ExitCode> {
    match Cli::parse().command {
        Command::Drive { directory } => {
            drive::drive(&directory)?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Replay {
            directory,
            trace,
            states,
            seed,
            scratch,
        } => {
            let is_well = replay::replay(&directory, &trace, states, seed, &scratch)?;
            Ok(if is_well {
                ExitCode::SUCCESS
            } else {
                ExitCode::FAILURE
            })
        }
    }
}
