//! Builds everything once, joins the ends, waits for the end.
//!
//! Order of the start: the working directory is ours, the database is open, the
//! managers run, the launcher has looked at the machine; then systemd is told
//! that we are ready, whoever of the peers is there. Order of the end: requests
//! first, so that every loop sees its input close, with a deadline. Instances
//! are left running, unless they are to end with us (`ending`).

mod ending;
mod memory;
mod overview;
mod reset;
mod status;
mod takeover;

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use anyhow::{Context, anyhow};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{mpsc, watch};
use tokio::task::{AbortHandle, JoinError, JoinSet};
use tokio::time::timeout;
use tracing::{debug, error, info, warn};

use crate::cmclient::{CmClient, CmInputs, CmSettings};
use crate::config::Config;
use crate::dispatch::Dispatch;
use crate::iamclient::{Iam, IamSettings};
use crate::launcher::{
    Launcher, LauncherEnds, LauncherTask, LinuxHost, LinuxSettings, content_in_use,
};
use crate::layermanager::{CheckSettings, Content, ContentSettings, Downloads, Users};
use crate::model::{Alert, AlertKind, Chain, Report};
use crate::networkmanager::{NetworkSettings, Networks};
use crate::resourcemanager::{Resources, UnitConfigSettings, UnitConfigs};
use crate::storage::{Database, Opened, WorkdirLock};
use crate::supervisor::{self, Check, Notifier, Wishes};
use overview::Sources;

pub use reset::reset;

/// Name of the database in the working directory.
const DATABASE: &str = "servicemanager.db";

/// What systemd is told when there is nothing to tell.
const RUNNING: &str = "running";

/// Reports that may wait for the session to take them.
const REPORTS: usize = 64;

/// Requests that may wait for the dispatcher. It never works on one for long.
const REQUESTS: usize = 64;

/// How long the loops may take to end.
const END: Duration = Duration::from_secs(5);

/// Runs the service manager until SIGTERM or SIGINT.
///
/// # Errors
///
/// When something that it cannot do without is missing, or a loop breaks down.
pub async fn run(config: Config) -> anyhow::Result<()> {
    let wishes = Wishes::from_env();
    let notifier = Notifier::new(&wishes);
    let mut terminate = signal(SignalKind::terminate()).context("cannot wait for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot wait for SIGINT")?;
    // Without us it would end the process.
    let check = signal(SignalKind::user_defined1()).context("cannot wait for SIGUSR1")?;
    let _lock = WorkdirLock::take(&config.working_dir)?;

    notifier.status("starting");
    // Nothing that is half done here has to be undone: the next start finds it.
    // Instances that are to end with us have to be known first.
    let at_once = !config.stop_instances_on_exit;
    let mut unit = tokio::select! {
        unit = Unit::start(&config, check) => unit?,
        _ = terminate.recv(), if at_once => return Ok(()),
        _ = interrupt.recv(), if at_once => return Ok(()),
    };
    notifier.ready(RUNNING);
    info!("ready");

    let outcome = tokio::select! {
        _ = terminate.recv() => Ok(()),
        _ = interrupt.recv() => Ok(()),
        ended = unit.tasks.join_next() => Err(broken(ended)),
        () = supervisor::watch(&notifier, &wishes, &unit.checks) => Ok(()),
        () = status::tell(&notifier, unit.downloads.clone(), RUNNING, status::downloads) => Ok(()),
    };

    if outcome.is_ok() {
        ending::end_instances(&unit, &config, &notifier, &wishes).await;
    } else {
        notifier.stopping("a loop broke down; instances keep running");
    }
    unit.stop().await;

    outcome
}

/// The parts that run, and how to end them.
struct Unit {
    tasks: JoinSet<&'static str>,
    checks: Vec<Check>,
    /// Ends the dispatcher and what operators are shown, and with them the
    /// inputs of all others.
    inputs: Vec<AbortHandle>,
    reports: mpsc::Sender<Report>,
    launcher: Launcher,
    host: Arc<LinuxHost>,
    downloads: watch::Receiver<Downloads>,
}

