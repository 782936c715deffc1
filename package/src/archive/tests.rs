use std::io::{self, Read};

use proptest::prelude::*;
use tar::{Builder, EntryType, Header};

use super::*;

fn header(kind: EntryType, size: u64) -> Header {
    let mut header = Header::new_ustar();
    header.set_entry_type(kind);
    header.set_size(size);
    header.set_mode(0o640);
    header.set_uid(1000);
    header.set_gid(1001);
    header.set_mtime(1_700_000_000);
    header
}

fn sample() -> Vec<u8> {
    let mut tar = Builder::new(Vec::new());
    tar.append_data(&mut header(EntryType::Directory, 0), "d/", io::empty())
        .unwrap();
    tar.append_data(&mut header(EntryType::Regular, 600), "d/f", &[7; 600][..])
        .unwrap();
    tar.append_link(&mut header(EntryType::Symlink, 0), "d/l", "f")
        .unwrap();
    tar.into_inner().unwrap()
}

fn all<R: Read>(source: R, limits: Limits) -> Result<Vec<(Entry, Vec<u8>)>, ArchiveError> {
    let mut archive = Archive::new(source, limits);
    let mut entries = Vec::new();
    while let Some(entry) = archive.next_entry()? {
        let mut content = Vec::new();
        archive
            .read_to_end(&mut content)
            .map_err(ArchiveError::Read)?;
        entries.push((entry, content));
    }
    Ok(entries)
}

fn names(tar: &[u8]) -> Vec<Vec<u8>> {
    let entries = all(tar, Limits::default()).unwrap();
    entries.into_iter().map(|(entry, _)| entry.name).collect()
}

#[test]
fn entries_are_as_they_were_written() {
    let entries = all(&sample()[..], Limits::default()).unwrap();

    let (file, content) = &entries[1];
    assert_eq!(file.name, b"d/f");
    assert_eq!((file.mode, file.uid, file.gid), (0o640, 1000, 1001));
    assert_eq!(file.mtime.seconds, 1_700_000_000);
    assert_eq!(content, &[7; 600]);
    assert_eq!(file.offset, 1024);
    assert_eq!(
        (entries[2].0.kind, &entries[2].0.link[..]),
        (Kind::Symlink, &b"f"[..])
    );
}

#[test]
fn content_that_is_not_read_is_skipped() {
    let sample = sample();
    let mut archive = Archive::new(&sample[..], Limits::default());

    let mut count = 0;
    while archive.next_entry().unwrap().is_some() {
        count += 1;
    }

    assert_eq!(count, 3);
}

#[test]
fn cut_at_any_byte_it_is_an_end_or_an_error_but_never_a_short_file() {
    let sample = sample();

    for end in 0..sample.len() {
        match all(&sample[..end], Limits::default()) {
            Ok(entries) => {
                assert!(
                    entries
                        .iter()
                        .all(|(entry, content)| entry.size == content.len() as u64),
                    "cut at {end}"
                );
            }
            Err(ArchiveError::Truncated { .. } | ArchiveError::Read(_)) => {}
            Err(other) => panic!("cut at {end}: {other}"),
        }
    }
}

#[test]
fn skipped_content_that_is_cut_off_is_told() {
    let sample = sample();
    let mut archive = Archive::new(&sample[..1100], Limits::default());
    archive.next_entry().unwrap();
    archive.next_entry().unwrap();

    let error = archive.next_entry().unwrap_err();

    assert_eq!(
        error.to_string(),
        "the archive ends at byte 1100, in the middle of an entry"
    );
}

#[test]
fn changed_header_is_damaged() {
    let mut sample = sample();
    sample[3] ^= 1;

    let error = all(&sample[..], Limits::default()).unwrap_err();

    assert!(matches!(error, ArchiveError::Header { offset: 0, .. }));
}

