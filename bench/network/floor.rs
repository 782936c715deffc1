//! What nobody who attaches instances can avoid: the calls of the kernel, one
//! after the other, nothing planned, checked, stored or told.

use std::fs::{self, File};
use std::ops::Range;
use std::os::fd::{AsRawFd, RawFd};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU8, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};
use rtnetlink::sys::Socket;
use rtnetlink::sys::protocols::{NETLINK_NETFILTER, NETLINK_ROUTE};

use super::wire::{self, Batch, CREATE, EXCL};
use super::{Rights, address, id, other};

/// More than processors: the kernel waits much of the time. Fewer are slower.
const WORKERS: usize = 16;
const OWN: &str = "/proc/thread-self/ns/net";
const DISABLE_IPV6: &str = "/proc/sys/net/ipv6/conf/default/disable_ipv6";
const BRIDGE: &str = "br-floor";
/// The bridge's index; high, so that no other link has it.
const BRIDGE_INDEX: u32 = 1000;
const INSIDE_INDEX: u32 = 100;
const UP: u32 = 1;
/// No measured instance has this number.
const LAST: u8 = 250;
/// How long the kernel may take for what it has put off.
const PATIENCE: Duration = Duration::from_mins(1);

const NEW_LINK: u16 = 16;
const SET_LINK: u16 = 19;
const NEW_ADDRESS: u16 = 20;
const NEW_ROUTE: u16 = 24;
const INET: u8 = 2;
const INET6: u16 = 10;

const NFT: u16 = 10 << 8;
const BATCH_BEGIN: u16 = 16;
const BATCH_END: u16 = 17;
const NEW_ELEMENTS: u16 = NFT | 12;
const DELETE_ELEMENTS: u16 = NFT | 14;
const NEW_OBJECT: u16 = NFT | 18;
const DELETE_OBJECT: u16 = NFT | 20;
const NFT_INET: u8 = 1;
const NFT_BRIDGE: u8 = 7;
const COUNTER: u32 = 1;

/// A host of its own: the namespace of the thread.
#[derive(Debug)]
pub(super) struct Floor {
    names: PathBuf,
    host: File,
    links: Socket,
    tables: Socket,
    rights: Rights,
}

impl Floor {
    pub(super) fn open(names: &Path, tables: &Path, rights: Rights) -> Result<Self> {
        unshare(CloneFlags::CLONE_NEWNET)?;
        fs::create_dir(names)?;
        let (names, none) = (names.to_owned(), None::<&str>);
        mount(Some(&names), &names, none, MsFlags::MS_BIND, none)?;
        mount(none, &names, none, MsFlags::MS_SHARED, none)?;
        run(Command::new("nft").arg("-f").arg(tables))?;
        let bridge = format!("link add {BRIDGE} index {BRIDGE_INDEX} up type bridge");
        run(Command::new("ip").args(bridge.split(' ')))?;

        Ok(Self {
            names,
            host: File::open(OWN)?,
            links: wire::open(NETLINK_ROUTE)?,
            tables: wire::open(NETLINK_NETFILTER)?,
            rights,
        })
    }

    pub(super) fn attach(&mut self, instances: Range<u8>) -> Result<Duration> {
        let start = Instant::now();
        let next = AtomicU8::new(instances.start);
        let work = || -> Result<()> {
            loop {
                let n = next.fetch_add(1, Ordering::Relaxed);
                if n >= instances.end {
                    return Ok(());
                }
                create(&self.name(n), n, self.host.as_raw_fd())?;
            }
        };
        thread::scope(|scope| {
            let workers: Vec<_> = (0..WORKERS.min(instances.len()))
                .map(|_| scope.spawn(work))
                .collect();
            workers
                .into_iter()
                .try_for_each(|worker| worker.join().expect("the floor panicked"))
        })?;
        self.admit(&instances, true)?;
        self.join(&instances)?;
        Ok(start.elapsed())
    }

    pub(super) fn detach(&mut self, instances: Range<u8>) -> Result<Duration> {
        let start = Instant::now();
        for n in instances.clone() {
            let name = self.name(n);
            umount2(&name, MntFlags::MNT_DETACH)?;
            fs::remove_file(&name)?;
        }
        self.admit(&instances, false)?;
        Ok(start.elapsed())
    }

