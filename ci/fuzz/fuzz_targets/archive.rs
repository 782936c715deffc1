//! Any archive, plain or compressed, ends, keeps to its limits and plans no step
//! that leaves the root.

#![no_main]

use std::io::Read;
use std::path::Component;

use aos_package::archive::{Archive, EntryPath, Limits, Owners, Rehearsal, Step, decode};
use libfuzzer_sys::fuzz_target;
use tar::Header;

const LIMITS: Limits = Limits {
    bytes: 1 << 20,
    entries: 200,
    names: 1 << 16,
};

fuzz_target!(|bytes: &[u8]| {
    let bytes = with_checksums(bytes);
    let Ok(decoded) = decode(&bytes[..]) else {
        return;
    };
    let mut archive = Archive::new(decoded, LIMITS);
    let mut rehearsal = Rehearsal::new(Owners::Archive);
    let (mut entries, mut total) = (0, 0);

    while let Ok(Some(entry)) = archive.next_entry() {
        entries += 1;
        assert!(entries <= LIMITS.entries);
        if let Ok(planned) = Step::plan(&entry) {
            let _ = rehearsal.take(&planned.step);
            stays_below_the_root(&planned.step);
        }
        // Some entries are skipped instead.
        if entry.size % 3 != 0 {
            let mut content = Vec::new();
            if archive.read_to_end(&mut content).is_ok() {
                assert_eq!(content.len() as u64, entry.size);
            }
            total += content.len() as u64;
            assert!(total <= LIMITS.bytes);
        }
    }
});

/// Makes the checksums right wherever a header is: a fuzzer does not guess them.
fn with_checksums(bytes: &[u8]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    let mut offset = 0;
    while let Some(block) = bytes.get_mut(offset..).and_then(|rest| rest.get_mut(..512)) {
        if offset == 0 && block.starts_with(&[0x1f, 0x8b]) {
            break;
        }
        let mut header = Header::new_old();
        header.as_mut_bytes().copy_from_slice(block);
        header.set_cksum();
        block.copy_from_slice(header.as_bytes());

        let size = header.entry_size().unwrap_or(0).min(1 << 20);
        offset += 512 + usize::try_from(size).unwrap_or(0).next_multiple_of(512);
    }
    bytes
}

fn stays_below_the_root(step: &Step) {
    match step {
        Step::Directory { path, attributes } => {
            safe(path);
            assert_eq!(attributes.mode & !0o1777, 0);
        }
        Step::File { path, attributes } => {
            named(path);
            assert_eq!(attributes.mode & !0o777, 0);
        }
        Step::Symlink { path, target, .. } => {
            named(path);
            assert!(!target.is_empty() && !target.contains(&0));
        }
        Step::HardLink { path, target } => {
            named(path);
            named(target);
            assert_ne!(path, target);
        }
        Step::Whiteout { path } => named(path),
        Step::Opaque { directory } => safe(directory),
        Step::LeaveOut(_) => {}
    }
}

fn named(path: &EntryPath) {
    safe(path);
    assert!(path.split().is_some());
}

fn safe(path: &EntryPath) {
    let normal = |part| matches!(part, Component::Normal(_));
    assert!(path.as_path().components().all(normal));
    assert!(!path.as_bytes().contains(&0));
}
