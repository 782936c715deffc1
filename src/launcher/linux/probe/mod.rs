//! Probes, asked. Each try has a deadline, whatever hangs.

mod exec;
mod http;

use std::net::{IpAddr, SocketAddr};

use tokio::net::TcpStream;
use tokio::time::timeout;

use super::LinuxHost;
use crate::launcher::probes::{Check, Probe};
use crate::launcher::runtime::find_runtime;
use crate::launcher::systemd::{DropIn, cgroup_mode, container_cgroup};
use crate::launcher::{Blueprint, HostError};
use exec::Command;

/// The instance is not well.
#[derive(Debug, thiserror::Error)]
enum ProbeError {
    #[error("the instance has no address")]
    NoAddress,
    #[error("no answer in {0:?}")]
    Late(std::time::Duration),
    #[error("cannot connect to {address}")]
    Connect {
        address: SocketAddr,
        #[source]
        source: std::io::Error,
    },
    #[error(transparent)]
    Http(#[from] http::HttpError),
    #[error(transparent)]
    Exec(#[from] exec::ExecError),
}

impl LinuxHost {
    pub(super) async fn ask(&self, blueprint: &Blueprint, probe: &Probe) -> Result<(), HostError> {
        let asked = async {
            match &probe.check {
                Check::Tcp(port) => connect(blueprint, *port).await.map(drop),
                Check::Http { port, path } => {
                    let stream = connect(blueprint, *port).await?;
                    Ok(http::get(stream, path).await?)
                }
                // It has a deadline of its own: what it started has to be ended.
                Check::Exec(_) => Ok(()),
            }
        };
        if let Check::Exec(command) = &probe.check {
            let command = self.command(blueprint, command).await?;
            return command
                .run(probe.timeout)
                .await
                .map_err(|error| HostError::new(ProbeError::from(error)));
        }

        match timeout(probe.timeout, asked).await {
            Ok(outcome) => outcome.map_err(HostError::new),
            Err(_) => Err(HostError::new(ProbeError::Late(probe.timeout))),
        }
    }

    async fn command(&self, blueprint: &Blueprint, words: &[String]) -> Result<Command, HostError> {
        let drop_in = self.systemd.drop_in(blueprint.id);
        let drop_in = drop_in.await.map_err(HostError::new)?;
        let named = drop_in.as_deref().and_then(DropIn::runtime_of);
        let runtime = match named.filter(|runtime| runtime.is_file()) {
            // No other knows the container.
            Some(runtime) => runtime,
            None => {
                let root = &self.settings.systemd.cgroup_root;
                let mode = cgroup_mode(root).map_err(HostError::new)?;
                find_runtime(&self.settings.working_dir, &self.settings.path, mode)
                    .map_err(HostError::new)?
                    .path
            }
        };

        Ok(Command {
            runtime,
            id: blueprint.id,
            words: words.to_vec(),
            directory: self.bundle(blueprint.id),
            cgroup: container_cgroup(blueprint.id),
        })
    }
}

async fn connect(blueprint: &Blueprint, port: u16) -> Result<TcpStream, ProbeError> {
    let ip: IpAddr = blueprint
        .info
        .network
        .ip
        .parse()
        .map_err(|_| ProbeError::NoAddress)?;
    let address = SocketAddr::new(ip, port);

    TcpStream::connect(address)
        .await
        .map_err(|source| ProbeError::Connect { address, source })
}
