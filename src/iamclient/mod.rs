#[expect(clippy::allow_attributes, clippy::too_many_lines, reason = "generated")]
pub mod v4 {
    //! Generated from `proto/iamanager/v4`.

    tonic::include_proto!("iamanager.v4");
}
