//! What a pass keeps, shows and refuses.

use std::io::Write;

use flate2::write::GzEncoder;

use super::*;

fn big() -> Vec<u8> {
    vec![b'x'; 1 + usize::try_from(DOCUMENT_MAX).unwrap()]
}

#[test]
fn documents_are_kept_and_archives_are_shown_in_their_order() {
    let gzip = b"\x1f\x8bmore";
    let bytes = Package::new()
        .file("./b.tar", layer("a"))
        .file("./manifest.json", "{}")
        .file("a.gz", gzip)
        .file("big", big())
        .bytes();

    let (contents, shown) = scan_bytes(&bytes).unwrap();

    let expected = [
        ("b.tar", layer("a")),
        ("a.gz", gzip.to_vec()),
        ("big", big()),
    ];
    let expected = expected.map(|(name, content)| (name.to_owned(), content));
    assert_eq!(shown, expected);
    assert_eq!(contents.document(&path("manifest.json")), Some(&b"{}"[..]));
    assert_eq!(contents.document(&path("big")), None);
    let Some(place) = contents.place(&path("a.gz")) else {
        panic!("it has a place")
    };
    let start = usize::try_from(place.offset).unwrap();
    assert_eq!((&bytes[start..start + 6], place.size), (&gzip[..], 6));
}

#[test]
fn every_beginning_of_an_archive_is_recognised() {
    let mut old = tar::Header::new_old();
    old.set_path("a").unwrap();
    old.set_size(0);
    old.set_cksum();
    let archives: [&[u8]; 7] = [
        b"\x1f\x8b",
        b"\x28\xb5\x2f\xfd",
        b"\x52\x2a\x4d\x18",
        b"\xfd7zXZ\0",
        b"BZh9",
        old.as_bytes(),
        // An empty archive.
        &[0; 1024],
    ];

    for archive in archives {
        let bytes = Package::new().file("a", archive).bytes();
        assert_eq!(scan_bytes(&bytes).unwrap().1.len(), 1, "{archive:?}");
    }
    for document in [&b""[..], b"{", &[0; 20], &[b' '; 1024], b"BZh"] {
        let bytes = Package::new().file("a", document).bytes();
        assert_eq!(scan_bytes(&bytes).unwrap().1, [], "{document:?}");
    }
}

#[test]
fn later_file_of_a_name_counts() {
    let bytes = Package::new()
        .file("a", layer("a"))
        .file("manifest.json", "one")
        .file("./a", layer("b"))
        .file("manifest.json", "two")
        .file("gone", "x")
        .entry("gone", EntryType::Directory, "", b"")
        .bytes();

    let (contents, shown) = scan_bytes(&bytes).unwrap();

    assert_eq!(shown.len(), 2);
    assert_eq!(contents.document(&path("manifest.json")), Some(&b"two"[..]));
    let place = contents.place(&path("a")).unwrap();
    assert!(place.offset > contents.place(&path("manifest.json")).unwrap().offset - 4096);
    assert_eq!(contents.place(&path("gone")), None);
}

#[test]
fn what_is_not_read_is_skipped() {
    let bytes = Package::new()
        .file("a", layer("a"))
        .file("manifest.json", "{}")
        .bytes();

    let contents = scan(
        &bytes[..],
        Limits::default(),
        &mut |_, _, _| Ok::<_, ()>(()),
    )
    .unwrap();

    assert!(contents.document(&path("manifest.json")).is_some());
}

#[test]
fn refusal_of_the_caller_ends_the_pass() {
    let bytes = Package::new()
        .file("a", layer("a"))
        .file("b", layer("b"))
        .bytes();

    let mut calls = 0;
    let ended = scan(&bytes[..], Limits::default(), &mut |_, _, _| {
        calls += 1;
        Err("no more")
    });

    assert!(matches!(ended, Err(ScanError::Blob("no more"))));
    assert_eq!(calls, 1);
}

