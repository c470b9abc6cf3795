//! Buckets of keys and values on the bus: the one place that speaks JetStream.
//!
//! Every write is a request that the store acknowledges; every update carries the revision it follows. A write whose
//! acknowledgement got lost is sent again under the same message id, which the store knows for two minutes.

use std::{
    fmt,
    time::{Duration, Instant},
};

use bytes::Bytes;
use futures::{FutureExt, TryFutureExt};
use serde::Deserialize;
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use crate::{
    bus::{Bus, HeaderMap, Message, StatusCode},
    error::Code,
    subject::Token,
};

mod consumer;
mod growth;
mod guard;
mod heads;
mod history;
mod log;
mod login;
mod setup;
mod standing;
mod watch;

pub use growth::{Kept, adopt, ready, replicas, spread, survey};
pub(crate) use guard::Guarded;
pub use guard::{KnownStore, Mark, StoreGuard, store_id};
pub(crate) use heads::{Head, heads, sizes};
pub use history::history;
pub use log::{Log, LogMessage, LogReader, Since, append, read_log};
pub use login::clocks_apart;
pub(crate) use login::connect;
pub use setup::{LOGS_BYTES, SHARED_VERSIONS, SetupError, StoreId, create_store, find_store, limit_blobs, mark_store};
pub use standing::{Standing, standing};
pub use watch::{Event, Watch, list};

/// Largest message that a bucket takes, headers included, in bytes.
const MAX_STORED: usize = 256 * 1024;
/// What is left to the headers of a write, in bytes.
const HEADERS: usize = 4 * 1024;
/// Largest value that is written, in bytes.
pub const MAX_VALUE: usize = MAX_STORED - HEADERS;
/// Longest key, in bytes.
const MAX_KEY: usize = 512;
/// How long a write is repeated while the store has no leader, unless its caller has less time.
pub const PATIENCE: Duration = Duration::from_secs(25);
/// How long one attempt may take; an acknowledgement usually takes milliseconds.
const ATTEMPT: Duration = Duration::from_secs(5);
/// How long an attempt to read may take where there are several servers: any that has a copy may be the one that answers, also
/// one that stands still, and the next attempt may meet another.
const READ_ATTEMPT: Duration = Duration::from_secs(2);
/// How long it may take for a chunk of a blob, which is large and may come over a thin link.
const LARGE_ATTEMPT: Duration = Duration::from_secs(10);
/// The marks of a deletion that the store leaves in place of a value.
const OPERATION: &str = "KV-Operation";
const MARKER: &str = "Nats-Marker-Reason";
/// How long the store keeps a message.
const LIFETIME: &str = "Nats-TTL";
/// The revision that a write expects to be the newest of its key, or of the keys that the second one names. The store checks it
/// before it takes the write, and keeps the headers as they came.
const EXPECTED: &str = "Nats-Expected-Last-Subject-Sequence";
const EXPECTED_OF: &str = "Nats-Expected-Last-Subject-Sequence-Subject";

/// A bucket of the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Bucket {
    /// What is known of CIs and nodes: on disk, each key confined to its writer.
    Records,
    /// Signs of life: in memory, ending by themselves.
    Leases,
    /// What changes hands: on disk, sixteen versions a key.
    Shared,
    /// Content in chunks, under its digest: on disk.
    Blobs,
}

impl Bucket {
    /// Every bucket.
    pub const ALL: [Self; 4] = [Self::Records, Self::Leases, Self::Shared, Self::Blobs];

    /// The bucket's name.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Records => "records",
            Self::Leases => "leases",
            Self::Shared => "shared",
            Self::Blobs => "blobs",
        }
    }

    /// The stream that holds it.
    #[must_use]
    pub const fn stream(self) -> &'static str {
        match self {
            Self::Records => "KV_records",
            Self::Leases => "KV_leases",
            Self::Shared => "KV_shared",
            Self::Blobs => "KV_blobs",
        }
    }

    /// How long one attempt to read or write a value may take.
    fn attempt(self) -> Duration {
        if self == Self::Blobs { LARGE_ATTEMPT } else { ATTEMPT }
    }

    /// The subject of a key, or of a filter over keys.
    pub(crate) fn subject(self, key: &str) -> String {
        format!("$KV.{self}.{key}")
    }

    /// The key that a subject of this bucket stands for.
    pub(crate) fn key(self, subject: &str) -> Option<&str> {
        subject.strip_prefix("$KV.")?.strip_prefix(self.as_str())?.strip_prefix('.')
    }
}

