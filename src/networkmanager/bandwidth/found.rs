//! What limits the kernel has.

use super::{Limit, Rate, Shaping};

/// What is at the root of a link's queues.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::networkmanager) enum Root {
    /// What the kernel puts there by itself.
    #[default]
    Default,
    /// The bucket of a rate, just as we make it.
    Bucket(Rate),
    /// Anything else.
    Other,
}

/// One link, as far as limits go.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::networkmanager) struct End {
    pub(in crate::networkmanager) index: u32,
    pub(in crate::networkmanager) up: bool,
    pub(in crate::networkmanager) root: Root,
    /// Whether what comes in can be filtered.
    pub(in crate::networkmanager) ingress: bool,
    /// The filters of what comes in: the link to which all of it goes, or `None`
    /// for a filter that is not ours.
    pub(in crate::networkmanager) filters: Vec<Option<u32>>,
}

/// The links of an instance at the host.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::networkmanager) struct Found {
    pub(in crate::networkmanager) host_end: End,
    pub(in crate::networkmanager) ifb: Option<End>,
}

impl Found {
    /// The limits that these links make.
    pub(in crate::networkmanager) fn shaping(&self) -> Shaping {
        Shaping {
            download: self.host_end.root.into(),
            upload: self.upload(),
        }
    }

    fn upload(&self) -> Limit {
        let Some(ifb) = &self.ifb else {
            return if self.host_end.ingress {
                Limit::Broken
            } else {
                Limit::Off
            };
        };

        match ifb.root {
            Root::Bucket(rate) if ifb.up && self.host_end.filters == [Some(ifb.index)] => {
                Limit::Rate(rate)
            }
            _ => Limit::Broken,
        }
    }
}

impl From<Root> for Limit {
    fn from(root: Root) -> Self {
        match root {
            Root::Default => Self::Off,
            Root::Bucket(rate) => Self::Rate(rate),
            Root::Other => Self::Broken,
        }
    }
}
