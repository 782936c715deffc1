//! How long the cloud has been away. Pure.
//!
//! While the machine is up, time is what has passed since its boot, which no
//! jump of the wall clock changes and sleep does not stop. Over a boot it is what
//! the wall clock says has passed, and never less than nothing: a device without
//! a clock of its own counts on from where it was.
//!
//! Until CM has said for the first time whether the cloud is there, it counts as
//! away, but what runs is left alone for a while: SM that is only restarted must
//! not stop what it takes over.

mod calendar;
mod stored;

#[cfg(test)]
mod tests;

use std::time::Duration;

pub(super) use self::calendar::Calendar;
pub(super) use self::stored::LastOnline;
use super::host::Moment;

/// How long CM may take to say whether the cloud is there.
const CM_SPEAKS_WITHIN: Duration = Duration::from_secs(30);

/// What is known of the cloud.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Cloud {
    /// It is there.
    #[default]
    There,
    /// It has been away for so long.
    Away(Duration),
    /// It has been away for so long if it still is: nobody has said yet.
    Unknown(Duration),
}

impl Cloud {
    /// Whether a service that may be without it for so long must not start.
    pub(super) fn forbids_start(self, ttl: Option<Duration>) -> bool {
        match self {
            Self::There => false,
            Self::Away(away) | Self::Unknown(away) => ttl.is_some_and(|ttl| away >= ttl),
        }
    }

    /// Whether a service that may be without it for so long has to stop.
    pub(super) fn forbids_running(self, ttl: Option<Duration>) -> bool {
        matches!(self, Self::Away(_)) && self.forbids_start(ttl)
    }
}

/// See the module.
#[derive(Clone, Debug)]
pub(super) struct Offline {
    link: Link,
}

/// Moments since boot, and how long the cloud had been away then.
#[derive(Clone, Copy, Debug)]
enum Link {
    Up,
    Down { since: Duration, before: Duration },
    Untold { since: Duration, before: Duration },
}

impl Offline {
    /// Goes on from what was stored. A device that was never online begins now.
    pub(super) fn start(stored: Option<&LastOnline>, calendar: &Calendar, now: &Moment) -> Self {
        let before = stored.map_or(Duration::ZERO, |last| last.away_until(calendar, now));
        Self {
            link: Link::Untold {
                since: now.since_boot,
                before,
            },
        }
    }

    /// CM says whether the cloud is there. Returns whether that is news.
    pub(super) fn tell(&mut self, online: bool, now: &Moment) -> bool {
        let before = self.away(now);
        let (link, is_news) = match (online, self.link) {
            (true, Link::Up) => (Link::Up, false),
            (true, _) => (Link::Up, true),
            (false, link @ Link::Down { .. }) => (link, false),
            (false, Link::Up | Link::Untold { .. }) => {
                let since = now.since_boot;
                (Link::Down { since, before }, true)
            }
        };
        self.link = link;
        is_news
    }

    /// What is known at this moment.
    pub(super) fn cloud(&self, now: &Moment) -> Cloud {
        match self.link {
            Link::Up => Cloud::There,
            Link::Untold { .. } if self.left_for_cm(now).is_some() => {
                Cloud::Unknown(self.away(now))
            }
            Link::Down { .. } | Link::Untold { .. } => Cloud::Away(self.away(now)),
        }
    }

    /// How long CM still has to say whether the cloud is there.
    pub(super) fn left_for_cm(&self, now: &Moment) -> Option<Duration> {
        match self.link {
            Link::Untold { since, .. } => (since + CM_SPEAKS_WITHIN)
                .checked_sub(now.since_boot)
                .filter(|left| !left.is_zero()),
            Link::Up | Link::Down { .. } => None,
        }
    }

    /// What is to be stored at this moment.
    pub(super) fn last_online(&self, calendar: &Calendar, now: &Moment) -> LastOnline {
        LastOnline::new(self.away(now), calendar, now)
    }

    fn away(&self, now: &Moment) -> Duration {
        match self.link {
            Link::Up => Duration::ZERO,
            Link::Down { since, before } | Link::Untold { since, before } => {
                before.saturating_add(now.since_boot.saturating_sub(since))
            }
        }
    }
}
