//! Whether the audit is whole: each node's lines in one chain, signed by keys that the node had, and as long as was seen.
//!
//! A node says now and then, in a record, how long its chain is, and the issuer notes that in its own. So a node that takes
//! back its newest lines before they were delivered contradicts what was noted.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use aigis_proxy::NodeName;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Entry, Flaw, FlawKind, Line, Phase, Reading};
use crate::timestamp::Timestamp;

/// Under which name the issuer notes how long the chains of others are.
pub const WITNESS: &str = "audit.heads";
/// How far back a clock may be set: not every step of one is an attempt to deceive.
const STEP: time::Duration = time::Duration::seconds(2);
/// How long the newest lines of a live node may be under way.
const UNDER_WAY: time::Duration = time::Duration::seconds(60);

/// The end of a chain.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Head {
    /// The number of its last line; 0 if there is none.
    pub seq: u64,
    /// The digest of that line.
    pub digest: String,
}

impl Head {
    /// The head of a chain without lines.
    #[must_use]
    pub fn none() -> Self {
        Self { seq: 0, digest: String::new() }
    }
}

/// The public keys that each node has had.
#[derive(Debug, Clone, Default)]
pub struct Keys(BTreeMap<NodeName, BTreeSet<String>>);

impl Keys {
    /// Adds a key.
    pub fn add(&mut self, node: NodeName, public: String) {
        self.0.entry(node).or_default().insert(public);
    }

    /// Adds those keys that the issuer has put on record as it admitted their holders: a node that joined anew had another
    /// one before.
    pub fn learn(&mut self, reading: &Reading, issuer: &NodeName) {
        let of_issuer = reading.entries.iter().filter(|entry| entry.line.node == *issuer);
        let admitted = of_issuer.filter(|entry| self.signer(entry).is_some()).filter_map(|entry| {
            let Line { skill, arguments, phase: Phase::Begin, .. } = &entry.line else { return None };
            if !matches!(skill.as_deref(), Some("join" | "users.create")) {
                return None;
            }
            let said = arguments.as_ref()?.get("kwargs")?;
            let node = NodeName::parse(said.get("name")?.as_str()?).ok()?;
            Some((node, said.get("public_key")?.as_str()?.to_owned()))
        });
        for (node, public) in admitted.collect::<Vec<_>>() {
            self.add(node, public);
        }
    }

    fn signer(&self, entry: &Entry) -> Option<&str> {
        self.0.get(&entry.line.node)?.iter().find(|key| entry.is_signed_by(key)).map(String::as_str)
    }
}

impl<S: Into<String>> FromIterator<(NodeName, S)> for Keys {
    fn from_iter<T: IntoIterator<Item = (NodeName, S)>>(pairs: T) -> Self {
        let mut keys = Self::default();
        for (node, public) in pairs {
            keys.add(node, public.into());
        }
        keys
    }
}

/// What there is of a node's lines.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Extent {
    /// The node.
    pub node: NodeName,
    /// How many lines there are.
    pub lines: u64,
    /// The number of the first.
    pub first: u64,
    /// The number of the last.
    pub last: u64,
    /// How many lines are known to follow that have not come, of a node that is away or has only just written them.
    pub awaited: u64,
}

/// What a check found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Verified {
    /// Each node's lines, sorted by node.
    pub extents: Vec<Extent>,
    /// What is wrong.
    pub flaws: Vec<Flaw>,
}

