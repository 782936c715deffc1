//! From keys as written to a typed [`Config`].

use std::net::IpAddr;
use std::path::{Component, Path, PathBuf};
use std::time::Duration;

use regex_lite::Regex;

use super::directories::shared_directories;
use super::error::{ConfigError, Problems, Warning};
use super::file::Node;
use super::section::{Findings, Section};
use super::settings::{
    AlertRules, Config, DiskRule, HostEntry, JournalAlerts, Logging, Migration, Monitoring,
    PartitionConfig, RuleConfig, SeccompPolicy, UpdatePolicy,
};
use super::user_namespaces::{USER_NAMESPACES, user_namespaces};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);
const CERT_STORAGE: &str = "/var/aos/crypt/sm/";
const TTL_DAYS: u32 = 30;
const SERVICE_HEALTH_CHECK_TIMEOUT: Duration = Duration::from_secs(35);
const SEND_PERIOD: Duration = Duration::from_mins(1);
const POLL_PERIOD: Duration = Duration::from_secs(10);
/// Shorter periods would measure mostly themselves.
const SHORTEST_PERIOD: Duration = Duration::from_millis(100);
const MAX_PART_SIZE: u64 = 524_288;
const MAX_PART_COUNT: u64 = 20;
const SERVICE_ALERT_PRIORITY: u8 = 4;
const SYSTEM_ALERT_PRIORITY: u8 = 3;
const LOWEST_PRIORITY: u8 = 7;
const HOST_BINDS: [&str; 5] = ["bin", "sbin", "lib", "lib64", "usr"];
const MIGRATION_PATH: &str = "/usr/share/aos/servicemanager/migration";

const PATH: &str = "a path";
const HOST_AND_PORT: &str = "host:port";
const UPDATE_POLICIES: &str = "keepOld or replace";
const SECCOMP_PROFILES: &str = "default, off or the absolute path of a profile";

impl Config {
    /// Reads a configuration file.
    ///
    /// # Errors
    ///
    /// When the file cannot be read, is not JSON, or has values that cannot be
    /// used; then all of them are named.
    pub fn load(path: &Path) -> Result<(Self, Vec<Warning>), ConfigError> {
        let read = |source| ConfigError::Read {
            path: path.to_owned(),
            source,
        };
        let text = std::fs::read_to_string(path).map_err(read)?;
        let base = std::env::current_dir().map_err(read)?;
        let node = Node::parse(&text).map_err(|source| ConfigError::Syntax {
            path: path.to_owned(),
            source,
        })?;

        check(node, &base).map_err(|problems| ConfigError::Invalid {
            path: path.to_owned(),
            problems,
        })
    }
}

/// Makes the settings of a file. Relative paths start at `base`.
pub(super) fn check(node: Node, base: &Path) -> Result<(Config, Vec<Warning>), Problems> {
    let mut findings = Findings::default();
    let mut root = Section::root(node, &mut findings);
    let config = read_config(&mut root, base);
    root.finish();
    if let Some(config) = &config {
        findings.problems.extend(shared_directories(config));
    }

    match config {
        Some(config) if findings.problems.is_empty() => Ok((config, findings.warnings)),
        _ => Err(Problems(findings.problems)),
    }
}

