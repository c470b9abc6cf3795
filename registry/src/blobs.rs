//! Which blobs stay: those that a record names.
//!
//! A record names a blob by writing its digest anywhere in its content. So a node that does not know a kind of record
//! yet spares what such records name.

use std::{collections::HashSet, time::Duration};

use aigis_proxy::{
    Bus, Error,
    blob::{Digest, Pace, Sweeper},
    kv::{self, Bucket},
};
use tokio::time::{Instant, MissedTickBehavior, interval_at};

/// How often a node looks whether it is time for a sweep.
const LOOK: Duration = Duration::from_secs(10 * 60);
/// How long it may take to read all records.
const WITHIN: Duration = Duration::from_secs(60);
/// How a digest begins, and how long it is.
const PREFIX: &[u8] = b"sha256:";
const LENGTH: usize = PREFIX.len() + 64;

/// All digests that records name, as the bus holds them now.
///
/// # Errors
///
/// As [`kv::list`].
pub async fn named(bus: &Bus) -> Result<HashSet<Digest>, Error> {
    let mut named = HashSet::new();
    for bucket in [Bucket::Records, Bucket::Shared] {
        for entry in kv::list(bus, bucket, &[">"], WITHIN).await? {
            named.extend(digests(&entry.value));
        }
    }
    Ok(named)
}

/// Sweeps the mesh's blobs again and again, in turn with the other nodes, until dropped.
pub async fn keep_swept(bus: Bus) {
    let mut sweeper = Sweeper::new(&bus, Pace::USUAL);
    let mut look = interval_at(Instant::now() + LOOK, LOOK);
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        look.tick().await;
        let bus = bus.clone();
        match sweeper.sweep(|| async move { named(&bus).await }).await {
            Ok(Some(swept)) => {
                tracing::info!(blobs = swept.blobs, chunks = swept.chunks, bytes = swept.bytes, "blobs were swept");
            }
            Ok(None) => {}
            Err(error) => tracing::debug!(%error, "blobs were not swept"),
        }
    }
}

fn digests(value: &[u8]) -> impl Iterator<Item = Digest> {
    value.windows(LENGTH).filter(|window| window.starts_with(PREFIX)).filter_map(|window| {
        let text = std::str::from_utf8(window).ok()?;
        text.parse().ok()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_digest_in_a_value_is_found() {
        let (a, b) = (Digest::of(b"a"), Digest::of(b"b"));
        let value = format!("{{\"tree\":\"{a}\",\"x\":[\"sha256:{a}\",\"{b}x\"],\"y\":\"sha256:00\"}}sha256:");
        assert_eq!(digests(value.as_bytes()).collect::<Vec<_>>(), [a, a, b]);
        assert_eq!(digests(b"").count(), 0);
    }
}
