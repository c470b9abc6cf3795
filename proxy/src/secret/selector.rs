//! Which nodes a secret is for.

use std::{collections::BTreeMap, fmt, str::FromStr};

use serde::{Deserialize, Serialize, de};

use crate::{NodeName, name::quoted};

/// A node, by its name, or nodes, by a label.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Selector {
    /// The node of that name.
    Node(NodeName),
    /// The nodes that bear that label.
    Label(String, String),
}

/// A text that is neither.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("\"{shown}\" is neither a node nor KEY=VALUE")]
pub struct NotASelector {
    shown: String,
}

impl Selector {
    /// Whether it selects a node of that name and those labels.
    #[must_use]
    pub fn selects(&self, node: &NodeName, labels: &BTreeMap<String, String>) -> bool {
        match self {
            Self::Node(name) => name == node,
            Self::Label(key, value) => labels.get(key) == Some(value),
        }
    }
}

impl FromStr for Selector {
    type Err = NotASelector;
    fn from_str(text: &str) -> Result<Self, NotASelector> {
        let wrong = || NotASelector { shown: quoted(text) };
        match text.split_once('=') {
            Some(("", _)) => Err(wrong()),
            Some((key, value)) => Ok(Self::Label(key.to_owned(), value.to_owned())),
            None => NodeName::parse(text).map(Self::Node).map_err(|_| wrong()),
        }
    }
}

impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Node(node) => f.pad(node.as_str()),
            Self::Label(key, value) => write!(f, "{key}={value}"),
        }
    }
}

impl Serialize for Selector {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Selector {
    fn deserialize<D: de::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_or_a_label_is_selected() {
        let node = NodeName::parse("alpha").unwrap();
        let labels = BTreeMap::from([("role".to_owned(), "db=1".to_owned())]);
        for (text, selects) in [("alpha", true), ("beta", false), ("role=db=1", true), ("role=db", false)] {
            let selector: Selector = text.parse().unwrap();
            assert_eq!((selector.selects(&node, &labels), selector.to_string().as_str()), (selects, text));
        }
        for bad in ["", "=x", "a b", "*", "A"] {
            assert!(bad.parse::<Selector>().is_err(), "{bad}");
        }
    }
}