#[test]
fn documents_beyond_what_is_kept_are_missed_only_when_they_are_needed() {
    let mut package = Package::new();
    for number in 0..9 {
        package = package.file(&number.to_string(), &big()[1..]);
    }
    let root = layer("a");
    let manifest =
        json!({"config": {"digest": digest("c")}, "layers": [{"digest": digest(&root)}]});
    let package = package
        .json("manifest.json", &manifest)
        .blob(root)
        .blob("c");

    let contents = package.scan();

    assert_eq!(
        contents.document(&path("0")).map(<[u8]>::len),
        Some(1 << 20)
    );
    assert_eq!(contents.document(&path("8")), None);
    assert!(contents.place(&path("8")).is_some());
    assert!(contents.document(&path("manifest.json")).is_some());
    let error = contents.service(&platform("arm64")).unwrap_err();
    let expected = format!(
        "{}: the package has more than 8388608 bytes of documents",
        blob("c")
    );
    assert_eq!(error.to_string(), expected);
}

#[test]
fn limits_are_kept() {
    let mut many = Package::new();
    for number in 0..=ENTRIES_MAX {
        many = many.file(&number.to_string(), "");
    }
    let mut long = Package::new();
    for number in 0..300 {
        long = long.file(&format!("{number}/{}", "long/".repeat(100).repeat(8)), "");
    }
    let huge = Package::new().file("a", vec![1; 100_000]);

    for (package, reason) in [
        (many, "the archive has more than 4096 entries"),
        (long, "has too many directories in its name"),
        (huge, "the archive has more than 50000 bytes"),
    ] {
        let limits = Limits {
            bytes: if reason.contains("50000") {
                50_000
            } else {
                1 << 30
            },
            ..Limits::default()
        };
        let result = scan(&package.bytes()[..], limits, &mut |_, _, _| {
            Ok::<_, io::Error>(())
        });
        let error = result.unwrap_err().to_string();
        assert!(error.contains(reason), "{error}");
    }
}

#[test]
fn name_that_leaves_the_package_is_refused() {
    let mut bytes = Package::new().file("xx/manifest.json", "{}").bytes();
    bytes[..2].copy_from_slice(b"..");
    let mut header = tar::Header::new_old();
    header.as_mut_bytes().copy_from_slice(&bytes[..512]);
    header.set_cksum();
    bytes[..512].copy_from_slice(header.as_bytes());

    let error = scan_bytes(&bytes).unwrap_err();

    assert_eq!(error.to_string(), "entry ../manifest.json leaves the root");
}

#[test]
fn reader_of_a_blob_is_told_where_the_package_ends() {
    let bytes = Package::new().file("a", big()).bytes();

    let error = scan_bytes(&bytes[..5000]).unwrap_err();

    assert!(matches!(error, ScanError::Blob(_)));
    let expected = "the archive ends at byte 5000, in the middle of an entry";
    assert_eq!(error.to_string(), expected);
}

#[test]
fn document_that_is_cut_off_is_told() {
    let bytes = Package::new().file("a", "x".repeat(4000)).bytes();

    for end in [600, 2000] {
        let error = scan_bytes(&bytes[..end]).unwrap_err().to_string();
        let expected = format!("the archive ends at byte {end}, in the middle of an entry");
        assert_eq!(error, expected);
    }
}

#[test]
fn compressed_package_is_read_to_its_real_end() {
    let tar = Package::new().file("manifest.json", "{}").bytes();
    let mut encoder = GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(&tar).unwrap();
    let gzip = encoder.finish().unwrap();
    let zstd = zstd::encode_all(&tar[..], 3).unwrap();

    for (bytes, compression) in [
        (tar, Compression::None),
        (gzip.clone(), Compression::Gzip),
        (zstd.clone(), Compression::Zstd),
    ] {
        let contents = scan_bytes(&bytes).unwrap().0;
        assert_eq!(contents.compression(), compression);
        assert!(contents.document(&path("manifest.json")).is_some());
    }
    for bytes in [gzip, zstd] {
        for cut in 1..10 {
            assert!(scan_bytes(&bytes[..bytes.len() - cut]).is_err(), "{cut}");
        }
        assert!(scan_bytes(&[&bytes[..], b"garbage"].concat()).is_err());
    }
}
