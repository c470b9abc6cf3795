//! How packages are made.

use std::fmt;

use aigis_proxy::Name;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{is_default, rule};

/// How packages are made.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Packaging {
    /// Every container once, those that others stand on first; worked out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Vec<rule::CiName>", extend("uniqueItems" = true))]
    pub build_order: Option<Vec<Name>>,
    /// Where packages are pushed to: `HOST/PATH`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "rule::Registry")]
    pub registry: Option<String>,
    /// Which tag a package gets: `git-sha`, `inputs`, `version`, or this very one.
    #[serde(default, skip_serializing_if = "is_default")]
    #[schemars(with = "rule::Tag")]
    pub tagging: Tagging,
    /// For which platforms images are made; the node's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("minItems" = 1), extend("uniqueItems" = true))]
    pub platforms: Option<Vec<Platform>>,
    /// The time that stands in images: seconds since 1970, or `commit`.
    #[serde(default, skip_serializing_if = "is_default")]
    pub epoch: Epoch,
}

/// Which tag a package gets.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "String", into = "String")]
pub enum Tagging {
    /// The first 12 hexadecimal digits of the commit.
    GitSha,
    /// The first 12 hexadecimal digits of the digest of its inputs.
    #[default]
    Inputs,
    /// The project's version.
    Version,
    /// This one.
    Fixed(String),
}

impl From<String> for Tagging {
    fn from(text: String) -> Self {
        match text.as_str() {
            "git-sha" => Self::GitSha,
            "inputs" => Self::Inputs,
            "version" => Self::Version,
            _ => Self::Fixed(text),
        }
    }
}

impl From<Tagging> for String {
    fn from(tagging: Tagging) -> Self {
        match tagging {
            Tagging::GitSha => "git-sha".to_owned(),
            Tagging::Inputs => "inputs".to_owned(),
            Tagging::Version => "version".to_owned(),
            Tagging::Fixed(tag) => tag,
        }
    }
}

/// A platform that images are made for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[schemars(inline)]
pub enum Platform {
    /// `linux/amd64`.
    #[serde(rename = "linux/amd64")]
    Amd64,
    /// `linux/arm64`.
    #[serde(rename = "linux/arm64")]
    Arm64,
}

impl Platform {
    /// The architecture, as images name it.
    #[must_use]
    pub fn architecture(self) -> &'static str {
        match self {
            Self::Amd64 => "amd64",
            Self::Arm64 => "arm64",
        }
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "linux/{}", self.architecture())
    }
}

/// The time that stands in images.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Epoch {
    /// Seconds since 1970; as many as fit the headers of an archive.
    Seconds(#[schemars(range(max = 8_589_934_591_u64))] u64),
    /// That of the commit.
    Commit(CommitWord),
}

/// The word for the time of the commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub enum CommitWord {
    /// That of the commit.
    Commit,
}

impl Default for Epoch {
    fn default() -> Self {
        // The first of January 1980: what archives of the oldest kind can hold as well.
        Self::Seconds(315_532_800)
    }
}
