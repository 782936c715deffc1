//! Provider networks: from the list to bridges and VLANs.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use tokio::time::Instant;
use tracing::{info, warn};

use super::tell::{Found, disconnected, inside_the_node};
use super::{NetworkTask, blocking, survey};
use crate::model::{Chain, NetworkParameters};
use crate::networkmanager::apply::{Tampering, is_unsupported};
use crate::networkmanager::book::{NetworkPlan, VlanPlan};
use crate::networkmanager::error::NetworkError;
use crate::networkmanager::existing::Existing;
use crate::networkmanager::firewall::Change;
use crate::networkmanager::plan::Operation;
use crate::networkmanager::store;
use crate::networkmanager::troubles::{Subject, Trouble};

impl NetworkTask {
    /// Has the kernel tell of changes.
    pub(super) fn listen(&mut self) {
        match self.kernel.events() {
            Ok(events) => self.events = Some(events),
            Err(error) => {
                warn!(error = %Chain(&error), "changes of the machine's network go unnoticed");
                self.try_again();
            }
        }
    }

    /// Has the kernel tell of what others do to the firewall.
    pub(super) fn watch_firewall(&mut self) {
        match self.kernel.watch() {
            Ok(watch) => self.watch = Some(watch),
            Err(error) => {
                warn!(error = %Chain(&error), "changes of the firewall go unnoticed");
                self.try_again();
            }
        }
    }

    /// Others have changed the firewall.
    pub(super) async fn tampered(&mut self, outcome: io::Result<Tampering>) {
        let kernel = Arc::clone(&self.kernel);
        let healed = match outcome {
            Ok(tampering) => blocking(move || kernel.heal(&tampering)).await,
            Err(error) => {
                warn!(error = %Chain(&error), "the kernel stopped telling of the firewall");
                self.watch = None;
                self.try_again();
                return;
            }
        };
        if let Err(error) = healed {
            self.refused(&error, "the firewall is not whole");
        }
    }

    /// Something of the machine's network has changed, perhaps by us.
    pub(super) async fn machine_changed(&mut self, outcome: io::Result<()>) {
        if let Err(error) = outcome {
            warn!(error = %Chain(&error), "the kernel stopped telling of changes");
            self.events = None;
            self.try_again();
            return;
        }

        let now = Instant::now();
        match self.calm_until.filter(|until| *until > now) {
            None => self.look().await,
            Some(until) => {
                self.retry = Some(self.retry.map_or(until, |retry| retry.min(until)));
            }
        }
    }

    /// Looks whether all is as it should be, and mends what is not.
    pub(super) async fn look(&mut self) {
        if self.events.is_none() {
            self.listen();
        }
        if self.watch.is_none() {
            self.watch_firewall();
        }
        self.update(self.book.wanted()).await;
        self.calm_down();
    }

    /// After a look. The next one comes the later, the more often there was
    /// something to do.
    pub(super) fn calm_down(&mut self) {
        if std::mem::take(&mut self.worked) {
            self.calm_until = Some(Instant::now() + self.calm.delay(fastrand::f64()));
        } else if self.retry.is_none() {
            self.calm.reset();
            self.calm_until = None;
        }
    }

    /// After an error of the kernel, which may pass.
    pub(super) fn refused(&mut self, error: &NetworkError, left: &'static str) {
        warn!(error = %Chain(error), "{left}");
        self.try_again();
    }

    /// Looks again in a while, whatever changes until then.
    fn try_again(&mut self) {
        if self.retry.is_none() {
            let later = Instant::now() + self.calm.delay(fastrand::f64());
            self.retry = Some(later);
            self.calm_until = Some(later);
        }
    }

    pub(super) async fn update(&mut self, networks: Vec<NetworkParameters>) {
        self.retry = None;
        match survey(&self.kernel).await {
            Ok(existing) => {
                self.book.update(networks, &existing);
                self.settle(&existing).await;
            }
            Err(error) => {
                self.refused(&error, "bridges are left as they are");
                self.book.update(networks, &Existing::default());
                self.save().await;
            }
        }
    }

