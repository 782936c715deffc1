//! Bytes of the day, of the node and of each instance.
//!
//! The kernel counts them and cuts off who is above a limit. [`TrafficBook`]
//! (pure) knows where its counters start, takes what they say, and what is to be
//! stored. [`days`] decides when a day ends, whatever the clock does. `store` is
//! the table, `keeper` joins them for the loop that owns it.
//!
//! Invariant: within a day the book never falls back: what was counted stays
//! counted over detaching and attaching, restarts of SM and reboots. At a power
//! cut the bytes since the last write are uncounted: a minute's at most.

mod accounts;
mod book;
mod days;
mod keeper;
#[cfg(test)]
mod keeper_tests;
#[cfg(test)]
mod property_tests;
mod store;

pub(super) use book::Moment;
pub(super) use keeper::{Ask, TrafficKeeper};