/// `None` only with a problem added. Reads on after one, so that all are found.
fn read_config(root: &mut Section<'_>, base: &Path) -> Option<Config> {
    let working_dir = root.required("workingDir", PATH, |root| path(root, "workingDir", base));
    let ca_cert = root.required("caCert", PATH, |root| path(root, "caCert", base));
    let cm_server_url = url(root, "cmServerUrl");
    let iam_public_server_url = url(root, "iamPublicServerUrl");
    let iam_protected_server_url = url(root, "iamProtectedServerUrl");

    let below = working_dir.clone().unwrap_or_default();
    let mut directory = |key, default| path(root, key, base).unwrap_or_else(|| below.join(default));
    let storage_dir = directory("storageDir", "storages");
    let state_dir = directory("stateDir", "states");
    let services_dir = directory("servicesDir", "services");
    let layers_dir = directory("layersDir", "layers");
    let download_dir = directory("downloadDir", "download");
    let extract_dir = directory("extractDir", "extract");
    let unit_config_file = directory("unitConfigFile", "aos_unit.cfg");

    let cert_storage = root.text("certStorage").filter(|text| !text.is_empty());
    let services_part_limit = root.small("servicesPartLimit", 100).unwrap_or(0);
    let layers_part_limit = root.small("layersPartLimit", 100).unwrap_or(0);
    let remote_node = root.flag("remoteNode").unwrap_or(false);
    let runner_features = root.texts("runnerFeatures", "a text", Some);
    let service_ttl = days(root, "serviceTtlDays");
    let layer_ttl = days(root, "layerTtlDays");
    let restrict_host_access = root.flag("restrictHostAccess").unwrap_or(false);
    let stop_instances_on_exit = root.flag("stopInstancesOnExit").unwrap_or(false);
    let update_policy = root.parsed("updatePolicy", UPDATE_POLICIES, |text| update_policy(&text));
    let seccomp = root.parsed("seccompProfile", SECCOMP_PROFILES, |text| seccomp(&text));
    let user_namespaces = root.convert("userNamespaces", USER_NAMESPACES, user_namespaces);
    let service_health_check_timeout = root.duration("serviceHealthCheckTimeout", Duration::ZERO);
    let monitoring = in_object(root, "monitoring", |section| monitoring(section, base));
    let logging = in_object(root, "logging", logging);
    let journal_alerts = in_object(root, "journalAlerts", journal_alerts);
    let host_binds = host_binds(root);
    let hosts = root.objects("hosts", host);
    let migration = in_object(root, "migration", |section| {
        migration(section, base, &below)
    });

    Some(Config {
        ca_cert: ca_cert?,
        cert_storage: cert_storage.unwrap_or_else(|| CERT_STORAGE.to_owned()),
        cm_server_url: cm_server_url?,
        iam_public_server_url: iam_public_server_url?,
        iam_protected_server_url: iam_protected_server_url?,
        working_dir: working_dir?,
        storage_dir,
        state_dir,
        services_dir,
        services_part_limit,
        layers_dir,
        layers_part_limit,
        download_dir,
        extract_dir,
        remote_node,
        runner_features: runner_features.unwrap_or_default(),
        unit_config_file,
        service_ttl,
        layer_ttl,
        update_policy: update_policy.unwrap_or_default(),
        restrict_host_access,
        stop_instances_on_exit,
        seccomp: seccomp.unwrap_or_default(),
        user_namespaces: user_namespaces.unwrap_or_default(),
        service_health_check_timeout: service_health_check_timeout
            .unwrap_or(SERVICE_HEALTH_CHECK_TIMEOUT),
        monitoring,
        logging,
        journal_alerts,
        host_binds,
        hosts,
        migration,
    })
}

/// Reads an object of which everything has a default: an absent one is empty.
fn in_object<T>(section: &mut Section<'_>, key: &str, read: impl Fn(&mut Section<'_>) -> T) -> T {
    section.object(key, &read).unwrap_or_else(|| {
        let mut nothing = Findings::default();
        read(&mut Section::root(Node::Object(Vec::new()), &mut nothing))
    })
}

fn monitoring(section: &mut Section<'_>, base: &Path) -> Monitoring {
    Monitoring {
        send_period: section
            .duration("sendPeriod", SHORTEST_PERIOD)
            .unwrap_or(SEND_PERIOD),
        poll_period: section
            .duration("pollPeriod", SHORTEST_PERIOD)
            .unwrap_or(POLL_PERIOD),
        partitions: section.objects("partitions", |section| partition(section, base)),
        source: section.text("source").unwrap_or_default(),
        alert_rules: AlertRules {
            ram: section.object("ram", rule).flatten(),
            cpu: section.object("cpu", rule).flatten(),
            used_disks: section.objects("usedDisks", disk_rule),
            in_traffic: section.object("inTraffic", rule).flatten(),
            out_traffic: section.object("outTraffic", rule).flatten(),
        },
    }
}

fn partition(section: &mut Section<'_>, base: &Path) -> Option<PartitionConfig> {
    let name = name(section, "name");
    let types = section.texts("types", "a text", Some);
    let path = section.required("path", PATH, |section| path(section, "path", base));

    Some(PartitionConfig {
        name: name?,
        types: types.unwrap_or_default(),
        path: path?,
    })
}

fn rule(section: &mut Section<'_>) -> Option<RuleConfig> {
    let allowed = "a whole number from 0";
    let min_timeout = section.duration("minTimeout", Duration::ZERO);
    let min_threshold = section.required("minThreshold", allowed, |section| {
        section.number("minThreshold", 0..=u64::MAX)
    });
    let max_threshold = section.required("maxThreshold", allowed, |section| {
        section.number("maxThreshold", 0..=u64::MAX)
    });

    Some(RuleConfig {
        min_timeout: min_timeout.unwrap_or_default(),
        min_threshold: min_threshold?,
        max_threshold: max_threshold?,
    })
}

fn disk_rule(section: &mut Section<'_>) -> Option<DiskRule> {
    let name = name(section, "name");
    let rule = rule(section);

    Some(DiskRule {
        name: name?,
        rule: rule?,
    })
}

fn logging(section: &mut Section<'_>) -> Logging {
    Logging {
        max_part_size: section
            .number("maxPartSize", 1..=u64::MAX)
            .unwrap_or(MAX_PART_SIZE),
        max_part_count: section
            .number("maxPartCount", 1..=u64::MAX)
            .unwrap_or(MAX_PART_COUNT),
    }
}

