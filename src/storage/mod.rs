//! The database: one file, one thread, one connection.
//!
//! [`Database`] is the handle. Work is sent to the owner thread as a closure
//! over the connection, so SQL lives with the component that owns the table (a
//! `store.rs`); this module owns the file, its settings and its schema.
//!
//! Invariant: when a call returns `Ok`, its transaction is on disk
//! (`synchronous=FULL`).

mod open;
mod schema;
mod worker;

pub use open::{OpenError, Opened};
pub use worker::{Database, StorageError};
