//! The client of IAM against an IAM in the same process, over TLS.

#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot be set up has failed"
)]

mod fake_iam;
#[path = "../pki/mod.rs"]
mod pki;
mod returns;
mod secrets;
mod up_to_date;
