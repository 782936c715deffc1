//! Tests of the tables on a real kernel.

mod counting;
mod damage;
mod lab;
mod packets;
mod tables;
mod vlan;