impl Unit {
    async fn start(config: &Config, check_wanted: Signal) -> anyhow::Result<Self> {
        let mut tasks = JoinSet::new();
        let (reports, outgoing) = mpsc::channel(REPORTS);
        let (request_sender, requests) = mpsc::channel(REQUESTS);

        let database = open_database(config, &reports)?;
        debug!("database is open");
        let (iam, iam_task) = Iam::start(&iam_settings(config), database.clone());
        tasks.spawn(named("IAM client", iam_task.run()));
        let settings = network_settings(config, Some(&reports));
        let (networks, network_task) = Networks::start(database.clone(), settings).await?;
        debug!("networks are restored");
        tasks.spawn(named("network manager", network_task.run()));
        let (resources, monitor) = Resources::start(config, networks.traffic(), reports.clone());
        tasks.spawn(named("resource monitor", monitor.run()));
        let (unit_configs, unit_config_task) = UnitConfigs::start(
            UnitConfigSettings::new(config),
            iam.node_info(),
            reports.clone(),
        );
        tasks.spawn(named("unit configuration", unit_config_task.run()));
        let host_settings = LinuxSettings::new(config, resources.node_facts().num_cpus);
        let run_dir = host_settings.run_dir.clone();
        let users_of = run_dir.clone();
        let users = Users::new(move || content_in_use(&users_of));
        let content = Content::start(content_settings(config, users), database.clone()).await?;

        debug!("content is known");
        let damage = content.damage();
        let (demand, demanded) = mpsc::channel(1);
        let check = content.check(CheckSettings::default(), demanded);
        let downloads = content.downloads();
        let (host, units) = LinuxHost::new(
            host_settings,
            content.clone(),
            networks.clone(),
            unit_configs.clone(),
            iam.clone(),
        )
        .await?;
        debug!("systemd is heard");
        let ends = LauncherEnds {
            units,
            damage,
            networks: networks.changes(),
            devices: unit_configs.changes(),
            iam: iam.returns(),
            reports: reports.clone(),
            update_policy: config.update_policy,
        };
        let host = Arc::new(host);
        let (launcher, launcher_task) =
            LauncherTask::start(Arc::clone(&host), database.clone(), ends).await?;
        debug!("what ran is taken over");
        if let Err(error) = networks.adopted().await {
            // Each instance that starts says so again, as its error.
            warn!(error = %Chain(&error), "the firewall is not in place");
        }
        tasks.spawn(named("launcher", launcher_task.run()));
        tasks.spawn(named("memory", memory::give_back(launcher.status())));
        tasks.spawn(named("content check", check));
        tasks.spawn(named("signal for the check", pass_on(check_wanted, demand)));

        let cm_inputs = CmInputs {
            status: launcher.status(),
            reports: outgoing,
            identity: iam.identity(),
            node_info: iam.node_info(),
            facts: resources.node_facts(),
        };
        let session = CmClient::new(cm_settings(config), cm_inputs, request_sender);
        let sources = Sources {
            started: SystemTime::now(),
            cm: session.standing(),
            iam: iam.standing(),
            node: iam.node_info(),
            launcher: launcher.clone(),
            networks: networks.clone(),
            resources: resources.clone(),
            content,
            database: config.working_dir.join(DATABASE),
            run_dir,
        };
        tasks.spawn(named("CM session", session.run()));
        let mut inputs = vec![tasks.spawn(named("status server", sources.serve()))];
        let checks = checks(&launcher, &networks, &resources, &unit_configs, &database);
        let dispatch = Dispatch::new(
            requests,
            launcher.clone(),
            networks,
            resources,
            unit_configs,
        );
        inputs.push(tasks.spawn(named("dispatcher", dispatch.run())));

        Ok(Self {
            tasks,
            checks,
            inputs,
            reports,
            launcher,
            host,
            downloads,
        })
    }

    /// Closes the inputs and waits for the loops.
    async fn stop(self) {
        let Self {
            mut tasks,
            checks,
            inputs,
            reports,
            launcher,
            host,
            ..
        } = self;
        for input in inputs {
            input.abort();
        }
        drop((checks, reports, launcher, host));

        let ended = async {
            while let Some(ended) = tasks.join_next().await {
                if let Err(error) = ended
                    && !error.is_cancelled()
                {
                    error!(%error, "a loop broke down while stopping");
                }
            }
        };
        if timeout(END, ended).await.is_err() {
            warn!("some loops did not end in {END:?}; leaving them");
        }
    }
}

