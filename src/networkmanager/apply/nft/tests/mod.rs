//! Tests of the tables on a real kernel.

mod counting;
mod lab;
mod packets;
mod tables;
