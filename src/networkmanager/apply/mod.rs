//! Operations carried out by the kernel.
//!
//! All calls block, though not for long: they belong on threads that may. The
//! network namespace of the thread that opened the [`Kernel`] is the host's.

mod events;
mod messages;
mod netlink;
pub(super) mod netns;
pub(super) mod nft;
mod session;
mod tables;
mod tc;
mod uplink;

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use netlink_packet_route::RouteNetlinkMessage;
use tracing::warn;

pub(super) use self::events::Events;
use self::netlink::Rtnetlink;
pub(super) use self::nft::{Counters, Tampering, Watch};
use self::session::Session;
use self::tables::Tables;
pub(super) use self::uplink::is_unsupported;
use super::addresses::InterfaceAddress;
use super::error::NetworkError;
use super::existing::{Existing, Link};
use super::firewall::{Change, InstanceRules, Rules};
use super::handle::{AttachRequest, Attachment, NetworkSettings};
use super::plan::{self, Operation, Place, Seat};
use super::{hosts, names};
use crate::model::{Chain, Flow, InstanceId};

/// Present when the kernel has IPv6.
const IPV6: &str = "/proc/sys/net/ipv6/conf";

/// The kernel's network.
#[derive(Debug)]
pub(super) struct Kernel {
    namespaces: PathBuf,
    host: File,
    ipv6: bool,
    tables: Mutex<Tables>,
}

impl Kernel {
    /// Takes the calling thread's network namespace for the host's, and sets up
    /// the directory of names for the namespaces of instances.
    /// The node's counters begin with `node`, unless they are there.
    pub(super) fn open(
        namespaces: &Path,
        restrict_host: bool,
        node: Flow,
    ) -> Result<Self, NetworkError> {
        let directory = |source| NetworkError::Directory {
            path: namespaces.to_owned(),
            source,
        };
        netns::prepare_directory(namespaces).map_err(directory)?;
        let host = netns::own().map_err(directory)?;
        let rules = Rules {
            restrict_host,
            node,
            ..Rules::default()
        };

        let tables = Tables::new(host.try_clone().map_err(directory)?.into(), rules);

        Ok(Self {
            namespaces: namespaces.to_owned(),
            host,
            ipv6: Path::new(IPV6).exists(),
            tables: Mutex::new(tables),
        })
    }

    /// What an instance with this seat is told.
    pub(super) fn attachment(
        &self,
        settings: &NetworkSettings,
        request: &AttachRequest,
        seat: &Seat,
    ) -> Attachment {
        Attachment {
            netns: self.namespace(seat.instance),
            hosts: hosts::hosts_text(
                seat.address.address,
                &seat.network,
                request.hostname.as_deref(),
                settings.hosts.iter().chain(&request.extra_hosts),
            ),
            resolv_conf: hosts::resolv_conf_text(seat.gateway),
        }
    }

    /// The name of an instance's network namespace.
    fn namespace(&self, instance: InstanceId) -> PathBuf {
        self.namespaces.join(instance.to_string())
    }

    /// Carries a plan out, or leaves nothing of it.
    pub(super) fn apply(&self, operations: &[Operation]) -> Result<(), NetworkError> {
        let mut session = Session::new(self);
        plan::carry_out(operations, |batch| session.perform(batch)).map_err(|failure| {
            for error in &failure.left {
                warn!(error = %Chain(error), "something of a failed plan is left");
            }
            failure.cause
        })
    }

    /// Carries out all operations, also after one that failed, and returns the
    /// first error. Nothing is left of one that failed.
    pub(super) fn apply_each(&self, operations: &[Operation]) -> Result<(), NetworkError> {
        let mut outcome = Ok(());
        for operation in operations {
            let result = self.apply(std::slice::from_ref(operation));
            outcome = outcome.and(result);
        }

        outcome
    }

    /// Takes over what an earlier SM has told the firewall.
    pub(super) fn inherit(&self, changes: Vec<Change>) -> Result<(), NetworkError> {
        self.tables().inherit(changes)
    }

    /// Changes the firewall, wholly or not at all.
    pub(super) fn admit(&self, changes: Vec<Change>) -> Result<(), NetworkError> {
        self.tables().change(changes).map(drop)
    }

