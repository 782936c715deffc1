//! The operator's tool: packs services and layers, inspects packages, and plays the peers of a
//! unit (CM and IAM) so that a service manager can be driven by hand, by
//! scripts and by tests.
//!
//! - [`cli`]: the command line
//! - [`inspect`]: `aosctl inspect`
//! - [`pack`]: `aosctl pack`
//! - [`package_file`]: facts about packages that exist
//! - [`mod@unit`]: `aosctl unit`
//! - [`wire`]: the generated wire types

mod cli;
mod inspect;
mod pack;
mod package_file;
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
        Command::Inspect(args) => inspect::run(&args, cli.format).map_err(anyhow::Error::from),
        Command::Unit(command) => unit::run(command, cli.format),
    };
    outcome.unwrap_or_else(|error| {
        eprintln!("aosctl: {error:#}");
        ExitCode::from(FAILED)
    })
}
