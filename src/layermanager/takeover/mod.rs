//! What release 7.2.3 has installed is served as it is: nothing is copied.
//!
//! Its rows become ours once, when the database does ([`take_over`]). Its
//! layout stays: the root of a service lies in `blobs/<algorithm>/<hex>` and
//! that is the hash of the release's own kind ([`hash`]), which is checked once
//! in the background ([`check`]). Markers `.wh.NAME` stay beside the whiteouts
//! that were made of them; they hide nothing.

mod check;
mod hash;
mod place;
mod rows;
mod store;

#[cfg(test)]
mod tests;

pub(super) use check::check;
pub use rows::take_over;