impl fmt::Display for Bucket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// What the store holds under a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The key.
    pub key: String,
    /// The value, or what the mark of a deletion carries.
    pub value: Bytes,
    /// The place of this write among all writes of the bucket.
    pub revision: u64,
    /// When the store took it, by the store's clock.
    pub created: OffsetDateTime,
    /// What the write did.
    pub operation: Operation,
    /// The revision of its own key that the store found before it took this write, 0 for none ever; `None` where the writer did
    /// not have that checked, or the write is one that ends by itself without being a deletion.
    pub follows: Option<u64>,
}

/// What a write did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    /// Gave the key a value.
    Put,
    /// Removed the value, by its writer.
    Delete,
    /// Removed the value, because its time was over.
    Expire,
}

/// What a write expects to find.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expect<'a> {
    /// Whatever there is.
    Anything,
    /// Exactly this revision under the key; 0 for none ever.
    Revision(u64),
    /// Exactly this as the newest revision among all keys that match the filter; 0 for none ever.
    Newest {
        /// A key in which whole tokens may be `*`.
        filter: &'a str,
        /// The newest revision.
        revision: u64,
    },
}

/// Why a key could not be read or written.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum Error {
    /// Someone else wrote first.
    #[error("\"{key}\" was changed meanwhile; read it again and repeat")]
    WrongRevision {
        /// The key.
        key: String,
        /// The newest revision, where the store said it.
        newest: Option<u64>,
    },
    /// The key is none.
    #[error("\"{key}\" is no key: tokens of letters, digits, _ - = / @ joined by dots, at most {MAX_KEY} bytes")]
    Key {
        /// The key, escaped and cut.
        key: String,
    },
    /// The value is larger than a bucket takes.
    #[error("the value of \"{key}\" is {size} bytes; at most {MAX_VALUE} are stored")]
    TooLarge {
        /// The key.
        key: String,
        /// The value's size in bytes.
        size: usize,
    },
    /// The bus does not permit it.
    #[error("the bus does not let \"{user}\" use \"{key}\"")]
    Denied {
        /// Who asked.
        user: String,
        /// The key or stream.
        key: String,
    },
    /// The store has no room.
    #[error("the store is full: {reason}; free some room on the disk of the bus")]
    Full {
        /// The store's words.
        reason: String,
    },
    /// The bucket or stream is not there.
    #[error("the store has no \"{stream}\"; start the node that made this mesh: aish up")]
    Missing {
        /// The stream.
        stream: String,
    },
    /// The store is not that of the mesh: its disk was lost or exchanged.
    #[error("the bus holds {}, but the store of this mesh is \"{known}\"; nothing is read or written", other(.found.as_ref()))]
    OtherStore {
        /// The mesh's store.
        known: StoreId,
        /// The one that is there, if there is one.
        found: Option<StoreId>,
    },
    /// The store, or the bus, is away.
    #[error("the store does not answer: {reason}")]
    Unavailable {
        /// What was met last.
        reason: String,
        /// Whether the write may have been done nevertheless.
        sent: bool,
    },
    /// The store refused for another reason.
    #[error("the store refused \"{key}\": {reason} ({code})")]
    Refused {
        /// The key or stream.
        key: String,
        /// The store's words.
        reason: String,
        /// The store's own number.
        code: u64,
    },
    /// The store's answer makes no sense.
    #[error("the store's answer about \"{key}\" cannot be read")]
    Malformed {
        /// The key or stream.
        key: String,
    },
}

impl Error {
    /// Whether the store may answer soon: nothing was decided yet.
    fn is_passing(&self) -> bool {
        matches!(self, Self::Unavailable { .. } | Self::Missing { .. } | Self::OtherStore { found: None, .. })
    }
}

/// The store that was found in place of the mesh's.
fn other(found: Option<&StoreId>) -> String {
    found.map_or_else(|| "no store".to_owned(), |found| format!("another store, \"{found}\""))
}

