//! Trees of the test's own, changed in every way that a disk or a human has.

use std::fs::{self, File, FileTimes, Permissions};
use std::io::{self, Read};
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use tempfile::TempDir;

use crate::layermanager::record::{self, RecordError, write_by_reading};
use crate::layermanager::verify::compare::{Depth, Finding, compare, renew};
use crate::layermanager::verify::pace::{Hasty, Speed, Thorough};
use crate::model::Chain;

/// An item with two roots and its record.
struct Tree {
    directory: TempDir,
}

impl Tree {
    fn new() -> Self {
        let directory = TempDir::new().unwrap();
        let tree = Self { directory };
        fs::create_dir_all(tree.at("rootfs/etc/app")).unwrap();
        fs::create_dir_all(tree.at("rootfs-1/lib")).unwrap();
        fs::write(tree.at("rootfs/etc/app/config"), "one = 1").unwrap();
        fs::write(tree.at("rootfs/etc/empty"), "").unwrap();
        symlink("app/config", tree.at("rootfs/etc/link")).unwrap();
        fs::write(tree.at("rootfs-1/lib/z.so"), vec![7; 100_000]).unwrap();
        let roots = [tree.at("rootfs"), tree.at("rootfs-1")];
        let roots = [("rootfs", &*roots[0]), ("rootfs-1", &*roots[1])];
        write_by_reading(&roots, &record::beside(&tree.item()), &|| false).unwrap();
        tree
    }

    fn item(&self) -> PathBuf {
        self.directory.path().join("item")
    }

    fn at(&self, path: &str) -> PathBuf {
        self.item().join(path)
    }

    fn proof(&self) -> Finding {
        compare(&self.item(), &mut Hasty, &|| false).unwrap()
    }

    fn check(&self) -> Finding {
        let speed = Speed::new(1, true);
        let mut depth = Thorough {
            speed: &speed,
            bytes: 0,
        };
        compare(&self.item(), &mut depth, &|| false).unwrap()
    }

    /// What both say, as CM is told.
    fn damage(&self) -> String {
        let (proof, check) = (text(&self.proof()), text(&self.check()));
        assert_eq!(proof, check);
        proof
    }
}

fn text(finding: &Finding) -> String {
    match finding {
        Finding::Damaged(error) => Chain(error).to_string(),
        other => format!("{other:?}"),
    }
}

/// Writes other bytes into a file and leaves no trace in what anybody may set.
fn rot(path: &Path, bytes: &[u8]) {
    let before = fs::metadata(path).unwrap();
    fs::write(path, bytes).unwrap();
    set_times(path, before.modified().unwrap());
}

fn set_times(path: &Path, time: SystemTime) {
    let times = FileTimes::new().set_modified(time);
    File::options()
        .write(true)
        .open(path)
        .unwrap()
        .set_times(times)
        .unwrap();
}

#[test]
fn what_nobody_touched_is_the_same() {
    let tree = Tree::new();

    assert_eq!(text(&tree.proof()), "Same(9)");
    assert_eq!(text(&tree.check()), "Same(9)");
}

type Change = fn(&Tree);

#[test]
fn each_change_is_found_and_its_file_named() {
    let cases: [(Change, &str, &str); 11] = [
        (
            |tree| fs::write(tree.at("rootfs/etc/app/config"), "one = 2").unwrap(),
            "rootfs/etc/app/config",
            "has other content",
        ),
        (
            |tree| rot(&tree.at("rootfs/etc/app/config"), b"one = 2"),
            "rootfs/etc/app/config",
            "has other content",
        ),
        (
            |tree| fs::write(tree.at("rootfs/etc/empty"), "x").unwrap(),
            "rootfs/etc/empty",
            "has 1 bytes, expected 0",
        ),
        (
            |tree| fs::remove_file(tree.at("rootfs-1/lib/z.so")).unwrap(),
            "rootfs-1/lib/z.so",
            "is missing",
        ),
        (
            |tree| fs::remove_dir_all(tree.at("rootfs/etc/app")).unwrap(),
            "rootfs/etc/app",
            "is missing",
        ),
        (
            |tree| fs::remove_dir_all(tree.at("rootfs-1")).unwrap(),
            "rootfs-1",
            "is missing",
        ),
        (
            |tree| fs::write(tree.at("rootfs/etc/aaa"), "").unwrap(),
            "rootfs/etc/aaa",
            "was not installed",
        ),
        (
            |tree| fs::create_dir(tree.at("rootfs-1/zzz")).unwrap(),
            "rootfs-1/zzz",
            "was not installed",
        ),
        (
            |tree| {
                let mode = Permissions::from_mode(0o4755);
                fs::set_permissions(tree.at("rootfs/etc/empty"), mode).unwrap();
            },
            "rootfs/etc/empty",
            "has mode 4755, expected 644",
        ),
        (
            |tree| {
                fs::remove_file(tree.at("rootfs/etc/link")).unwrap();
                symlink("/etc/passwd", tree.at("rootfs/etc/link")).unwrap();
            },
            "rootfs/etc/link",
            "has 11 bytes, expected 10",
        ),
        (
            |tree| {
                fs::remove_file(tree.at("rootfs/etc/app/config")).unwrap();
                symlink("/etc/passwd", tree.at("rootfs/etc/app/config")).unwrap();
            },
            "rootfs/etc/app/config",
            "is something else now",
        ),
    ];

    for (change, file, what) in cases {
        let tree = Tree::new();
        change(&tree);

        let damage = tree.damage();

        let expected = format!("{} {what}", tree.at(file).display());
        assert!(damage.starts_with(&expected), "{damage}, not {expected}");
    }
}

