//! Tests on a real kernel.

mod amounts;
mod attach;
mod bandwidth;
mod cases;
mod failures;
mod figures;
mod frames;
mod healing;
mod leftovers;
mod machine;
mod many;
mod networks;
mod places;
mod probes;
mod published;
mod reach;
mod restarts;
mod spoofing;
mod steady;
mod takeover;
mod transfer;
mod uplinks;
mod vlan;
