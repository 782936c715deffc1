//! Tests on a real kernel.

mod attach;
mod figures;
mod machine;
mod networks;
mod takeover;
