//! Places of instances: taken, changed and given back.

use std::sync::Arc;

use tracing::debug;
use uuid::Uuid;

use super::{Done, NetworkTask, reply, survey};
use crate::model::InstanceId;
use crate::networkmanager::apply::Kernel;
use crate::networkmanager::error::NetworkError;
use crate::networkmanager::handle::{Answer, AttachRequest, Attachment};
use crate::networkmanager::names;
use crate::networkmanager::plan::{self, Seat};

/// An instance on its way into a network.
#[derive(Debug)]
pub(super) struct Arrival {
    seat: Seat,
    request: AttachRequest,
    answer: Answer<Attachment>,
}

impl NetworkTask {
    /// Books a seat, and has its inside made. Several are made at a time.
    pub(super) fn attach(&mut self, request: AttachRequest, answer: Answer<Attachment>) {
        let host_end = names::host_end(Uuid::new_v4());
        let old = self.found.remove(&request.id);
        self.seat(request, host_end, answer, move |kernel, seat| {
            let mut operations = plan::detach(seat.instance, old.as_deref());
            operations.extend(plan::prepare(seat));
            kernel.apply(&operations)
        });
    }

    /// Books a seat that an instance has already.
    pub(super) fn adopt(&mut self, request: AttachRequest, answer: Answer<Attachment>) {
        // One that has none is found out by the check.
        let host_end = self.found.get(&request.id).cloned().unwrap_or_default();
        self.seat(request, host_end, answer, Kernel::check);
    }

    fn seat(
        &mut self,
        request: AttachRequest,
        host_end: String,
        answer: Answer<Attachment>,
        work: impl FnOnce(&Kernel, &Seat) -> Result<(), NetworkError> + Send + 'static,
    ) {
        let seat = match self.book.take_seat(&request, host_end) {
            Ok(seat) => seat,
            Err(error) => return reply(answer, Err(error)),
        };

        debug!(instance_id = %seat.instance, service_id = %request.ident.service_id,
            subject_id = %request.ident.subject_id, index = request.ident.index, network = %seat.network,
            address = %seat.address, "instance gets its place in the network");
        self.busy.insert(seat.instance);
        let kernel = Arc::clone(&self.kernel);
        self.jobs.spawn_blocking(move || {
            let outcome = work(&kernel, &seat);
            Done::Prepared(
                Arrival {
                    seat,
                    request,
                    answer,
                },
                outcome,
            )
        });
    }

    pub(super) async fn prepared(&mut self, arrival: Arrival, outcome: Result<(), NetworkError>) {
        match outcome {
            Ok(()) => self.arriving.push(arrival),
            Err(error) => self.attached(arrival, Err(error)).await,
        }
    }

    /// Connects all that wait for it in one job: one batch of netlink requests
    /// for all of them.
    pub(super) fn connect_arriving(&mut self) {
        if self.connecting || self.arriving.is_empty() {
            return;
        }

        self.connecting = true;
        let arrivals = std::mem::take(&mut self.arriving);
        let kernel = Arc::clone(&self.kernel);
        let settings = Arc::clone(&self.settings);
        self.jobs.spawn_blocking(move || {
            let seats: Vec<Seat> = arrivals
                .iter()
                .map(|arrival| arrival.seat.clone())
                .collect();
            let outcomes = kernel.connect(&seats);
            let outcomes = arrivals.into_iter().zip(outcomes);
            Done::Attached(
                outcomes
                    .map(|(arrival, outcome)| {
                        let outcome = outcome.map(|()| {
                            kernel.attachment(&settings, &arrival.request, &arrival.seat)
                        });
                        (arrival, outcome)
                    })
                    .collect(),
            )
        });
    }

    pub(super) async fn attached(
        &mut self,
        arrival: Arrival,
        outcome: Result<Attachment, NetworkError>,
    ) {
        let instance = arrival.seat.instance;
        if outcome.is_err() {
            self.leave(instance).await;
        }
        reply(arrival.answer, outcome);
        self.next(instance).await;
    }

    pub(super) fn change(&mut self, request: AttachRequest, answer: Answer<Attachment>) {
        let outcome = self
            .book
            .seat_of(&request)
            .map(|seat| self.kernel.attachment(&self.settings, &request, &seat));
        reply(answer, outcome);
    }

    pub(super) fn detach(&mut self, instance: InstanceId, answer: Answer<()>) {
        debug!(instance_id = %instance, "instance leaves the network");
        self.busy.insert(instance);
        self.leaving.push((instance, answer));
    }

    /// Detaches all that wait for it in one job: the kernel takes as long for
    /// one as for many.
    pub(super) fn detach_leaving(&mut self) {
        if self.detaching || self.leaving.is_empty() {
            return;
        }

        self.detaching = true;
        let (instances, answers): (Vec<_>, Vec<_>) = self.leaving.drain(..).unzip();
        let named: Vec<_> = instances
            .iter()
            .map(|&instance| (instance, self.host_end(instance)))
            .collect();
        let kernel = Arc::clone(&self.kernel);
        self.jobs.spawn_blocking(move || {
            let outcomes = kernel.detach(&named);
            let outcomes = instances.into_iter().zip(answers).zip(outcomes);
            Done::Detached(
                outcomes
                    .map(|((instance, answer), outcome)| (instance, answer, outcome))
                    .collect(),
            )
        });
    }

    fn host_end(&self, instance: InstanceId) -> Option<String> {
        let booked = self.book.host_end(instance);
        booked
            .or_else(|| self.found.get(&instance).map(String::as_str))
            .map(str::to_owned)
    }

    /// Takes an instance out of the book, and with the last one its network,
    /// when CM no longer wants that.
    pub(super) async fn leave(&mut self, instance: InstanceId) {
        self.book.leave_seat(instance);
        let deserted = self.book.deserted();
        if deserted.is_empty() {
            return;
        }

        match survey(&self.kernel).await {
            Ok(existing) => {
                for network in deserted {
                    if let Some(plan) = self.book.plan(&network, &existing) {
                        self.carry_out(plan).await;
                    }
                }
                self.save().await;
            }
            Err(error) => self.refused(&error, "bridges are left"),
        }
    }
}
