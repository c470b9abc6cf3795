//! Lines of plugins, on their way to their logs.

use aigis_proxy::bridge;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Which loaded copy of a plugin, in a core host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Generation(pub(crate) u64);

/// Where a line comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Source {
    /// What a process printed.
    Stdout,
    /// What it printed as an error.
    Stderr,
    /// A logger of a plugin.
    Log,
    /// The node, about a plugin.
    Node,
}

impl From<bridge::Source> for Source {
    fn from(source: bridge::Source) -> Self {
        match source {
            bridge::Source::Log => Self::Log,
            bridge::Source::Stdout => Self::Stdout,
            bridge::Source::Stderr => Self::Stderr,
        }
    }
}

/// One line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Line<'a> {
    /// Whose it is among the core plugins of a process; none for what is of the process as a whole.
    pub(crate) generation: Option<Generation>,
    /// Where it comes from.
    pub(crate) source: Source,
    /// The process.
    pub(crate) pid: u32,
    /// How much it matters, as its logger says.
    pub(crate) level: Option<&'a str>,
    /// The call in which it was said.
    pub(crate) call: Option<&'a str>,
    /// What was said, without the end of the line; of one that is longer than 16 KiB a part.
    pub(crate) text: &'a str,
}

/// Who takes the lines of a process. A process that says much waits for as long as this takes.
pub(crate) trait Sink: Send + Sync + 'static {
    /// Takes a line.
    fn line(&self, line: Line<'_>);
}
