//! Archives that are too much, cut off or not what was promised.

use std::fs;

use aos_package::archive::Limits;
use tar::EntryType;
use tempfile::TempDir;

use super::ground::Ground;
use super::support::{Tar, gzip, gzip_zeros};
use super::unpacking::{unpack_to, unpack_within};

#[test]
fn names_beyond_what_linux_can_have() {
    let ground = Ground::new();

    ground.refuses(Tar::new().file(&"a".repeat(256), ""), &["too long"]);
    ground.refuses(Tar::new().file(&"a/".repeat(2500), ""), &["too"]);
    ground.refuses(Tar::new().file(&"a/".repeat(200), ""), &["too many"]);
    ground.refuses(Tar::new().file(&"a".repeat(20_000), ""), &["16384 bytes"]);
}

#[test]
fn owner_that_cannot_exist() {
    for id in ["4294967295", "4294967296", "18446744073709551615"] {
        for key in ["uid", "gid"] {
            for kind in [EntryType::Regular, EntryType::Directory] {
                let tar = Tar::new()
                    .pax(&[(key, id.as_bytes())])
                    .entry("a", kind, 0o755, "", b"");
                Ground::new().refuses(tar, &["\"a\"", "owner"]);
            }
        }
    }
}

#[test]
fn sparse_files_and_unknown_types() {
    let ground = Ground::new();

    let old = Tar::new().entry("a", EntryType::GNUSparse, 0o644, "", b"");
    ground.refuses(old, &["sparse"]);
    let pax = Tar::new().pax(&[("GNU.sparse.major", b"1")]).file("a", "x");
    ground.refuses(pax, &["sparse"]);
    let unknown = Tar::new().entry("a", EntryType::new(b'V'), 0o644, "", b"");
    ground.refuses(unknown, &["not supported"]);
}

#[test]
fn archive_cut_off_anywhere_is_refused() {
    let tar = Tar::new()
        .directory("a")
        .file("a/b", &"x".repeat(700))
        .build();
    let full = gzip(&tar);

    // Not after the last entry: an archive may lack its end mark.
    for end in [1, 511, 513, 1025, 1535, 1600] {
        let root = TempDir::new().unwrap();
        assert!(unpack_to(root.path(), &tar[..end]).is_err(), "{end}");
    }
    for end in [3, 10, full.len() / 2] {
        let root = TempDir::new().unwrap();
        assert!(unpack_to(root.path(), &full[..end]).is_err(), "gzip {end}");
    }
}

#[test]
fn compressed_bomb_ends_at_the_limit() {
    let root = TempDir::new().unwrap();
    let head = Tar::new()
        .pax(&[("size", b"1073741824")])
        .file("bomb", "")
        .build();
    let head = &head[..head.len() - 1024];
    let bomb = [gzip(head), gzip_zeros(64 << 20)].concat();
    let limits = Limits {
        bytes: 2 << 30,
        ..Limits::default()
    };
    let small = Limits {
        bytes: 1 << 20,
        ..limits
    };

    let error = unpack_within(root.path(), &bomb, small, u64::MAX).unwrap_err();

    assert_eq!(error.to_string(), "the archive has more than 1048576 bytes");
    assert_eq!(fs::read_dir(root.path()).unwrap().count(), 0);
}

#[test]
fn directories_that_no_entry_describes_count() {
    let limits = Limits {
        entries: 100,
        ..Limits::default()
    };
    for (limits, text) in [
        (limits, "the archive has more than 100 entries"),
        (
            Limits {
                names: 4000,
                ..Limits::default()
            },
            "the archive has more than 4000 bytes of names",
        ),
        (
            Limits {
                bytes: 256 * 1024,
                ..Limits::default()
            },
            "the archive has more than 262144 bytes",
        ),
    ] {
        let root = TempDir::new().unwrap();
        let tar = (0..5).fold(Tar::new(), |tar, index| {
            tar.file(&format!("{index}/{}file", "d/".repeat(30)), "")
        });
        let tar = tar.build();

        let error = unpack_within(root.path(), &tar, limits, u64::MAX).unwrap_err();

        assert_eq!(error.to_string(), text);
    }
}

#[test]
fn small_files_count_as_the_blocks_that_they_take() {
    let root = TempDir::new().unwrap();
    let limits = Limits {
        bytes: 64 * 1024,
        ..Limits::default()
    };
    let tar = (0..20).fold(Tar::new(), |tar, index| tar.file(&index.to_string(), "x"));
    let tar = tar.build();
    assert!((tar.len() as u64) < limits.bytes);

    let error = unpack_within(root.path(), &tar, limits, u64::MAX).unwrap_err();

    assert_eq!(error.to_string(), "the archive has more than 65536 bytes");
    assert_eq!(fs::read_dir(root.path()).unwrap().count(), 16);
}
