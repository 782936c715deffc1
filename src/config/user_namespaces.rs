//! Which services get a user namespace of their own.

use std::collections::BTreeSet;

use super::file::Node;

/// What is said of a value that is none.
pub(super) const USER_NAMESPACES: &str = "on, off or a list of service ids";

/// Which services get a user namespace of their own.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum UserNamespaces {
    /// `off`: none.
    #[default]
    Off,
    /// `on`: all.
    On,
    /// Those with these ids.
    Services(BTreeSet<String>),
}

impl UserNamespaces {
    /// Whether instances of a service get one.
    #[must_use]
    pub fn include(&self, service_id: &str) -> bool {
        match self {
            Self::Off => false,
            Self::On => true,
            Self::Services(ids) => ids.contains(service_id),
        }
    }
}

pub(super) fn user_namespaces(node: Node) -> Option<UserNamespaces> {
    match node {
        Node::Text(text) => match text.as_str() {
            "" | "off" => Some(UserNamespaces::Off),
            "on" => Some(UserNamespaces::On),
            _ => None,
        },
        Node::List(items) => items
            .into_iter()
            .map(|item| match item {
                Node::Text(id) if !id.is_empty() => Some(id),
                _ => None,
            })
            .collect::<Option<_>>()
            .map(UserNamespaces::Services),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn list_is_for_its_services_alone() {
        let listed = user_namespaces(Node::parse(r#"["a", "b", "a"]"#).unwrap()).unwrap();
        let none = user_namespaces(Node::parse("[]").unwrap()).unwrap();

        let ids = ["a", "b", "ab", ""];
        assert_eq!(ids.map(|id| listed.include(id)), [true, true, false, false]);
        assert_eq!(ids.map(|id| none.include(id)), [false; 4]);
        assert_eq!(ids.map(|id| UserNamespaces::On.include(id)), [true; 4]);
        assert_eq!(ids.map(|id| UserNamespaces::Off.include(id)), [false; 4]);
    }
}