impl From<Error> for crate::Error {
    fn from(error: Error) -> Self {
        let text = error.to_string();
        match error {
            Error::WrongRevision { .. } => Self::precondition(text),
            Error::Key { .. } => Self::invalid(text),
            Error::TooLarge { .. } | Error::Full { .. } => Self::new(Code::ResourceExhausted, text),
            Error::Denied { .. } => Self::new(Code::PermissionDenied, text),
            Error::Missing { .. } => Self::unavailable(text).sent(false),
            Error::OtherStore { known, found } => Self::new(Code::DataLoss, text)
                .hint(
                    "was the disk of the bus exchanged? bring it back; if it is lost for good, an admin accepts the new one: \
                     aish up --new-store",
                )
                .with("store", known.as_str())
                .with("found", found.map(|found| found.to_string()))
                .sent(false),
            Error::Unavailable { sent, .. } => Self::unavailable(text).sent(sent),
            Error::Refused { .. } | Error::Malformed { .. } => Self::internal(text),
        }
    }
}

/// Gives a key a value, and returns the revision that this makes.
///
/// # Errors
///
/// [`Error::WrongRevision`] if it is not as expected, and what else forbids it. The store's silence is repeated for
/// `within`, but a broken connection is reported at once.
pub async fn put(
    bus: &Bus,
    bucket: Bucket,
    key: &str,
    value: Bytes,
    expect: Expect<'_>,
    within: Duration,
) -> Result<u64, Error> {
    check(key, &value)?;
    let mut headers = expecting(bucket, expect);
    headers.insert("Nats-Msg-Id", Token::random().as_str());
    write(bus, bucket, key, headers, value, within).await
}

/// Marks a key's value as deleted, and returns the revision of the mark.
///
/// # Errors
///
/// As [`put`].
pub async fn delete(bus: &Bus, bucket: Bucket, key: &str, expect: Expect<'_>, within: Duration) -> Result<u64, Error> {
    mark(bus, bucket, key, Bytes::new(), expect, None, within).await
}

/// As [`delete`], with what the mark says of itself, and how long it stays if not for good. What stood there before it comes
/// back when it ends, unless that was a mark too.
///
/// # Errors
///
/// As [`put`].
pub async fn mark(
    bus: &Bus,
    bucket: Bucket,
    key: &str,
    says: Bytes,
    expect: Expect<'_>,
    lifetime: Option<Duration>,
    within: Duration,
) -> Result<u64, Error> {
    check(key, &says)?;
    let mut headers = expecting(bucket, expect);
    headers.insert("Nats-Msg-Id", Token::random().as_str());
    headers.insert(OPERATION, "DEL");
    if let Some(lifetime) = lifetime {
        headers.insert(LIFETIME, seconds(lifetime));
    }
    write(bus, bucket, key, headers, says, within).await
}

/// Removes what stands under a key at that revision. The mark of it is gone as well after `marked`.
///
/// # Errors
///
/// As [`put`].
pub(crate) async fn erase(
    bus: &Bus,
    bucket: Bucket,
    key: &str,
    revision: u64,
    marked: Duration,
    within: Duration,
) -> Result<u64, Error> {
    mark(bus, bucket, key, Bytes::new(), Expect::Revision(revision), Some(marked), within).await
}

/// Writes a lease: a value that ends by itself after `lifetime`, which is rounded up to whole seconds. One attempt.
///
/// The expected revision may be that of a mark that an earlier lease left when it ended.
///
/// # Errors
///
/// As [`put`].
pub async fn put_lease(
    bus: &Bus,
    key: &str,
    value: Bytes,
    revision: u64,
    lifetime: Duration,
    within: Duration,
) -> Result<u64, Error> {
    check(key, &value)?;
    let mut headers = expecting(Bucket::Leases, Expect::Revision(revision));
    headers.insert(LIFETIME, seconds(lifetime));
    let subject = Bucket::Leases.subject(key);
    guard::ours_or_silent(bus).await?;
    let reply = bus.request(subject, Some(headers), value, within).await;
    acknowledged(key, reply.map_err(|error| lost(bus, key, &error))?)
}

/// Gives a key a value that ends by itself after `lifetime`, which is rounded up to whole seconds.
///
/// # Errors
///
/// As [`put`].
pub(crate) async fn put_passing(
    bus: &Bus,
    bucket: Bucket,
    key: &str,
    value: Bytes,
    expect: Expect<'_>,
    lifetime: Duration,
    within: Duration,
) -> Result<u64, Error> {
    check(key, &value)?;
    let mut headers = expecting(bucket, expect);
    headers.insert("Nats-Msg-Id", Token::random().as_str());
    headers.insert(LIFETIME, seconds(lifetime));
    write(bus, bucket, key, headers, value, within).await
}

