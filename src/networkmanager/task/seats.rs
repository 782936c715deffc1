//! Places of instances: taken, changed and given back.

use std::sync::Arc;

use tracing::{debug, warn};
use uuid::Uuid;

use super::{Done, NetworkTask, reply, survey};
use crate::model::{Chain, Flow, InstanceId};
use crate::networkmanager::addresses::instance_mac;
use crate::networkmanager::apply::Counters;
use crate::networkmanager::error::NetworkError;
use crate::networkmanager::firewall::{Change, InstanceRules, allowed, exposed};
use crate::networkmanager::handle::{Answer, AttachRequest, Attachment};
use crate::networkmanager::names;
use crate::networkmanager::nameservice::Publication;
use crate::networkmanager::plan::{self, Seat};
use crate::networkmanager::traffic::Moment;

/// An instance on its way into a network.
#[derive(Debug)]
pub(super) struct Arrival {
    pub(super) guest: Guest,
    answer: Answer<Attachment>,
    /// It runs already, and is connected.
    adopted: bool,
}

/// An instance in a network, as it was asked for.
#[derive(Clone, Debug)]
pub(super) struct Guest {
    pub(super) seat: Seat,
    pub(super) request: AttachRequest,
    pub(super) rules: InstanceRules,
}

impl NetworkTask {
    /// Books a seat, and has its inside made. Several are made at a time.
    pub(super) fn attach(&mut self, request: AttachRequest, answer: Answer<Attachment>) {
        self.all_adopted();
        let host_end = names::host_end(Uuid::new_v4());
        let old = self.found.remove(&request.id);
        let Some(arrival) = self.arrival(request, host_end, answer, false) else {
            return;
        };
        let kernel = Arc::clone(&self.kernel);
        self.jobs.spawn_blocking(move || {
            let seat = &arrival.guest.seat;
            let mut operations = plan::detach(seat.instance, old.as_deref());
            operations.extend(plan::prepare(seat));
            let outcome = kernel.apply(&operations);
            Done::Prepared(vec![(arrival, outcome)])
        });
    }

    /// Books a seat that an instance has already.
    pub(super) fn adopt(&mut self, request: AttachRequest, answer: Answer<Attachment>) {
        // One that has none is found out by the check.
        let host_end = self.found.get(&request.id).cloned().unwrap_or_default();
        let arrival = self.arrival(request, host_end, answer, true);
        self.inheriting.extend(arrival);
    }

    /// Looks at all that wait to be taken over in one job.
    pub(super) fn check_inheriting(&mut self) {
        if self.inheriting.is_empty() {
            return;
        }

        let arrivals = std::mem::take(&mut self.inheriting);
        let kernel = Arc::clone(&self.kernel);
        self.jobs.spawn_blocking(move || {
            let seats = arrivals.iter().map(|arrival| arrival.guest.seat.clone());
            let outcomes = kernel.adopt(&seats.collect::<Vec<_>>());
            Done::Prepared(arrivals.into_iter().zip(outcomes).collect())
        });
    }

    /// Books a seat; what is wrong with the request is answered.
    fn arrival(
        &mut self,
        request: AttachRequest,
        host_end: String,
        answer: Answer<Attachment>,
        adopted: bool,
    ) -> Option<Arrival> {
        let guest = match self.book_guest(request, host_end) {
            Ok(guest) => guest,
            Err(error) => {
                reply(answer, Err(error));
                return None;
            }
        };

        let Guest { seat, request, .. } = &guest;
        debug!(instance_id = %seat.instance, service_id = %request.ident.service_id,
            subject_id = %request.ident.subject_id, index = request.ident.index, network = %seat.network,
            address = %seat.address, "instance gets its place in the network");
        self.busy.insert(seat.instance);

        Some(Arrival {
            guest,
            answer,
            adopted,
        })
    }

