//! The drop-in that makes the template the unit of one instance.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use super::names::{RUNTIME, unit_cgroup};
use super::policy::StartPolicy;
use crate::model::InstanceId;

/// Deletes a container, after the runtime.
const DELETE: &str = " delete --force %i";
/// Begins the line that does so whenever the instance has ended.
const DELETE_AT_END: &str = "ExecStopPost=-";

/// What is particular to the unit of an instance.
#[derive(Clone, Debug)]
pub(crate) struct DropIn<'a> {
    /// The instance.
    pub id: InstanceId,
    /// Absolute path of the OCI runtime.
    pub runtime: &'a Path,
    /// The instance's runtime directory: the bundle.
    pub directory: &'a Path,
    /// Where cgroup v2 is mounted, if it is the only one.
    pub unified_cgroups: Option<&'a Path>,
    /// When systemd restarts it.
    pub policy: StartPolicy,
    /// Number of the signal that asks it to stop.
    pub stop_signal: i32,
    /// Its directories on the disk.
    pub needs: Vec<PathBuf>,
    /// The runtime still has a container of this name. Otherwise each start is
    /// spared a run of the runtime: what ends is deleted when it ends.
    pub has_remains: bool,
}

impl DropIn<'_> {
    /// The text of the file.
    ///
    /// The container is created first and started after that, so that systemd
    /// knows the main process before it runs: the exit code of a service that
    /// ends at once is never missed.
    pub(crate) fn text(&self) -> String {
        let StartPolicy {
            interval,
            burst,
            restart,
        } = self.policy;
        let runtime = quote_path(self.runtime);
        let log = quote_path(&self.directory.join("runtime.log"));
        let pid_file = quote_path(&self.directory.join(".pid"));
        let bundle = quote_path(self.directory);
        let needs = self
            .needs
            .iter()
            .map(|path| quote(&path.display().to_string(), false))
            .collect::<Vec<_>>()
            .join(" ");
        let logged = format!("{runtime} --log {log} --log-format json");
        let delete = format!("{runtime}{DELETE}");

        let mut text = "# Written by aos_servicemanager when it started the instance.\n".to_owned();
        let mut line = |line: std::fmt::Arguments<'_>| {
            writeln!(text, "{line}").expect("writing to a String cannot fail");
        };
        line(format_args!("[Unit]"));
        line(format_args!("RequiresMountsFor={needs}"));
        line(format_args!(
            "StartLimitIntervalSec={}us",
            interval.as_micros()
        ));
        line(format_args!("StartLimitBurst={burst}"));
        line(format_args!(""));
        line(format_args!("[Service]"));
        line(format_args!("RestartSec={}us", restart.as_micros()));
        line(format_args!("KillSignal={}", self.stop_signal));
        if self.has_remains {
            line(format_args!("ExecStartPre=-{delete}"));
        }
        line(format_args!(
            "ExecStart={}{logged} create --pid-file {pid_file} --bundle {bundle} %i",
            self.move_aside()
        ));
        line(format_args!("ExecStartPost={logged} start %i"));
        line(format_args!("{DELETE_AT_END}{delete}"));

        text
    }

    /// The runtime that a drop-in names: what started the instance has to end it,
    /// whichever is found now.
    pub(crate) fn runtime_of(text: &str) -> Option<PathBuf> {
        let word = text
            .lines()
            .find_map(|line| line.strip_prefix(DELETE_AT_END)?.strip_suffix(DELETE))?;

        unquote(word).map(PathBuf::from)
    }

    /// Whether a drop-in has what is left of a container deleted before each start.
    pub(crate) fn deletes_remains(text: &str) -> bool {
        text.lines().any(|line| line.starts_with("ExecStartPre="))
    }

    /// On cgroup v2 a cgroup with processes cannot have controllers for the
    /// cgroups in it: the runtime leaves the unit's own before it makes the
    /// container's.
    fn move_aside(&self) -> String {
        let Some(root) = self.unified_cgroups else {
            return String::new();
        };
        let cgroup = format!("{}{}/{RUNTIME}", root.display(), unit_cgroup(self.id));

        format!(
            "/bin/sh -c 'mkdir -p \"$$0\" && echo $$$$ >\"$$0/cgroup.procs\" && exec \"$$@\"' {} ",
            quote(&cgroup, true)
        )
    }
}

fn quote_path(path: &Path) -> String {
    quote(&path.display().to_string(), true)
}