#[test]
fn link_to_another_place_of_the_same_length_is_found() {
    let tree = Tree::new();
    fs::remove_file(tree.at("rootfs/etc/link")).unwrap();
    symlink("app/secret", tree.at("rootfs/etc/link")).unwrap();

    assert!(tree.damage().contains("link has other content"));
}

#[test]
fn directory_that_became_a_link_is_not_followed() {
    let tree = Tree::new();
    let elsewhere = tree.directory.path().join("elsewhere");
    fs::rename(tree.at("rootfs"), &elsewhere).unwrap();
    symlink(&elsewhere, tree.at("rootfs")).unwrap();

    assert!(
        tree.damage()
            .starts_with(tree.at("rootfs").to_str().unwrap())
    );
}

#[test]
fn only_the_first_differences_are_told() {
    let tree = Tree::new();
    for index in 0..1000 {
        fs::write(tree.at(&format!("rootfs/extra-{index}")), "").unwrap();
    }

    let damage = tree.damage();

    assert_eq!(damage.matches("was not installed").count(), 5, "{damage}");
    assert!(damage.ends_with("and maybe more"));
}

#[test]
fn content_that_rots_behind_its_attributes_is_found_by_the_check_alone() {
    let tree = Tree::new();
    let path = tree.at("rootfs-1/lib/z.so");
    fs::write(&path, vec![8; 100_000]).unwrap();
    // As if the disk had done it: the record has the times of now.
    let record = record::beside(&tree.item());
    forge_times(&record, &path);

    assert_eq!(text(&tree.proof()), "Same(9)");
    let expected = format!("{} has other content", path.display());
    assert_eq!(text(&tree.check()), expected);
}

/// Writes the present times of `path` into its line, and the sum that goes with
/// it.
fn forge_times(record: &Path, path: &Path) {
    let metadata = fs::metadata(path).unwrap();
    let nanoseconds = |seconds: i64, rest: i64| seconds * 1_000_000_000 + rest;
    let times = [
        nanoseconds(metadata.mtime(), metadata.mtime_nsec()).to_string(),
        nanoseconds(metadata.ctime(), metadata.ctime_nsec()).to_string(),
    ];
    let text = fs::read_to_string(record).unwrap();
    let mut lines = String::new();
    for line in text.lines().filter(|line| !line.starts_with("sum\t")) {
        let mut fields: Vec<_> = line.split('\t').collect();
        if line.ends_with("z.so") {
            fields[5] = &times[0];
            fields[6] = &times[1];
        }
        lines.push_str(&fields.join("\t"));
        lines.push('\n');
    }
    let sum = record::ContentHasher::of(lines.as_bytes());
    fs::write(record, format!("{lines}sum\t{sum:032x}\n")).unwrap();
}

#[test]
fn copied_tree_is_in_order_and_is_recorded_anew() {
    let tree = Tree::new();
    let aside = tree.directory.path().join("aside");
    fs::rename(tree.item(), &aside).unwrap();
    let copied = std::process::Command::new("cp")
        .args(["-a", "--"])
        .args([&aside, &tree.item()])
        .status()
        .unwrap();
    assert!(copied.success());

    let first = text(&tree.proof());
    renew(&tree.item()).unwrap();

    assert_eq!(first, "Touched(9)");
    assert_eq!(text(&tree.proof()), "Same(9)");
    assert_eq!(text(&tree.check()), "Same(9)");
}

#[test]
fn touched_file_is_read_before_it_is_believed() {
    let tree = Tree::new();
    let later = SystemTime::now() + Duration::from_secs(5);
    set_times(&tree.at("rootfs/etc/app/config"), later);

    assert_eq!(text(&tree.proof()), "Touched(9)");
}

#[test]
fn item_without_a_record_is_no_damage() {
    let tree = Tree::new();
    fs::remove_file(record::beside(&tree.item())).unwrap();

    assert_eq!(text(&tree.proof()), "Unrecorded");
}

#[test]
fn damaged_record_is_damage_of_the_item() {
    let tree = Tree::new();
    let path = record::beside(&tree.item());
    let whole = fs::read(&path).unwrap();

    for at in [3, whole.len() / 3, whole.len() / 2, whole.len() - 3] {
        let mut bytes = whole.clone();
        bytes[at] ^= 1;
        fs::write(&path, bytes).unwrap();

        let damage = tree.damage();
        let expected = "what its files were is not known any more";
        assert!(damage.starts_with(expected), "{at}: {damage}");
    }
    fs::write(&path, &whole[..whole.len() - 40]).unwrap();
    assert!(tree.damage().contains("not known any more"));
}

/// A disk that cannot read one byte.
struct Broken(io::ErrorKind, Option<i32>);

impl Depth for Broken {
    fn reads_all(&self) -> bool {
        true
    }

    fn reader(&mut self, _: File) -> io::Result<Box<dyn Read + '_>> {
        Err(self
            .1
            .map_or_else(|| self.0.into(), io::Error::from_raw_os_error))
    }

    fn read(&mut self, _: &File) {}
}

#[test]
fn what_the_disk_cannot_read_is_damaged_and_what_we_cannot_read_is_not() {
    const EIO: i32 = 5;
    const EMFILE: i32 = 24;
    let tree = Tree::new();
    let look = |errno| {
        let mut depth = Broken(io::ErrorKind::Other, Some(errno));
        compare(&tree.item(), &mut depth, &|| false)
    };

    let damaged = look(EIO).unwrap();
    let refused = look(EMFILE).unwrap_err();

    assert!(text(&damaged).contains("config cannot be read: Input/output error"));
    assert!(matches!(refused, RecordError::Read { .. }), "{refused:?}");
}

#[test]
fn stop_ends_it_without_a_verdict() {
    let tree = Tree::new();

    let stopped = compare(&tree.item(), &mut Hasty, &|| true);

    assert!(matches!(stopped, Err(RecordError::Stopped)));
}
