//! What bad archives try to reach, and that they do not.

use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::Path;

use proptest::prelude::*;
use tar::EntryType;

use super::ground::Ground;
use super::support::Tar;

#[test]
fn name_that_leads_upwards() {
    for name in [
        "../outside/new",
        "a/../../outside/new",
        "../../../../../../outside/new",
        "./../outside/shadow",
        "..",
    ] {
        Ground::new().refuses(Tar::new().file(name, "x"), &[name, "leaves the root"]);
    }
}

#[test]
fn upwards_name_of_every_type_is_refused() {
    for kind in [
        EntryType::Directory,
        EntryType::Symlink,
        EntryType::Link,
        EntryType::Fifo,
        EntryType::Char,
    ] {
        let tar = Tar::new().entry("../outside/new", kind, 0o777, "a", b"");
        Ground::new().refuses(tar, &["leaves the root"]);
    }
}

#[test]
fn upwards_name_in_a_pax_record() {
    let tar = Tar::new()
        .pax(&[("path", b"../outside/new")])
        .file("innocent", "x");

    Ground::new().refuses(tar, &["leaves the root"]);
}

#[test]
fn upwards_whiteout() {
    for name in ["../outside/.wh.shadow", ".wh...", "a/.wh...", ".wh.."] {
        Ground::new().refuses(Tar::new().file(name, ""), &["entry"]);
    }
}

#[test]
fn marks_without_a_name_to_hide() {
    for name in [".wh.", "a/.wh.", ".wh..wh.plnk", ".wh.a/b"] {
        Ground::new().refuses(Tar::new().file(name, ""), &["reserved"]);
    }
}

#[test]
fn absolute_name_stays_below_the_root() {
    let ground = Ground::new();
    let name = ground.outside() + "/shadow";

    ground.unpack(Tar::new().file(&name, "x")).unwrap();

    ground.assert_outside_untouched();
    let inside = ground.root().join(name.trim_start_matches('/'));
    assert_eq!(fs::read_to_string(inside).unwrap(), "x");
}

#[test]
fn file_through_a_link_to_the_outside() {
    let ground = Ground::new();

    for target in ["../outside", &ground.outside(), "."] {
        let tar = Tar::new().symlink("a", target).file("a/new", "x");
        ground.refuses(tar, &["below \"a\"", "not a directory"]);
    }
}

#[test]
fn every_type_through_a_link_is_refused() {
    for kind in [
        EntryType::Directory,
        EntryType::Symlink,
        EntryType::Regular,
        EntryType::Link,
    ] {
        let tar = Tar::new()
            .file("f", "x")
            .symlink("a", "../outside")
            .entry("a/new", kind, 0o777, "f", b"");
        Ground::new().refuses(tar, &["not a directory"]);
    }
    for mark in ["a/.wh.shadow", "a/.wh..wh..opq", "a/b/.wh..wh..opq"] {
        let tar = Tar::new().symlink("a", "../outside").file(mark, "");
        Ground::new().refuses(tar, &["not a directory"]);
    }
}

#[test]
fn file_through_a_link_deep_inside() {
    let tar = Tar::new()
        .directory("a/b")
        .symlink("a/b/c", "../../../outside")
        .file("a/b/c/d/e", "x");

    Ground::new().refuses(tar, &["a/b/c"]);
}

#[test]
fn file_through_a_chain_of_links() {
    let tar = Tar::new()
        .symlink("a", "b")
        .symlink("b", "../outside")
        .file("a/shadow", "x");

    Ground::new().refuses(tar, &["not a directory"]);
}

#[test]
fn file_in_place_of_a_link_does_not_follow_it() {
    let ground = Ground::new();
    let link = ground.outside() + "/shadow";

    ground
        .unpack(Tar::new().symlink("a", &link).file("a", "x"))
        .unwrap();

    ground.assert_outside_untouched();
    assert_eq!(fs::read_to_string(ground.root().join("a")).unwrap(), "x");
}

#[test]
fn directory_in_place_of_a_link_does_not_follow_it() {
    let ground = Ground::new();

    ground
        .unpack(
            Tar::new()
                .symlink("a", "../outside")
                .entry("a", EntryType::Directory, 0o700, "", b"")
                .file("a/new", "x"),
        )
        .unwrap();

    ground.assert_outside_untouched();
    assert!(ground.root().join("a/new").is_file());
}

#[test]
fn directory_replaced_by_a_link_after_it_was_used() {
    let tar = Tar::new()
        .directory("a")
        .file("a/b", "x")
        .symlink("a", "../outside")
        .file("a/shadow", "x");

    Ground::new().refuses(tar, &["below \"a\""]);
}

#[test]
fn parent_of_a_used_directory_replaced_by_a_link() {
    let tar = Tar::new()
        .file("a/b/c", "x")
        .symlink("a", "../outside")
        .file("a/b/c", "x");

    Ground::new().refuses(tar, &["not a directory"]);
}

