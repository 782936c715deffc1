//! An IAM that does what its test says.

use std::collections::BTreeMap;
use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use aos_servicemanager::iamclient::v4::iam_permissions_service_server::{
    IamPermissionsService, IamPermissionsServiceServer,
};
use aos_servicemanager::iamclient::v4::iam_public_permissions_service_server::{
    IamPublicPermissionsService, IamPublicPermissionsServiceServer,
};
use aos_servicemanager::iamclient::v4::iam_public_service_server::{
    IamPublicService, IamPublicServiceServer,
};
use aos_servicemanager::iamclient::{IamSettings, v4};
use aos_servicemanager::model::TlsIdentity;
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio::sync::mpsc;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::transport::Server;
use tonic::{Request, Response, Status};

use crate::pki::Authority;

/// Nothing in these tests may take longer.
const LIMIT: Duration = Duration::from_secs(20);

pub(crate) async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(LIMIT, future)
        .await
        .unwrap_or_else(|_| panic!("in vain waited for {what}"))
}

/// What SM asked of the protected server.
#[derive(Debug, PartialEq)]
pub(crate) enum Asked {
    Register(String, BTreeMap<String, v4::Permissions>),
    Unregister(String),
}

/// A place for an IAM: it has addresses, files and a root of trust also while
/// it does not run.
pub(crate) struct Place {
    authority: Authority,
    directory: TempDir,
    public: SocketAddr,
    protected: SocketAddr,
}

impl Place {
    pub(crate) fn new() -> Self {
        let authority = Authority::new();
        let place = Self {
            public: SocketAddr::new(authority.host, 8090),
            protected: SocketAddr::new(authority.host, 8089),
            authority,
            directory: TempDir::new().unwrap(),
        };
        place.renew_certificate();
        place
    }

    pub(crate) fn settings(&self) -> IamSettings {
        IamSettings {
            public_url: self.public.to_string(),
            protected_url: self.protected.to_string(),
            ca_cert: self.authority.root(),
            cert_storage: "sm".into(),
        }
    }

    /// Writes a new certificate for SM.
    pub(crate) fn renew_certificate(&self) -> TlsIdentity {
        let identity = self.authority.issue("sm");
        fs::write(self.file("cert.pem"), &identity.certificates).unwrap();
        fs::write(self.file("key.pem"), &identity.key).unwrap();
        identity
    }

    fn file(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }
}

/// A running IAM.
pub(crate) struct FakeIam {
    runtime: Option<Runtime>,
    asked: mpsc::Receiver<Asked>,
}

impl FakeIam {
    pub(crate) fn start(place: &Place) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let (sender, asked) = mpsc::channel(16);
        let url = |name| format!("file://{}", place.file(name).display());

        let public = IamPublicServiceServer::new(Public {
            certificate: url("cert.pem"),
            key: url("key.pem"),
        });
        let memory = Memory::default();
        let permissions = IamPublicPermissionsServiceServer::new(memory.clone());
        let protected = IamPermissionsServiceServer::new(Protected {
            asked: sender,
            memory,
        });
        let public = Server::builder()
            .tls_config(place.authority.server_tls(false))
            .unwrap()
            .add_service(public)
            .add_service(permissions);
        let protected = Server::builder()
            .tls_config(place.authority.server_tls(true))
            .unwrap()
            .add_service(protected);
        for (server, address) in [(public, place.public), (protected, place.protected)] {
            let listener = std::net::TcpListener::bind(address).unwrap();
            listener.set_nonblocking(true).unwrap();
            runtime.spawn(async move {
                let listener = TcpListener::from_std(listener).unwrap();
                server
                    .serve_with_incoming(TcpListenerStream::new(listener))
                    .await
            });
        }

        Self {
            runtime: Some(runtime),
            asked,
        }
    }

    pub(crate) async fn asked(&mut self) -> Asked {
        within("a call", self.asked.recv()).await.unwrap()
    }

    /// Goes down and gives its addresses free.
    pub(crate) async fn stop(mut self) {
        let runtime = self.runtime.take();
        tokio::task::spawn_blocking(move || drop(runtime))
            .await
            .unwrap();
    }
}

impl Drop for FakeIam {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

struct Public {
    certificate: String,
    key: String,
}

#[tonic::async_trait]
impl IamPublicService for Public {
    async fn get_api_version(&self, _: Request<()>) -> Result<Response<v4::ApiVersion>, Status> {
        Err(Status::unimplemented("not asked by SM"))
    }

    async fn get_node_info(&self, _: Request<()>) -> Result<Response<v4::NodeInfo>, Status> {
        Ok(Response::new(v4::NodeInfo {
            node_id: "node".into(),
            node_type: "main".into(),
        }))
    }

    async fn get_cert(
        &self,
        request: Request<v4::GetCertRequest>,
    ) -> Result<Response<v4::GetCertResponse>, Status> {
        let r#type = request.into_inner().r#type;
        if r#type != "sm" {
            return Err(Status::not_found(r#type));
        }

        Ok(Response::new(v4::GetCertResponse {
            r#type,
            cert_url: self.certificate.clone(),
            key_url: self.key.clone(),
        }))
    }
}

/// Secrets and whose they are, as long as IAM runs.
#[derive(Clone, Default)]
struct Memory(Arc<Mutex<BTreeMap<String, v4::InstanceIdent>>>);

#[tonic::async_trait]
impl IamPublicPermissionsService for Memory {
    async fn get_permissions(
        &self,
        request: Request<v4::PermissionsRequest>,
    ) -> Result<Response<v4::PermissionsResponse>, Status> {
        let request = request.into_inner();
        let instance = self.0.lock().unwrap().get(&request.secret).cloned();
        match instance {
            Some(instance) if request.functional_server_id == "vis" => {
                Ok(Response::new(v4::PermissionsResponse {
                    instance: Some(instance),
                    permissions: Some(v4::Permissions::default()),
                }))
            }
            // As IAM's own release answers, whatever is wrong.
            _ => Err(Status::unknown("secret not found")),
        }
    }
}

struct Protected {
    asked: mpsc::Sender<Asked>,
    memory: Memory,
}

#[tonic::async_trait]
impl IamPermissionsService for Protected {
    async fn register_instance(
        &self,
        request: Request<v4::RegisterInstanceRequest>,
    ) -> Result<Response<v4::RegisterInstanceResponse>, Status> {
        assert!(request.peer_certs().is_some());
        let request = request.into_inner();
        let ident = request.instance.clone().unwrap();
        let name = name(request.instance);
        self.asked
            .send(Asked::Register(name.clone(), request.permissions))
            .await
            .unwrap();

        if name.starts_with("unknown/") {
            return Err(Status::permission_denied("no such service"));
        }
        if name.starts_with("slow/") {
            std::future::pending::<()>().await;
        }
        let secret = format!("secret of {name}");
        self.memory.0.lock().unwrap().insert(secret.clone(), ident);
        Ok(Response::new(v4::RegisterInstanceResponse { secret }))
    }

    async fn unregister_instance(
        &self,
        request: Request<v4::UnregisterInstanceRequest>,
    ) -> Result<Response<()>, Status> {
        let name = name(request.into_inner().instance);
        self.asked.send(Asked::Unregister(name)).await.unwrap();

        Ok(Response::new(()))
    }
}

fn name(instance: Option<v4::InstanceIdent>) -> String {
    let v4::InstanceIdent {
        service_id,
        subject_id,
        instance,
    } = instance.unwrap();

    format!("{service_id}/{subject_id}/{instance}")
}
