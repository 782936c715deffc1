//! The command line.
//!
//! Long options take one dash, as deployed units write them, or two. A value
//! follows in the same argument after `=` or in the next one; that of a switch
//! only after `=`, as in Go.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

/// Configuration file if none is named, in the current directory.
const CONFIG: &str = "aos_servicemanager.cfg";

/// What `-help` prints.
pub const HELP: &str = "\
Runs container services on a device: AosEdge service manager

Usage: aos_servicemanager [OPTIONS]

Options:
  -c FILE    configuration file (default aos_servicemanager.cfg)
  -v LEVEL   log level: trace, debug, info, warn, error, fatal or panic (default info)
  -j         log to the systemd journal instead of stdout
  -reset     stop the instances, remove services, layers, the database and the
             unit configuration, keep storages and states, and exit
  -version   print the version and exit
  -help      print this text and exit

Long options take one dash or two.
";

/// What is asked of the process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Serve.
    Run(Settings),
    /// Remove all but storages and states.
    Reset(Settings),
    /// Print the version.
    Version,
    /// Print [`HELP`].
    Help,
}

/// How it is done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The configuration file.
    pub config: PathBuf,
    /// What is logged.
    pub level: Level,
    /// To the journal instead of stdout.
    pub journal: bool,
}

/// The least important entries that are logged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// Of all libraries.
    Trace,
    /// Ours, for developers.
    Debug,
    /// What happens.
    Info,
    /// What is wrong.
    Warn,
    /// What failed. `fatal` and `panic` of release 7.2.3 are the same here.
    Error,
}

/// Why the command line cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UsageError {
    /// No such option.
    #[error("unknown option {0}; try -help")]
    UnknownOption(String),
    /// An option without its value.
    #[error("option {0} needs a value; try -help")]
    MissingValue(String),
    /// A switch with another value than true or false.
    #[error("option {option} is {value:?}, must be true or false")]
    Switch {
        /// The option.
        option: String,
        /// Its value.
        value: String,
    },
    /// No such level.
    #[error("log level is {0:?}, must be trace, debug, info, warn, error, fatal or panic")]
    Level(String),
    /// No option.
    #[error("unexpected argument {0:?}; try -help")]
    Unexpected(String),
}

/// Reads the arguments, without the name of the program.
///
/// # Errors
///
/// At the first argument that cannot be used.
pub fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Command, UsageError> {
    let mut arguments = arguments.into_iter();
    let mut settings = Settings {
        config: CONFIG.into(),
        level: Level::Info,
        journal: false,
    };
    let (mut reset, mut version, mut help) = (false, false, false);

    while let Some(argument) = arguments.next() {
        let option = Written::split(&argument)?;
        match option.name {
            b"c" | b"config" => settings.config = option.value(&mut arguments)?.into(),
            b"v" => settings.level = level(&option.value(&mut arguments)?)?,
            b"j" => settings.journal = option.switch()?,
            b"reset" => reset = option.switch()?,
            b"version" => version = option.switch()?,
            b"h" | b"help" => help = option.switch()?,
            _ => return Err(UsageError::UnknownOption(option.text())),
        }
    }

    Ok(match (help, version, reset) {
        (true, _, _) => Command::Help,
        (_, true, _) => Command::Version,
        (_, _, true) => Command::Reset(settings),
        _ => Command::Run(settings),
    })
}

/// One option as it is written.
struct Written<'a> {
    name: &'a [u8],
    value: Option<&'a [u8]>,
}

impl<'a> Written<'a> {
    fn split(argument: &'a OsStr) -> Result<Self, UsageError> {
        let bytes = argument.as_bytes();
        let text = bytes
            .strip_prefix(b"--")
            .or_else(|| bytes.strip_prefix(b"-"))
            .filter(|text| !text.is_empty())
            .ok_or_else(|| UsageError::Unexpected(argument.to_string_lossy().into_owned()))?;

        let mut parts = text.splitn(2, |byte| *byte == b'=');
        Ok(Self {
            name: parts.next().unwrap_or_default(),
            value: parts.next(),
        })
    }

    fn text(&self) -> String {
        format!("-{}", String::from_utf8_lossy(self.name))
    }

    fn value(&self, rest: &mut impl Iterator<Item = OsString>) -> Result<OsString, UsageError> {
        match self.value {
            Some(value) => Some(OsStr::from_bytes(value).to_owned()),
            None => rest.next(),
        }
        .filter(|value| !value.is_empty())
        .ok_or_else(|| UsageError::MissingValue(self.text()))
    }

    fn switch(&self) -> Result<bool, UsageError> {
        match self.value {
            None | Some(b"true" | b"1") => Ok(true),
            Some(b"false" | b"0") => Ok(false),
            Some(other) => Err(UsageError::Switch {
                option: self.text(),
                value: String::from_utf8_lossy(other).into_owned(),
            }),
        }
    }
}

