//! From desired to running.
//!
//! The launcher stores the desired list, has its content installed, and makes
//! the instances on the machine equal to it. It decides in pure code
//! (`state`, `instance`, `plan`); everything that touches the machine is
//! behind [`Host`].

mod blueprint;
mod env;
mod files;
mod host;
mod linux;
mod mounted;
mod rootfs;
mod rootfs_plan;
mod runtime;
mod spec;
mod systemd;

pub use host::{
    Blueprint, Exit, Found, Host, HostError, Resource, Target, UnitChange, UnitEvent, UnitState,
};
pub use linux::{LinuxHost, LinuxSettings};
