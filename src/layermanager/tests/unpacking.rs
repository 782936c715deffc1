//! What good archives become.

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use aos_package::archive::{Limits, decode};
use tar::EntryType;
use tempfile::TempDir;

use super::support::{Tar, gzip};
use crate::layermanager::UnpackError;
use crate::layermanager::allowance::Allowance;
use crate::layermanager::allowance::tests::Bytes;
use crate::layermanager::record::Hashes;
use crate::layermanager::tree::Ownership;
use crate::layermanager::unpack::{Target, Unpacked, unpack};

pub(super) fn unpack_to(root: &Path, blob: &[u8]) -> Result<Unpacked, UnpackError> {
    unpack_within(root, blob, Limits::default(), u64::MAX)
}

/// The same, with no more than that.
pub(super) fn unpack_within(
    root: &Path,
    blob: &[u8],
    limits: Limits,
    room: u64,
) -> Result<Unpacked, UnpackError> {
    let mut blob = decode(blob).map_err(UnpackError::Read)?;
    let target = Target {
        root,
        ownership: Ownership::Archive,
        allowance: &mut Allowance::new(Box::new(Bytes(room))),
        hashes: &mut Hashes::default(),
    };
    unpack(&mut blob, target, limits, &|| false)
}

fn unpacked(tar: Tar) -> TempDir {
    let root = TempDir::new().unwrap();
    unpack_to(root.path(), &tar.build()).unwrap();
    root
}

#[test]
fn files_directories_and_links_are_as_in_the_archive() {
    let root = unpacked(
        Tar::new()
            .entry("./", EntryType::Directory, 0o751, "", b"")
            .entry("./bin/", EntryType::Directory, 0o700, "", b"")
            .entry("./bin/service", EntryType::Regular, 0o755, "", b"#!")
            .symlink("./lib", "usr/lib")
            .hard_link("./other", "./bin/service"),
    );

    let at = |name: &str| fs::symlink_metadata(root.path().join(name)).unwrap();
    assert_eq!(at("").mode() & 0o7777, 0o751);
    assert_eq!(at("bin").mode() & 0o7777, 0o700);
    assert_eq!(at("bin/service").mode() & 0o7777, 0o755);
    assert_eq!(at("bin/service").mtime(), 1_600_000_000);
    assert_eq!(at("bin").mtime(), 1_600_000_000);
    assert_eq!(at("lib").mtime(), 1_600_000_000);
    assert_eq!(at("other").ino(), at("bin/service").ino());
    assert_eq!(
        fs::read_link(root.path().join("lib")).unwrap(),
        Path::new("usr/lib")
    );
}

#[test]
fn compressed_archive_is_unpacked_too() {
    let root = TempDir::new().unwrap();

    unpack_to(root.path(), &gzip(&Tar::new().file("a", "text").build())).unwrap();

    assert_eq!(fs::read_to_string(root.path().join("a")).unwrap(), "text");
}

#[test]
fn empty_archive_is_an_empty_root() {
    let root = unpacked(Tar::new());

    assert_eq!(fs::read_dir(root.path()).unwrap().count(), 0);
    assert_eq!(root.path().metadata().unwrap().mode() & 0o7777, 0o755);
}

#[test]
fn directories_that_no_entry_describes_are_made() {
    let root = unpacked(Tar::new().file("a/b/c", "text"));

    assert_eq!(
        root.path().join("a/b").metadata().unwrap().mode() & 0o7777,
        0o755
    );
}

#[test]
fn directory_may_come_after_its_files_and_be_closed() {
    let root = unpacked(
        Tar::new()
            .file("a/b/c", "text")
            .entry("a/b", EntryType::Directory, 0o500, "", b"")
            .entry("a", EntryType::Directory, 0o000, "", b""),
    );

    assert_eq!(root.path().join("a").metadata().unwrap().mode() & 0o7777, 0);
    // So that the directory can be removed again.
    fs::set_permissions(root.path().join("a"), Permissions::from_mode(0o755)).unwrap();
    fs::set_permissions(root.path().join("a/b"), Permissions::from_mode(0o755)).unwrap();
}

#[test]
fn names_may_be_long_and_have_newlines() {
    let long = "d/".repeat(60) + "name\nwith newline";
    let pax = "p".repeat(250);
    let root = unpacked(
        Tar::new()
            .file(&long, "gnu")
            .pax(&[("path", pax.as_bytes())])
            .file("short", "pax")
            .symlink("link", &"x/".repeat(100)),
    );

    assert_eq!(fs::read_to_string(root.path().join(long)).unwrap(), "gnu");
    assert_eq!(fs::read_to_string(root.path().join(pax)).unwrap(), "pax");
    assert_eq!(
        fs::read_link(root.path().join("link")).unwrap(),
        Path::new(&"x/".repeat(100))
    );
}

