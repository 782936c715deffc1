//! IAM: node info and certificate for anybody, secrets for SM.
//!
//! Secrets live in memory, as in IAM: a new process knows none of the old.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::io::Read;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tonic::{Request, Response, Status};

use super::cm::{Events, PeerEvent};
use super::event::{IamCall, Stamp};
use crate::wire::hex_text;
use crate::wire::iam::iam_permissions_service_server::IamPermissionsService;
use crate::wire::iam::iam_public_permissions_service_server::IamPublicPermissionsService;
use crate::wire::iam::iam_public_service_server::IamPublicService;
use crate::wire::iam::{
    ApiVersion, GetCertRequest, GetCertResponse, InstanceIdent, NodeInfo, Permissions,
    PermissionsRequest, PermissionsResponse, RegisterInstanceRequest, RegisterInstanceResponse,
    UnregisterInstanceRequest,
};

/// The protocol generation served here.
const API_VERSION: u64 = 4;

/// Facts that IAM gives to everyone.
#[derive(Clone, Debug)]
pub(crate) struct Facts {
    pub(crate) node_id: String,
    pub(crate) node_type: String,
    /// Where SM finds its certificate, whatever type it asks for.
    pub(crate) cert_url: String,
    pub(crate) key_url: String,
}

/// All services of IAM; clones share the secrets.
#[derive(Clone, Debug)]
pub(crate) struct Iam {
    facts: Facts,
    events: Events,
    book: Arc<Mutex<Book>>,
}

impl Iam {
    pub(crate) fn new(facts: Facts, events: Events) -> Self {
        Self {
            facts,
            events,
            book: Arc::default(),
        }
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn tell(&self, call: IamCall) {
        // Nobody to tell: the player has left.
        drop(self.events.send((Stamp::now(), PeerEvent::Iam(call))).await);
    }
}

#[tonic::async_trait]
impl IamPublicService for Iam {
    async fn get_api_version(&self, _: Request<()>) -> Result<Response<ApiVersion>, Status> {
        Ok(Response::new(ApiVersion {
            version: API_VERSION,
        }))
    }

    async fn get_node_info(&self, _: Request<()>) -> Result<Response<NodeInfo>, Status> {
        self.tell(IamCall::GetNodeInfo).await;
        Ok(Response::new(NodeInfo {
            node_id: self.facts.node_id.clone(),
            node_type: self.facts.node_type.clone(),
        }))
    }

    async fn get_cert(
        &self,
        request: Request<GetCertRequest>,
    ) -> Result<Response<GetCertResponse>, Status> {
        let kind = request.into_inner().r#type;
        self.tell(IamCall::GetCert { kind: kind.clone() }).await;
        Ok(Response::new(GetCertResponse {
            r#type: kind,
            cert_url: self.facts.cert_url.clone(),
            key_url: self.facts.key_url.clone(),
        }))
    }
}

#[tonic::async_trait]
impl IamPublicPermissionsService for Iam {
    async fn get_permissions(
        &self,
        request: Request<PermissionsRequest>,
    ) -> Result<Response<PermissionsResponse>, Status> {
        let request = request.into_inner();
        let answer = self
            .book()
            .permissions(&request.secret, &request.functional_server_id);
        self.tell(IamCall::GetPermissions {
            server: request.functional_server_id,
            known: answer.is_some(),
        })
        .await;
        let (instance, permissions) =
            answer.ok_or_else(|| Status::not_found("secret not found"))?;
        Ok(Response::new(PermissionsResponse {
            instance: Some(instance),
            permissions: Some(permissions),
        }))
    }
}

#[tonic::async_trait]
impl IamPermissionsService for Iam {
    async fn register_instance(
        &self,
        request: Request<RegisterInstanceRequest>,
    ) -> Result<Response<RegisterInstanceResponse>, Status> {
        let request = request.into_inner();
        let instance = request
            .instance
            .ok_or_else(|| Status::invalid_argument("no instance"))?;
        let secret = make_secret().map_err(|error| Status::internal(error.to_string()))?;
        self.tell(IamCall::RegisterInstance {
            instance: ident_text(&instance),
            permissions: request
                .permissions
                .iter()
                .map(|(server, permissions)| (server.clone(), permissions.permissions.clone()))
                .collect(),
        })
        .await;
        let secret = self.book().register(instance, request.permissions, secret);
        Ok(Response::new(RegisterInstanceResponse { secret }))
    }

