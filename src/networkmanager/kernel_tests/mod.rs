//! Tests on a real kernel.

mod attach;
mod figures;
mod healing;
mod leftovers;
mod machine;
mod networks;
mod takeover;
mod uplinks;
mod vlan;
