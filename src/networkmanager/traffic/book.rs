//! What was counted today, and what of it is stored.

use std::collections::BTreeMap;

use tokio::time::Instant;

use super::accounts::{Account, Direction, Key};
use super::days::{self, Days, Turn};
use super::store::{Loaded, Save};
use crate::model::{Flow, InstanceId, Traffic};
use crate::storage::Clock;

/// A moment, by both clocks.
#[derive(Clone, Copy, Debug)]
pub(in crate::networkmanager) struct Moment {
    /// What the wall clock shows: seconds since 1970. It may jump.
    pub(in crate::networkmanager) wall: i64,
    /// What a clock shows that only goes on.
    pub(in crate::networkmanager) at: Instant,
}

impl Moment {
    /// The day; `None` if the clock shows a time before this program was built.
    fn day(self) -> Option<i64> {
        (self.wall >= Clock::built()).then(|| days::day_of(self.wall))
    }
}

/// The bytes of the current day.
///
/// A value of the kernel below the one that is known takes nothing away.
#[derive(Debug)]
pub(super) struct TrafficBook {
    days: Days,
    /// When the clock was looked at last.
    looked: Instant,
    /// Of today. Also those of instances that were attached today.
    flows: BTreeMap<Account, Flow>,
    attached: BTreeMap<InstanceId, Account>,
    /// What the rows say; `None` if they are to be replaced as a whole.
    stored: Option<BTreeMap<Key, u64>>,
}

impl TrafficBook {
    /// Goes on from what is stored. Rows of another day than the current one are
    /// passed over, and go with the next [`Save`].
    pub(super) fn restored(loaded: Loaded, now: Moment) -> Self {
        let current = loaded.rows.iter().map(|row| row.day).max();
        let days = loaded
            .days
            .or_else(|| current.map(Days::starting))
            .unwrap_or_else(|| {
                let unknown = days::day_of(Clock::built());
                Days::starting(now.day().unwrap_or(unknown))
            });

        let mut flows = BTreeMap::<_, Flow>::new();
        let mut rows = BTreeMap::new();
        let mut of_no_use = loaded.unreadable;
        for row in loaded.rows {
            if row.day != days.today() {
                of_no_use = true;
                continue;
            }
            let flow = flows.entry(row.key.account).or_default();
            *part(flow, row.key.direction) = row.bytes;
            rows.insert(row.key, row.bytes);
        }

        Self {
            days,
            looked: now.at,
            flows,
            attached: BTreeMap::new(),
            stored: (!of_no_use).then_some(rows),
        }
    }

    /// What the node's counters start with.
    pub(super) fn node(&self) -> Flow {
        self.flow(Account::Node)
    }

    /// An instance is attached from now on. Returns what its counters start with.
    pub(super) fn start(&mut self, instance: InstanceId) -> Flow {
        let account = Account::of(instance);
        self.attached.insert(instance, account);
        self.flow(account)
    }

    /// An instance is no longer attached. What it has used today stays.
    pub(super) fn stop(&mut self, instance: InstanceId, last: Option<Flow>) {
        let account = self.attached.remove(&instance);
        if let (Some(account), Some(last)) = (account, last) {
            self.raise(account, last);
        }
    }

    /// Takes what the kernel's counters say. Instances that are not attached are
    /// passed over.
    pub(super) fn read(&mut self, node: Flow, instances: &BTreeMap<InstanceId, Flow>) {
        self.raise(Account::Node, node);
        for (instance, flow) in instances {
            if let Some(account) = self.attached.get(instance) {
                self.raise(*account, *flow);
            }
        }
    }

    /// Looks at the clock. A day that begins does so with [`TrafficBook::turn`].
    pub(super) fn look(&mut self, now: Moment) -> Turn {
        let elapsed = now.at.saturating_duration_since(self.looked);
        let (turn, days) = self.days.after(now.day(), elapsed);
        if turn == Turn::Same {
            self.go_on(days, now);
        }
        turn
    }

