//! Looks at units that are under way.
//!
//! However many units have to be looked at, there is one list of them under way, and
//! one look at all. The bus refuses calls of a connection that waits for too many
//! answers.

use std::collections::BTreeMap;
use std::future::pending;
use std::time::Duration;

use tokio::task::JoinSet;
use zbus::Connection;

use super::bus::{UnitRow, loaded_units, look_at_all, settled_state};
use super::signal_feed::subscribe;
use super::tracker::{Moment, Observation};
use crate::model::InstanceId;

/// The pause before systemd is tried again.
pub(crate) const PAUSE: Duration = Duration::from_secs(1);

/// What a look was for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scope {
    /// Some units.
    Some,
    /// All units.
    All,
    /// All units, for the first time: what they say is where changes begin.
    First,
}

/// What was seen of a unit.
#[derive(Debug)]
pub(crate) struct Seen {
    pub id: InstanceId,
    /// Signals since then are newer.
    pub then: Moment,
    /// `None`: systemd does not have the unit.
    pub unit: Option<Observation>,
}

/// A look that has ended.
#[derive(Debug)]
pub(crate) struct Look {
    pub scope: Scope,
    /// When it began; for single units see [`Seen::then`].
    pub then: Moment,
    /// What was seen.
    pub seen: zbus::Result<Vec<Seen>>,
}

/// Those under way. Dropping it ends them.
#[derive(Debug, Default)]
pub(crate) struct Looks {
    running: JoinSet<Look>,
    /// A list of units is under way.
    listing: bool,
    /// Units that need another one, and a connection for it.
    wanted: BTreeMap<InstanceId, Moment>,
    connection: Option<Connection>,
    whole: usize,
}

impl Looks {
    /// Looks whether a unit has ended for good. A unit with a job is on its
    /// way: signals will tell.
    pub(crate) fn one(&mut self, connection: &Connection, then: Moment, id: InstanceId) {
        self.wanted.insert(id, then);
        self.connection = Some(connection.clone());
        self.list();
    }

    /// Looks at all units, and has systemd send signals if it forgot to.
    pub(crate) fn all(&mut self, connection: &Connection, then: Moment) {
        self.spawn_all(connection, then, Scope::All, Duration::ZERO);
    }

    /// Looks at all units that are there when SM starts.
    pub(crate) fn first(&mut self, connection: &Connection, then: Moment) {
        self.spawn_all(connection, then, Scope::First, Duration::ZERO);
    }

    /// As the look that failed, unless another is under way.
    pub(crate) fn again_after_a_pause(
        &mut self,
        connection: &Connection,
        then: Moment,
        failed: Scope,
    ) {
        if self.whole == 0 {
            let scope = match failed {
                Scope::First => Scope::First,
                Scope::Some | Scope::All => Scope::All,
            };
            self.spawn_all(connection, then, scope, PAUSE);
        }
    }

    /// The next that ends. Nothing is lost when it is not waited for.
    pub(crate) async fn next(&mut self) -> Look {
        match self.running.join_next().await {
            Some(Ok(look)) => {
                if look.scope == Scope::Some {
                    self.listing = false;
                    self.list();
                } else {
                    self.whole -= 1;
                }
                look
            }
            Some(Err(panic)) => std::panic::resume_unwind(panic.into_panic()),
            None => pending().await,
        }
    }

    /// Lists the units that have to be looked at, when the list before is there.
    fn list(&mut self) {
        if self.listing || self.wanted.is_empty() {
            return;
        }
        let Some(connection) = self.connection.clone() else {
            return;
        };
        let wanted = std::mem::take(&mut self.wanted);
        let then = wanted.values().copied().max().unwrap_or_default();
        self.listing = true;
        self.running.spawn(async move {
            let rows = loaded_units(&connection).await;
            Look {
                scope: Scope::Some,
                then,
                seen: rows.map(|rows| settled(wanted, rows)),
            }
        });
    }

    fn spawn_all(&mut self, connection: &Connection, then: Moment, scope: Scope, pause: Duration) {
        let connection = connection.clone();
        self.whole += 1;
        self.running.spawn(async move {
            tokio::time::sleep(pause).await;
            let look = async {
                if scope != Scope::First {
                    subscribe(&connection).await?;
                }
                let units = look_at_all(&connection).await?;
                let seen = |(id, unit)| Seen {
                    id,
                    then,
                    unit: Some(unit),
                };
                Ok(units.into_iter().map(seen).collect())
            };
            Look {
                scope,
                then,
                seen: look.await,
            }
        });
    }
}

/// What a list says of those that were wanted.
fn settled(wanted: BTreeMap<InstanceId, Moment>, rows: Vec<(InstanceId, UnitRow)>) -> Vec<Seen> {
    let rows: BTreeMap<_, _> = rows.into_iter().collect();
    let seen = wanted.into_iter().map(|(id, then)| Seen {
        id,
        then,
        unit: rows.get(&id).map(settled_state),
    });
    seen.collect()
}
