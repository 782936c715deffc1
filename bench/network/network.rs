//! Attaches and detaches instances, as the network manager does it and by bare
//! calls of the kernel. Part of the benchmark of networks, see bench/README.md.

mod floor;
mod wire;

use std::io::{BufRead, Write};
use std::net::Ipv4Addr;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use aos_servicemanager::model::{FirewallRule, InstanceId, NetworkParameters};
use aos_servicemanager::networkmanager::{AttachRequest, NetworkSettings, Networks};
use aos_servicemanager::storage::Database;
use serde_json::json;
use tokio::task::JoinSet;

use self::floor::Floor;

const PROVIDER: &str = "provider";
/// Workers of the service manager.
const WORKERS: usize = 2;

/// What both sides give to an instance beyond its place.
#[derive(Clone, Copy, Debug)]
struct Rights {
    /// An exposed port, and a rule for another network.
    some: bool,
}

/// `network DIRECTORY [--rights]` does what its input says, line by line, and
/// answers each line with one of JSON:
///
/// - `ours attach FIRST COUNT`, `ours detach FIRST COUNT`: by the network
///   manager, all at once. The answer has the seconds.
/// - `floor attach FIRST COUNT`, `floor detach FIRST COUNT`: by bare calls.
/// - `settle`: the kernel finishes what it has put off.
///
/// The network namespace is the host of the network manager; the floor has
/// another one. The mount namespace is its own.
fn main() -> Result<()> {
    let mut arguments = std::env::args_os().skip(1);
    let directory = PathBuf::from(arguments.next().context("no directory")?);
    let rights = Rights {
        some: arguments.next().is_some_and(|option| option == "--rights"),
    };
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(WORKERS)
        .enable_all()
        .build()?
        .block_on(serve(&directory, rights))
}

async fn serve(directory: &Path, rights: Rights) -> Result<()> {
    let opened = Database::open(&directory.join("servicemanager.db"), &[])?;
    let (networks, task) = Networks::start(opened.database, NetworkSettings::default()).await?;
    let task = tokio::spawn(task.run());
    let parameters = NetworkParameters {
        network_id: PROVIDER.into(),
        subnet: "10.1.0.0/24".into(),
        ip: "10.1.0.1".into(),
        ..NetworkParameters::default()
    };
    networks.update(vec![parameters]).await;
    networks.adopted().await?;
    let floor = spawn_floor(directory, rights)?;

    for line in std::io::stdin().lock().lines() {
        let line = line?;
        let words: Vec<&str> = line.split(' ').collect();
        let time = match *words {
            ["ours", "attach", first, count] => {
                attach(&networks, range(first, count)?, rights).await?
            }
            ["ours", "detach", first, count] => detach(&networks, range(first, count)?).await?,
            ["floor", "attach", first, count] => floor(Job::Attach(range(first, count)?))?,
            ["floor", "detach", first, count] => floor(Job::Detach(range(first, count)?))?,
            ["settle"] => {
                // The floor's links are gone after it has waited for one more.
                let time = floor(Job::Settle)?;
                floor::wait_for_links()?;
                time
            }
            _ => bail!("not a command: {line}"),
        };
        println!("{}", json!({ "seconds": time.as_secs_f64() }));
        std::io::stdout().flush()?;
    }

    drop(networks);
    Ok(task.await?)
}

fn range(first: &str, count: &str) -> Result<Range<u8>> {
    let (first, count): (u8, u8) = (first.parse()?, count.parse()?);
    let end = first.checked_add(count).filter(|end| *end < 250);
    Ok(first..end.context("too many instances")?)
}

async fn attach(networks: &Networks, instances: Range<u8>, rights: Rights) -> Result<Duration> {
    let requests: Vec<AttachRequest> = instances.map(|n| request(n, rights)).collect();
    let start = Instant::now();
    let mut jobs = JoinSet::new();
    for request in requests {
        let networks = networks.clone();
        jobs.spawn(async move { networks.attach(request).await });
    }
    while let Some(outcome) = jobs.join_next().await {
        outcome??;
    }
    Ok(start.elapsed())
}

async fn detach(networks: &Networks, instances: Range<u8>) -> Result<Duration> {
    let start = Instant::now();
    let mut jobs = JoinSet::new();
    for n in instances {
        let networks = networks.clone();
        jobs.spawn(async move { networks.detach(id(n)).await });
    }
    while let Some(outcome) = jobs.join_next().await {
        outcome??;
    }
    Ok(start.elapsed())
}

fn id(n: u8) -> InstanceId {
    InstanceId::from_u128(u128::from(n) + 1)
}

fn address(n: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 1, 0, n + 2)
}

/// What an instance with [`Rights`] may reach.
fn other(n: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 2, 0, n + 2)
}

fn request(n: u8, rights: Rights) -> AttachRequest {
    let rule = FirewallRule {
        dst_ip: other(n).to_string(),
        dst_port: "80".into(),
        proto: "tcp".into(),
        src_ip: address(n).to_string(),
    };
    AttachRequest {
        id: id(n),
        ident: Default::default(),
        network: NetworkParameters {
            subnet: "10.1.0.0/24".into(),
            ip: address(n).to_string(),
            rules: if rights.some { vec![rule] } else { Vec::new() },
            ..NetworkParameters::default()
        },
        provider_id: PROVIDER.into(),
        hostname: Some(format!("service-{n}")),
        extra_hosts: Vec::new(),
        exposed_ports: if rights.some {
            vec!["80/tcp".into()]
        } else {
            Vec::new()
        },
        speeds: Default::default(),
        limits: Default::default(),
    }
}

#[derive(Debug)]
enum Job {
    Attach(Range<u8>),
    Detach(Range<u8>),
    Settle,
}

/// The floor, in a thread with a host of its own, whose tables are a copy of
/// those that the network manager has made by now, but for the rules.
fn spawn_floor(directory: &Path, rights: Rights) -> Result<impl Fn(Job) -> Result<Duration>> {
    let tables = directory.join("tables.nft");
    let listed = Command::new("nft").args(["list", "ruleset"]).output()?;
    ensure!(listed.status.success(), "cannot list the tables");
    // `nft` does not read again what it prints of all rules. They are not looked
    // at when elements come and go; all of them have comments, and no set has.
    let listed = String::from_utf8(listed.stdout)?;
    let sets = listed.lines().filter(|line| !line.contains(" comment "));
    std::fs::write(&tables, sets.collect::<Vec<_>>().join("\n"))?;

    let names = directory.join("floor");
    let (jobs, wanted) = mpsc::sync_channel::<Job>(1);
    let (results, outcomes) = mpsc::sync_channel(1);
    thread::Builder::new().name("floor".into()).spawn(move || {
        let mut floor = match Floor::open(&names, &tables, rights) {
            Ok(floor) => floor,
            Err(error) => return drop(results.send(Err(error))),
        };
        for job in wanted {
            let outcome = match job {
                Job::Attach(instances) => floor.attach(instances),
                Job::Detach(instances) => floor.detach(instances),
                Job::Settle => floor.settle(),
            };
            if results.send(outcome).is_err() {
                break;
            }
        }
    })?;

    Ok(move |job| {
        // If it has ended, the outcome says why.
        drop(jobs.send(job));
        outcomes.recv().context("the floor has ended")?
    })
}
