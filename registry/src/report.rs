//! What a node tells of itself: the lines that it logs, and events. They wait on its disk while the bus is away, and
//! arrive in order.
//!
//! Telling never waits and never fails: beyond what may wait, lines are lost, and a line says how many.

mod read;

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use aigis_proxy::{Bus, Name, NodeName, kv, task};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    spool::{self, Content, OpenError, ROOM, Spool},
    timestamp::Timestamp,
};

pub use read::{Query, read};

/// How long one attempt to bring something to the bus may take.
const ATTEMPT: Duration = Duration::from_secs(5);
/// Longest line that is kept, in bytes; what is longer is cut.
pub const MAX_LINE: usize = 16 * 1024;

/// How much a line matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// Something failed that should not.
    Error,
    /// Something is not as it should be.
    Warn,
    /// Something happened.
    Info,
}

/// Who within a node wrote a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Source {
    /// The node itself.
    Node,
    /// The bus server that it supervises.
    Bus,
}

impl Source {
    /// The source's word, as it stands in the subject.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Node => "node",
            Self::Bus => "bus",
        }
    }
}

/// A line that a node logged, under `log.<node>.<source>`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Line {
    /// Its number among what its node tells; one that is missing was an event.
    pub seq: u64,
    /// When it was written, by the node's clock.
    pub at: Timestamp,
    /// Who wrote it.
    pub source: Source,
    /// How much it matters, where that is known.
    pub level: Option<Level>,
    /// The line, without its end.
    pub line: String,
}

/// Something that happened on a node, under `event.node.<node>.<what>` or `event.ci.<node>.<ci>.<what>`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// When, by the clock of whoever saw it.
    pub at: Timestamp,
    /// The node.
    pub node: NodeName,
    /// The CI that it happened to; absent if it was the node itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ci: Option<Name>,
    /// What, in a word.
    pub what: String,
    /// What else is known of it.
    #[serde(default)]
    pub detail: Value,
}

/// What is told.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Told {
    Line(Line),
    Event(Event),
}

#[derive(Debug, Serialize, Deserialize)]
struct Kept {
    seq: u64,
    told: Told,
}

/// The numbering of what a node tells.
#[derive(Debug, Clone, Default)]
struct Numbered(u64);

impl Content for Numbered {
    type Item = Told;
    type Kept = Kept;

    const NAME: &'static str = "report";
    // A crash of the process loses nothing. What a loss of power takes away is not worth a flush for each line.
    const FLUSHED: bool = false;
    const KEPT_FOR: Duration = Duration::ZERO;

    fn found(&mut self, kept: &Kept) {
        self.0 = kept.seq;
    }

    fn next(&mut self, item: &Told) -> serde_json::Result<Kept> {
        self.0 += 1;
        let told = match item.clone() {
            Told::Line(line) => Told::Line(Line { seq: self.0, ..line }),
            event => event,
        };
        Ok(Kept { seq: self.0, told })
    }

    fn last(&self) -> u64 {
        self.0
    }
}

/// Where a node tells of itself; cheap to clone.
#[derive(Debug, Clone)]
pub struct Reporter(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    node: NodeName,
    spool: Spool<Numbered>,
    /// How many bytes may wait for the bus.
    room: u64,
    /// How much was lost since that was said.
    lost: AtomicU64,
}

impl Reporter {
    /// Opens what waits in a directory.
    ///
    /// # Errors
    ///
    /// If the directory cannot be read and written.
    pub fn open(directory: &Path, node: NodeName) -> Result<Self, OpenError> {
        Self::open_with(directory, node, ROOM)
    }

    /// As [`Reporter::open`], with another bound on the bytes that may wait for the bus.
    ///
    /// # Errors
    ///
    /// As [`Reporter::open`].
    pub fn open_with(directory: &Path, node: NodeName, room: u64) -> Result<Self, OpenError> {
        let spool = Spool::open(directory, Numbered::default(), drop)?;
        Ok(Self(Arc::new(Inner { node, spool, room, lost: AtomicU64::new(0) })))
    }

    /// Tells a line that was logged at that time.
    pub fn line(&self, at: Timestamp, source: Source, level: Option<Level>, line: &str) {
        let end = line.floor_char_boundary(MAX_LINE);
        let line = line.get(..end).unwrap_or_default().to_owned();
        self.tell(Told::Line(Line { seq: 0, at, source, level, line }));
    }

