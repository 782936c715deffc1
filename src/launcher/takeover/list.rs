//! From old rows to the desired list. Pure.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use tracing::warn;

use super::rows::{Kept, Rows};
use crate::model::{DesiredState, InstanceId, InstanceIdent, ServiceId, ServiceInfo};

/// The list, and the id of each instance. Higher priorities come first, as CM
/// sends them.
pub(super) fn desired(rows: Rows) -> (DesiredState, BTreeMap<InstanceIdent, InstanceId>) {
    let mut ids = BTreeMap::new();
    let mut instances = Vec::with_capacity(rows.instances.len());
    for (id, info) in rows.instances {
        if ids.contains_key(&info.ident) {
            warn!(instance_id = %id, ident = %info.ident, "the older release knew it twice: left out");
            continue;
        }
        ids.insert(info.ident.clone(), id);
        instances.push(info);
    }
    instances.sort_by(|a, b| (Reverse(a.priority), &a.ident).cmp(&(Reverse(b.priority), &b.ident)));

    let wanted: BTreeSet<_> = ids.keys().map(|ident| &ident.service_id).collect();
    let list = DesiredState {
        services: in_use(&rows.services, &wanted),
        layers: rows
            .layers
            .into_iter()
            .filter(|layer| !layer.cached)
            .map(|layer| layer.info)
            .collect(),
        instances,
        force_restart: false,
    };
    (list, ids)
}

/// What is not cached. A service that instances need and that is only cached was
/// being replaced when the new version could not be installed: its newest one
/// goes on.
fn in_use(services: &[Kept<ServiceInfo>], wanted: &BTreeSet<&ServiceId>) -> Vec<ServiceInfo> {
    let mut used: Vec<_> = services
        .iter()
        .filter(|service| !service.cached)
        .map(|service| service.info.clone())
        .collect();

    for id in wanted {
        if used.iter().any(|service| service.id == **id) {
            continue;
        }
        let cached = services.iter().filter(|service| service.info.id == **id);
        match cached.max_by_key(|service| service.info.version.aos) {
            Some(newest) => {
                warn!(service = %newest.info.key(), "it was only cached; its instances use it again");
                used.push(newest.info.clone());
            }
            None => warn!(service = %id, "its instances are known, and it is not installed"),
        }
    }
    used.sort_by_key(ServiceInfo::key);

    used
}
