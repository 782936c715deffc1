//! What is wrong: to the log, and to those outside the unit.

use std::time::SystemTime;

use tokio::sync::mpsc::error::TrySendError;
use tokio::time::Instant;
use tracing::warn;

use super::NetworkTask;
use crate::model::{Alert, AlertKind, Chain, NetworkId, Report};
use crate::networkmanager::book::Disconnected;
use crate::networkmanager::troubles::{Subject, Trouble};

/// Troubles as they are found.
pub(super) type Found = Vec<(Subject, Trouble)>;

/// A network that stays inside the node.
pub(super) fn disconnected(network: &NetworkId, fault: &Disconnected) -> (Subject, Trouble) {
    (
        Subject::Vlan(network.clone()),
        Trouble {
            text: inside_the_node(network, fault),
            alert: true,
            may_pass: fault.may_pass(),
        },
    )
}

/// What is said of a network that stays inside the node.
pub(super) fn inside_the_node(network: &NetworkId, why: &dyn std::fmt::Display) -> String {
    format!("network {network} does not reach other nodes: {why}")
}

impl NetworkTask {
    /// Notes what is wrong, all of it.
    pub(super) fn note(&mut self, mut found: Found) {
        found.extend(self.book.faults().map(|(network, fault)| {
            let text = format!("network {network} cannot be used: {}", Chain(fault));
            let trouble = Trouble {
                text,
                // Its instances get the error.
                alert: false,
                may_pass: false,
            };
            (Subject::Network(network.clone()), trouble)
        }));

        for text in self.troubles.update(found, Instant::now()) {
            warn!("{text}");
        }
        self.tell();
    }

    /// Raises the alerts whose time has come.
    pub(super) fn tell(&mut self) {
        let reports = self.settings.reports.as_ref();
        self.troubles.tell_due(Instant::now(), |text| {
            let Some(reports) = reports else {
                return true;
            };
            let alert = Alert {
                timestamp: SystemTime::now(),
                kind: AlertKind::own(text.to_owned()),
            };
            // Nobody listens any more when SM stops.
            !matches!(
                reports.try_send(Report::Alert(alert)),
                Err(TrySendError::Full(_))
            )
        });
    }
}
