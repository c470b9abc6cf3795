//! What is known of an assistant that is no builtin.

use aigis_proxy::{Name, UserName, chain::Tree};
use serde::{Deserialize, Serialize};

use crate::timestamp::Timestamp;

/// The record of an assistant, under `assistant.<kind>.<name>`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AssistantRecord {
    /// Its kind: `local` was pushed by a user, `remote` ships with the product or lies in a folder of a node.
    pub kind: String,
    /// Its name, without its kind.
    pub name: Name,
    /// Its folder, without the file of secrets.
    pub folder: Tree,
    /// What its `assistant.toml` says.
    #[serde(default)]
    pub settings: serde_json::Value,
    /// Who pushed it.
    pub pushed_by: UserName,
    /// When.
    pub pushed_at: Timestamp,
}