    /// Books what an instance asks for: its address, its rules, its names.
    fn book_guest(
        &mut self,
        request: AttachRequest,
        host_end: String,
    ) -> Result<Guest, NetworkError> {
        let seat = self.book.take_seat(&request, host_end)?;
        let instance = seat.instance;
        let guest = self
            .check_guarded(&seat)
            .and_then(|()| self.guest(request, seat));
        if guest.is_err() {
            self.book.leave_seat(instance);
        }

        guest
    }

    /// What a seat comes with: rules, names, and what has been counted today.
    fn guest(&mut self, request: AttachRequest, seat: Seat) -> Result<Guest, NetworkError> {
        let rules = rules(&request, &seat)?;
        self.names.admit(&request, seat.address.address)?;
        let start = self.keeper.start(seat.instance);

        Ok(Guest {
            seat,
            request,
            rules: InstanceRules { start, ..rules },
        })
    }

    /// Nobody gets into a network that the firewall does not know: nothing would
    /// hold it back there.
    fn check_guarded(&self, seat: &Seat) -> Result<(), NetworkError> {
        match &self.untold {
            Some(fault) if !self.told.contains_key(&seat.bridge) => Err(NetworkError::NotUsable {
                network: seat.network.clone(),
                fault: Arc::clone(fault),
            }),
            _ => Ok(()),
        }
    }

    pub(super) async fn prepared(&mut self, outcomes: Vec<(Arrival, Result<(), NetworkError>)>) {
        for (arrival, outcome) in outcomes {
            match outcome {
                Ok(()) => self.arriving.push(arrival),
                Err(error) => self.attached(arrival, Err(error)).await,
            }
        }
    }