/// What an older release left is taken over, and what is damaged goes aside.
fn open_database(config: &Config, reports: &mpsc::Sender<Report>) -> anyhow::Result<Database> {
    let path = config.working_dir.join(DATABASE);
    let Opened {
        database,
        set_aside,
    } = Database::open(&path, &takeover::steps(config))?;
    if let Some(path) = set_aside {
        report_damage(reports, &path);
    }

    Ok(database)
}

/// Has content checked each time that the signal comes, until nobody can.
async fn pass_on(mut signal: Signal, demand: mpsc::Sender<()>) {
    loop {
        tokio::select! {
            Some(()) = signal.recv() => match demand.try_send(()) {
                Ok(()) => info!("installed content is checked: SIGUSR1"),
                Err(_) => info!("a check is about to begin already"),
            },
            () = demand.closed() => return,
        }
    }
}

async fn named(name: &'static str, task: impl Future<Output = ()>) -> &'static str {
    task.await;
    name
}

/// A loop that ends while we run is a fault of ours: systemd starts us again,
/// and the instances run on.
fn broken(ended: Option<Result<&'static str, JoinError>>) -> anyhow::Error {
    match ended {
        Some(Ok(name)) => anyhow!("the {name} ended by itself"),
        Some(Err(error)) => anyhow!(error).context("a loop broke down"),
        None => anyhow!("no loop is left"),
    }
}

fn checks(
    launcher: &Launcher,
    networks: &Networks,
    resources: &Resources,
    unit_configs: &UnitConfigs,
    database: &Database,
) -> Vec<Check> {
    let (launcher, networks) = (launcher.clone(), networks.clone());
    let (resources, database) = (resources.clone(), database.clone());
    let unit_configs = unit_configs.clone();

    vec![
        Check::new("launcher", move || {
            let launcher = launcher.clone();
            async move { launcher.alive().await }
        }),
        Check::new("network manager", move || {
            let networks = networks.clone();
            async move { turned(networks.alive().await).await }
        }),
        Check::new("resource monitor", move || {
            let resources = resources.clone();
            async move { resources.alive().await }
        }),
        Check::new("unit configuration", move || {
            let unit_configs = unit_configs.clone();
            async move { unit_configs.alive().await }
        }),
        Check::new("database", move || {
            let database = database.clone();
            async move { turned(database.call(|_| Ok(())).await).await }
        }),
    ]
}

/// A loop that refuses to answer does not turn.
async fn turned<E>(answer: Result<(), E>) {
    if answer.is_err() {
        std::future::pending::<()>().await;
    }
}

/// The unit comes back empty, and CM has to know why.
fn report_damage(reports: &mpsc::Sender<Report>, path: &std::path::Path) {
    let message = format!(
        "the service manager's database was damaged and has been set aside as {}; \
         services are installed anew",
        path.display()
    );
    error!("{message}");
    let alert = Alert {
        timestamp: SystemTime::now(),
        kind: AlertKind::own(message),
    };
    // The channel is new and empty.
    if reports.try_send(Report::Alert(alert)).is_err() {
        error!("the alert about it is lost");
    }
}

fn cm_settings(config: &Config) -> CmSettings {
    CmSettings {
        url: config.cm_server_url.clone(),
        ca_cert: config.ca_cert.clone(),
    }
}

fn iam_settings(config: &Config) -> IamSettings {
    IamSettings {
        public_url: config.iam_public_server_url.clone(),
        protected_url: config.iam_protected_server_url.clone(),
        ca_cert: config.ca_cert.clone(),
        cert_storage: config.cert_storage.clone(),
    }
}

fn network_settings(config: &Config, reports: Option<&mpsc::Sender<Report>>) -> NetworkSettings {
    NetworkSettings {
        reports: reports.cloned(),
        hosts: config
            .hosts
            .iter()
            .map(|host| (host.ip, host.hostname.clone()))
            .collect(),
        restrict_host: config.restrict_host_access,
        poll_period: config.monitoring.poll_period,
        ..NetworkSettings::default()
    }
}

fn content_settings(config: &Config, users: Users) -> ContentSettings {
    ContentSettings {
        services_dir: config.services_dir.clone(),
        services_part_limit: config.services_part_limit,
        layers_dir: config.layers_dir.clone(),
        layers_part_limit: config.layers_part_limit,
        download_dir: config.download_dir.clone(),
        ca_cert: Some(config.ca_cert.clone()),
        extract_dir: config.extract_dir.clone(),
        service_ttl: config.service_ttl,
        layer_ttl: config.layer_ttl,
        users,
    }
}
