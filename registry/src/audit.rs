//! Audit: who changed what, when, and how it ended. Each line follows the one before by digest and is signed by its
//! node, so that a line that was dropped, edited or put between shows.

use std::{collections::HashSet, time::Duration};

use aigis_proxy::{
    Bus, Code, Effect, Error, Name, NodeName, Role, UserName,
    kv::{self, Log, LogMessage, Since},
};
use ring::signature::{ED25519, UnparsedPublicKey};
use serde::{Deserialize, Serialize};
use serde_json::{Value, value::RawValue};

use crate::{record::digest, timestamp::Timestamp};

mod chain;
mod journal;
mod verify;

pub use journal::AuditJournal;
pub use verify::{Extent, Head, Keys, Verified, WITNESS, verify};

/// When a line was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Phase {
    /// Before the effect.
    Begin,
    /// After it.
    End,
    /// In its place.
    Refused,
}

impl Phase {
    /// The phase's word, as it stands in the subject.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Begin => "begin",
            Self::End => "end",
            Self::Refused => "refused",
        }
    }
}

/// A line of audit.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Line {
    /// Its number among the lines of its node, from 1.
    pub seq: u64,
    /// The digest of the line before; empty for the first.
    pub previous: String,
    /// When it was written, by the node's clock.
    pub at: Timestamp,
    /// The node that wrote it.
    pub node: NodeName,
    /// Before, after or in place of the effect.
    pub phase: Phase,
    /// Who called.
    pub caller: UserName,
    /// In which role.
    pub role: Role,
    /// The CI, as `NAME@NODE`.
    pub ci: Option<String>,
    /// The skill, or what else was asked for.
    pub skill: Option<String>,
    /// The skill's effect.
    pub effect: Option<Effect>,
    /// The call's id.
    pub call: Option<String>,
    /// The arguments, with what looks like a secret hidden.
    pub arguments: Option<Value>,
    /// How it ended: `None` for well.
    pub code: Option<Code>,
    /// Why it failed or was refused.
    pub reason: Option<String>,
    /// How many refusals of this caller before this one have no line of their own.
    #[serde(default)]
    pub more: u64,
}

/// A line as it travels: exactly the bytes that were signed.
#[derive(Debug, Serialize, Deserialize)]
struct Signed {
    digest: String,
    signature: String,
    line: Box<RawValue>,
}

/// A line from the audit stream.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// The line.
    pub line: Line,
    /// The SHA-256 of its bytes.
    pub digest: String,
    /// Whose subject it came by, as the bus vouches for it.
    pub publisher: String,
    /// When the store took it.
    pub stored: Timestamp,
    /// Its place in the stream.
    pub sequence: u64,
    text: String,
    signature: Vec<u8>,
}

/// What is read of the audit stream.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    /// The nodes whose lines are read; empty for all.
    pub nodes: Vec<NodeName>,
    /// From when on, by the store's clock.
    pub since: Option<Timestamp>,
    /// Whose calls.
    pub caller: Option<UserName>,
    /// On which CI, wherever it stands.
    pub ci: Option<Name>,
    /// At most so many, the newest; `None` for all.
    pub limit: Option<usize>,
    /// Whether what the issuer notes of others' chains is read too.
    pub notes: bool,
}

/// What was read of the audit stream.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Reading {
    /// The lines, in the order in which the store took them.
    pub entries: Vec<Entry>,
    /// What is not believed.
    pub flaws: Vec<Flaw>,
}

/// What is wrong with a line, or between two.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Flaw {
    /// The node that is to blame.
    pub node: String,
    /// The number of the line, where it is known.
    pub seq: Option<u64>,
    /// What is wrong.
    pub kind: FlawKind,
}

