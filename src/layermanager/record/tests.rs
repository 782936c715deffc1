use std::ffi::OsStr;
use std::fs::{self, File};
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{MetadataExt, symlink};

use proptest::prelude::*;
use tempfile::TempDir;

use super::*;
use crate::model::Chain;

fn tree() -> TempDir {
    let directory = TempDir::new().unwrap();
    let at = |name: &str| directory.path().join(name);
    fs::create_dir_all(at("root/b/c")).unwrap();
    fs::write(at("root/b/c/file"), "content").unwrap();
    fs::write(at("root/b.txt"), "").unwrap();
    fs::hard_link(at("root/b/c/file"), at("root/z")).unwrap();
    symlink("b/c", at("root/link")).unwrap();
    let strange = OsStr::from_bytes(b"a\t\n%\xff \\");
    fs::write(directory.path().join("root").join(strange), "strange").unwrap();
    directory
}

/// The record of `root` in `directory`, as a file.
fn recorded(directory: &TempDir) -> PathBuf {
    let to = directory.path().join("record");
    let root = directory.path().join("root");
    write_by_reading(&[("", &root)], &to, &|| false).unwrap();
    to
}

fn entries(path: &Path) -> Result<Vec<Entry>, RecordError> {
    Record::open(path)?.collect()
}

fn read(bytes: &[u8]) -> Result<Vec<Entry>, RecordError> {
    Record::new(bytes, Path::new("name"))?.collect()
}

fn refusal(bytes: &[u8]) -> String {
    Chain(&read(bytes).unwrap_err()).to_string()
}

fn with_sum(lines: &[u8]) -> Vec<u8> {
    let sum = format!("sum\t{:032x}\n", ContentHasher::of(lines));
    [lines, sum.as_bytes()].concat()
}

#[test]
fn every_file_is_recorded_as_it_is_and_in_the_order_of_paths() {
    let directory = tree();

    let entries = entries(&recorded(&directory)).unwrap();

    let paths = entries.iter().map(|entry| entry.path.clone());
    let paths = paths.collect::<Vec<_>>();
    assert!(paths.is_sorted(), "{paths:?}");
    assert_eq!(paths.len(), 8);
    for entry in &entries {
        let path = directory.path().join("root").join(&entry.path);
        let metadata = fs::symlink_metadata(&path).unwrap();
        assert_eq!(entry.mode, metadata.mode() & 0o7777);
        assert_eq!((entry.uid, entry.gid), (metadata.uid(), metadata.gid()));
        assert_eq!(entry.inode, metadata.ino());
        let hash = match entry.kind {
            Kind::File => Some(ContentHasher::of(&fs::read(&path).unwrap())),
            Kind::Symlink => Some(ContentHasher::of(b"b/c")),
            _ => None,
        };
        assert_eq!(entry.hash, hash, "{path:?}");
        if entry.path == Path::new(".") {
            assert_eq!((entry.mtime_ns, entry.ctime_ns), (None, None));
        } else {
            let ctime = i128::from(metadata.ctime()) * 1_000_000_000;
            let ctime = ctime + i128::from(metadata.ctime_nsec());
            assert_eq!(entry.ctime_ns, Some(ctime));
        }
    }
}

#[test]
fn noted_hashes_give_the_same_record_as_reading_does() {
    let directory = tree();
    let read = recorded(&directory);
    let mut hashes = Hashes::default();
    for entry in entries(&read).unwrap() {
        if entry.kind == Kind::File {
            // As of a file that was there before, under the same number.
            hashes.note(entry.inode, 7);
            hashes.note(entry.inode, entry.hash.unwrap());
        }
    }

    let noted = directory.path().join("noted");
    write(&[("", &directory.path().join("root"))], hashes, &noted).unwrap();

    assert_eq!(fs::read(noted).unwrap(), fs::read(read).unwrap());
}

#[test]
fn rename_of_a_root_changes_nothing_that_is_recorded() {
    let directory = tree();
    let before = fs::read(recorded(&directory)).unwrap();
    let moved = directory.path().join("moved");

    fs::rename(directory.path().join("root"), &moved).unwrap();
    let after = directory.path().join("after");
    write_by_reading(&[("", &moved)], &after, &|| false).unwrap();

    assert_eq!(fs::read(after).unwrap(), before);
}

