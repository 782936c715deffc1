//! The database: one file, one thread, one connection.
//!
//! [`Database`] is the handle. Work is sent to the owner thread as a closure
//! over the connection, so SQL lives with the component that owns the table (a
//! `store.rs`); this module owns the file, its settings and its schema, and the
//! small values of the `config` table. [`WorkdirLock`] keeps a second process
//! away from all of it.
//!
//! Invariant: when a call returns `Ok`, its transaction is on disk
//! (`synchronous=FULL`). A full disk is no reason for one to fail.

mod aside;
mod clock;
mod inspect;
mod lock;
mod open;
mod reserve;
mod rows;
mod schema;
mod values;
mod worker;

#[cfg(test)]
mod full_tests;
#[cfg(test)]
mod open_tests;

pub use clock::Clock;
pub use lock::{LockError, WorkdirLock};
pub use open::{OpenError, Opened};
pub(crate) use rows::readable;
pub use worker::{Database, StorageError};
