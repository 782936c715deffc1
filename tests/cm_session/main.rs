//! The session with CM against a CM in the same process, over mutual TLS.

#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot be set up has failed"
)]

mod connecting;
mod fake_cm;
#[path = "../pki/mod.rs"]
mod pki;
mod requests;
mod sm;
mod telling;
