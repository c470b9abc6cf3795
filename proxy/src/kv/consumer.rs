//! An ordered consumer: a subscription under the user's own inbox to which the store delivers a stream in order. It
//! ends at the first gap, so that whoever reads it begins anew.

use std::time::{Duration, Instant};

use async_nats::{HeaderValue, Subscriber};
use futures::StreamExt;
use serde::Deserialize;
use serde_json::{Value, json};
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use super::{
    Bucket, Error,
    answer::{answer, lost, stream_info},
    guard,
};
use crate::{
    bus::{Bus, Message, StatusCode},
    subject::{self, Token},
};

/// How often the store says that it has nothing to say.
const HEARTBEAT: Duration = Duration::from_secs(1);
/// How long its silence is borne: more means that the consumer, or the way to it, is gone.
pub(super) const SILENCE: Duration = Duration::from_secs(3);
/// How long it may take to make one that is to be read at once.
const BEGIN: Duration = Duration::from_secs(5);
/// How long the store keeps a consumer that nobody listens to.
const ABANDONED: Duration = Duration::from_secs(15);

/// What is read of a stream.
#[derive(Debug, Clone)]
pub(super) struct Selection {
    pub(super) stream: &'static str,
    pub(super) filters: Vec<String>,
    /// The store's words for where to begin.
    pub(super) from: From,
    /// Whether the messages are wanted without what they hold, but with its size.
    pub(super) headers_only: bool,
}

impl Selection {
    /// Whether it is all of a stream in which each subject has one message.
    fn is_whole(&self) -> bool {
        let whole = [Bucket::Records.subject(">"), Bucket::Leases.subject("live.*")];
        matches!(self.from, From::LastOfEach)
            && self.filters.len() == 1
            && self.filters.first().is_some_and(|filter| whole.contains(filter))
    }
}

#[derive(Debug, Clone)]
pub(super) enum From {
    /// The newest message of each subject.
    LastOfEach,
    /// The first message that is there.
    Beginning,
    /// The first message at or after an instant.
    Time(OffsetDateTime),
    /// The first message at or behind a place in the stream.
    Sequence(u64),
}

/// One message of a stream, or the news that there is none waiting.
#[derive(Debug)]
pub(super) enum Delivered {
    Message { message: Box<Message>, place: Place },
    Idle,
}

/// Where a message stands, as its reply subject says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) stream_sequence: u64,
    pub(super) consumer_sequence: u64,
    pub(super) published: OffsetDateTime,
    /// How many more wait behind it.
    pub(super) pending: u64,
}

/// A consumer that lives as long as this value; the store removes it soon after.
#[derive(Debug)]
pub(super) struct Consumer {
    bus: Bus,
    subscriber: Subscriber,
    sequence: u64,
    heard: Instant,
    /// How many messages waited when it was made.
    pub(super) pending: u64,
    /// The store's time when it was made, and this process's.
    clock: (OffsetDateTime, Instant),
}

#[derive(Deserialize)]
struct Created {
    #[serde(default)]
    num_pending: u64,
    ts: Option<String>,
    created: String,
}

#[derive(Deserialize)]
struct Info {
    state: Held,
}

#[derive(Deserialize)]
struct Held {
    #[serde(default)]
    num_subjects: u64,
}

/// How many subjects a stream holds, as the server says that leads it.
async fn subjects(bus: &Bus, stream: &'static str, within: Duration) -> Result<u64, Error> {
    stream_info::<Info>(bus, stream, within).await.map(|info| info.state.num_subjects)
}

/// Reads what a selection has now, and gives each message to `take`. One attempt, which may take `within`.
pub(super) async fn read(
    bus: &Bus,
    selection: &Selection,
    within: Duration,
    mut take: impl FnMut(Message, Place),
) -> Result<(), Error> {
    let end = Instant::now() + within;
    let mut consumer = Consumer::create(bus, selection, within.min(BEGIN)).await?;
    let broken = |what: &str| Error::Unavailable { reason: format!("\"{}\" {what}", selection.stream), sent: false };
    let mut pending = consumer.pending;
    while pending > 0 {
        let left = end.saturating_duration_since(Instant::now());
        let delivered = tokio::time::timeout(left, consumer.next()).await;
        match delivered.map_err(|_| broken("was not read in time"))? {
            None => return Err(broken("broke off while it was read")),
            Some(Delivered::Idle) => return Ok(()),
            Some(Delivered::Message { message, place }) => {
                pending = place.pending;
                take(*message, place);
            }
        }
    }
    Ok(())
}

