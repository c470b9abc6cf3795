//! What tells the containers, networks and volumes that a node made from those of others on the same engine.

use std::{collections::BTreeMap, sync::Arc};

/// The label that says what a thing belongs to: `app/NAME`, `chain/ID`. What bears it is no CI of its own.
pub(crate) const OWNER: &str = "aigis.owner";
/// The label that says which node made it.
const NODE: &str = "aigis.node";
/// How much of a mark goes into names.
const SHORT: usize = 8;

/// A node's mark: its public key, which no other node of any mesh has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Mark(Arc<str>);

impl Mark {
    /// The mark of the node with that public key.
    pub(crate) fn new(public_key: &str) -> Self {
        Self(public_key.into())
    }

    /// The labels of what belongs to `owner`.
    pub(crate) fn labels(&self, owner: String) -> BTreeMap<String, String> {
        BTreeMap::from([(OWNER.to_owned(), owner), (NODE.to_owned(), self.0.to_string())])
    }

    /// Whether those are labels of something that this node made.
    pub(crate) fn is_on(&self, labels: &BTreeMap<String, String>) -> bool {
        labels.contains_key(OWNER) && self.is_of_node(labels)
    }

    /// The label of what this node made and is a CI of its own.
    pub(crate) fn label(&self) -> (String, String) {
        (NODE.to_owned(), self.0.to_string())
    }

    /// Whether those are labels of something that this node made, be it a CI of its own or not.
    pub(crate) fn is_of_node(&self, labels: &BTreeMap<String, String>) -> bool {
        labels.get(NODE).is_some_and(|node| **node == *self.0)
    }

    /// Whose it is, if those are labels of something that this node made: `app/NAME`, `chain/ID`.
    pub(crate) fn owner<'a>(&self, labels: &'a BTreeMap<String, String>) -> Option<&'a str> {
        labels.get(OWNER).filter(|_| self.is_on(labels)).map(String::as_str)
    }

    /// A part of it, in lower case, for names that must differ from those of other nodes.
    pub(crate) fn short(&self) -> String {
        self.0.chars().rev().take(SHORT).collect::<String>().to_lowercase()
    }
}
