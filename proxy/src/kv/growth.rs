//! A store that grows from one server to a cluster: the streams of the lone server are taken over where they lie, then
//! spread over the servers.
//!
//! A server that joins a cluster deletes streams of which the cluster knows nothing, but half a minute after it has
//! come up. Before that, each is made known as one that lies on that server alone, with all that is in it.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{
    Bucket, Log,
    login::connect,
    setup::{self, Failure, SetupError, ask, info},
};
use crate::identity::{CaCertificate, Login};

/// The streams on disk: what is kept in memory comes anew.
const STREAMS: [&str; 5] = [
    Bucket::Records.stream(),
    Bucket::Shared.stream(),
    Bucket::Blobs.stream(),
    Log::Audit.stream(),
    Log::Lines.stream(),
];
/// How often is looked whether all copies are whole.
const LOOK: Duration = Duration::from_millis(250);

/// A stream as it was on the lone server.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Kept {
    config: Value,
    last: u64,
}

impl Kept {
    /// How many bytes the blobs may take, if this is their stream and has a limit.
    #[must_use]
    pub fn room_of_blobs(&self) -> Option<u64> {
        let limit = self.config.get("max_bytes").and_then(Value::as_u64);
        limit.filter(|limit| *limit > 0 && self.name() == Bucket::Blobs.stream())
    }

    fn name(&self) -> &str {
        self.config.get("name").and_then(Value::as_str).unwrap_or_default()
    }
}

/// Notes what the lone server has. Log lines that it was allowed to acknowledge before they are on its disk cannot be
/// spread, and are let go.
///
/// # Errors
///
/// As [`setup::create_store`].
pub async fn survey(url: &str, ca: Option<&CaCertificate>, login: &Login) -> Result<Vec<Kept>, SetupError> {
    let client = connect(url, ca, login, "aigis store survey").await?;
    let mut kept = Vec::new();
    for stream in STREAMS {
        let failed = |failure: Failure| failure.into_error(url, stream);
        let info = match info(&client, url, stream).await {
            Ok(info) => info,
            Err(Failure::Api { code: setup::NOT_FOUND, .. }) => continue,
            Err(failure) => return Err(failed(failure)),
        };
        if info.pointer("/config/persist_mode").and_then(Value::as_str) == Some("async") {
            tracing::warn!(stream, "its lines are let go: they cannot be spread over several servers");
            ask(&client, url, stream, &format!("STREAM.DELETE.{stream}"), &Value::Null).await.map_err(failed)?;
            continue;
        }
        let config = info.get("config").cloned().unwrap_or_default();
        let last = info.pointer("/state/last_seq").and_then(Value::as_u64).unwrap_or_default();
        kept.push(Kept { config, last });
    }
    Ok(kept)
}

/// Waits until the servers of a cluster have found each other, so that the store answers.
///
/// # Errors
///
/// No connection, or silence.
pub async fn ready(url: &str, ca: Option<&CaCertificate>, login: &Login, within: Duration) -> Result<(), SetupError> {
    let silent = || SetupError::Silent { url: url.to_owned() };
    let deadline = tokio::time::Instant::now() + within;
    let client = connect(url, ca, login, "aigis store growth").await?;
    loop {
        match tokio::time::timeout_at(deadline, info(&client, url, Bucket::Records.stream())).await {
            Ok(Ok(_) | Err(Failure::Api { .. })) => return Ok(()),
            Ok(Err(Failure::Silent)) => {}
            Err(_) => return Err(silent()),
        }
    }
}

/// Makes the cluster take over what lies on that one of its servers.
///
/// # Errors
///
/// As [`setup::create_store`]; [`SetupError::Lost`] if something of it is not there.
pub async fn adopt(
    url: &str,
    ca: Option<&CaCertificate>,
    login: &Login,
    server: &str,
    kept: &[Kept],
) -> Result<(), SetupError> {
    let client = connect(url, ca, login, "aigis store growth").await?;
    for known in kept {
        let Some(stream) = STREAMS.into_iter().find(|stream| *stream == known.name()) else { continue };
        let failed = |failure: Failure| failure.into_error(url, stream);
        let mut config = known.config.clone();
        if let Some(config) = config.as_object_mut() {
            config.insert("num_replicas".to_owned(), 1.into());
            // The server has set its room apart already, and would not find as much a second time.
            config.insert("max_bytes".to_owned(), (-1).into());
            config.insert("placement".to_owned(), json!({ "tags": [server] }));
        }
        if info(&client, url, stream).await.is_err() {
            ask(&client, url, stream, &format!("STREAM.CREATE.{stream}"), &config).await.map_err(failed)?;
        }
        let there = info(&client, url, stream).await.map_err(failed)?;
        let last = there.pointer("/state/last_seq").and_then(Value::as_u64).unwrap_or_default();
        if last < known.last {
            return Err(SetupError::Lost { stream, known: known.last, found: last });
        }
    }
    Ok(())
}

/// Waits until so many servers have a whole copy of each stream; says which have not when the time is over.
///
/// # Errors
///
/// No connection.
pub async fn spread(
    url: &str,
    ca: Option<&CaCertificate>,
    login: &Login,
    replicas: usize,
    within: Duration,
) -> Result<Vec<&'static str>, SetupError> {
    let client = connect(url, ca, login, "aigis store growth").await?;
    let deadline = tokio::time::Instant::now() + within;
    loop {
        let mut late = Vec::new();
        for stream in STREAMS {
            let info = tokio::time::timeout_at(deadline, info(&client, url, stream)).await;
            if !matches!(info, Ok(Ok(info)) if is_spread(&info, replicas)) {
                late.push(stream);
            }
        }
        if late.is_empty() || tokio::time::Instant::now() >= deadline {
            return Ok(late);
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// How many servers are to keep each stream of the bus, which is somebody else's: three where it has as many, and never
/// fewer than do already.
///
/// # Errors
///
/// No connection.
pub async fn replicas(url: &str, ca: Option<&CaCertificate>, login: &Login) -> Result<u8, SetupError> {
    const SEVERAL: usize = 3;
    let client = connect(url, ca, login, "aigis store survey").await?;
    let known = info(&client, url, Bucket::Records.stream()).await.ok();
    let known = known.and_then(|info| info.pointer("/config/num_replicas").and_then(Value::as_u64)).unwrap_or(1);
    let server = client.server_info();
    // A cluster may keep its addresses to itself; then those count that were given.
    let servers = server.connect_urls.len().max(url.split(',').count());
    let possible = if server.cluster.is_some() && servers >= SEVERAL { 3 } else { 1 };
    Ok(u8::try_from(known).unwrap_or(possible).max(possible))
}

/// Whether a leader and its followers have the whole of a stream, and no other server is about to get it.
fn is_spread(info: &Value, replicas: usize) -> bool {
    let Some(cluster) = info.get("cluster") else { return false };
    let followers = cluster.get("replicas").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let whole = |follower: &&Value| follower.get("current") == Some(&Value::Bool(true));
    cluster.get("leader").is_some()
        && cluster.get("desired").is_none()
        && followers.iter().filter(whole).count() + 1 >= replicas
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_is_spread_once_all_its_servers_are_current() {
        let info = |current: bool| json!({"cluster": {"leader": "a", "replicas": [{"name": "b", "current": true}, {"name": "c", "current": current}]}});
        assert!(is_spread(&info(true), 3) && !is_spread(&info(false), 3));
        assert!(!is_spread(&json!({"state": {}}), 3), "a server that is no cluster's");
        let mut moving = info(true);
        moving["cluster"]["desired"] = json!({});
        assert!(!is_spread(&moving, 3));
    }
}
