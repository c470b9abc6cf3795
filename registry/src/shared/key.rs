//! Under which key a shared record stands.

use std::fmt;

use aigis_proxy::{Name, chain::ChainId};

/// The keys of the bucket of shared records.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Key {
    /// A chain.
    Chain(ChainId),
    /// The journal of a step of a chain.
    Step(ChainId, u32),
    /// An app.
    App(Name),
    /// An assistant: its kind, `local` or `remote`, and its name.
    Assistant(String, Name),
}

impl Key {
    /// The filter of all chains, without their steps.
    pub const CHAINS: &'static str = "chain.*";
    /// The filter of all apps.
    pub const APPS: &'static str = "app.*";
    /// The filter of all assistants.
    pub const ASSISTANTS: &'static str = "assistant.*.*";

    /// The filter of all steps of a chain.
    #[must_use]
    pub fn steps(chain: &ChainId) -> String {
        format!("chain.{chain}.step.*")
    }

    /// Reads a key; `None` if it is of a kind that this version does not know.
    pub(super) fn parse(key: &str) -> Option<Self> {
        let tokens: Vec<&str> = key.split('.').collect();
        match tokens[..] {
            ["chain", id] => Some(Self::Chain(id.parse().ok()?)),
            ["chain", id, "step", step] => Some(Self::Step(id.parse().ok()?, step.parse().ok()?)),
            ["app", name] => Some(Self::App(Name::parse(name).ok()?)),
            ["assistant", kind @ ("local" | "remote"), name] => {
                Some(Self::Assistant(kind.to_owned(), Name::parse(name).ok()?))
            }
            _ => None,
        }
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Chain(id) => write!(f, "chain.{id}"),
            Self::Step(id, step) => write!(f, "chain.{id}.step.{step}"),
            Self::App(name) => write!(f, "app.{name}"),
            Self::Assistant(kind, name) => write!(f, "assistant.{kind}.{name}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_read_back() {
        let id = ChainId::new();
        let keys = [format!("chain.{id}"), format!("chain.{id}.step.3"), "app.web".into(), "assistant.local.cp".into()];
        for key in &keys {
            assert_eq!(Key::parse(key).unwrap().to_string(), *key);
        }
        for bad in ["chain.x", "app.Web", "app.web.x", "assistant.builtin.cp", "chain", ""] {
            assert_eq!(Key::parse(bad), None, "{bad}");
        }
    }
}
