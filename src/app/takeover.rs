//! Who takes over what of a database of release 7.2.3.

use crate::config::Config;
use crate::storage::{TakeOver, ValueKind};
use crate::{launcher, layermanager, networkmanager};

/// Values of the old configuration, and the keys that they have from then on:
/// where the alerts of the journal go on, the overridden variables as CM sent
/// them, when the cloud was last reached, and how the release numbered its
/// layout.
const VALUES: &[(&str, &str, ValueKind)] = &[
    ("cursor", "journal.cursor", ValueKind::Text),
    ("envvars", "launcher.envVars", ValueKind::Json),
    ("onlineTime", "launcher.onlineTime", ValueKind::Time),
    (
        "operationVersion",
        "takeover.operationVersion",
        ValueKind::Integer,
    ),
];

/// One step for each owner of data.
pub(super) fn steps(config: &Config) -> [TakeOver; 4] {
    [
        layermanager::take_over(config.services_dir.clone(), config.layers_dir.clone()),
        networkmanager::take_over(),
        launcher::take_over(),
        TakeOver::values(VALUES),
    ]
}
