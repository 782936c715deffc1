//! Service manager of an AosEdge unit.
//!
//! The daemon takes its identity from IAM and its desired state from CM,
//! installs services and layers, runs each instance in a container under
//! systemd and tells CM what became of it. `ARCHITECTURE.md` has the picture.
//! In reading order:
//!
//! - [`model`]: plain data that components share
//! - [`arguments`], [`config`], [`telemetry`]: command line, file, log
//! - [`storage`]: the database
//! - [`launcher`]: from desired to running
//! - [`layermanager`]: services and layers on disk
//! - [`networkmanager`]: bridges, namespaces, addresses
//! - [`resourcemanager`]: what the node has and uses
//! - [`iamclient`], [`cmclient`]: the peers
//! - [`peer`]: how a peer is reached
//! - [`supervisor`]: systemd's watchdog
//! - [`status`]: what an operator is shown
//! - [`dispatch`], [`app`]: join the ends

pub mod app;
pub mod arguments;
pub mod cmclient;
pub mod config;
pub mod dispatch;
pub mod iamclient;
pub mod launcher;
pub mod layermanager;
pub mod model;
pub mod networkmanager;
pub mod peer;
pub mod resourcemanager;
pub mod status;
pub mod storage;
pub mod supervisor;
pub mod telemetry;