fn journal_alerts(section: &mut Section<'_>) -> JournalAlerts {
    let filter = section.texts("filter", "a text", Some).unwrap_or_default();
    let (filter, useless): (Vec<_>, Vec<_>) = filter
        .into_iter()
        .partition(|text| !text.is_empty() && Regex::new(text).is_ok());
    // Release 7.2.3 skips them too. No device shall stay down for a filter.
    for text in useless {
        section.replaced(
            "filter",
            &format!("{text:?}"),
            "a regular expression",
            "nothing",
        );
    }

    JournalAlerts {
        filter,
        service_alert_priority: priority(section, "serviceAlertPriority", SERVICE_ALERT_PRIORITY),
        system_alert_priority: priority(section, "systemAlertPriority", SYSTEM_ALERT_PRIORITY),
    }
}

fn priority(section: &mut Section<'_>, key: &str, default: u8) -> u8 {
    let Some(value) = section.integer(key) else {
        return default;
    };

    match u8::try_from(value) {
        Ok(priority) if priority <= LOWEST_PRIORITY => priority,
        _ => {
            section.replaced(
                key,
                &value.to_string(),
                "a whole number from 0 to 7",
                &default.to_string(),
            );
            default
        }
    }
}

fn host_binds(section: &mut Section<'_>) -> Vec<String> {
    let names = section
        .texts("hostBinds", "the name of a directory in /", |text| {
            let mut components = Path::new(text.trim_matches('/')).components();
            match (components.next(), components.next()) {
                (Some(Component::Normal(name)), None) => name.to_str().map(str::to_owned),
                _ => None,
            }
        })
        .unwrap_or_default();
    if names.is_empty() {
        return HOST_BINDS.map(str::to_owned).to_vec();
    }

    names
}

fn host(section: &mut Section<'_>) -> Option<HostEntry> {
    let address = "an IP address";
    let ip = section.required("ip", address, |section| {
        section.parsed("ip", address, |text| text.parse::<IpAddr>().ok())
    });
    let hostname = name(section, "hostname");

    Some(HostEntry {
        ip: ip?,
        hostname: hostname?,
    })
}

fn migration(section: &mut Section<'_>, base: &Path, working_dir: &Path) -> Migration {
    Migration {
        migration_path: path(section, "migrationPath", base)
            .unwrap_or_else(|| MIGRATION_PATH.into()),
        merged_migration_path: path(section, "mergedMigrationPath", base)
            .unwrap_or_else(|| working_dir.join("mergedMigration")),
    }
}

/// An empty path is an absent one, as in release 7.2.3.
fn path(section: &mut Section<'_>, key: &str, base: &Path) -> Option<PathBuf> {
    let path = section.parsed(key, PATH, |text| {
        (!text.contains('\0')).then(|| PathBuf::from(text))
    })?;

    (!path.as_os_str().is_empty()).then(|| base.join(path))
}

/// A text of one word: it ends up in a line of a file or a label.
fn name(section: &mut Section<'_>, key: &str) -> Option<String> {
    let allowed = "a text without spaces";
    section.required(key, allowed, |section| {
        section.parsed(key, allowed, |text| {
            let word = !text.is_empty() && !text.contains(char::is_whitespace);
            word.then_some(text)
        })
    })
}

fn days(section: &mut Section<'_>, key: &str) -> Duration {
    let days: u32 = section.small(key, u32::MAX.into()).unwrap_or(TTL_DAYS);
    DAY * days
}

fn update_policy(text: &str) -> Option<UpdatePolicy> {
    match text {
        "keepOld" => Some(UpdatePolicy::KeepOld),
        "replace" => Some(UpdatePolicy::Replace),
        _ => None,
    }
}

fn seccomp(text: &str) -> Option<SeccompPolicy> {
    match text {
        "" | "default" => Some(SeccompPolicy::BuiltIn),
        "off" => Some(SeccompPolicy::Off),
        path if path.starts_with('/') => Some(SeccompPolicy::File(path.into())),
        _ => None,
    }
}

fn url(section: &mut Section<'_>, key: &str) -> Option<String> {
    section.required(key, HOST_AND_PORT, |section| {
        section.parsed(key, HOST_AND_PORT, host_and_port)
    })
}

/// As Go dials it: without a host it is the local one.
fn host_and_port(text: String) -> Option<String> {
    let (host, port) = text.rsplit_once(':')?;
    let port: u16 = port.parse().ok()?;
    let bracketed = host.starts_with('[') && host.ends_with(']');
    let well_formed = !host.contains(|c: char| c.is_whitespace() || c == '/')
        && (bracketed || !host.contains(':'));
    if port == 0 || !well_formed {
        return None;
    }

    Some(if host.is_empty() {
        format!("localhost:{port}")
    } else {
        text
    })
}
