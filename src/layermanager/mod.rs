//! Services and layers on disk: fetched, checked, unpacked, published, kept.
//!
//! [`Content`] is the handle. An install is a transaction: the content is staged
//! beside its final place, brought to the disk, renamed, and then gets its row.
//! A row without directory, as a crash can leave it, is removed at start, and a
//! directory without row as soon as it is known what instances run on.
//!
//! Invariants: nothing from a package is published before its size, both sums
//! and the digests of all blobs are right, and nothing is written outside the
//! staging directory, whatever a package says. What is in use is never removed;
//! what no longer is stays cached for its time, or until its space is needed.
//!
//! Instances and their mounts are the launcher's business.

mod allowance;
mod beneath;
mod budget;
mod cached;
mod content;
mod copy;
mod counting;
mod error;
mod expiry;
mod fetch;
mod install;
mod installed;
mod installing;
mod intake;
mod keeper;
mod keeping;
mod layers;
mod listing;
mod locks;
mod package;
mod piped;
mod pool;
mod reconcile;
mod record;
mod serving;
mod shared;
mod source;
mod space;
mod spawn;
mod staging;
mod store;
mod sums;
mod supply;
mod takeover;
mod tree;
mod unpack;
mod verify;

#[cfg(test)]
mod tests;

pub use content::{Content, ContentSettings};
pub use error::{ContentError, DamageError, InstallError};
pub use fetch::{AttemptError, Download, Downloads, FetchError};
pub use keeper::Users;
pub use package::PackageError;
pub use record::RecordError;
pub use source::UrlError;
pub use space::NoSpace;
pub use takeover::take_over;
pub use unpack::UnpackError;
pub use verify::{CheckSettings, Differences};
