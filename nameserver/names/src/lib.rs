//! The files by which the service manager tells the name server who is who.
//!
//! One file a network, [`NetworkNames`] as JSON, named after its bridge. It is
//! written beside its place and renamed, so that a reader finds it whole; all
//! the same a reader takes nothing for granted, and [`NetworkNames::read`]
//! refuses what no server could work with.

use std::net::{IpAddr, Ipv4Addr};

use serde::{Deserialize, Serialize};

/// Where the files are.
pub const DIRECTORY: &str = "/run/aos/names";
/// How a file's name ends. Others in the directory are not read.
pub const EXTENSION: &str = "json";
/// Longest file that is read, in bytes.
pub const LONGEST_FILE: usize = 4 << 20;

/// Longest name, in bytes, without a dot at its end.
const LONGEST_NAME: usize = 253;
/// Longest part between two dots.
const LONGEST_LABEL: usize = 63;
/// Longest name of a link.
const LONGEST_LINK: usize = 15;

/// One provider network of the node, and the names in it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetworkNames {
    /// Its id, which is the suffix of its names in other networks.
    pub network: String,
    /// The bridge whose ports may ask.
    pub bridge: String,
    /// The bridge's index: another one is another bridge of the same name.
    pub bridge_index: u32,
    /// The bridge's address, where the server listens.
    pub gateway: Ipv4Addr,
    /// Bits of the subnet's prefix.
    pub prefix: u8,
    /// Asked about what is no name of the unit; empty: those of the host.
    pub dns_servers: Vec<IpAddr>,
    /// Who is in it.
    pub instances: Vec<InstanceNames>,
}

/// One instance in a network.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InstanceNames {
    /// Its id.
    pub id: String,
    /// Its address.
    pub address: Ipv4Addr,
    /// Its names, without the network's suffix, the main one first.
    pub names: Vec<String>,
}

/// A text is no file of names.
#[derive(Debug, thiserror::Error)]
pub enum BadFile {
    /// It is longer than any network needs.
    #[error("it has more than {LONGEST_FILE} bytes")]
    Long,
    /// It is not the JSON that is expected.
    #[error("it cannot be read")]
    Json(#[from] serde_json::Error),
    /// No link can be called so.
    #[error("`{0}` cannot be the name of a bridge")]
    Bridge(String),
    /// Nobody can be in such a network.
    #[error("{gateway}/{prefix} cannot be the address of a gateway")]
    Gateway {
        /// As in the file.
        gateway: Ipv4Addr,
        /// As in the file.
        prefix: u8,
    },
}

impl NetworkNames {
    /// Reads a file's text.
    ///
    /// # Errors
    ///
    /// When it is not JSON of this form, or has a network that cannot be.
    pub fn read(text: &[u8]) -> Result<Self, BadFile> {
        if text.len() > LONGEST_FILE {
            return Err(BadFile::Long);
        }
        let names: Self = serde_json::from_slice(text)?;
        if !is_link_name(&names.bridge) {
            return Err(BadFile::Bridge(names.bridge));
        }
        if !(1..=30).contains(&names.prefix) || names.gateway.is_unspecified() {
            return Err(BadFile::Gateway {
                gateway: names.gateway,
                prefix: names.prefix,
            });
        }

        Ok(names)
    }

    /// The text of the file.
    #[must_use]
    pub fn text(&self) -> Vec<u8> {
        let mut text = serde_json::to_vec_pretty(self).expect("it has only texts and numbers");
        text.push(b'\n');
        text
    }

    /// Whether `address` is in the network's subnet.
    #[must_use]
    pub fn contains(&self, address: Ipv4Addr) -> bool {
        let mask = u32::MAX
            .checked_shl(32 - u32::from(self.prefix.min(32)))
            .unwrap_or(0);
        u32::from(address) & mask == u32::from(self.gateway) & mask
    }
}

/// Whether a resolver can ask for this name: labels of letters, digits, `-` and
/// `_`, not too long. Others cannot be looked up by the usual libraries, even
/// where DNS itself would carry them.
#[must_use]
pub fn is_name(text: &str) -> bool {
    text.len() <= LONGEST_NAME && text.split('.').all(is_label)
}

fn is_label(label: &str) -> bool {
    !label.is_empty()
        && label.len() <= LONGEST_LABEL
        && !label.starts_with('-')
        && label
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
}

fn is_link_name(text: &str) -> bool {
    !text.is_empty()
        && text.len() <= LONGEST_LINK
        && !matches!(text, "." | "..")
        && text
            .bytes()
            .all(|byte| byte.is_ascii_graphic() && byte != b'/')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn example() -> NetworkNames {
        NetworkNames {
            network: "provider".into(),
            bridge: "br-provider".into(),
            bridge_index: 7,
            gateway: Ipv4Addr::new(172, 17, 0, 1),
            prefix: 16,
            dns_servers: vec![IpAddr::from([10, 0, 0, 53])],
            instances: vec![InstanceNames {
                id: "id".into(),
                address: Ipv4Addr::new(172, 17, 0, 2),
                names: vec!["web".into(), "0.subject.service".into()],
            }],
        }
    }

    #[test]
    fn what_is_written_is_read_again() {
        let names = example();

        assert_eq!(NetworkNames::read(&names.text()).unwrap(), names);
    }

    #[test]
    fn half_of_a_file_is_refused() {
        let text = example().text();

        for end in 0..text.len() - 2 {
            assert!(NetworkNames::read(&text[..end]).is_err(), "{end}");
        }
    }

    #[test]
    fn networks_that_cannot_be_are_refused() {
        for bridge in ["", "../../etc", "a b", "0123456789abcdef", ".."] {
            let mut names = example();
            names.bridge = bridge.into();
            let outcome = NetworkNames::read(&names.text());
            assert!(matches!(outcome, Err(BadFile::Bridge(_))), "{bridge}");
        }
        for prefix in [0, 31, 32, 33, 255] {
            let mut names = example();
            names.prefix = prefix;
            let outcome = NetworkNames::read(&names.text());
            assert!(matches!(outcome, Err(BadFile::Gateway { .. })), "{prefix}");
        }
    }

    #[test]
    fn file_that_is_too_long_is_not_even_parsed() {
        let text = vec![b' '; LONGEST_FILE + 1];

        assert!(matches!(NetworkNames::read(&text), Err(BadFile::Long)));
    }

    #[test]
    fn subnet_ends_at_its_prefix() {
        let names = example();

        assert!(names.contains(Ipv4Addr::new(172, 17, 255, 255)));
        assert!(!names.contains(Ipv4Addr::new(172, 18, 0, 1)));
    }

    #[test]
    fn names_are_what_resolvers_ask_for() {
        for good in ["a", "web", "0.sub_ject.Service-1", "1", &"a".repeat(63)] {
            assert!(is_name(good), "{good}");
        }
        let long = ["a".repeat(63), String::new()].join(".").repeat(4) + "a";
        for bad in [
            "",
            ".",
            "a.",
            ".a",
            "a..b",
            "a b",
            "-a",
            "a/b",
            "naïve",
            "a\n",
            &"a".repeat(64),
            &long,
        ] {
            assert!(!is_name(bad), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_the_reader_panic(text: Vec<u8>) {
            drop(NetworkNames::read(&text));
        }
    }
}
