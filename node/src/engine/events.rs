//! The engine's event stream, read as hostile: a line that is no event is counted and passed over.

use std::{collections::BTreeMap, pin::Pin};

use bytes::BytesMut;
use futures::{Stream, stream};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use serde_json::Value;
use time::OffsetDateTime;

use super::{ContainerId, Engine, Error, error::Asked, query};

/// Longest line of the event stream.
const MAX_LINE: usize = 256 * 1024;
/// The attributes that are kept; the others are the container's labels.
const KEPT: [&str; 5] = ["name", "image", "exitCode", "signal", "oldName"];

/// Something that happened to a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// When, by the engine's clock.
    pub at: OffsetDateTime,
    /// To which container.
    pub id: ContainerId,
    /// What: `start`, `die`, `oom`, `health_status` and the like.
    pub action: String,
    /// What follows the action's colon: a health check's verdict. Never a command line.
    pub detail: Option<String>,
    /// `name`, `image`, `exitCode`, `signal`, `oldName`, as far as they are there.
    pub attributes: BTreeMap<String, String>,
}

impl Event {
    /// The container's name when it happened.
    #[must_use]
    pub fn name(&self) -> Option<&str> {
        self.attributes.get("name").map(|name| name.trim_start_matches('/'))
    }

    /// The exit code that a `die` tells.
    #[must_use]
    pub fn exit_code(&self) -> Option<i64> {
        self.attributes.get("exitCode")?.parse().ok()
    }

    /// Whether it only says that somebody looked, or that a health check ran: nothing changed by it.
    #[must_use]
    pub fn is_noise(&self) -> bool {
        self.action.starts_with("exec_") || matches!(self.action.as_str(), "top" | "attach" | "detach" | "resize")
    }
}

/// One line of the stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EventLine {
    /// An event of a container.
    Event(Event),
    /// A line that is none.
    Skipped,
}

/// Events as they happen. Dropping it ends the request.
pub type EventStream = Pin<Box<dyn Stream<Item = Result<EventLine, Error>> + Send>>;

const FOLLOW: Asked = Asked { what: "send its events", endpoint: "GET /events" };

impl Engine {
    /// Follows the events of all containers, from `since` on: the engine keeps the last 256 or so.
    ///
    /// # Errors
    ///
    /// As every request; the stream's own errors end it.
    pub async fn events(&self, since: Option<OffsetDateTime>) -> Result<EventStream, Error> {
        let mut asked = query::Query::new();
        asked.add("filters", r#"{"type":["container"]}"#);
        if let Some(since) = since {
            asked.add("since", &query::instant(since));
        }
        let body = self.open(FOLLOW, &format!("/events{asked}")).await?;
        let reading = Reading { engine: self.clone(), body, lines: Lines::default(), ended: false };
        Ok(Box::pin(stream::unfold(reading, Reading::next)))
    }
}

struct Reading {
    engine: Engine,
    body: Incoming,
    lines: Lines,
    ended: bool,
}

impl Reading {
    async fn next(mut self) -> Option<(Result<EventLine, Error>, Self)> {
        loop {
            if let Some(line) = self.lines.take() {
                return Some((Ok(read(&line).map_or(EventLine::Skipped, EventLine::Event)), self));
            }
            if self.ended {
                return None;
            }
            match self.body.frame().await {
                Some(Ok(frame)) => {
                    if let Ok(bytes) = frame.into_data() {
                        self.lines.add(&bytes);
                    }
                }
                Some(Err(error)) => {
                    self.ended = true;
                    return Some((Err(self.engine.failed(FOLLOW, &error.into())), self));
                }
                None => self.ended = true,
            }
        }
    }
}

/// Lines out of bytes; one that is too long becomes an empty one.
#[derive(Debug, Default)]
struct Lines {
    buffer: BytesMut,
    scanned: usize,
    overlong: bool,
}

impl Lines {
    fn add(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    fn take(&mut self) -> Option<BytesMut> {
        let found = self.buffer.get(self.scanned..)?.iter().position(|byte| *byte == b'\n');
        match found {
            Some(at) => {
                let line = self.buffer.split_to(self.scanned + at + 1);
                self.scanned = 0;
                if std::mem::take(&mut self.overlong) { Some(BytesMut::new()) } else { Some(line) }
            }
            None => {
                self.scanned = self.buffer.len();
                if self.scanned > MAX_LINE {
                    self.buffer.clear();
                    (self.scanned, self.overlong) = (0, true);
                }
                None
            }
        }
    }
}

fn read(line: &[u8]) -> Option<Event> {
    let value: Value = serde_json::from_slice(line).ok()?;
    if value.get("Type").is_some_and(|kind| kind != "container") {
        return None;
    }
    let actor = value.get("Actor")?;
    let id = actor.get("ID")?.as_str()?.parse().ok()?;
    let nanos = match value.get("timeNano").and_then(Value::as_i64) {
        Some(nanos) => i128::from(nanos),
        None => i128::from(value.get("time")?.as_i64()?).checked_mul(1_000_000_000)?,
    };
    let at = OffsetDateTime::from_unix_timestamp_nanos(nanos).ok().filter(|at| at.year() > 1970)?;
    let said = value.get("Action")?.as_str()?;
    let (action, detail) = said.split_once(": ").unwrap_or((said, ""));
    // What follows the colon of an exec is its command line, which may hold a secret.
    let detail = (action == "health_status" && !detail.is_empty()).then(|| detail.to_owned());
    let known = actor.get("Attributes").and_then(Value::as_object);
    let attributes = KEPT
        .iter()
        .filter_map(|key| Some(((*key).to_owned(), known?.get(*key)?.as_str()?.chars().take(1024).collect())))
        .collect();
    Some(Event { at, id, action: action.chars().take(64).collect(), detail, attributes })
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

    #[test]
    fn an_event_is_read_without_command_lines_and_labels() {
        let line = format!(
            r#"{{"Type":"container","Action":"exec_create: sh -c 'curl --token s3cret'","Actor":{{"ID":"{ID}","Attributes":{{"name":"web","secret":"x"}}}},"time":1700000000,"timeNano":1700000000000000001}}"#
        );
        let event = read(line.as_bytes()).unwrap();
        assert_eq!((event.action.as_str(), event.name(), event.detail.as_ref()), ("exec_create", Some("web"), None));
        assert_eq!(event.attributes.len(), 1);
        assert!(event.is_noise());
        let health = line.replace("exec_create: sh -c 'curl --token s3cret'", "health_status: unhealthy");
        assert_eq!(read(health.as_bytes()).unwrap().detail.as_deref(), Some("unhealthy"));
    }

    #[test]
    fn bad_65_what_is_no_event_is_passed_over() {
        for line in ["", "<html>", "{}", "[]", "{\"Actor\":{\"ID\":\"x\"}}", "null"] {
            assert_eq!(read(line.as_bytes()), None, "{line}");
        }
        let mut lines = Lines::default();
        lines.add(&vec![b'x'; MAX_LINE + 1]);
        assert_eq!(lines.take(), None);
        lines.add(b"tail\ngood\n");
        assert!(lines.take().unwrap().is_empty());
        assert_eq!(lines.take().unwrap().as_ref(), b"good\n");
        assert_eq!(lines.take(), None);
    }
}