fn level(text: &OsStr) -> Result<Level, UsageError> {
    let text = text.to_string_lossy();
    Ok(match text.to_ascii_lowercase().as_str() {
        "trace" => Level::Trace,
        "debug" => Level::Debug,
        "info" => Level::Info,
        "warn" | "warning" => Level::Warn,
        "error" | "fatal" | "panic" => Level::Error,
        _ => return Err(UsageError::Level(text.into_owned())),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(arguments: &[&str]) -> Result<Command, UsageError> {
        parse(arguments.iter().map(OsString::from))
    }

    fn settings(config: &str, level: Level, journal: bool) -> Settings {
        Settings {
            config: config.into(),
            level,
            journal,
        }
    }

    #[test]
    fn without_arguments_the_defaults_count() {
        let defaults = settings("aos_servicemanager.cfg", Level::Info, false);

        assert_eq!(parsed(&[]), Ok(Command::Run(defaults)));
    }

    #[test]
    fn each_way_of_writing_options_is_read() {
        let expected = Command::Run(settings("/etc/sm.cfg", Level::Debug, true));

        for arguments in [
            &["-c", "/etc/sm.cfg", "-v", "debug", "-j"][..],
            &["--c", "/etc/sm.cfg", "--v", "debug", "--j"],
            &["-j", "-v=debug", "-c=/etc/sm.cfg"],
            &["--j=true", "--v=DEBUG", "--config=/etc/sm.cfg"],
            &[
                "-config",
                "/etc/sm.cfg",
                "-j=1",
                "-v",
                "info",
                "-v",
                "debug",
            ],
        ] {
            assert_eq!(parsed(arguments).as_ref(), Ok(&expected), "{arguments:?}");
        }
    }

    #[test]
    fn long_options_take_one_dash_or_two() {
        let defaults = settings("aos_servicemanager.cfg", Level::Info, false);

        for dashes in ["-", "--"] {
            let one = |name: &str| parsed(&[&format!("{dashes}{name}")]).unwrap();
            assert_eq!(one("reset"), Command::Reset(defaults.clone()));
            assert_eq!(one("version"), Command::Version);
            assert_eq!(one("help"), Command::Help);
            assert_eq!(one("h"), Command::Help);
        }
    }

    #[test]
    fn switch_can_be_switched_off() {
        assert!(matches!(
            parsed(&["-reset", "-reset=false"]),
            Ok(Command::Run(_))
        ));
    }

    #[test]
    fn help_and_version_come_before_reset() {
        assert_eq!(parsed(&["-reset", "-version"]), Ok(Command::Version));
        assert_eq!(parsed(&["-reset", "-version", "-help"]), Ok(Command::Help));
    }

    #[test]
    fn each_level_is_known() {
        let levels = [
            ("trace", Level::Trace),
            ("debug", Level::Debug),
            ("info", Level::Info),
            ("warn", Level::Warn),
            ("warning", Level::Warn),
            ("error", Level::Error),
            ("fatal", Level::Error),
            ("panic", Level::Error),
        ];

        for (text, level) in levels {
            let expected = settings("aos_servicemanager.cfg", level, false);
            assert_eq!(parsed(&["-v", text]), Ok(Command::Run(expected)), "{text}");
        }
    }

    #[test]
    fn file_name_that_is_not_unicode_is_taken_as_it_is() {
        let argument = OsStr::from_bytes(b"-c=/\xff").to_owned();

        let Ok(Command::Run(settings)) = parse([argument]) else {
            panic!("refused")
        };

        assert_eq!(settings.config.as_os_str().as_bytes(), b"/\xff");
    }

    #[test]
    fn what_cannot_be_used_is_refused() {
        let missing = |option: &str| UsageError::MissingValue(option.into());
        let cases = [
            (&["-x"][..], UsageError::UnknownOption("-x".into())),
            (&["--resett"], UsageError::UnknownOption("-resett".into())),
            (&["---reset"], UsageError::UnknownOption("--reset".into())),
            (&["-vdebug"], UsageError::UnknownOption("-vdebug".into())),
            (&["-=x"], UsageError::UnknownOption("-".into())),
            (&["-c"], missing("-c")),
            (&["-c="], missing("-c")),
            (&["-c", ""], missing("-c")),
            (&["-j", "-v"], missing("-v")),
            (&["-v", "loud"], UsageError::Level("loud".into())),
            (&["-v", "-j"], UsageError::Level("-j".into())),
            (
                &["-j=yes"],
                UsageError::Switch {
                    option: "-j".into(),
                    value: "yes".into(),
                },
            ),
            (&["run"], UsageError::Unexpected("run".into())),
            (&["-j", "true"], UsageError::Unexpected("true".into())),
            (&[""], UsageError::Unexpected(String::new())),
            (&["-"], UsageError::Unexpected("-".into())),
            (&["--"], UsageError::Unexpected("--".into())),
        ];

        for (arguments, expected) in cases {
            assert_eq!(parsed(arguments), Err(expected), "{arguments:?}");
        }
    }
}