    /// Tells that something happened to the node.
    pub fn node_event(&self, what: &str, detail: Value) {
        self.event(Timestamp::now(), None, what, detail);
    }

    /// Tells that something happened to a CI of the node.
    pub fn ci_event(&self, at: Timestamp, ci: Name, what: &str, detail: Value) {
        self.event(at, Some(ci), what, detail);
    }

    fn event(&self, at: Timestamp, ci: Option<Name>, what: &str, detail: Value) {
        let event = Event { at, node: self.0.node.clone(), ci, what: what.to_owned(), detail };
        self.tell(Told::Event(event));
    }

    /// Tells that the node leaves, and returns once all that was told is on the disk.
    pub async fn goodbye(&self) {
        self.tell_lost();
        let (at, node, what) = (Timestamp::now(), self.0.node.clone(), "left".to_owned());
        let event = Event { at, node, ci: None, what, detail: Value::Null };
        // A disk that takes nothing has said so already.
        let _ = self.0.spool.append(Told::Event(event)).await;
    }

    /// Bytes that wait for the bus.
    #[must_use]
    pub fn backlog(&self) -> u64 {
        self.0.spool.backlog()
    }

    fn tell(&self, told: Told) {
        self.tell_lost();
        if !self.take(told) {
            self.0.lost.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn take(&self, told: Told) -> bool {
        self.backlog() < self.0.room && self.0.spool.offer(told)
    }

    /// Says how much was lost, as soon as there is room for that.
    fn tell_lost(&self) {
        if self.0.lost.load(Ordering::Relaxed) == 0 || self.backlog() >= self.0.room {
            return;
        }
        let lost = self.0.lost.swap(0, Ordering::Relaxed);
        if lost == 0 {
            return;
        }
        let line = format!("{lost} lines and events are missing here: no more could wait for the bus");
        let (at, source, level) = (Timestamp::now(), Source::Node, Some(Level::Warn));
        if !self.take(Told::Line(Line { seq: 0, at, source, level, line })) {
            self.0.lost.fetch_add(lost, Ordering::Relaxed);
        }
    }

    /// Brings to the bus what waits and what comes, until the returned task is dropped; one at a time.
    #[must_use]
    pub fn ship(&self, bus: &Bus) -> task::Owned {
        let (reporter, bus) = (self.clone(), bus.clone());
        spool::ship(self.0.spool.clone(), move |kept| {
            let (reporter, bus) = (reporter.clone(), bus.clone());
            async move {
                deliver(&bus, &kept).await;
                // What is gone from the spool has made room for it.
                reporter.tell_lost();
            }
        })
    }
}

async fn deliver(bus: &Bus, kept: &Kept) {
    match &kept.told {
        Told::Line(line) => {
            let Ok(body) = serde_json::to_vec(line) else { return };
            let (subject, body) = (bus.subjects().log(bus.user(), line.source.as_str()), bytes::Bytes::from(body));
            // The time tells this line from one of a former spool with the same number.
            let id = format!("{}-{}-{}", bus.user(), kept.seq, line.at);
            let log = kv::Log::Lines;
            spool::until_taken(bus, || kv::append(bus, log, subject.clone(), &id, body.clone(), ATTEMPT)).await;
        }
        Told::Event(event) => {
            let Ok(body) = serde_json::to_vec(event) else { return };
            let (kind, topic) = match &event.ci {
                Some(ci) => ("ci", format!("{ci}.{}", event.what)),
                None => ("node", event.what.clone()),
            };
            let subject = bus.subjects().event(kind, bus.user(), &topic);
            let body = bytes::Bytes::from(body);
            spool::until_taken(bus, || publish(bus, subject.clone(), body.clone())).await;
        }
    }
}

/// Publishes, and returns once the bus has taken it: nobody acknowledges an event, but an own message comes back after it.
async fn publish(bus: &Bus, subject: String, body: bytes::Bytes) -> Result<(), aigis_proxy::Error> {
    if !bus.link().borrow().up {
        return Err(aigis_proxy::Error::unavailable("the bus is not reachable"));
    }
    bus.publish(subject, None, body).await?;
    bus.echo().await
}

#[cfg(test)]
mod tests;