    /// Makes the machine what the book wants, and stores the book.
    pub(super) async fn settle(&mut self, existing: &Existing) {
        self.save().await;
        let plans = self.book.plans(existing);
        let vlans = self.book.vlans(existing);
        let mut found = Found::new();
        let worked = std::mem::take(&mut self.worked);

        let created = plans.iter().any(NetworkPlan::creates);
        for plan in plans {
            self.carry_out(plan).await;
        }
        self.tell_firewall(&vlans.ports).await;
        self.connect(vlans, &mut found).await;
        for operation in self.book.forwarding(existing) {
            self.forward(operation, &mut found).await;
        }
        self.rejoin(existing, created).await;
        self.look_at_others(&mut found).await;

        self.note(found);
        self.save().await;
        if !self.worked {
            self.tell_names(existing).await;
        } else {
            match survey(&self.kernel).await {
                Ok(existing) => self.tell_names(&existing).await,
                Err(error) => self.refused(&error, "the name server does not know all networks"),
            }
        }
        self.worked |= worked;
    }

    /// Tells the firewall of networks that are new, changed or gone. `ports` are
    /// their 802.1q links: it has to know these before they are there, as all
    /// nodes have the same gateway address.
    async fn tell_firewall(&mut self, ports: &BTreeMap<String, String>) {
        let rules = self.book.bridge_rules(ports);
        let gone = self.told.keys().filter(|name| !rules.contains_key(*name));
        let mut changes: Vec<Change> = gone.cloned().map(Change::RemoveBridge).collect();
        for (name, rules) in &rules {
            if self.told.get(name) != Some(rules) {
                changes.push(Change::SetBridge(name.clone(), rules.clone()));
            }
        }
        if changes.is_empty() {
            return;
        }

        let (kernel, adopting) = (Arc::clone(&self.kernel), self.adopting);
        let told = blocking(move || {
            if adopting {
                kernel.inherit(changes)
            } else {
                kernel.admit(changes)
            }
        });
        match told.await {
            Ok(()) => {
                self.told = rules;
                self.untold = None;
            }
            Err(error) => {
                self.refused(&error, "the firewall does not know all networks");
                self.untold = Some(Arc::new(error));
            }
        }
    }

    /// Tells the name server where the networks are.
    async fn tell_names(&mut self, existing: &Existing) {
        for (network, facts) in self.book.facts(existing) {
            match facts {
                Some(facts) => self.names.set_network(&network, facts),
                None => self.names.remove_network(&network),
            }
        }
        let networks = self.book.networks().cloned().collect();
        self.names.keep_networks(&networks);
        let publication = self.publisher.publication(&self.names);
        if let Err(error) = blocking(move || publication.publish()).await {
            self.refused(&error, "the name server does not know all networks");
        }
    }

    /// After networks have gone.
    pub(super) async fn tell_networks(&mut self) {
        match survey(&self.kernel).await {
            Ok(existing) => {
                let vlans = self.book.vlans(&existing);
                self.tell_firewall(&vlans.ports).await;
                self.tell_names(&existing).await;
            }
            Err(error) => self.refused(&error, "firewall and name server do not know all networks"),
        }
    }

    /// Notes firewalls of others that drop what is ours.
    async fn look_at_others(&mut self, found: &mut Found) {
        let kernel = Arc::clone(&self.kernel);
        match blocking(move || kernel.foreign_drops()).await {
            Ok(chains) => found.extend(chains.into_iter().map(|chain| {
                let text = format!(
                    "{chain} drops what it does not know: instances reach the outside, and are \
                     reached, only if it accepts packets from and to the bridges br-*"
                );
                let trouble = Trouble {
                    text,
                    alert: true,
                    may_pass: true,
                };
                (Subject::ForeignFirewall(chain), trouble)
            })),
            Err(error) => warn!(error = %Chain(&error), "firewalls of others cannot be looked at"),
        }
    }

