//! What CM has to be told, as a value without I/O.
//!
//! [`Outbox`] compares the present state of the instances with what CM was told
//! on this connection. A connection begins with the node configuration, then
//! all instances as soon as they have settled, then each change. A list that CM
//! sent and that the launcher has not taken up yet counts as unsettled: no
//! older state is ever taken for its answer.
//!
//! Invariant: `told` has one entry for each instance of the newest list that
//! was seen settled, in its order.
//!
//! Reports wait in a queue of their own; see [`reports`].

mod reports;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use self::reports::Reports;
use crate::model::{
    Fault, InstanceId, InstanceIdent, InstanceReport, InstanceStatus, Report, RunState, RunStatus,
};

pub(super) use self::reports::Dropped;

/// One message about the node and its instances.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// Who the node is and what it has.
    NodeConfiguration,
    /// All instances of the newest list.
    Run(Vec<InstanceStatus>),
    /// The instances that changed since CM was told.
    Update(Vec<InstanceStatus>),
}

/// How far CM was brought on the present connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Connection {
    Down,
    /// It does not know the node yet.
    New,
    /// It knows the node, but no instances.
    Greeted,
    /// It knows the instances of the list of this generation.
    Informed(u64),
}

/// What CM knows of one instance.
#[derive(Clone, Debug)]
struct Told {
    ident: InstanceIdent,
    /// The last status sent on this connection.
    status: Option<InstanceStatus>,
    /// The newest fault that needs no telling any more: of which instance, and its
    /// number.
    fault: Option<(InstanceId, u64)>,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Outbox {
    status: RunStatus,
    /// `RunInstances` that were passed on: the generation to wait for.
    requested: u64,
    connection: Connection,
    /// Generation that `told` belongs to.
    told_of: Option<u64>,
    told: Vec<Told>,
    reports: Reports,
}

impl Outbox {
    /// Without a connection.
    pub(super) fn new(status: RunStatus) -> Self {
        let mut outbox = Self {
            status: RunStatus::default(),
            requested: 0,
            connection: Connection::Down,
            told_of: None,
            told: Vec::new(),
            reports: Reports::default(),
        };
        outbox.set_status(status);
        outbox
    }

    /// Takes the newest state.
    pub(super) fn set_status(&mut self, status: RunStatus) {
        self.status = status;

        if self.status.settled && self.told_of != Some(self.status.generation) {
            self.told_of = Some(self.status.generation);
            // What failed meanwhile, or before anything was told, is still to be told.
            let mut before: BTreeMap<_, _> = std::mem::take(&mut self.told)
                .into_iter()
                .map(|told| (told.ident, told.fault))
                .collect();
            let told = self.status.instances.iter().map(|report| {
                let mut told = untold(report);
                told.fault = before.remove(&told.ident).flatten();
                told
            });
            self.told = told.collect();
        }
        // The list of a generation does not change; an instance that is there
        // all the same must not go untold.
        if self.status.settled {
            self.told.truncate(self.status.instances.len());
            let more = self.status.instances.iter().skip(self.told.len());
            self.told.extend(more.map(untold));
        }
    }

    /// A `RunInstances` came and is passed on to the launcher.
    pub(super) fn run_requested(&mut self) {
        self.requested += 1;
    }

    /// Takes a report. Returns what was dropped for it, or instead of it.
    pub(super) fn push(&mut self, report: Report) -> Option<Dropped> {
        self.reports
            .push(report, self.connection != Connection::Down)
    }

    /// A connection is there. CM knows nothing.
    pub(super) fn connected(&mut self) {
        self.connection = Connection::New;
        for told in &mut self.told {
            told.status = None;
        }
    }

    /// The connection is gone.
    pub(super) fn disconnected(&mut self) {
        self.connection = Connection::Down;
        self.reports.disconnected();
    }

    /// Whether [`Self::next_state`] has something.
    pub(super) fn has_state(&self) -> bool {
        match self.connection {
            Connection::Down => false,
            Connection::New => true,
            Connection::Greeted => self.settled(),
            Connection::Informed(generation) => {
                self.settled() && (generation != self.status.generation || self.has_change())
            }
        }
    }

    /// The next message about the node and its instances. It counts as told.
    pub(super) fn next_state(&mut self) -> Option<State> {
        if !self.has_state() {
            return None;
        }

        match self.connection {
            Connection::Down => None,
            Connection::New => {
                self.connection = Connection::Greeted;
                Some(State::NodeConfiguration)
            }
            Connection::Informed(generation) if generation == self.status.generation => {
                Some(State::Update(self.tell_changes()))
            }
            Connection::Greeted | Connection::Informed(_) => {
                self.connection = Connection::Informed(self.status.generation);
                Some(State::Run(self.tell_all()))
            }
        }
    }

    /// Whether [`Self::next_report`] has something.
    pub(super) fn has_report(&self) -> bool {
        matches!(
            self.connection,
            Connection::Greeted | Connection::Informed(_)
        ) && !self.reports.is_empty()
    }

    /// The next report. It counts as delivered.
    pub(super) fn next_report(&mut self) -> Option<Report> {
        if self.has_report() {
            self.reports.pop()
        } else {
            None
        }
    }

    fn settled(&self) -> bool {
        self.status.settled && self.status.generation >= self.requested
    }

    fn has_change(&self) -> bool {
        self.status
            .instances
            .iter()
            .zip(&self.told)
            .any(|(report, told)| change(report, told).is_some())
    }

    fn tell_all(&mut self) -> Vec<InstanceStatus> {
        self.status
            .instances
            .iter()
            .zip(&mut self.told)
            .map(|(report, told)| {
                let status = report.desired.clone();
                if report.kept.is_none() && status.state != RunState::Active {
                    told.fault = newest_fault(report).or(told.fault);
                }
                told.status = Some(status.clone());
                status
            })
            .collect()
    }

    fn tell_changes(&mut self) -> Vec<InstanceStatus> {
        self.status
            .instances
            .iter()
            .zip(&mut self.told)
            .filter_map(|(report, told)| {
                let status = change(report, told)?;
                told.status = Some(status.clone());
                told.fault = newest_fault(report).or(told.fault);
                Some(status)
            })
            .collect()
    }
}

/// The next status that CM needs, if it does not know the present one. A fault
/// that is over already is told first.
fn change(report: &InstanceReport, told: &Told) -> Option<InstanceStatus> {
    let present = report.kept.as_ref().unwrap_or(&report.desired);

    match &report.last_fault {
        Some(fault) if is_untold(fault, told) => match present.state {
            RunState::Active => Some(InstanceStatus {
                state: RunState::Failed(fault.error.clone()),
                ..present.clone()
            }),
            RunState::Failed(_) => Some(present.clone()),
        },
        _ => Some(present)
            .filter(|present| told.status.as_ref() != Some(*present))
            .cloned(),
    }
}

fn is_untold(fault: &Fault, told: &Told) -> bool {
    told.fault
        .is_none_or(|(instance, number)| fault.instance != instance || fault.number > number)
}

fn untold(report: &InstanceReport) -> Told {
    Told {
        ident: report.desired.ident.clone(),
        status: None,
        fault: None,
    }
}

fn newest_fault(report: &InstanceReport) -> Option<(InstanceId, u64)> {
    let fault = report.last_fault.as_ref()?;
    Some((fault.instance, fault.number))
}
