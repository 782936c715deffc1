//! The owner of the files and of the stations.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use aos_names::NetworkNames;
use tokio::sync::watch;
use tokio::task::{AbortHandle, JoinError, JoinSet};
use tokio::time::{Instant, sleep_until};

use crate::directory::{Contents, Watch};
use crate::resolvers::Resolvers;
use crate::sockets::Sockets;
use crate::station::Station;
use crate::zones::Zones;
use crate::{log, notify};

/// First wait before a network that could not be served is tried again.
const FIRST_RETRY: Duration = Duration::from_secs(1);
/// Longest such wait.
const LAST_RETRY: Duration = Duration::from_secs(30);

/// What the server is told once.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where the service manager writes.
    pub directory: PathBuf,
    /// Files that name the host's resolvers.
    pub resolv_conf: Vec<PathBuf>,
}

impl Default for Settings {
    /// The usual places.
    fn default() -> Self {
        Self {
            directory: aos_names::DIRECTORY.into(),
            resolv_conf: vec![
                "/etc/resolv.conf".into(),
                // What systemd-resolved asks, when it is the host's resolver.
                "/run/systemd/resolve/resolv.conf".into(),
            ],
        }
    }
}

/// The name server.
#[derive(Debug)]
pub struct Server {
    settings: Settings,
    watch: Watch,
    contents: Contents,
    zones: watch::Sender<Arc<Zones>>,
    /// By the bridge's name.
    stations: BTreeMap<String, Running>,
    tasks: JoinSet<(String, io::Error)>,
    retry: Option<(Instant, Duration)>,
    /// What is wrong with networks, so that it is told once.
    faults: BTreeMap<String, String>,
}

/// A station at work.
#[derive(Debug)]
struct Running {
    /// Without the names, which change often.
    place: NetworkNames,
    task: AbortHandle,
}

enum Event {
    Changed,
    Ended(Result<(String, io::Error), JoinError>),
    RetryDue,
}

impl Server {
    /// Reads the directory, and serves what it names.
    ///
    /// # Errors
    ///
    /// None at present: what is not there is waited for.
    pub fn open(settings: Settings) -> io::Result<Self> {
        let mut server = Self {
            watch: Watch::new(&settings.directory),
            settings,
            contents: Contents::default(),
            zones: watch::Sender::default(),
            stations: BTreeMap::new(),
            tasks: JoinSet::new(),
            retry: None,
            faults: BTreeMap::new(),
        };
        server.contents.read(&server.settings.directory);

        Ok(server)
    }

    /// Runs the loop. Never ends; drop it to stop.
    pub async fn run(mut self) {
        self.settle().await;
        log::info(&format!("serving {} networks", self.stations.len()));
        notify::ready();
        loop {
            let retry = self.retry.map_or_else(Instant::now, |(due, _)| due);
            // Every branch only waits.
            let event = tokio::select! {
                () = self.watch.changed() => Event::Changed,
                Some(ended) = self.tasks.join_next() => Event::Ended(ended),
                () = sleep_until(retry), if self.retry.is_some() => Event::RetryDue,
            };
            match event {
                Event::Changed => {
                    self.contents.read(&self.settings.directory);
                    self.settle().await;
                }
                Event::Ended(Ok((bridge, error))) => {
                    self.fault(
                        bridge.clone(),
                        format!("cannot serve bridge {bridge}: {error}"),
                    );
                    self.stations.remove(&bridge);
                    self.put_off();
                }
                // One that was taken away.
                Event::Ended(Err(error)) if error.is_cancelled() => {}
                Event::Ended(Err(error)) => std::panic::resume_unwind(error.into_panic()),
                Event::RetryDue => self.settle().await,
            }
        }
    }

    /// Has a station for each network, and no others.
    async fn settle(&mut self) {
        let networks: Vec<NetworkNames> = self.contents.networks().cloned().collect();
        self.zones
            .send_replace(Arc::new(Zones::new(networks.iter().cloned())));
        let places: BTreeMap<String, NetworkNames> = networks
            .into_iter()
            .map(|names| (names.bridge.clone(), place(names)))
            .collect();

        let stale: Vec<String> = self
            .stations
            .iter()
            .filter(|(bridge, running)| places.get(*bridge) != Some(&running.place))
            .map(|(bridge, _)| bridge.clone())
            .collect();
        for bridge in stale {
            self.stop(&bridge).await;
        }
        self.faults.retain(|bridge, _| places.contains_key(bridge));
        let mut is_whole = true;
        for (bridge, place) in places {
            if !self.stations.contains_key(&bridge) {
                is_whole &= self.start(bridge, place);
            }
        }
        if is_whole {
            self.retry = None;
        } else {
            self.put_off();
        }
    }

    fn start(&mut self, bridge: String, place: NetworkNames) -> bool {
        let sockets = match Sockets::bind(&place) {
            Ok(sockets) => sockets,
            Err(error) => {
                self.fault(bridge, error.to_string());
                return false;
            }
        };

        log::info(&format!(
            "serving network {} on {}, bridge {bridge}",
            place.network, place.gateway
        ));
        self.faults.remove(&bridge);
        let resolvers = Resolvers::new(self.settings.resolv_conf.clone());
        let station = Station::new(&bridge, sockets, self.zones.subscribe(), resolvers);
        let name = bridge.clone();
        let task = self.tasks.spawn(async move { (name, station.run().await) });
        self.stations.insert(bridge, Running { place, task });
        true
    }

    /// Its sockets are closed when this returns.
    async fn stop(&mut self, bridge: &str) {
        let Some(running) = self.stations.remove(bridge) else {
            return;
        };
        log::info(&format!("no longer serving bridge {bridge} as it was"));
        running.task.abort();
        while !running.task.is_finished() {
            tokio::task::yield_now().await;
        }
    }

    fn put_off(&mut self) {
        let wait = self
            .retry
            .map_or(FIRST_RETRY, |(_, wait)| (wait * 2).min(LAST_RETRY));
        self.retry = Some((Instant::now() + wait, wait));
    }

    fn fault(&mut self, bridge: String, fault: String) {
        if self.faults.get(&bridge) != Some(&fault) {
            log::error(&format!("{fault}; it is tried again"));
        }
        self.faults.insert(bridge, fault);
    }
}

/// What tells whether sockets have to be made anew.
fn place(names: NetworkNames) -> NetworkNames {
    NetworkNames {
        dns_servers: Vec::new(),
        instances: Vec::new(),
        ..names
    }
}
