//! The servers that the host itself asks.

use std::fs;
use std::net::{IpAddr, Ipv4Addr};
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;
use std::time::Duration;

use tokio::time::Instant;

/// Asked when the host names no server.
const PUBLIC: IpAddr = IpAddr::V4(Ipv4Addr::new(8, 8, 8, 8));
/// How often it is looked whether the files have changed.
const LOOK: Duration = Duration::from_secs(1);
/// Servers that are asked, as resolvers do.
const MOST: usize = 3;

/// Follows the files. They are looked at when their content is needed, so
/// nothing has to watch them.
#[derive(Debug)]
pub(crate) struct Resolvers {
    files: Vec<PathBuf>,
    seen: Vec<Option<Stamp>>,
    looked: Option<Instant>,
    servers: Vec<IpAddr>,
}

/// Another one tells that a file has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp {
    inode: u64,
    size: u64,
    modified: (i64, i64),
}

impl Resolvers {
    /// The first of `files` counts that names a server.
    pub(crate) fn new(files: Vec<PathBuf>) -> Self {
        Self {
            files,
            seen: Vec::new(),
            looked: None,
            servers: vec![PUBLIC],
        }
    }

    pub(crate) fn servers(&mut self, now: Instant) -> &[IpAddr] {
        if self.looked.is_none_or(|looked| now - looked >= LOOK) {
            self.looked = Some(now);
            let stamps: Vec<_> = self.files.iter().map(stamp).collect();
            if stamps != self.seen {
                self.seen = stamps;
                let texts = self.files.iter().filter_map(|file| fs::read(file).ok());
                self.servers = texts
                    .map(|text| read(&String::from_utf8_lossy(&text)))
                    .find(|servers| !servers.is_empty())
                    .unwrap_or_else(|| vec![PUBLIC]);
            }
        }

        &self.servers
    }
}

fn stamp(file: &PathBuf) -> Option<Stamp> {
    let metadata = fs::metadata(file).ok()?;
    Some(Stamp {
        inode: metadata.ino(),
        size: metadata.size(),
        modified: (metadata.mtime(), metadata.mtime_nsec()),
    })
}

/// The servers of a `resolv.conf`. The server runs on the host, and so those
/// of the host's loopback are good; a scoped address is of no use to it.
fn read(text: &str) -> Vec<IpAddr> {
    text.lines()
        .filter_map(|line| {
            let mut words = line.split_whitespace();
            (words.next() == Some("nameserver")).then(|| words.next())?
        })
        .filter_map(|server| server.parse::<IpAddr>().ok())
        .filter(|server| !server.is_unspecified())
        .take(MOST)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(servers: &[IpAddr]) -> Vec<String> {
        servers.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn servers_are_the_lines_that_name_an_address() {
        let servers = read(
            "# nameserver 1.1.1.1\n\
             search lan\n\
             nameserver 127.0.0.53\n\
             nameserver\n\
             nameserver fe80::1%eth0\n\
             nameserver 0.0.0.0\n\
             nameserver\tfd00::1 # second\n\
             nameserver 10.0.0.1\n\
             nameserver 10.0.0.2\n",
        );

        assert_eq!(texts(&servers), ["127.0.0.53", "fd00::1", "10.0.0.1"]);
    }

    #[tokio::test(start_paused = true)]
    async fn first_file_with_a_server_counts_and_changes_are_seen() {
        let directory = tempfile::tempdir().unwrap();
        let [first, second] = ["first", "second"].map(|name| directory.path().join(name));
        let mut resolvers = Resolvers::new(vec![first.clone(), second.clone()]);
        let mut now = Instant::now();

        assert_eq!(texts(resolvers.servers(now)), ["8.8.8.8"]);
        fs::write(&first, "search lan\n").unwrap();
        fs::write(&second, "nameserver 10.0.0.2\n").unwrap();
        assert_eq!(texts(resolvers.servers(now)), ["8.8.8.8"], "a moment ago");
        now += LOOK;
        assert_eq!(texts(resolvers.servers(now)), ["10.0.0.2"]);
        fs::write(&first, "nameserver 10.0.0.1\n").unwrap();
        now += LOOK;
        assert_eq!(texts(resolvers.servers(now)), ["10.0.0.1"]);
        fs::remove_file(&first).unwrap();
        now += LOOK;
        assert_eq!(texts(resolvers.servers(now)), ["10.0.0.2"]);
    }
}
