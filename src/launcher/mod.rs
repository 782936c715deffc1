//! From desired to running.
//!
//! The launcher stores the desired list, has its content installed, and makes
//! the instances on the machine equal to it. It decides in pure code
//! (`state`, `slot`, `instance`, `plan`); everything that touches the machine
//! is behind [`Host`]. `task` is the loop, `executor` carries out and brings
//! the outcomes back as events.

mod adoption;
mod blueprint;
mod bounds;
mod conditions;
mod content;
mod devices;
mod env;
mod event;
mod executor;
mod files;
mod handle;
mod host;
mod instance;
mod linux;
mod mounted;
mod offline;
mod overrides;
mod past;
mod plan;
mod probes;
mod report;
mod rootfs;
mod rootfs_plan;
mod runtime;
mod since;
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

pub use handle::Launcher;
pub use host::{
    Adopted, Blueprint, Exit, Found, Host, HostError, Moment, Need, Order, Resource, Target,
    UnitChange, UnitEvent, UnitState,
};
pub use linux::{LinuxHost, LinuxSettings, content_in_use, started_at};
pub use overrides::Variables;
pub use probes::{Check, Probe};
pub use takeover::take_over;
pub use task::{LauncherEnds, LauncherError, LauncherTask};
