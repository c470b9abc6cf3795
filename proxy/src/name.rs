//! Names, addresses and skill paths, parsed once at the edge.
//!
//! One grammar serves every name, so that a name is always exactly one subject token.

use std::{borrow::Borrow, fmt, str::FromStr, sync::Arc};

use serde::{Deserialize, Serialize, de};

/// Longest name, in bytes.
pub(crate) const MAX_NAME: usize = 63;
/// Longest segment of a skill path, in bytes.
pub(crate) const MAX_SEGMENT: usize = 64;
/// Longest skill path, in bytes.
pub(crate) const MAX_PATH: usize = 512;

/// Words that no CI can be called: every top-level command of `aish`, its aliases, and the words that
/// selectors use. A test in `aish` proves that each of its commands is here.
pub const RESERVED: &[&str] = &[
    "aigis",
    "all",
    "analyze",
    "any",
    "apps",
    "assistants",
    "audit",
    "call",
    "chains",
    "completions",
    "deploy",
    "deployments",
    "describe",
    "dockerfile",
    "doctor",
    "down",
    "events",
    "exec",
    "forward",
    "help",
    "images",
    "inbox",
    "join",
    "list",
    "local",
    "logs",
    "man",
    "manifests",
    "mesh",
    "nodes",
    "none",
    "packages",
    "plugins",
    "push",
    "run",
    "sdk-bridge",
    "secrets",
    "self",
    "tokens",
    "up",
    "users",
    "why",
    "wrap",
];

/// Why a string is not a name, an address or a skill path.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Nothing stands where a name is due.
    #[error("{what} is empty; a name is 1 to {MAX_NAME} of a-z 0-9 _ -, beginning with a letter or digit")]
    Empty {
        /// The kind of thing that was to be named.
        what: &'static str,
    },
    /// The text is longer than the grammar allows.
    #[error("{what} \"{shown}\" is {length} bytes long; at most {limit} are allowed")]
    TooLong {
        /// The kind of thing that was to be named.
        what: &'static str,
        /// The text, escaped and cut at 64 characters.
        shown: String,
        /// Its length in bytes.
        length: usize,
        /// The limit in bytes.
        limit: usize,
    },
    /// A character is outside the grammar.
    #[error("{what} \"{shown}\" has {character} at position {position}; {rule}")]
    Character {
        /// The kind of thing that was to be named.
        what: &'static str,
        /// The text, escaped and cut at 64 characters.
        shown: String,
        /// The character, quoted and escaped.
        character: String,
        /// Its place, counted in characters from 1.
        position: usize,
        /// What is allowed there.
        rule: &'static str,
    },
    /// The name is a command or a selector word.
    #[error("{what} \"{shown}\" is a reserved word; choose another, for example \"{shown}-ci\"")]
    Reserved {
        /// The kind of thing that was to be named.
        what: &'static str,
        /// The word.
        shown: String,
    },
    /// More than one `@`.
    #[error("address \"{shown}\" has more than one '@'; write NAME or NAME@NODE")]
    Address {
        /// The text, escaped and cut at 64 characters.
        shown: String,
    },
}

/// Escapes and shortens untrusted text for a message: at most 64 characters, no control characters.
#[must_use]
pub fn quoted(text: &str) -> String {
    let mut out: String = text.chars().take(64).flat_map(char::escape_debug).collect();
    if text.chars().nth(64).is_some() {
        out.push('…');
    }
    out
}

