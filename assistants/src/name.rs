//! What assistants are called.

use std::{fmt, str::FromStr};

use aigis_proxy::{Code, Error, Name, quoted};
use aigis_registry::resolve::distance;
use serde::{Deserialize, Serialize, de};

#[cfg(test)]
mod tests;

/// Longest reference to an `.aip` agent, in bytes.
const MAX_REFERENCE: usize = 512;
/// How many near names are told.
const NEAREST: usize = 3;

/// Where an assistant comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// An `.aip` agent: by its path in the app, or by its pack's name.
    Aip,
    /// Part of the product.
    Builtin,
    /// Pushed by a user.
    Local,
    /// Ships with the product, or lies in a folder of a node.
    Remote,
}

impl Kind {
    /// Every kind, sorted by its word.
    pub const ALL: [Self; 4] = [Self::Aip, Self::Builtin, Self::Local, Self::Remote];

    /// The kind's word.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Aip => "aip",
            Self::Builtin => "builtin",
            Self::Local => "local",
            Self::Remote => "remote",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// The whole name of an assistant: its kind and its name within that.
///
/// ```
/// use aigis_assistants::name::{AssistantName, Kind};
/// let name: AssistantName = " local:cp \n".parse().unwrap();
/// assert_eq!((name.kind(), name.short()), (Kind::Local, "cp"));
/// assert_eq!(name.to_string(), "local:cp");
/// assert!("cp".parse::<AssistantName>().is_err());
/// ```
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AssistantName {
    kind: Kind,
    short: String,
}

impl AssistantName {
    /// A name of that kind.
    ///
    /// # Errors
    ///
    /// `invalid_argument` for what the kind's grammar does not allow.
    pub fn new(kind: Kind, short: &str) -> Result<Self, Error> {
        let short = short.trim();
        if kind == Kind::Aip {
            let is_good = (1..=MAX_REFERENCE).contains(&short.len()) && !short.chars().any(char::is_control);
            if !is_good {
                let shown = quoted(short);
                let text =
                    format!("\"{shown}\" names no .aip agent: 1 to {MAX_REFERENCE} bytes without control characters");
                return Err(Error::invalid(text));
            }
        } else {
            Name::parse(short).map_err(|error| Error::invalid(format!("no assistant can be called so: {error}")))?;
        }
        Ok(Self { kind, short: short.to_owned() })
    }

    /// The builtin of that name.
    #[must_use]
    pub(crate) fn builtin(short: &'static str) -> Self {
        Self { kind: Kind::Builtin, short: short.to_owned() }
    }

    /// Where it comes from.
    #[must_use]
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// Whether this version can run it.
    ///
    /// # Errors
    ///
    /// `unimplemented` for an `.aip` agent.
    pub fn check_runs(&self) -> Result<(), Error> {
        if self.kind != Kind::Aip {
            return Ok(());
        }
        let message = format!("{self} cannot run: this version runs no .aip agents in chains");
        Err(Error::new(Code::Unimplemented, message).hint("see which assistants there are: aish assistants list"))
    }

    /// The name without the kind.
    #[must_use]
    pub fn short(&self) -> &str {
        &self.short
    }
}

impl FromStr for AssistantName {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let text = text.trim();
        let kinds = Kind::ALL.map(Kind::as_str).join(", ");
        let Some((kind, short)) = text.split_once(':') else {
            let text = format!("\"{}\" is no whole name of an assistant", quoted(text));
            return Err(Error::invalid(text).hint(format!("write KIND:NAME; the kinds are {kinds}")));
        };
        let found = Kind::ALL.into_iter().find(|known| known.as_str() == kind.trim());
        let kind = found.ok_or_else(|| {
            let text = format!("\"{}\" is no kind of assistant", quoted(kind));
            Error::invalid(text).hint(format!("the kinds are {kinds}"))
        })?;
        Self::new(kind, short)
    }
}

impl fmt::Display for AssistantName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&format!("{}:{}", self.kind, self.short))
    }
}

impl Serialize for AssistantName {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for AssistantName {
    fn deserialize<D: de::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(|error: Error| de::Error::custom(error))
    }
}

/// Finds what a text names among the known assistants: a whole name as it is, another one if it names only one of them. An
/// `.aip` agent need not be known.
///
/// # Errors
///
/// `invalid_argument`, with `data.candidates` if it names several, or with `data.nearest` if it names none.
pub fn resolve(text: &str, known: &[AssistantName]) -> Result<AssistantName, Error> {
    let text = text.trim();
    if text.contains(':') {
        let name: AssistantName = text.parse()?;
        let is_known = name.kind == Kind::Aip || known.contains(&name);
        return if is_known { Ok(name) } else { Err(unknown(text, &name.short, known)) };
    }
    let mut found: Vec<&AssistantName> = known.iter().filter(|name| name.short == text).collect();
    found.sort();
    found.dedup();
    match found.as_slice() {
        [one] => Ok((*one).clone()),
        [] => Err(unknown(text, text, known)),
        several => {
            let candidates: Vec<String> = several.iter().map(ToString::to_string).collect();
            Err(Error::invalid(format!("\"{}\" names several assistants: {}", quoted(text), candidates.join(", ")))
                .hint("write the one that you mean with its kind")
                .with("candidates", candidates))
        }
    }
}

fn unknown(text: &str, short: &str, known: &[AssistantName]) -> Error {
    let near = |name: &AssistantName| {
        let whole = distance(text, &name.to_string());
        // Of the same name, but of another kind, is as near as can be.
        distance(short, &name.short).into_iter().chain(whole).min()
    };
    let mut nearest: Vec<(usize, String)> =
        known.iter().filter_map(|name| Some((near(name)?, name.to_string()))).collect();
    nearest.sort();
    nearest.dedup();
    let nearest: Vec<String> = nearest.into_iter().take(NEAREST).map(|(_, name)| name).collect();
    let hint = match nearest.as_slice() {
        [] => "see what there is: aish assistants list".to_owned(),
        names => format!("did you mean {}? See what there is: aish assistants list", names.join(" or ")),
    };
    Error::invalid(format!("no assistant is called \"{}\"", quoted(text))).hint(hint).with("nearest", nearest)
}