#[test]
fn later_entry_takes_the_place_of_an_earlier_one() {
    let root = unpacked(
        Tar::new()
            .file("a", "first")
            .file("a", "second")
            .symlink("b", "a")
            .file("b", "file")
            .directory("c/d")
            .file("c", "was a directory")
            .file("e", "")
            .directory("e")
            .file("e/f", "below"),
    );

    let read = |name: &str| fs::read_to_string(root.path().join(name)).unwrap();
    assert_eq!(read("a"), "second");
    assert_eq!(read("b"), "file");
    assert_eq!(read("c"), "was a directory");
    assert_eq!(read("e/f"), "below");
}

#[test]
fn directory_given_twice_keeps_its_files_and_takes_the_later_mode() {
    let root = unpacked(Tar::new().directory("a").file("a/b", "text").entry(
        "a",
        EntryType::Directory,
        0o1777,
        "",
        b"",
    ));

    assert_eq!(fs::read_to_string(root.path().join("a/b")).unwrap(), "text");
    assert_eq!(
        root.path().join("a").metadata().unwrap().mode() & 0o7777,
        0o1777
    );
}

#[test]
fn replaced_directory_takes_its_like_named_neighbour_not_with_it() {
    let root = unpacked(
        Tar::new()
            .directory("a")
            .entry("a.b", EntryType::Directory, 0o711, "", b"")
            .directory("a/c")
            .file("a", "now a file"),
    );

    assert_eq!(
        root.path().join("a.b").metadata().unwrap().mode() & 0o7777,
        0o711
    );
}

#[test]
fn hard_link_onto_itself_by_another_entry_is_harmless() {
    let root = unpacked(
        Tar::new()
            .file("a", "text")
            .hard_link("b", "a")
            .hard_link("b", "a"),
    );

    assert_eq!(root.path().join("a").metadata().unwrap().nlink(), 2);
}

#[test]
fn setuid_and_setgid_bits_are_cleared_and_counted() {
    let root = TempDir::new().unwrap();
    let tar = Tar::new()
        .entry("a", EntryType::Regular, 0o6755, "", b"")
        .entry("b", EntryType::Directory, 0o2755, "", b"")
        .build();

    let unpacked = unpack_to(root.path(), &tar).unwrap();

    assert_eq!(unpacked.set_id, 2);
    for name in ["a", "b"] {
        let mode = root.path().join(name).metadata().unwrap().mode();
        assert_eq!(mode & 0o7777, 0o755, "{name}");
    }
}

#[test]
fn devices_and_fifos_are_left_out_and_counted() {
    let root = TempDir::new().unwrap();
    let tar = Tar::new()
        .entry("dev/null", EntryType::Char, 0o666, "", b"")
        .entry("dev/sda", EntryType::Block, 0o666, "", b"")
        .entry("fifo", EntryType::Fifo, 0o666, "", b"")
        .build();

    let unpacked = unpack_to(root.path(), &tar).unwrap();

    assert_eq!((unpacked.devices, unpacked.fifos), (2, 1));
    assert_eq!(fs::read_dir(root.path()).unwrap().count(), 0);
}

#[test]
fn extended_attributes_are_dropped_and_counted() {
    let root = TempDir::new().unwrap();
    let tar = Tar::new()
        .pax(&[
            ("SCHILY.xattr.user.a", b"b"),
            ("SCHILY.xattr.trusted.overlay.redirect", b"/etc"),
        ])
        .directory("a")
        .build();

    let unpacked = unpack_to(root.path(), &tar).unwrap();

    assert_eq!(unpacked.attributes, 2);
    assert_eq!(xattr::list(root.path().join("a")).unwrap().count(), 0);
}

#[test]
fn whiteout_is_a_character_device_and_its_mark_is_gone() {
    let root = unpacked(Tar::new().file("etc/.wh.passwd", ""));

    let whiteout = fs::symlink_metadata(root.path().join("etc/passwd")).unwrap();
    assert_eq!(whiteout.mode() & 0o170_000, 0o020_000);
    assert_eq!(whiteout.rdev(), 0);
    assert!(!root.path().join("etc/.wh.passwd").exists());
}

#[test]
fn whiteout_leaves_what_the_archive_itself_has_there() {
    let root = unpacked(
        Tar::new()
            .file("a", "mine")
            .file(".wh.a", "")
            .file(".wh.b", "")
            .file("b", "mine too"),
    );

    assert_eq!(fs::read_to_string(root.path().join("a")).unwrap(), "mine");
    assert_eq!(
        fs::read_to_string(root.path().join("b")).unwrap(),
        "mine too"
    );
}
