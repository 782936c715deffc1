//! Provider networks and the places of instances in them.
//!
//! A provider network is a bridge that holds the gateway's address. An instance
//! gets a network namespace, a veth pair between it and the bridge, an address
//! and a default route. `book` knows what is wanted and who has which address,
//! `plan` makes operations of it, each with its undo, and `apply` carries them
//! out by rtnetlink. [`NetworkTask`] owns the book; [`Networks`] is its handle.
//!
//! Invariant: what an attach made is either booked or gone. A stop of SM touches
//! no link; the next start takes over what it finds.

mod addresses;
mod apply;
mod bandwidth;
mod book;
mod error;
mod existing;
mod firewall;
mod handle;
mod hosts;
#[cfg(test)]
mod kernel_tests;
mod names;
mod nameservice;
mod plan;
mod seat;
mod store;
mod takeover;
mod task;
mod traffic;
mod troubles;

pub(crate) use apply::netns::run_in_named;
pub use error::NetworkError;
pub use firewall::RuleFault;
pub use handle::{AttachRequest, Attachment, NetworkSettings, Networks, Speeds, TrafficLimits};
pub use takeover::take_over;
pub use task::NetworkTask;
