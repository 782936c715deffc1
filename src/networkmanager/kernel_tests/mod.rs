//! Tests on a real kernel.

mod attach;
mod bandwidth;
mod figures;
mod healing;
mod leftovers;
mod machine;
mod networks;
mod takeover;
mod transfer;
mod uplinks;
mod vlan;
