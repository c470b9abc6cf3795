//! Writing: every write is acknowledged, and is repeated under the same message id where that was not heard.

use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt;

use super::{
    Bucket, Error,
    answer::{acknowledged, lost},
    check,
    entry::{EXPECTED, EXPECTED_OF, LIFETIME, OPERATION},
    guard,
    patience::patiently,
};
use crate::{
    bus::{Bus, HeaderMap},
    subject::Token,
};

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
