//! The firewall of the host, in the kernel.
//!
//! Two tables are ours, `bridge aos` and `inet aos`; all others are never
//! touched. What they are to hold is [`Rules`]; each call makes it so in one
//! transaction, which takes effect as a whole or not at all. Calls block, though
//! not for long.
//!
//! Invariant: what the kernel has is what `rules` says, unless somebody else
//! changed it. A [`Watch`] notices that, and [`Firewall::heal`] mends it.

mod decode;
mod encode;
mod expressions;
mod foreign;
mod numbers;
mod socket;
mod survey;
#[cfg(test)]
mod tests;
mod watch;
mod wire;

use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use tokio::runtime::Handle;
use tracing::debug;

use self::socket::{Batch, Nfnetlink, Refusal};
use self::survey::Survey;
pub(in crate::networkmanager) use self::watch::{Tampering, Watch};
use super::netns::run_in;
use crate::model::{Chain as Causes, Traffic};
use crate::networkmanager::error::NetworkError;
use crate::networkmanager::firewall::{
    Change, Difference, Family, Object, ObjectId, ObjectKind, Rules, in_flow,
};

/// Bytes that were counted: of the node, and of each instance.
pub(in crate::networkmanager) type Counters = Traffic;

/// How often others may come in between.
const ATTEMPTS: usize = 20;

/// What objects have seen.
type Seen = BTreeMap<ObjectId, u64>;

/// The host's firewall.
#[derive(Debug)]
pub(in crate::networkmanager) struct Firewall {
    host: OwnedFd,
    socket: Nfnetlink,
    rules: Rules,
    /// What counters had seen when they were read last: when others take the
    /// tables away, that is what is left of them.
    known: Seen,
    /// What had been read, and reset, when reading ended with an error.
    unreported: Seen,
}

impl Firewall {
    /// Opens the firewall of the network namespace `host`, without any rules.
    pub(in crate::networkmanager) fn open(host: BorrowedFd<'_>) -> io::Result<Self> {
        Ok(Self {
            host: host.try_clone_to_owned()?,
            socket: run_in(host, Nfnetlink::open)?,
            rules: Rules::default(),
            known: Seen::new(),
            unreported: Seen::new(),
        })
    }

    /// Notices from now on what others do to our tables; within a runtime.
    pub(in crate::networkmanager) fn watch(&self) -> io::Result<Watch> {
        let runtime = Handle::current();
        run_in(self.host.as_fd(), || {
            let _within = runtime.enter();
            Watch::open(self.socket.port())
        })
    }

    /// What the tables are made to say.
    pub(in crate::networkmanager) fn rules(&self) -> &Rules {
        &self.rules
    }

    /// Makes the tables what `rules` say, whatever is there. Counters and quotas
    /// that are there go on from where they are; others begin as `rules` say.
    pub(in crate::networkmanager) fn restore(
        &mut self,
        rules: Rules,
    ) -> Result<Counters, NetworkError> {
        self.known.clear();
        self.make(&rules)?;
        self.rules = rules;
        self.counters()
    }

    /// Makes the tables what they should be, after others changed them. What was
    /// counted up to the last reading counts.
    pub(in crate::networkmanager) fn heal(
        &mut self,
        tampering: &Tampering,
    ) -> Result<Counters, NetworkError> {
        for (id, bytes) in &tampering.seen {
            self.known.insert(id.clone(), *bytes);
        }
        let rules = std::mem::take(&mut self.rules);
        let made = self.make(&rules);
        self.rules = rules;
        made?;
        self.counters()
    }

    /// Makes changes, all of them or, on an error, none. The answer is what those
    /// instances have sent and received at last that have no rules any more.
    pub(in crate::networkmanager) fn change(
        &mut self,
        changes: &[Change],
    ) -> Result<Counters, NetworkError> {
        let old = self.rules.contents_of(changes);
        let mut rules = self.rules.clone();
        rules.apply_all(changes.iter().cloned());
        let mut difference = Difference::between(&old, &rules.contents_of(changes));

        let mut last = Seen::new();
        match self.send(&mut difference, &mut last) {
            Ok(()) => {}
            // It is not there what should be, or there is what should not.
            Err(refusal) if is_drift(&refusal.source) => {
                debug!(error = %Causes(&NetworkError::from(refusal)), "tables are made anew");
                self.make(&rules)?;
            }
            Err(refusal) => return Err(refusal.into()),
        }
        self.rules = rules;
        last.retain(|id, _| difference.remove_objects.contains(id));
        for id in &difference.remove_objects {
            self.known.remove(id);
        }

        Ok(counters(&last))
    }

    /// What has been counted so far.
    pub(in crate::networkmanager) fn counters(&mut self) -> Result<Counters, NetworkError> {
        Ok(counters(&self.seen().map_err(reading)?))
    }

    /// What has been counted, for the last time: counters and quotas begin with
    /// zero. No byte is counted twice or not at all.
    pub(in crate::networkmanager) fn new_day(&mut self) -> Result<Counters, NetworkError> {
        survey::reset(&mut self.socket, ObjectKind::Counter, &mut self.unreported)
            .and_then(|()| survey::reset(&mut self.socket, ObjectKind::Quota, &mut Seen::new()))
            .map_err(reading)?;
        let seen = std::mem::take(&mut self.unreported);
        self.known.clear();

        // What is made anew later is of the new day.
        self.rules.begin_day();

        Ok(counters(&seen))
    }

