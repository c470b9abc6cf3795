//! Who vouches for the users of a mesh.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{MeshName, Role};

/// Who vouches for the users of a mesh. It is public, and pinned by whoever joins.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Issuer {
    /// The mesh.
    pub mesh: MeshName,
    /// The public key of the mesh's account.
    pub account: String,
    /// The public key that signs for each role.
    pub roles: BTreeMap<String, Role>,
    /// Public keys that signed for a role before the keys were rotated, and still count.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub former: BTreeMap<String, Role>,
    /// How often it has changed: of two statements the one with more is the newer.
    #[serde(default, skip_serializing_if = "is_first")]
    pub serial: u64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the form that serde asks for")]
fn is_first(serial: &u64) -> bool {
    *serial == 0
}

impl Issuer {
    /// The role for which a key signs, or signed before the keys were rotated.
    #[must_use]
    pub fn role_of(&self, key: &str) -> Option<Role> {
        self.roles.get(key).or_else(|| self.former.get(key)).copied()
    }

    /// Whether that key signed for a role only before the keys were rotated.
    #[must_use]
    pub fn is_former(&self, key: &str) -> bool {
        self.former.contains_key(key)
    }

    /// Whether this says what holds now, where `known` was told before: of the same mesh and account, and newer.
    #[must_use]
    pub fn follows(&self, known: &Self) -> bool {
        self.mesh == known.mesh && self.account == known.account && self.serial > known.serial
    }
}
