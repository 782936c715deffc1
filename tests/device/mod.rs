//! What device tests are made of: a test device of their own, the service
//! manager on it as it is shipped, and its peers played by `aosctl unit`.
//!
//! - [`lab`]: the device, commands in it, files on it
//! - [`manager`]: the service manager's unit, and the instances that run
//! - [`outside`]: a host at the device's uplink, and traffic that goes on
//! - [`server`]: a server of packages
//! - [`unit`]: CM and IAM
//! - [`state`]: the desired state, as a value
//! - [`service`]: packages made for a test
//! - [`users`]: who the users of an instance are on the host
//!
//! Nothing here knows the service manager from inside: it is looked at as a
//! peer, a service and an operator see it.

pub(crate) mod lab;
pub(crate) mod manager;
pub(crate) mod outside;
pub(crate) mod server;
pub(crate) mod service;
pub(crate) mod state;
pub(crate) mod unit;
pub(crate) mod users;