    /// Whether the tables are what they should be.
    #[cfg(test)]
    pub(in crate::networkmanager) fn intact(&mut self) -> Result<bool, NetworkError> {
        let survey = Survey::take(&mut self.socket).map_err(reading)?;
        let difference = Difference::between(&survey.contents, &self.rules.contents());

        Ok(survey.is_ours() && difference.is_empty())
    }

    /// Chains of others that drop what they do not know of what passes this
    /// host: our accepting it does not help then.
    pub(in crate::networkmanager) fn foreign_drops(&mut self) -> Result<Vec<String>, NetworkError> {
        foreign::drops(&mut self.socket).map_err(reading)
    }

    /// Makes the tables what `rules` say.
    fn make(&mut self, rules: &Rules) -> Result<(), NetworkError> {
        let mut attempt = 0;
        loop {
            attempt += 1;
            match self.try_make(rules) {
                Err(refusal) if attempt < ATTEMPTS && is_race(&refusal.source) => {}
                made => return Ok(made?),
            }
        }
    }

    fn try_make(&mut self, rules: &Rules) -> Result<(), Refusal> {
        let generation = self.socket.generation()?;
        let mut survey = Survey::take(&mut self.socket)?;
        let mut known = self.known.clone();
        known.extend(seen_by(&survey.contents.objects));
        let ours = survey.is_ours();
        let mut batch = self.socket.batch(Some(generation));
        if !ours {
            survey.contents.elements.clear();
            for (family, frame) in &survey.frames {
                if frame.flags == 0 {
                    encode::clear(&mut batch, *family, frame.sets.keys(), frame.chains.keys());
                } else {
                    // It cannot be woken and changed at once. It does nothing,
                    // so nothing is lost with it.
                    encode::delete_table(&mut batch, *family);
                    if *family == Family::Inet {
                        survey.contents.objects.clear();
                    }
                }
            }
        }

        let mut difference = Difference::between(&survey.contents, &rules.contents());
        begin_with(&mut difference, &known);
        if ours {
            write(&mut batch, &difference);
        } else {
            for family in Family::ALL {
                encode::table(&mut batch, family);
            }
            encode::remove(&mut batch, &difference);
            encode::add_objects(&mut batch, &difference.add_objects);
            encode::skeleton(&mut batch);
            encode::add_elements(&mut batch, &difference);
        }

        self.socket.commit(batch)
    }

    /// Makes one transaction of a difference. When objects go, or a limit comes
    /// for what has been counted for some time, `seen` is what counters say
    /// before that.
    fn send(&mut self, difference: &mut Difference, seen: &mut Seen) -> Result<(), Refusal> {
        let late_limit = difference.add_objects.iter().any(|(id, _)| {
            let counter = id.counter();
            *id != counter && !difference.add_objects.iter().any(|(id, _)| *id == counter)
        });
        if late_limit || !difference.remove_objects.is_empty() {
            *seen = self.seen()?;
            begin_with(difference, seen);
        }

        let mut batch = self.socket.batch(None);
        write(&mut batch, difference);
        self.socket.commit(batch)
    }

    fn seen(&mut self) -> io::Result<Seen> {
        let objects = survey::objects(&mut self.socket, Some(ObjectKind::Counter))?;
        self.known = seen_by(&objects).collect();
        Ok(self.known.clone())
    }
}

fn write(batch: &mut Batch, difference: &Difference) {
    encode::remove(batch, difference);
    encode::add_objects(batch, &difference.add_objects);
    encode::add_elements(batch, difference);
}

/// New objects begin with what is known of them, a quota with what the counter
/// beside it has.
fn begin_with(difference: &mut Difference, seen: &Seen) {
    for (id, object) in &mut difference.add_objects {
        if let Some(bytes) = seen.get(&id.counter()) {
            *object = object.with_bytes(*bytes);
        }
    }
}

fn seen_by(objects: &BTreeMap<ObjectId, Object>) -> impl Iterator<Item = (ObjectId, u64)> {
    objects
        .iter()
        .filter(|(id, _)| id.kind == ObjectKind::Counter)
        .map(|(id, object)| (id.clone(), object.bytes()))
}

fn counters(seen: &Seen) -> Counters {
    let mut counters = Counters::default();
    for (id, bytes) in seen {
        let Some((instance, part)) = in_flow(&id.name) else {
            continue;
        };
        let flow = match instance {
            Some(instance) => counters.instances.entry(instance).or_default(),
            None => &mut counters.node,
        };
        *part(flow) = *bytes;
    }

    counters
}

fn reading(source: io::Error) -> NetworkError {
    NetworkError::Firewall {
        operation: "read the firewall's tables".into(),
        source,
    }
}

/// Somebody else was faster.
fn is_race(error: &io::Error) -> bool {
    error.raw_os_error() == Some(Errno::ERESTART as i32) || is_drift(error)
}

/// The tables are not what they should be.
fn is_drift(error: &io::Error) -> bool {
    [Errno::ENOENT, Errno::EEXIST, Errno::EBUSY]
        .iter()
        .any(|errno| error.raw_os_error() == Some(*errno as i32))
}

impl From<Refusal> for NetworkError {
    fn from(refusal: Refusal) -> Self {
        let what = refusal.about.map(|about| format!(", {about}"));
        Self::Firewall {
            operation: format!("change the firewall's tables{}", what.unwrap_or_default()),
            source: refusal.source,
        }
    }
}
