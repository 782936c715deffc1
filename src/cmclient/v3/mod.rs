//! Generation 3 of the CM protocol: wire to model and back, without I/O.
//!
//! Nothing that CM can send is an error here: what is left out or out of range
//! gets the meaning that does no harm, and the components judge the rest.

mod decode;
mod encode;
mod time;

pub use decode::{Incoming, LogQuery, decode};
pub use encode::{
    alert, log_part, node_configuration, node_monitoring, override_env_vars_status,
    run_instances_status, unit_config_status, update_instances_status,
};

#[expect(clippy::allow_attributes, reason = "generated")]
pub mod proto {
    //! Generated from `proto/servicemanager/v3`.

    tonic::include_proto!("servicemanager.v3");
}
