//! The file as written: JSON that keeps the order and spelling of its keys.
//!
//! `serde_json::Value` forgets which of two spellings of a key came last.

use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Number, Value};

/// One JSON value.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Node {
    Null,
    Bool(bool),
    Number(Number),
    Text(String),
    List(Vec<Node>),
    Object(Vec<(String, Node)>),
}

impl Node {
    /// Reads a whole file.
    pub(super) fn parse(text: &str) -> Result<Self, serde_json::Error> {
        // Editors of other systems put a byte order mark in front.
        serde_json::from_str(text.strip_prefix('\u{feff}').unwrap_or(text))
    }
}

impl From<&Node> for Value {
    fn from(node: &Node) -> Self {
        match node {
            Node::Null => Self::Null,
            Node::Bool(value) => Self::Bool(*value),
            Node::Number(value) => Self::Number(value.clone()),
            Node::Text(value) => Self::String(value.clone()),
            Node::List(items) => items.iter().map(Self::from).collect(),
            Node::Object(entries) => entries
                .iter()
                .map(|(key, value)| (key.clone(), Self::from(value)))
                .collect(),
        }
    }
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(NodeVisitor)
    }
}

struct NodeVisitor;

impl<'de> Visitor<'de> for NodeVisitor {
    type Value = Node;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Node, E> {
        Ok(Node::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Node, E> {
        Ok(Node::Bool(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Node, E> {
        Ok(Node::Number(value.into()))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Node, E> {
        Ok(Node::Number(value.into()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Node, E> {
        Ok(Number::from_f64(value).map_or(Node::Null, Node::Number))
    }

    fn visit_str<E>(self, value: &str) -> Result<Node, E> {
        Ok(Node::Text(value.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Node, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element()? {
            list.push(item);
        }

        Ok(Node::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Node, A::Error> {
        let mut object = Vec::new();
        while let Some(entry) = entries.next_entry()? {
            object.push(entry);
        }

        Ok(Node::Object(object))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_keep_order_and_spelling() {
        let node = Node::parse(r#"{"b": 1, "A": [true, null, "x"], "b": 2.5}"#).unwrap();

        let Node::Object(entries) = node else {
            panic!("no object: {node:?}")
        };
        let keys: Vec<_> = entries.iter().map(|(key, _)| key.as_str()).collect();
        assert_eq!(keys, ["b", "A", "b"]);
    }

    #[test]
    fn byte_order_mark_is_skipped() {
        assert_eq!(Node::parse("\u{feff}{}").unwrap(), Node::Object(vec![]));
    }

    #[test]
    fn trailing_comma_is_named_with_its_line_and_column() {
        let error = Node::parse("{\n  \"workingDir\": \"/var\",\n}").unwrap_err();

        assert_eq!(error.to_string(), "trailing comma at line 3 column 1");
    }

    #[test]
    fn deep_nesting_is_an_error_and_no_stack_overflow() {
        let text = "[".repeat(100_000);

        assert!(Node::parse(&text).is_err());
    }
}
