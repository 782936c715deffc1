//! Events as lines: short ones for people, JSON objects for programs.

use std::io::{self, Write};
use std::time::Instant;

use serde_json::{Map, Value};
use time::OffsetDateTime;
use time::format_description::StaticFormatDescription;
use time::macros::format_description;

use super::event::{Event, Stamp, to_value};
use super::text;
use crate::cli::Format;
use crate::wire::sm::InstanceStatus;

const WALL: StaticFormatDescription =
    format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:6]Z");
const CLOCK: StaticFormatDescription =
    format_description!("[hour]:[minute]:[second].[subsecond digits:6]");

/// Prints events, in order, each as one line.
pub(crate) struct Printer {
    format: Format,
    start: Instant,
    /// Without it only failures are told, on stderr.
    out: Option<Box<dyn Write + Send>>,
}

impl Printer {
    /// Times are counted from now on.
    pub(crate) fn new(format: Format, out: Option<Box<dyn Write + Send>>) -> Self {
        Self {
            format,
            start: Instant::now(),
            out,
        }
    }

    /// Prints one event, at once.
    pub(crate) fn print(&mut self, at: Stamp, event: &Event) -> io::Result<()> {
        let Some(out) = &mut self.out else {
            if let Event::Failed { error } = event {
                eprintln!("aosctl: {error}");
            }
            return Ok(());
        };
        let mut line = match self.format {
            Format::Text => text_line(self.start, at, event),
            Format::Json => Value::from(json_object(self.start, at, event)).to_string(),
        };
        line.push('\n');
        out.write_all(line.as_bytes())?;
        out.flush()
    }

    /// The result of a deployment as a JSON object.
    pub(crate) fn result(&self, result: &str, instances: &[InstanceStatus]) -> String {
        let mut object = stamped("result", self.start, Stamp::now());
        object.insert("result".into(), result.into());
        object.insert("instances".into(), to_value(&instances));
        Value::from(object).to_string()
    }
}

fn text_line(start: Instant, at: Stamp, event: &Event) -> String {
    let elapsed = at.monotonic.saturating_duration_since(start).as_secs_f64();
    let clock = at.wall.format(CLOCK).unwrap_or_default();
    format!("{clock} {elapsed:>10.3}  {}", text::of(event))
}

fn stamped(name: &str, start: Instant, at: Stamp) -> Map<String, Value> {
    let elapsed = at.monotonic.saturating_duration_since(start);
    let mut object = Map::new();
    object.insert("event".into(), name.into());
    object.insert("time".into(), wall_text(at.wall).into());
    // Whole microseconds: more digits would only look exact.
    let millis = (elapsed.as_secs_f64() * 1e6).round() / 1e3;
    object.insert("t_ms".into(), millis.into());
    object
}

fn wall_text(time: OffsetDateTime) -> String {
    time.format(WALL).unwrap_or_default()
}

fn json_object(start: Instant, at: Stamp, event: &Event) -> Map<String, Value> {
    let mut object = stamped(event.name(), start, at);
    if let Value::Object(fields) = event.fields() {
        object.extend(fields);
    }
    object
}

#[cfg(test)]
#[path = "print_tests.rs"]
mod tests;
