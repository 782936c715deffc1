//! Names that lead elsewhere, or are none.

use super::Expected::{Installed, Refused};
use super::build::{in_service, root};
use super::raw::{
    CHARACTER, DIRECTORY, FIFO, HARD_LINK, LONG_LINK, LONG_NAME, PAX_GLOBAL, SYMLINK, Tar,
};
use super::{Expected, Hostile};

type Case = (&'static str, Expected, fn(Tar) -> Tar);

const UPWARDS: Expected = Refused("leaves the root");
const TOO_LONG: Expected = Refused("has a name that is too long");

const PLACES: [Case; 14] = [
    ("name-upwards", UPWARDS, |tar| tar.file("../outside", "out")),
    ("name-upwards-far", UPWARDS, |tar| {
        tar.file("../../../../../../tmp/outside", "out")
    }),
    ("name-upwards-inside", UPWARDS, |tar| {
        tar.file("a/../../outside", "out")
    }),
    ("name-upwards-and-back", UPWARDS, |tar| {
        tar.file("a/../b", "out")
    }),
    ("name-upwards-at-its-end", UPWARDS, |tar| {
        tar.directory("a/..")
    }),
    ("name-upwards-of-directory", UPWARDS, |tar| {
        tar.empty("../outside", DIRECTORY)
    }),
    ("name-upwards-of-symlink", UPWARDS, |tar| {
        tar.empty("../outside", SYMLINK)
    }),
    ("name-upwards-of-hard-link", UPWARDS, |tar| {
        tar.empty("../outside", HARD_LINK)
    }),
    ("name-upwards-of-fifo", UPWARDS, |tar| {
        tar.empty("../outside", FIFO)
    }),
    ("name-upwards-of-device", UPWARDS, |tar| {
        tar.empty("../outside", CHARACTER)
    }),
    ("name-upwards-by-pax", UPWARDS, |tar| {
        tar.pax(&[("path", b"../outside")]).file("innocent", "out")
    }),
    ("name-upwards-by-gnu", UPWARDS, |tar| {
        tar.long(LONG_NAME, "../outside").file("innocent", "out")
    }),
    ("target-upwards-by-pax", UPWARDS, |tar| {
        tar.pax(&[("linkpath", b"../outside")])
            .hard_link("x", "service.sh")
    }),
    ("target-upwards-by-gnu", UPWARDS, |tar| {
        tar.long(LONG_LINK, "../outside")
            .hard_link("x", "service.sh")
    }),
];

const FORMS: [Case; 17] = [
    ("name-absolute", Installed, |tar| {
        tar.file("/etc/passwd", "in")
    }),
    ("name-of-many-slashes", Installed, |tar| {
        tar.file("//a///b//", "in")
    }),
    ("name-of-other-systems", Installed, |tar| {
        tar.file("..\\..\\C:\\outside", "in")
    }),
    ("name-of-control-characters", Installed, |tar| {
        tar.file("\x1b[2J\r\n\x07", "in")
    }),
    ("name-of-no-text", Installed, |tar| {
        tar.file(b"\xff\xfe\xc0\xaf", "in")
    }),
    ("name-of-nothing", Refused("has no name"), |tar| {
        tar.file("", "in")
    }),
    ("name-of-the-root", Refused("has no name"), |tar| {
        tar.file("./", "in")
    }),
    (
        "name-with-zero-byte",
        Refused("has a zero byte in its name"),
        |tar| tar.pax(&[("path", b"a\0/../b")]).file("a", "in"),
    ),
    ("name-of-256", TOO_LONG, |tar| {
        tar.long(LONG_NAME, "n".repeat(256)).file("n", "in")
    }),
    ("name-of-255", Installed, |tar| {
        tar.long(LONG_NAME, "n".repeat(255)).file("n", "in")
    }),
    ("path-of-5000", TOO_LONG, |tar| {
        tar.long(LONG_NAME, "n".repeat(199).to_owned() + &"/n".repeat(2400))
            .file("n", "in")
    }),
    ("path-of-20000", Refused("bytes in one name"), |tar| {
        tar.long(LONG_NAME, "n/".repeat(10_000)).file("n", "in")
    }),
    (
        "path-of-a-megabyte-by-pax",
        Refused("bytes of extended attributes"),
        |tar| tar.pax(&[("path", &b"n/".repeat(600_000))]).file("n", "in"),
    ),
    (
        "directories-too-deep",
        Refused("has too many directories"),
        |tar| tar.long(LONG_NAME, "d/".repeat(129)).directory("d"),
    ),
    ("directories-deep", Installed, |tar| {
        tar.long(LONG_NAME, "d/".repeat(128)).directory("d")
    }),
    ("name-for-all-that-follow", Installed, |tar| {
        tar.records(
            PAX_GLOBAL,
            &[("path", b"../outside"), ("size", b"1099511627776")],
        )
        .file("x", "in")
    }),
    ("name-twice", Refused("leaves the root"), |tar| {
        tar.long(LONG_NAME, "innocent")
            .pax(&[("path", b"../outside")])
            .file("x", "in")
    }),
];

pub(super) fn all() -> Vec<Hostile> {
    let cases = [&PLACES[..], &FORMS].concat();
    cases
        .into_iter()
        .map(|(name, expected, add)| in_service(name, expected, move || add(root()).end()))
        .collect()
}
