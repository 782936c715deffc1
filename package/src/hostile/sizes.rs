//! Sizes that are wrong, and ends that come too early.

use super::Expected::{Installed, Refused};
use super::build::{gzip, in_service, root, zstd};
use super::raw::{DIRECTORY, FILE, Header, LONG_NAME, PAX, Tar};
use super::{Expected, Hostile};

type Case = (&'static str, Expected, fn() -> Vec<u8>);

const MORE: Expected = Refused("the archive has more than");
const IN_ENTRY: Expected = Refused("in the middle of an entry");
const HEADER: Expected = Refused("damaged header");
const READ: Expected = Refused("cannot read the archive");

/// A file whose size is written so.
fn sized(field: &[u8]) -> Vec<u8> {
    let text = [b'x'; 1024];
    root()
        .add(Header::new("x", FILE, 0).size(field), &text)
        .end()
}

fn cut(mut bytes: Vec<u8>, count: usize) -> Vec<u8> {
    bytes.truncate(bytes.len() - count);
    bytes
}

/// A tar with a last file of two blocks and a half.
fn long() -> Tar {
    root().file("x", [b'x'; 1280])
}

const SIZES: [Case; 16] = [
    ("size-smaller-than-content", HEADER, || {
        sized(b"00000001000\0")
    }),
    ("size-larger-than-content", IN_ENTRY, || {
        sized(b"00000100000\0")
    }),
    ("size-of-terabytes", MORE, || {
        sized(b"\x80\0\0\0\0\0\x01\0\0\0\0\0")
    }),
    ("size-base-256", Installed, || {
        sized(b"\x80\0\0\0\0\0\0\0\0\0\x04\0")
    }),
    ("size-base-256-of-exabytes", MORE, || {
        sized(b"\x80\0\0\0\x0f\0\0\0\0\0\0\0")
    }),
    ("size-base-256-largest", HEADER, || {
        sized(b"\x80\0\0\0\xff\xff\xff\xff\xff\xff\xff\xff")
    }),
    ("size-base-256-negative", HEADER, || sized(&[0xff; 12])),
    ("size-no-number", HEADER, || sized(b"1x2y3z\0\0\0\0\0\0")),
    ("size-negative", HEADER, || sized(b"-0000002000\0")),
    ("size-by-pax-of-terabytes", MORE, || {
        root()
            .pax(&[("size", b"1099511627776")])
            .file("x", "in")
            .end()
    }),
    ("size-by-pax-smaller", HEADER, || {
        root()
            .pax(&[("size", b"512")])
            .file("x", [b'x'; 1024])
            .end()
    }),
    ("size-by-pax-negative", HEADER, || {
        root().pax(&[("size", b"-1")]).file("x", "in").end()
    }),
    ("size-of-directory", HEADER, || {
        root()
            .add(Header::new("x", DIRECTORY, 512), &[b'x'; 512])
            .end()
    }),
    ("size-of-long-name", MORE, || {
        let header = Header::new("x", LONG_NAME, 0).size(b"77777777777\0");
        root().add(header, b"name").end()
    }),
    ("checksum-wrong", HEADER, || {
        root().raw(&Header::new("x", FILE, 0).bytes(1)).end()
    }),
    ("long-name-of-nothing", HEADER, || {
        root().long(LONG_NAME, "x").end()
    }),
];

const RECORDS: [Case; 6] = [
    ("pax-time-before-1970", Installed, || {
        root()
            .pax(&[("mtime", b"-1000000000.5")])
            .file("x", "in")
            .end()
    }),
    ("pax-time-without-end", HEADER, || {
        root().pax(&[("mtime", &[b'9'; 400])]).file("x", "in").end()
    }),
    ("pax-record-longer-than-all", HEADER, || {
        pax(b"999 path=x\n")
    }),
    ("pax-record-of-no-length", HEADER, || pax(b"0 path=x\n")),
    ("pax-record-without-end", HEADER, || pax(b"10 path=abc")),
    (
        "pax-attribute-of-megabytes",
        Refused("bytes of extended attributes"),
        || {
            root()
                .pax(&[("SCHILY.xattr.user.x", &vec![b'x'; 2 << 20])])
                .file("x", "in")
                .end()
        },
    ),
];

fn pax(records: &[u8]) -> Vec<u8> {
    root()
        .add(Header::new("x", PAX, records.len()), records)
        .file("x", "in")
        .end()
}

const ENDS: [Case; 15] = [
    (
        "end-in-header",
        Refused("in the middle of a header"),
        || cut(root().empty("x", FILE).open(), 100),
    ),
    ("end-in-content", IN_ENTRY, || cut(long().open(), 900)),
    ("end-after-content", Installed, || cut(long().open(), 256)),
    ("end-without-mark", Installed, || long().open()),
    ("end-with-half-a-mark", Installed, || {
        long().raw(&[0; 512]).open()
    }),
    ("end-of-gzip-in-header", READ, || {
        gzip(&long().end()).into_iter().take(8).collect()
    }),
    ("end-of-gzip-in-content", READ, || {
        cut(gzip(&long().end()), 30)
    }),
    ("end-of-gzip-in-trailer", READ, || {
        cut(gzip(&long().end()), 3)
    }),
    ("end-of-gzip-before-trailer", READ, || {
        cut(gzip(&long().end()), 8)
    }),
    ("end-of-gzip-of-other-sum", READ, || {
        let mut gzip = gzip(&long().end());
        let sum = gzip.len() - 8;
        gzip.iter_mut()
            .skip(sum)
            .take(1)
            .for_each(|byte| *byte ^= 1);
        gzip
    }),
    ("end-of-zstd-in-header", READ, || {
        zstd(&long().end()).into_iter().take(5).collect()
    }),
    ("end-of-zstd-in-content", READ, || {
        cut(zstd(&long().end()), 9)
    }),
    (
        "garbage-after-gzip",
        Refused("something else follows"),
        || [gzip(&long().end()), b"garbage".to_vec()].concat(),
    ),
    ("garbage-after-zstd", READ, || {
        [zstd(&long().end()), b"garbage".to_vec()].concat()
    }),
    ("zeros-after-gzip", Installed, || {
        [gzip(&long().end()), vec![0; 5000]].concat()
    }),
];

pub(super) fn all() -> Vec<Hostile> {
    let cases = [&SIZES[..], &RECORDS, &ENDS].concat();
    cases
        .into_iter()
        .map(|(name, expected, make)| in_service(name, expected, make))
        .collect()
}