    async fn unregister_instance(
        &self,
        request: Request<UnregisterInstanceRequest>,
    ) -> Result<Response<()>, Status> {
        let instance = request
            .into_inner()
            .instance
            .ok_or_else(|| Status::invalid_argument("no instance"))?;
        let known = self.book().unregister(&instance);
        self.tell(IamCall::UnregisterInstance {
            instance: ident_text(&instance),
            known,
        })
        .await;
        if known {
            Ok(Response::new(()))
        } else {
            Err(Status::not_found("instance not registered"))
        }
    }
}

fn ident_text(ident: &InstanceIdent) -> String {
    format!(
        "{}/{}/{}",
        ident.service_id, ident.subject_id, ident.instance
    )
}

fn make_secret() -> io::Result<String> {
    let mut bytes = [0; 16];
    File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(hex_text(&bytes))
}

/// Secrets and what they allow.
#[derive(Debug, Default)]
struct Book {
    by_secret: BTreeMap<String, (InstanceIdent, BTreeMap<String, Permissions>)>,
}

impl Book {
    /// Books `secret`. An instance that is registered keeps its old secret
    /// with its old permissions, as in IAM.
    fn register(
        &mut self,
        instance: InstanceIdent,
        permissions: BTreeMap<String, Permissions>,
        secret: String,
    ) -> String {
        if let Some((old, _)) = self
            .by_secret
            .iter()
            .find(|(_, (ident, _))| *ident == instance)
        {
            return old.clone();
        }
        self.by_secret
            .insert(secret.clone(), (instance, permissions));
        secret
    }

    fn unregister(&mut self, instance: &InstanceIdent) -> bool {
        let before = self.by_secret.len();
        self.by_secret.retain(|_, (ident, _)| ident != instance);
        self.by_secret.len() < before
    }

    fn permissions(&self, secret: &str, server: &str) -> Option<(InstanceIdent, Permissions)> {
        let (instance, permissions) = self.by_secret.get(secret)?;
        Some((instance.clone(), permissions.get(server)?.clone()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ident(index: u64) -> InstanceIdent {
        InstanceIdent {
            service_id: "service".to_owned(),
            subject_id: "subject".to_owned(),
            instance: index,
        }
    }

    fn permissions(value: &str) -> BTreeMap<String, Permissions> {
        let of_server = Permissions {
            permissions: BTreeMap::from([("key".to_owned(), value.to_owned())]),
        };
        BTreeMap::from([("vis".to_owned(), of_server)])
    }

    #[test]
    fn second_registration_gives_the_old_secret_with_the_old_permissions() {
        let mut book = Book::default();
        book.register(ident(0), permissions("r"), "one".to_owned());

        let secret = book.register(ident(0), permissions("rw"), "two".to_owned());

        assert_eq!(secret, "one");
        let (_, allowed) = book.permissions("one", "vis").unwrap();
        assert_eq!(allowed.permissions["key"], "r");
        assert_eq!(book.permissions("two", "vis"), None);
    }

    #[test]
    fn unregistered_secret_is_forgotten() {
        let mut book = Book::default();
        book.register(ident(0), permissions("r"), "one".to_owned());
        book.register(ident(1), permissions("r"), "two".to_owned());

        assert!(book.unregister(&ident(0)));

        assert_eq!(book.permissions("one", "vis"), None);
        assert!(book.permissions("two", "vis").is_some());
        assert!(!book.unregister(&ident(0)));
    }
}
