//! What was found on the machine at start, and what of it is taken over.
//!
//! What runs with the inputs that are stored for it is taken over; the rest of
//! what was found becomes a leftover, which is given back before its instance
//! starts anew. All are drawn first, and then taken over together: what is looked at
//! for one is looked at for all.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use futures_util::{StreamExt as _, stream};
use tracing::{info, warn};

use super::event::Action;
use super::host::{Adopted, Blueprint, Found, Host, Order};
use super::overrides::Overrides;
use super::slot::{Slot, TakenOver};
use super::store::{Stored, StoredInstance};
use crate::model::{Chain, InstanceId};

/// Instances that are drawn, or taken over, at a time.
const TOGETHER: usize = 256;

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

    let drawn = found.iter().map(|each| {
        let row = rows.get(&each.id).copied();
        async move { (each, row, draw(host, *each, row, overrides).await) }
    });
    let drawn: Vec<_> = stream::iter(drawn).buffered(TOGETHER).collect().await;

    let slots = drawn.into_iter().map(|(found, row, drawn)| async move {
        let id = found.id;
        let taken_over = match drawn {
            Drawn::Equal(blueprint) => take_over(host, blueprint).await,
            Drawn::Different(reason) => Err(reason),
            Drawn::Unknown => Err("it is not known, or not whole".to_owned()),
        };
        if let Err(reason) = &taken_over {
            warn!(instance_id = %id, reason, "what was found is not taken over");
        }
        info!(instance_id = %id, adopted = taken_over.is_ok(), "found on this machine");

        let ident = row.map(|row| row.ident.clone());
        (id, Slot::found(id, ident, taken_over.ok()))
    });
    stream::iter(slots).buffered(TOGETHER).collect().await
}

/// What was found, beside what is stored for it.
enum Drawn {
    /// It was started with these inputs.
    Equal(Box<Blueprint>),
    /// It runs, and cannot be taken over for this reason.
    Different(String),
    /// Nothing is stored for it, or not all of it is there.
    Unknown,
}

async fn draw<H: Host>(
    host: &H,
    found: Found,
    row: Option<&StoredInstance>,
    overrides: &Overrides,
) -> Drawn {
    let held = row.and_then(|row| row.held.as_ref());
    let Some(held) = held.filter(|_| found.whole) else {
        return Drawn::Unknown;
    };
    let order = Order {
        id: found.id,
        info: held.info.clone(),
        service: held.service.clone(),
        variables: overrides.of(&held.info.ident),
    };

    match host.prepare(&order).await {
        Ok(blueprint) if blueprint.fingerprint == held.fingerprint => {
            Drawn::Equal(Box::new(blueprint))
        }
        Ok(_) => Drawn::Different("it was started with other inputs".to_owned()),
        Err(error) => Drawn::Different(Chain(&error).to_string()),
    }
}

async fn take_over<H: Host>(host: &H, blueprint: Box<Blueprint>) -> Result<TakenOver, String> {
    let adopted = host.adopt(&blueprint).await;
    let adopted = adopted.map_err(|error| Chain(&error).to_string())?;
    if let Adopted::WithoutNetwork(error) = &adopted {
        warn!(instance_id = %blueprint.id, error = %Chain(error),
            "a running instance is taken over without its place in the network");
    }

    Ok(TakenOver {
        blueprint: Arc::from(blueprint),
        has_network: matches!(adopted, Adopted::Wholly),
    })
}
