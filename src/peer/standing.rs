//! How we stand with a peer, for whoever wants to show it.

use std::error::Error;
use std::time::{Duration, SystemTime};

use tokio::sync::watch;

use crate::model::{Chain, PeerState};

/// Where it is told.
#[derive(Debug)]
pub struct Standing(watch::Sender<PeerState>);

impl Default for Standing {
    /// Not connected, and nothing went wrong yet.
    fn default() -> Self {
        Self(watch::Sender::new(PeerState {
            connected: false,
            since: SystemTime::now(),
            last_error: None,
            next_try: None,
        }))
    }
}

impl Standing {
    /// What is told from now on.
    #[must_use]
    pub fn watch(&self) -> watch::Receiver<PeerState> {
        self.0.subscribe()
    }

    /// A try begins.
    pub fn trying(&self) {
        self.0
            .send_if_modified(|state| state.next_try.take().is_some());
    }

    /// The peer answers.
    pub fn connected(&self) {
        self.0
            .send_if_modified(|state| flip(state, true) | state.next_try.take().is_some());
    }

    /// The connection was given up for a better one, or by the end of SM.
    pub fn parted(&self) {
        self.0.send_if_modified(|state| flip(state, false));
    }

    /// The peer cannot be reached, or does not answer; it is tried again after
    /// `delay`.
    pub fn failed(&self, error: &(dyn Error + 'static), delay: Duration) {
        let now = SystemTime::now();
        self.0.send_modify(|state| {
            flip(state, false);
            state.last_error = Some((now, Chain(error).to_string()));
            state.next_try = now.checked_add(delay);
        });
    }
}

/// Returns whether that is news.
fn flip(state: &mut PeerState, connected: bool) -> bool {
    let is_news = state.connected != connected;
    if is_news {
        state.connected = connected;
        state.since = SystemTime::now();
    }
    is_news
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    #[test]
    fn trouble_is_told_with_the_next_try_and_remembered_when_it_is_over() {
        let standing = Standing::default();
        let told = standing.watch();

        standing.failed(&io::Error::other("refused"), Duration::from_secs(5));
        let away = told.borrow().clone();
        standing.trying();
        standing.connected();
        let back = told.borrow().clone();

        assert!(!away.connected && away.next_try > Some(SystemTime::now()));
        assert!(back.connected && back.next_try.is_none());
        for state in [away, back] {
            assert_eq!(state.last_error.unwrap().1, "refused");
        }
    }

    #[test]
    fn what_is_no_news_wakes_nobody_and_moves_no_time() {
        let standing = Standing::default();
        standing.connected();
        let mut told = standing.watch();
        let since = told.borrow_and_update().since;

        standing.connected();
        standing.trying();

        assert!(!told.has_changed().unwrap());
        assert_eq!(told.borrow().since, since);
    }
}