    /// Admits and connects instances whose seats are prepared, all in one go. One
    /// outcome for each; of those that fail nothing is left.
    pub(super) fn connect(
        &self,
        seats: Vec<(Seat, InstanceRules)>,
    ) -> Vec<Result<(), NetworkError>> {
        // Even an empty change would end the taking over.
        if seats.is_empty() {
            return Vec::new();
        }

        let mut session = Session::new(self);
        let joins: Vec<Operation> = seats.iter().map(|(seat, _)| plan::connect(seat)).collect();
        let admissions = seats
            .iter()
            .map(|(seat, rules)| Change::SetInstance(seat.instance, rules.clone()));
        let together = self
            .admit(admissions.collect())
            .and_then(|()| session.perform(&joins));
        if together.is_ok() {
            return seats.iter().map(|_| Ok(())).collect();
        }

        // One by one it shows whose fault it is.
        let mut outcomes = Vec::with_capacity(seats.len());
        for ((seat, rules), join) in seats.into_iter().zip(joins) {
            let instance = seat.instance;
            let outcome = self
                .admit(vec![Change::SetInstance(instance, rules)])
                .and_then(|()| session.perform(&[join]));
            if outcome.is_err() {
                let (left, _) = self.detach(&[(instance, Some(seat.host_end))]);
                for error in left.into_iter().filter_map(Result::err) {
                    warn!(error = %Chain(&error), "something of a failed plan is left");
                }
            }
            outcomes.push(outcome);
        }

        outcomes
    }

    /// Gives a connected instance other rules and speeds, or leaves it those that
    /// it had `before`.
    pub(super) fn change(
        &self,
        before: Option<&(Seat, InstanceRules)>,
        (seat, rules): (&Seat, &InstanceRules),
    ) -> Result<(), NetworkError> {
        let old = before.map_or(seat.speeds, |(seat, _)| seat.speeds);
        self.admit(vec![Change::SetInstance(seat.instance, rules.clone())])?;
        self.reshape(seat, old).inspect_err(|_| {
            let back = before.map(|(seat, rules)| {
                self.admit(vec![Change::SetInstance(seat.instance, rules.clone())])
            });
            if let Some(Err(error)) = back {
                warn!(error = %Chain(&error), "a change that failed is left half done");
            }
        })
    }

    /// Takes from instances all that they have, their host ends by name. One
    /// outcome for each, and what was counted for them last.
    pub(super) fn detach(
        &self,
        instances: &[(InstanceId, Option<String>)],
    ) -> (Vec<Result<(), NetworkError>>, Counters) {
        let plans: Vec<Vec<Operation>> = instances
            .iter()
            .map(|(instance, host_end)| plan::detach(*instance, host_end.as_deref()))
            .collect();
        let mut session = Session::new(self);

        // All links in one go. If that fails, doing it one by one tells whose
        // fault it is.
        let links: Vec<Operation> = plans
            .iter()
            .flatten()
            .filter(|operation| operation.place() == Place::Host)
            .cloned()
            .collect();
        let released = session.perform(&links).is_ok();
        let mut outcomes: Vec<_> = plans
            .into_iter()
            .map(|mut plan| {
                plan.retain(|operation| !(released && operation.place() == Place::Host));
                session.perform_each(&plan)
            })
            .collect();

        // Who is gone needs no permissions. Together, or else one by one.
        let gone = |(instance, _): &(InstanceId, _)| Change::RemoveInstance(*instance);
        let together = self.tables().change(instances.iter().map(gone).collect());
        let last = together.unwrap_or_else(|_| {
            let mut last = Counters::default();
            for (instance, outcome) in instances.iter().zip(&mut outcomes) {
                match self.tables().change(vec![gone(instance)]) {
                    Ok(counters) => last.instances.extend(counters.instances),
                    Err(error) if outcome.is_ok() => *outcome = Err(error),
                    Err(_) => {}
                }
            }
            last
        });

        (outcomes, last)
    }

    /// What has been counted so far.
    pub(super) fn counters(&self) -> Result<Counters, NetworkError> {
        self.tables().counters()
    }

    /// Begins all counters and quotas from zero, and says what they said last.
    pub(super) fn new_day(&self) -> Result<Counters, NetworkError> {
        self.tables().new_day()
    }

