//! What the node logs, line by line on its way to the mesh; and how it is read again, by the node itself or, where that is
//! dead, by whoever may read the stream.

use std::{
    collections::VecDeque,
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

use aigis_proxy::{
    Bus, Error, NodeName, Request,
    skill::{self, Input},
};
use aigis_registry::{
    Reporter, Timestamp,
    report::{self, Level, Query, Source},
};
use futures::{Stream, StreamExt, stream::BoxStream};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;
use time::OffsetDateTime;

use crate::{
    container::{Frame, Instant, Line, Moment, Whole},
    mask::Masks,
    redact,
};

/// How many lines are kept until the node's directory is known.
const EARLY: usize = 256;
/// What keeps the lines must not add to them: each failure would make the next one.
const OWN: &str = "aigis_registry::spool";

/// Takes the lines that the process logs, and hands them to the node once it is up; cheap to clone.
#[derive(Clone, Default)]
pub struct LogTap(Arc<Mutex<Tapped>>, Masks);

enum Tapped {
    /// No node is up yet.
    Early(VecDeque<(Timestamp, Level, String)>),
    Open(Reporter),
    /// The node has ended.
    Shut,
}

impl Default for Tapped {
    fn default() -> Self {
        Self::Early(VecDeque::new())
    }
}

impl fmt::Debug for LogTap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LogTap")
    }
}

impl LogTap {
    /// Whether what the code at `target` logs is for the mesh to read.
    #[must_use]
    pub fn wants(target: &str) -> bool {
        !target.starts_with(OWN)
    }

    /// The values that are masked in what is taken, and in all else that passes through this node.
    #[must_use]
    pub fn masks(&self) -> &Masks {
        &self.1
    }

    /// Takes a line of that level; secrets in it are masked.
    pub fn take(&self, level: Level, line: &str) {
        let line = self.1.current().text(&redact::text(line.trim()));
        let mut tapped = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match &mut *tapped {
            Tapped::Early(early) => {
                if early.len() == EARLY {
                    early.pop_front();
                }
                early.push_back((Timestamp::now(), level, line));
            }
            Tapped::Open(reporter) => reporter.line(Timestamp::now(), Source::Node, Some(level), &line),
            Tapped::Shut => {}
        }
    }

    /// Hands over what was logged, and what will be.
    pub(crate) fn open(&self, reporter: &Reporter) {
        let mut tapped = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Tapped::Early(early) = &*tapped {
            for (at, level, line) in early {
                reporter.line(*at, Source::Node, Some(*level), line);
            }
        }
        *tapped = Tapped::Open(reporter.clone());
    }

    /// Hands over nothing more.
    pub(crate) fn shut(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Tapped::Shut;
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum Which {
    #[default]
    Both,
    Node,
    Bus,
}

/// Which part of a node's log is wanted.
#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Logs {
    /// How many of the last lines.
    #[serde(default = "default_tail")]
    tail: Whole<0, 100_000>,
    /// Only from this instant on.
    #[serde(default)]
    since: Option<Moment>,
    /// Only up to this instant.
    #[serde(default)]
    until: Option<Moment>,
    /// Whether to go on with what is logged from now on.
    #[serde(default)]
    follow: bool,
    /// Whose lines: the node's own, those of the bus server that it supervises, or both.
    #[serde(default)]
    source: Which,
    /// Whether each line begins with its instant.
    #[serde(default)]
    timestamps: bool,
}

fn default_tail() -> Whole<0, 100_000> {
    Whole::clamped(100)
}

impl Input for Logs {
    const POSITIONAL: &'static [&'static str] = &["tail"];
}

/// Reads a node's log as its skill `logs` does, with the arguments of such a call, though the node may be dead.
///
/// # Errors
///
/// `invalid_argument`, `permission_denied`, or `unavailable` if the stream cannot be read.
pub async fn read(
    bus: &Bus,
    node: &NodeName,
    request: &Request,
) -> Result<BoxStream<'static, Result<Value, Error>>, Error> {
    let frames = frames(bus, node, skill::arguments(request)?).await?;
    let value = |frame: Frame| {
        serde_json::to_value(frame).map_err(|error| Error::internal(format!("a line has no JSON form: {error}")))
    };
    Ok(frames.map(move |frame| frame.and_then(value)).boxed())
}

/// Reads a node's log.
pub(crate) async fn frames(
    bus: &Bus,
    node: &NodeName,
    wanted: Logs,
) -> Result<impl Stream<Item = Result<Frame, Error>> + Send + 'static + use<>, Error> {
    let now = OffsetDateTime::now_utc();
    let (since, until) = (wanted.since.map(|at| at.resolve(now)), wanted.until.map(|at| at.resolve(now)));
    if since.zip(until).is_some_and(|(since, until)| until < since) {
        return Err(Error::invalid("argument \"until\" lies before argument \"since\""));
    }
    let source = match wanted.source {
        Which::Both => None,
        Which::Node => Some(Source::Node),
        Which::Bus => Some(Source::Bus),
    };
    let tail = usize::try_from(wanted.tail.get()).unwrap_or(usize::MAX);
    let query = Query { node: node.clone(), tail, since, until, source, follow: wanted.follow };
    let lines = report::read(bus, query).await?;
    Ok(lines.map(move |line| line.map(|line| frame(line, wanted.timestamps))))
}

fn frame(line: report::Line, timestamps: bool) -> Frame {
    let at = Instant(line.at.time());
    let text = if timestamps { format!("{at} {}", line.line) } else { line.line };
    Frame::Line { at: Some(at), source: line.source.as_str().to_owned(), line: Line::Text(text), partial: false }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn lines_from_before_the_node_are_kept_and_no_secrets_in_them() {
        let directory = tempfile::tempdir().unwrap();
        let tap = LogTap::default();
        tap.take(Level::Warn, "WARN aigis_node::mesh: nats://user:NONCE@bus token=NONCE\n");
        let reporter = Reporter::open(directory.path(), NodeName::parse("alpha").unwrap()).unwrap();
        tap.open(&reporter);
        tap.take(Level::Info, "INFO aigis_node::node: the node ends");
        reporter.goodbye().await;
        tap.shut();
        tap.take(Level::Info, "nobody hears this");
        let mut files = std::fs::read_dir(directory.path()).unwrap().flatten();
        let text = files.find_map(|file| std::fs::read_to_string(file.path()).ok().filter(|text| !text.is_empty()));
        let text = text.unwrap();
        assert!(text.contains("aigis_node::mesh: nats://user:***@bus") && !text.contains("NONCE"), "{text}");
        assert!(text.contains("the node ends") && !text.contains("nobody hears"), "{text}");
        assert!(!LogTap::wants("aigis_registry::spool::ship") && LogTap::wants("aigis_registry::lease"));
    }
}
