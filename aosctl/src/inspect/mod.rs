//! `aosctl inspect`: what is in a package, and whether SM would take it.
//!
//! - [`pass`]: one pass over the file
//! - [`layer`]: one layer, unpacked in mind
//! - [`report`]: what has been found
//! - [`text`]: the same for people

mod layer;
mod pass;
mod report;
mod text;

use std::process::ExitCode;

use crate::cli::{Format, InspectArgs};
use crate::package_file::PackageFileError;

/// Exit code of a package that SM would refuse.
const REFUSED: u8 = 1;

/// Carries out `aosctl inspect`.
pub(crate) fn run(args: &InspectArgs, format: Format) -> Result<ExitCode, PackageFileError> {
    let report =
        pass::examine(&args.package, &args.platform).map_err(|source| PackageFileError::Read {
            path: args.package.clone(),
            source,
        })?;
    match format {
        Format::Json => println!("{}", report.json()),
        Format::Text => print!("{}", text::of(&report)),
    }
    Ok(if report.problems.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(REFUSED)
    })
}

#[cfg(test)]
mod tests;
