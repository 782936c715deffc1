//! Named network namespaces, and sockets inside them.
//!
//! A name is a file on which the namespace is mounted, as `ip netns` does it. A
//! netlink socket belongs for ever to the namespace in which it was opened, so a
//! thread goes there only to open one, and ends.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;
use std::thread;

use nix::errno::Errno;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, setns, unshare};
use nix::sys::statfs::{NSFS_MAGIC, fstatfs};

/// The calling thread's own namespace.
const OWN: &str = "/proc/thread-self/ns/net";
/// Whether new links of a namespace get IPv6. Absent without IPv6.
const DISABLE_IPV6: &str = "/proc/sys/net/ipv6/conf/default/disable_ipv6";

/// The namespace that the calling thread is in.
pub(super) fn own() -> io::Result<File> {
    File::open(OWN)
}

/// Makes the directory of names, and makes it a shared mount: namespaces that
/// are named or unnamed later are so in all mount namespaces.
pub(super) fn prepare_directory(directory: &Path) -> io::Result<()> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o755)
        .create(directory)?;
    match share(directory) {
        // It is no mount point yet.
        Err(Errno::EINVAL) => {
            mount(
                Some(directory),
                directory,
                None::<&str>,
                MsFlags::MS_BIND | MsFlags::MS_REC,
                None::<&str>,
            )?;
            share(directory)?;
        }
        shared => shared?,
    }

    Ok(())
}

/// Makes a namespace, names it and runs `work` inside.
pub(super) fn create<T: Send>(
    name: &Path,
    work: impl FnOnce() -> io::Result<T> + Send,
) -> io::Result<T> {
    OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o444)
        .open(name)?;

    in_new_thread(|| {
        unshare(CloneFlags::CLONE_NEWNET)?;
        mount(
            Some(OWN),
            name,
            None::<&str>,
            MsFlags::MS_BIND,
            None::<&str>,
        )?;
        // Rules for IPv6 do not exist yet, so there must be none. Loopback
        // keeps its `::1`.
        match fs::write(DISABLE_IPV6, "1") {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => work(),
        }
    })
}

/// Takes a name away. One that is not there counts as taken away.
pub(super) fn delete(name: &Path) -> io::Result<()> {
    loop {
        match umount2(name, MntFlags::MNT_DETACH | MntFlags::UMOUNT_NOFOLLOW) {
            // Names can be mounted over one another.
            Ok(()) => {}
            Err(Errno::EINVAL | Errno::ENOENT) => break,
            Err(error) => return Err(error.into()),
        }
    }

    match fs::remove_file(name) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// The namespace with this name, or `None` when the name leads to none.
pub(in crate::networkmanager) fn open(name: &Path) -> io::Result<Option<File>> {
    let file = match File::open(name) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };

    let is_namespace = fstatfs(&file)?.filesystem_type() == NSFS_MAGIC;
    Ok(is_namespace.then_some(file))
}

/// Runs `work` inside a namespace.
#[expect(
    clippy::disallowed_methods,
    reason = "the one place that may switch namespaces; the thread ends there"
)]
pub(in crate::networkmanager) fn run_in<T: Send>(
    namespace: BorrowedFd<'_>,
    work: impl FnOnce() -> io::Result<T> + Send,
) -> io::Result<T> {
    in_new_thread(|| {
        setns(namespace.as_fd(), CloneFlags::CLONE_NEWNET)?;
        work()
    })
}

/// Runs `work` on a thread inside the namespace with this name.
pub(crate) fn run_in_named<T: Send>(
    name: &Path,
    work: impl FnOnce() -> io::Result<T> + Send,
) -> io::Result<T> {
    let namespace = open(name)?.ok_or(io::ErrorKind::NotFound)?;
    run_in(namespace.as_fd(), work)
}

fn in_new_thread<T: Send>(work: impl FnOnce() -> io::Result<T> + Send) -> io::Result<T> {
    thread::scope(|scope| {
        thread::Builder::new()
            .name("netns".into())
            .spawn_scoped(scope, work)?
            .join()
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

fn share(directory: &Path) -> Result<(), Errno> {
    mount(
        None::<&str>,
        directory,
        None::<&str>,
        MsFlags::MS_SHARED | MsFlags::MS_REC,
        None::<&str>,
    )
}
