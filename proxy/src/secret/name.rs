//! What a secret is called.

use std::{borrow::Borrow, fmt, str::FromStr, sync::Arc};

use serde::{Deserialize, Serialize, de};

use crate::name::quoted;

/// Longest name, in bytes.
const MAX_NAME: usize = 128;
/// Longest part of a name, in bytes.
const MAX_PART: usize = 64;
const RULE: &str = "a secret's name is 1 to 128 of A-Z a-z 0-9 . _ - with / between parts, none of which is empty, is . or \
    .., or begins with -";

/// The name of a secret: parts with `/` between them, such as `db-password` or `plugin/weather/api.key`.
///
/// ```
/// use aigis_proxy::secret::SecretName;
/// assert_eq!(SecretName::parse("plugin/weather/api.key").unwrap().file_name(), "api.key");
/// assert!(SecretName::parse("../x").is_err());
/// ```
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct SecretName(Arc<str>);

/// Why a text is no name of a secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("\"{shown}\" is no name of a secret; {RULE}")]
pub struct NameError {
    shown: String,
}

impl SecretName {
    /// Parses a name.
    ///
    /// # Errors
    ///
    /// Shows what was given, and the rule.
    pub fn parse(text: &str) -> Result<Self, NameError> {
        let good = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
        let is_part = |part: &str| {
            (1..=MAX_PART).contains(&part.len())
                && part.bytes().all(good)
                && !matches!(part, "." | "..")
                && !part.starts_with('-')
        };
        if text.len() <= MAX_NAME && text.split('/').all(is_part) {
            return Ok(Self(text.into()));
        }
        Err(NameError { shown: quoted(text) })
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The name of the file in which a program finds it, unless it asks for another: the last part.
    #[must_use]
    pub fn file_name(&self) -> &str {
        self.0.rsplit('/').next().unwrap_or_default()
    }

    /// The name as one token of a key, in which a dot would begin the next.
    #[must_use]
    pub fn to_token(&self) -> String {
        self.0.replace('.', "=")
    }

    /// Reads a token of a key.
    ///
    /// # Errors
    ///
    /// As [`SecretName::parse`].
    pub fn from_token(token: &str) -> Result<Self, NameError> {
        Self::parse(&token.replace('=', "."))
    }
}

impl fmt::Display for SecretName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl fmt::Debug for SecretName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl FromStr for SecretName {
    type Err = NameError;
    fn from_str(text: &str) -> Result<Self, NameError> {
        Self::parse(text)
    }
}

impl Borrow<str> for SecretName {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl<'de> Deserialize<'de> for SecretName {
    fn deserialize<D: de::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bad_71_names_that_lead_elsewhere_are_refused_and_shown_escaped() {
        let long = "a".repeat(300);
        for bad in
            ["../x", "/x", "x/", "", "a\nb", &long, "a//b", ".", "..", "a/./b", "a b", "a=b", "-x", "a/-x", "é", "a\0"]
        {
            let message = SecretName::parse(bad).unwrap_err().to_string();
            assert!(!message.chars().any(char::is_control) && message.len() < 400, "{message}");
        }
        assert!(SecretName::parse(&"a".repeat(65)).is_err() && SecretName::parse(&["ab"; 43].join("/")).is_ok());
        assert!(SecretName::parse(&["ab"; 44].join("/")).is_err());
    }

    #[test]
    fn a_name_is_one_token_of_a_key() {
        for name in ["db", "plugin/weather/.env", "a.b/c.d", "A_1-x"] {
            let name = SecretName::parse(name).unwrap();
            let token = name.to_token();
            assert!(!token.contains('.'), "{token}");
            assert_eq!(SecretName::from_token(&token).unwrap(), name);
        }
        assert!(SecretName::from_token("==").is_err());
    }
}
