//! The name server of a node: one process for all provider networks.
//!
//! The service manager writes files that say who is who ([`aos_names`]); the
//! server follows them and needs the service manager for nothing else, so names
//! are answered while that restarts, is upgraded or is gone.
//!
//! [`Server`] owns the files and a station for each network: the sockets on
//! the gateway's address, which take packets from the network's bridge alone.
//! What is decided is pure: `query` and `answer` are the wire, `zones` the
//! names, `desk` what becomes of a query, `cache` and `pending` its memory.

pub mod answer;
pub mod arguments;
mod cache;
mod desk;
mod directory;
mod forward;
pub mod log;
mod notify;
mod pending;
pub mod query;
mod resolvers;
mod server;
mod sockets;
mod station;
mod stream;
mod zones;

pub use server::{Server, Settings};
