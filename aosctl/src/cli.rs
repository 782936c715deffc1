//! The command line of `aosctl`.

use std::path::PathBuf;
use std::time::Duration;

use aos_package::Platform;
use aos_package::archive::Compression;
use clap::{Args, Parser, Subcommand, ValueEnum};

/// Where a service manager listens.
const SOCKET: &str = "/run/aos/servicemanager.sock";

/// Shows what a service manager does, packs services and layers, and plays its
/// peers.
#[derive(Debug, Parser)]
#[command(name = "aosctl", version, disable_help_subcommand = true)]
pub(crate) struct Cli {
    /// How results are printed
    #[arg(
        short = 'o',
        long = "format",
        global = true,
        value_enum,
        default_value_t = Format::Text,
        display_order = 100
    )]
    pub(crate) format: Format,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// For whom the output is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    // For people.
    #[value(alias = "table")]
    Text,
    // For programs: one object a line.
    Json,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Show what the service manager of this device does
    ///
    /// Instances, networks, content and peers. `-o json` prints the document
    /// that docs/status.md describes. Exit codes: 0 it was shown, 1 no service
    /// manager runs here, or it does not answer.
    Status(StatusArgs),
    /// Show the output of an instance, from the journal
    ///
    /// Works without the service manager for a whole instance id. The exit code
    /// is that of journalctl.
    Logs(LogsArgs),
    /// Make the package of a service or a layer; same input, same bytes
    #[command(subcommand)]
    Pack(PackCommand),
    /// Show what is in a package, check it, and tell what SM would refuse
    ///
    /// Reads packages of services and layers, OCI image layouts and what
    /// `docker save` writes. Exit codes: 0 it is whole, 1 it is damaged or
    /// would be refused.
    Inspect(InspectArgs),
    /// Play CM and IAM on loopback, with certificates of their own
    #[command(subcommand)]
    Unit(UnitCommand),
}

#[derive(Debug, Subcommand)]
pub(crate) enum PackCommand {
    /// A service: its root filesystem, how it is run, what it needs
    Service(PackServiceArgs),
    /// A layer that services share
    Layer(PackLayerArgs),
}

#[derive(Debug, Args)]
pub(crate) struct PackServiceArgs {
    /// Directory with the service's own root filesystem
    pub(crate) rootfs: PathBuf,
    /// The package
    #[arg(long, value_name = "FILE")]
    pub(crate) output: PathBuf,
    /// OCI image configuration, instead of the options that make one
    #[arg(long, value_name = "FILE",
          conflicts_with_all = ["entrypoint", "cmd", "env", "workdir", "expose", "stop_signal"])]
    pub(crate) image_config: Option<PathBuf>,
    /// A word of the entry point; repeat for each
    #[arg(long, value_name = "WORD", allow_hyphen_values = true,
          required_unless_present_any = ["image_config", "cmd"])]
    pub(crate) entrypoint: Vec<String>,
    /// A word of the command after it; repeat for each
    #[arg(long, value_name = "WORD", allow_hyphen_values = true)]
    pub(crate) cmd: Vec<String>,
    /// An environment variable; repeat for each
    #[arg(long, value_name = "NAME=VALUE", value_parser = parse_variable)]
    pub(crate) env: Vec<String>,
    /// Working directory of the service
    #[arg(long, value_name = "DIR")]
    pub(crate) workdir: Option<String>,
    /// A port that is open to the outside of the unit; repeat for each
    #[arg(long, value_name = "PORT[/tcp|/udp]", value_parser = parse_port)]
    pub(crate) expose: Vec<String>,
    /// Signal that asks the service to stop
    #[arg(long, value_name = "SIGNAL")]
    pub(crate) stop_signal: Option<String>,
    /// Aos service configuration
    #[arg(long, value_name = "FILE")]
    pub(crate) service_config: Option<PathBuf>,
    /// A shared layer, by its digest or its package; repeat for each, the
    /// top one first
    #[arg(long = "layer", value_name = "DIGEST|PACKAGE")]
    pub(crate) layers: Vec<String>,
    #[command(flatten)]
    pub(crate) compression: CompressionArgs,
}

