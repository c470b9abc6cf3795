//! The skill `logs` of a plugin: the last lines of its journal, and those to come.

use std::{collections::VecDeque, sync::Arc};

use aigis_proxy::{Error, skill::Input};
use futures::{Stream, stream};
use schemars::JsonSchema;
use serde::Deserialize;
use time::OffsetDateTime;
use tokio::sync::watch;

use super::{
    journal::{Journal, Line, Place},
    line::Source,
};
use crate::container::{Moment, Whole};

/// Which part of the log is wanted.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
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
    /// Whether to go on with what is said from now on.
    #[serde(default)]
    follow: bool,
    /// Only lines from there.
    #[serde(default)]
    source: Option<Source>,
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

/// The lines that somebody wants.
#[derive(Debug, Clone)]
pub(crate) struct Wanted {
    /// At most so many of the last ones.
    pub(crate) tail: usize,
    pub(crate) since: Option<OffsetDateTime>,
    pub(crate) until: Option<OffsetDateTime>,
    pub(crate) source: Option<Source>,
}

impl Wanted {
    /// Every line.
    pub(crate) fn all() -> Self {
        Self { tail: usize::MAX, since: None, until: None, source: None }
    }

    /// Whether a line is among them, wherever it stands.
    pub(crate) fn takes(&self, line: &Line) -> bool {
        let timed = self.since.is_some() || self.until.is_some();
        let at = timed.then(|| line.at.parse::<aigis_registry::Timestamp>().ok()).flatten();
        let within = at.is_none_or(|at| {
            self.since.is_none_or(|since| since <= at.time()) && self.until.is_none_or(|until| at.time() <= until)
        });
        within && self.source.is_none_or(|source| source == line.source)
    }
}

/// What is left to be told.
struct Reading {
    journal: Arc<Journal>,
    wanted: Wanted,
    place: Place,
    grown: watch::Receiver<u64>,
    lines: VecDeque<Line>,
    follow: bool,
    timestamps: bool,
}

/// The lines, the oldest first; with `follow` it goes on until its reader leaves.
///
/// # Errors
///
/// `invalid_argument` for a time that lies before itself, `internal` where the log cannot be read.
pub(crate) async fn lines(
    journal: Arc<Journal>,
    logs: Logs,
) -> Result<impl Stream<Item = Result<Line, Error>> + Send + 'static + use<>, Error> {
    let now = OffsetDateTime::now_utc();
    let (since, until) = (logs.since.map(|at| at.resolve(now)), logs.until.map(|at| at.resolve(now)));
    if since.zip(until).is_some_and(|(since, until)| until < since) {
        return Err(Error::invalid("argument \"until\" lies before argument \"since\""));
    }
    let tail = usize::try_from(logs.tail.get()).unwrap_or(usize::MAX);
    let wanted = Wanted { tail, since, until, source: logs.source };
    let grown = journal.grown();
    let (lines, place) = journal.tail(wanted.clone()).await?;
    let Logs { follow, timestamps, .. } = logs;
    let reading = Reading { journal, wanted, place, grown, lines: lines.into(), follow, timestamps };
    Ok(stream::try_unfold(reading, |mut reading| async move {
        loop {
            if let Some(mut line) = reading.lines.pop_front() {
                if reading.timestamps {
                    line.line = format!("{} {}", line.at, line.line);
                }
                return Ok(Some((line, reading)));
            }
            if !reading.follow || reading.grown.changed().await.is_err() {
                return Ok(None);
            }
            let (lines, place) = reading.journal.after(reading.place, reading.wanted.clone()).await?;
            (reading.lines, reading.place) = (lines.into(), place);
        }
    }))
}
