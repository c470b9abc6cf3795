//! What a plugin claims of the mesh's namespace.

use aigis_proxy::{Name, NodeName, SkillPath};
use serde::{Deserialize, Serialize};

use super::Replaced;
use crate::timestamp::Timestamp;

/// A plugin's claim to a leaf of the namespace, under `claim.<leaf, with / for .>.<node>`. It counts while its plugin has a
/// record that does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClaimRecord {
    /// The leaf: a whole dotted name.
    pub leaf: SkillPath,
    /// The plugin's CI.
    pub ci: Name,
    /// The node that it stands on, which alone may write this record.
    pub node: NodeName,
    /// Whether one more public name below the leaf leads there too.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub open: bool,
    /// Whose claims of the leaf count no more.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub replaces: Vec<Replaced>,
    /// When it was claimed.
    pub registered_at: Timestamp,
}

impl ClaimRecord {
    /// Whether this claim took the leaf from that one.
    #[must_use]
    pub fn has_replaced(&self, other: &Self) -> bool {
        let of = |replaced: &Replaced| replaced.node == other.node && replaced.registered_at == other.registered_at;
        self.leaf == other.leaf && self.replaces.iter().any(of)
    }

    /// Whether that path is the leaf, or a name that it is open for.
    #[must_use]
    pub fn serves(&self, path: &SkillPath) -> bool {
        let below = || {
            let rest = path.as_str().strip_prefix(self.leaf.as_str())?.strip_prefix('.')?;
            Some(!rest.contains('.') && !rest.starts_with('_'))
        };
        self.leaf == *path || self.open && below().unwrap_or_default()
    }
}