/// Reads what stands under a key: the newest write, which may be a deletion; `None` if there never was one.
///
/// # Errors
///
/// What forbids it; see [`put`].
pub async fn get(bus: &Bus, bucket: Bucket, key: &str, within: Duration) -> Result<Option<Entry>, Error> {
    check(key, &[])?;
    newest(bus, bucket, key, within).await
}

/// Reads the newest write among all keys that match `filter`, in which whole tokens may be `*`.
///
/// # Errors
///
/// As [`get`].
pub async fn newest(bus: &Bus, bucket: Bucket, filter: &str, within: Duration) -> Result<Option<Entry>, Error> {
    let subject = format!("$JS.API.DIRECT.GET.{}", bucket.stream());
    let body = serde_json::json!({ "last_by_subj": bucket.subject(filter) }).to_string();
    let each = if bus.has_several() && bucket != Bucket::Blobs { READ_ATTEMPT } else { bucket.attempt() };
    let message = patiently(bus, within, each, |attempt| {
        let asked = bus.request(subject.clone(), None, body.clone().into(), attempt);
        asked.map_err(|error| lost(bus, filter, &error))
    })
    .await?;
    stored(bucket, filter, message)
}

fn stored(bucket: Bucket, key: &str, message: Message) -> Result<Option<Entry>, Error> {
    match message.status {
        Some(StatusCode::NOT_FOUND) => return Ok(None),
        Some(status) if status.as_u16() >= 300 => {
            let reason = message.description.unwrap_or_default();
            return Err(Error::Refused { key: key.to_owned(), reason, code: status.as_u16().into() });
        }
        _ => {}
    }
    let malformed = || Error::Malformed { key: key.to_owned() };
    let headers = message.headers.as_ref().ok_or_else(malformed)?;
    let text = |name: &str| headers.get(name).map(async_nats::HeaderValue::as_str).ok_or_else(malformed);
    Ok(Some(Entry {
        key: bucket.key(text("Nats-Subject")?).ok_or_else(malformed)?.to_owned(),
        revision: text("Nats-Sequence")?.parse().map_err(|_| malformed())?,
        created: OffsetDateTime::parse(text("Nats-Time-Stamp")?, &Rfc3339).map_err(|_| malformed())?,
        operation: operation(Some(headers)),
        follows: follows(Some(headers)),
        value: message.payload,
    }))
}

fn operation(headers: Option<&HeaderMap>) -> Operation {
    let text = |name: &str| headers.and_then(|headers| headers.get(name)).map(async_nats::HeaderValue::as_str);
    match (text(OPERATION), text(MARKER)) {
        (_, Some("MaxAge")) => Operation::Expire,
        (Some("DEL" | "PURGE"), _) | (_, Some(_)) => Operation::Delete,
        _ => Operation::Put,
    }
}

/// The revision that the store has checked a write against. A header that stands twice, or is about other keys, proves nothing.
fn follows(headers: Option<&HeaderMap>) -> Option<u64> {
    let headers = headers?;
    let mut checked = headers.get_all(EXPECTED);
    let (first, second) = (checked.next()?, checked.next());
    let is_passing = headers.get(LIFETIME).is_some() && operation(Some(headers)) == Operation::Put;
    if second.is_some() || headers.get(EXPECTED_OF).is_some() || is_passing {
        return None;
    }
    first.as_str().parse().ok()
}

/// Whether a write took all others of its bucket away, which no part of the mesh ever asks for.
fn empties(headers: Option<&HeaderMap>) -> bool {
    headers.and_then(|headers| headers.get("Nats-Rollup")).is_some_and(|kind| kind.as_str() == "all")
}

/// A lifetime as the store takes it: whole seconds, at least one.
fn seconds(lifetime: Duration) -> String {
    format!("{}s", lifetime.as_millis().div_ceil(1000).max(1))
}

fn expecting(bucket: Bucket, expect: Expect<'_>) -> HeaderMap {
    let mut headers = HeaderMap::new();
    match expect {
        Expect::Anything => {}
        Expect::Revision(revision) => {
            headers.insert(EXPECTED, revision.to_string());
        }
        Expect::Newest { filter, revision } => {
            headers.insert(EXPECTED, revision.to_string());
            headers.insert(EXPECTED_OF, bucket.subject(filter));
        }
    }
    headers
}

/// Sends a write until the store has decided on it.
async fn write(
    bus: &Bus,
    bucket: Bucket,
    key: &str,
    headers: HeaderMap,
    value: Bytes,
    within: Duration,
) -> Result<u64, Error> {
    let subject = bucket.subject(key);
    patiently(bus, within, bucket.attempt(), |attempt| {
        let asked = bus.request(subject.clone(), Some(headers.clone()), value.clone(), attempt);
        asked.map(|reply| acknowledged(key, reply.map_err(|error| lost(bus, key, &error))?))
    })
    .await
}

