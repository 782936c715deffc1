//! What was found on the machine at start, and what of it is taken over.
//!
//! What runs with the inputs that are stored for it is taken over; the rest of
//! what was found becomes a leftover, which is given back before its instance
//! starts anew. Some are looked at beside each other, since each is mostly waited
//! for.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use futures_util::{StreamExt as _, stream};
use tracing::{info, warn};

use super::event::Action;
use super::host::{Adopted, Found, Host, Order};
use super::overrides::Overrides;
use super::slot::{Slot, TakenOver};
use super::store::{Held, Stored, StoredInstance};
use crate::model::{Chain, InstanceId};

/// Instances that are looked at at a time. Each may block a thread.
const TOGETHER: usize = 16;

/// Rows of instances that are neither desired nor left on the machine.
pub(super) fn forget_traceless(stored: &Stored, found: &[Found]) -> Vec<Action> {
    let found: BTreeSet<_> = found.iter().map(|found| found.id).collect();
    let desired: BTreeSet<_> = stored
        .list
        .instances
        .iter()
        .map(|info| &info.ident)
        .collect();

    stored
        .instances
        .iter()
        .filter(|row| !found.contains(&row.id) && !desired.contains(&row.ident))
        .map(|row| Action::Forget {
            id: row.id,
            ident: Some(row.ident.clone()),
        })
        .collect()
}

/// A slot for each that was found.
pub(super) async fn adopt<H: Host>(
    host: &H,
    stored: &Stored,
    found: &[Found],
    overrides: &Overrides,
) -> Vec<(InstanceId, Slot)> {
    let rows: HashMap<_, _> = stored.instances.iter().map(|row| (row.id, row)).collect();

    let slots = found.iter().map(|each| {
        let row = rows.get(&each.id).copied();
        async move { (each.id, slot(host, *each, row, overrides).await) }
    });
    stream::iter(slots).buffered(TOGETHER).collect().await
}

async fn slot<H: Host>(
    host: &H,
    found: Found,
    row: Option<&StoredInstance>,
    overrides: &Overrides,
) -> Slot {
    let id = found.id;
    let held = row.and_then(|row| row.held.as_ref());
    let taken_over = match held.filter(|_| found.whole) {
        None => None,
        Some(held) => take_over(host, id, held, overrides)
            .await
            .inspect_err(|reason| {
                warn!(instance_id = %id, reason, "a running instance is not taken over");
            })
            .ok(),
    };
    info!(instance_id = %id, adopted = taken_over.is_some(), "found on this machine");

    Slot::found(id, row.map(|row| row.ident.clone()), taken_over)
}

async fn take_over<H: Host>(
    host: &H,
    id: InstanceId,
    held: &Held,
    overrides: &Overrides,
) -> Result<TakenOver, String> {
    let blueprint = host
        .prepare(&Order {
            id,
            info: held.info.clone(),
            service: held.service.clone(),
            variables: overrides.of(&held.info.ident),
        })
        .await
        .map_err(|error| Chain(&error).to_string())?;
    if blueprint.fingerprint != held.fingerprint {
        return Err("it was started with other inputs".to_owned());
    }
    let adopted = host
        .adopt(&blueprint)
        .await
        .map_err(|error| Chain(&error).to_string())?;
    if let Adopted::WithoutNetwork(error) = &adopted {
        warn!(instance_id = %id, error = %Chain(error),
            "a running instance is taken over without its place in the network");
    }

    Ok(TakenOver {
        blueprint: Arc::new(blueprint),
        has_network: matches!(adopted, Adopted::Wholly),
    })
}
