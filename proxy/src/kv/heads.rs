//! What stands under many keys, without the values.

use std::{collections::HashMap, time::Duration};

use ::time::OffsetDateTime;

use super::{
    Bucket, Error, Operation,
    consumer::{self, From, Place, Selection},
    entry::operation,
    patience::patiently,
};
use crate::bus::{Bus, Message};

/// The header that tells the size of a value that was left out.
const SIZE: &str = "Nats-Msg-Size";
/// How long one attempt may take.
const ATTEMPT: Duration = Duration::from_secs(15);

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
    let filters = filters.iter().map(|filter| bucket.subject(filter.as_ref())).collect();
    let selection = Selection { stream: bucket.stream(), filters, from: From::LastOfEach, headers_only: true };
    let mut found = Vec::new();
    let take = |message: Message, place: Place| {
        let headers = message.headers.as_ref();
        let size = headers.and_then(|headers| headers.get(SIZE)).and_then(|size| size.as_str().parse().ok());
        if operation(headers) == Operation::Put
            && let (Some(key), Some(size)) = (bucket.key(&message.subject), size)
        {
            let (revision, created) = (place.stream_sequence, place.published);
            found.push(Head { key: key.to_owned(), revision, created, size });
        }
    };
    consumer::read(bus, &selection, within, take).await?;
    Ok(found)
}
