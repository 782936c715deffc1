//! The session with CM.

mod outbox;
pub mod v3;