/// Checks whole chains of lines, as [`super::read`] gives them without a limit or filter. `is_live` says of which nodes the
/// newest lines should have come by now.
#[must_use]
pub fn verify(
    reading: &Reading,
    keys: &Keys,
    issuer: Option<&NodeName>,
    is_live: impl Fn(&NodeName) -> bool,
) -> Verified {
    // Lines that are older than the oldest one kept are nobody's fault.
    let from_start = reading.entries.first().is_none_or(|entry| entry.sequence == 1);
    let mut chains: BTreeMap<&NodeName, Chain<'_>> = BTreeMap::new();
    let mut flaws = reading.flaws.clone();
    for entry in &reading.entries {
        let signer = keys.signer(entry);
        let chain = chains.entry(&entry.line.node).or_default();
        let mut blame = |kind| flaws.push(blame(&entry.line.node, entry.line.seq, kind));
        match signer {
            None if keys.0.contains_key(&entry.line.node) => blame(FlawKind::Signature),
            None => blame(FlawKind::Unknown),
            Some(_) => {}
        }
        if let Some(kind) = chain.append(entry, signer, from_start) {
            blame(kind);
        }
    }
    for (node, head, at) in witnessed(reading, keys, issuer) {
        let Some(chain) = chains.get_mut(&node) else {
            if is_live(&node) && Timestamp::now().time() - at.time() > UNDER_WAY {
                flaws.push(blame(&node, head.seq, FlawKind::Withheld { after: 0, at }));
            }
            continue;
        };
        match chain.digests.get(&head.seq) {
            Some(digests) if digests.contains(&head.digest.as_str()) => {}
            Some(_) => flaws.push(blame(&node, head.seq, FlawKind::Replaced { at })),
            None if head.seq <= chain.last => {}
            None if is_live(&node) && Timestamp::now().time() - at.time() > UNDER_WAY => {
                flaws.push(blame(&node, head.seq, FlawKind::Withheld { after: chain.last, at }));
            }
            None => chain.awaited = chain.awaited.max(head.seq - chain.last),
        }
    }
    let extents = chains.into_iter().map(|(node, chain)| Extent {
        node: node.clone(),
        lines: chain.lines,
        first: chain.first,
        last: chain.last,
        awaited: chain.awaited,
    });
    Verified { extents: extents.collect(), flaws }
}

fn blame(node: &NodeName, seq: u64, kind: FlawKind) -> Flaw {
    Flaw { node: node.to_string(), seq: Some(seq), kind }
}

/// A node's lines, as far as they were read.
#[derive(Debug, Default)]
struct Chain<'a> {
    before: Option<&'a Entry>,
    signer: Option<&'a str>,
    digests: HashMap<u64, Vec<&'a str>>,
    lines: u64,
    first: u64,
    last: u64,
    awaited: u64,
}

impl<'a> Chain<'a> {
    /// Takes in the next line, and says what is wrong about where it stands.
    fn append(&mut self, entry: &'a Entry, signer: Option<&'a str>, from_start: bool) -> Option<FlawKind> {
        let line = &entry.line;
        self.lines += 1;
        self.digests.entry(line.seq).or_default().push(&entry.digest);
        let former = std::mem::replace(&mut self.signer, signer);
        let Some(before) = self.before.replace(entry) else {
            (self.first, self.last) = (line.seq, line.seq);
            return (from_start && line.seq != 1).then_some(FlawKind::Gap { after: 0 });
        };
        self.last = line.seq;
        let joined_anew = line.seq == 1 && line.previous.is_empty() && signer.is_some() && signer != former;
        match line.seq {
            _ if joined_anew => {
                self.first = 1;
                None
            }
            seq if seq > before.line.seq + 1 => Some(FlawKind::Gap { after: before.line.seq }),
            seq if seq <= before.line.seq || line.previous != before.digest => Some(FlawKind::Chain),
            _ if line.at.time() + STEP < before.line.at.time() => Some(FlawKind::Time),
            _ => None,
        }
    }
}

/// What the issuer has noted of the length of others' chains, and when.
fn witnessed(reading: &Reading, keys: &Keys, issuer: Option<&NodeName>) -> Vec<(NodeName, Head, Timestamp)> {
    let of_issuer = reading.entries.iter().filter(|entry| Some(&entry.line.node) == issuer);
    let notes = of_issuer.filter(|entry| entry.line.skill.as_deref() == Some(WITNESS) && keys.signer(entry).is_some());
    let heads = notes.filter_map(|entry| match entry.line.arguments.as_ref()?.get("kwargs")? {
        Value::Object(heads) => Some((heads, entry.line.at)),
        _ => None,
    });
    let read = heads.flat_map(|(heads, at)| {
        heads.iter().filter_map(move |(node, head)| {
            let node = NodeName::parse(node).ok()?;
            Some((node, serde_json::from_value(head.clone()).ok()?, at))
        })
    });
    read.collect()
}
