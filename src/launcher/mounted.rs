//! Which mounts there are, from the kernel's list.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStringExt as _;
use std::path::{Path, PathBuf};

/// Mount points at `directory` and below, in the order in which they were
/// mounted. `directory` is absolute and has no links in it.
pub(crate) fn mounts_below(directory: &Path) -> io::Result<Vec<PathBuf>> {
    // A thread can have a mount namespace of its own.
    let table = fs::read("/proc/thread-self/mountinfo")?;

    Ok(mount_points(&table)
        .filter(|point| point.starts_with(directory))
        .collect())
}

/// Mount points in a table such as `/proc/self/mountinfo`.
fn mount_points(table: &[u8]) -> impl Iterator<Item = PathBuf> {
    table
        .split(|&byte| byte == b'\n')
        .filter_map(|line| line.split(|&byte| byte == b' ').nth(4))
        .map(|point| PathBuf::from(OsString::from_vec(unescape(point))))
}

/// The kernel writes blanks, line ends and backslashes as `\` and three octal
/// digits.
fn unescape(text: &[u8]) -> Vec<u8> {
    let mut plain = Vec::with_capacity(text.len());
    let mut rest = text;
    while let [first, tail @ ..] = rest {
        match rest {
            [
                b'\\',
                a @ b'0'..=b'3',
                b @ b'0'..=b'7',
                c @ b'0'..=b'7',
                tail @ ..,
            ] => {
                plain.push((a - b'0') << 6 | (b - b'0') << 3 | (c - b'0'));
                rest = tail;
            }
            _ => {
                plain.push(*first);
                rest = tail;
            }
        }
    }

    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &[u8] = b"\
22 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw
30 22 0:24 / /run rw shared:2 - tmpfs tmpfs rw
41 30 0:40 / /run/a\\040b\\134c/rootfs ro - overlay overlay ro
";

    #[test]
    fn mount_points_are_read_in_order() {
        let points: Vec<_> = mount_points(TABLE).collect();

        assert_eq!(
            points,
            ["/", "/run", "/run/a b\\c/rootfs"].map(PathBuf::from)
        );
    }

    #[test]
    fn damaged_lines_are_passed_over() {
        let points: Vec<_> = mount_points(b"1 2 3\n\nx").collect();

        assert_eq!(points, [] as [PathBuf; 0]);
    }

    #[test]
    fn only_whole_escapes_are_replaced() {
        assert_eq!(unescape(b"a\\04"), b"a\\04");
        assert_eq!(unescape(b"\\999\\"), b"\\999\\");
        assert_eq!(unescape(b"\\011x"), b"\tx");
    }

    #[test]
    fn the_machine_has_a_root() {
        let below = mounts_below(Path::new("/")).unwrap();

        assert!(below.contains(&PathBuf::from("/")));
    }
}
