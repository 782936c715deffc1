//! What is known of the services and layers of the newest list.

use std::collections::HashMap;

use super::event::Outcome;
use crate::model::{DesiredState, ErrorInfo, ServiceKey};

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

/// Outcomes of the installs of one list. What is absent was not asked for,
/// what is `None` is on its way.
#[derive(Debug, Default)]
pub(super) struct ContentBook {
    services: HashMap<ServiceKey, Option<Outcome<Vec<String>>>>,
    layers: HashMap<String, Option<Outcome<()>>>,
}

impl ContentBook {
    /// Everything of the list is on its way.
    pub(super) fn new(list: &DesiredState) -> Self {
        Self {
            services: list
                .services
                .iter()
                .map(|service| (service.key(), None))
                .collect(),
            layers: list
                .layers
                .iter()
                .map(|layer| (layer.digest.clone(), None))
                .collect(),
        }
    }

    pub(super) fn service_done(&mut self, key: ServiceKey, outcome: Outcome<Vec<String>>) {
        self.services.insert(key, Some(outcome));
    }

    pub(super) fn layer_done(&mut self, digest: String, outcome: Outcome<()>) {
        self.layers.insert(digest, Some(outcome));
    }

    /// A layer that the list does not name may still be installed from before:
    /// that is found out when the instance is prepared.
    pub(super) fn readiness(&self, service: &ServiceKey) -> Readiness {
        let layers = match self.services.get(service) {
            Some(None) => return Readiness::Pending,
            Some(Some(Err(error))) => return Readiness::Failed(error.clone()),
            Some(Some(Ok(layers))) => layers,
            None => {
                let message = format!("service {service} is not in the desired list");
                return Readiness::Failed(ErrorInfo::new(message));
            }
        };

        let mut pending = false;
        for digest in layers {
            match self.layers.get(digest) {
                Some(Some(Err(error))) => return Readiness::Failed(error.clone()),
                Some(None) => pending = true,
                Some(Some(Ok(()))) | None => {}
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
        (ContentBook::new(&list), service.key())
    }

    #[test]
    fn a_layer_that_the_service_does_not_need_is_not_waited_for() {
        let (mut book, key) = book();

        book.service_done(key.clone(), Ok(vec!["one".into()]));
        book.layer_done("one".into(), Ok(()));

        assert_eq!(book.readiness(&key), Readiness::Ready);
    }

    #[test]
    fn a_needed_layer_that_failed_is_the_error_even_while_others_are_pending() {
        let (mut book, key) = book();

        book.service_done(key.clone(), Ok(vec!["two".into(), "one".into()]));
        book.layer_done("one".into(), Err(ErrorInfo::new("no such file")));

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
}
