//! The unit configuration: what of the node is lent to instances.
//!
//! [`UnitConfigs`] is the handle, [`UnitConfigTask`] the loop behind it, the one
//! owner of the file. `format` is the file, `check` what makes it good (both
//! pure), `look` what the host has of it,
//! `provide` what an instance gets (pure), `watch` tells when to look again,
//! `store` writes it.
//!
//! The version is in the file: what is stored is in force, whatever CM was told
//! of it. A configuration that was accepted stays good when a device goes. Then
//! an alert names it, and only those who ask for the device do without.

mod check;
mod format;
mod handle;
mod look;
mod provide;
mod store;
mod task;
mod watch;

#[cfg(test)]
mod tests;

pub use handle::{UnitConfigSettings, UnitConfigs};
pub use task::UnitConfigTask;
