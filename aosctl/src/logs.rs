//! `aosctl logs`: the output of an instance, from the journal.

use std::os::unix::process::ExitStatusExt as _;
use std::process::{Command, ExitCode, ExitStatus};

use anyhow::Context as _;

use crate::cli::LogsArgs;
use crate::status::{self, Document, escaped};

const JOURNALCTL: &str = "journalctl";

/// Why it is not clear whose output is meant.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum WhichError {
    #[error("no instance {0}: `aosctl status` shows those that there are")]
    None(String),
    #[error("{0} may be {1}: say more of it")]
    Several(String, String),
}

/// Shows the output; the exit code is that of journalctl.
pub(crate) fn run(args: &LogsArgs) -> anyhow::Result<ExitCode> {
    let id = match whole_id(&args.instance) {
        Some(id) => id,
        None => {
            let document = status::look(&args.socket).with_context(|| {
                format!(
                    "only a whole instance id needs no service manager, and {} is none",
                    args.instance
                )
            })?;
            find(&args.instance, &document)?
        }
    };

    let status = Command::new(JOURNALCTL)
        .args(arguments(&id, args))
        .status()
        .with_context(|| format!("cannot run {JOURNALCTL}"))?;
    Ok(ExitCode::from(code(status)))
}

/// What journalctl is told. A match on the field is exact: there are no patterns
/// in it, and no other unit's words about this one.
fn arguments(id: &str, args: &LogsArgs) -> Vec<String> {
    let mut arguments = vec!["--quiet".to_owned()];
    if args.follow {
        arguments.push("--follow".to_owned());
    }
    if let Some(lines) = args.lines {
        arguments.push(format!("--lines={lines}"));
    }
    if let Some(since) = &args.since {
        arguments.push(format!("--since={since}"));
    }
    arguments.push("--output=short-iso".to_owned());
    arguments.push(format!("_SYSTEMD_UNIT=aos-service@{id}.service"));
    arguments
}

/// As shells do it with signals.
fn code(status: ExitStatus) -> u8 {
    let code = status
        .code()
        .or_else(|| status.signal().map(|signal| 128 + signal));
    code.and_then(|code| u8::try_from(code).ok()).unwrap_or(1)
}

/// The text as an id, if it is a whole one.
fn whole_id(text: &str) -> Option<String> {
    let groups: Vec<_> = text.split('-').map(str::len).collect();
    let is_hex = text.chars().all(|c| c == '-' || c.is_ascii_hexdigit());
    (groups == [8, 4, 4, 4, 12] && is_hex).then(|| text.to_ascii_lowercase())
}

/// The id of the one instance whose name this is, or whose id begins like this.
fn find(text: &str, document: &Document) -> Result<String, WhichError> {
    let instances = document.instances.iter().flatten();
    let prefix = text.to_ascii_lowercase();
    let found: Vec<_> = instances
        .filter(|instance| {
            // The name alone, whatever it looks like; slashes are in no id.
            instance.name() == text || !prefix.is_empty() && instance.id.starts_with(&prefix)
        })
        .collect();

    match found[..] {
        [one] => whole_id(&one.id).ok_or_else(|| WhichError::None(text.to_owned())),
        [] => Err(WhichError::None(text.to_owned())),
        [..] => {
            let all: Vec<_> = found
                .iter()
                .map(|each| format!("{} ({})", escaped(&each.name()), escaped(&each.id)))
                .collect();
            Err(WhichError::Several(text.to_owned(), all.join(", ")))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: &str = "11111111-2222-4333-8444-555555555555";
    const B: &str = "11112222-2222-4333-8444-555555555555";

    fn document() -> Document {
        let document = serde_json::json!({"format": 1, "instances": [
            {"id": A, "service": "web", "subject": "me", "index": 0},
            {"id": B, "service": "web", "subject": "me", "index": 1},
        ]});
        serde_json::from_value(document).unwrap()
    }

    fn args(instance: &str) -> LogsArgs {
        LogsArgs {
            instance: instance.to_owned(),
            follow: false,
            lines: None,
            since: None,
            socket: "/nowhere".into(),
        }
    }

    #[test]
    fn instance_is_found_by_name_and_by_a_prefix_that_only_it_has() {
        for (text, id) in [
            ("web/me/0", A),
            ("web/me/1", B),
            ("11111", A),
            ("11112222-2", B),
        ] {
            assert_eq!(find(text, &document()).unwrap(), id, "{text}");
        }
    }

    #[test]
    fn what_is_nobody_or_several_is_refused_with_what_to_do() {
        for (text, said) in [
            ("web/me/2", "aosctl status"),
            ("web", "no instance web"),
            ("", "no instance"),
            ("1111", "say more"),
            ("1111", B),
        ] {
            let error = find(text, &document()).unwrap_err().to_string();
            assert!(error.contains(said), "{text}: {error}");
        }
    }

    #[test]
    fn only_a_whole_id_is_one() {
        assert_eq!(whole_id(&A.to_uppercase()).as_deref(), Some(A));
        for text in [
            "",
            "web/me/0",
            "1111",
            "11111111-2222-4333-8444-55555555555*",
        ] {
            assert_eq!(whole_id(text), None, "{text}");
        }
    }

    #[test]
    fn journalctl_gets_each_wish_as_one_argument() {
        let plain = arguments(A, &args(A));
        let all = arguments(
            A,
            &LogsArgs {
                follow: true,
                lines: Some(5),
                since: Some("--file=/etc/shadow".to_owned()),
                ..args(A)
            },
        );

        let unit = format!("_SYSTEMD_UNIT=aos-service@{A}.service");
        assert_eq!(plain, ["--quiet", "--output=short-iso", &unit]);
        assert_eq!(
            all,
            [
                "--quiet",
                "--follow",
                "--lines=5",
                "--since=--file=/etc/shadow",
                "--output=short-iso",
                &unit,
            ]
        );
    }

    #[test]
    fn exit_code_is_passed_on() {
        assert_eq!(code(ExitStatus::from_raw(3 << 8)), 3);
        assert_eq!(code(ExitStatus::from_raw(2)), 130);
    }
}
