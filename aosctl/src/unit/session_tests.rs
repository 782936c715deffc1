//! The unit played to a client that speaks as SM does, over TLS.

use std::io::Write;
use std::sync::{Arc, Mutex};

use serde_json::Value;
use tempfile::TempDir;
use tokio::task::JoinHandle;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};
use tonic::{Status, Streaming};

use super::*;
use crate::cli::InitArgs;
use crate::wire::iam::iam_permissions_service_client::IamPermissionsServiceClient;
use crate::wire::iam::iam_public_permissions_service_client::IamPublicPermissionsServiceClient;
use crate::wire::iam::iam_public_service_client::IamPublicServiceClient;
use crate::wire::iam::{
    GetCertRequest, InstanceIdent as IamIdent, Permissions, PermissionsRequest,
    RegisterInstanceRequest,
};
use crate::wire::sm::sm_incoming_messages::SmIncomingMessage as In;
use crate::wire::sm::sm_outgoing_messages::SmOutgoingMessage as Out;
use crate::wire::sm::sm_service_client::SmServiceClient;
use crate::wire::sm::{
    InstanceIdent, InstanceStatus, NodeConfiguration, RunInstancesStatus, SmIncomingMessages,
    SmOutgoingMessages,
};

/// Output of the player, shared with the test.
#[derive(Clone, Default)]
struct Output(Arc<Mutex<Vec<u8>>>);

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Output {
    fn events(&self) -> Vec<Value> {
        let bytes = self.0.lock().unwrap();
        let lines = std::str::from_utf8(&bytes).unwrap().lines();
        lines
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }

    fn event(&self, name: &str) -> Value {
        let events = self.events();
        let found = events.iter().find(|event| event["event"] == name);
        found
            .unwrap_or_else(|| panic!("no {name} in {events:#?}"))
            .clone()
    }
}

/// A unit on free ports that carries out a script.
struct Unit {
    dir: TempDir,
    unit: UnitDirectory,
    addresses: Value,
    output: Output,
    game: JoinHandle<u8>,
}

impl Unit {
    async fn play(script: &[&str]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(
            dir.path().join("state.json"),
            r#"{"instances": [{"service": "web", "subject": "s"}],
                "networks": [{"id": "net"}]}"#,
        )
        .unwrap();
        let free = || Some("127.0.0.1:0".to_owned());
        let unit = UnitDirectory::init(&InitArgs {
            dir: dir.path().join("unit"),
            cm: free(),
            iam_public: free(),
            iam_protected: free(),
            working_dir: None,
        })
        .unwrap();
        let args = ServeArgs {
            dir: dir.path().join("unit"),
            node_id: "main".to_owned(),
            node_type: "type".to_owned(),
            no_iam: false,
            eager: false,
        };
        let manners = Manners {
            until_eof: true,
            ..manners(&args, Some(Duration::from_secs(10)))
        };
        let state = dir.path().join("state.json").display().to_string();
        let first = script
            .iter()
            .map(|line| Order::Line(line.replace("STATE", &state)))
            .collect();
        let (_, orders) = mpsc::channel(1);
        let output = Output::default();
        let printer = Printer::new(Format::Json, Some(Box::new(output.clone())));
        let roles = Roles {
            cm: true,
            iam: true,
        };
        let mut game = Game::start(&args, roles, printer, |events, printer| {
            Player::new(manners, first, orders, events, printer)
        })
        .await
        .unwrap();
        Self {
            dir,
            unit,
            addresses: output.event("listening"),
            output,
            game: tokio::spawn(async move { game.play().await.unwrap().unwrap() }),
        }
    }

    async fn channel(&self, server: &str, with_certificate: bool) -> Channel {
        let read = |path| std::fs::read_to_string(path).unwrap();
        let mut tls = ClientTlsConfig::new()
            .ca_certificate(Certificate::from_pem(read(self.unit.root_cert())))
            .domain_name("localhost");
        if with_certificate {
            let (cert, key) = (self.unit.sm_cert(), self.unit.sm_key());
            tls = tls.identity(Identity::from_pem(read(cert), read(key)));
        }
        let address = self.addresses[server].as_str().unwrap();
        Endpoint::from_shared(format!("https://{address}"))
            .unwrap()
            .tls_config(tls)
            .unwrap()
            .connect()
            .await
            .unwrap()
    }

    async fn connect(&self) -> Sm {
        let (outgoing, receiver) = mpsc::channel(8);
        let mut client = SmServiceClient::new(self.channel("cm", true).await);
        let incoming = client.register_sm(ReceiverStream::new(receiver)).await;
        Sm {
            outgoing,
            incoming: incoming.unwrap().into_inner(),
        }
    }

    async fn end(self) -> (u8, Output) {
        let code = self.game.await.unwrap();
        drop(self.dir);
        (code, self.output)
    }
}

