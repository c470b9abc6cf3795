//! All that a bucket still has of one key.

use std::time::{Duration, Instant};

use super::{
    Bucket, Entry, Error, check,
    consumer::{Consumer, Delivered, From, Selection},
    patiently,
    watch::entry,
};
use crate::bus::Bus;

/// How long one attempt may take.
const ATTEMPT: Duration = Duration::from_secs(5);

/// Reads all writes under a key that the bucket keeps, the oldest first.
///
/// # Errors
///
/// What forbids it. The store's silence is repeated for `within`, but a broken connection is reported at once.
pub async fn history(bus: &Bus, bucket: Bucket, key: &str, within: Duration) -> Result<Vec<Entry>, Error> {
    check(key, &[])?;
    patiently(bus, within, ATTEMPT, |attempt| once(bus, bucket, key, attempt)).await
}

async fn once(bus: &Bus, bucket: Bucket, key: &str, within: Duration) -> Result<Vec<Entry>, Error> {
    let end = Instant::now() + within;
    let filters = vec![bucket.subject(key)];
    let selection = Selection { stream: bucket.stream(), filters, from: From::Beginning, headers_only: false };
    let mut consumer = Consumer::create(bus, &selection, within).await?;
    let mut found = Vec::new();
    if consumer.pending == 0 {
        return Ok(found);
    }
    let broken = |reason: &str| Error::Unavailable { reason: reason.to_owned(), sent: false };
    loop {
        let left = end.saturating_duration_since(Instant::now());
        let delivered = tokio::time::timeout(left, consumer.next()).await;
        match delivered.map_err(|_| broken("the versions of a key were not read in time"))? {
            None => return Err(broken("the store broke off while the versions of a key were read")),
            Some(Delivered::Idle) => return Ok(found),
            Some(Delivered::Message { message, place }) => {
                let is_last = place.pending == 0;
                found.push(entry(key, *message, place));
                if is_last {
                    return Ok(found);
                }
            }
        }
    }
}
