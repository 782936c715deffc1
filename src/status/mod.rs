//! What an operator is shown: a read-only view over a unix socket.
//!
//! [`Document`] is the view, one JSON object that `docs/status.md` describes;
//! [`StatusServer`] gives it to a few clients at a time, once or each time that
//! something changes. It holds nothing between two questions, and a client that
//! does not read holds up nobody.

mod document;
mod moment;
mod server;
#[cfg(test)]
mod tests;

pub use document::{
    ContentView, DatabaseView, DesiredView, Document, DownloadView, ErrorView, FaultView,
    InstanceView, LayerView, NetworkView, NodeView, PartitionView, PeerView, PeersView,
    ServiceView, UsageView,
};
pub use moment::time_text;
pub use server::{StatusError, StatusServer};
