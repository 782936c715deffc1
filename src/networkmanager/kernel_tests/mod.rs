//! Tests on a real kernel.

mod attach;
mod figures;
mod leftovers;
mod machine;
mod networks;
mod takeover;
