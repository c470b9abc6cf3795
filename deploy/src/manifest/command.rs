//! Commands, and by which rules a line becomes words.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::rule;
use crate::words::argv;

/// A command: words as they are, or a line.
///
/// ```
/// use aigis_deploy::manifest::Command;
///
/// let line = |text: &str| Command::Line(text.to_owned()).argv();
/// assert_eq!(line("serve 'a b' --to=\"c d\""), ["serve", "a b", "--to=c d"]);
/// assert_eq!(line("serve $PORT"), ["/bin/sh", "-c", "serve $PORT"]);
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Command {
    /// A line, read by the shell's rules of words; what needs a shell gets one.
    Line(#[schemars(with = "rule::CommandLine")] String),
    /// The words, at least one.
    Words(#[schemars(with = "Vec<rule::Plain>", length(min = 1))] Vec<String>),
}

impl Command {
    /// The words that are executed.
    #[must_use]
    pub fn argv(&self) -> Vec<String> {
        match self {
            Self::Line(line) => argv(line),
            Self::Words(words) => words.clone(),
        }
    }
}