/// One word of a unit file: nothing in it means anything to systemd. `$` means
/// something only in a command.
fn quote(word: &str, command: bool) -> String {
    let mut quoted = String::from('"');
    for character in word.chars() {
        match character {
            '"' | '\\' => quoted.extend(['\\', character]),
            '%' => quoted.push_str("%%"),
            '$' if command => quoted.push_str("$$"),
            '\n' => quoted.push_str("\\n"),
            _ => quoted.push(character),
        }
    }
    quoted.push('"');

    quoted
}

/// The word of a command that was quoted so.
fn unquote(text: &str) -> Option<String> {
    let mut rest = text.strip_prefix('"')?.strip_suffix('"')?.chars();
    let mut word = String::new();
    while let Some(character) = rest.next() {
        word.push(match character {
            '\\' => match rest.next()? {
                'n' => '\n',
                escaped => escaped,
            },
            '%' | '$' => rest.next().filter(|again| *again == character)?,
            '"' => return None,
            plain => plain,
        });
    }

    Some(word)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    fn drop_in() -> DropIn<'static> {
        DropIn {
            id: InstanceId::from_u128(7),
            runtime: Path::new("/usr/bin/runc"),
            directory: Path::new("/run/aos/runtime/x"),
            unified_cgroups: None,
            policy: StartPolicy {
                interval: Duration::from_micros(1500),
                burst: 2,
                restart: Duration::from_millis(100),
            },
            stop_signal: 15,
            needs: vec!["/var/aos/services".into(), "/var/a b%".into()],
            has_remains: false,
        }
    }

    #[test]
    fn the_text_is_this() {
        let text = drop_in().text();

        assert_eq!(
            text,
            r#"# Written by aos_servicemanager when it started the instance.
[Unit]
RequiresMountsFor="/var/aos/services" "/var/a b%%"
StartLimitIntervalSec=1500us
StartLimitBurst=2

[Service]
RestartSec=100000us
KillSignal=15
ExecStart="/usr/bin/runc" --log "/run/aos/runtime/x/runtime.log" --log-format json create --pid-file "/run/aos/runtime/x/.pid" --bundle "/run/aos/runtime/x" %i
ExecStartPost="/usr/bin/runc" --log "/run/aos/runtime/x/runtime.log" --log-format json start %i
ExecStopPost=-"/usr/bin/runc" delete --force %i
"#
        );
    }

    #[test]
    fn on_unified_cgroups_the_runtime_leaves_the_cgroup_of_the_unit() {
        let drop_in = DropIn {
            unified_cgroups: Some(Path::new("/sys/fs/cgroup")),
            ..drop_in()
        };

        let text = drop_in.text();

        let start = text
            .lines()
            .find(|line| line.starts_with("ExecStart="))
            .unwrap();
        assert!(
            start.starts_with(
                r#"ExecStart=/bin/sh -c 'mkdir -p "$$0" && echo $$$$ >"$$0/cgroup.procs" && exec "$$@"' "/sys/fs/cgroup/system.slice/system-aos\\x2dservice.slice/aos-service@00000000-0000-0000-0000-000000000007.service/runtime" "/usr/bin/runc" "#
            ),
            "{start}"
        );
    }

    #[test]
    fn remains_are_deleted_before_the_start() {
        let drop_in = DropIn {
            has_remains: true,
            ..drop_in()
        };

        let text = drop_in.text();

        assert!(
            text.contains("\nExecStartPre=-\"/usr/bin/runc\" delete --force %i\nExecStart="),
            "{text}"
        );
    }

    #[test]
    fn no_path_can_break_the_text() {
        let path = Path::new("/a b/\"c\"/$d/%e/\\f\nExecStart=/g");

        let quoted = quote_path(path);

        assert_eq!(quoted, r#""/a b/\"c\"/$$d/%%e/\\f\nExecStart=/g""#);
    }

    #[test]
    fn remains_are_known_from_the_text() {
        let with = DropIn {
            has_remains: true,
            ..drop_in()
        };

        assert!(DropIn::deletes_remains(&with.text()));
        assert!(!DropIn::deletes_remains(&drop_in().text()));
    }

    proptest! {
        #[test]
        fn the_runtime_is_known_from_the_text(path in "/.*") {
            let drop_in = DropIn { runtime: Path::new(&path), ..drop_in() };

            prop_assert_eq!(DropIn::runtime_of(&drop_in.text()), Some(PathBuf::from(&path)));
        }

        #[test]
        fn no_text_is_too_odd_to_be_read(text: String) {
            let _ = DropIn::runtime_of(&text);
            let _ = DropIn::runtime_of(&format!("{DELETE_AT_END}\"{text}\"{DELETE}"));
        }
    }
}