    /// Chains of other firewalls that drop what we accept.
    pub(super) fn foreign_drops(&self) -> Result<Vec<String>, NetworkError> {
        self.tables().foreign_drops()
    }

    /// Notices what others do to the firewall; within a runtime.
    pub(super) fn watch(&self) -> Result<Watch, NetworkError> {
        self.tables().watch()
    }

    /// Mends the firewall.
    pub(super) fn heal(&self, tampering: &Tampering) -> Result<(), NetworkError> {
        self.tables().heal(tampering)
    }

    fn tables(&self) -> MutexGuard<'_, Tables> {
        self.tables.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lists the host's links, their addresses, and where default routes lead.
    pub(super) fn survey(&self) -> Result<Existing, NetworkError> {
        let list = || {
            let mut host = self.host()?;
            let addresses = addresses(&mut host)?;
            let mut links = BTreeMap::new();
            for message in host.dump(&messages::get_links())? {
                if let RouteNetlinkMessage::NewLink(message) = message
                    && let Some((name, mut link)) = messages::read_link(message)
                {
                    link.addresses = messages::addresses_of(&addresses, link.index);
                    links.insert(name, link);
                }
            }

            let routes = host.dump(&uplink::get_routes())?;

            Ok(Existing {
                links,
                uplinks: uplink::uplinks(&routes),
            })
        };

        list().map_err(NetworkError::Survey)
    }

    /// The instances that have a network namespace or a link.
    pub(super) fn instances(&self) -> Result<Vec<InstanceId>, NetworkError> {
        let names = || {
            fs::read_dir(&self.namespaces)?
                .map(|entry| entry.map(|entry| entry.file_name()))
                .collect::<io::Result<Vec<_>>>()
        };
        let names = names().map_err(|source| NetworkError::Directory {
            path: self.namespaces.clone(),
            source,
        })?;
        let links = self.survey()?.links;

        let mut instances: Vec<InstanceId> = names
            .iter()
            .filter_map(|name| name.to_str()?.parse().ok())
            .chain(
                links
                    .values()
                    .filter_map(|link| names::instance_of(&link.alias)),
            )
            .collect();
        instances.sort_unstable();
        instances.dedup();
        Ok(instances)
    }

    /// Checks that a running instance has its seat. `links` are the host's.
    fn check(&self, seat: &Seat, links: &BTreeMap<String, Link>) -> Result<(), NetworkError> {
        let instance = seat.instance;
        let different = |reason: String| NetworkError::NotWhole { instance, reason };
        let failed = |error: io::Error| different(error.to_string());

        let host_end = &seat.host_end;
        if host_end.is_empty() {
            return Err(different("its link is gone".into()));
        }
        let link = links
            .get(host_end)
            .ok_or_else(|| different(format!("its link {host_end} is gone")))?;
        let bridge = links
            .get(&seat.bridge)
            .ok_or_else(|| different(format!("bridge {} is gone", seat.bridge)))?;
        if link.master != Some(bridge.index) || !link.up {
            return Err(different(format!(
                "its link {host_end} is not connected to bridge {}",
                seat.bridge
            )));
        }

        let namespace = netns::open(&self.namespace(instance))
            .map_err(failed)?
            .ok_or_else(|| different("its network namespace is gone".into()))?;
        let inside = netns::run_in(namespace.as_fd(), || addresses(&mut Rtnetlink::open()?))
            .map_err(failed)?;
        if !inside.iter().any(|(_, address)| *address == seat.address) {
            return Err(different(format!("it has not address {}", seat.address)));
        }
        Ok(())
    }

    fn host(&self) -> io::Result<Rtnetlink> {
        netns::run_in(self.host.as_fd(), Rtnetlink::open)
    }
}

/// All IPv4 addresses of a namespace, each with the index of its link.
fn addresses(socket: &mut Rtnetlink) -> io::Result<Vec<(u32, InterfaceAddress)>> {
    let list = socket.dump(&messages::get_addresses())?;

    Ok(list
        .iter()
        .filter_map(|message| match message {
            RouteNetlinkMessage::NewAddress(message) => messages::read_address(message),
            _ => None,
        })
        .collect())
}
