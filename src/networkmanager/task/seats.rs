//! Places of instances: taken, changed and given back.

use std::sync::Arc;

use tracing::debug;

use super::{Done, NetworkTask, reply, survey};
use crate::model::InstanceId;
use crate::networkmanager::apply::Kernel;
use crate::networkmanager::error::NetworkError;
use crate::networkmanager::handle::{Answer, AttachRequest, Attachment};
use crate::networkmanager::plan::Seat;

impl NetworkTask {
    /// Books a seat, and has `work` see to it that the instance has it.
    pub(super) fn seat(
        &mut self,
        request: AttachRequest,
        answer: Answer<Attachment>,
        work: impl FnOnce(&Kernel, &Seat) -> Result<(), NetworkError> + Send + 'static,
    ) {
        let seat = match self.book.take_seat(&request) {
            Ok(seat) => seat,
            Err(error) => return reply(answer, Err(error)),
        };

        debug!(instance_id = %seat.instance, service_id = %request.ident.service_id,
            subject_id = %request.ident.subject_id, index = request.ident.index, network = %seat.network,
            address = %seat.address, "instance gets its place in the network");
        self.busy.insert(seat.instance);
        let kernel = Arc::clone(&self.kernel);
        let settings = Arc::clone(&self.settings);
        self.jobs.spawn_blocking(move || {
            let outcome =
                work(&kernel, &seat).map(|()| kernel.attachment(&settings, &request, &seat));
            Done::Attached(seat, answer, outcome)
        });
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
        let kernel = Arc::clone(&self.kernel);
        self.jobs.spawn_blocking(move || {
            let outcomes = kernel.detach(&instances);
            let outcomes = instances.into_iter().zip(answers).zip(outcomes);
            Done::Detached(
                outcomes
                    .map(|((instance, answer), outcome)| (instance, answer, outcome))
                    .collect(),
            )
        });
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
