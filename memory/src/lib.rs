//! Memory that a program has, and does not need at the moment.
//!
//! A daemon works when it starts and when something changes, and then waits for days.
//! What it has from its work stays with it: free memory between what is in use in the
//! heap, and all the code that it came by. [`give_back`] returns both to the kernel.
//! What is needed again comes back by itself, in microseconds as long as the file is in
//! the page cache.

mod mappings;

use std::ffi::c_void;
use std::fs;
use std::io;
use std::num::NonZeroUsize;
use std::ptr::NonNull;

use nix::sys::mman::{MmapAdvise, madvise};
use nix::unistd::{SysconfVar, sysconf};

use mappings::unchanged_files;

/// Where the kernel tells a process of its memory, mapping by mapping.
const SMAPS: &str = "/proc/self/smaps";

/// The same in one line of numbers, in pages.
const STATM: &str = "/proc/self/statm";

/// Gives free memory of the heap and pages of program files back to the kernel. Takes
/// some milliseconds, for as long as the allocator is locked: for moments of calm.
///
/// # Errors
///
/// The kernel does not tell of the memory, or does not take the advice. Nothing is lost
/// then.
pub fn give_back() -> io::Result<()> {
    trim();

    let text = fs::read_to_string(SMAPS)?;
    for range in unchanged_files(&text) {
        let Some(start) = NonZeroUsize::new(range.start) else {
            continue;
        };
        let start = NonNull::<c_void>::without_provenance(start);
        // SAFETY: the range is a private mapping of a file that cannot be written to and
        // has no page that differs from the file, so every page reads the same when it
        // comes back. Nothing in this program changes the protection of such a mapping.
        unsafe { madvise(start, range.len(), MmapAdvise::MADV_DONTNEED)? };
    }

    Ok(())
}

/// So many bytes of the process are in memory. A cheap question, for it to be asked often.
///
/// # Errors
///
/// The kernel does not tell.
pub fn resident() -> io::Result<u64> {
    let text = fs::read_to_string(STATM)?;
    let page = sysconf(SysconfVar::PAGE_SIZE)?.and_then(|size| u64::try_from(size).ok());

    resident_pages(&text)
        .zip(page)
        .and_then(|(pages, page)| pages.checked_mul(page))
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, format!("{STATM} is {text:?}")))
}

/// The second number of `statm`, see proc_pid_statm(5).
fn resident_pages(statm: &str) -> Option<u64> {
    statm.split_ascii_whitespace().nth(1)?.parse().ok()
}

/// Returns free memory at the end of the heap and within it.
#[cfg(target_env = "gnu")]
fn trim() {
    // SAFETY: it locks each arena that it works on, and moves nothing that is in use.
    // What it returns says only whether there was something to give.
    let _gave = unsafe { libc::malloc_trim(0) };
}

/// Other allocators return it by themselves.
#[cfg(not(target_env = "gnu"))]
fn trim() {}

#[cfg(test)]
mod tests {
    use super::*;

    /// Bytes of this process that nobody else has.
    fn anonymous() -> u64 {
        value("Anonymous:")
    }

    fn value(key: &str) -> u64 {
        let text = fs::read_to_string("/proc/self/smaps_rollup").expect("Linux has it");
        let line = text.lines().find(|line| line.starts_with(key));
        let number = line.and_then(|line| line.split_ascii_whitespace().nth(1));
        number.and_then(|number| number.parse().ok()).expect(key)
    }

    #[test]
    #[cfg(target_env = "gnu")]
    fn what_was_freed_in_the_midst_of_the_heap_goes_back() {
        const BLOCKS: usize = 32 * 1024;
        let blocks: Vec<_> = (0..BLOCKS).map(|_| vec![1_u8; 1000]).collect();
        // What lives on is everywhere.
        let kept: Vec<_> = blocks.into_iter().step_by(64).collect();
        let before = anonymous();

        give_back().unwrap();

        let after = anonymous();
        assert!(after + 20 * 1024 < before, "{before} kB, then {after} kB");
        assert!(kept.iter().flatten().all(|byte| *byte == 1));
    }

    #[test]
    fn what_is_written_to_is_resident() {
        const MIB: u64 = 1024 * 1024;
        let before = resident().unwrap();
        let block = vec![1_u8; 32 * 1024 * 1024];

        let after = resident().unwrap();

        assert!(block.iter().all(|byte| *byte == 1));
        assert!(
            (before + 16 * MIB..before + 64 * MIB).contains(&after),
            "{before}, then {after}"
        );
    }

    #[test]
    fn what_the_kernel_does_not_say_is_nothing() {
        assert_eq!(resident_pages("5000 1200 800 1 0 700 0\n"), Some(1200));
        assert_eq!(resident_pages("5000"), None);
        assert_eq!(resident_pages("5000 many"), None);
        assert_eq!(resident_pages(""), None);
    }

    #[test]
    fn code_that_went_back_still_runs() {
        for _ in 0..3 {
            give_back().unwrap();
            let sum: u64 = (1..=1000).sum();
            assert_eq!(format!("{sum}"), "500500");
        }
    }

    #[test]
    fn pages_of_the_program_go_back() {
        // Other tests may be processes of the same program.
        let of_files = || value("Rss:") - anonymous();
        let before = of_files();

        give_back().unwrap();

        let after = of_files();
        assert!(after < before, "{before} kB, then {after} kB");
    }
}
