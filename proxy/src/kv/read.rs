//! Reading: the newest write under a key, or under any of many.

use std::time::Duration;

use async_nats::HeaderValue;
use futures::TryFutureExt;
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use super::{
    Bucket, Entry, Error,
    answer::lost,
    check,
    entry::{follows, operation},
    patience::{READ_ATTEMPT, patiently},
};
use crate::bus::{Bus, Message, StatusCode};

/// Reads what stands under a key: the newest write, which may be a deletion; `None` if there never was one.
///
/// # Errors
///
/// What forbids it; see [`super::put`].
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
    let text = |name: &str| headers.get(name).map(HeaderValue::as_str).ok_or_else(malformed);
    Ok(Some(Entry {
        key: bucket.key(text("Nats-Subject")?).ok_or_else(malformed)?.to_owned(),
        revision: text("Nats-Sequence")?.parse().map_err(|_| malformed())?,
        created: OffsetDateTime::parse(text("Nats-Time-Stamp")?, &Rfc3339).map_err(|_| malformed())?,
        operation: operation(Some(headers)),
        follows: follows(Some(headers)),
        value: message.payload,
    }))
}
