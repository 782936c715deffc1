//! Packages that are wrong as a whole.

use super::Expected::{Installed, Refused};
use super::Hostile;
use super::build::{gzip, manifest, of_bytes, of_files, root, service_files, tar, zstd};
use super::raw::{DIRECTORY, FIFO, Tar};

fn good() -> Vec<u8> {
    tar(&service_files(&root().end())).end()
}

fn bad_manifest() -> (String, Vec<u8>) {
    ("./manifest.json".to_owned(), b"{}".to_vec())
}

pub(super) fn all() -> Vec<Hostile> {
    let none = Refused("it has no manifest.json");
    vec![
        of_bytes("package-of-nothing", none, Vec::new),
        of_bytes("package-of-zeros", none, || vec![0; 10_240]),
        of_bytes("package-of-text", Refused("the archive"), || {
            b"no archive ".repeat(100)
        }),
        of_bytes("package-of-xz", Refused("compressed with xz"), || {
            b"\xfd7zXZ\0\0".to_vec()
        }),
        of_bytes("package-cut", Refused("in the middle of an entry"), || {
            let mut bytes = good();
            bytes.truncate(bytes.len() - 1024 - 1000);
            bytes
        }),
        of_bytes(
            "package-of-gzip-cut",
            Refused("cannot read the archive"),
            || {
                let mut bytes = gzip(&good());
                bytes.truncate(bytes.len() - 4);
                bytes
            },
        ),
        of_bytes(
            "package-of-gzip-and-garbage",
            Refused("something else follows"),
            || [gzip(&good()), b"garbage".to_vec()].concat(),
        ),
        of_bytes(
            "package-of-zstd-cut",
            Refused("cannot read the archive"),
            || {
                let mut bytes = zstd(&good());
                bytes.truncate(bytes.len() - 4);
                bytes
            },
        ),
        of_bytes("package-and-garbage", Installed, || {
            [good(), b"garbage".repeat(100)].concat()
        }),
        of_bytes("package-and-another", Installed, || {
            [good(), tar(&vec![bad_manifest()]).end()].concat()
        }),
        of_bytes("package-name-upwards", Refused("leaves the root"), || {
            tar(&service_files(&root().end()))
                .file("../outside", "out")
                .end()
        }),
        of_bytes(
            "package-of-links",
            Refused("is a link that leads to no file"),
            || {
                let mut files = service_files(&root().end());
                files.remove(0);
                tar(&files).symlink("manifest.json", "/etc/passwd").end()
            },
        ),
        of_bytes("package-of-fifos", none, || {
            Tar::default().empty("manifest.json", FIFO).end()
        }),
        of_bytes(
            "package-of-5000-files",
            Refused("more than 4096 entries"),
            || {
                let start = tar(&service_files(&root().end()));
                (0..5000)
                    .fold(start, |tar, number| tar.file(format!("{number}"), ""))
                    .end()
            },
        ),
        of_files("manifest-missing", none, || {
            service_files(&root().end()).into_iter().skip(1).collect()
        }),
        of_bytes("manifest-as-directory", none, || {
            Tar::default().empty("manifest.json", DIRECTORY).end()
        }),
        of_bytes("manifest-in-directory", none, || {
            Tar::default()
                .file("package/manifest.json", manifest(b"").to_string())
                .end()
        }),
        of_files("manifest-twice", Installed, || {
            [vec![bad_manifest()], service_files(&root().end())].concat()
        }),
        of_files(
            "manifest-twice-the-other-way",
            Refused("names no layers"),
            || [service_files(&root().end()), vec![bad_manifest()]].concat(),
        ),
    ]
}
