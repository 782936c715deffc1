//! Which packets may go where, as values.
//!
//! [`Rules`] say what is wanted: networks, instances, and what each of them may
//! do. Two things follow from them. The [`skeleton`] is chains, rules and the
//! shapes of sets: it never changes while SM runs. [`Contents`] are the elements
//! of the sets, counters and quotas: all that differs from unit to unit. So a
//! change is a [`Difference`] of contents, and a packet costs the same whatever
//! the number of instances.
//!
//! Nothing here talks to the kernel; `apply::nft` does.
//!
//! Invariant: no two owners (networks, instances) of one set of rules have an
//! element in common, so that the difference of one owner is found without
//! looking at the others.

mod contents;
mod difference;
mod permissions;
#[cfg(test)]
mod property_tests;
mod rules;
mod sets;
pub(super) mod skeleton;

pub(super) use contents::{Contents, Edge, Element, Object, ObjectId, ObjectKind, in_flow};
pub(super) use difference::Difference;
pub use permissions::RuleFault;
#[cfg(test)]
pub(super) use permissions::{Allowed, Exposed};
pub(super) use permissions::{allowed, exposed};
pub(super) use rules::{BridgeRules, Change, InstanceRules, Rules};
pub(super) use sets::{Family, Field, SetId, Shape};
