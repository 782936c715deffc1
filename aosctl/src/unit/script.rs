//! Commands, one a line, as scripts and tests write them.

use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;

use super::known::{Goal, Target};
use crate::cli::parse_seconds;
use crate::wire::parse_time;
use crate::wire::sm::sm_incoming_messages::SmIncomingMessage;
use crate::wire::sm::{
    CheckUnitConfig, EnvVarInfo, GetNodeMonitoring, GetUnitConfigStatus, InstanceCrashLogRequest,
    InstanceIdent, InstanceLogRequest, OverrideEnvVars, OverrideInstanceEnvVar, SetUnitConfig,
    SystemLogRequest,
};

/// The commands, for people who ask.
pub(crate) const HELP: &str = "\
Commands on stdin, one a line, carried out in order ('#' starts a comment):
  run FILE             send UpdateNetworks and RunInstances of a state file
  run-only FILE        send its RunInstances alone
  networks FILE        send its UpdateNetworks alone
  force FILE           as run, with force_restart
  empty                send RunInstances without instances
  check-unit-config VERSION JSON
  set-unit-config VERSION JSON
  get-unit-config-status
  get-node-monitoring
  override-env JSON    [{\"service\", \"subject\", \"index\": filter, each optional,
                        \"vars\": [{\"id\", \"variable\": \"NAME=value\", \"ttl\": RFC 3339, optional}]}]
  system-log ID [FROM [TILL]]                          times are RFC 3339, '-': none
  instance-log ID SERVICE SUBJECT INDEX [FROM [TILL]]  '-' selects all
  crash-log ID SERVICE SUBJECT INDEX [FROM [TILL]]
  cloud on|off         send ConnectionStatus, now and after each registration
  wait-registered [SECONDS]                    SM has sent NodeConfiguration
  wait-status [SECONDS]                        RunInstancesStatus for the last run
  wait-active SERVICE/SUBJECT/INDEX[@VERSION] [SECONDS]
  wait-failed SERVICE/SUBJECT/INDEX[@VERSION] [SECONDS]
  drop                 cut the connection
  quit                 leave

A command that sends waits until SM is there; run and its kin wait for the
first RunInstancesStatus of the connection, as CM does (not with --eager).
A wait that times out ends with exit code 3, a wrong command with 2, another
failure with 1, at once or with --keep-going at the end.";

/// One command.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Command {
    /// Send a desired state.
    Deploy { source: Source, parts: Parts },
    /// Send a request.
    Request(SmIncomingMessage),
    /// Tell SM whether the cloud is connected.
    Cloud(bool),
    /// Wait; without a limit of its own, the usual one.
    Wait { goal: Goal, limit: Option<Duration> },
    /// Cut the connection.
    Drop,
    /// Leave.
    Quit,
}

/// Where a desired state comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    File(PathBuf),
    /// Nothing is desired.
    Empty,
}

/// What of a desired state is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Parts {
    pub(crate) networks: bool,
    pub(crate) instances: bool,
    pub(crate) force_restart: bool,
}

impl Parts {
    /// As CM does.
    pub(crate) const ALL: Self = Self {
        networks: true,
        instances: true,
        force_restart: false,
    };
}

/// Why a line is no command.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ScriptError {
    #[error("unknown command `{0}`; `aosctl unit run --help` lists them")]
    Unknown(String),
    #[error("{command}: expected {expected}")]
    Usage {
        command: String,
        expected: &'static str,
    },
    #[error("{command}: `{word}` is not {expected}")]
    BadWord {
        command: String,
        word: String,
        expected: &'static str,
    },
    #[error("override-env")]
    BadJson(#[from] serde_json::Error),
}

/// Reads a line; an empty line or a comment is nothing.
pub(crate) fn parse(line: &str) -> Result<Option<Command>, ScriptError> {
    let line = line.trim();
    if line.is_empty() || line.starts_with('#') {
        return Ok(None);
    }
    let (name, rest) = split_word(line);
    Line { name, rest }.command().map(Some)
}

struct Line<'a> {
    name: &'a str,
    rest: &'a str,
}

