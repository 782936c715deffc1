//! What is known of the services and layers of the newest list.

use std::collections::HashMap;

use super::event::{Outcome, Ticket};
use crate::model::{ContentItem, DesiredState, ErrorInfo, ServiceKey};

/// What an instance of a service can expect of its content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Readiness {
    /// Something it needs is still being installed.
    Pending,
    /// All is there, as far as the list can say.
    Ready,
    /// Something it needs cannot be had.
    Failed(ErrorInfo),
}

/// What becomes of a damaged item.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Healing {
    /// It is installed again.
    Begins,
    /// It will be installed in any case.
    Unneeded,
    /// It was damaged again before anything ran on it: to go on would not end.
    InVain,
    /// The list does not say where to get it.
    Unlisted,
}

/// One service or layer of the list.
#[derive(Debug)]
struct Install<T> {
    /// The newest attempt; `None`: none was made yet.
    attempt: Option<Ticket>,
    outcome: Option<Outcome<T>>,
    /// It was installed again after damage, and not been found in order since.
    healed: bool,
}

impl<T> Default for Install<T> {
    fn default() -> Self {
        Self {
            attempt: None,
            outcome: None,
            healed: false,
        }
    }
}

impl<T> Install<T> {
    fn begin(&mut self, ticket: Ticket) {
        self.attempt = Some(ticket);
        self.outcome = None;
    }

    /// What an older attempt came to says nothing any more.
    fn done(&mut self, ticket: Ticket, outcome: Outcome<T>) {
        if self.attempt == Some(ticket) {
            self.outcome = Some(outcome);
        }
    }

    fn damaged(&mut self, ticket: Ticket, error: &ErrorInfo) -> Healing {
        if self.attempt.is_none() {
            return Healing::Unneeded;
        }
        if self.healed {
            self.attempt = Some(ticket);
            self.outcome = Some(Err(error.clone()));
            return Healing::InVain;
        }
        self.healed = true;
        self.begin(ticket);
        Healing::Begins
    }
}

/// Outcomes of the installs of one list. What is absent was not asked for.
#[derive(Debug, Default)]
pub(super) struct ContentBook {
    services: HashMap<ServiceKey, Install<Vec<String>>>,
    layers: HashMap<String, Install<()>>,
}

impl ContentBook {
    /// Everything of the list has to be installed.
    pub(super) fn new(list: &DesiredState) -> Self {
        let services = list.services.iter().map(|service| service.key());
        let layers = list.layers.iter().map(|layer| layer.digest.clone());
        Self {
            services: services.map(|key| (key, Install::default())).collect(),
            layers: layers.map(|digest| (digest, Install::default())).collect(),
        }
    }

    /// The item is on its way.
    pub(super) fn begin(&mut self, item: &ContentItem, ticket: Ticket) {
        match item {
            ContentItem::Service(key) => {
                self.services.entry(key.clone()).or_default().begin(ticket);
            }
            ContentItem::Layer(digest) => {
                self.layers.entry(digest.clone()).or_default().begin(ticket);
            }
        }
    }

    pub(super) fn service_done(
        &mut self,
        ticket: Ticket,
        key: &ServiceKey,
        outcome: Outcome<Vec<String>>,
    ) {
        if let Some(install) = self.services.get_mut(key) {
            install.done(ticket, outcome);
        }
    }

    pub(super) fn layer_done(&mut self, ticket: Ticket, digest: &str, outcome: Outcome<()>) {
        if let Some(install) = self.layers.get_mut(digest) {
            install.done(ticket, outcome);
        }
    }

    /// The item is damaged. `ticket` is that of the install that heals it.
    pub(super) fn damaged(
        &mut self,
        item: &ContentItem,
        ticket: Ticket,
        error: &ErrorInfo,
    ) -> Healing {
        let healing = match item {
            ContentItem::Service(key) => self
                .services
                .get_mut(key)
                .map(|install| install.damaged(ticket, error)),
            ContentItem::Layer(digest) => self
                .layers
                .get_mut(digest)
                .map(|install| install.damaged(ticket, error)),
        };
        healing.unwrap_or(Healing::Unlisted)
    }

    /// All that the service consists of was found in order.
    pub(super) fn proven(&mut self, service: &ServiceKey) {
        for digest in self.layers_of(service).to_vec() {
            if let Some(install) = self.layers.get_mut(&digest) {
                install.healed = false;
            }
        }
        if let Some(install) = self.services.get_mut(service) {
            install.healed = false;
        }
    }

    /// Whether the service is, or needs, the item, as far as is known.
    pub(super) fn needs(&self, service: &ServiceKey, item: &ContentItem) -> bool {
        match item {
            ContentItem::Service(key) => key == service,
            ContentItem::Layer(digest) => self.layers_of(service).contains(digest),
        }
    }

