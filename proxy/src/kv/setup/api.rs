//! The API of the store, asked as the account that owns it.

use async_nats::Client;
use serde_json::Value;

use super::SetupError;
use crate::kv::jitter;

/// "stream not found".
pub(in crate::kv) const NOT_FOUND: u64 = 10059;
/// "insufficient storage resources available".
pub(super) const NO_ROOM: u64 = 10047;
/// "insufficient resources": in a cluster, one of the servers has no room.
pub(super) const NO_ROOM_THERE: [u64; 2] = [NO_ROOM, 10023];
/// "no suitable peers for placement".
pub(super) const NO_PEERS: u64 = 10005;
/// "stream configuration update can not change persist mode" and others that stay as they were made.
pub(super) const UNCHANGEABLE: u64 = 10052;

pub(in crate::kv) enum Failure {
    Api { code: u64, reason: String },
    Silent,
}

impl Failure {
    pub(in crate::kv) fn into_error(self, url: &str, stream: &'static str) -> SetupError {
        match self {
            Self::Api { reason, .. } => SetupError::Refused { stream, reason },
            Self::Silent => SetupError::Silent { url: url.to_owned() },
        }
    }
}

/// What the store says of a stream.
pub(in crate::kv) async fn info(client: &Client, url: &str, stream: &str) -> Result<Value, Failure> {
    ask(client, url, stream, &format!("STREAM.INFO.{stream}"), &Value::Null).await
}

/// Asks the store's API until it answers: a server that has just started says for a moment that nobody is there.
pub(in crate::kv) async fn ask(
    client: &Client,
    url: &str,
    stream: &str,
    api: &str,
    body: &Value,
) -> Result<Value, Failure> {
    let body = if body.is_null() { String::new() } else { body.to_string() };
    for round in 0..40 {
        let reply = client.request(format!("$JS.API.{api}"), body.clone().into()).await;
        let answer = reply.ok().and_then(|reply| serde_json::from_slice::<Value>(&reply.payload).ok());
        match answer {
            Some(answer) => {
                let Some(error) = answer.get("error") else { return Ok(answer) };
                let code = error.get("err_code").and_then(Value::as_u64).unwrap_or_default();
                if error.get("code").and_then(Value::as_u64) != Some(503) {
                    let reason = error.get("description").and_then(Value::as_str).unwrap_or_default().to_owned();
                    // A server that has no room is none that is away.
                    let full = code == NO_PEERS && reason.contains("insufficient storage");
                    let code = if full { NO_ROOM } else { code };
                    return Err(Failure::Api { code, reason });
                }
            }
            None => tracing::debug!(url, stream, round, "the store is not ready"),
        }
        tokio::time::sleep(jitter(round)).await;
    }
    Err(Failure::Silent)
}
