//! Looks at units that are under way.

use std::future::pending;
use std::time::Duration;

use tokio::task::JoinSet;
use zbus::Connection;

use super::bus::{look_at_all, settled_state};
use super::signal_feed::subscribe;
use super::tracker::{Moment, Observation};
use crate::model::InstanceId;

/// The pause before systemd is tried again.
pub(crate) const PAUSE: Duration = Duration::from_secs(1);

/// A look that has ended.
#[derive(Debug)]
pub(crate) struct Look {
    /// When it began.
    pub then: Moment,
    /// Whether all units were looked at.
    pub all: bool,
    /// What was seen; `None`: systemd does not have the unit.
    pub seen: zbus::Result<Vec<(InstanceId, Option<Observation>)>>,
}

/// Those under way. Dropping it ends them.
#[derive(Debug, Default)]
pub(crate) struct Looks {
    running: JoinSet<Look>,
    whole: usize,
}

impl Looks {
    /// Looks whether a unit has ended for good. A unit with a job is on its
    /// way: signals will tell.
    pub(crate) fn one(&mut self, connection: &Connection, then: Moment, id: InstanceId) {
        let connection = connection.clone();
        self.running.spawn(async move {
            let seen = settled_state(&connection, id).await;
            Look {
                then,
                all: false,
                seen: seen.map(|seen| vec![(id, seen)]),
            }
        });
    }

    /// Looks at all units, and has systemd send signals if it forgot to.
    pub(crate) fn all(&mut self, connection: &Connection, then: Moment) {
        self.spawn_all(connection, then, Duration::ZERO);
    }

    /// As [`Looks::all`], unless that is under way.
    pub(crate) fn all_after_a_pause(&mut self, connection: &Connection, then: Moment) {
        if self.whole == 0 {
            self.spawn_all(connection, then, PAUSE);
        }
    }

    /// The next that ends. Nothing is lost when it is not waited for.
    pub(crate) async fn next(&mut self) -> Look {
        match self.running.join_next().await {
            Some(Ok(look)) => {
                self.whole -= usize::from(look.all);
                look
            }
            Some(Err(panic)) => std::panic::resume_unwind(panic.into_panic()),
            None => pending().await,
        }
    }

    fn spawn_all(&mut self, connection: &Connection, then: Moment, pause: Duration) {
        let connection = connection.clone();
        self.whole += 1;
        self.running.spawn(async move {
            tokio::time::sleep(pause).await;
            let look = async {
                subscribe(&connection).await?;
                let seen = look_at_all(&connection).await?;
                Ok(seen
                    .into_iter()
                    .map(|(id, seen)| (id, Some(seen)))
                    .collect())
            };
            Look {
                then,
                all: true,
                seen: look.await,
            }
        });
    }
}
