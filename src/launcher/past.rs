//! What is stored of instances on trial, at start.
//!
//! An instance whose new version was on trial when SM ended goes on with that, and
//! one that had gone back to the version before stays with it. So it is also when
//! nothing of the instance is left on the machine, as after a power cut: then the
//! version that was last confirmed is what comes back.

use std::sync::Arc;

use tracing::warn;

use super::host::{Blueprint, Host, Order};
use super::overrides::Overrides;
use super::plan::newest_versions;
use super::slot::{Past, Slot};
use super::store::{Held, HeldTrial, Stored, StoredInstance};
use crate::model::{Chain, InstanceId, ServiceKey};

/// Gives each slot its past. What has left nothing on the machine gets a slot if it
/// has one.
pub(super) async fn recall<H: Host>(
    host: &H,
    stored: &Stored,
    overrides: &Overrides,
    slots: &mut Vec<(InstanceId, Slot)>,
) {
    let newest = newest_versions(&stored.list);
    for row in &stored.instances {
        let Some(held) = &row.held else { continue };
        let found = slots.iter().position(|(id, _)| *id == row.id);
        let is_adopted = found.is_some_and(|at| slots[at].1.blueprint().is_some());
        let past = past_of(
            host,
            newest.get(&row.ident.service_id),
            overrides,
            row,
            held,
            is_adopted,
        )
        .await;

        match found {
            Some(at) => {
                let (id, slot) = slots.swap_remove(at);
                slots.push((id, slot.with_past(past)));
            }
            None if past.before.is_some() => {
                let slot = Slot::new(row.id, Some(row.ident.clone())).with_past(past);
                slots.push((row.id, slot));
            }
            None => {}
        }
    }
}

async fn past_of<H: Host>(
    host: &H,
    desired: Option<&ServiceKey>,
    overrides: &Overrides,
    row: &StoredInstance,
    held: &Held,
    is_adopted: bool,
) -> Past {
    let (on_trial, refused) = match &held.trial {
        None => (false, None),
        Some(HeldTrial::Runs { .. }) => (true, None),
        Some(HeldTrial::Refused(refused)) => (false, Some(refused.clone())),
    };
    // What runs and was confirmed comes back by itself.
    let before = held
        .proven()
        .filter(|own| desired.is_some_and(|desired| *desired != own.service))
        .filter(|_| on_trial || !is_adopted);

    Past {
        on_trial,
        before: match before {
            Some(before) => blueprint(host, row.id, before, overrides).await,
            None => None,
        },
        refused,
    }
}

async fn blueprint<H: Host>(
    host: &H,
    id: InstanceId,
    held: &Held,
    overrides: &Overrides,
) -> Option<Arc<Blueprint>> {
    let order = Order {
        id,
        info: held.info.clone(),
        service: held.service.clone(),
        variables: overrides.of(&held.info.ident),
    };
    match host.prepare(&order).await {
        Ok(blueprint) => Some(Arc::new(blueprint)),
        Err(error) => {
            warn!(instance_id = %id, service = %held.service, error = %Chain(&error),
                "the version before cannot come back");
            None
        }
    }
}
