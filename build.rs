//! Generates the wire types of the peers from `proto/` into `OUT_DIR`.
//!
//! `protox` compiles the files, so that no `protoc` is needed on the machine.

use std::error::Error;

const PROTOS: [&str; 2] = [
    "servicemanager/v3/servicemanager.proto",
    "iamanager/v4/iamanager.proto",
];

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=proto");

    let descriptors = protox::compile(PROTOS, ["proto"])?;
    tonic_prost_build::configure()
        .btree_map(".")
        .compile_fds(descriptors)?;

    Ok(())
}
