//! What stands under many keys, without the values.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

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
    patiently(bus, within, ATTEMPT, |attempt| once(bus, bucket, keys, attempt)).await
}

async fn once(bus: &Bus, bucket: Bucket, keys: &[String], within: Duration) -> Result<HashMap<String, usize>, Error> {
    let mut found = HashMap::new();
    let end = Instant::now() + within;
    let filters = keys.iter().map(|key| bucket.subject(key)).collect();
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
            found.insert(key.to_owned(), size);
        }
        if place.pending == 0 {
            return Ok(found);
        }
    }
}