#[derive(Debug, Args)]
pub(crate) struct PackLayerArgs {
    /// Directory with the layer's files
    pub(crate) root: PathBuf,
    /// The package
    #[arg(long, value_name = "FILE")]
    pub(crate) output: PathBuf,
    /// Version of the operating system that the layer is made for
    #[arg(long, value_name = "VERSION")]
    pub(crate) os_version: Option<String>,
    #[command(flatten)]
    pub(crate) compression: CompressionArgs,
}

#[derive(Debug, Args)]
pub(crate) struct CompressionArgs {
    /// Compress the filesystem, with gzip if no other way is given
    #[arg(long, value_enum, value_name = "HOW", num_args = 0..=1, require_equals = true,
          default_value = "none", default_missing_value = "gzip")]
    compress: Compress,
    /// The same as --compress=gzip
    #[arg(long, conflicts_with = "compress")]
    gzip: bool,
}

/// How a filesystem is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Compress {
    Gzip,
    Zstd,
    None,
}

impl CompressionArgs {
    pub(crate) fn compression(&self) -> Compression {
        match self.compress {
            _ if self.gzip => Compression::Gzip,
            Compress::Gzip => Compression::Gzip,
            Compress::Zstd => Compression::Zstd,
            Compress::None => Compression::None,
        }
    }
}

#[derive(Debug, Args)]
pub(crate) struct StatusArgs {
    /// Go on, and show each change
    #[arg(long, short)]
    pub(crate) watch: bool,
    /// Socket of the service manager
    #[arg(long, value_name = "PATH", default_value = SOCKET)]
    pub(crate) socket: PathBuf,
}

#[derive(Debug, Args)]
pub(crate) struct LogsArgs {
    /// SERVICE/SUBJECT/INDEX, or an instance id, or how one begins
    #[arg(value_name = "INSTANCE")]
    pub(crate) instance: String,
    /// Go on, and show what comes
    #[arg(long, short)]
    pub(crate) follow: bool,
    /// Only the last lines
    #[arg(long, short = 'n', value_name = "N")]
    pub(crate) lines: Option<u64>,
    /// Only from then on, as journalctl reads times: "2026-11-21 13:00", -1h
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    pub(crate) since: Option<String>,
    /// Socket of the service manager
    #[arg(long, value_name = "PATH", default_value = SOCKET)]
    pub(crate) socket: PathBuf,
}

#[derive(Debug, Args)]
pub(crate) struct InspectArgs {
    /// The package
    #[arg(value_name = "FILE")]
    pub(crate) package: PathBuf,
    /// Of an image for several platforms, the one to look at
    #[arg(long, value_name = "OS/ARCHITECTURE", value_parser = parse_platform,
          default_value_t = Platform::host())]
    pub(crate) platform: Platform,
}

#[derive(Debug, Subcommand)]
pub(crate) enum UnitCommand {
    /// Make certificates and a configuration file for the service manager
    Init(InitArgs),
    /// Serve CM and IAM, print what SM sends, obey commands from stdin
    #[command(after_help = crate::unit::script::HELP)]
    Run(RunArgs),
    /// Serve, send a desired state, wait for its status, print it, leave
    ///
    /// Exit codes: 0 all instances are active, 1 one has failed, 3 no status
    /// in time.
    Deploy(DeployArgs),
    /// Deploy nothing: all instances and networks are taken away
    Stop(StopArgs),
}

#[derive(Debug, Args)]
pub(crate) struct InitArgs {
    /// Where the files go; made when missing, files that exist are kept
    #[arg(long)]
    pub(crate) dir: PathBuf,
    /// Where CM listens [default: 127.0.0.1:8093]
    #[arg(long, value_name = "HOST:PORT")]
    pub(crate) cm: Option<String>,
    /// Where IAM's public server listens [default: 127.0.0.1:8090]
    #[arg(long, value_name = "HOST:PORT")]
    pub(crate) iam_public: Option<String>,
    /// Where IAM's protected server listens [default: 127.0.0.1:8089]
    #[arg(long, value_name = "HOST:PORT")]
    pub(crate) iam_protected: Option<String>,
    /// Working directory of SM, for its configuration file
    /// [default: /var/aos/workdirs/sm]
    #[arg(long, value_name = "DIR")]
    pub(crate) working_dir: Option<PathBuf>,
}