/// The other end of CM's stream.
struct Sm {
    outgoing: mpsc::Sender<SmOutgoingMessages>,
    incoming: Streaming<SmIncomingMessages>,
}

impl Sm {
    async fn send(&self, message: Out) {
        let message = SmOutgoingMessages {
            sm_outgoing_message: Some(message),
        };
        self.outgoing.send(message).await.unwrap();
    }

    async fn register(&self) {
        let node = NodeConfiguration {
            node_id: "main".to_owned(),
            ..NodeConfiguration::default()
        };
        self.send(Out::NodeConfiguration(node)).await;
    }

    async fn status(&self, states: &[&str]) {
        let instances = states.iter().map(|state| InstanceStatus {
            instance: Some(InstanceIdent {
                service_id: "web".to_owned(),
                subject_id: "s".to_owned(),
                instance: 0,
            }),
            run_state: (*state).to_owned(),
            ..InstanceStatus::default()
        });
        let instances = instances.collect();
        self.send(Out::RunInstancesStatus(RunInstancesStatus { instances }))
            .await;
    }

    async fn next(&mut self) -> Result<Option<In>, Status> {
        let message = self.incoming.message().await?;
        Ok(message.map(|message| message.sm_incoming_message.unwrap()))
    }

    async fn take(&mut self) -> In {
        self.next().await.unwrap().unwrap()
    }
}

#[tokio::test]
async fn state_goes_out_after_the_first_status_with_networks_first() {
    let unit = Unit::play(&["run STATE", "wait-status", "wait-active web/s/0"]).await;
    let mut sm = unit.connect().await;
    sm.register().await;
    assert!(matches!(sm.take().await, In::ConnectionStatus(_)));

    sm.status(&[]).await;

    let In::UpdateNetworks(update) = sm.take().await else {
        panic!("not the networks");
    };
    assert_eq!(update.networks[0].network_id, "net");
    let In::RunInstances(run) = sm.take().await else {
        panic!("not the instances");
    };
    assert_eq!(run.instances.len(), 1);
    sm.status(&["active"]).await;
    let (code, output) = unit.end().await;
    assert_eq!(code, DONE);
    let names: Vec<_> = output
        .events()
        .iter()
        .map(|event| match &event["message"] {
            Value::String(message) => format!("sent {message}"),
            _ => event["event"].as_str().unwrap().to_owned(),
        })
        .collect();
    let order = [
        "node_configuration",
        "sent connection_status",
        "run_instances_status",
        "sent update_networks",
        "sent run_instances",
        "run_instances_status",
    ];
    assert_eq!(names[2..8], order);
    let status = output.event("run_instances_status");
    assert!(status["t_ms"].is_f64());
    assert_eq!(status["instances"], Value::Array(vec![]));
}

#[tokio::test]
async fn second_connection_of_the_node_is_refused_and_the_first_lives_on() {
    let unit = Unit::play(&["wait-status"]).await;
    let mut first = unit.connect().await;
    first.register().await;
    first.take().await;

    let mut second = unit.connect().await;
    second.register().await;

    let refusal = second.next().await.unwrap_err();
    assert_eq!(
        refusal.message(),
        "connection for nodeID main already exist"
    );
    first.status(&[]).await;
    let (code, output) = unit.end().await;
    assert_eq!(code, DONE);
    assert_eq!(output.event("refused")["reason"], refusal.message());
}

