//! All that a bucket still has of one key.

use std::time::Duration;

use super::{
    Bucket, Entry, Error, check,
    consumer::{self, From, Selection},
    patience::patiently,
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
    let filters = vec![bucket.subject(key)];
    let selection = Selection { stream: bucket.stream(), filters, from: From::Beginning, headers_only: false };
    let mut found = Vec::new();
    consumer::read(bus, &selection, within, |message, place| found.push(entry(key, message, place))).await?;
    Ok(found)
}
