//! The desired state, and what became of it, as values.

use std::fmt::Write as _;
use std::sync::atomic::{AtomicU32, Ordering};

use serde_json::{Value, json};

use super::lab::{Device, UNIT_DIR};
use super::service::{PackedLayer, PackedService};

/// The provider of all services, and so their network.
pub(crate) const PROVIDER: &str = "provider1";
/// Address of that network's bridge.
pub(crate) const GATEWAY: &str = "172.30.0.1";
/// The subject of all instances.
pub(crate) const SUBJECT: &str = "subject1";
/// User of all instances, in numbers that nothing else on the device has.
pub(crate) const UID: u32 = 5001;
/// Group of all services.
pub(crate) const GID: u32 = 5002;

const SUBNET: &str = "172.30.0.0/16";

static NUMBER: AtomicU32 = AtomicU32::new(0);

/// What CM wants to run; the default is nothing, not even a network.
#[derive(Clone, Debug, Default)]
pub(crate) struct State {
    services: Vec<Value>,
    layers: Vec<Value>,
    networks: Vec<Value>,
    instances: Vec<Value>,
}

impl State {
    /// No instance, but the provider's network.
    pub(crate) fn new() -> Self {
        Self {
            networks: vec![json!({"id": PROVIDER, "subnet": SUBNET, "ip": GATEWAY})],
            ..Self::default()
        }
    }

    /// One more network.
    pub(crate) fn network(mut self, id: &str, subnet: &str, gateway: &str) -> Self {
        self.networks
            .push(json!({"id": id, "subnet": subnet, "ip": gateway}));
        self
    }

    pub(crate) fn service(mut self, service: &PackedService) -> Self {
        self.services.push(service.entry.clone());
        self
    }

    pub(crate) fn layer(mut self, layer: &PackedLayer) -> Self {
        self.layers.push(layer.entry.clone());
        self
    }

    /// An instance with address `172.30.0.<host>`.
    pub(crate) fn instance(self, service: &str, index: u32, host: u8) -> Self {
        self.instance_with(service, index, host, &json!({}))
    }

    /// An instance with some values of its own.
    pub(crate) fn instance_with(
        mut self,
        service: &str,
        index: u32,
        host: u8,
        other: &Value,
    ) -> Self {
        let mut instance = json!({
            "service": service,
            "subject": SUBJECT,
            "index": index,
            "uid": UID,
            "network": {"subnet": SUBNET, "ip": address(host)},
        });
        for (key, value) in other.as_object().expect("it is an object") {
            instance[key] = value.clone();
        }
        self.instances.push(instance);
        self
    }

    /// The service with one instance of it.
    pub(crate) fn with(self, service: &PackedService, host: u8) -> Self {
        self.service(service).instance(&service.id, 0, host)
    }

    /// Names of the instances, in order.
    pub(crate) fn instance_names(&self) -> Vec<String> {
        let name = |instance: &Value| {
            let text = |key: &str| instance[key].as_str().expect("we wrote it").to_owned();
            format!(
                "{}/{}/{}",
                text("service"),
                text("subject"),
                instance["index"]
            )
        };
        let mut names: Vec<_> = self.instances.iter().map(name).collect();
        names.sort();
        names
    }

    /// Writes the file that `aosctl unit` reads; returns its path in the device.
    pub(crate) fn save(&self, device: &Device) -> String {
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let path = format!("{UNIT_DIR}/state-{number}.json");
        let state = json!({
            "services": self.services,
            "layers": self.layers,
            "networks": self.networks,
            "instances": self.instances,
        });
        device.write(&path, state.to_string());
        path
    }
}

/// The address of an instance.
pub(crate) fn address(host: u8) -> String {
    format!("172.30.0.{host}")
}

/// `SERVICE/SUBJECT/INDEX` as the states here have it.
pub(crate) fn name(service: &str, index: u32) -> String {
    format!("{service}/{SUBJECT}/{index}")
}

/// What CM was told of one instance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Status {
    /// `SERVICE/SUBJECT/INDEX`.
    pub(crate) instance: String,
    pub(crate) version: u64,
    pub(crate) run_state: String,
    /// Message and exit code.
    pub(crate) error: Option<(String, i64)>,
}

impl Status {
    /// All that an event tells; an event of another kind tells nothing.
    pub(crate) fn all_of(event: &Value) -> Vec<Self> {
        let is_status = matches!(
            event["event"].as_str(),
            Some("run_instances_status" | "update_instances_status")
        );
        let instances = event["instances"].as_array().filter(|_| is_status);
        instances.into_iter().flatten().map(Self::of).collect()
    }

    fn of(value: &Value) -> Self {
        let ident = &value["instance"];
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let mut instance = text(&ident["service_id"]);
        write!(
            instance,
            "/{}/{}",
            text(&ident["subject_id"]),
            ident["instance"]
        )
        .expect("writing to a String cannot fail");
        let error = value.get("error_info").filter(|error| !error.is_null());
        Self {
            instance,
            version: value["aos_version"].as_u64().unwrap_or_default(),
            run_state: text(&value["run_state"]),
            error: error.map(|error| {
                (
                    text(&error["message"]),
                    error["exit_code"].as_i64().unwrap_or_default(),
                )
            }),
        }
    }

    /// As CM judges: by the presence of an error.
    pub(crate) fn is_active(&self) -> bool {
        self.run_state == "active" && self.error.is_none()
    }

    /// The reason of a failure; the instance has to have failed.
    pub(crate) fn reason(&self) -> &str {
        assert_eq!(self.run_state, "failed", "{self:?}");
        &self.error.as_ref().expect("a failure has a reason").0
    }
}

/// The status of one instance of index 0.
pub(crate) fn status_of<'a>(statuses: &'a [Status], service: &str) -> &'a Status {
    let name = name(service, 0);
    let found = statuses.iter().find(|status| status.instance == name);
    found.unwrap_or_else(|| panic!("nothing told of {name}: {statuses:#?}"))
}

/// Checks the reason of each failure, and says all that is wrong with them.
pub(crate) fn assert_reasons(statuses: &[Status], expected: &[(&str, &[&str])]) {
    assert!(status_of(statuses, "good").is_active(), "{statuses:#?}");
    let mut wrong = Vec::new();
    for (service, words) in expected {
        let status = status_of(statuses, service);
        let reason = status.error.as_ref().map_or("", |error| error.0.as_str());
        let is_told = words
            .iter()
            .any(|word| reason.to_lowercase().contains(word));
        if status.run_state != "failed" || !is_told {
            wrong.push(format!(
                "{service}: {} `{reason}`, not {words:?}",
                status.run_state
            ));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
