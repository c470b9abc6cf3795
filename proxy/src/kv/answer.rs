//! What the API of the store answers, and what its refusals mean.

use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, de::DeserializeOwned};

use super::Error;
use crate::{
    bus::{Bus, Message},
    error::Code,
};

/// What a request's failure says of the store.
pub(super) fn lost(bus: &Bus, key: &str, error: &crate::Error) -> Error {
    let sent = error.detail("sent").and_then(serde_json::Value::as_bool).unwrap_or(true);
    match error.code {
        Code::PermissionDenied => Error::Denied { user: bus.user().to_string(), key: key.to_owned() },
        _ => Error::Unavailable { reason: error.message.clone(), sent },
    }
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

pub(super) fn acknowledged(key: &str, message: Message) -> Result<u64, Error> {
    answer::<Acknowledgement>(key, &message).map(|acknowledgement| acknowledgement.seq)
}

/// What the store says of a stream, as the server that leads it knows it.
pub(super) async fn stream_info<T: DeserializeOwned>(
    bus: &Bus,
    stream: &'static str,
    within: Duration,
) -> Result<T, Error> {
    let reply = bus.request(format!("$JS.API.STREAM.INFO.{stream}"), None, Bytes::new(), within).await;
    answer(stream, &reply.map_err(|error| lost(bus, stream, &error))?)
}

/// Reads an answer of the store's API.
pub(super) fn answer<T: DeserializeOwned>(key: &str, message: &Message) -> Result<T, Error> {
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

#[cfg(test)]
mod tests {
    use super::*;

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
}
