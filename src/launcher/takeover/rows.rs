//! The old rows that make a list.

use super::network;
use crate::model::{
    InstanceId, InstanceIdent, InstanceInfo, LayerInfo, ProviderId, ServiceId, ServiceInfo,
    SubjectId, Version,
};
use crate::storage::{Nonsense, OldRelease, OldRow};

/// What the older release had installed and ran.
#[derive(Debug, Default)]
pub(super) struct Rows {
    pub(super) services: Vec<Kept<ServiceInfo>>,
    pub(super) layers: Vec<Kept<LayerInfo>>,
    pub(super) instances: Vec<(InstanceId, InstanceInfo)>,
}

/// Something installed.
#[derive(Clone, Debug)]
pub(super) struct Kept<T> {
    pub(super) info: T,
    /// It was not in use any more.
    pub(super) cached: bool,
}

pub(super) fn read(old: &OldRelease<'_>) -> rusqlite::Result<Rows> {
    Ok(Rows {
        services: old.rows("services", service)?,
        layers: old.rows("layers", layer)?,
        instances: old.rows("instances", instance)?,
    })
}

fn service(row: &OldRow) -> Result<Kept<ServiceInfo>, Nonsense> {
    Ok(Kept {
        info: ServiceInfo {
            id: ServiceId::new(row.name("id")?),
            version: version(row)?,
            provider_id: ProviderId::new(row.text("providerID")?.unwrap_or_default()),
            gid: row.number("GID")?,
            ..ServiceInfo::default()
        },
        cached: row.flag("cached")?,
    })
}

fn layer(row: &OldRow) -> Result<Kept<LayerInfo>, Nonsense> {
    Ok(Kept {
        info: LayerInfo {
            layer_id: row.text("layerId")?.unwrap_or_default(),
            digest: row.name("digest")?,
            version: version(row)?,
            ..LayerInfo::default()
        },
        cached: row.flag("cached")?,
    })
}

/// The table of services has no version of the vendor.
fn version(row: &OldRow) -> Result<Version, Nonsense> {
    Ok(Version {
        aos: row.number::<i64>("aosVersion")?.cast_unsigned(),
        vendor: row.text("vendorVersion")?.unwrap_or_default(),
        description: row.text("description")?.unwrap_or_default(),
    })
}

/// A place in the network that makes no sense is the instance's own error when
/// it starts; its id stays all the same.
fn instance(row: &OldRow) -> Result<(InstanceId, InstanceInfo), Nonsense> {
    let id = row
        .name("instanceID")?
        .parse()
        .map_err(|_| Nonsense::new("instanceID", "is no UUID"))?;
    let index: i64 = row.number("instance")?;
    if index < 0 {
        return Err(Nonsense::new("instance", "is negative"));
    }

    let info = InstanceInfo {
        ident: InstanceIdent {
            service_id: ServiceId::new(row.name("serviceID")?),
            subject_id: SubjectId::new(row.text("subjectID")?.unwrap_or_default()),
            index,
        },
        uid: row.number("uid")?,
        priority: row.integer("priority")?.unwrap_or_default().cast_unsigned(),
        storage_path: row.text("storagePath")?.unwrap_or_default(),
        state_path: row.text("statePath")?.unwrap_or_default(),
        network: row
            .bytes("network")
            .map_or_else(Default::default, |bytes| network::read(bytes, row)),
    };
    Ok((id, info))
}