    /// A day begins: the kernel's counters have begun from zero, and said last
    /// what they are given here with. Returns the figures of the day that ended.
    pub(super) fn turn(
        &mut self,
        now: Moment,
        node: Flow,
        instances: &BTreeMap<InstanceId, Flow>,
    ) -> Traffic {
        self.read(node, instances);
        let ended = self.figures();

        let elapsed = now.at.saturating_duration_since(self.looked);
        let (_, days) = self.days.after(now.day(), elapsed);
        self.flows.clear();
        self.stored = None;
        self.go_on(days, now);
        ended
    }

    fn go_on(&mut self, days: Days, now: Moment) {
        if days.today() != self.days.today() {
            self.stored = None;
        }
        self.days = days;
        self.looked = now.at;
    }

    /// What is published.
    pub(super) fn figures(&self) -> Traffic {
        let of = |(instance, account): (&InstanceId, &Account)| (*instance, self.flow(*account));
        Traffic {
            node: self.node(),
            instances: self.attached.iter().map(of).collect(),
        }
    }

    /// What is to be stored, if there is anything.
    pub(super) fn unsaved(&self) -> Option<Save> {
        let nothing = BTreeMap::new();
        let stored = self.stored.as_ref().unwrap_or(&nothing);
        let changed: BTreeMap<_, _> = self
            .rows()
            .filter(|(key, bytes)| stored.get(key).copied().unwrap_or_default() != *bytes)
            .collect();
        if self.stored.is_some() && changed.is_empty() {
            return None;
        }

        Some(Save {
            replace: self.stored.is_none(),
            days: self.days.clone(),
            rows: changed,
        })
    }

    /// What was to be stored is.
    pub(super) fn saved(&mut self, save: Save) {
        self.stored.get_or_insert_default().extend(save.rows);
    }

    fn rows(&self) -> impl Iterator<Item = (Key, u64)> {
        self.flows.iter().flat_map(|(account, flow)| {
            let key = |direction| Key {
                account: *account,
                direction,
            };
            [
                (key(Direction::Received), flow.received),
                (key(Direction::Sent), flow.sent),
            ]
        })
    }

    fn flow(&self, account: Account) -> Flow {
        self.flows.get(&account).copied().unwrap_or_default()
    }

    fn raise(&mut self, account: Account, to: Flow) {
        let flow = self.flows.entry(account).or_default();
        flow.received = flow.received.max(to.received);
        flow.sent = flow.sent.max(to.sent);
    }
}

