//! Much from little.

use super::Expected::{Installed, Refused};
use super::Hostile;
use super::build::{gzip, in_service, of_bytes, root, service_files, tar, zstd};
use super::raw::{FILE, Header, LONG_NAME, Tar};

/// More than a package may become, in bytes.
const TOO_MUCH: usize = 17 << 30;
/// Zeros that are compressed at once.
const PIECE: usize = 64 << 20;

/// Zeros without end, behind something else. A file of several frames or members
/// is one file.
fn zeros_after(start: &[u8], compress: fn(&[u8]) -> Vec<u8>) -> Vec<u8> {
    let piece = compress(&vec![0; PIECE]);
    [compress(start), piece.repeat(TOO_MUCH / PIECE)].concat()
}

/// The same entries, again and again.
fn repeated(entries: Tar, count: usize) -> Vec<u8> {
    let piece = zstd(&entries.open());
    [zstd(&root().open()), piece.repeat(count), zstd(&[0; 1024])].concat()
}

pub(super) fn all() -> Vec<Hostile> {
    let more = Refused("the archive has more than");
    vec![
        in_service("bomb-of-gzip", more, || {
            let header = Header::new("x", FILE, 0).size(b"\x80\0\0\0\0\0\0\x05\0\0\0\0");
            zeros_after(&root().raw(&header.bytes(0)).open(), gzip)
        }),
        in_service("bomb-of-zstd", more, || {
            let header = Header::new("x", FILE, 0).size(b"\x80\0\0\0\0\0\0\x05\0\0\0\0");
            zeros_after(&root().raw(&header.bytes(0)).open(), zstd)
        }),
        in_service("bomb-behind-the-end", more, || {
            zeros_after(&root().end(), zstd)
        }),
        of_bytes("bomb-behind-the-package", more, || {
            zeros_after(&tar(&service_files(&root().end())).end(), zstd)
        }),
        in_service(
            "window-of-a-gigabyte",
            Refused("a window of more than 8 MiB"),
            || {
                // A frame with a window of 1 GiB, and an empty last block.
                [&b"\x28\xb5\x2f\xfd"[..], &[0, 0xa0], &[1, 0, 0]].concat()
            },
        ),
        in_service("files-100000", Installed, || {
            let piece = |start: usize| {
                (start..start + 1000)
                    .fold(Tar::default(), |tar, number| {
                        tar.file(format!("many/{}/{number}", number % 100), "in")
                    })
                    .open()
            };
            let pieces = (0..100).map(|number| zstd(&piece(1000 * number)));
            [zstd(&root().open())]
                .into_iter()
                .chain(pieces)
                .chain([zstd(&[0; 1024])])
                .flatten()
                .collect()
        }),
        in_service("hard-links-10000", Installed, || {
            let tar = root().file("one", vec![b'x'; 1 << 20]);
            let linked = |tar: Tar, number| tar.hard_link(format!("links/{number}"), "one");
            (0..10_000).fold(tar, linked).end()
        }),
        in_service("entries-a-million", more, || {
            let thousand = |tar: Tar| (0..1000).fold(tar, |tar, _| tar.directory("x"));
            repeated(thousand(Tar::default()), 1001)
        }),
        in_service("names-without-end", more, || {
            let name = format!("{}/", "n".repeat(200)).repeat(20);
            let entry = |tar: Tar| tar.long(LONG_NAME, &name).directory("n");
            repeated((0..100).fold(Tar::default(), |tar, _| entry(tar)), 170)
        }),
    ]
}
