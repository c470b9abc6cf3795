//! Makes the store: its buckets, its streams of audit and of logs, and the id that tells this store from any other.

use std::time::Duration;

use async_nats::Client;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{Bucket, HEADERS, Log, MAX_STORED, Mark, login::connect};
use crate::{
    bus::Untrusted,
    identity::{CaCertificate, Login, credential::Instant, permissions},
    name::MeshName,
    subject::Token,
};

/// Longest id of a store.
const MAX_ID: usize = 64;
/// How many versions of a record are kept. The second one is read by nobody: with a single one the server walks through
/// the whole bucket for a consumer of some of its keys, with more it goes from key to key (`selectStartingSeqNo` in
/// nats-server 2.15).
const RECORD_VERSIONS: u32 = 2;
/// How many versions are kept of what changes hands: as many in a row have to be forged before none is left that is believed.
pub const SHARED_VERSIONS: u32 = 16;
/// How many may read a stream at once, each by a consumer of its own: every process that follows the registry, and every
/// reader of logs. Where a stream does not say so, a server of 2.15 refuses the thousand-and-first.
const READERS: u32 = 100_000;
/// How long audit lines are kept.
const AUDIT_KEPT: Duration = Duration::from_secs(90 * 24 * 60 * 60);
/// How long log lines are kept.
const LOGS_KEPT: Duration = Duration::from_secs(7 * 24 * 60 * 60);
/// How many bytes of log lines are kept; the server sets them apart.
pub const LOGS_BYTES: u64 = 256 * 1024 * 1024;
/// How many where the store has no room for these.
const FEWER_LOGS: [u64; 2] = [64 * 1024 * 1024, 16 * 1024 * 1024];
/// How long the marks of ended leases stay.
const MARKS_KEPT: Duration = Duration::from_secs(60);
/// How long the whole set-up may take; a fresh store is up within a second.
const WITHIN: Duration = Duration::from_secs(30);
/// "stream not found".
pub(super) const NOT_FOUND: u64 = 10059;
/// "insufficient storage resources available".
const NO_ROOM: u64 = 10047;
/// "insufficient resources": in a cluster, one of the servers has no room.
const NO_ROOM_THERE: [u64; 2] = [NO_ROOM, 10023];
/// "no suitable peers for placement".
const NO_PEERS: u64 = 10005;
/// "stream configuration update can not change persist mode" and others that stay as they were made.
const UNCHANGEABLE: u64 = 10052;
/// What blobs may take at least, where a server of the cluster has little room.
const LEAST_BLOBS: u64 = 16 * 1024 * 1024;

/// What tells one store from another that bears the same name.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct StoreId(String);

impl StoreId {
    /// The id of a store that is made now.
    pub(super) fn random() -> Self {
        Self(format!("store-{}", Token::random().as_str()))
    }

    /// Reads an id; whatever else stands there is none.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let good = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
        (!text.is_empty() && text.len() <= MAX_ID && text.bytes().all(good)).then(|| Self(text.to_owned()))
    }

    /// The id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for StoreId {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, &'static str> {
        Self::parse(&text).ok_or("no id of a store")
    }
}

impl From<StoreId> for String {
    fn from(id: StoreId) -> Self {
        id.0
    }
}

impl std::fmt::Display for StoreId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(&self.0)
    }
}

/// Why the store could not be made.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// The server is not taken for the mesh's bus.
    #[error(transparent)]
    Untrusted(#[from] Untrusted),
    /// The server does not know the mesh's operator.
    #[error("the bus at {url} refuses the operator of the mesh")]
    Stranger {
        /// The address.
        url: String,
    },
    /// The server's clock and this machine's are so far apart that what is signed here has ended there.
    #[error(
        "the bus at {url} refuses a login that was signed just now: the clock of the bus says {bus}, and this machine's \
         clock says {own}"
    )]
    Clock {
        /// The address.
        url: String,
        /// The time at the bus.
        bus: Instant,
        /// The time here.
        own: Instant,
    },
    /// No connection.
    #[error("cannot log in to the store of the bus at {url}")]
    Connect {
        /// The address.
        url: String,
        /// What the attempt met.
        #[source]
        source: async_nats::ConnectError,
    },
    /// The server is too old.
    #[error("the bus at {url} is nats-server {found}; {floor} or newer is required")]
    TooOld {
        /// The address.
        url: String,
        /// Its version.
        found: String,
        /// The oldest version that works.
        floor: &'static str,
    },
    /// The store refused.
    #[error("the store refused to make \"{stream}\": {reason}")]
    Refused {
        /// The stream.
        stream: &'static str,
        /// The store's words.
        reason: String,
    },
    /// Not all that was there has been taken over.
    #[error("of \"{stream}\", which reached to {known}, only what reaches to {found} is there")]
    Lost {
        /// The stream.
        stream: &'static str,
        /// The last message that was known.
        known: u64,
        /// The last that is there.
        found: u64,
    },
    /// The store did not answer.
    #[error("the store of the bus at {url} did not answer in time; see the log of the bus")]
    Silent {
        /// The address.
        url: String,
    },
}

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