/// Makes a message of another library safe to print: what it quotes of the input is cut at 64 characters, nothing in
/// it is a control character, and it is bounded.
#[must_use]
pub fn quoted_within(message: &str) -> String {
    // What a parser expected stands last and is ours; what it met stands before, between the first and the last quote.
    let expected = [", expected ", ", there are no "].into_iter().filter_map(|word| message.rfind(word)).max();
    let (met, expected) = message.split_at(expected.unwrap_or(message.len()));
    let open = met.find(['`', '"']).unwrap_or(met.len());
    let mark = met.get(open..open + 1).unwrap_or_default();
    let close = met.rfind(mark).filter(|close| *close > open);
    let text = match close.filter(|_| !expected.is_empty()) {
        Some(close) => {
            let (before, input, after) = (&met[..=open], &met[open + 1..close], &met[close..]);
            let cut: String = input.chars().take(64).collect();
            let more = if cut.len() < input.len() { "…" } else { "" };
            format!("{before}{cut}{more}{after}{expected}")
        }
        None => message.to_owned(),
    };
    // Quotes stay as they are: other parts of the message are quoted by them.
    let escape = |c: char| {
        if c.escape_debug().count() > 2 || c.is_control() { c.escape_debug().collect() } else { c.to_string() }
    };
    text.chars().take(1_000).map(escape).collect()
}

const NAME_RULE: &str = "a name is 1 to 63 of a-z 0-9 _ -, beginning with a letter or digit";
const PATH_RULE: &str = "a segment is 1 to 64 of A-Z a-z 0-9 _, beginning with a letter or _";

fn character_error(what: &'static str, text: &str, index: usize, rule: &'static str) -> Error {
    let rest = text.get(index..).unwrap_or_default();
    let character = rest.chars().next().map_or_else(|| "nothing".to_owned(), |c| format!("'{}'", c.escape_debug()));
    let position = text.get(..index).map_or(0, |before| before.chars().count()) + 1;
    Error::Character { what, shown: quoted(text), character, position, rule }
}

fn check_name(what: &'static str, text: &str) -> Result<(), Error> {
    if text.is_empty() {
        return Err(Error::Empty { what });
    }
    for (index, byte) in text.bytes().enumerate() {
        let good = matches!(byte, b'a'..=b'z' | b'0'..=b'9') || (index > 0 && matches!(byte, b'_' | b'-'));
        if !good {
            return Err(character_error(what, text, index, NAME_RULE));
        }
    }
    if text.len() > MAX_NAME {
        return Err(Error::TooLong { what, shown: quoted(text), length: text.len(), limit: MAX_NAME });
    }
    Ok(())
}

macro_rules! name_type {
    ($(#[$doc:meta])* $type:ident, $what:literal) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
        #[serde(transparent)]
        pub struct $type(Arc<str>);

        impl $type {
            /// Parses `text` by the name grammar `[a-z0-9][a-z0-9_-]{0,62}`.
            ///
            /// # Errors
            ///
            /// Says which character, at which place, breaks which rule.
            pub fn parse(text: &str) -> Result<Self, Error> {
                check_name($what, text).map(|()| Self(text.into()))
            }

            /// Parses a name that somebody chooses: the grammar, and no reserved word.
            ///
            /// # Errors
            ///
            /// As for parsing, and [`Error::Reserved`].
            pub fn choose(text: &str) -> Result<Self, Error> {
                let name = Self::parse(text)?;
                if RESERVED.binary_search(&name.as_str()).is_ok() {
                    return Err(Error::Reserved { what: $what, shown: text.to_owned() });
                }
                Ok(name)
            }

            /// The name as text: one subject token.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }

        impl fmt::Debug for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&self.0, f)
            }
        }

        impl FromStr for $type {
            type Err = Error;
            fn from_str(text: &str) -> Result<Self, Error> {
                Self::parse(text)
            }
        }

        impl Borrow<str> for $type {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: de::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = String::deserialize(deserializer)?;
                Self::parse(&text).map_err(de::Error::custom)
            }
        }
    };
}

name_type! {
    /// The name of a CI.
    ///
    /// ```
    /// use aigis_proxy::Name;
    /// assert!("web_1".parse::<Name>().is_ok());
    /// assert!("Web.1".parse::<Name>().is_err());
    /// ```
    ///
    /// Kinds of names never mix:
    ///
    /// ```compile_fail
    /// use aigis_proxy::{Name, NodeName};
    /// let node: NodeName = Name::parse("web").unwrap();
    /// ```
    Name, "name"
}
name_type! {
    /// The name of a node: also the name of the node's user at the bus.
    NodeName, "node name"
}
name_type! {
    /// The name of a user at the bus: a person, a node or a plugin host.
    UserName, "user name"
}
name_type! {
    /// The name of a site: a place with a bus server of its own that is joined to the mesh's bus.
    SiteName, "site name"
}
name_type! {
    /// The name of a mesh.
    MeshName, "mesh name"
}

