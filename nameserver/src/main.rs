//! Starts the name server.

use std::process::ExitCode;

use aos_nameserver::arguments::{self, Command};
use aos_nameserver::{Server, Settings, log};
use tokio::signal::unix::{SignalKind, signal};

fn main() -> ExitCode {
    let settings = match arguments::parse(std::env::args_os().skip(1)) {
        Ok(Command::Run(directory)) => Settings {
            directory,
            ..Settings::default()
        },
        Ok(Command::Print(text)) => {
            log::print(text);
            return ExitCode::SUCCESS;
        }
        Err(error) => {
            log::error(&error.to_string());
            return ExitCode::from(2);
        }
    };

    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let outcome = runtime.and_then(|runtime| {
        runtime.block_on(async {
            let mut terminate = signal(SignalKind::terminate())?;
            let mut interrupt = signal(SignalKind::interrupt())?;
            let server = Server::open(settings)?;
            tokio::select! {
                () = server.run() => {}
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            Ok(())
        })
    });

    match outcome {
        Ok(()) => {
            log::info("stopped by a signal");
            ExitCode::SUCCESS
        }
        Err(error) => {
            log::error(&format!("cannot start: {error}"));
            ExitCode::FAILURE
        }
    }
}
