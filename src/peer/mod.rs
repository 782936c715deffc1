//! How a peer of the unit is reached: TLS, keep-alive, and one line in the log
//! for each new trouble, and how we stand with it for whoever asks.
//!
//! Shared by the clients of IAM and CM. Every connection is TLS, verified
//! against the root certificate of the configuration; the files are read again
//! for each connection, so that renewed ones need no restart.

mod dialer;
mod lifeline;
mod refusal;
mod standing;
mod troubles;

pub use dialer::{Dialer, PeerError};
pub use lifeline::Lifeline;
pub use refusal::Refusal;
pub use standing::Standing;
pub use troubles::Troubles;

/// Largest message in each direction, in bytes. The peers refuse larger ones.
pub const MAX_MESSAGE: usize = 4 * 1024 * 1024;