    /// Connects networks with those of other nodes.
    async fn connect(&mut self, plan: VlanPlan, found: &mut Found) {
        let VlanPlan {
            leaving,
            networks,
            disconnected: faults,
            ..
        } = plan;
        found.extend(
            faults
                .iter()
                .map(|(network, fault)| disconnected(network, fault)),
        );

        if !leaving.is_empty()
            && let Err(error) = self.perform(&leaving, true).await
        {
            self.refused(&error, "a VLAN is left that nobody wants");
        }
        for NetworkPlan {
            network,
            operations,
        } in networks
        {
            let subject = Subject::Vlan(network.clone());
            let is_new = !self.troubles.has(&subject);
            if let Err(error) = self.perform(&operations, is_new).await {
                let text = inside_the_node(&network, &refusal(&error));
                found.push((subject, lasting(text)));
                self.try_again();
            }
        }
    }

    async fn forward(&mut self, operation: Operation, found: &mut Found) {
        let Operation::EnableForwarding { link } = &operation else {
            return;
        };
        let subject = Subject::Forwarding(link.clone());
        let is_new = !self.troubles.has(&subject);
        if let Err(error) = self.perform(std::slice::from_ref(&operation), is_new).await {
            let text = format!(
                "instances are cut off from what is behind {link}: {}",
                Chain(&error)
            );
            found.push((subject, lasting(text)));
            self.try_again();
        }
    }

    /// Connects running instances with their bridges again.
    async fn rejoin(&mut self, existing: &Existing, created: bool) {
        let rejoins = if created {
            survey(&self.kernel)
                .await
                .map(|existing| self.book.rejoins(&existing))
        } else {
            Ok(self.book.rejoins(existing))
        };
        let outcome = match rejoins {
            Ok(mut rejoins) => {
                // Who comes or goes just now is not connected yet, or no more.
                rejoins.retain(|operation| match operation {
                    Operation::JoinBridge { instance, .. } => !self.busy.contains(instance),
                    _ => true,
                });
                self.perform(&rejoins, true).await
            }
            Err(error) => Err(error),
        };
        if let Err(error) = outcome {
            self.refused(&error, "a running instance lost its network");
        }
    }

    /// Carries out all operations, also after one that failed, and returns the
    /// first error. Nothing is left of one that failed.
    async fn perform(
        &mut self,
        operations: &[Operation],
        is_new: bool,
    ) -> Result<(), NetworkError> {
        let mut outcome = Ok(());
        if is_new {
            for operation in operations {
                info!("{operation}");
            }
        }
        if !operations.is_empty() {
            self.worked = true;
            let kernel = Arc::clone(&self.kernel);
            let operations = operations.to_vec();
            outcome = blocking(move || kernel.apply_each(&operations)).await;
        }

        outcome
    }

    pub(super) async fn carry_out(&mut self, plan: NetworkPlan) {
        if plan.operations.is_empty() {
            return;
        }
        for operation in &plan.operations {
            info!(network = %plan.network, "{operation}");
        }

        self.worked = true;
        let kernel = Arc::clone(&self.kernel);
        let operations = plan.operations.clone();
        let outcome = blocking(move || kernel.apply(&operations)).await;
        if outcome.is_err() {
            self.try_again();
        }
        self.book.planned(&plan, outcome.map_err(Arc::new));
    }

    pub(super) async fn save(&mut self) {
        let networks = self.book.stored();
        if networks == self.saved {
            return;
        }
        match store::save(&self.database, networks.clone()).await {
            Ok(()) => self.saved = networks,
            // They are tried again with the next change.
            Err(error) => warn!(error = %Chain(&error), "networks cannot be stored"),
        }
    }
}

/// A trouble that ends only when what was refused works.
fn lasting(text: String) -> Trouble {
    Trouble {
        text,
        alert: true,
        may_pass: false,
    }
}

/// Why a VLAN cannot be had.
fn refusal(error: &NetworkError) -> String {
    let hint = match error {
        NetworkError::Operation { source, .. } if is_unsupported(source) => {
            ": the kernel has no 802.1q (module 8021q), or the interface cannot carry it"
        }
        _ => "",
    };
    format!("{}{hint}", Chain(error))
}
