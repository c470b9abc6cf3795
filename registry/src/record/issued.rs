//! What the issuer says of users, join tokens and removed nodes. Such records count only under the issuer's name.

use aigis_proxy::{Grant, NodeName, Role, UserName};
use serde::{Deserialize, Serialize};

use crate::timestamp::Timestamp;

/// The record of a user that the issuer vouches for, under `user.<name>.<issuer>`. It holds no secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UserRecord {
    /// Its name.
    pub name: UserName,
    /// What it may do.
    pub role: Role,
    /// Its public key at the bus.
    pub public_key: String,
    /// The public key that signed its token.
    #[serde(default)]
    pub signer: String,
    /// When its credential was issued last.
    pub issued_at: Timestamp,
    /// When that ends.
    pub expires_at: Timestamp,
    /// When it was revoked, if it was since.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revoked_at: Option<Timestamp>,
    /// Whether that was since its plugin was removed, so that another one of that name may have it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_removed: bool,
    /// What a plugin may do, on which CIs.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub grants: Vec<Grant>,
}

/// The record of a join token, under `token.<id>.<issuer>`. It holds no secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenRecord {
    /// Its id, which is the name of its credential's user.
    pub id: UserName,
    /// The role that it gives.
    pub role: Role,
    /// The name that it gives, where it is for one name alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<UserName>,
    /// Who made it.
    pub made_by: UserName,
    /// When it was made.
    pub made_at: Timestamp,
    /// When it ends.
    pub expires_at: Timestamp,
    /// How often it can be used in all.
    pub uses: u32,
    /// How often it was used.
    pub used: u32,
    /// When it was revoked, if it was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revoked_at: Option<Timestamp>,
}

/// The record of a node that an admin removed, under `removed.<node>.<issuer>`: what the node wrote until then counts
/// as gone. It ends when the node joins again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RemovalRecord {
    /// The node.
    pub node: NodeName,
    /// Who removed it.
    pub by: UserName,
    /// When.
    pub at: Timestamp,
}

impl TokenRecord {
    /// Why the token gives nothing any more, if so.
    #[must_use]
    pub fn spent(&self, now: Timestamp) -> Option<&'static str> {
        match self {
            _ if self.revoked_at.is_some() => Some("revoked"),
            _ if self.expires_at <= now => Some("expired"),
            _ if self.used >= self.uses => Some("used up"),
            _ => None,
        }
    }
}
