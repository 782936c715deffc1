//! What the name server of the node is told.
//!
//! [`NameDirectory`] knows the names of all instances and sees to it that none
//! is taken twice in a network; [`NameFiles`] writes it where the server, a
//! process of its own, reads it. The server goes on while SM is away, and so do
//! the names: SM begins with what the files say.

mod directory;
mod files;
mod publisher;
#[cfg(test)]
mod tests;

pub(super) use self::directory::{NameDirectory, NetworkFacts};
pub(super) use self::files::NameFiles;
pub(super) use self::publisher::{Publication, Publisher};