#[test]
fn several_roots_have_their_names_before_their_paths() {
    let directory = tree();
    let to = directory.path().join("record");
    let (root, inner) = (
        directory.path().join("root"),
        directory.path().join("root/b"),
    );

    write_by_reading(&[("rootfs", &root), ("rootfs-1", &inner)], &to, &|| false).unwrap();

    let paths = entries(&to).unwrap().into_iter().map(|entry| entry.path);
    let paths = paths.collect::<Vec<_>>();
    assert!(paths.contains(&"rootfs".into()));
    assert!(paths.contains(&"rootfs/b/c/file".into()));
    assert!(paths.contains(&"rootfs-1/c/file".into()));
}

#[test]
fn file_that_nobody_hashed_is_named() {
    let directory = tree();
    let root = directory.path().join("root");

    let error = write(
        &[("", &root)],
        Hashes::default(),
        &directory.path().join("to"),
    );

    let error = error.unwrap_err().to_string();
    assert!(error.starts_with("nobody has hashed"), "{error}");
}

#[test]
fn record_never_takes_the_place_of_another_file() {
    let directory = tree();
    fs::write(directory.path().join("record"), "other").unwrap();
    let root = directory.path().join("root");

    let to = directory.path().join("record");
    let error = write_by_reading(&[("", &root)], &to, &|| false).unwrap_err();

    assert!(matches!(error, RecordError::Write { .. }));
    assert_eq!(fs::read_to_string(to).unwrap(), "other");
}

#[test]
fn missing_tree_and_link_to_a_tree_are_refused_by_name() {
    let directory = tree();
    symlink("root", directory.path().join("alias")).unwrap();

    for name in ["missing", "alias"] {
        let root = directory.path().join(name);
        let to = directory.path().join(format!("{name}.files"));
        let error = write_by_reading(&[("", &root)], &to, &|| false).unwrap_err();
        assert!(error.to_string().contains(name), "{error}");
    }
}

#[test]
fn reading_ends_when_it_is_stopped() {
    let directory = tree();
    let root = directory.path().join("root");

    let to = directory.path().join("record");
    let error = write_by_reading(&[("", &root)], &to, &|| true).unwrap_err();

    assert!(matches!(error, RecordError::Stopped));
    assert!(entries(&to).is_err());
}

#[test]
fn cut_at_any_byte_it_is_damaged() {
    let whole = fs::read(recorded(&tree())).unwrap();

    assert!(read(&whole).is_ok());
    for end in 0..whole.len() {
        assert!(read(&whole[..end]).is_err(), "cut at {end}");
    }
}

#[test]
fn any_changed_byte_is_damage() {
    let whole = fs::read(recorded(&tree())).unwrap();

    for index in 0..whole.len() {
        let mut changed = whole.clone();
        changed[index] ^= 1;
        assert!(read(&changed).is_err(), "changed at {index}");
    }
}

#[test]
fn damage_is_told_with_line_and_reason() {
    let head = b"aos-record 1\n".as_slice();
    let line = |line: &str| with_sum(&[head, line.as_bytes()].concat());
    let entry = "directory\t755\t0\t0\t0\t-\t-\t7\t-\t";
    let file = "file\t644\t0\t0\t0\t1\t1\t7\t";

    for (bytes, reason) in [
        (Vec::new(), "line 1: it is no record"),
        (b"aos-record 2\n".to_vec(), "line 1: it is no record"),
        (head.to_vec(), "line 2: it is cut off"),
        (line("text\n"), "line 2: it is no entry"),
        (line(&format!("{entry}a\tb\n")), "line 2: it is no entry"),
        (line(&format!("{entry}..\n")), "none below the directory"),
        (
            line(&format!("{entry}a/../b\n")),
            "none below the directory",
        ),
        (line(&format!("{entry}/a\n")), "none below the directory"),
        (line(&format!("{entry}\n")), "none below the directory"),
        (line(&format!("{entry}a//b\n")), "none below the directory"),
        (line(&format!("{entry}./a\n")), "none below the directory"),
        (line(&format!("{entry}a%00\n")), "none below the directory"),
        (line(&format!("{entry}%61\n")), "is not written"),
        (line(&format!("{entry}%zz\n")), "is not written"),
        (line(&format!("{file}-\ta\n")), "a hash is missing"),
        (line(&format!("{file}7\ta\n")), "is not written"),
        (
            line(&format!("{entry}{}\n", "a".repeat(5000))),
            "none below the directory",
        ),
        (
            line(&format!("{entry}{}\n", "a".repeat(1 << 20))),
            "too long",
        ),
        ([head, b"sum\t00\n"].concat(), "line 2: the sum is wrong"),
        (
            [with_sum(head), b"x".to_vec()].concat(),
            "line 3: something follows",
        ),
    ] {
        let text = refusal(&bytes);
        assert!(text.contains(reason), "{reason:?} is not in: {text}");
    }
}