impl Name {
    /// Whether this is a command's name or a selector word.
    #[must_use]
    pub fn is_reserved(&self) -> bool {
        RESERVED.binary_search(&self.as_str()).is_ok()
    }
}

impl NodeName {
    /// The node's user at the bus, which bears the same name.
    #[must_use]
    pub fn user(&self) -> UserName {
        UserName(self.0.clone())
    }

    /// The node's own CI, which bears the same name.
    #[must_use]
    pub fn ci(&self) -> Name {
        Name(self.0.clone())
    }
}

impl UserName {
    /// The node of the same name; whether there is one is not said.
    #[must_use]
    pub fn node(&self) -> NodeName {
        NodeName(self.0.clone())
    }
}

/// `NAME` or `NAME@NODE`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Address {
    /// The CI's name.
    pub name: Name,
    /// The node it is looked for on; anywhere if absent.
    pub node: Option<NodeName>,
}

impl Address {
    /// Parses an address, folding it to ASCII lower case first.
    ///
    /// # Errors
    ///
    /// Names the part that is wrong.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let folded = text.to_ascii_lowercase();
        let mut parts = folded.split('@');
        let name = Name::parse(parts.next().unwrap_or_default())?;
        let node = parts.next().map(NodeName::parse).transpose()?;
        if parts.next().is_some() {
            return Err(Error::Address { shown: quoted(text) });
        }
        Ok(Self { name, node })
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.node {
            Some(node) => write!(f, "{}@{node}", self.name),
            None => write!(f, "{}", self.name),
        }
    }
}

impl FromStr for Address {
    type Err = Error;
    fn from_str(text: &str) -> Result<Self, Error> {
        Self::parse(text)
    }
}

impl Serialize for Address {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Address {
    fn deserialize<D: de::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).map_err(de::Error::custom)
    }
}

/// The path of a skill within its CI: segments joined by dots, such as `optimize.apply`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct SkillPath(Arc<str>);

impl SkillPath {
    /// Parses a dotted path of segments `[A-Za-z_][A-Za-z0-9_]{0,63}`, at most 512 bytes in all.
    ///
    /// # Errors
    ///
    /// Names the segment that is wrong.
    pub fn parse(text: &str) -> Result<Self, Error> {
        const WHAT: &str = "skill path";
        if text.len() > MAX_PATH {
            return Err(Error::TooLong { what: WHAT, shown: quoted(text), length: text.len(), limit: MAX_PATH });
        }
        let mut start = 0;
        for segment in text.split('.') {
            if segment.is_empty() {
                return Err(character_error(WHAT, text, start, PATH_RULE));
            }
            for (index, byte) in segment.bytes().enumerate() {
                let good = byte.is_ascii_alphabetic() || byte == b'_' || (index > 0 && byte.is_ascii_digit());
                if !good {
                    return Err(character_error(WHAT, text, start + index, PATH_RULE));
                }
            }
            if segment.len() > MAX_SEGMENT {
                return Err(Error::TooLong {
                    what: "skill path segment",
                    shown: quoted(segment),
                    length: segment.len(),
                    limit: MAX_SEGMENT,
                });
            }
            start += segment.len() + 1;
        }
        Ok(Self(text.into()))
    }

    /// The path as text, as it stands at the end of a subject.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for SkillPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl fmt::Debug for SkillPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl FromStr for SkillPath {
    type Err = Error;
    fn from_str(text: &str) -> Result<Self, Error> {
        Self::parse(text)
    }
}

impl Borrow<str> for SkillPath {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl<'de> Deserialize<'de> for SkillPath {
    fn deserialize<D: de::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests;
