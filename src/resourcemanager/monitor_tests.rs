use std::fs;
use std::path::Path;
use std::time::{Duration, SystemTime};

use tempfile::TempDir;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, timeout};

use super::Resources;
use super::monitor::MonitorTask;
use super::system::System;
use crate::config::{Config, PartitionConfig};
use crate::model::{Flow, NodeMonitoring, Report, Traffic};

fn config(partitions: &[&str]) -> Config {
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("misc/config/aos_servicemanager.cfg");
    let (mut config, _) = Config::load(&example).unwrap();
    config.monitoring.poll_period = Duration::from_secs(10);
    config.monitoring.send_period = Duration::from_mins(1);
    config.monitoring.partitions = partitions
        .iter()
        .map(|path| PartitionConfig {
            name: format!("of {path}"),
            types: vec!["services".into()],
            path: path.into(),
        })
        .collect();
    config
}

/// A proc file system with figures that the test chooses.
struct Node {
    proc: TempDir,
    traffic: watch::Sender<Traffic>,
}

impl Node {
    fn new() -> Self {
        let node = Self {
            proc: tempfile::tempdir().unwrap(),
            traffic: watch::Sender::default(),
        };
        node.cpu(0, 0);
        node
    }

    fn cpu(&self, busy: u64, idle: u64) {
        let stat = format!("cpu  {busy} 0 0 {idle}\ncpu0 0 0 0 0\ncpu1 0 0 0 0\n");
        fs::write(self.proc.path().join("stat"), stat).unwrap();
    }

    fn counts(&self, received: u64, sent: u64) {
        self.traffic.send_replace(Traffic {
            node: Flow { received, sent },
            ..Traffic::default()
        });
    }

    fn start(&self, config: &Config) -> (Resources, MonitorTask, mpsc::Receiver<Report>) {
        let (reports, sent) = mpsc::channel(1);
        let system = System::new(self.proc.path(), config.monitoring.partitions.clone());
        let traffic = self.traffic.subscribe();
        let (resources, task) = Resources::start_on(system, config, traffic, reports);
        (resources, task, sent)
    }
}

fn monitoring(report: Option<Report>) -> NodeMonitoring {
    match report {
        Some(Report::Monitoring(monitoring)) => monitoring,
        other => panic!("no monitoring: {other:?}"),
    }
}

#[tokio::test(start_paused = true)]
async fn facts_are_those_of_the_node_and_the_configuration() {
    let node = Node::new();
    let (resources, _task, _sent) = node.start(&config(&["/"]));

    let facts = resources.node_facts();

    assert_eq!(facts.num_cpus, 2);
    assert!(facts.total_ram > 0);
    assert_eq!(facts.runner_features, ["crun"]);
    assert_eq!(facts.partitions[0].name, "of /");
    assert_eq!(facts.partitions[0].types, ["services"]);
    assert!(facts.partitions[0].total_size > 0);
}

#[tokio::test(start_paused = true)]
async fn first_answer_is_fresh_and_counts_from_the_start() {
    let node = Node::new();
    let (resources, task, _sent) = node.start(&config(&["/"]));
    tokio::spawn(task.run());
    node.cpu(30, 70);

    let before = SystemTime::now();
    let usage = resources.node_monitoring().await;

    assert!(usage.timestamp >= before);
    assert_eq!(usage.node.cpu, 30);
    assert!(usage.node.ram > 0);
    assert!(usage.node.disks[0].used_size > 0);
}

#[tokio::test(start_paused = true)]
async fn questions_do_not_disturb_the_figures_that_are_sent() {
    let node = Node::new();
    let mut config = config(&[]);
    config.monitoring.send_period = Duration::from_secs(10);
    let (resources, task, mut sent) = node.start(&config);
    tokio::spawn(task.run());
    node.cpu(10, 90);
    assert_eq!(resources.node_monitoring().await.node.cpu, 10);
    node.cpu(100, 100);

    let report = monitoring(sent.recv().await);

    assert_eq!(report.node.cpu, 50);
}