#[test]
fn iterator_ends_with_its_first_error() {
    let mut record = Record::new(&b"aos-record 1\nx\ny\n"[..], Path::new("name")).unwrap();

    assert!(record.next().unwrap().is_err());
    assert!(record.next().is_none());
}

#[test]
fn record_that_cannot_be_read_is_an_error() {
    struct Broken;
    impl io::Read for Broken {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            Err(io::Error::other("broken"))
        }
    }

    assert!(Record::new(Broken, Path::new("name")).is_err());
    assert!(Record::open(Path::new("/missing/record")).is_err());
}

#[test]
fn content_is_hashed_the_same_in_pieces_and_as_a_whole() {
    let content = (0..700_000_u32).map(|value| value.to_le_bytes()[1]);
    let content = content.collect::<Vec<_>>();

    let hash = hash_content(&mut &content[..], &|| false).unwrap();

    assert_eq!(hash, Some(ContentHasher::of(&content)));
    // The value of the reference implementation: records outlive a release.
    assert_eq!(
        ContentHasher::of(b""),
        0x99aa_06d3_0147_98d8_6001_c324_468d_497f
    );
    let directory = tree();
    let mut file = File::open(directory.path().join("root/b/c/file")).unwrap();
    assert_eq!(hash_content(&mut file, &|| true).unwrap(), None);
}

fn a_name() -> impl Strategy<Value = Vec<u8>> {
    let byte = any::<u8>().prop_filter("no name has it", |byte| !b"\0/".contains(byte));
    prop::collection::vec(byte, 1..20)
        .prop_filter("is no name", |name| *name != b"." && *name != b"..")
}

fn an_entry() -> impl Strategy<Value = Entry> {
    let kinds = vec![Kind::Directory, Kind::File, Kind::CharacterDevice];
    (
        prop::sample::select(kinds),
        prop::collection::vec(a_name(), 1..4),
        any::<[u32; 3]>(),
        any::<[u64; 2]>(),
        any::<[Option<i64>; 2]>(),
        any::<u128>(),
    )
        .prop_map(|(kind, parts, small, large, times, hash)| Entry {
            path: OsString::from_vec(parts.join(&b'/')).into(),
            kind,
            mode: small[0],
            uid: small[1],
            gid: small[2],
            size: large[0],
            mtime_ns: times[0].map(i128::from),
            ctime_ns: times[1].map(i128::from),
            inode: large[1],
            hash: (kind == Kind::File).then_some(hash),
        })
}

proptest! {
    #[test]
    fn entry_is_read_as_it_was_written(entry in an_entry()) {
        let mut line = Vec::new();
        entry.write(&mut line);

        prop_assert_eq!(line.iter().filter(|byte| **byte == b'\n').count(), 1);
        prop_assert_eq!(Entry::parse(&line), Ok(entry));
    }

    #[test]
    fn whatever_is_read_is_entries_or_an_error(bytes: Vec<u8>, line in "[a-z0-9\t\n%./-]{0,80}") {
        drop(read(&bytes));
        drop(read(&with_sum(format!("aos-record 1\n{line}").as_bytes())));
    }
}
