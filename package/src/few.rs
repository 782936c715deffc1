//! Lists of documents, which have few elements.

use std::fmt;
use std::marker::PhantomData;

use serde::de::{Deserialize, Deserializer, Error, SeqAccess, Visitor};

/// Elements that a list can have. Small elements take a multiple of their text in
/// memory.
const FEW: usize = 1024;

/// Reads a list of no more than 1024 elements; `null` is one of none.
pub(crate) fn few<'de, D, T>(deserializer: D) -> Result<Vec<T>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    deserializer.deserialize_any(Few(PhantomData))
}

struct Few<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for Few<T> {
    type Value = Vec<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a list of no more than {FEW} elements")
    }

    fn visit_unit<E: Error>(self) -> Result<Self::Value, E> {
        Ok(Vec::new())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<Self::Value, A::Error> {
        let mut list = Vec::new();
        while let Some(element) = elements.next_element()? {
            if list.len() == FEW {
                return Err(A::Error::invalid_length(FEW + 1, &self));
            }
            list.push(element);
        }
        Ok(list)
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, Deserialize)]
    struct Document(#[serde(deserialize_with = "few")] Vec<u64>);

    fn parse(text: &str) -> Result<Vec<u64>, String> {
        let document = serde_json::from_str(text).map(|document: Document| document.0);
        document.map_err(|error| error.to_string())
    }

    #[test]
    fn list_or_nothing_is_read() {
        assert_eq!(parse("[1, 2]"), Ok(vec![1, 2]));
        assert_eq!(parse("null"), Ok(Vec::new()));
        assert_eq!(
            parse(&format!("[{}0]", "0,".repeat(1023))).unwrap().len(),
            1024
        );
    }

    #[test]
    fn long_list_and_other_types_are_refused() {
        let long = parse(&format!("[{}0]", "0,".repeat(1024))).unwrap_err();

        assert!(long.contains("no more than 1024 elements"), "{long}");
        for text in ["{}", "5", "\"a\"", "[[]]"] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
