//! The append-only stream of audit lines.

use std::time::{Duration, Instant};

use bytes::Bytes;
use time::OffsetDateTime;

use super::{
    Error, acknowledged,
    consumer::{Consumer, Delivered, From, Selection},
    lost,
};
use crate::{
    bus::{Bus, HeaderMap},
    identity::permissions,
};

/// How long a read waits for the next message before it gives up.
const ATTEMPT: Duration = Duration::from_secs(5);

/// Where a read of the stream begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Since {
    /// At the oldest message that is kept.
    Beginning,
    /// At the first message that came at that instant or later.
    Time(OffsetDateTime),
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

/// Appends a message to whatever stream keeps that subject, and returns its place. One attempt; the store recognises
/// `id` for two minutes and does not store a message twice.
///
/// # Errors
///
/// What forbids it; see [`super::put`].
pub async fn append(bus: &Bus, subject: String, id: &str, body: Bytes, within: Duration) -> Result<u64, Error> {
    let mut headers = HeaderMap::new();
    headers.insert("Nats-Msg-Id", id);
    headers.insert("Nats-Expected-Stream", permissions::AUDIT);
    let key = subject.clone();
    let reply = bus.request(subject, Some(headers), body, within).await;
    acknowledged(&key, reply.map_err(|error| lost(bus, &key, &error))?)
}

/// Reads audit messages in order, up to those that stand there now, and gives each to `take`, which says whether to
/// go on. Empty `publishers` mean all.
///
/// # Errors
///
/// What forbids it; [`Error::Unavailable`] if the stream breaks off, with nothing said about the rest.
pub async fn read_log(
    bus: &Bus,
    publishers: &[&str],
    since: Since,
    within: Duration,
    mut take: impl FnMut(LogMessage) -> bool,
) -> Result<(), Error> {
    let end = Instant::now() + within;
    let subject = |publisher: &str| bus.subjects().events(&format!("audit.{publisher}"));
    let filters = match publishers {
        [] => vec![bus.subjects().events("audit")],
        some => some.iter().map(|publisher| subject(publisher)).collect(),
    };
    let from = match since {
        Since::Beginning => From::Beginning,
        Since::Time(time) => From::Time(time),
    };
    let selection = Selection { stream: permissions::AUDIT, filters, from, headers_only: false };
    let mut consumer = Consumer::create(bus, &selection, within.min(ATTEMPT)).await?;
    if consumer.pending == 0 {
        return Ok(());
    }
    let broken = |reason: &str| Error::Unavailable { reason: reason.to_owned(), sent: false };
    loop {
        let left = end.saturating_duration_since(Instant::now());
        let delivered = tokio::time::timeout(left, consumer.next()).await;
        match delivered.map_err(|_| broken("the audit stream was not read in time"))? {
            None => return Err(broken("the audit stream broke off while it was read")),
            Some(Delivered::Idle) => return Ok(()),
            Some(Delivered::Message { message, place }) => {
                let message = LogMessage {
                    subject: message.subject.to_string(),
                    body: message.payload,
                    sequence: place.stream_sequence,
                    stored: place.published,
                };
                if !take(message) || place.pending == 0 {
                    return Ok(());
                }
            }
        }
    }
}