impl Consumer {
    pub(super) async fn create(bus: &Bus, selection: &Selection, within: Duration) -> Result<Self, Error> {
        guard::ours(bus, within).await?;
        let stream = selection.stream;
        let away = |reason: String| Error::Unavailable { reason, sent: false };
        let known = if bus.has_several() && selection.is_whole() { subjects(bus, stream, within).await? } else { 0 };
        let deliver = format!("{}.{}", subject::inbox(bus.user()), Token::random().as_str());
        let subscriber = bus.subscribe_ahead(&deliver).await.map_err(|error| away(error.to_string()))?;
        let mut config = json!({
            "deliver_subject": deliver,
            "ack_policy": "none",
            "replay_policy": "instant",
            "max_deliver": 1,
            "flow_control": true,
            "idle_heartbeat": nanoseconds(HEARTBEAT),
            "inactive_threshold": nanoseconds(ABANDONED),
            "mem_storage": true,
            "num_replicas": 1,
            "headers_only": selection.headers_only,
        });
        let mut set =
            |key: &str, value: Value| config.as_object_mut().map(|object| object.insert(key.to_owned(), value));
        match &selection.from {
            From::LastOfEach => set("deliver_policy", "last_per_subject".into()),
            From::Beginning => set("deliver_policy", "all".into()),
            From::Time(time) => {
                set("opt_start_time", time.format(&Rfc3339).unwrap_or_default().into());
                set("deliver_policy", "by_start_time".into())
            }
            From::Sequence(sequence) => {
                set("opt_start_seq", (*sequence).into());
                set("deliver_policy", "by_start_sequence".into())
            }
        };
        set("filter_subjects", selection.filters.clone().into());
        let body = json!({ "stream_name": stream, "config": config }).to_string();
        let reply = bus.request(format!("$JS.API.CONSUMER.CREATE.{stream}"), None, body.into(), within).await;
        let created: Created = answer(stream, &reply.map_err(|error| lost(bus, stream, &error))?)?;
        // A server that has just come back delivers like any other, and may not have all of it yet.
        if created.num_pending < known {
            return Err(away(format!("a server of the bus has not caught up with \"{stream}\"")));
        }
        let now = Instant::now();
        let time = created.ts.unwrap_or(created.created);
        let time = OffsetDateTime::parse(&time, &Rfc3339).map_err(|_| Error::Malformed { key: stream.to_owned() })?;
        Ok(Self {
            bus: bus.clone(),
            subscriber,
            sequence: 0,
            heard: now,
            pending: created.num_pending,
            clock: (time, now),
        })
    }

    /// How long ago that was, by the store's clock.
    pub(super) fn age(&self, then: OffsetDateTime) -> Duration {
        let (time, local) = self.clock;
        (time + local.elapsed() - then).try_into().unwrap_or_default()
    }

    /// The next message; `None` when the order is broken or the store is silent.
    ///
    /// # Cancel safety
    ///
    /// Nothing is lost when the future is dropped.
    pub(super) async fn next(&mut self) -> Option<Delivered> {
        loop {
            let patience = SILENCE.saturating_sub(self.heard.elapsed());
            let message = tokio::time::timeout(patience, self.subscriber.next()).await.ok()??;
            self.heard = Instant::now();
            if message.status == Some(StatusCode::IDLE_HEARTBEAT) {
                if self.is_behind(&message) {
                    return None;
                }
                if self.answer_control(&message).await {
                    continue;
                }
                return Some(Delivered::Idle);
            }
            if message.status.is_some() {
                return None;
            }
            let place = message.reply.as_deref().and_then(place)?;
            if place.consumer_sequence != self.sequence + 1 {
                return None;
            }
            self.sequence = place.consumer_sequence;
            return Some(Delivered::Message { message: Box::new(message), place });
        }
    }

    /// Whether the store says that it sent more than has come.
    fn is_behind(&self, message: &Message) -> bool {
        header(message, "Nats-Last-Consumer")
            .and_then(|text| text.parse().ok())
            .is_some_and(|sent: u64| sent > self.sequence)
    }

    /// Lets a store go on that waits for a sign that its messages were taken; says whether it did.
    async fn answer_control(&self, message: &Message) -> bool {
        let stalled = header(message, "Nats-Consumer-Stalled").map(str::to_owned);
        let asked = message.reply.as_ref().map(ToString::to_string);
        match stalled.or(asked) {
            Some(subject) => {
                if self.bus.publish(subject, None, bytes::Bytes::new()).await.is_err() {
                    tracing::debug!("a stalled delivery could not be let go on");
                }
                true
            }
            None => false,
        }
    }
}

fn header<'a>(message: &'a Message, name: &str) -> Option<&'a str> {
    message.headers.as_ref()?.get(name).map(HeaderValue::as_str)
}

fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// Reads `$JS.ACK.[<domain>.<account>.]<stream>.<consumer>.<delivered>.<stream>.<consumer>.<time>.<pending>[.<token>]`.
fn place(reply: &str) -> Option<Place> {
    let tokens = reply.strip_prefix("$JS.ACK.")?;
    let skip = if tokens.split('.').count() >= 9 { 5 } else { 3 };
    let mut numbers = tokens.split('.').skip(skip);
    let mut next = || numbers.next();
    let (stream, consumer, time, pending) = (next()?, next()?, next()?, next()?);
    Some(Place {
        stream_sequence: stream.parse().ok()?,
        consumer_sequence: consumer.parse().ok()?,
        published: OffsetDateTime::from_unix_timestamp_nanos(time.parse().ok()?).ok()?,
        pending: pending.parse().ok()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_of_a_place_are_read() {
        let short = place("$JS.ACK.KV_records.c.1.7.3.1700000000000000000.2").unwrap();
        assert_eq!((short.stream_sequence, short.consumer_sequence, short.pending), (7, 3, 2));
        let long = place("$JS.ACK._.hash.KV_records.c.1.7.3.1700000000000000000.2.x").unwrap();
        assert_eq!(short, long);
        assert_eq!(place("$JS.ACK.KV_records"), None);
        assert_eq!(place("_INBOX.olga.x"), None);
    }
}