fn bucket(bucket: Bucket, versions: u32, replicas: u8) -> Value {
    json!({
        "name": bucket.stream(),
        "subjects": [bucket.subject(">")],
        "storage": "file",
        "retention": "limits",
        "discard": "new",
        "max_msgs_per_subject": versions,
        "max_msg_size": MAX_STORED,
        "num_replicas": replicas,
        "max_consumers": READERS,
        "allow_direct": true,
        "allow_rollup_hdrs": false,
        "deny_delete": true,
        "deny_purge": true,
    })
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

/// What was deleted for good leaves marks that end by themselves.
fn shared(replicas: u8) -> Value {
    let mut config = bucket(Bucket::Shared, SHARED_VERSIONS, replicas);
    if let Some(object) = config.as_object_mut() {
        object.insert("allow_msg_ttl".to_owned(), true.into());
    }
    config
}

/// Blobs that calls carry end by themselves; for that no marks are needed, and so no roll-ups.
fn blobs(replicas: u8, room: Option<u64>) -> Value {
    let mut config = bucket(Bucket::Blobs, 1, replicas);
    if let Some(object) = config.as_object_mut() {
        object.insert("allow_msg_ttl".to_owned(), true.into());
        if let Some(room) = room {
            object.insert("max_bytes".to_owned(), room.into());
        }
    }
    config
}

fn leases(replicas: u8) -> Value {
    json!({
        "name": Bucket::Leases.stream(),
        "subjects": [Bucket::Leases.subject(">")],
        "storage": "memory",
        "retention": "limits",
        "discard": "new",
        "max_msgs_per_subject": 1,
        "max_msg_size": 8 * 1024,
        "num_replicas": replicas,
        "max_consumers": READERS,
        "allow_direct": true,
        "allow_msg_ttl": true,
        // Marks need roll-ups, which is why no other bucket has them.
        "allow_rollup_hdrs": true,
        "subject_delete_marker_ttl": nanoseconds(MARKS_KEPT),
        "deny_delete": true,
    })
}

fn audit(mesh: &MeshName, replicas: u8) -> Value {
    json!({
        "name": Log::Audit.stream(),
        "subjects": [permissions::audit_subject(mesh)],
        "storage": "file",
        "retention": "limits",
        "discard": "old",
        "max_age": nanoseconds(AUDIT_KEPT),
        "max_msg_size": MAX_STORED + HEADERS,
        "num_replicas": replicas,
        "max_consumers": READERS,
        "allow_direct": true,
        "allow_rollup_hdrs": false,
        "deny_delete": true,
        "deny_purge": true,
    })
}

/// A lone server does not wait for its disk here: a loss of power may cost the last lines, and no line costs a flush.
fn logs(mesh: &MeshName, replicas: u8, bytes: u64) -> Value {
    let mut config = json!({
        "name": Log::Lines.stream(),
        "subjects": [permissions::log_subject(mesh)],
        "storage": "file",
        "retention": "limits",
        "discard": "old",
        "max_age": nanoseconds(LOGS_KEPT),
        "max_bytes": bytes,
        "max_msg_size": MAX_STORED + HEADERS,
        "num_replicas": replicas,
        "max_consumers": READERS,
        "allow_direct": true,
        "allow_rollup_hdrs": false,
        "deny_delete": true,
        "deny_purge": true,
    });
    if let Some(object) = config.as_object_mut().filter(|_| replicas == 1) {
        object.insert("persist_mode".to_owned(), "async".into());
    }
    config
}

fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

pub(super) enum Failure {
    Api { code: u64, reason: String },
    Silent,
}

impl Failure {
    pub(super) fn into_error(self, url: &str, stream: &'static str) -> SetupError {
        match self {
            Self::Api { reason, .. } => SetupError::Refused { stream, reason },
            Self::Silent => SetupError::Silent { url: url.to_owned() },
        }
    }
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

/// What the store says of a stream.
pub(super) async fn info(client: &Client, url: &str, stream: &str) -> Result<Value, Failure> {
    ask(client, url, stream, &format!("STREAM.INFO.{stream}"), &Value::Null).await
}

/// Asks the store's API until it answers: a server that has just started says for a moment that nobody is there.
pub(super) async fn ask(client: &Client, url: &str, stream: &str, api: &str, body: &Value) -> Result<Value, Failure> {
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
        tokio::time::sleep(super::jitter(round)).await;
    }
    Err(Failure::Silent)
}