#[tokio::test]
async fn wait_that_times_out_says_what_it_knows() {
    let unit = Unit::play(&["wait-registered", "wait-active web/s/0 0.05"]).await;
    let sm = unit.connect().await;
    sm.register().await;

    let (code, output) = unit.end().await;

    assert_eq!(code, TIMED_OUT);
    assert_eq!(
        output.event("failed")["error"],
        "timed out waiting for web/s/0 to be active; \
         last known: SM is registered and has sent no status yet"
    );
}

#[tokio::test]
async fn dropped_connection_breaks_off_and_the_next_one_is_welcome() {
    let unit = Unit::play(&["wait-status", "drop", "wait-registered"]).await;
    let mut sm = unit.connect().await;
    sm.register().await;
    sm.take().await;
    sm.status(&[]).await;

    assert!(sm.next().await.is_err());

    let again = unit.connect().await;
    again.register().await;
    assert_eq!(unit.end().await.0, DONE);
}

#[tokio::test]
async fn last_request_arrives_before_the_stream_ends() {
    let unit = Unit::play(&["get-node-monitoring", "quit"]).await;
    let mut sm = unit.connect().await;
    sm.register().await;
    sm.take().await;

    assert!(matches!(sm.take().await, In::GetNodeMonitoring(_)));

    assert!(sm.next().await.unwrap().is_none());
    drop(sm);
    assert_eq!(unit.end().await.0, DONE);
}

#[tokio::test]
async fn wrong_command_ends_with_its_own_code() {
    let unit = Unit::play(&["jump", "wait-registered"]).await;

    let (code, output) = unit.end().await;

    assert_eq!(code, player::WRONG_USE);
    let error = output.event("failed")["error"].to_string();
    assert!(error.contains("unknown command `jump`"), "{error}");
}

#[tokio::test]
async fn peer_without_certificate_reaches_the_public_server_alone() {
    let unit = Unit::play(&["wait-registered"]).await;

    let public = unit.channel("iam_public", false).await;
    let node = IamPublicServiceClient::new(public).get_node_info(()).await;
    assert_eq!(node.unwrap().into_inner().node_id, "main");
    let address = unit.addresses["iam_protected"].as_str().unwrap();
    let root = std::fs::read_to_string(unit.unit.root_cert()).unwrap();
    let tls = ClientTlsConfig::new()
        .ca_certificate(Certificate::from_pem(root))
        .domain_name("localhost");
    let endpoint = Endpoint::from_shared(format!("https://{address}")).unwrap();
    let protected = endpoint.tls_config(tls).unwrap().connect_lazy();
    let request = RegisterInstanceRequest {
        instance: Some(IamIdent::default()),
        ..RegisterInstanceRequest::default()
    };

    let result = IamPermissionsServiceClient::new(protected)
        .register_instance(request)
        .await;

    assert!(result.is_err());
    unit.game.abort();
}

#[tokio::test]
async fn registered_secret_is_known_on_the_public_server() {
    let unit = Unit::play(&["wait-registered"]).await;
    let public = unit.channel("iam_public", false).await;
    let protected = unit.channel("iam_protected", true).await;
    let permissions = Permissions {
        permissions: [("Signal.*".to_owned(), "r".to_owned())].into(),
    };

    let secret = IamPermissionsServiceClient::new(protected)
        .register_instance(RegisterInstanceRequest {
            instance: Some(IamIdent::default()),
            permissions: [("vis".to_owned(), permissions.clone())].into(),
        })
        .await
        .unwrap()
        .into_inner()
        .secret;

    let answer = IamPublicPermissionsServiceClient::new(public.clone())
        .get_permissions(PermissionsRequest {
            secret,
            functional_server_id: "vis".to_owned(),
        })
        .await;
    assert_eq!(answer.unwrap().into_inner().permissions, Some(permissions));
    let cert = IamPublicServiceClient::new(public.clone())
        .get_cert(GetCertRequest::default())
        .await
        .unwrap()
        .into_inner();
    let path = cert.key_url.strip_prefix("file://").unwrap();
    assert!(std::fs::exists(path).unwrap());
    let unserved = IamPermissionsServiceClient::new(public)
        .register_instance(RegisterInstanceRequest::default())
        .await;
    assert_eq!(unserved.unwrap_err().code(), tonic::Code::Unimplemented);
    unit.game.abort();
}