impl<'a> Line<'a> {
    fn command(&self) -> Result<Command, ScriptError> {
        let parts = Parts::ALL;
        Ok(match self.name {
            "run" => self.deploy(parts)?,
            "run-only" => self.deploy(Parts {
                networks: false,
                ..parts
            })?,
            "networks" => self.deploy(Parts {
                instances: false,
                ..parts
            })?,
            "force" => self.deploy(Parts {
                force_restart: true,
                ..parts
            })?,
            "empty" => self.alone(Command::Deploy {
                source: Source::Empty,
                parts: Parts {
                    networks: false,
                    ..parts
                },
            })?,
            "drop" => self.alone(Command::Drop)?,
            "quit" => self.alone(Command::Quit)?,
            "cloud" => match self.rest {
                "on" => Command::Cloud(true),
                "off" => Command::Cloud(false),
                _ => return Err(self.usage("on or off")),
            },
            name if name.starts_with("wait-") => self.wait()?,
            _ => Command::Request(self.request()?),
        })
    }

    fn deploy(&self, parts: Parts) -> Result<Command, ScriptError> {
        if self.rest.is_empty() {
            return Err(self.usage("a state file"));
        }
        Ok(Command::Deploy {
            source: Source::File(self.rest.into()),
            parts,
        })
    }

    fn wait(&self) -> Result<Command, ScriptError> {
        let words: Vec<_> = self.rest.split_whitespace().collect();
        let (goal, limit) = match (self.name, &words[..]) {
            ("wait-registered", limit @ ([] | [_])) => (Goal::Registered, limit),
            ("wait-status", limit @ ([] | [_])) => (Goal::Status, limit),
            ("wait-active", [target, limit @ ..]) if limit.len() < 2 => {
                (Goal::Active(self.target(target)?), limit)
            }
            ("wait-failed", [target, limit @ ..]) if limit.len() < 2 => {
                (Goal::Failed(self.target(target)?), limit)
            }
            ("wait-registered" | "wait-status", _) => return Err(self.usage("[SECONDS]")),
            ("wait-active" | "wait-failed", _) => {
                return Err(self.usage("SERVICE/SUBJECT/INDEX[@VERSION] [SECONDS]"));
            }
            _ => return Err(ScriptError::Unknown(self.name.to_owned())),
        };
        let limit = match limit {
            [word, ..] => {
                Some(parse_seconds(word).map_err(|_| self.bad_word(word, "a number of seconds"))?)
            }
            [] => None,
        };
        Ok(Command::Wait { goal, limit })
    }

    fn target(&self, word: &str) -> Result<Target, ScriptError> {
        Target::parse(word)
            .ok_or_else(|| self.bad_word(word, "an instance as SERVICE/SUBJECT/INDEX[@VERSION]"))
    }

    fn request(&self) -> Result<SmIncomingMessage, ScriptError> {
        Ok(match self.name {
            "check-unit-config" => {
                let (vendor_version, unit_config) = self.unit_config()?;
                SmIncomingMessage::CheckUnitConfig(CheckUnitConfig {
                    unit_config,
                    vendor_version,
                })
            }
            "set-unit-config" => {
                let (vendor_version, unit_config) = self.unit_config()?;
                SmIncomingMessage::SetUnitConfig(SetUnitConfig {
                    unit_config,
                    vendor_version,
                })
            }
            "get-unit-config-status" => self.alone(SmIncomingMessage::GetUnitConfigStatus(
                GetUnitConfigStatus {},
            ))?,
            "get-node-monitoring" => {
                self.alone(SmIncomingMessage::GetNodeMonitoring(GetNodeMonitoring {}))?
            }
            "override-env" => SmIncomingMessage::OverrideEnvVars(self.override_env()?),
            "system-log" => SmIncomingMessage::SystemLogRequest(self.system_log()?),
            "instance-log" => SmIncomingMessage::InstanceLogRequest(self.instance_log()?),
            "crash-log" => {
                let request = self.instance_log()?;
                SmIncomingMessage::InstanceCrashLogRequest(InstanceCrashLogRequest {
                    log_id: request.log_id,
                    instance: request.instance,
                    from: request.from,
                    till: request.till,
                })
            }
            _ => return Err(ScriptError::Unknown(self.name.to_owned())),
        })
    }

    /// The configuration goes out as it is written: SM is to judge it.
    fn unit_config(&self) -> Result<(String, String), ScriptError> {
        let (version, config) = split_word(self.rest);
        if config.is_empty() {
            return Err(self.usage("VERSION JSON"));
        }
        Ok((version.to_owned(), config.to_owned()))
    }