/// Whom to play, and as what.
#[derive(Debug, Args)]
pub(crate) struct ServeArgs {
    /// The directory that `aosctl unit init` has filled
    #[arg(long)]
    pub(crate) dir: PathBuf,
    /// The node that SM runs on
    #[arg(long, default_value = "main")]
    pub(crate) node_id: String,
    /// Its type
    #[arg(long, default_value = "main-type")]
    pub(crate) node_type: String,
    /// Leave IAM to somebody else
    #[arg(long)]
    pub(crate) no_iam: bool,
    /// Send a desired state right after SM has registered, instead of after
    /// its first RunInstancesStatus as CM does
    #[arg(long)]
    pub(crate) eager: bool,
}

#[derive(Debug, Args)]
pub(crate) struct RunArgs {
    #[command(flatten)]
    pub(crate) serve: ServeArgs,
    /// Leave CM to somebody else
    #[arg(long, conflicts_with_all = ["no_iam", "state"])]
    pub(crate) no_cm: bool,
    /// Send this desired state when SM has registered
    #[arg(long, value_name = "FILE")]
    pub(crate) state: Option<PathBuf>,
    /// Leave when stdin ends and its last command is done
    #[arg(long)]
    pub(crate) until_eof: bool,
    /// Go on after a command that failed or a wait that timed out; the first
    /// of them still decides the exit code
    #[arg(long)]
    pub(crate) keep_going: bool,
    /// How long a command waits when it does not say
    #[arg(long, value_name = "SECONDS", default_value = "60", value_parser = parse_seconds)]
    pub(crate) timeout: Duration,
}

#[derive(Debug, Args)]
pub(crate) struct DeployArgs {
    #[command(flatten)]
    pub(crate) serve: ServeArgs,
    /// The desired state
    pub(crate) state: PathBuf,
    #[command(flatten)]
    pub(crate) patience: Patience,
}

#[derive(Debug, Args)]
pub(crate) struct StopArgs {
    #[command(flatten)]
    pub(crate) serve: ServeArgs,
    #[command(flatten)]
    pub(crate) patience: Patience,
}

#[derive(Debug, Args)]
pub(crate) struct Patience {
    /// How long to wait for SM and its status
    #[arg(long, value_name = "SECONDS", default_value = "60", value_parser = parse_seconds)]
    pub(crate) timeout: Duration,
    /// Print the events on the way to stderr
    #[arg(long, short)]
    pub(crate) verbose: bool,
}

/// A number of seconds, fractions allowed.
pub(crate) fn parse_seconds(text: &str) -> Result<Duration, String> {
    text.parse()
        .ok()
        .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
        .ok_or_else(|| format!("`{text}` is not a number of seconds"))
}

fn parse_variable(text: &str) -> Result<String, String> {
    match text.split_once('=') {
        Some((name, _)) if !name.is_empty() => Ok(text.to_owned()),
        _ => Err("it is not NAME=VALUE".to_owned()),
    }
}

fn parse_platform(text: &str) -> Result<Platform, String> {
    match text.split_once('/') {
        Some((os, architecture)) if !os.is_empty() && !architecture.is_empty() => Ok(Platform {
            architecture: architecture.to_owned(),
            os: os.to_owned(),
            os_version: None,
        }),
        _ => Err("it is not OS/ARCHITECTURE, such as linux/arm64".to_owned()),
    }
}

fn parse_port(text: &str) -> Result<String, String> {
    let (port, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
    match (port.parse::<u16>(), protocol) {
        (Ok(_), "tcp" | "udp") => Ok(text.to_owned()),
        _ => Err("it is not a port, nor a port with /tcp or /udp".to_owned()),
    }
}
