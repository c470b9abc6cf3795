//! What a token proves of whoever holds its key, for those who admit users without the bus.

use std::{
    collections::BTreeMap,
    time::{Duration, SystemTime},
};

use super::{
    credential::{self, Flaw, Issuer},
    jwt, key,
};
use crate::{MeshName, Role, UserName, subject::Caller};

/// Longest wait between two looks at the clock, which may be set meanwhile.
const LOOK: Duration = Duration::from_secs(60);

/// A user that an issuer vouches for. The role is that of the key that signed the token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Vouched {
    pub(super) name: UserName,
    pub(super) role: Role,
    pub(super) mesh: MeshName,
    pub(super) public: String,
    pub(super) signer: String,
    pub(super) issued: i64,
    pub(super) expires: Option<i64>,
}

impl Issuer {
    /// Reads a token that this issuer signed and that holds now. Whether its bearer is the user is shown by
    /// [`Vouched::signed`].
    ///
    /// # Errors
    ///
    /// Says what is wrong with it.
    pub fn vouch(&self, token: &str) -> Result<Vouched, Flaw> {
        credential::examine(jwt::decode(token)?, Some(self), Some(jwt::seconds(SystemTime::now())))
    }
}

impl Vouched {
    /// The user as a caller.
    #[must_use]
    pub fn caller(&self) -> Caller {
        Caller { role: self.role, name: self.name.clone() }
    }

    /// The mesh.
    #[must_use]
    pub fn mesh(&self) -> &MeshName {
        &self.mesh
    }

    /// Whether both tokens are about one user, in one role and with one key.
    #[must_use]
    pub fn is_same_user(&self, other: &Self) -> bool {
        (&self.name, self.role, &self.mesh, &self.public) == (&other.name, other.role, &other.mesh, &other.public)
    }

    /// Whether the user's key made this signature over these bytes.
    #[must_use]
    pub fn signed(&self, bytes: &[u8], signature: &[u8]) -> bool {
        key::verifies(&self.public, bytes, signature)
    }

    /// Resolves when the token's time is over, which may be never.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    pub async fn ended(&self) {
        let Some(ends) = self.expires.map(credential::instant) else { return std::future::pending().await };
        while let Ok(left) = ends.duration_since(SystemTime::now()) {
            if left.is_zero() {
                return;
            }
            tokio::time::sleep(left.min(LOOK)).await;
        }
    }
}

/// Users whose tokens issued until some instant count no more, and those that count with one key alone.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Revocations {
    until: BTreeMap<String, i64>,
    holders: BTreeMap<UserName, String>,
}

impl Revocations {
    /// From public keys, or `*` for everyone, to seconds since 1970, as an account's token has them.
    #[must_use]
    pub fn new(until: BTreeMap<String, i64>) -> Self {
        Self { until, holders: BTreeMap::new() }
    }

    /// Says which public key each of these names has: no other key counts under it.
    pub fn hold(&mut self, holders: BTreeMap<UserName, String>) {
        self.holders = holders;
    }

    /// Adds public keys and the second until which their tokens count no more. One that is known stays, or moves on.
    pub fn extend(&mut self, more: impl IntoIterator<Item = (String, i64)>) {
        for (key, until) in more {
            let known = self.until.entry(key).or_insert(until);
            *known = until.max(*known);
        }
    }

    /// Whether tokens for that public key were revoked.
    #[must_use]
    pub fn contains(&self, public_key: &str) -> bool {
        self.until.contains_key(public_key)
    }

    /// Whether that user's token was revoked.
    #[must_use]
    pub fn end(&self, user: &Vouched) -> bool {
        let has_other = self.holders.get(&user.name).is_some_and(|held| *held != user.public);
        let mut ends = [user.public.as_str(), "*"].into_iter().filter_map(|key| self.until.get(key));
        has_other || ends.any(|until| *until >= user.issued)
    }
}