    fn override_env(&self) -> Result<OverrideEnvVars, ScriptError> {
        let overrides: Vec<Override> = serde_json::from_str(self.rest)?;
        let env_vars = overrides.into_iter().map(|item| {
            let vars = item.vars.into_iter().map(|var| {
                let ttl = match &var.ttl {
                    Some(text) => Some(self.time(text)?),
                    None => None,
                };
                Ok(EnvVarInfo {
                    var_id: var.id,
                    variable: var.variable,
                    ttl,
                })
            });
            Ok(OverrideInstanceEnvVar {
                instance: Some(InstanceIdent {
                    service_id: item.service,
                    subject_id: item.subject,
                    instance: item.index,
                }),
                vars: vars.collect::<Result<_, ScriptError>>()?,
            })
        });
        Ok(OverrideEnvVars {
            env_vars: env_vars.collect::<Result<_, ScriptError>>()?,
        })
    }

    fn system_log(&self) -> Result<SystemLogRequest, ScriptError> {
        let words: Vec<_> = self.rest.split_whitespace().collect();
        let [id, period @ ..] = &words[..] else {
            return Err(self.usage("ID [FROM [TILL]]"));
        };
        let (from, till) = self.period(period)?;
        Ok(SystemLogRequest {
            log_id: (*id).to_owned(),
            from,
            till,
        })
    }

    fn instance_log(&self) -> Result<InstanceLogRequest, ScriptError> {
        let words: Vec<_> = self.rest.split_whitespace().collect();
        let [id, service, subject, index, period @ ..] = &words[..] else {
            return Err(self.usage("ID SERVICE SUBJECT INDEX [FROM [TILL]]"));
        };
        let all_or = |word: &str| match word {
            "-" => String::new(),
            word => word.to_owned(),
        };
        let instance = match *index {
            "-" => ALL_INSTANCES,
            word => word
                .parse()
                .map_err(|_| self.bad_word(word, "the index of an instance"))?,
        };
        let (from, till) = self.period(period)?;
        Ok(InstanceLogRequest {
            log_id: (*id).to_owned(),
            instance: Some(InstanceIdent {
                service_id: all_or(service),
                subject_id: all_or(subject),
                instance,
            }),
            from,
            till,
        })
    }

    fn period(&self, words: &[&str]) -> Result<Period, ScriptError> {
        let time = |word: Option<&&str>| match word {
            None | Some(&"-") => Ok(None),
            Some(word) => self.time(word).map(Some),
        };
        if words.len() > 2 {
            return Err(self.usage("at most FROM and TILL at the end"));
        }
        Ok((time(words.first())?, time(words.get(1))?))
    }

    fn time(&self, word: &str) -> Result<prost_types::Timestamp, ScriptError> {
        parse_time(word).map_err(|_| self.bad_word(word, "a time as 2026-11-21T13:47:04Z"))
    }

    fn alone<T>(&self, value: T) -> Result<T, ScriptError> {
        if self.rest.is_empty() {
            Ok(value)
        } else {
            Err(self.usage("nothing more"))
        }
    }

    fn usage(&self, expected: &'static str) -> ScriptError {
        ScriptError::Usage {
            command: self.name.to_owned(),
            expected,
        }
    }

    fn bad_word(&self, word: &str, expected: &'static str) -> ScriptError {
        ScriptError::BadWord {
            command: self.name.to_owned(),
            word: word.to_owned(),
            expected,
        }
    }
}

type Period = (
    Option<prost_types::Timestamp>,
    Option<prost_types::Timestamp>,
);

/// A filter that selects any index.
const ALL_INSTANCES: i64 = -1;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Override {
    #[serde(default)]
    service: String,
    #[serde(default)]
    subject: String,
    #[serde(default = "all_instances")]
    index: i64,
    vars: Vec<Variable>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Variable {
    id: String,
    variable: String,
    ttl: Option<String>,
}

fn all_instances() -> i64 {
    ALL_INSTANCES
}

fn split_word(text: &str) -> (&str, &str) {
    match text.split_once(char::is_whitespace) {
        Some((word, rest)) => (word, rest.trim()),
        None => (text, ""),
    }
}

#[cfg(test)]
#[path = "script_tests.rs"]
mod tests;
