//! Generation 3 of the CM protocol: wire to model and back, without I/O.

#[expect(clippy::allow_attributes, reason = "generated")]
pub mod proto {
    //! Generated from `proto/servicemanager/v3`.

    tonic::include_proto!("servicemanager.v3");
}