fn part(flow: &mut Flow, direction: Direction) -> &mut u64 {
    match direction {
        Direction::Received => &mut flow.received,
        Direction::Sent => &mut flow.sent,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::networkmanager::traffic::store::Row;

    const DAY: i64 = 24 * 60 * 60;

    /// Noon of a day, counted from one that is after any build.
    fn noon(day: i64) -> Moment {
        Moment {
            wall: (days::day_of(Clock::built()) + 100 + day) * DAY + DAY / 2,
            at: Instant::now(),
        }
    }

    fn flow(received: u64, sent: u64) -> Flow {
        Flow { received, sent }
    }

    fn id(bits: u128) -> InstanceId {
        InstanceId::from_u128(bits)
    }

    fn empty() -> TrafficBook {
        TrafficBook::restored(Loaded::default(), noon(0))
    }

    fn row(key: &str, day: i64, bytes: u64) -> Row {
        Row {
            key: Key::parse(key).unwrap(),
            day,
            bytes,
        }
    }

    fn readings(flows: &[(u128, Flow)]) -> BTreeMap<InstanceId, Flow> {
        flows
            .iter()
            .map(|(bits, flow)| (id(*bits), *flow))
            .collect()
    }

    #[test]
    fn instance_that_comes_back_goes_on_where_it_was_and_others_start_at_zero() {
        let mut book = empty();
        assert_eq!(book.start(id(1)), flow(0, 0));
        book.read(flow(1, 2), &readings(&[(1, flow(10, 20))]));
        book.stop(id(1), Some(flow(11, 22)));
        assert_eq!(book.figures().instances, BTreeMap::new());

        assert_eq!(book.start(id(2)), flow(0, 0));
        assert_eq!(book.start(id(1)), flow(11, 22));
        assert_eq!(book.node(), flow(1, 2));
    }

    #[test]
    fn lower_and_late_readings_take_nothing_away_and_add_nothing() {
        let mut book = empty();
        book.start(id(1));
        book.read(flow(5, 5), &readings(&[(1, flow(10, 20))]));

        book.read(flow(0, 6), &readings(&[(1, flow(3, 21)), (7, flow(9, 9))]));

        assert_eq!(book.node(), flow(5, 6));
        assert_eq!(book.figures().instances, readings(&[(1, flow(10, 21))]));
        assert_eq!(book.start(id(7)), flow(0, 0));
    }

    #[test]
    fn new_day_begins_from_zero_only_when_the_kernel_has_begun_it() {
        let mut book = empty();
        book.start(id(1));
        book.start(id(2));
        book.stop(id(2), Some(flow(7, 7)));
        assert_eq!(book.look(noon(1)), Turn::New);
        book.read(flow(3, 3), &readings(&[(1, flow(10, 20))]));
        assert_eq!(book.look(noon(1)), Turn::New);

        let ended = book.turn(noon(1), flow(4, 4), &readings(&[(1, flow(11, 20))]));

        assert_eq!(ended.node, flow(4, 4));
        assert_eq!(ended.instances, readings(&[(1, flow(11, 20))]));
        assert_eq!(book.node(), flow(0, 0));
        assert_eq!(book.figures().instances, readings(&[(1, flow(0, 0))]));
        assert_eq!(book.start(id(2)), flow(0, 0));
        assert_eq!(book.look(noon(1)), Turn::Same);
    }

    #[test]
    fn only_what_changed_is_stored_and_a_new_day_replaces_all() {
        let mut book = empty();
        book.start(id(1));
        assert_eq!(book.unsaved(), None);
        book.read(flow(1, 0), &readings(&[(1, flow(5, 6))]));
        let first = book.unsaved().unwrap();
        assert!(!first.replace);
        assert_eq!(first.rows.len(), 3);
        book.saved(first);
        assert_eq!(book.unsaved(), None);
        book.read(flow(1, 0), &readings(&[(1, flow(5, 7))]));
        let second = book.unsaved().unwrap();
        assert_eq!(second.rows.into_values().collect::<Vec<_>>(), [7]);

        book.turn(noon(1), flow(1, 0), &BTreeMap::new());

        let save = book.unsaved().unwrap();
        assert!(save.replace);
        assert!(save.rows.is_empty());
        book.saved(save);
        assert_eq!(book.unsaved(), None);
    }

    #[test]
    fn rows_of_the_older_release_go_on_and_those_of_days_gone_are_removed() {
        let today = days::day_of(noon(0).wall);
        let loaded = Loaded {
            days: None,
            rows: vec![
                row("AOS_SYSTEM_IN", today, 12),
                row(
                    &Key {
                        account: Account::of(id(1)),
                        direction: Direction::Sent,
                    }
                    .to_string(),
                    today,
                    34,
                ),
                row("AOS_SYSTEM_OUT", today - 1, 56),
            ],
            unreadable: false,
        };

        let mut book = TrafficBook::restored(loaded, noon(0));

        assert_eq!(book.look(noon(0)), Turn::Same);
        assert_eq!(book.node(), flow(12, 0));
        assert_eq!(book.start(id(1)), flow(0, 34));
        let save = book.unsaved().unwrap();
        assert!(save.replace);
        assert_eq!(save.rows.into_values().collect::<Vec<_>>(), [12, 34]);
    }

    #[test]
    fn restart_in_1970_goes_on_with_the_stored_day() {
        let today = days::day_of(noon(0).wall);
        let loaded = Loaded {
            days: Some(Days::starting(today)),
            rows: vec![row("AOS_SYSTEM_IN", today, 12)],
            unreadable: false,
        };
        let start = Instant::now();
        let young = |seconds| Moment {
            wall: seconds,
            at: start + Duration::from_secs(seconds.unsigned_abs()),
        };

        let mut book = TrafficBook::restored(loaded, young(5));

        assert_eq!(book.look(young(60)), Turn::Same);
        assert_eq!(book.node(), flow(12, 0));
        assert_eq!(book.look(noon(0)), Turn::Same);
        assert_eq!(book.node(), flow(12, 0));
        assert_eq!(book.look(noon(1)), Turn::New);
    }
}