    /// Waits until the kernel has deleted all namespaces that have lost their
    /// names: it does so in turns, so one more comes after all others.
    pub(super) fn settle(&mut self) -> Result<Duration> {
        let start = Instant::now();
        let name = self.name(LAST);
        let host = self.host.as_raw_fd();
        thread::scope(|scope| scope.spawn(|| create(&name, LAST, host)).join())
            .expect("the floor panicked")?;
        umount2(&name, MntFlags::MNT_DETACH)?;
        fs::remove_file(&name)?;
        let link = host_end(LAST);
        let gone = || Ok(!fs::read_to_string("/proc/thread-self/net/dev")?.contains(&link));
        wait(gone)?;
        Ok(start.elapsed())
    }

    fn name(&self, n: u8) -> PathBuf {
        self.names.join(id(n).to_string())
    }

    /// Makes host ends ports of the bridge, all at once.
    fn join(&self, instances: &Range<u8>) -> Result<()> {
        let mut batch = Batch::default();
        let mut last = 0;
        for n in instances.clone() {
            batch.message(SET_LINK, 0, &link(0, 0), |batch| {
                batch.text(3, &host_end(n));
                batch.text(20, &format!("instance {}", id(n)));
                batch.attribute(10, &BRIDGE_INDEX.to_ne_bytes());
                // No IPv6 address.
                batch.nested(26, |batch| {
                    batch.nested(INET6, |batch| batch.attribute(8, &[1]));
                });
            });
            last = batch.here();
            batch.message(NEW_LINK, 0, &link(0, UP), |batch| {
                batch.text(3, &host_end(n));
                batch.nested(18, |batch| {
                    batch.text(4, "bridge");
                    // Hairpin.
                    batch.nested(5, |batch| batch.attribute(4, &[1]));
                });
            });
        }
        batch.acknowledge(last);
        wire::send(&self.links, &batch)
    }

    /// Adds what the tables hold for instances, or takes it away, in one
    /// transaction.
    fn admit(&self, instances: &Range<u8>, add: bool) -> Result<()> {
        let mut batch = Batch::default();
        let ends = &[0, 0, 0, 10];
        batch.message(BATCH_BEGIN, 0, ends, |_| {});
        let mut last = 0;
        if add {
            objects(&mut batch, instances, add, &mut last);
        }
        let sets: [(u8, &str, Key); 7] = [
            (NFT_BRIDGE, "seats", |n| {
                let mut key = host_end(n).into_bytes();
                key.resize(16, 0);
                [&*key, &mac(n, 2), &[0; 2], &address(n).octets()].concat()
            }),
            (NFT_BRIDGE, "seat_addresses", |n| address(n).octets().into()),
            (NFT_BRIDGE, "seat_macs", |n| mac(n, 2).into()),
            (NFT_INET, "counters_in", |n| address(n).octets().into()),
            (NFT_INET, "counters_out", |n| address(n).octets().into()),
            (NFT_INET, "exposed", |n| {
                [&address(n).octets()[..], &[6, 0, 0, 0, 0, 80, 0, 0]].concat()
            }),
            (NFT_INET, "allowed", |n| {
                let (from, to) = (address(n).octets(), other(n).octets());
                [&from[..], &to, &[6, 0, 0, 0, 0, 80, 0, 0]].concat()
            }),
        ];
        let count = if self.rights.some { 7 } else { 5 };
        for (family, set, key) in sets.into_iter().take(count) {
            last = batch.here();
            let (kind, flags) = if add {
                (NEW_ELEMENTS, CREATE)
            } else {
                (DELETE_ELEMENTS, 0)
            };
            batch.message(kind, flags, &[family, 0, 0, 0], |batch| {
                batch.text(1, "aos");
                batch.text(2, set);
                batch.nested(3, |batch| {
                    for n in instances.clone() {
                        element(batch, set, n, &key(n));
                    }
                });
            });
        }
        if !add {
            objects(&mut batch, instances, add, &mut last);
        }
        batch.acknowledge(last);
        batch.message(BATCH_END, 0, ends, |_| {});
        wire::send(&self.tables, &batch)
    }
}

/// Links of instances that go are gone from the host's list.
pub(super) fn wait_for_links() -> Result<()> {
    // Those that stay are ports, and no port is without a namespace inside.
    wait(|| {
        let names = fs::read_dir("/run/netns")?.count();
        let list = fs::read_to_string("/proc/thread-self/net/dev")?;
        let links = list
            .lines()
            .filter(|line| line.trim_start().starts_with("veth"))
            .count();
        Ok(links <= names)
    })
}

type Key = fn(u8) -> Vec<u8>;

