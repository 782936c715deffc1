//! Several gRPC services on one port, told apart by the path of a call.

use std::convert::Infallible;
use std::task::{Context, Poll};

use tonic::body::Body;
use tonic::codegen::http::{Request, Response};
use tonic::codegen::{BoxFuture, Service};
use tonic::server::NamedService;

use super::iam::Iam;
use crate::wire::iam::iam_permissions_service_server::IamPermissionsServiceServer;
use crate::wire::iam::iam_public_permissions_service_server::IamPublicPermissionsServiceServer;
use crate::wire::iam::iam_public_service_server::IamPublicServiceServer;

/// The services of one of IAM's servers.
#[derive(Clone, Debug)]
pub(crate) struct IamRouter {
    public: IamPublicServiceServer<Iam>,
    public_permissions: IamPublicPermissionsServiceServer<Iam>,
    /// Of the protected server alone.
    permissions: Option<IamPermissionsServiceServer<Iam>>,
}

impl IamRouter {
    /// What anybody may call.
    pub(crate) fn public(iam: &Iam) -> Self {
        Self {
            public: IamPublicServiceServer::new(iam.clone()),
            public_permissions: IamPublicPermissionsServiceServer::new(iam.clone()),
            permissions: None,
        }
    }

    /// What a client with a certificate may call.
    pub(crate) fn protected(iam: &Iam) -> Self {
        Self {
            permissions: Some(IamPermissionsServiceServer::new(iam.clone())),
            ..Self::public(iam)
        }
    }
}

impl Service<Request<Body>> for IamRouter {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<Self::Response, Self::Error>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let service = request.uri().path().split('/').nth(1).unwrap_or_default();
        if service == IamPublicPermissionsServiceServer::<Iam>::NAME {
            return self.public_permissions.call(request);
        }
        if let Some(permissions) = &mut self.permissions
            && service == IamPermissionsServiceServer::<Iam>::NAME
        {
            return permissions.call(request);
        }
        // It answers calls that nobody serves as gRPC wants it.
        self.public.call(request)
    }
}
