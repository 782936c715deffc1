//! Provider networks: from the list to bridges.

use std::sync::Arc;

use tokio::time::Instant;
use tracing::{info, warn};

use super::{NetworkTask, RETRY, blocking, survey};
use crate::model::{Chain, NetworkParameters};
use crate::networkmanager::book::NetworkPlan;
use crate::networkmanager::error::NetworkError;
use crate::networkmanager::existing::Existing;
use crate::networkmanager::firewall::Change;
use crate::networkmanager::store;

impl NetworkTask {
    /// After an error of the kernel, which may pass.
    pub(super) fn refused(&mut self, error: &NetworkError, left: &'static str) {
        warn!(error = %Chain(error), "{left}");
        self.retry = Some(Instant::now() + RETRY);
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

    /// Makes the bridges what the book wants, and stores the book.
    pub(super) async fn settle(&mut self, existing: &Existing) {
        for network in self.book.new_vlans() {
            warn!(%network, "VLAN is not supported yet: the network stays inside the node");
        }
        self.save().await;
        let plans = self.book.plans(existing);
        let created = plans.iter().any(NetworkPlan::creates);
        for plan in plans {
            self.carry_out(plan).await;
        }
        if created {
            self.rejoin().await;
        }
        for (network, fault) in self.book.faults() {
            warn!(%network, error = %Chain(fault), "network cannot be used");
        }
        self.save().await;
        self.tell_networks().await;
    }

    /// Tells firewall and name server of networks that are new, changed or gone.
    pub(super) async fn tell_networks(&mut self) {
        let rules = self.book.bridge_rules();
        let gone = self.told.keys().filter(|name| !rules.contains_key(*name));
        let mut changes: Vec<Change> = gone.cloned().map(Change::RemoveBridge).collect();
        for (name, rules) in &rules {
            if self.told.get(name) != Some(rules) {
                changes.push(Change::SetBridge(name.clone(), rules.clone()));
            }
        }

        let (kernel, adopting) = (Arc::clone(&self.kernel), self.adopting);
        let told = blocking(move || {
            if adopting {
                kernel.note_all(changes);
            } else if !changes.is_empty() {
                kernel.admit(changes)?;
            }
            kernel.survey()
        });
        match told.await {
            Ok(existing) => {
                self.told = rules;
                self.tell_names(&existing).await;
            }
            Err(error) => self.refused(&error, "the firewall does not know all networks"),
        }
    }

    async fn tell_names(&mut self, existing: &Existing) {
        for (network, facts) in self.book.facts(existing) {
            match facts {
                Some(facts) => self.names.set_network(&network, facts),
                None => self.names.remove_network(&network),
            }
        }
        let publication = self.publisher.publication(&self.names);
        if let Err(error) = blocking(move || publication.publish()).await {
            self.refused(&error, "the name server does not know all networks");
        }
    }

    /// Connects running instances with bridges that were made anew.
    pub(super) async fn rejoin(&mut self) {
        let outcome = match survey(&self.kernel).await {
            Ok(existing) => {
                let kernel = Arc::clone(&self.kernel);
                let operations = self.book.rejoins(&existing);
                blocking(move || kernel.apply_all(&operations)).await
            }
            Err(error) => Err(error),
        };
        if let Err(error) = outcome {
            self.refused(&error, "a running instance lost its network");
        }
    }

    pub(super) async fn carry_out(&mut self, plan: NetworkPlan) {
        if plan.operations.is_empty() {
            return;
        }
        for operation in &plan.operations {
            info!(network = %plan.network, "{operation}");
        }

        let kernel = Arc::clone(&self.kernel);
        let operations = plan.operations.clone();
        let outcome = blocking(move || kernel.apply(&operations)).await;
        if outcome.is_err() {
            self.retry = Some(Instant::now() + RETRY);
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
