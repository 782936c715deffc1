//! What is wrong and has to be told, each thing once.
//!
//! A trouble that may pass by itself is told when it has lasted for a while.
//! One that comes back soon after it went is not told again, so that a link
//! that comes and goes makes no flood of alerts.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::Instant;

use crate::model::NetworkId;

/// How long a trouble may last that may pass by itself.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long a trouble has to be gone to be news again.
const MEMORY: Duration = Duration::from_secs(600);
/// When to try again if nobody could listen.
const BUSY: Duration = Duration::from_secs(5);

/// What has a trouble.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Subject {
    /// The bridge of a network.
    Network(NetworkId),
    /// The VLAN of a network.
    Vlan(NetworkId),
    /// Forwarding of packets from this link.
    Forwarding(String),
    /// A chain of another firewall.
    ForeignFirewall(String),
}

/// One trouble as it is found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Trouble {
    pub(super) text: String,
    /// Somebody outside the unit should know, not only the log.
    pub(super) alert: bool,
    /// It may pass by itself.
    pub(super) may_pass: bool,
}

/// All troubles that there are, and those that were not long ago.
#[derive(Debug, Default)]
pub(super) struct Troubles {
    known: BTreeMap<Subject, Known>,
}

#[derive(Debug)]
struct Known {
    trouble: Trouble,
    /// When to tell of it. `None`: everybody knows.
    due: Option<Instant>,
    /// Since when it is gone.
    gone: Option<Instant>,
}

impl Troubles {
    /// Takes the troubles that there are now, and returns the texts of those
    /// that are new, for the log.
    pub(super) fn update(
        &mut self,
        found: impl IntoIterator<Item = (Subject, Trouble)>,
        now: Instant,
    ) -> Vec<String> {
        let mut found: BTreeMap<_, _> = found.into_iter().collect();
        let mut news = Vec::new();

        self.known.retain(|subject, known| {
            match found.remove(subject) {
                Some(trouble) if trouble == known.trouble => known.gone = None,
                Some(trouble) => {
                    news.push(trouble.text.clone());
                    *known = Known::new(trouble, now);
                }
                // Nobody needs to hear of it any more.
                None if known.due.is_some() => return false,
                None => {
                    let gone = *known.gone.get_or_insert(now);
                    return now.duration_since(gone) < MEMORY;
                }
            }
            true
        });
        for (subject, trouble) in found {
            news.push(trouble.text.clone());
            self.known.insert(subject, Known::new(trouble, now));
        }

        news
    }

    /// Has those told by `tell` whose time has come. It returns whether it could.
    pub(super) fn tell_due(&mut self, now: Instant, mut tell: impl FnMut(&str) -> bool) {
        for known in self.known.values_mut() {
            if known.due.is_some_and(|due| due <= now) {
                known.due = (!tell(&known.trouble.text)).then_some(now + BUSY);
            }
        }
    }

    /// When there is something to tell.
    pub(super) fn due(&self) -> Option<Instant> {
        self.known.values().filter_map(|known| known.due).min()
    }

    /// Whether this is a trouble already.
    pub(super) fn has(&self, subject: &Subject) -> bool {
        self.known
            .get(subject)
            .is_some_and(|known| known.gone.is_none())
    }
}

impl Known {
    fn new(trouble: Trouble, now: Instant) -> Self {
        let patience = if trouble.may_pass {
            PATIENCE
        } else {
            Duration::ZERO
        };
        Self {
            due: trouble.alert.then(|| now + patience),
            trouble,
            gone: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trouble(text: &str, may_pass: bool) -> (Subject, Trouble) {
        let trouble = Trouble {
            text: text.into(),
            alert: true,
            may_pass,
        };
        (Subject::Vlan("provider".into()), trouble)
    }

    fn told(troubles: &mut Troubles, now: Instant) -> Vec<String> {
        let mut told = Vec::new();
        troubles.tell_due(now, |text| {
            told.push(text.to_owned());
            true
        });
        told
    }

    #[test]
    fn trouble_that_lasts_is_told_once() {
        let mut troubles = Troubles::default();
        let now = Instant::now();

        let news = troubles.update([trouble("bad", false)], now);
        let first = told(&mut troubles, now);
        let more = troubles.update([trouble("bad", false)], now + MEMORY * 2);
        let second = told(&mut troubles, now + MEMORY * 2);

        assert_eq!((news, first), (vec!["bad".into()], vec!["bad".into()]));
        assert_eq!((more, second), (vec![], vec![]));
        assert_eq!(troubles.due(), None);
    }

    #[test]
    fn trouble_that_passes_soon_is_not_told() {
        let mut troubles = Troubles::default();
        let now = Instant::now();

        troubles.update([trouble("no route", true)], now);
        let due = troubles.due();
        let early = told(&mut troubles, now + PATIENCE / 2);
        troubles.update([], now + PATIENCE / 2);

        assert_eq!(due, Some(now + PATIENCE));
        assert_eq!(early, Vec::<String>::new());
        assert_eq!(troubles.due(), None);
    }

    #[test]
    fn trouble_that_comes_and_goes_is_told_once_in_a_while() {
        let mut troubles = Troubles::default();
        let start = Instant::now();
        let mut heard = 0;

        // An hour.
        for second in 0..3600 {
            let now = start + Duration::from_secs(second);
            let is_there = second % 10 < 5;
            troubles.update(is_there.then(|| trouble("refused", false)), now);
            heard += told(&mut troubles, now).len();
        }

        assert_eq!(heard, 1);
    }

    #[test]
    fn trouble_that_was_long_gone_is_news() {
        let mut troubles = Troubles::default();
        let now = Instant::now();
        troubles.update([trouble("bad", false)], now);
        told(&mut troubles, now);
        troubles.update([], now);
        troubles.update([], now + MEMORY);

        troubles.update([trouble("bad", false)], now + MEMORY);

        assert_eq!(told(&mut troubles, now + MEMORY), ["bad"]);
    }

    #[test]
    fn another_trouble_of_the_same_is_told_too() {
        let mut troubles = Troubles::default();
        let now = Instant::now();
        troubles.update([trouble("bad", false)], now);
        told(&mut troubles, now);

        let news = troubles.update([trouble("worse", false)], now);

        assert_eq!(news, ["worse"]);
        assert_eq!(told(&mut troubles, now), ["worse"]);
    }

    #[test]
    fn what_nobody_could_hear_is_told_later() {
        let mut troubles = Troubles::default();
        let now = Instant::now();
        troubles.update([trouble("bad", false)], now);

        troubles.tell_due(now, |_| false);

        assert_eq!(troubles.due(), Some(now + BUSY));
        assert_eq!(told(&mut troubles, now + BUSY), ["bad"]);
    }

    #[test]
    fn what_is_only_logged_is_never_due() {
        let mut troubles = Troubles::default();
        let (subject, trouble) = trouble("bad", false);
        let logged = Trouble {
            alert: false,
            ..trouble
        };

        let news = troubles.update([(subject.clone(), logged)], Instant::now());

        assert_eq!(news, ["bad"]);
        assert_eq!(troubles.due(), None);
        assert!(troubles.has(&subject));
    }
}
