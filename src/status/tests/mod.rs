//! What a client sees.

mod example;
mod socket;