fn element(batch: &mut Batch, set: &str, n: u8, key: &[u8]) {
    batch.nested(1, |batch| {
        batch.nested(1, |batch| batch.attribute(1, key));
        if set == "allowed" {
            batch.nested(10, |batch| batch.attribute(1, key));
        }
        if let Some(direction) = set.strip_prefix("counters_") {
            batch.text(9, &format!("{direction}-{}", id(n)));
        }
    });
}

/// Two counters for each instance.
fn objects(batch: &mut Batch, instances: &Range<u8>, add: bool, last: &mut usize) {
    for n in instances.clone() {
        for direction in ["in", "out"] {
            *last = batch.here();
            let (kind, flags) = if add {
                (NEW_OBJECT, CREATE)
            } else {
                (DELETE_OBJECT, 0)
            };
            batch.message(kind, flags, &[NFT_INET, 0, 0, 0], |batch| {
                batch.text(1, "aos");
                batch.text(2, &format!("{direction}-{}", id(n)));
                batch.attribute(3, &COUNTER.to_be_bytes());
                if add {
                    batch.nested(4, |batch| {
                        batch.attribute(1, &0_u64.to_be_bytes());
                        batch.attribute(2, &0_u64.to_be_bytes());
                    });
                }
            });
        }
    }
}

/// Makes a namespace with a name, and all that is inside; the calling thread
/// stays there.
fn create(name: &Path, n: u8, host: RawFd) -> Result<()> {
    File::create_new(name)?;
    unshare(CloneFlags::CLONE_NEWNET)?;
    let none = None::<&str>;
    mount(Some(OWN), name, none, MsFlags::MS_BIND, none)?;
    if Path::new(DISABLE_IPV6).exists() {
        fs::write(DISABLE_IPV6, "1")?;
    }

    let mut batch = Batch::default();
    batch.message(SET_LINK, 0, &link(1, UP), |_| {});
    batch.message(NEW_LINK, CREATE | EXCL, &link(INSIDE_INDEX, UP), |batch| {
        batch.text(3, "eth0");
        batch.attribute(1, &mac(n, 2));
        batch.nested(18, |batch| {
            batch.text(1, "veth");
            batch.nested(2, |batch| {
                batch.nested(1, |batch| {
                    batch.raw(&link(0, 0));
                    batch.text(3, &host_end(n));
                    batch.attribute(1, &mac(n, 6));
                    batch.attribute(28, &host.to_ne_bytes());
                });
            });
        });
    });
    let index = INSIDE_INDEX.to_ne_bytes();
    let body = [&[INET, 24, 0, 0], &index[..]].concat();
    batch.message(NEW_ADDRESS, CREATE | EXCL, &body, |batch| {
        batch.attribute(2, &address(n).octets());
        batch.attribute(1, &address(n).octets());
        batch.attribute(4, &[10, 1, 0, 255]);
    });
    let last = batch.here();
    // In the main table, static, unicast.
    let body = [INET, 0, 0, 0, 254, 4, 0, 1, 0, 0, 0, 0];
    batch.message(NEW_ROUTE, CREATE | EXCL, &body, |batch| {
        batch.attribute(5, &[10, 1, 0, 1]);
    });
    batch.acknowledge(last);
    wire::send(&wire::open(NETLINK_ROUTE)?, &batch)
}

fn host_end(n: u8) -> String {
    // As long as those of the network manager.
    format!("vethf000000{n:04}")
}

fn mac(n: u8, first: u8) -> [u8; 6] {
    let [a, b, c, d] = address(n).octets();
    [first, 0, a, b, c, d]
}

/// What follows the header of a message about a link.
fn link(index: u32, up: u32) -> [u8; 16] {
    let mut bytes = [0; 16];
    bytes[4..8].copy_from_slice(&index.to_ne_bytes());
    bytes[8..12].copy_from_slice(&up.to_ne_bytes());
    bytes[12..].copy_from_slice(&up.to_ne_bytes());
    bytes
}

fn run(command: &mut Command) -> Result<()> {
    let status = command.status()?;
    ensure!(status.success(), "{command:?} failed");
    Ok(())
}

/// The kernel tells nobody when it has done what it put off.
#[expect(clippy::disallowed_methods, reason = "no worker waits for this thread")]
fn wait(is_good: impl Fn() -> Result<bool>) -> Result<()> {
    let start = Instant::now();
    while !is_good()? {
        ensure!(start.elapsed() < PATIENCE, "links stay");
        thread::sleep(Duration::from_millis(2));
    }
    Ok(())
}
