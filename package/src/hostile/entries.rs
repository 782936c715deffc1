//! What entries of a filesystem must not do.

use super::Expected::{Installed, Refused};
use super::build::{in_layer, in_service, root};
use super::raw::{BLOCK_DEVICE, CHARACTER, DIRECTORY, FIFO, FILE, HARD_LINK, Header, SYMLINK, Tar};
use super::{Expected, Hostile};

type Case = (&'static str, Expected, fn(Tar) -> Tar);

const NOT_DIRECTORY: Expected = Refused("which is not a directory but maybe a link");
const NO_FILE: Expected = Refused("which is not a file of this archive");
const RESERVED: Expected = Refused("has a reserved name");

const LINKS: [Case; 18] = [
    ("symlink-absolute", Installed, |tar| {
        tar.symlink("x", "/etc/shadow")
    }),
    ("symlink-upwards", Installed, |tar| {
        tar.symlink("x", "../../../../etc/shadow")
    }),
    ("symlink-dangling", Installed, |tar| {
        tar.symlink("x", "nowhere")
    }),
    ("symlink-loop", Installed, |tar| {
        tar.symlink("x", "y").symlink("y", "x")
    }),
    ("symlink-nowhere", Refused("is a link to nowhere"), |tar| {
        tar.add(Header::new("x", SYMLINK, 0), b"")
    }),
    (
        "symlink-zero-byte",
        Refused("zero byte in its target"),
        |tar| tar.pax(&[("linkpath", b"a\0b")]).symlink("x", "y"),
    ),
    ("file-through-symlink", NOT_DIRECTORY, |tar| {
        tar.symlink("x", "/tmp").file("x/outside", "out")
    }),
    ("file-through-symlink-upwards", NOT_DIRECTORY, |tar| {
        tar.symlink("x", "../../..").file("x/outside", "out")
    }),
    ("file-through-chain-of-symlinks", NOT_DIRECTORY, |tar| {
        tar.symlink("x", "y")
            .symlink("y", "/tmp")
            .file("x/outside", "out")
    }),
    ("file-through-deep-symlink", NOT_DIRECTORY, |tar| {
        tar.directory("a/b")
            .symlink("a/b/c", "/tmp")
            .file("a/b/c/d/outside", "out")
    }),
    ("directory-through-symlink", NOT_DIRECTORY, |tar| {
        tar.symlink("x", "/tmp").directory("x/outside")
    }),
    ("symlink-through-symlink", NOT_DIRECTORY, |tar| {
        tar.symlink("x", "/tmp").symlink("x/outside", "/etc")
    }),
    ("hard-link-through-symlink", NOT_DIRECTORY, |tar| {
        tar.symlink("x", "/tmp")
            .hard_link("x/outside", "service.sh")
    }),
    ("whiteout-through-symlink", NOT_DIRECTORY, |tar| {
        tar.symlink("x", "/tmp").file("x/.wh.outside", "")
    }),
    ("opaque-through-symlink", NOT_DIRECTORY, |tar| {
        tar.symlink("x", "/tmp").file("x/.wh..wh..opq", "")
    }),
    ("symlink-in-place-of-used-directory", NOT_DIRECTORY, |tar| {
        tar.file("x/file", "in")
            .symlink("x", "/tmp")
            .file("x/outside", "out")
    }),
    ("file-in-place-of-symlink", Installed, |tar| {
        tar.symlink("x", "/tmp/outside").file("x", "in")
    }),
    ("directory-in-place-of-symlink", Installed, |tar| {
        tar.symlink("x", "/tmp")
            .directory("x")
            .file("x/inside", "in")
    }),
];

const HARD_LINKS: [Case; 11] = [
    ("hard-link-to-the-outside", NO_FILE, |tar| {
        tar.hard_link("x", "/etc/passwd")
    }),
    ("hard-link-upwards", Refused("leaves the root"), |tar| {
        tar.hard_link("x", "../../etc/passwd")
    }),
    ("hard-link-to-symlink", NO_FILE, |tar| {
        tar.symlink("y", "/etc/passwd").hard_link("x", "y")
    }),
    ("hard-link-by-symlink", NO_FILE, |tar| {
        tar.symlink("y", "/etc").hard_link("x", "y/passwd")
    }),
    ("hard-link-to-nothing", NO_FILE, |tar| {
        tar.hard_link("x", "missing")
    }),
    ("hard-link-to-later-file", NO_FILE, |tar| {
        tar.hard_link("x", "y").file("y", "late")
    }),
    ("hard-link-to-directory", NO_FILE, |tar| {
        tar.directory("y").hard_link("x", "y")
    }),
    ("hard-link-to-whiteout", NO_FILE, |tar| {
        tar.file(".wh.y", "").hard_link("x", "y")
    }),
    (
        "hard-link-to-itself",
        Refused("is a hard link to itself"),
        |tar| tar.hard_link("x", "./x"),
    ),
    ("hard-link-to-no-name", Refused("has no name"), |tar| {
        tar.add(Header::new("x", HARD_LINK, 0), b"")
    }),
    (
        "hard-link-that-removes-its-target",
        Refused("cannot write"),
        |tar| tar.file("x/y", "in").hard_link("x", "x/y"),
    ),
];

const TYPES: [Case; 12] = [
    ("device-of-characters", Installed, |tar| {
        tar.empty("dev/mem", CHARACTER)
    }),
    ("device-of-blocks", Installed, |tar| {
        tar.empty("dev/sda", BLOCK_DEVICE)
    }),
    ("device-over-file", Installed, |tar| {
        tar.file("x", "in").empty("x", CHARACTER)
    }),
    ("fifo", Installed, |tar| tar.empty("x", FIFO)),
    (
        "socket",
        Refused("is of a type that is not supported"),
        |tar| tar.empty("x", b's'),
    ),
    (
        "volume-label",
        Refused("is of a type that is not supported"),
        |tar| tar.empty("x", b'V'),
    ),
    (
        "multi-volume",
        Refused("is of a type that is not supported"),
        |tar| tar.empty("x", b'M'),
    ),
    ("sparse-file", Refused("is a sparse file"), |tar| {
        tar.empty("x", b'S')
    }),
    ("sparse-file-of-pax", Refused("is a sparse file"), |tar| {
        tar.pax(&[
            ("GNU.sparse.major", b"1"),
            ("GNU.sparse.realsize", b"1099511627776"),
        ])
        .file("x", "hole")
    }),
    ("setuid", Installed, |tar| {
        tar.add(Header::new("x", FILE, 2).mode(b"0006755"), b"in")
    }),
    ("directory-of-no-permissions", Installed, |tar| {
        tar.add(Header::new("x", DIRECTORY, 0).mode(b"0000000"), b"")
            .file("x/y", "in")
    }),
    ("attributes-of-overlayfs", Installed, |tar| {
        tar.pax(&[
            ("SCHILY.xattr.trusted.overlay.opaque", b"y"),
            ("SCHILY.xattr.trusted.overlay.redirect", b"/etc"),
            (
                "SCHILY.xattr.security.capability",
                b"\x01\0\0\x02\xff\xff\xff\xff",
            ),
        ])
        .directory("x")
    }),
];

const DUPLICATES: [Case; 6] = [
    ("file-twice", Installed, |tar| {
        tar.file("x", "one").file("x", "two")
    }),
    ("file-in-place-of-directory", Installed, |tar| {
        tar.file("x/y", "in").file("x", "in")
    }),
    ("directory-in-place-of-file", Installed, |tar| {
        tar.file("x", "in").directory("x").file("x/y", "in")
    }),
    ("file-below-file", NOT_DIRECTORY, |tar| {
        tar.file("x", "in").file("x/y", "in")
    }),
    ("everything-in-place-of-each-other", Installed, |tar| {
        let tar = tar
            .file("x", "in")
            .directory("x")
            .symlink("x", "/etc")
            .file("x", "in");
        tar.file(".wh.x", "")
            .symlink("x", "/tmp")
            .directory("x")
            .file("x/.wh..wh..opq", "")
    }),
    ("root-as-symlink", Refused("has no name"), |tar| {
        tar.symlink("./", "/etc")
    }),
];

const WHITEOUTS: [Case; 9] = [
    ("whiteout-of-everything", Installed, |tar| {
        let names = [
            "bin", "etc", "lib", "proc", "sys", "dev", "run", "usr", "var",
        ];
        names
            .iter()
            .fold(tar, |tar, name| tar.file(format!(".wh.{name}"), ""))
    }),
    ("whiteout-of-root", RESERVED, |tar| tar.file(".wh..", "")),
    ("whiteout-of-parent", RESERVED, |tar| {
        tar.file("a/.wh...", "")
    }),
    ("whiteout-of-nothing", RESERVED, |tar| tar.file(".wh.", "")),
    ("whiteout-of-whiteout", RESERVED, |tar| {
        tar.file(".wh..wh.x", "")
    }),
    ("whiteout-as-directory", RESERVED, |tar| {
        tar.file(".wh.x/y", "")
    }),
    ("whiteout-upwards", Refused("leaves the root"), |tar| {
        tar.file("../.wh.x", "")
    }),
    ("whiteout-with-content", Installed, |tar| {
        tar.file(".wh.x", "content")
    }),
    ("opaque-root", Installed, |tar| tar.file(".wh..wh..opq", "")),
];

pub(super) fn all() -> Vec<Hostile> {
    let of_services = [&LINKS[..], &HARD_LINKS, &TYPES, &DUPLICATES].concat();
    let of_services = of_services
        .into_iter()
        .map(|(name, expected, add)| in_service(name, expected, move || add(root()).end()));
    let of_layers = WHITEOUTS
        .into_iter()
        .map(|(name, expected, add)| in_layer(name, expected, move || add(root()).end()));
    let owner = in_layer(
        "owner-that-cannot-be",
        Refused("has an owner that cannot"),
        || {
            let header = Header::new("x", FILE, 0).uid(b"\x80\0\0\0\xff\xff\xff\xff");
            root().add(header, b"").end()
        },
    );
    of_services.chain(of_layers).chain([owner]).collect()
}
