//! Limits of the rates of instances, as values.
//!
//! Towards an instance, a token bucket at the host's end of its veth pair holds
//! packets back. Packets from it come in there, and the kernel has queues only
//! for what goes out: a filter sends them all through an ifb of the instance's
//! own, which has the bucket. [`shape`] says what to change, and [`Found`] what
//! is there. A rate changes in place, without a packet lost, where
//! [`Rate::bucket`] allows it.
//!
//! Invariant: an ifb is only there with an upload limit, and what was half made
//! is recognised as [`Limit::Broken`].

mod found;
#[cfg(test)]
mod property_tests;
mod rate;

use std::fmt;

pub(super) use self::found::{End, Found, Root};
pub(super) use self::rate::{Bucket, Rate};
use super::handle::Speeds;
use crate::model::InstanceId;

/// A way of packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Direction {
    /// Towards the instance.
    Download,
    /// From the instance.
    Upload,
}

/// What holds traffic up in one direction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Limit {
    /// Nothing.
    #[default]
    Off,
    /// A limit of ours.
    Rate(Rate),
    /// Parts of a limit, or something that is not ours.
    Broken,
}

/// The limits of an instance.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Shaping {
    pub(super) download: Limit,
    pub(super) upload: Limit,
}

/// A change of one limit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Shape {
    pub(super) instance: InstanceId,
    pub(super) host_end: String,
    pub(super) direction: Direction,
    pub(super) from: Limit,
    pub(super) to: Limit,
}

/// A link that can have a bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Port {
    /// The host's end of the veth pair.
    HostEnd,
    /// The instance's ifb.
    Ifb,
}

/// One request to the kernel. Those that take something away count it as taken
/// when it is not there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Act {
    /// Takes the bucket from a link, and with it what it has queued. Nothing
    /// follows when it is refused: a packet in it may not fit the next one.
    Unlimit(Port),
    /// Gives a link a bucket. One that is there changes in place.
    Limit(Port, Bucket),
    /// Deletes the ifb, and with it its bucket.
    DeleteIfb,
    /// Makes the ifb, with our alias and up: the filter would drop packets for
    /// one that is down.
    CreateIfb,
    /// Takes the filter from the host's end. Nothing follows when it is refused:
    /// packets would be sent where nothing is.
    Unredirect,
    /// Gives the host's end the filter, which is to be there no longer than the
    /// ifb: without it packets are dropped.
    Redirect,
}

/// What changes the limits of an instance from `old` to `new`.
pub(super) fn shape(
    instance: InstanceId,
    host_end: &str,
    old: impl Into<Shaping>,
    new: impl Into<Shaping>,
) -> Vec<Shape> {
    let (old, new) = (old.into(), new.into());
    let both = [
        (Direction::Download, old.download, new.download),
        (Direction::Upload, old.upload, new.upload),
    ];

    both.into_iter()
        .filter(|(_, from, to)| from != to)
        .map(|(direction, from, to)| Shape {
            instance,
            host_end: host_end.to_owned(),
            direction,
            from,
            to,
        })
        .collect()
}

impl Shape {
    /// What takes it back, however far it came.
    pub(super) fn undo(&self) -> Self {
        Self {
            from: Limit::Broken,
            to: self.from,
            ..self.clone()
        }
    }

    /// How it is done.
    pub(super) fn acts(&self) -> Vec<Act> {
        let Limit::Rate(rate) = self.to else {
            return self.removal();
        };

        let bucket = rate.bucket();
        let port = match self.direction {
            Direction::Download => Port::HostEnd,
            Direction::Upload => Port::Ifb,
        };
        let limit = Act::Limit(port, bucket);
        if self.changes_in_place(bucket) {
            return vec![limit];
        }

        let mut acts = self.removal();
        match self.direction {
            Direction::Download => acts.push(limit),
            // The filter comes last: no packet goes where it would be lost.
            Direction::Upload => acts.extend([Act::CreateIfb, limit, Act::Redirect]),
        }
        acts
    }

    fn removal(&self) -> Vec<Act> {
        match self.direction {
            Direction::Download => vec![Act::Unlimit(Port::HostEnd)],
            Direction::Upload => vec![Act::Unredirect, Act::DeleteIfb],
        }
    }

    /// Whether the bucket that is there can become this one: what it may have
    /// queued must fit it.
    fn changes_in_place(&self, bucket: Bucket) -> bool {
        matches!(self.from, Limit::Rate(old) if old.bucket().largest <= bucket.largest)
    }
}

impl From<Speeds> for Shaping {
    fn from(speeds: Speeds) -> Self {
        Self {
            download: Limit::from_kbit(speeds.download),
            upload: Limit::from_kbit(speeds.upload),
        }
    }
}

impl Limit {
    fn from_kbit(kbit: Option<u64>) -> Self {
        kbit.and_then(Rate::from_kbit).map_or(Self::Off, Self::Rate)
    }
}

impl fmt::Display for Direction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Download => "download",
            Self::Upload => "upload",
        })
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            instance,
            direction,
            to,
            ..
        } = self;
        match to {
            Limit::Rate(rate) => write!(f, "limit {direction} of instance {instance} to {rate}"),
            Limit::Off | Limit::Broken => {
                write!(f, "take the {direction} limit from instance {instance}")
            }
        }
    }
}