    /// All layers that installed services of the list need.
    pub(super) fn layers(&self) -> impl Iterator<Item = &String> {
        self.services.keys().flat_map(|key| self.layers_of(key))
    }

    fn layers_of(&self, service: &ServiceKey) -> &[String] {
        match self
            .services
            .get(service)
            .and_then(|install| install.outcome.as_ref())
        {
            Some(Ok(layers)) => layers,
            Some(Err(_)) | None => &[],
        }
    }

    /// A layer that the list does not name may still be installed from before:
    /// that is found out when the instance is prepared.
    pub(super) fn readiness(&self, service: &ServiceKey) -> Readiness {
        let Some(install) = self.services.get(service) else {
            let message = format!("service {service} is not in the desired list");
            return Readiness::Failed(ErrorInfo::new(message));
        };
        let layers = match &install.outcome {
            None => return Readiness::Pending,
            Some(Err(error)) => return Readiness::Failed(error.clone()),
            Some(Ok(layers)) => layers,
        };

        let mut pending = false;
        for install in layers.iter().filter_map(|digest| self.layers.get(digest)) {
            match &install.outcome {
                Some(Err(error)) => return Readiness::Failed(error.clone()),
                None => pending = true,
                Some(Ok(())) => {}
            }
        }

        if pending {
            Readiness::Pending
        } else {
            Readiness::Ready
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{LayerInfo, ServiceInfo};

    fn book() -> (ContentBook, ServiceKey) {
        let service = ServiceInfo {
            id: "web".into(),
            ..ServiceInfo::default()
        };
        let layer = |digest: &str| LayerInfo {
            digest: digest.into(),
            ..LayerInfo::default()
        };
        let list = DesiredState {
            services: vec![service.clone()],
            layers: vec![layer("one"), layer("two")],
            ..DesiredState::default()
        };
        let mut book = ContentBook::new(&list);
        for item in [
            ContentItem::Service(service.key()),
            layer_item("one"),
            layer_item("two"),
        ] {
            book.begin(&item, Ticket::default());
        }
        (book, service.key())
    }

    fn layer_item(digest: &str) -> ContentItem {
        ContentItem::Layer(digest.into())
    }

    #[test]
    fn a_layer_that_the_service_does_not_need_is_not_waited_for() {
        let (mut book, key) = book();

        book.service_done(Ticket::default(), &key, Ok(vec!["one".into()]));
        book.layer_done(Ticket::default(), "one", Ok(()));

        assert_eq!(book.readiness(&key), Readiness::Ready);
    }

    #[test]
    fn a_needed_layer_that_failed_is_the_error_even_while_others_are_pending() {
        let (mut book, key) = book();

        book.service_done(
            Ticket::default(),
            &key,
            Ok(vec!["two".into(), "one".into()]),
        );
        book.layer_done(
            Ticket::default(),
            "one",
            Err(ErrorInfo::new("no such file")),
        );

        assert_eq!(
            book.readiness(&key),
            Readiness::Failed(ErrorInfo::new("no such file"))
        );
    }

    #[test]
    fn a_service_that_the_list_lacks_is_an_error() {
        let (book, _) = book();
        let other = ServiceKey {
            id: "other".into(),
            version: 3,
        };

        let Readiness::Failed(error) = book.readiness(&other) else {
            panic!("not failed")
        };

        assert_eq!(
            error.message,
            "service other version 3 is not in the desired list"
        );
    }

    #[test]
    fn an_install_from_before_the_damage_does_not_count() {
        let (mut book, key) = book();
        let (before, after) = (Ticket::default(), Ticket::default().next());
        let error = ErrorInfo::new("changed");

        let healing = book.damaged(&ContentItem::Service(key.clone()), after, &error);
        book.service_done(before, &key, Ok(vec![]));
        let at_once = book.readiness(&key);
        book.service_done(after, &key, Ok(vec![]));

        assert_eq!(healing, Healing::Begins);
        assert_eq!(at_once, Readiness::Pending);
        assert_eq!(book.readiness(&key), Readiness::Ready);
    }

    #[test]
    fn what_is_damaged_again_at_once_is_given_up_and_what_was_in_order_meanwhile_is_not() {
        let (mut book, key) = book();
        let error = ErrorInfo::new("changed");
        book.service_done(Ticket::default(), &key, Ok(vec!["one".into()]));
        let ticket = Ticket::default();

        let first = book.damaged(&layer_item("one"), ticket, &error);
        let second = book.damaged(&layer_item("one"), ticket, &error);
        let given_up = book.readiness(&key);
        book.proven(&key);
        let third = book.damaged(&layer_item("one"), ticket, &error);

        assert_eq!(
            [first, second, third],
            [Healing::Begins, Healing::InVain, Healing::Begins]
        );
        assert_eq!(given_up, Readiness::Failed(error.clone()));
        let unlisted = book.damaged(&layer_item("three"), ticket, &error);
        assert_eq!(unlisted, Healing::Unlisted);
    }
}
