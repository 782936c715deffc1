//! Reading typed values out of an object of the file.

use std::ops::RangeInclusive;
use std::time::Duration;

use serde_json::Value;

use super::durations::duration_from_json;
use super::error::{Problem, Warning};
use super::file::Node;

/// What is said of a duration that is none.
const DURATION: &str = r#"a duration such as "10s", "1m30s" or "PT1M30S""#;

/// Characters of a value that a message shows.
const SHOWN: usize = 60;

/// All that was found wrong so far.
#[derive(Debug, Default)]
pub(super) struct Findings {
    pub(super) problems: Vec<Problem>,
    pub(super) warnings: Vec<Warning>,
}

/// One object of the file. A value is taken out once; what is left at the end
/// is unknown.
///
/// Each `take` gives `None` for a key that is absent, `null`, or has a value
/// that was added to the problems.
pub(super) struct Section<'f> {
    path: String,
    entries: Vec<(String, Node)>,
    findings: &'f mut Findings,
}

impl<'f> Section<'f> {
    /// The whole file.
    pub(super) fn root(node: Node, findings: &'f mut Findings) -> Self {
        match node {
            Node::Object(entries) => Self::new(String::new(), entries, findings),
            other => {
                findings.problems.push(Problem {
                    key: "the file".into(),
                    value: Some(shown(&other)),
                    allowed: "an object".into(),
                });
                Self::new(String::new(), Vec::new(), findings)
            }
        }
    }

    fn new(path: String, written: Vec<(String, Node)>, findings: &'f mut Findings) -> Self {
        let mut entries: Vec<(String, Node)> = Vec::with_capacity(written.len());
        for (key, node) in written {
            let earlier = entries
                .iter()
                .position(|(known, _)| known.eq_ignore_ascii_case(&key));
            if let Some(earlier) = earlier {
                entries.remove(earlier);
                findings.warnings.push(Warning::RepeatedKey {
                    key: join(&path, &key),
                });
            }
            entries.push((key, node));
        }

        Self {
            path,
            entries,
            findings,
        }
    }

    /// Adds what nobody asked for to the warnings.
    pub(super) fn finish(self) {
        for (key, _) in self.entries {
            self.findings.warnings.push(Warning::UnknownKey {
                key: join(&self.path, &key),
            });
        }
    }

    /// A text.
    pub(super) fn text(&mut self, key: &str) -> Option<String> {
        self.convert(key, "a text", |node| match node {
            Node::Text(text) => Some(text),
            _ => None,
        })
    }

    /// A value made from a text, or the problem that it is not `allowed`.
    pub(super) fn parsed<T>(
        &mut self,
        key: &str,
        allowed: &str,
        parse: impl FnOnce(String) -> Option<T>,
    ) -> Option<T> {
        self.convert(key, allowed, |node| match node {
            Node::Text(text) => parse(text),
            _ => None,
        })
    }

    /// `true` or `false`.
    pub(super) fn flag(&mut self, key: &str) -> Option<bool> {
        self.convert(key, "true or false", |node| match node {
            Node::Bool(value) => Some(value),
            _ => None,
        })
    }

    /// A whole number.
    pub(super) fn number(&mut self, key: &str, range: RangeInclusive<u64>) -> Option<u64> {
        let allowed = if *range.end() == u64::MAX {
            format!("a whole number from {}", range.start())
        } else {
            format!("a whole number from {} to {}", range.start(), range.end())
        };
        self.convert(key, &allowed, |node| match node {
            Node::Number(number) => number.as_u64().filter(|value| range.contains(value)),
            _ => None,
        })
    }

    /// A whole number that may be out of every range.
    pub(super) fn integer(&mut self, key: &str) -> Option<i128> {
        self.convert(key, "a whole number", |node| match node {
            Node::Number(number) => number.as_i128(),
            _ => None,
        })
    }

    /// A whole number of `T`'s own range.
    pub(super) fn small<T: TryFrom<u64>>(&mut self, key: &str, max: u64) -> Option<T> {
        self.number(key, 0..=max)?.try_into().ok()
    }

    /// A duration of at least `shortest`.
    pub(super) fn duration(&mut self, key: &str, shortest: Duration) -> Option<Duration> {
        let allowed = if shortest.is_zero() {
            DURATION.to_owned()
        } else {
            format!("{DURATION} of at least {shortest:?}")
        };
        self.convert(key, &allowed, |node| {
            let duration = duration_from_json(&Value::from(&node)).ok()?;
            (duration >= shortest).then_some(duration)
        })
    }

