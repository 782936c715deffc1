//! Why the OCI runtime refused, in its own words.

use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::path::Path;

use serde::Deserialize;

/// More than the last messages is never needed.
const TAIL: u64 = 16 * 1024;

/// A message is for humans: longer ones are cut.
const LONGEST: usize = 1000;

#[derive(Deserialize)]
struct Entry {
    level: String,
    msg: String,
}

/// The last error in the runtime's log, if there is one.
pub(crate) fn last_error(log: &Path) -> Option<String> {
    let tail = read_tail(log).ok()?;

    last_error_of(&String::from_utf8_lossy(&tail))
}

fn read_tail(log: &Path) -> io::Result<Vec<u8>> {
    let mut file = File::open(log)?;
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(TAIL)))?;
    let mut tail = Vec::new();
    file.take(TAIL).read_to_end(&mut tail)?;

    Ok(tail)
}

fn last_error_of(log: &str) -> Option<String> {
    let message = log
        .lines()
        .rev()
        .filter_map(|line| serde_json::from_str::<Entry>(line).ok())
        .find(|entry| matches!(entry.level.as_str(), "error" | "fatal"))?
        .msg;
    let words = message.split_whitespace().collect::<Vec<_>>().join(" ");
    let kept: String = words.chars().take(LONGEST).collect();

    (!kept.is_empty()).then_some(kept)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn the_last_error_is_found() {
        let log = r#"{"level":"error","msg":"first","time":"x"}
{"level":"error","msg":"exec:  \"/bin/app\":\n no such file","time":"x"}
{"level":"warning","msg":"later","time":"x"}
not json
"#;

        assert_eq!(
            last_error_of(log).unwrap(),
            "exec: \"/bin/app\": no such file"
        );
    }

    #[test]
    fn a_log_without_errors_has_none() {
        for log in [
            "",
            "{}",
            "{\"level\":\"error\",\"msg\":\" \"}",
            "error: x",
            "{\"level\":",
        ] {
            assert_eq!(last_error_of(log), None, "{log}");
        }
    }

    #[test]
    fn a_long_message_is_cut() {
        let log = format!("{{\"level\":\"error\",\"msg\":\"{}\"}}", "ü".repeat(5000));

        assert_eq!(last_error_of(&log).unwrap().chars().count(), LONGEST);
    }

    #[test]
    fn only_the_end_of_a_long_log_is_read() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let mut text = "x".repeat(200_000);
        text.push_str("\n{\"level\":\"fatal\",\"msg\":\"end\"}\n");
        fs::write(file.path(), text).unwrap();

        assert_eq!(last_error(file.path()).unwrap(), "end");
        assert_eq!(last_error(Path::new("/nonexistent")), None);
    }
}