#[tokio::test(start_paused = true)]
async fn each_report_counts_from_the_poll_before() {
    let node = Node::new();
    let mut config = config(&[]);
    config.monitoring.send_period = Duration::from_secs(10);
    let (_resources, task, mut sent) = node.start(&config);
    tokio::spawn(task.run());
    node.cpu(100, 0);

    let first = monitoring(sent.recv().await);
    node.cpu(100, 100);
    let second = monitoring(sent.recv().await);

    assert_eq!((first.node.cpu, second.node.cpu), (100, 0));
}

#[tokio::test(start_paused = true)]
async fn figures_are_sent_each_send_period() {
    let node = Node::new();
    let (_resources, task, mut sent) = node.start(&config(&[]));
    tokio::spawn(task.run());
    let start = Instant::now();

    monitoring(sent.recv().await);
    let first = start.elapsed();
    monitoring(sent.recv().await);

    assert_eq!(first, Duration::from_mins(1));
    assert_eq!(start.elapsed(), Duration::from_mins(2));
}

#[tokio::test(start_paused = true)]
async fn send_period_below_the_poll_period_still_sends() {
    let node = Node::new();
    let mut config = config(&[]);
    config.monitoring.send_period = Duration::from_secs(1);
    let (_resources, task, mut sent) = node.start(&config);
    tokio::spawn(task.run());

    let report = timeout(Duration::from_millis(1500), sent.recv()).await;

    monitoring(report.unwrap());
}

#[tokio::test(start_paused = true)]
async fn reports_that_nobody_takes_do_not_stop_the_loop() {
    let node = Node::new();
    let (resources, task, sent) = node.start(&config(&[]));
    tokio::spawn(task.run());

    tokio::time::sleep(Duration::from_mins(10)).await;
    timeout(Duration::from_secs(1), resources.alive())
        .await
        .unwrap();
    drop(sent);
    tokio::time::sleep(Duration::from_mins(10)).await;

    timeout(Duration::from_secs(1), resources.alive())
        .await
        .unwrap();
}

#[tokio::test(start_paused = true)]
async fn traffic_of_the_node_is_what_was_counted_last() {
    let node = Node::new();
    let (resources, task, mut sent) = node.start(&config(&[]));
    tokio::spawn(task.run());
    let traffic = |monitoring: NodeMonitoring| {
        let usage = monitoring.node;
        (usage.in_traffic, usage.out_traffic)
    };

    assert_eq!(traffic(resources.node_monitoring().await), (0, 0));
    node.counts(12, 34);
    assert_eq!(traffic(resources.node_monitoring().await), (12, 34));
    assert_eq!(traffic(monitoring(sent.recv().await)), (12, 34));
    node.counts(0, 1);

    assert_eq!(traffic(monitoring(sent.recv().await)), (0, 1));
}

#[tokio::test(start_paused = true)]
async fn traffic_that_nobody_counts_any_more_is_told_as_it_was() {
    let node = Node::new();
    let (resources, task, _sent) = node.start(&config(&[]));
    tokio::spawn(task.run());
    node.counts(12, 34);
    drop(node.traffic);

    let usage = resources.node_monitoring().await.node;

    assert_eq!((usage.in_traffic, usage.out_traffic), (12, 34));
}

#[tokio::test(start_paused = true)]
async fn partition_that_does_not_exist_counts_as_empty() {
    let node = Node::new();
    let (resources, task, _sent) = node.start(&config(&["/none/here", "/"]));
    tokio::spawn(task.run());

    let usage = resources.node_monitoring().await;

    assert_eq!(resources.node_facts().partitions[0].total_size, 0);
    assert_eq!(usage.node.disks[0].used_size, 0);
    assert!(usage.node.disks[1].used_size > 0);
}

#[tokio::test(start_paused = true)]
async fn loop_ends_with_its_last_handle() {
    let node = Node::new();
    let (resources, task, _sent) = node.start(&config(&[]));
    let running = tokio::spawn(task.run());

    drop(resources);

    running.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn after_the_end_of_the_loop_nothing_is_alive_and_nothing_is_used() {
    let node = Node::new();
    let (resources, task, _sent) = node.start(&config(&[]));
    drop(task);

    let alive = timeout(Duration::from_mins(1), resources.alive()).await;

    assert!(alive.is_err());
    assert_eq!(resources.node_monitoring().await.node.cpu, 0);
}
