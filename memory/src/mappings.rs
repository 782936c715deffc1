//! What `/proc/self/smaps` says. Pure.

use std::ops::Range;

/// The private mappings of files that cannot be written to and have no page of their
/// own: what is not in memory is read from the file.
pub(crate) fn unchanged_files(smaps: &str) -> Vec<Range<usize>> {
    let mut found = Vec::new();
    let mut mapping = None;
    for line in smaps.lines() {
        let mut words = line.split_ascii_whitespace();
        let Some(first) = words.next() else { continue };
        if let Some(range) = range(first) {
            mapping = is_read_only_file(words).then_some(range);
        } else if first == "Anonymous:" {
            // It says so of each mapping. Without it nothing is known.
            let is_unchanged = words.next() == Some("0");
            found.extend(mapping.take().filter(|_| is_unchanged));
        }
    }

    found
}

/// Of the line that begins a mapping, what is after the range: protection, offset,
/// device, inode, path.
fn is_read_only_file<'a>(mut words: impl Iterator<Item = &'a str>) -> bool {
    let protection = words.next().unwrap_or_default();
    let path = words.nth(3).unwrap_or_default();

    matches!(protection, "r-xp" | "r--p") && path.starts_with('/')
}

/// Addresses, as in `55d0c8a00000-55d0c8c00000`.
fn range(text: &str) -> Option<Range<usize>> {
    let (start, end) = text.split_once('-')?;
    let address = |text| usize::from_str_radix(text, 16).ok();
    let range = address(start)?..address(end)?;

    (!range.is_empty()).then_some(range)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn mapping(first: &str, anonymous: u32) -> String {
        format!("{first}\nSize: 4 kB\nRss: 4 kB\nAnonymous: {anonymous} kB\nVmFlags: rd mr\n")
    }

    #[test]
    fn code_and_constants_are_taken() {
        let text = [
            mapping("1000-3000 r--p 00000000 fe:00 7 /usr/bin/program", 0),
            mapping(
                "3000-5000 r-xp 00002000 fe:00 7   /usr/bin/program (deleted)",
                0,
            ),
        ];

        assert_eq!(
            unchanged_files(&text.concat()),
            [0x1000..0x3000, 0x3000..0x5000]
        );
    }

    #[test]
    fn what_may_differ_from_its_file_is_not_taken() {
        let text = [
            // Relocated, and read-only since.
            mapping("1000-2000 r--p 00002000 fe:00 7 /usr/bin/program", 4),
            mapping("2000-3000 rw-p 00003000 fe:00 7 /usr/bin/program", 0),
            mapping("3000-4000 rw-s 00000000 fe:00 8 /var/database-shm", 0),
            mapping("4000-5000 r--s 00000000 fe:00 8 /var/database-shm", 0),
            mapping("5000-6000 rw-p 00000000 00:00 0 [heap]", 0),
            mapping("6000-7000 r-xp 00000000 00:00 0 [vdso]", 0),
            mapping("7000-8000 r--p 00000000 00:00 0", 0),
            "8000-9000 r-xp 00000000 fe:00 7 /old/kernel\nSize: 4 kB\n".to_owned(),
        ];

        assert_eq!(unchanged_files(&text.concat()), []);
    }

    #[test]
    fn each_mapping_is_judged_by_its_own_pages() {
        let text = [
            "1000-2000 r-xp 00000000 fe:00 7 /without\n".to_owned(),
            mapping("2000-3000 rw-p 00000000 00:00 0 [heap]", 0),
            mapping("3000-4000 r-xp 00000000 fe:00 7 /usr/bin/program", 0),
        ];

        assert_eq!(unchanged_files(&text.concat()), vec![0x3000..0x4000]);
    }

    proptest! {
        #[test]
        fn no_text_is_too_strange(text in "([0-9a-f-]{0,12} (r-xp|r--p|rw-p)? [/a-z0: ]{0,20}\n?|Anonymous: [0-9]? kB\n|\\PC{0,20})*") {
            for range in unchanged_files(&text) {
                prop_assert!(range.start < range.end);
            }
        }
    }
}
