//! Makes the store: its buckets, its streams of audit and of logs, and the id that tells this store from any other.

use std::time::Duration;

use async_nats::Client;
use serde_json::{Value, json};

use super::{Bucket, Log, Mark, login::connect};
use crate::{
    identity::{CaCertificate, Login},
    name::MeshName,
};
use api::{NO_PEERS, NO_ROOM, NO_ROOM_THERE, UNCHANGEABLE};
use form::{RECORD_VERSIONS, audit, blobs, bucket, leases, logs, shared};

mod api;
mod error;
mod form;
mod id;

pub(super) use api::{Failure, NOT_FOUND, ask, info};
pub use error::SetupError;
pub use form::SHARED_VERSIONS;
pub use id::StoreId;

/// How many bytes of log lines are kept; the server sets them apart.
pub const LOGS_BYTES: u64 = 256 * 1024 * 1024;
/// How many where the store has no room for these.
const FEWER_LOGS: [u64; 2] = [64 * 1024 * 1024, 16 * 1024 * 1024];
/// How long the whole set-up may take; a fresh store is up within a second.
const WITHIN: Duration = Duration::from_secs(30);
/// What blobs may take at least, where a server of the cluster has little room.
const LEAST_BLOBS: u64 = 16 * 1024 * 1024;

/// Makes what is missing of the store and brings the rest to its form, and returns the store's id. `replicas` is how
/// many servers keep each stream.
///
/// To be called after each start of the bus, and not only of the node: leases live in memory, and a lone server that
/// comes back has forgotten even the bucket.
///
/// # Errors
///
/// No connection, a server that is not the mesh's, a refusal, or silence.
pub async fn create_store(
    url: &str,
    ca: Option<&CaCertificate>,
    login: &Login,
    mesh: &MeshName,
    replicas: u8,
) -> Result<StoreId, SetupError> {
    let client = connect(url, ca, login, "aigis store set-up").await?;
    let work = async {
        let id = make_records(&client, url, replicas).await?;
        let blobs_room = room_of_blobs(&client, url, None).await?;
        for (stream, config) in [
            (Bucket::Leases.stream(), leases(replicas)),
            (Bucket::Shared.stream(), shared(replicas)),
            (Log::Audit.stream(), audit(mesh, replicas)),
        ] {
            make(&client, url, stream, config).await?;
        }
        make_blobs(&client, url, replicas, blobs_room).await?;
        make_logs(&client, url, mesh, replicas).await?;
        Ok(id)
    };
    tokio::time::timeout(WITHIN, work).await.unwrap_or_else(|_| Err(SetupError::Silent { url: url.to_owned() }))
}

/// Lets the blobs take that many bytes, unless they have a limit already: a lower one would cut away what is stored.
///
/// # Errors
///
/// As [`create_store`].
pub async fn limit_blobs(
    url: &str,
    ca: Option<&CaCertificate>,
    login: &Login,
    replicas: u8,
    bytes: u64,
) -> Result<(), SetupError> {
    let client = connect(url, ca, login, "aigis blob limit").await?;
    let work = async {
        let room = room_of_blobs(&client, url, Some(bytes)).await?;
        make_blobs(&client, url, replicas, room).await
    };
    tokio::time::timeout(WITHIN, work).await.unwrap_or_else(|_| Err(SetupError::Silent { url: url.to_owned() }))
}

/// Reads the mark of the store that is there, if there is one.
///
/// # Errors
///
/// As [`create_store`].
pub async fn find_store(url: &str, ca: Option<&CaCertificate>, login: &Login) -> Result<Option<Mark>, SetupError> {
    let client = connect(url, ca, login, "aigis store look").await?;
    marked(&client, url).await
}

/// Gives the store that mark, with nothing but the bucket that bears it.
///
/// # Errors
///
/// As [`create_store`].
pub async fn mark_store(
    url: &str,
    ca: Option<&CaCertificate>,
    login: &Login,
    replicas: u8,
    mark: &Mark,
) -> Result<(), SetupError> {
    let client = connect(url, ca, login, "aigis store mark").await?;
    make_marked(&client, url, replicas, mark).await
}

/// The records carry the store's mark: it is made with them, and kept whenever they are brought to their form.
async fn make_records(client: &Client, url: &str, replicas: u8) -> Result<StoreId, SetupError> {
    let mark = marked(client, url).await?.unwrap_or_else(Mark::fresh);
    make_marked(client, url, replicas, &mark).await?;
    Ok(mark.id().clone())
}

async fn make_marked(client: &Client, url: &str, replicas: u8, mark: &Mark) -> Result<(), SetupError> {
    let mut config = bucket(Bucket::Records, RECORD_VERSIONS, replicas);
    if let Some(object) = config.as_object_mut() {
        object.insert("metadata".to_owned(), json!(mark.write()));
    }
    make(client, url, Bucket::Records.stream(), config).await
}

