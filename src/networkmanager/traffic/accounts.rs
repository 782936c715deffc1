//! Whose bytes are counted, and the keys of the stored rows.
//!
//! The keys are those of release 7.2.3, which named its firewall chains so. A
//! takeover then needs no step of its own, and continues the day. A key has a
//! hash of the instance's id: ids are random, so that two of them share one of
//! 2^64 hashes does not happen within one day's rows.

use std::fmt;

use crate::model::InstanceId;

/// Whose bytes are counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Account {
    /// The host's own.
    Node,
    /// Those of the instance whose id has this hash.
    Instance(u64),
}

/// Which bytes of an account.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Direction {
    /// Towards the node or instance.
    Received,
    /// From the node or instance.
    Sent,
}

/// The key of a stored row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Key {
    pub(super) account: Account,
    pub(super) direction: Direction,
}

impl Account {
    /// The account of an instance.
    pub(super) fn of(instance: InstanceId) -> Self {
        Self::Instance(fnv64a(instance.to_string().as_bytes()))
    }
}

impl Key {
    /// The key that reads so; `None` for what was never written as one.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let rest = text.strip_prefix("AOS_")?;
        let (owner, direction) = rest.rsplit_once('_')?;
        let direction = match direction {
            "IN" => Direction::Received,
            "OUT" => Direction::Sent,
            _ => return None,
        };
        let account = match owner {
            "SYSTEM" => Account::Node,
            hash => Account::Instance(u64::from_str_radix(hash, 16).ok()?),
        };

        let key = Self { account, direction };
        (key.to_string() == text).then_some(key)
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let direction = match self.direction {
            Direction::Received => "IN",
            Direction::Sent => "OUT",
        };
        match self.account {
            Account::Node => write!(f, "AOS_SYSTEM_{direction}"),
            Account::Instance(hash) => write!(f, "AOS_{hash:x}_{direction}"),
        }
    }
}

/// The hash FNV-1a of 64 bits.
fn fnv64a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn hash_is_the_published_one() {
        assert_eq!(fnv64a(b""), 0xcbf2_9ce4_8422_2325);
        assert_eq!(fnv64a(b"a"), 0xaf63_dc4c_8601_ec8c);
        assert_eq!(fnv64a(b"foobar"), 0x8594_4171_f739_67e8);
    }

    #[test]
    fn keys_are_those_of_the_older_release() {
        let id = "8a3c1d52-1f0e-4b6f-9c62-7d5a0e9b1c33".parse().unwrap();
        let Account::Instance(hash) = Account::of(id) else {
            panic!("an instance");
        };

        let key = |account, direction| Key { account, direction }.to_string();

        assert_eq!(key(Account::Node, Direction::Received), "AOS_SYSTEM_IN");
        assert_eq!(key(Account::Node, Direction::Sent), "AOS_SYSTEM_OUT");
        let received = key(Account::of(id), Direction::Received);
        assert_eq!(received, format!("AOS_{hash:x}_IN"));
        // As Go's FormatUint writes it: no leading zeros.
        let small = key(Account::Instance(0xab), Direction::Sent);
        assert_eq!(small, "AOS_ab_OUT");
    }

    #[test]
    fn what_is_no_key_is_told_from_keys() {
        for text in [
            "",
            "AOS_",
            "AOS__IN",
            "AOS_IN",
            "AOS_SYSTEM",
            "AOS_SYSTEM_UP",
            "AOS_00ab_IN",
            "AOS_AB_IN",
            "AOS_+ab_IN",
            "AOS_12345678123456781_OUT",
            "aos_system_in",
        ] {
            assert_eq!(Key::parse(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_a_key_or_none(text in any::<String>()) {
            if let Some(key) = Key::parse(&text) {
                prop_assert_eq!(key.to_string(), text);
            }
        }

        #[test]
        fn every_key_is_read_as_it_was_written(hash: u64, node: bool, received: bool) {
            let account = if node { Account::Node } else { Account::Instance(hash) };
            let direction = if received { Direction::Received } else { Direction::Sent };
            let key = Key { account, direction };

            prop_assert_eq!(Key::parse(&key.to_string()), Some(key));
        }
    }
}