/// Repeats what met silence, after a random wait, while there is time and the connection stands.
async fn patiently<T, F, Fut>(bus: &Bus, within: Duration, each: Duration, mut attempt: F) -> Result<T, Error>
where
    F: FnMut(Duration) -> Fut,
    Fut: Future<Output = Result<T, Error>>,
{
    let end = Instant::now() + within;
    let mut sent_before = false;
    for round in 0_u32.. {
        let left = end.saturating_duration_since(Instant::now());
        let attempted = match guard::ours(bus, left.min(each)).await {
            Ok(()) => attempt(left.min(each)).await,
            Err(error) => Err(error),
        };
        let mut error = match attempted {
            Ok(done) => return Ok(done),
            Err(error) => error,
        };
        if let Error::Unavailable { sent, .. } = &mut error {
            // What an earlier attempt may have done stays possible.
            sent_before |= *sent;
            *sent = sent_before;
        }
        let wait = jitter(round);
        let left = end.saturating_duration_since(Instant::now());
        if !error.is_passing() || wait >= left || !has_way(bus) {
            return Err(error);
        }
        tokio::time::sleep(wait).await;
    }
    Err(Error::Unavailable { reason: "it was asked too often".to_owned(), sent: sent_before })
}

/// How long it may take until another server of the bus takes over.
const TAKE_OVER: Duration = Duration::from_secs(5);

/// Whether there is a bus to ask, or another server of it is about to take over.
fn has_way(bus: &Bus) -> bool {
    let link = bus.link().borrow().clone();
    link.up || (bus.has_several() && link.since.elapsed() < TAKE_OVER)
}

/// A random wait between a quarter and the whole of a bound that grows from 100 ms to 2 s.
pub(crate) fn jitter(round: u32) -> Duration {
    let ceiling = (100_u64 << round.min(5)).min(2_000);
    let token = Token::random();
    let random = token.as_str().bytes().fold(0_u64, |sum, byte| sum.wrapping_mul(31).wrapping_add(byte.into()));
    Duration::from_millis(ceiling / 4 + random % (ceiling * 3 / 4))
}

fn check(key: &str, value: &[u8]) -> Result<(), Error> {
    let good = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'=' | b'/' | b'@');
    let tokens = key.split('.').all(|token| !token.is_empty() && token.bytes().all(good));
    if !tokens || key.len() > MAX_KEY {
        return Err(Error::Key { key: crate::name::quoted(key) });
    }
    if value.len() > MAX_VALUE {
        return Err(Error::TooLarge { key: key.to_owned(), size: value.len() });
    }
    Ok(())
}

/// What a request's failure says of the store.
fn lost(bus: &Bus, key: &str, error: &crate::Error) -> Error {
    let sent = error.detail("sent").and_then(serde_json::Value::as_bool).unwrap_or(true);
    match error.code {
        Code::PermissionDenied => Error::Denied { user: bus.user().to_string(), key: key.to_owned() },
        _ => Error::Unavailable { reason: error.message.clone(), sent },
    }
}

/// The id of the bus server in use, new at each of its starts.
#[must_use]
pub fn server_id(bus: &Bus) -> String {
    bus.client().server_info().server_id
}

#[derive(Deserialize)]
struct Answer<T> {
    error: Option<Refusal>,
    #[serde(flatten)]
    content: Option<T>,
}

#[derive(Deserialize)]
struct Refusal {
    #[serde(default)]
    code: u64,
    #[serde(default)]
    err_code: u64,
    #[serde(default)]
    description: String,
}

#[derive(Deserialize)]
struct Acknowledgement {
    seq: u64,
}

fn acknowledged(key: &str, message: Message) -> Result<u64, Error> {
    answer::<Acknowledgement>(key, &message).map(|acknowledgement| acknowledgement.seq)
}

/// What the store says of a stream, as the server that leads it knows it.
async fn stream_info<T: serde::de::DeserializeOwned>(
    bus: &Bus,
    stream: &'static str,
    within: Duration,
) -> Result<T, Error> {
    let reply = bus.request(format!("$JS.API.STREAM.INFO.{stream}"), None, Bytes::new(), within).await;
    answer(stream, &reply.map_err(|error| lost(bus, stream, &error))?)
}

