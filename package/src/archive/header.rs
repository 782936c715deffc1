//! What single headers say.

use tar::{EntryType, Header};

use super::Kind;
use super::decode::Mark;

pub(super) const NO_BYTES: [u8; 512] = [0; 512];

pub(super) fn kind_of(kind: EntryType, header: &Header, name: &[u8], sparse: bool) -> Kind {
    let untyped = header.as_old().linkflag == [0];
    match kind {
        _ if sparse => Kind::Sparse,
        // From the time before directories had a type of their own.
        EntryType::Regular if untyped && name.ends_with(b"/") => Kind::Directory,
        EntryType::Regular | EntryType::Continuous => Kind::File,
        EntryType::Link => Kind::HardLink,
        EntryType::Symlink => Kind::Symlink,
        EntryType::Directory => Kind::Directory,
        EntryType::Char | EntryType::Block => Kind::Device,
        EntryType::Fifo => Kind::Fifo,
        EntryType::GNUSparse => Kind::Sparse,
        other => Kind::Unknown(other.as_byte()),
    }
}

/// Whether `start`, the first 512 bytes of a file or all that it has, could begin
/// an archive, compressed or not. No document of a package does.
pub(crate) fn begins_like_archive(start: &[u8]) -> bool {
    if Mark::of(start) != Mark::None || start.get(257..262) == Some(b"ustar") {
        return true;
    }
    let Ok(block) = <[u8; 512]>::try_from(start) else {
        return false;
    };
    let mut header = Header::new_old();
    header.as_mut_bytes().copy_from_slice(&block);
    // An archive without entries is all zeros.
    block == NO_BYTES || header.cksum().ok() == Some(checksum(&header))
}

/// Sum of all bytes, those of the checksum itself taken as spaces.
pub(super) fn checksum(header: &Header) -> u32 {
    let bytes = header.as_bytes().iter().enumerate();
    bytes
        .map(|(index, byte)| {
            let own = (148..156).contains(&index);
            u32::from(if own { b' ' } else { *byte })
        })
        .sum()
}
