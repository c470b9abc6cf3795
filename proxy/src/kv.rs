//! Buckets of keys and values on the bus: the one place that speaks JetStream.
//!
//! Every write is a request that the store acknowledges; every update carries the revision it follows. A write whose
//! acknowledgement got lost is sent again under the same message id, which the store knows for two minutes.

use std::time::Duration;

use bytes::Bytes;
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use crate::bus::Bus;

mod answer;
mod bucket;
mod consumer;
mod entry;
mod error;
mod growth;
mod guard;
mod heads;
mod history;
mod log;
mod login;
mod patience;
mod read;
mod setup;
mod standing;
mod watch;
mod write;

pub use bucket::Bucket;
pub use entry::{Entry, Operation};
pub use error::Error;
pub use growth::{Kept, adopt, ready, replicas, spread, survey};
pub(crate) use guard::Guarded;
pub use guard::{KnownStore, Mark, StoreGuard, store_id};
pub(crate) use heads::{Head, heads, sizes};
pub use history::history;
pub use log::{Log, LogMessage, LogReader, Since, append, read_log};
pub use login::clocks_apart;
pub(crate) use login::connect;
pub use patience::PATIENCE;
pub(crate) use patience::jitter;
pub use read::{get, newest};
pub use setup::{LOGS_BYTES, SHARED_VERSIONS, SetupError, StoreId, create_store, find_store, limit_blobs, mark_store};
pub use standing::{Standing, standing};
pub use watch::{Event, Watch, list};
pub use write::{Expect, delete, mark, put, put_lease};
pub(crate) use write::{erase, put_passing};

/// Largest message that a bucket takes, headers included, in bytes.
const MAX_STORED: usize = 256 * 1024;
/// What is left to the headers of a write, in bytes.
const HEADERS: usize = 4 * 1024;
/// Largest value that is written, in bytes.
pub const MAX_VALUE: usize = MAX_STORED - HEADERS;
/// Longest key, in bytes.
const MAX_KEY: usize = 512;

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

/// The id of the bus server in use, new at each of its starts.
#[must_use]
pub fn server_id(bus: &Bus) -> String {
    bus.client().server_info().server_id
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
}