#[test]
fn attributes_of_a_replaced_directory_do_not_go_through_the_link() {
    let ground = Ground::new();

    ground
        .unpack(
            Tar::new()
                .entry("a", EntryType::Directory, 0o777, "", b"")
                .symlink("a", "../outside"),
        )
        .unwrap();

    ground.assert_outside_untouched();
    let mode = ground.directory.path().join("outside").metadata().unwrap();
    assert_eq!(mode.mode() & 0o022, 0, "the outside became writable");
}

#[test]
fn link_mode_and_time_do_not_reach_its_target() {
    let ground = Ground::new();
    let target = ground.outside() + "/shadow";
    let before = fs::metadata(&target).unwrap().mtime();

    ground.unpack(Tar::new().symlink("x", &target)).unwrap();

    ground.assert_outside_untouched();
    assert_eq!(fs::metadata(&target).unwrap().mtime(), before);
}

#[test]
fn removing_a_directory_does_not_follow_links_in_it() {
    let ground = Ground::new();

    ground
        .unpack(
            Tar::new()
                .directory("a")
                .symlink("a/link", "../../outside")
                .file("a", "x"),
        )
        .unwrap();

    ground.assert_outside_untouched();
}

#[test]
fn hard_link_to_the_outside() {
    let ground = Ground::new();
    let absolute = ground.outside() + "/shadow";

    for target in ["../outside/shadow", &absolute, "a/../../outside/shadow"] {
        let tar = Tar::new().directory("a").hard_link("x", target);
        ground.refuses(tar, &["entry"]);
    }
}

#[test]
fn hard_link_to_a_link() {
    let tar = Tar::new()
        .symlink("a", "../outside/shadow")
        .hard_link("x", "a");

    Ground::new().refuses(tar, &["\"x\"", "\"a\"", "not a file of this archive"]);
}

#[test]
fn hard_link_through_a_link() {
    let tar = Tar::new()
        .symlink("a", "../outside")
        .hard_link("x", "a/shadow");

    Ground::new().refuses(tar, &["not a file of this archive"]);
}

#[test]
fn hard_link_to_a_directory_a_whiteout_or_nothing() {
    for target in ["d", "w", "missing", "d/missing", "f/below"] {
        let tar = Tar::new()
            .directory("d")
            .file(".wh.w", "")
            .file("f", "")
            .hard_link("x", target);
        Ground::new().refuses(tar, &["not a file of this archive"]);
    }
}

#[test]
fn hard_link_whose_making_removes_its_target() {
    let tar = Tar::new().file("a/b", "x").hard_link("a", "a/b");

    Ground::new().refuses(tar, &["cannot write \"a\""]);
}

#[test]
fn root_replaced_by_something_else() {
    for kind in [EntryType::Symlink, EntryType::Regular, EntryType::Link] {
        let tar = Tar::new().entry("./", kind, 0o777, "../outside", b"");
        Ground::new().refuses(tar, &["has no name"]);
    }
}

#[test]
fn dangling_and_looping_links_are_only_links() {
    let ground = Ground::new();

    ground
        .unpack(
            Tar::new()
                .symlink("dangling", "/nowhere")
                .symlink("loop", "loop")
                .symlink("dir", "../outside"),
        )
        .unwrap();

    assert_eq!(
        fs::read_link(ground.root().join("dir")).unwrap(),
        Path::new("../outside")
    );
    ground.assert_outside_untouched();
}

#[test]
fn loop_of_links_as_a_parent() {
    let tar = Tar::new().symlink("a", "a").file("a/b", "x");

    Ground::new().refuses(tar, &["not a directory"]);
}

#[test]
fn file_as_a_parent() {
    let tar = Tar::new().file("a", "x").file("a/b", "x");

    Ground::new().refuses(tar, &["below \"a\""]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn no_sequence_of_entries_reaches_the_outside(
        entries in prop::collection::vec((0..6_usize, 0..6_usize, 0..6_usize), 1..12)
    ) {
        const NAMES: [&str; 6] = ["a", "a/b", "a/b/c", "b", ".wh.a", "b/a"];
        const TARGETS: [&str; 6] = ["../outside", "../outside/shadow", "a", "/", "..", "b"];
        let ground = Ground::new();
        // Links of which some really lead outside.
        symlink("../outside", ground.root().join("b")).unwrap();

        let tar = entries.into_iter().fold(Tar::new(), |tar, (kind, name, target)| {
            let (name, target) = (NAMES[name], TARGETS[target]);
            match kind {
                0 => tar.directory(name),
                1 | 2 => tar.file(name, "x"),
                3 | 4 => tar.symlink(name, target),
                _ => tar.hard_link(name, target),
            }
        });
        drop(ground.unpack(tar));

        ground.assert_outside_untouched();
    }
}
