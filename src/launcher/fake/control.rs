//! What tests do to the fake machine.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard};

use tokio::sync::{mpsc, watch};

use super::{Book, FakeHost, Words};
use crate::launcher::host::{UnitChange, UnitEvent};
use crate::model::{ContentItem, Damage, InstanceId};

impl FakeHost {
    pub(in crate::launcher) fn new() -> (Self, Words) {
        Self::with(Arc::default(), watch::Sender::new(false))
    }

    /// The same machine for a service manager that starts again.
    pub(in crate::launcher) fn restarted(&self) -> (Self, Words) {
        {
            let mut book = self.book();
            book.changing.clear();
            book.networks.restarted();
            book.devices.restarted();
        }
        Self::with(self.book.clone(), self.slow.clone())
    }

    fn with(book: Arc<Mutex<Book>>, slow: watch::Sender<bool>) -> (Self, Words) {
        let (units, unit_changes) = mpsc::channel(64);
        let (damage, found) = mpsc::channel(64);
        let (networks, changed) = watch::channel(0);
        let (iam, is_back) = watch::channel(0);
        let (devices, others) = watch::channel(0);
        let host = Self {
            book,
            slow,
            units,
            damage,
            networks,
            iam,
            devices,
            started: watch::Sender::new(0),
        };
        let words = Words {
            units: unit_changes,
            damage: found,
            networks: changed,
            iam: is_back,
            devices: others,
        };
        (host, words)
    }

    pub(in crate::launcher) fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap()
    }

    pub(in crate::launcher) fn hold_what_is_slow(&self) {
        self.slow.send_replace(false);
    }

    pub(in crate::launcher) fn finish_what_is_slow(&self) {
        self.slow.send_replace(true);
    }

    /// UpdateNetworks: all networks but these are known from now on.
    pub(in crate::launcher) fn networks_are_known_but(&self, unknown: &[&str]) {
        self.book().networks.unknown = unknown.iter().map(|&id| id.to_owned()).collect();
        self.networks.send_modify(|changes| *changes += 1);
    }

    /// Changes with each start.
    pub(in crate::launcher) fn started(&self) -> watch::Receiver<u64> {
        self.started.subscribe()
    }

    /// IAM goes away.
    pub(in crate::launcher) fn iam_leaves(&self) {
        self.book().iam.is_away = true;
    }

    /// IAM is there again, with what it knew or as a new process.
    pub(in crate::launcher) fn iam_is_back(&self, remembers: bool) {
        {
            let iam = &mut self.book().iam;
            iam.is_away = false;
            if !remembers {
                iam.known.clear();
            }
        }
        self.iam.send_modify(|times| *times += 1);
    }

    /// The content manager finds the item damaged.
    pub(in crate::launcher) async fn content_is_damaged(&self, item: &ContentItem) {
        let damage = {
            let mut book = self.book();
            book.history.push(format!("{item} is damaged"));
            let directory = book.directory(item);
            *book.moved.entry(item.clone()).or_default() += 1;
            Damage {
                item: item.clone(),
                directory,
                reason: "bin/app has other content".into(),
            }
        };
        self.damage.send(damage).await.unwrap();
    }

    pub(in crate::launcher) async fn systemd_says(&self, id: InstanceId, event: UnitEvent) {
        self.units.send(UnitChange { id, event }).await.unwrap();
    }

    /// Ids that hold anything.
    pub(in crate::launcher) fn instances(&self) -> BTreeSet<InstanceId> {
        self.book().held.iter().map(|(id, _)| *id).collect()
    }
}
