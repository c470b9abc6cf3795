//! What a manifest says, as digests: of the whole, and of what an image depends on.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use super::Manifest;
use crate::{Digest, json};

/// What of a container stands in its slice: all that its image depends on.
const OF_A_CONTAINER: [&str; 9] =
    ["base_image", "dockerfile", "applications", "start", "ports", "user", "env", "labels", "health"];

/// A manifest that is valid, with the document as it was given.
///
/// Digests are of the document and not of the types: what is hashed is what somebody wrote.
#[derive(Debug, Clone, PartialEq)]
pub struct Document {
    /// What it says.
    pub manifest: Manifest,
    /// What was given, without its form.
    value: Value,
}

impl Document {
    pub(super) fn new(manifest: Manifest, value: Value) -> Self {
        Self { manifest, value }
    }

    /// The document in canonical JSON.
    #[must_use]
    pub fn canonical(&self) -> Vec<u8> {
        json::canonical(&self.value)
    }

    /// The digest of the whole document.
    #[must_use]
    pub fn spec(&self) -> Digest {
        Digest::of(&self.canonical())
    }

    /// The digest of what the image of a container depends on; `None` if there is no such container.
    #[must_use]
    pub fn slice_spec(&self, container: &str) -> Option<Digest> {
        self.slice(container).map(|slice| Digest::of(&json::canonical(&slice)))
    }

    /// What of the document is of a container: all that is said of it, and its applications with those that they copy from.
    #[must_use]
    pub fn part(&self, container: &str) -> Option<Value> {
        let given = self.value.get("containers")?.get(container)?.clone();
        let mut part = picked(&self.value, &["manifest_version", "project"]);
        part.insert("applications".to_owned(), self.applications(container).into());
        part.insert("containers".to_owned(), serde_json::json!({container: given}));
        Some(part.into())
    }

    /// What of the document the image of a container depends on: how it is made, and its applications with those that
    /// they copy from.
    #[must_use]
    pub fn slice(&self, container: &str) -> Option<Value> {
        let given = self.value.get("containers")?.get(container)?;
        let of_container = picked(given, &OF_A_CONTAINER);
        let mut slice = picked(&self.value, &["manifest_version"]);
        slice.insert("container".to_owned(), of_container.into());
        slice.insert("applications".to_owned(), self.applications(container).into());
        let packaging = self.value.get("packaging").map(|packaging| picked(packaging, &["epoch"]));
        if let Some(packaging) = packaging.filter(|packaging| !packaging.is_empty()) {
            slice.insert("packaging".to_owned(), packaging.into());
        }
        Some(slice.into())
    }

    /// The applications of a container, and those that they copy from, as they were given.
    fn applications(&self, container: &str) -> Map<String, Value> {
        let mut names = BTreeSet::new();
        let mut open: Vec<&str> = match self.manifest.containers.get(container) {
            Some(container) => container.applications.iter().map(aigis_proxy::Name::as_str).collect(),
            None => Vec::new(),
        };
        // Each application is looked at once.
        while let Some(name) = open.pop() {
            if names.insert(name)
                && let Some(application) = self.manifest.applications.get(name)
            {
                open.extend(application.copy.iter().map(|copied| copied.from.as_str()));
            }
        }
        names
            .iter()
            .filter_map(|name| Some(((*name).to_owned(), self.value.get("applications")?.get(name)?.clone())))
            .collect()
    }
}

fn picked(given: &Value, keys: &[&str]) -> Map<String, Value> {
    keys.iter().filter_map(|key| Some(((*key).to_owned(), given.get(key)?.clone()))).collect()
}
