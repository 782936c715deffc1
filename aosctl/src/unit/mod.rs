//! `aosctl unit`: plays CM and IAM for a service manager.
//!
//! - [`directory`], [`certs`]: what `init` makes
//! - [`server`], [`cm`], [`iam`]: gRPC; they only pass events on
//! - [`player`]: the one owner of what goes on, with [`links`] (streams) and
//!   [`known`] (what SM has told)
//! - [`script`], [`state_file`] with [`package_source`]: what people write
//! - [`event`], [`mod@print`], [`text`]: what they read

mod certs;
mod cm;
mod directory;
mod event;
mod iam;
mod iam_router;
mod known;
mod links;
mod package_source;
mod player;
mod print;
pub(crate) mod script;
mod server;
mod state_file;
mod text;

use std::io::{self, BufRead};
use std::process::ExitCode;
use std::thread;
use std::time::Duration;

use anyhow::Context;
use tokio::runtime::Runtime;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use tokio::time::timeout;

use crate::cli::{DeployArgs, Format, Patience, RunArgs, ServeArgs, StopArgs, UnitCommand};
use directory::UnitDirectory;
use event::Stamp;
use known::{Goal, is_active};
use player::{DONE, FAILED, Manners, Order, Player, TIMED_OUT};
use print::Printer;
use script::{Command, Parts, Source};
use server::{Roles, Servers};

/// Events that wait to be printed.
const EVENT_LIMIT: usize = 1024;
/// Commands that wait to be carried out.
const ORDER_LIMIT: usize = 64;

/// Carries out `aosctl unit …`.
pub(crate) fn run(command: UnitCommand, format: Format) -> anyhow::Result<ExitCode> {
    let code = match command {
        UnitCommand::Init(args) => {
            let unit = UnitDirectory::init(&args)?;
            println!("{}", unit.config().display());
            DONE
        }
        UnitCommand::Run(args) => runtime()?.block_on(serve(args, format))?,
        UnitCommand::Deploy(DeployArgs {
            serve,
            state,
            patience,
        }) => runtime()?.block_on(deploy(Source::File(state), &serve, &patience, format))?,
        UnitCommand::Stop(StopArgs { serve, patience }) => {
            runtime()?.block_on(deploy(Source::Empty, &serve, &patience, format))?
        }
    };
    Ok(ExitCode::from(code))
}

fn runtime() -> anyhow::Result<Runtime> {
    Runtime::new().context("cannot start the asynchronous runtime")
}

async fn serve(args: RunArgs, format: Format) -> anyhow::Result<u8> {
    let roles = Roles {
        cm: !args.no_cm,
        iam: !args.serve.no_iam,
    };
    let manners = Manners {
        keep_going: args.keep_going,
        until_eof: args.until_eof,
        ..manners(&args.serve, Some(args.timeout))
    };
    let first = args.state.map(|state| send(Source::File(state)));
    let printer = Printer::new(format, Some(Box::new(io::stdout())));
    let (orders, receiver) = mpsc::channel(ORDER_LIMIT);
    let mut game = Game::start(&args.serve, roles, printer, |events, printer| {
        Player::new(
            manners,
            first.into_iter().collect(),
            receiver,
            events,
            printer,
        )
    })
    .await?;
    read_stdin(orders);
    let end = game.play().await?;
    Ok(end.unwrap_or(game.player.code()))
}

/// Sends one desired state and waits for its status.
async fn deploy(
    source: Source,
    args: &ServeArgs,
    patience: &Patience,
    format: Format,
) -> anyhow::Result<u8> {
    let roles = Roles {
        cm: true,
        iam: !args.no_iam,
    };
    let manners = Manners {
        until_eof: true,
        ..manners(args, None)
    };
    let wait = Command::Wait {
        goal: Goal::Status,
        limit: None,
    };
    let first = vec![send(source), Order::Patient(wait)];
    let events: Option<Box<dyn io::Write + Send>> = if patience.verbose {
        Some(Box::new(io::stderr()))
    } else {
        None
    };
    let printer = Printer::new(format, events);
    // Closed from the start: these are all commands.
    let (_, orders) = mpsc::channel(1);
    let mut game = Game::start(args, roles, printer, |events, printer| {
        Player::new(manners, first, orders, events, printer)
    })
    .await?;
    let end = timeout(patience.timeout, game.play()).await;
    let player = &mut game.player;
    let (result, code) = match end {
        Ok(Ok(Some(DONE))) => {
            let answer = player.known().answer().unwrap_or_default();
            if answer.iter().all(is_active) {
                ("active", DONE)
            } else {
                ("failed", FAILED)
            }
        }
        Ok(Ok(Some(code))) => return Ok(code),
        Ok(Ok(None)) => anyhow::bail!("interrupted"),
        Ok(Err(error)) => return Err(error),
        Err(_) => {
            let goal = player.waits_for().map_or_else(String::new, Goal::describe);
            eprintln!(
                "aosctl: timed out waiting for {goal}; last known: {}",
                player.known().describe()
            );
            player.leave().await?;
            ("timeout", TIMED_OUT)
        }
    };
    let answer = player.known().answer().unwrap_or_default().to_vec();
    match format {
        Format::Json => println!("{}", player.printer().result(result, &answer)),
        Format::Text if result == "timeout" => {}
        Format::Text => print!("{}", text::table(&answer)),
    }
    Ok(code)
}

fn manners(args: &ServeArgs, limit: Option<Duration>) -> Manners {
    Manners {
        node: (!args.no_iam).then(|| args.node_id.clone()),
        eager: args.eager,
        keep_going: false,
        until_eof: false,
        limit,
    }
}

fn send(source: Source) -> Order {
    Order::Patient(Command::Deploy {
        source,
        parts: Parts::ALL,
    })
}

/// Servers and the player behind them.
struct Game {
    servers: Servers,
    player: Player,
}

type PlayerEvents = mpsc::Receiver<(Stamp, cm::PeerEvent)>;

impl Game {
    async fn start(
        args: &ServeArgs,
        roles: Roles,
        mut printer: Printer,
        player: impl FnOnce(PlayerEvents, Printer) -> Player,
    ) -> anyhow::Result<Self> {
        let unit = UnitDirectory::open(&args.dir)?;
        let (events, receiver) = mpsc::channel(EVENT_LIMIT);
        let servers = Servers::start(&unit, args, roles, events).await?;
        printer.print(Stamp::now(), &servers.listening)?;
        Ok(Self {
            servers,
            player: player(receiver, printer),
        })
    }

    /// Plays to the end; without an exit code when interrupted.
    async fn play(&mut self) -> anyhow::Result<Option<u8>> {
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let code = tokio::select! {
            code = self.player.run() => Some(code.context("cannot print events")?),
            error = self.servers.ended() => return Err(error.into()),
            _ = terminate.recv() => None,
            _ = interrupt.recv() => None,
        };
        self.player.leave().await.context("cannot print events")?;
        Ok(code)
    }
}

/// Reads commands on a thread of its own, which may hang on stdin for ever.
fn read_stdin(orders: mpsc::Sender<Order>) {
    thread::spawn(move || {
        for line in io::stdin().lock().lines() {
            let Ok(line) = line else {
                return;
            };
            if orders.blocking_send(Order::Line(line)).is_err() {
                return;
            }
        }
    });
}

#[cfg(test)]
mod session_tests;
