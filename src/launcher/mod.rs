//! From desired to running.
//!
//! The launcher stores the desired list, has its content installed, and makes
//! the instances on the machine equal to it. It decides in pure code
//! (`state`, `slot`, `instance`, `plan`); everything that touches the machine
//! is behind [`Host`]. `task` is the loop, `executor` carries out and brings
//! the outcomes back as events.

mod blueprint;
mod content;
mod env;
mod event;
mod executor;
mod files;
mod host;
mod instance;
mod linux;
mod mounted;
mod plan;
mod report;
mod rootfs;
mod rootfs_plan;
mod runtime;
mod slot;
mod spec;
mod state;
mod store;
mod systemd;
mod takeover;
mod task;

#[cfg(test)]
mod fake;
#[cfg(test)]
mod scenarios;

pub use host::{
    Adopted, Blueprint, Exit, Found, Host, HostError, Need, Order, Resource, Target, UnitChange,
    UnitEvent, UnitState,
};
pub use linux::{LinuxHost, LinuxSettings, content_in_use};
pub use takeover::take_over;
pub use task::{Launcher, LauncherEnds, LauncherError, LauncherTask};
