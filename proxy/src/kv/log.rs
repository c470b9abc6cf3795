//! The append-only streams: audit, and the lines that nodes log.

use std::time::{Duration, Instant};

use bytes::Bytes;
use time::OffsetDateTime;

use super::{
    Error,
    answer::{acknowledged, lost},
    consumer::{Consumer, Delivered, From, Selection},
    guard,
};
use crate::{
    bus::{Bus, HeaderMap},
    identity::permissions,
};

/// How long a read waits for the next message before it gives up.
const ATTEMPT: Duration = Duration::from_secs(5);

/// A stream that only grows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Log {
    /// Who changed what.
    Audit,
    /// What nodes logged.
    Lines,
}

impl Log {
    /// The stream's name.
    #[must_use]
    pub const fn stream(self) -> &'static str {
        match self {
            Self::Audit => permissions::AUDIT,
            Self::Lines => permissions::LOGS,
        }
    }

    /// The subjects of what a publisher put there, or of all if it is `*`.
    fn subjects(self, bus: &Bus, publisher: &str) -> String {
        match self {
            Self::Audit => bus.subjects().events(&format!("audit.{publisher}")),
            Self::Lines => bus.subjects().logs(publisher),
        }
    }
}

/// Where a read of the stream begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Since {
    /// At the oldest message that is kept.
    Beginning,
    /// At the first message that came at that instant or later.
    Time(OffsetDateTime),
    /// At that place in the stream, or the first one behind it.
    Sequence(u64),
}

/// A message of the stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogMessage {
    /// Its subject.
    pub subject: String,
    /// Its content.
    pub body: Bytes,
    /// Its place in the stream.
    pub sequence: u64,
    /// When the store took it.
    pub stored: OffsetDateTime,
}

/// Appends a message to the stream that keeps that subject, and returns its place. One attempt; the store recognises
/// `id` for two minutes and does not store a message twice.
///
/// # Errors
///
/// What forbids it; see [`super::put`].
pub async fn append(
    bus: &Bus,
    log: Log,
    subject: String,
    id: &str,
    body: Bytes,
    within: Duration,
) -> Result<u64, Error> {
    let mut headers = HeaderMap::new();
    headers.insert("Nats-Msg-Id", id);
    headers.insert("Nats-Expected-Stream", log.stream());
    let key = subject.clone();
    guard::ours(bus, within).await?;
    let reply = bus.request(subject, Some(headers), body, within).await;
    acknowledged(&key, reply.map_err(|error| lost(bus, &key, &error))?)
}

/// Reads a stream in order, first what stands there and then what comes.
#[derive(Debug)]
pub struct LogReader {
    consumer: Consumer,
    stream: &'static str,
    pending: u64,
}

impl LogReader {
    /// Begins to read. Empty `publishers` mean all.
    ///
    /// # Errors
    ///
    /// What forbids it.
    pub async fn open(bus: &Bus, log: Log, publishers: &[&str], since: Since, within: Duration) -> Result<Self, Error> {
        let filters = match publishers {
            [] => vec![log.subjects(bus, "*")],
            some => some.iter().map(|publisher| log.subjects(bus, publisher)).collect(),
        };
        let from = match since {
            Since::Beginning => From::Beginning,
            Since::Time(time) => From::Time(time),
            Since::Sequence(sequence) => From::Sequence(sequence),
        };
        let selection = Selection { stream: log.stream(), filters, from, headers_only: false };
        let consumer = Consumer::create(bus, &selection, within.min(ATTEMPT)).await?;
        Ok(Self { pending: consumer.pending, consumer, stream: log.stream() })
    }

    /// How many messages that stand in the stream are still to be read.
    #[must_use]
    pub fn pending(&self) -> u64 {
        self.pending
    }

    /// The next message, however long it takes to come; `None` now and then while there is none.
    ///
    /// # Errors
    ///
    /// [`Error::Unavailable`] if the reading broke off; what was read before is whole.
    ///
    /// # Cancel safety
    ///
    /// Nothing is lost when the future is dropped.
    pub async fn next(&mut self) -> Result<Option<LogMessage>, Error> {
        match self.consumer.next().await {
            None => Err(broken(format!("the stream {} broke off while it was read", self.stream))),
            Some(Delivered::Idle) => {
                self.pending = 0;
                Ok(None)
            }
            Some(Delivered::Message { message, place }) => {
                self.pending = place.pending;
                Ok(Some(LogMessage {
                    subject: message.subject.to_string(),
                    body: message.payload,
                    sequence: place.stream_sequence,
                    stored: place.published,
                }))
            }
        }
    }
}

fn broken(reason: String) -> Error {
    Error::Unavailable { reason, sent: false }
}

/// Reads a stream in order, up to what stands there now, and gives each message to `take`, which says whether to go on.
/// Empty `publishers` mean all.
///
/// # Errors
///
/// What forbids it; [`Error::Unavailable`] if the stream breaks off, with nothing said about the rest.
pub async fn read_log(
    bus: &Bus,
    log: Log,
    publishers: &[&str],
    since: Since,
    within: Duration,
    mut take: impl FnMut(LogMessage) -> bool,
) -> Result<(), Error> {
    let end = Instant::now() + within;
    let mut reader = LogReader::open(bus, log, publishers, since, within).await?;
    while reader.pending() > 0 {
        let left = end.saturating_duration_since(Instant::now());
        let next = tokio::time::timeout(left, reader.next()).await;
        let next = next.map_err(|_| broken(format!("the stream {} was not read in time", log.stream())))??;
        if !next.is_some_and(&mut take) {
            return Ok(());
        }
    }
    Ok(())
}
