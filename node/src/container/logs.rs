//! `logs`: what the container printed, as a stream of lines that can go on over restarts and recreates.

mod cutter;
mod follower;

use std::sync::Arc;

use aigis_proxy::{
    Effect, Error,
    skill::{Call, Input, Table},
};
use futures::Stream;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use super::{Bound, Container, Instant, Whole, instant::Moment};
use crate::engine::{self, Engine, Inspection, LogQuery, LogStream};
pub(crate) use cutter::Cutter;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum Which {
    #[default]
    Both,
    Stdout,
    Stderr,
}

/// Which part of the log is wanted.
#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Logs {
    /// How many of the last lines, counted over both outputs.
    #[serde(default = "default_tail")]
    tail: Whole<0, 100_000>,
    /// Only from this instant on.
    #[serde(default)]
    since: Option<Moment>,
    /// Only up to this instant.
    #[serde(default)]
    until: Option<Moment>,
    /// Whether to go on with what is printed from now on.
    #[serde(default)]
    follow: bool,
    /// Which output.
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

impl Logs {
    /// What the engine is to be asked for.
    fn query(&self, now: OffsetDateTime) -> Result<LogQuery, Error> {
        let since = self.since.map(|since| since.resolve(now));
        let until = self.until.map(|until| until.resolve(now));
        if since.zip(until).is_some_and(|(since, until)| until < since) {
            return Err(Error::invalid("argument \"until\" lies before argument \"since\""));
        }
        Ok(LogQuery {
            tail: Some(self.tail.get()),
            since,
            until,
            follow: self.follow,
            stdout: self.source != Which::Stderr,
            stderr: self.source != Which::Stdout,
        })
    }
}

/// A line's text, or its bytes where they are no UTF-8.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub(crate) enum Line {
    Text(String),
    Bytes {
        #[serde(rename = "$bytes")]
        base64: String,
    },
}

impl Line {
    pub(crate) fn of(bytes: &[u8]) -> Self {
        match std::str::from_utf8(bytes) {
            Ok(text) => Self::Text(text.to_owned()),
            Err(_) => Self::Bytes { base64: data_encoding::BASE64.encode(bytes) },
        }
    }
}

/// A frame of `logs`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub(crate) enum Frame {
    /// A line without its line break, or a part of one.
    Line {
        /// When the engine took it.
        at: Option<Instant>,
        /// `stdout` or `stderr`.
        source: String,
        line: Line,
        /// Whether the line goes on in the next frame of its source, or has not ended yet.
        partial: bool,
    },
    /// What became of the container.
    Event {
        /// `stopped`, `started` or `recreated`.
        event: String,
        /// Which container it happened to.
        container_id: String,
    },
}

pub(super) fn add(table: &mut Table<Container>) {
    table.stream(
        "logs",
        Effect::Read,
        "Shows what the container printed; with follow, also what it prints next.",
        logs,
    );
}

async fn logs(
    container: Arc<Container>,
    call: Call,
    wanted: Logs,
) -> Result<impl Stream<Item = Result<Frame, Error>> + Send + 'static, Error> {
    let query = wanted.query(OffsetDateTime::now_utc())?;
    let opened = open_current(&container, &call, &query).await?;
    Ok(follower::frames(container, opened, query, wanted.timestamps))
}

/// A log that is being read.
pub(crate) struct Opened {
    pub(crate) bound: Arc<Bound>,
    pub(crate) inspection: Inspection,
    pub(crate) stream: LogStream,
}

/// Opens the log of the CI's container; once more of its successor, if it vanishes meanwhile.
pub(crate) async fn open_current(container: &Arc<Container>, call: &Call, query: &LogQuery) -> Result<Opened, Error> {
    let look = container.look(call, container.bound());
    match open(&look.engine, &look.bound, query).await {
        Err(engine::Error::NotFound { .. }) => {}
        other => return readable(other?),
    }
    let Some(bound) = container.successor(&look.engine, look.id()).await? else { return Err(container.removed()) };
    match open(&look.engine, &bound, query).await {
        Err(engine::Error::NotFound { .. }) => Err(container.removed()),
        other => readable(other?),
    }
}

/// Opens the log of a container.
pub(crate) async fn open(
    engine: &Engine,
    bound: &Arc<Bound>,
    query: &LogQuery,
) -> Result<Result<Opened, Unreadable>, engine::Error> {
    let inspection = engine.inspect(bound.id()).await?;
    if !inspection.log_is_readable() {
        return Ok(Err(Unreadable(inspection.log_driver)));
    }
    let stream = engine.logs(bound.id(), inspection.tty, query).await?;
    Ok(Ok(Opened { bound: Arc::clone(bound), inspection, stream }))
}

/// A log driver that keeps nothing to read.
pub(crate) struct Unreadable(Option<String>);

fn readable(opened: Result<Opened, Unreadable>) -> Result<Opened, Error> {
    opened.map_err(|Unreadable(driver)| {
        let driver = driver.unwrap_or_else(|| "unknown".to_owned());
        Error::precondition(format!("its log driver \"{driver}\" keeps nothing that could be read back"))
            .hint("recreate the container with a log driver that can be read: --log-driver json-file")
    })
}

#[cfg(test)]
mod tests {
    use aigis_proxy::{Code, Request, skill::arguments};
    use serde_json::{Value, json};

    use super::*;

    fn read(kwargs: Value) -> Result<LogQuery, Error> {
        let Value::Object(kwargs) = kwargs else { panic!("no arguments") };
        arguments::<Logs>(&Request { kwargs, ..Request::default() })?.query(OffsetDateTime::now_utc())
    }

    #[test]
    fn bad_70_bad_68_what_is_out_of_range_names_argument_and_range() {
        assert_eq!(read(json!({})).unwrap(), LogQuery::default());
        for (kwargs, named) in [
            (json!({"tail": 100_001}), ["tail", "100000"]),
            (json!({"tail": -1}), ["tail", "from 0"]),
            (json!({"tail": 1e300}), ["tail", "100000"]),
            (json!({"since": "yesterday"}), ["since", "10m"]),
            (json!({"until": "2026-02-30T00:00:00Z"}), ["until", "RFC 3339"]),
            (json!({"since": "1m", "until": "2m"}), ["until", "since"]),
            (json!({"source": "stdin"}), ["source", "stdout"]),
            (json!({"lines": 3}), ["lines", "tail"]),
        ] {
            let error = read(kwargs.clone()).unwrap_err();
            assert_eq!(error.code, Code::InvalidArgument);
            assert!(named.iter().all(|word| error.message.contains(word)), "{kwargs}: {error}");
        }
    }
}
