//! What tells one store from another.

use serde::{Deserialize, Serialize};

use crate::subject::Token;

/// Longest id of a store.
const MAX_ID: usize = 64;

/// What tells one store from another that bears the same name.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct StoreId(String);

impl StoreId {
    /// The id of a store that is made now.
    pub(in crate::kv) fn random() -> Self {
        Self(format!("store-{}", Token::random().as_str()))
    }

    /// Reads an id; whatever else stands there is none.
    pub(in crate::kv) fn parse(text: &str) -> Option<Self> {
        let good = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
        (!text.is_empty() && text.len() <= MAX_ID && text.bytes().all(good)).then(|| Self(text.to_owned()))
    }

    /// The id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for StoreId {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, &'static str> {
        Self::parse(&text).ok_or("no id of a store")
    }
}

impl From<StoreId> for String {
    fn from(id: StoreId) -> Self {
        id.0
    }
}

impl std::fmt::Display for StoreId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(&self.0)
    }
}
