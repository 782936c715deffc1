//! The daemon.

use std::process::ExitCode;

use aos_servicemanager::app;
use aos_servicemanager::arguments::{self, Command, HELP, Settings};
use aos_servicemanager::config::Config;
use aos_servicemanager::model::Chain;
use aos_servicemanager::telemetry;
use tokio::runtime::{Builder, Runtime};
use tracing::warn;

/// Exit status for a command line that cannot be used.
const USAGE: u8 = 2;

/// The work is waiting for others: two workers are enough for any device.
const WORKERS: usize = 2;

/// Threads for what blocks. What is done in them is bounded where it is begun; this
/// is for the unforeseen.
const BLOCKING: usize = 64;

/// Bytes. Half of the default; nothing recurses deeply.
const STACK: usize = 1 << 20;

fn main() -> ExitCode {
    match arguments::parse(std::env::args_os().skip(1)) {
        Ok(Command::Help) => print!("{HELP}"),
        Ok(Command::Version) => println!("Version: {}", env!("CARGO_PKG_VERSION")),
        Ok(Command::Run(settings)) => return outcome(run(&settings, app::run)),
        Ok(Command::Reset(settings)) => return outcome(run(&settings, app::reset)),
        Err(error) => {
            eprintln!("aos_servicemanager: {error}");
            return ExitCode::from(USAGE);
        }
    }

    ExitCode::SUCCESS
}

/// One line that says what failed and what to do.
fn outcome(result: anyhow::Result<()>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("aos_servicemanager: {}", Chain(&*error));
            ExitCode::FAILURE
        }
    }
}

/// Does `work` with the configuration.
fn run<W>(settings: &Settings, work: impl FnOnce(Config) -> W) -> anyhow::Result<()>
where
    W: Future<Output = anyhow::Result<()>>,
{
    let (config, warnings) = Config::load(&settings.config)?;
    telemetry::init(settings.level, settings.journal)?;
    for warning in warnings {
        warn!("{warning}");
    }

    let runtime = runtime()?;
    let result = runtime.block_on(work(config));
    // What still blocks a thread must not hold up the end.
    runtime.shutdown_background();

    result
}

fn runtime() -> std::io::Result<Runtime> {
    Builder::new_multi_thread()
        .worker_threads(WORKERS)
        .max_blocking_threads(BLOCKING)
        .thread_stack_size(STACK)
        .thread_name("worker")
        .enable_all()
        .build()
}
