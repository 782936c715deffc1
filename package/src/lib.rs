//! The package format of AosEdge services and layers.
//!
//! - manifest, descriptor and digests: what is in a package
//! - [`ImageConfig`], [`ServiceConfig`]: how its content is run

mod image_config;
mod service_config;

pub use image_config::{ExecutionConfig, ImageConfig};
pub use service_config::{Quotas, RunParameters, ServiceConfig, ServiceDevice};
