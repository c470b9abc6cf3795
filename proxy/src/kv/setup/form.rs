//! The form of every stream of the store, in the words of its API.

use std::time::Duration;

use serde_json::{Value, json};

use crate::{
    identity::permissions,
    kv::{Bucket, HEADERS, Log, MAX_STORED},
    name::MeshName,
};

/// How many versions of a record are kept. The second one is read by nobody: with a single one the server walks through
/// the whole bucket for a consumer of some of its keys, with more it goes from key to key (`selectStartingSeqNo` in
/// nats-server 2.15).
pub(super) const RECORD_VERSIONS: u32 = 2;
/// How many versions are kept of what changes hands: as many in a row have to be forged before none is left that is believed.
pub const SHARED_VERSIONS: u32 = 16;
/// How many may read a stream at once, each by a consumer of its own: every process that follows the registry, and every
/// reader of logs. Where a stream does not say so, a server of 2.15 refuses the thousand-and-first.
const READERS: u32 = 100_000;
/// How long audit lines are kept.
const AUDIT_KEPT: Duration = Duration::from_secs(90 * 24 * 60 * 60);
/// How long log lines are kept.
const LOGS_KEPT: Duration = Duration::from_secs(7 * 24 * 60 * 60);
/// How long the marks of ended leases stay.
const MARKS_KEPT: Duration = Duration::from_secs(60);

pub(super) fn bucket(bucket: Bucket, versions: u32, replicas: u8) -> Value {
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

/// What was deleted for good leaves marks that end by themselves.
pub(super) fn shared(replicas: u8) -> Value {
    let mut config = bucket(Bucket::Shared, SHARED_VERSIONS, replicas);
    if let Some(object) = config.as_object_mut() {
        object.insert("allow_msg_ttl".to_owned(), true.into());
    }
    config
}

/// Blobs that calls carry end by themselves; for that no marks are needed, and so no roll-ups.
pub(super) fn blobs(replicas: u8, room: Option<u64>) -> Value {
    let mut config = bucket(Bucket::Blobs, 1, replicas);
    if let Some(object) = config.as_object_mut() {
        object.insert("allow_msg_ttl".to_owned(), true.into());
        if let Some(room) = room {
            object.insert("max_bytes".to_owned(), room.into());
        }
    }
    config
}

pub(super) fn leases(replicas: u8) -> Value {
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

pub(super) fn audit(mesh: &MeshName, replicas: u8) -> Value {
    log(Log::Audit, &permissions::audit_subject(mesh), AUDIT_KEPT, replicas)
}

/// A lone server does not wait for its disk here: a loss of power may cost the last lines, and no line costs a flush.
pub(super) fn logs(mesh: &MeshName, replicas: u8, bytes: u64) -> Value {
    let mut config = log(Log::Lines, &permissions::log_subject(mesh), LOGS_KEPT, replicas);
    config["max_bytes"] = bytes.into();
    if replicas == 1 {
        config["persist_mode"] = "async".into();
    }
    config
}

/// A stream to which is only added, and of which the oldest goes.
fn log(log: Log, subject: &str, kept: Duration, replicas: u8) -> Value {
    json!({
        "name": log.stream(),
        "subjects": [subject],
        "storage": "file",
        "retention": "limits",
        "discard": "old",
        "max_age": nanoseconds(kept),
        "max_msg_size": MAX_STORED + HEADERS,
        "num_replicas": replicas,
        "max_consumers": READERS,
        "allow_direct": true,
        "allow_rollup_hdrs": false,
        "deny_delete": true,
        "deny_purge": true,
    })
}

fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
