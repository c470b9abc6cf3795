//! What stands under many keys, without the values.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use ::time::OffsetDateTime;

use super::{
    Bucket, Error, Operation,
    consumer::{Consumer, Delivered, From, Selection},
    operation, patiently,
};
use crate::bus::Bus;

/// The header that tells the size of a value that was left out.
const SIZE: &str = "Nats-Msg-Size";
/// How long one attempt may take.
const ATTEMPT: Duration = Duration::from_secs(15);
/// How long it may take to begin.
const BEGIN: Duration = Duration::from_secs(5);

/// What stands under a key, without the value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Head {
    /// The key.
    pub(crate) key: String,
    /// The place of its newest write among all writes of the bucket.
    pub(crate) revision: u64,
    /// When the store took it, by the store's clock.
    pub(crate) created: OffsetDateTime,
    /// The size of the value in bytes.
    pub(crate) size: usize,
}

/// The sizes of the values under those of the keys that have one, in one request for all of them.
///
/// # Errors
///
/// What forbids it. The store's silence is repeated for `within`, but a broken connection is reported at once.
pub(crate) async fn sizes(
    bus: &Bus,
    bucket: Bucket,
    keys: &[String],
    within: Duration,
) -> Result<HashMap<String, usize>, Error> {
    if keys.is_empty() {
        return Ok(HashMap::new());
    }
    let heads = patiently(bus, within, ATTEMPT, |attempt| once(bus, bucket, keys, attempt)).await?;
    Ok(heads.into_iter().map(|head| (head.key, head.size)).collect())
}

/// All keys that match a filter and have a value, as the store has them at one instant.
///
/// # Errors
///
/// As [`sizes`]; `within` bounds each attempt.
pub(crate) async fn heads(bus: &Bus, bucket: Bucket, filter: &str, within: Duration) -> Result<Vec<Head>, Error> {
    let filter = [filter];
    patiently(bus, within, within, |attempt| once(bus, bucket, &filter, attempt)).await
}

async fn once(bus: &Bus, bucket: Bucket, filters: &[impl AsRef<str>], within: Duration) -> Result<Vec<Head>, Error> {
    let mut found = Vec::new();
    let end = Instant::now() + within;
    let filters = filters.iter().map(|filter| bucket.subject(filter.as_ref())).collect();
    let selection = Selection { stream: bucket.stream(), filters, from: From::LastOfEach, headers_only: true };
    let mut consumer = Consumer::create(bus, &selection, within.min(BEGIN)).await?;
    if consumer.pending == 0 {
        return Ok(found);
    }
    let broken = |reason: &str| Error::Unavailable { reason: reason.to_owned(), sent: false };
    loop {
        let left = end.saturating_duration_since(Instant::now());
        let delivered = tokio::time::timeout(left, consumer.next()).await;
        let (message, place) = match delivered.map_err(|_| broken("the keys were not read in time"))? {
            None => return Err(broken("the store broke off while keys were read")),
            Some(Delivered::Idle) => return Ok(found),
            Some(Delivered::Message { message, place }) => (message, place),
        };
        let headers = message.headers.as_ref();
        let size = headers.and_then(|headers| headers.get(SIZE)).and_then(|size| size.as_str().parse().ok());
        if operation(headers) == Operation::Put
            && let (Some(key), Some(size)) = (bucket.key(&message.subject), size)
        {
            let (revision, created) = (place.stream_sequence, place.published);
            found.push(Head { key: key.to_owned(), revision, created, size });
        }
        if place.pending == 0 {
            return Ok(found);
        }
    }
}
