//! A failed call as an error of ours.

use std::error::Error;
use std::fmt;

use tonic::{Code, Status};

/// What a peer, or the way to it, answered instead of a result. Prints the code
/// and the message; the rest follows as its source.
#[derive(Debug)]
pub struct Refusal(Box<Status>);

impl Refusal {
    /// Why it failed, in the words of gRPC.
    #[must_use]
    pub fn code(&self) -> Code {
        self.0.code()
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
