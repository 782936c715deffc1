//! The command line.

use std::ffi::OsString;
use std::path::PathBuf;

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Serve the names of this directory.
    Run(PathBuf),
    /// Print this and end.
    Print(&'static str),
}

/// The command line cannot be understood.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum ArgumentError {
    /// An option that there is not.
    #[error("unknown argument `{}`; see --help", .0.display())]
    Unknown(OsString),
    /// An option without what belongs to it.
    #[error("--directory needs a directory; see --help")]
    NoDirectory,
}

const HELP: &str = "\
Usage: aos_nameserver [--directory DIR]

Answers the names of instances in their networks. The service manager says who
is who by files.

Options:
  --directory DIR  where the files are [default: /run/aos/names]
  --help           print this
  --version        print the version
";
const VERSION: &str = concat!("aos_nameserver ", env!("CARGO_PKG_VERSION"), "\n");

/// Reads the arguments, without the program's name.
///
/// # Errors
///
/// When there is one that is not known, or one is not complete.
pub fn parse(arguments: impl Iterator<Item = OsString>) -> Result<Command, ArgumentError> {
    let mut arguments = arguments;
    let mut directory = PathBuf::from(aos_names::DIRECTORY);
    while let Some(argument) = arguments.next() {
        match argument.to_str() {
            Some("--directory") => {
                directory = arguments.next().ok_or(ArgumentError::NoDirectory)?.into();
            }
            Some("--help" | "-h") => return Ok(Command::Print(HELP)),
            Some("--version" | "-V") => return Ok(Command::Print(VERSION)),
            _ => return Err(ArgumentError::Unknown(argument)),
        }
    }

    Ok(Command::Run(directory))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(arguments: &[&str]) -> Result<Command, ArgumentError> {
        parse(arguments.iter().map(Into::into))
    }

    #[test]
    fn options_are_read() {
        assert_eq!(parsed(&[]), Ok(Command::Run("/run/aos/names".into())));
        assert_eq!(
            parsed(&["--directory", "/x"]),
            Ok(Command::Run("/x".into()))
        );
        assert_eq!(parsed(&["--help"]), Ok(Command::Print(HELP)));
        assert_eq!(parsed(&["--version"]), Ok(Command::Print(VERSION)));
    }

    #[test]
    fn what_is_not_understood_is_refused() {
        assert_eq!(parsed(&["--directory"]), Err(ArgumentError::NoDirectory));
        assert_eq!(parsed(&["x"]), Err(ArgumentError::Unknown("x".into())));
    }
}
