//! Tests on a real kernel.

mod attach;
mod bandwidth;
mod figures;
mod leftovers;
mod machine;
mod networks;
mod takeover;
mod transfer;