    /// Admits and connects all that wait for it in one job: one transaction of
    /// the firewall and one batch of netlink requests for all of them.
    pub(super) fn connect_arriving(&mut self) {
        if self.connecting || self.arriving.is_empty() {
            return;
        }

        self.connecting = true;
        let arrivals = std::mem::take(&mut self.arriving);
        let publication = self.publisher.publication(&self.names);
        let kernel = Arc::clone(&self.kernel);
        let settings = Arc::clone(&self.settings);
        self.jobs.spawn_blocking(move || {
            let (adopted, new): (Vec<_>, Vec<_>) =
                arrivals.into_iter().partition(|arrival| arrival.adopted);
            let adopted: Vec<_> = adopted
                .into_iter()
                .map(|arrival| {
                    let outcome = kernel.inherit(vec![admission(&arrival.guest)]);
                    (arrival, outcome)
                })
                .collect();
            let seats = new.iter().map(|arrival| &arrival.guest);
            let seats = seats.map(|guest| (guest.seat.clone(), guest.rules.clone()));
            let outcomes = kernel.connect(seats.collect());
            publish(publication);

            let outcomes = adopted.into_iter().chain(new.into_iter().zip(outcomes));
            Done::Attached(
                outcomes
                    .map(|(arrival, outcome)| {
                        let Guest { seat, request, .. } = &arrival.guest;
                        let outcome = outcome.map(|()| kernel.attachment(&settings, request, seat));
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
        let instance = arrival.guest.seat.instance;
        if outcome.is_ok() {
            self.found.remove(&instance);
            self.guests.insert(instance, arrival.guest);
        } else {
            self.keeper.stop(Moment::now(), [(instance, None)]).await;
            self.leave(instance).await;
        }
        reply(arrival.answer, outcome);
        self.next(instance).await;
    }

    /// Gives a guest what has changed.
    pub(super) fn change(&mut self, request: AttachRequest, answer: Answer<Attachment>) {
        self.all_adopted();
        let changed = self.book.seat_of(&request);
        let guest = match changed.and_then(|seat| self.guest(request, seat)) {
            Ok(guest) => guest,
            Err(error) => return reply(answer, Err(error)),
        };

        debug!(instance_id = %guest.seat.instance, "place in the network changes");
        self.busy.insert(guest.seat.instance);
        let before = self.guests.get(&guest.seat.instance);
        let before = before.map(|guest| (guest.seat.clone(), guest.rules.clone()));
        let publication = self.publisher.publication(&self.names);
        let kernel = Arc::clone(&self.kernel);
        let settings = Arc::clone(&self.settings);
        self.jobs.spawn_blocking(move || {
            let outcome = kernel.change(before.as_ref(), (&guest.seat, &guest.rules));
            publish(publication);
            let outcome =
                outcome.map(|()| kernel.attachment(&settings, &guest.request, &guest.seat));
            Done::Changed(Box::new(guest), answer, outcome)
        });
    }

    pub(super) async fn changed(
        &mut self,
        guest: Box<Guest>,
        answer: Answer<Attachment>,
        outcome: Result<Attachment, NetworkError>,
    ) {
        let instance = guest.seat.instance;
        if outcome.is_ok() {
            self.guests.insert(instance, *guest);
        } else if let Some(before) = self.guests.get(&instance) {
            // Nobody has taken its names meanwhile: it had them.
            let address = before.seat.address.address;
            if let Err(error) = self.names.admit(&before.request, address) {
                warn!(instance_id = %instance, error = %Chain(&error), "names are lost");
            }
        }
        reply(answer, outcome);
        self.next(instance).await;
    }

    pub(super) fn detach(&mut self, instance: InstanceId, answer: Answer<()>) {
        self.all_adopted();
        debug!(instance_id = %instance, "instance leaves the network");
        self.busy.insert(instance);
        self.leaving.push((instance, answer));
    }

    /// Detaches all that wait for it in one job: the kernel takes hardly longer
    /// for many than for one.
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
        for &instance in &instances {
            self.names.dismiss(instance);
        }
        let publication = self.publisher.publication(&self.names);
        let kernel = Arc::clone(&self.kernel);
        self.jobs.spawn_blocking(move || {
            let (outcomes, last) = kernel.detach(&named);
            publish(publication);
            let outcomes = instances.into_iter().zip(answers).zip(outcomes);
            Done::Detached(
                outcomes
                    .map(|((instance, answer), outcome)| (instance, answer, outcome))
                    .collect(),
                last,
            )
        });
    }

    pub(super) async fn detached(
        &mut self,
        outcomes: Vec<(InstanceId, Answer<()>, Result<(), NetworkError>)>,
        last: &Counters,
    ) {
        self.detaching = false;
        let gone = outcomes
            .iter()
            .filter(|(_, _, outcome)| outcome.is_ok())
            .map(|(instance, ..)| (*instance, last.instances.get(instance).copied()));
        self.keeper.stop(Moment::now(), gone).await;
        for (instance, answer, outcome) in outcomes {
            // What could not be taken away keeps its address booked.
            if outcome.is_ok() {
                self.found.remove(&instance);
                self.leave(instance).await;
            }
            reply(answer, outcome);
            self.next(instance).await;
        }
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
        self.names.dismiss(instance);
        self.guests.remove(&instance);
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
                self.tell_networks().await;
            }
            Err(error) => self.refused(&error, "bridges are left"),
        }
    }
}

fn rules(request: &AttachRequest, seat: &Seat) -> Result<InstanceRules, NetworkError> {
    let address = seat.address.address;

    Ok(InstanceRules {
        bridge: seat.bridge.clone(),
        host_end: seat.host_end.clone(),
        mac: instance_mac(address),
        address,
        exposed: exposed(seat.instance, &request.exposed_ports)?,
        allowed: allowed(seat.instance, &request.network.rules, address)?,
        start: Flow::default(),
        limits: request.limits,
    })
}

fn admission(guest: &Guest) -> Change {
    Change::SetInstance(guest.seat.instance, guest.rules.clone())
}

/// An instance runs on without its names; the next change tells them.
fn publish(publication: Publication) {
    if let Err(error) = publication.publish() {
        warn!(error = %Chain(&error), "the name server does not learn of a change");
    }
}