    /// A list of texts, each made into something.
    pub(super) fn texts<T>(
        &mut self,
        key: &str,
        allowed: &str,
        mut parse: impl FnMut(String) -> Option<T>,
    ) -> Option<Vec<T>> {
        let (path, items) = self.list(key)?;
        let mut values = Vec::with_capacity(items.len());
        for (index, node) in items.into_iter().enumerate() {
            let value = shown(&node);
            let parsed = match node {
                Node::Text(text) => parse(text),
                _ => None,
            };
            match parsed {
                Some(parsed) => values.push(parsed),
                None => self.reject(format!("{path}[{index}]"), value, allowed),
            }
        }

        Some(values)
    }

    /// An object. `read` takes what it knows.
    pub(super) fn object<T>(
        &mut self,
        key: &str,
        read: impl FnOnce(&mut Section<'_>) -> T,
    ) -> Option<T> {
        let path = join(&self.path, key);
        let entries = self.convert(key, "an object", |node| match node {
            Node::Object(entries) => Some(entries),
            _ => None,
        })?;

        Some(self.inside(path, entries, read))
    }

    /// A list of objects. Those that `read` cannot use are left out; it adds
    /// the problem.
    pub(super) fn objects<T>(
        &mut self,
        key: &str,
        mut read: impl FnMut(&mut Section<'_>) -> Option<T>,
    ) -> Vec<T> {
        let Some((path, items)) = self.list(key) else {
            return Vec::new();
        };
        let mut values = Vec::with_capacity(items.len());
        for (index, node) in items.into_iter().enumerate() {
            let path = format!("{path}[{index}]");
            match node {
                Node::Object(entries) => values.extend(self.inside(path, entries, &mut read)),
                other => self.reject(path, shown(&other), "an object"),
            }
        }

        values
    }

    /// `value`, or the problem that there is none. A value that is there but
    /// wrong has its problem already.
    pub(super) fn required<T>(
        &mut self,
        key: &str,
        allowed: &str,
        take: impl FnOnce(&mut Self) -> Option<T>,
    ) -> Option<T> {
        let before = self.findings.problems.len();
        let value = take(self);
        if value.is_none() && self.findings.problems.len() == before {
            self.findings.problems.push(Problem {
                key: join(&self.path, key),
                value: None,
                allowed: allowed.to_owned(),
            });
        }

        value
    }

    /// Adds a warning about a value that is passed over.
    pub(super) fn replaced(&mut self, key: &str, value: &str, allowed: &str, instead: &str) {
        let key = join(&self.path, key);
        self.findings.warnings.push(Warning::Replaced {
            key,
            value: value.to_owned(),
            allowed: allowed.to_owned(),
            instead: instead.to_owned(),
        });
    }

    fn list(&mut self, key: &str) -> Option<(String, Vec<Node>)> {
        let items = self.convert(key, "a list", |node| match node {
            Node::List(items) => Some(items),
            _ => None,
        })?;

        Some((join(&self.path, key), items))
    }

    fn inside<T>(
        &mut self,
        path: String,
        entries: Vec<(String, Node)>,
        read: impl FnOnce(&mut Section<'_>) -> T,
    ) -> T {
        let mut section = Section::new(path, entries, self.findings);
        let value = read(&mut section);
        section.finish();

        value
    }

    /// A value made from what is written, or the problem that it is not `allowed`.
    pub(super) fn convert<T>(
        &mut self,
        key: &str,
        allowed: &str,
        convert: impl FnOnce(Node) -> Option<T>,
    ) -> Option<T> {
        let index = self
            .entries
            .iter()
            .position(|(known, _)| known.eq_ignore_ascii_case(key))?;
        let (_, node) = self.entries.remove(index);
        if node == Node::Null {
            return None;
        }

        let value = shown(&node);
        let converted = convert(node);
        if converted.is_none() {
            self.reject(join(&self.path, key), value, allowed);
        }

        converted
    }

    fn reject(&mut self, key: String, value: String, allowed: &str) {
        self.findings.problems.push(Problem {
            key,
            value: Some(value),
            allowed: allowed.to_owned(),
        });
    }
}

fn join(path: &str, key: &str) -> String {
    if path.is_empty() {
        key.to_owned()
    } else {
        format!("{path}.{key}")
    }
}

fn shown(node: &Node) -> String {
    let text = Value::from(node).to_string();
    if text.chars().count() <= SHOWN {
        return text;
    }

    let start: String = text.chars().take(SHOWN).collect();
    format!("{start}…")
}
