//! Generates the wire types of the peers from `proto/` into `OUT_DIR`, and tells
//! the program when it was built.
//!
//! `protox` compiles the files, so that no `protoc` is needed on the machine.
//! `SOURCE_DATE_EPOCH`, if it is set, is the time of the build: then builds can be
//! reproduced.

use std::env;
use std::error::Error;
use std::time::{SystemTime, UNIX_EPOCH};

const PROTOS: [&str; 2] = [
    "servicemanager/v3/servicemanager.proto",
    "iamanager/v4/iamanager.proto",
];
const EPOCH: &str = "SOURCE_DATE_EPOCH";

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=proto");
    println!("cargo:rerun-if-env-changed={EPOCH}");

    let built = match env::var(EPOCH) {
        Ok(text) => text.trim().parse::<u64>()?,
        Err(env::VarError::NotPresent) => SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs(),
        Err(error) => return Err(error.into()),
    };
    println!("cargo:rustc-env=AOS_BUILD_TIME={built}");

    let descriptors = protox::compile(PROTOS, ["proto"])?;
    tonic_prost_build::configure()
        .btree_map(".")
        .compile_fds(descriptors)?;

    Ok(())
}
