//! What the issuer keeps of a secret. Such records count only under the issuer's name.

use std::collections::BTreeMap;

use aigis_proxy::{
    NodeName, UserName,
    blob::Blob,
    secret::{SealedKey, SecretName, Selector},
};
use serde::{Deserialize, Serialize};

use crate::timestamp::Timestamp;

/// The record of a secret, under `secret.<name, with = for .>.<issuer>`: ciphertext alone, and no digest of the value,
/// by which one could be guessed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SecretRecord {
    /// Its name.
    pub name: SecretName,
    /// Which value it has, counted from 1.
    pub version: u64,
    /// Who set that.
    pub set_by: UserName,
    /// When.
    pub set_at: Timestamp,
    /// Which nodes it is for, as it was asked for.
    pub selectors: Vec<Selector>,
    /// The encrypted value.
    pub content: Blob,
    /// Its key, for each node that may open it.
    pub copies: BTreeMap<NodeName, SecretCopy>,
}

/// The key of a value, as one node may open it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SecretCopy {
    /// The public key of the node's user, when it was sealed: a node that has another one since is another.
    pub user: String,
    /// The sealed key.
    #[serde(flatten)]
    pub sealed: SealedKey,
}
