//! What the node has and uses.
//!
//! [`Resources`] is the handle, [`MonitorTask`] the loop behind it: it measures
//! the node each poll period, tells CM each send period, and answers a question
//! with a measurement of its own. The figures of CPU use come from the
//! difference of two readings (`usage`, pure); the loop owns the earlier ones.
//!
//! `unitconfig` is what the node lends to instances, with a handle of its own.
//!
//! A partition that cannot be measured counts as empty and is told in the log
//! once. Nothing here stops because of a failed measurement.

mod monitor;
mod system;
mod unitconfig;
mod usage;

#[cfg(test)]
mod monitor_tests;

pub use monitor::{MonitorTask, Resources};
pub use unitconfig::{UnitConfigSettings, UnitConfigTask, UnitConfigs};