#[test]
fn long_names_of_gnu_and_pax_are_read() {
    let long = "x/".repeat(100) + "name\nwith newline";
    let mut gnu = Builder::new(Vec::new());
    let mut gnu_header = header(EntryType::Regular, 0);
    gnu.append_data(&mut gnu_header, &long, io::empty())
        .unwrap();
    let mut pax = Builder::new(Vec::new());
    pax.append_pax_extensions([("path", long.as_bytes()), ("uid", b"70000")])
        .unwrap();
    pax.append_data(&mut header(EntryType::Regular, 0), "short", io::empty())
        .unwrap();

    let (gnu, pax) = (gnu.into_inner().unwrap(), pax.into_inner().unwrap());

    assert_eq!(names(&gnu), [long.as_bytes()]);
    assert_eq!(names(&pax), [long.as_bytes()]);
    assert_eq!(all(&pax[..], Limits::default()).unwrap()[0].0.uid, 70000);
}

#[test]
fn size_of_a_pax_record_counts() {
    let mut tar = Builder::new(Vec::new());
    tar.append_pax_extensions([("size", &b"5"[..])]).unwrap();
    let mut plain = header(EntryType::Regular, 0);
    plain.set_path("f").unwrap();
    plain.set_cksum();
    tar.append(&plain, &b""[..]).unwrap();
    let mut tar = tar.into_inner().unwrap();
    let end = tar.len() - 1024;
    tar[end..end + 5].copy_from_slice(b"12345");

    let entries = all(&tar[..], Limits::default()).unwrap();

    assert_eq!(entries[0].1, b"12345");
}

#[test]
fn long_name_without_an_entry_is_damaged() {
    let mut tar = Builder::new(Vec::new());
    tar.append_pax_extensions([("path", &b"a"[..])]).unwrap();
    let tar = tar.into_inner().unwrap();

    let error = all(&tar[..], Limits::default()).unwrap_err();

    assert!(matches!(error, ArchiveError::Header { .. }));
}

#[test]
fn every_limit_is_kept() {
    let limits = Limits::default();
    let limited = |limits| match all(&sample()[..], limits) {
        Err(ArchiveError::Limit { limit, .. }) => limit,
        other => panic!("{other:?}"),
    };

    assert_eq!(
        limited(Limits {
            bytes: 1500,
            ..limits
        }),
        Limit::Bytes
    );
    assert_eq!(
        limited(Limits {
            entries: 2,
            ..limits
        }),
        Limit::Entries
    );
    assert_eq!(limited(Limits { names: 5, ..limits }), Limit::Names);
}

#[test]
fn size_beyond_all_limits_is_refused_before_it_is_read() {
    let mut huge = header(EntryType::Regular, u64::MAX >> 2);
    huge.set_cksum();

    let error = all(&huge.as_bytes()[..], Limits::default()).unwrap_err();

    assert!(matches!(
        error,
        ArchiveError::Limit {
            limit: Limit::Bytes,
            ..
        }
    ));
}

#[test]
fn endless_name_is_refused_before_it_is_read() {
    for (kind, limit) in [
        (EntryType::GNULongName, Limit::Name),
        (EntryType::GNULongLink, Limit::Name),
        (EntryType::XHeader, Limit::Extension),
    ] {
        let mut header = header(kind, 1 << 33);
        header.set_cksum();
        let endless = io::Read::chain(&header.as_bytes()[..], io::repeat(b'a'));

        match all(endless, Limits::default()) {
            Err(ArchiveError::Limit { limit: found, .. }) => assert_eq!(found, limit),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn endless_entries_end_at_the_limit() {
    let mut one = header(EntryType::Regular, 0);
    one.set_path("a").unwrap();
    one.set_cksum();
    let many = one.as_bytes().repeat(50);

    let error = all(
        &many[..],
        Limits {
            entries: 10,
            ..Limits::default()
        },
    )
    .unwrap_err();

    assert_eq!(error.to_string(), "the archive has more than 10 entries");
}

proptest! {
    #[test]
    fn changed_archive_gives_entries_or_an_error(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        repair: bool,
    ) {
        let mut tar = sample();
        for (index, byte) in &changes {
            let index = index.index(1600);
            tar[index] = *byte;
        }
        if repair {
            let mut first = Header::new_old();
            first.as_mut_bytes().copy_from_slice(&tar[..512]);
            first.set_cksum();
            tar[..512].copy_from_slice(first.as_bytes());
        }

        if let Ok(entries) = all(&tar[..], Limits::default()) {
            for (entry, content) in entries {
                prop_assert_eq!(entry.size, content.len() as u64);
                drop(Step::plan(&entry));
            }
        }
    }
}