/// The ways in which audit can be wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FlawKind {
    /// Its content does not match its digest, or is no line.
    #[error("the line is damaged")]
    Damaged,
    /// It is not signed by the node whose name it bears.
    #[error("the signature is not the node's")]
    Signature,
    /// The node's key is not known.
    #[error("the node's key is not known, so its signatures cannot be checked")]
    Unknown,
    /// Lines are missing before it.
    #[error("lines are missing before it; the one before has the number {after}")]
    Gap {
        /// The number of the line before the gap.
        after: u64,
    },
    /// It does not follow the line before it.
    #[error("it does not follow the line before it")]
    Chain,
    /// It claims to be older than the line before it.
    #[error("it is dated before the line before it")]
    Time,
    /// It is another than the one that was there before.
    #[error("it is not the line that the issuer saw there at {at}")]
    Replaced {
        /// When that was.
        at: Timestamp,
    },
    /// It is the last that was seen of a node that lives, and has not come.
    #[error("the issuer saw it at {at}, and it never came; the last that did has the number {after}")]
    Withheld {
        /// The number of the last line that came.
        after: u64,
        /// When it was seen.
        at: Timestamp,
    },
}

/// Reads the audit stream up to now.
///
/// # Errors
///
/// `permission_denied`, or `unavailable` if it was not read to its end in time.
pub async fn read(bus: &Bus, filter: &Filter, within: Duration) -> Result<Reading, Error> {
    let nodes: Vec<&str> = filter.nodes.iter().map(NodeName::as_str).collect();
    let since = filter.since.map_or(Since::Beginning, |since| Since::Time(since.time()));
    let prefix = bus.subjects().events("audit");
    let prefix = prefix.trim_end_matches('>');
    let (mut reading, mut known) = (Reading::default(), HashSet::new());
    kv::read_log(bus, Log::Audit, &nodes, since, within, |message| {
        let publisher = message.subject.strip_prefix(prefix).and_then(|rest| rest.split('.').next());
        let publisher = publisher.unwrap_or_default().to_owned();
        match Entry::read(&message, &publisher) {
            // A node that lost its connection before the acknowledgement sends a line twice.
            Ok(entry) if !known.insert((publisher.clone(), entry.digest.clone())) => {}
            Ok(entry) if filter.keeps(&entry.line) => reading.entries.push(entry),
            Ok(_) => {}
            Err(kind) => reading.flaws.push(Flaw { node: publisher, seq: None, kind }),
        }
        true
    })
    .await?;
    if let Some(limit) = filter.limit {
        let surplus = reading.entries.len().saturating_sub(limit);
        reading.entries.drain(..surplus);
    }
    Ok(reading)
}

impl Filter {
    fn keeps(&self, line: &Line) -> bool {
        if line.skill.as_deref() == Some(WITNESS) && line.ci.is_none() && !self.notes {
            return false;
        }
        let on = |name: &Name| line.ci.as_deref().and_then(|ci| ci.split('@').next()) == Some(name.as_str());
        self.caller.as_ref().is_none_or(|caller| *caller == line.caller) && self.ci.as_ref().is_none_or(on)
    }
}

impl Entry {
    fn read(message: &LogMessage, publisher: &str) -> Result<Self, FlawKind> {
        let signed: Signed = serde_json::from_slice(&message.body).map_err(|_| FlawKind::Damaged)?;
        let text = signed.line.get();
        let line: Line = serde_json::from_str(text).map_err(|_| FlawKind::Damaged)?;
        if digest(text.as_bytes()) != signed.digest || line.node.as_str() != publisher {
            return Err(FlawKind::Damaged);
        }
        let signature = data_encoding::BASE64.decode(signed.signature.as_bytes()).map_err(|_| FlawKind::Damaged)?;
        Ok(Self {
            line,
            digest: signed.digest,
            publisher: publisher.to_owned(),
            stored: message.stored.into(),
            sequence: message.sequence,
            text: text.to_owned(),
            signature,
        })
    }

    /// Whether it was signed with the private half of that public key.
    #[must_use]
    pub fn is_signed_by(&self, public: &str) -> bool {
        verifies(public, self.text.as_bytes(), &self.signature)
    }
}

/// A public key is base32 of a byte that says its kind, the key, and two bytes of checksum.
fn verifies(public: &str, text: &[u8], signature: &[u8]) -> bool {
    let decoded = data_encoding::BASE32_NOPAD.decode(public.as_bytes()).unwrap_or_default();
    decoded.get(1..33).is_some_and(|key| UnparsedPublicKey::new(&ED25519, key).verify(text, signature).is_ok())
}

#[cfg(test)]
mod tests;
