//! The operator's tool: shows what a service manager does, packs services and
//! layers, inspects packages, and plays the peers of a unit (CM and IAM) so that
//! a service manager can be driven by hand, by scripts and by tests.
//!
//! - [`cli`]: the command line
//! - [`inspect`]: `aosctl inspect`
//! - [`logs`]: `aosctl logs`
//! - [`pack`]: `aosctl pack`
//! - [`package_file`]: facts about packages that exist
//! - [`status`]: `aosctl status`
//! - [`mod@unit`]: `aosctl unit`
//! - [`wire`]: the generated wire types

mod cli;
mod inspect;
mod logs;
mod pack;
mod package_file;
mod status;
mod unit;
mod wire;

use std::process::ExitCode;

use clap::Parser;

use cli::{Cli, Command};

/// Exit code of an error that is not one of use.
const FAILED: u8 = 1;

fn main() -> ExitCode {
    let cli = Cli::parse();
    let outcome = match cli.command {
        Command::Pack(command) => pack::run(&command, cli.format)
            .map(|()| ExitCode::SUCCESS)
            .map_err(anyhow::Error::from),
        Command::Status(args) => status::run(&args, cli.format).map(|()| ExitCode::SUCCESS),
        Command::Logs(args) => logs::run(&args),
        Command::Inspect(args) => inspect::run(&args, cli.format).map_err(anyhow::Error::from),
        Command::Unit(command) => unit::run(command, cli.format),
    };
    outcome.unwrap_or_else(|error| {
        eprintln!("aosctl: {error:#}");
        ExitCode::from(FAILED)
    })
}