/// Reads an answer of the store's API.
fn answer<T: serde::de::DeserializeOwned>(key: &str, message: &Message) -> Result<T, Error> {
    let malformed = || Error::Malformed { key: key.to_owned() };
    let answer: Answer<T> = serde_json::from_slice(&message.payload).map_err(|_| malformed())?;
    match answer.error {
        Some(refusal) => Err(refused(key, refusal)),
        None => answer.content.ok_or_else(malformed),
    }
}

fn refused(key: &str, refusal: Refusal) -> Error {
    let Refusal { code, err_code, description: reason } = refusal;
    match err_code {
        // Wrong last sequence, with the newest one in the words, or without it.
        10071 | 10164 => {
            let newest = reason.rsplit(' ').next().and_then(|word| word.parse().ok());
            Error::WrongRevision { key: key.to_owned(), newest }
        }
        10059 => Error::Missing { stream: key.to_owned() },
        // Insufficient resources, memory or storage; and what a store of limited size says.
        10023 | 10028 | 10047 | 10077 | 10120 | 10122 => Error::Full { reason },
        10054 => Error::Full { reason: "the value is larger than the bucket takes".to_owned() },
        _ if code == 503 => Error::Unavailable { reason, sent: false },
        _ => Error::Refused { key: key.to_owned(), reason, code: err_code },
    }
}

/// What time it is by the clock of the store.
///
/// # Errors
///
/// What forbids asking, or that the store is away.
pub async fn clock(bus: &Bus, within: Duration) -> Result<OffsetDateTime, crate::Error> {
    let subject = format!("$JS.API.STREAM.INFO.{}", Bucket::Leases.stream());
    let answer = bus.request(subject, None, Bytes::new(), within).await?;
    let said: serde_json::Value = serde_json::from_slice(&answer.payload).unwrap_or_default();
    let time = said.get("ts").and_then(serde_json::Value::as_str);
    time.and_then(|time| OffsetDateTime::parse(time, &Rfc3339).ok())
        .ok_or_else(|| crate::Error::unavailable("the store does not say what time it is"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_tokens_without_wildcards() {
        for bad in ["", ".", "a.", ".a", "a..b", "a.*", ">", "a b", "a\0", &"a".repeat(513)] {
            assert!(matches!(check(bad, &[]), Err(Error::Key { .. })), "{bad:?}");
        }
        assert!(check("ci.web_1.alpha", &[0; MAX_VALUE]).is_ok());
        assert!(matches!(check("a", &vec![0; MAX_VALUE + 1]), Err(Error::TooLarge { .. })));
    }

    #[test]
    fn refusals_become_what_they_mean() {
        let refused =
            |code, err_code, text: &str| refused("k", Refusal { code, err_code, description: text.to_owned() });
        assert_eq!(
            refused(400, 10071, "wrong last sequence: 12"),
            Error::WrongRevision { key: "k".to_owned(), newest: Some(12) }
        );
        assert!(matches!(refused(400, 10164, "wrong last sequence"), Error::WrongRevision { newest: None, .. }));
        assert!(refused(404, 10059, "stream not found").is_passing());
        assert!(refused(503, 10008, "system temporarily unavailable").is_passing());
        assert!(!refused(503, 10023, "insufficient resources").is_passing());
    }

    #[test]
    fn only_the_check_of_its_own_key_says_what_a_write_follows() {
        let of = |headers: &[(&str, &str)]| {
            let mut map = HeaderMap::new();
            headers.iter().for_each(|(name, value)| map.append(*name, *value));
            follows(Some(&map))
        };
        assert_eq!(of(&[(EXPECTED, "7")]), Some(7));
        assert_eq!(of(&[(EXPECTED, "7"), (OPERATION, "DEL"), (LIFETIME, "60s")]), Some(7));
        for forged in [
            &[][..],
            &[(EXPECTED, "x")],
            &[(EXPECTED, "7"), (EXPECTED, "8")],
            &[(EXPECTED, "7"), (EXPECTED_OF, "$KV.shared.app.other")],
            &[(EXPECTED, "7"), (LIFETIME, "1s")],
        ] {
            assert_eq!(of(forged), None, "{forged:?}");
        }
    }

    #[test]
    fn waits_are_random_within_bounds() {
        for round in 0..40 {
            let wait = jitter(round).as_millis();
            assert!((25..=2_000).contains(&wait), "{wait}");
        }
    }
}