/// The mark of the store that is there, if there is one.
async fn marked(client: &Client, url: &str) -> Result<Option<Mark>, SetupError> {
    let stream = Bucket::Records.stream();
    match info(client, url, stream).await {
        Ok(info) => {
            let metadata = info.pointer("/config/metadata").cloned().unwrap_or_default();
            Ok(Mark::read(&serde_json::from_value(metadata).unwrap_or_default()))
        }
        Err(Failure::Api { code: NOT_FOUND, .. }) => Ok(None),
        Err(failure) => Err(failure.into_error(url, stream)),
    }
}

/// The bytes that the blobs may take: what they may already, else what is wanted, but never less than there is.
async fn room_of_blobs(client: &Client, url: &str, wanted: Option<u64>) -> Result<Option<u64>, SetupError> {
    let stream = Bucket::Blobs.stream();
    let info = match info(client, url, stream).await {
        Ok(info) => info,
        Err(Failure::Api { code: NOT_FOUND, .. }) => return Ok(wanted),
        Err(failure) => return Err(failure.into_error(url, stream)),
    };
    let number = |pointer: &str| info.pointer(pointer).and_then(Value::as_u64);
    // The store's word for no limit is -1, which is none of these numbers.
    let limit = number("/config/max_bytes").filter(|limit| *limit > 0);
    Ok(limit.or(wanted.map(|wanted| wanted.max(number("/state/bytes").unwrap_or_default()))))
}

/// Makes the stream of log lines, as large as the store has room for.
async fn make_logs(client: &Client, url: &str, mesh: &MeshName, replicas: u8) -> Result<(), SetupError> {
    let stream = Log::Lines.stream();
    let mut made = attempt(client, url, stream, &logs(mesh, replicas, LOGS_BYTES)).await;
    for bytes in FEWER_LOGS {
        if matches!(made, Err(Failure::Api { code: NO_ROOM, .. })) {
            made = attempt(client, url, stream, &logs(mesh, replicas, bytes)).await;
        }
    }
    // Of several servers each would have to flush: lines that need not be flushed stay on one.
    if matches!(made, Err(Failure::Api { code: UNCHANGEABLE, .. })) && replicas > 1 {
        made = attempt(client, url, stream, &logs(mesh, 1, LOGS_BYTES)).await;
    }
    made.map_err(|failure| failure.into_error(url, stream))
}

/// Makes the bucket of blobs, with as much room as every server has.
async fn make_blobs(client: &Client, url: &str, replicas: u8, room: Option<u64>) -> Result<(), SetupError> {
    let stream = Bucket::Blobs.stream();
    let (mut made, mut room) = (attempt(client, url, stream, &blobs(replicas, room)).await, room);
    while let (Err(Failure::Api { code, .. }), Some(less)) = (&made, room.map(|room| room / 2))
        && NO_ROOM_THERE.contains(code)
        && replicas > 1
        && less >= LEAST_BLOBS
    {
        room = Some(less);
        made = attempt(client, url, stream, &blobs(replicas, room)).await;
    }
    made.map_err(|failure| failure.into_error(url, stream))
}

async fn make(client: &Client, url: &str, stream: &'static str, config: Value) -> Result<(), SetupError> {
    attempt(client, url, stream, &config).await.map_err(|failure| failure.into_error(url, stream))
}

async fn attempt(client: &Client, url: &str, stream: &'static str, config: &Value) -> Result<(), Failure> {
    // First as if it were there: the server would count the room of a stream that is made again a second time.
    let mut made = ask(client, url, stream, &format!("STREAM.UPDATE.{stream}"), config).await;
    match made {
        Err(Failure::Api { code: NOT_FOUND, .. }) => {
            made = ask(client, url, stream, &format!("STREAM.CREATE.{stream}"), config).await;
            if matches!(made, Err(Failure::Api { code: NO_PEERS, .. })) {
                tracing::warn!(stream, "too few servers are there: it is made on one");
                let mut config = config.clone();
                if let Some(config) = config.as_object_mut() {
                    config.insert("num_replicas".to_owned(), 1.into());
                }
                made = ask(client, url, stream, &format!("STREAM.CREATE.{stream}"), &config).await;
            }
        }
        // Some of the servers that are to keep it are away: it is kept by those that do until they are back.
        Err(Failure::Api { code: NO_PEERS, .. }) => {
            tracing::warn!(stream, "too few servers are there to keep it on as many as it should be");
            return Ok(());
        }
        // On a disk that has become fuller than what was promised on it, the server takes no change at all: none is
        // needed where the stream is as it is to be.
        Err(Failure::Api { code: NO_ROOM, .. }) => {
            let found = info(client, url, stream).await;
            if found.is_ok_and(|info| info.get("config").is_some_and(|found| agrees(found, config))) {
                return Ok(());
            }
        }
        _ => {}
    }
    made.map(drop)
}

/// Whether what was found is as wanted; it may say more. The server leaves out what is off.
fn agrees(found: &Value, wanted: &Value) -> bool {
    match (found, wanted) {
        (Value::Object(found), Value::Object(wanted)) => wanted.iter().all(|(key, wanted)| match found.get(key) {
            Some(found) => agrees(found, wanted),
            None => *wanted == Value::Bool(false),
        }),
        _ => found == wanted,
    }
}
