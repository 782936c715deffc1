//! Variables whose values nobody prints.

use std::fmt;
use std::ops::Deref;

use serde::Serialize;

/// `NAME=value` of each. A value may be a secret, so only the names are printed.
#[derive(Clone, Default, PartialEq, Eq, Serialize)]
pub struct Variables(Vec<String>);

impl From<Vec<String>> for Variables {
    fn from(variables: Vec<String>) -> Self {
        Self(variables)
    }
}

impl Deref for Variables {
    type Target = [String];

    fn deref(&self) -> &[String] {
        &self.0
    }
}

impl fmt::Debug for Variables {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = self.0.iter().map(|entry| {
            let (name, _) = entry.split_once('=').unwrap_or_default();
            name
        });
        f.debug_list().entries(names).finish()
    }
}
