//! The lines on the node's disk: each numbered, signed, and bound to the one before by its digest.

use std::{sync::Arc, time::Duration};

use aigis_proxy::{Bus, Error, identity::Credential, kv, task};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use tokio::sync::watch;

use super::{Head, Line, Signed};
use crate::{
    record::digest,
    spool::{self, Content, Spool},
    timestamp::Timestamp,
};

/// How long what was done is known under its call's id.
pub(super) const MEMORY: Duration = Duration::from_secs(10 * 60);
/// How long one attempt to ship a line may take.
const ATTEMPT: Duration = Duration::from_secs(5);

/// What is appended: a line whose number, time and predecessor are set as it is written, and what the node keeps beside.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) line: Line,
    pub(super) local: Option<Local>,
}

/// A line on disk: what is shipped, and what stays.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Kept {
    pub(super) signed: Signed,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) local: Option<Local>,
}

/// What the node keeps of a call beside its audit line, to answer it again.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Local {
    pub(super) key: String,
    /// The digest of the arguments.
    pub(super) arguments: String,
    /// `None` while it is not known.
    pub(super) outcome: Option<Outcome>,
}

/// How a call ended, as a repeat is told.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Outcome {
    Done(serde_json::Value),
    Failed(Error),
    /// It went well, and its result is too large to be kept.
    Large,
}

/// The end of the chain.
#[derive(Clone)]
pub(super) struct Chain {
    credential: Arc<Credential>,
    seq: u64,
    previous: String,
    head: watch::Sender<Head>,
}

impl Chain {
    /// A chain without lines, to be signed with that credential's key.
    pub(super) fn new(credential: Arc<Credential>) -> Self {
        Self { credential, seq: 0, previous: String::new(), head: watch::Sender::new(Head::none()) }
    }

    /// Where the chain ends on the disk, as that moves.
    pub(super) fn head(&self) -> watch::Receiver<Head> {
        self.head.subscribe()
    }
}

impl Content for Chain {
    type Item = Entry;
    type Kept = Kept;

    const NAME: &'static str = "audit";
    const FLUSHED: bool = true;
    const KEPT_FOR: Duration = MEMORY;

    fn found(&mut self, kept: &Kept) {
        if let Some(line) = kept.signed.read() {
            (self.seq, self.previous) = (line.seq, kept.signed.digest.clone());
            self.written();
        }
    }

    fn next(&mut self, item: &Entry) -> serde_json::Result<Kept> {
        let (seq, previous) = (self.seq + 1, self.previous.clone());
        let line = Line { seq, previous, at: Timestamp::now(), ..item.line.clone() };
        let line: Box<RawValue> = serde_json::value::to_raw_value(&line)?;
        let digest = digest(line.get().as_bytes());
        let signature = data_encoding::BASE64.encode(&self.credential.sign(line.get().as_bytes()));
        (self.seq, self.previous) = (seq, digest.clone());
        Ok(Kept { signed: Signed { digest, signature, line }, local: item.local.clone() })
    }

    fn last(&self) -> u64 {
        self.seq
    }

    fn written(&self) {
        self.head.send_replace(Head { seq: self.seq, digest: self.previous.clone() });
    }
}

impl Signed {
    /// The line, if it is one.
    pub(super) fn read(&self) -> Option<Line> {
        serde_json::from_str(self.line.get()).ok()
    }
}

/// Ships the lines to the audit stream until the returned task is dropped.
pub(super) fn ship(spool: Spool<Chain>, bus: Bus) -> task::Owned {
    spool::ship(spool, move |kept: Kept| {
        let bus = bus.clone();
        async move {
            let phase = kept.signed.read().map_or("line", |line| line.phase.as_str());
            let subject = bus.subjects().event("audit", bus.user(), phase);
            let Ok(body) = serde_json::to_vec(&kept.signed) else { return };
            let body = bytes::Bytes::from(body);
            let log = kv::Log::Audit;
            spool::until_taken(&bus, || {
                kv::append(&bus, log, subject.clone(), &kept.signed.digest, body.clone(), ATTEMPT)
            })
            .await;
        }
    })
}
