//! What chains are called, and what travels between their steps.

use std::{fmt, str::FromStr, sync::Arc};

use serde::{Deserialize, Serialize, de};

use crate::{blob::Blob, name::quoted};

/// How an id begins.
const PREFIX: &str = "chn_";

/// A tree of files as a kept blob: a deterministic tar; none if it has no entry.
pub type Tree = Option<Blob>;

/// The id of a chain: `chn_` and the 32 hexadecimal digits of a UUID v7, so that ids sort by when they were made.
///
/// ```
/// use aigis_proxy::chain::ChainId;
/// let id = ChainId::new();
/// assert_eq!(id.as_str().parse::<ChainId>().unwrap(), id);
/// assert!("chn_1".parse::<ChainId>().is_err());
/// ```
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct ChainId(Arc<str>);

/// Why a text is no id of a chain.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("\"{shown}\" is no id of a chain; one is {PREFIX} and 32 hexadecimal digits in lower case")]
pub struct NoId {
    shown: String,
}

impl ChainId {
    /// A new id.
    #[must_use]
    #[expect(clippy::new_without_default, reason = "no two are equal")]
    pub fn new() -> Self {
        Self(format!("{PREFIX}{}", uuid::Uuid::now_v7().simple()).into())
    }

    /// The id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for ChainId {
    type Err = NoId;

    fn from_str(text: &str) -> Result<Self, NoId> {
        let is_digit = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
        let digits = text.strip_prefix(PREFIX).filter(|digits| digits.len() == 32 && digits.bytes().all(is_digit));
        digits.map(|_| Self(text.into())).ok_or_else(|| NoId { shown: quoted(text) })
    }
}

impl<'de> Deserialize<'de> for ChainId {
    fn deserialize<D: de::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

impl fmt::Debug for ChainId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for ChainId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// An attempt at a step of a chain.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Attempt {
    /// The chain.
    pub chain: ChainId,
    /// The step, counted from 1.
    pub step: u32,
    /// The attempt, counted from 1 within the step.
    pub attempt: u32,
}

impl fmt::Display for Attempt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} step {} attempt {}", self.chain, self.step, self.attempt)
    }
}
