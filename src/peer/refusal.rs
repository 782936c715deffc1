//! A failed call as an error of ours.

use std::error::Error;
use std::fmt;

use tonic::{Code, Status};

/// What a peer, or the way to it, answered instead of a result. Prints the code
/// and the message; the rest follows as its source.
#[derive(Debug)]
pub struct Refusal(Box<Status>);

impl Refusal {
    /// Whether the way to the peer failed, and not the peer: the call may be
    /// made again. Only errors of this side have a source.
    #[must_use]
    pub fn is_transport(&self) -> bool {
        self.0.code() == Code::Unavailable || self.0.source().is_some()
    }
}

impl From<Status> for Refusal {
    fn from(status: Status) -> Self {
        Self(Box::new(status))
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {}", self.0.code(), self.0.message())
    }
}

impl Error for Refusal {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.0.source()
    }
}
