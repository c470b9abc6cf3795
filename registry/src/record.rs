//! What the mesh remembers: records of CIs, nodes and bus starts, and the leases of those that answer.
//!
//! A record travels with the SHA-256 of its content, which is checked on every read: a damaged one is refused.

mod claim;
mod issued;
mod key;
mod seal;
mod secret;
mod skills;

use std::{collections::BTreeMap, fmt, str::FromStr};

use aigis_proxy::{Effect, Name, NodeName, SkillPath, UserName, secret::SignedSealing, skill::SkillInfo};
use serde::{Deserialize, Serialize};

pub use claim::ClaimRecord;
pub use issued::{RemovalRecord, TokenRecord, UserRecord};
pub(crate) use key::Key;
pub use seal::{Damage, digest};
pub(crate) use seal::{open, seal};
pub use secret::{SecretCopy, SecretRecord};
pub use skills::SkillNotes;

use crate::timestamp::Timestamp;

/// What a CI is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// A container, named from outside.
    Container,
    /// A plugin.
    Plugin,
    /// A host agent.
    Node,
    /// An app.
    App,
    /// An assistant.
    Aip,
    /// A program that `aish wrap` runs.
    Wrapped,
}

impl Kind {
    /// Every kind.
    pub const ALL: [Self; 6] = [Self::Container, Self::Plugin, Self::Node, Self::App, Self::Aip, Self::Wrapped];

    /// The kind's word.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Container => "container",
            Self::Plugin => "plugin",
            Self::Node => "node",
            Self::App => "app",
            Self::Aip => "aip",
            Self::Wrapped => "wrapped",
        }
    }
}

/// Whether a CI is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// It answers.
    Live,
    /// Its sign of life is late, or cannot be seen from here.
    Unknown,
    /// It is registered, and does not answer.
    Offline,
    /// Its owner says that it no longer exists.
    Gone,
}

impl State {
    /// Every state, the best first.
    pub const ALL: [Self; 4] = [Self::Live, Self::Unknown, Self::Offline, Self::Gone];

    /// The state's word.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Live => "live",
            Self::Unknown => "unknown",
            Self::Offline => "offline",
            Self::Gone => "gone",
        }
    }
}

/// A word that is none of those allowed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("\"{shown}\" is no {what}; use one of {valid}")]
pub struct UnknownWord {
    what: &'static str,
    shown: String,
    valid: String,
}

impl UnknownWord {
    /// Says that the text is none of these words, which name some `what`.
    #[must_use]
    pub fn new(what: &'static str, text: &str, words: &[&str]) -> Self {
        Self { what, shown: aigis_proxy::quoted(text), valid: words.join(", ") }
    }
}

macro_rules! words {
    ($type:ident, $what:literal) => {
        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(self.as_str())
            }
        }

        impl FromStr for $type {
            type Err = UnknownWord;

            fn from_str(text: &str) -> Result<Self, UnknownWord> {
                let found = Self::ALL.into_iter().find(|word| word.as_str() == text);
                found.ok_or_else(|| UnknownWord::new($what, text, &Self::ALL.map(Self::as_str)))
            }
        }
    };
}

words!(Kind, "kind");
words!(State, "state");

/// What a record tells of a skill.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct SkillNote {
    /// Its path.
    pub path: SkillPath,
    /// What it does to the world.
    pub effect: Effect,
    /// Whether it answers with a stream.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub stream: bool,
    /// How many seconds a call may take that names no deadline, where that is not the usual.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout_s: Option<u64>,
}

impl From<&SkillInfo> for SkillNote {
    fn from(info: &SkillInfo) -> Self {
        let timeout_s = info.timeout.map(|timeout| timeout.as_secs() + u64::from(timeout.subsec_nanos() > 0));
        Self { path: info.path.clone(), effect: info.effect, stream: info.stream, timeout_s }
    }
}

/// What a record tells of a container: the verdict of the engine's last event, not a measurement.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Container {
    /// Its full id.
    pub id: String,
    /// Its name at the engine.
    pub name: String,
    /// The engine's word for its state.
    pub state: String,
    /// The verdict at the engine's last event; absent where only a look into the container could tell.
    pub health: Option<String>,
    /// How it ended, if it did.
    #[serde(default)]
    pub exit_code: Option<i64>,
    /// The image as it was named.
    pub image: String,
    /// The image's id.
    pub image_id: String,
    /// When it was created.
    pub created_at: Option<Timestamp>,
}

impl Container {
    /// Whether calls may be balanced onto it.
    #[must_use]
    pub fn is_running(&self) -> bool {
        self.state == "running"
    }
}

/// A claim that another one took the name from, while its holder was offline.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Replaced {
    /// The node that held the name.
    pub node: NodeName,
    /// When it had registered it: what it registers later is another claim.
    pub registered_at: Timestamp,
}

/// The record of a CI, under `ci.<name>.<node>`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CiRecord {
    /// Its name.
    pub name: Name,
    /// The node it stands on, which alone may write this record.
    pub node: NodeName,
    /// The user at the bus that answers for it: its node's, or, by the CI's own name, that of a plugin which serves its own
    /// skills itself.
    pub server: UserName,
    /// What it is.
    pub kind: Kind,
    /// When its owner said that it no longer exists.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gone_at: Option<Timestamp>,
    /// Other names that lead to it.
    #[serde(default)]
    pub aliases: Vec<Name>,
    /// The labels that are kept.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// What it is for, in its owner's words.
    #[serde(default)]
    pub description: String,
    /// The service that it is a replica of.
    #[serde(default)]
    pub service: Option<Name>,
    /// What was wrong with its labels.
    #[serde(default)]
    pub warnings: Vec<String>,
    /// What can be called, sorted by path.
    #[serde(default)]
    pub skills: SkillNotes,
    /// The container, if it is one.
    #[serde(default)]
    pub container: Option<Container>,
    /// Whose claims of the name count no more.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub replaces: Vec<Replaced>,
    /// When the name was first registered.
    pub registered_at: Timestamp,
    /// When this was written last.
    pub updated_at: Timestamp,
}

impl CiRecord {
    /// Makes the record of a CI that the node itself serves.
    #[must_use]
    pub fn new(name: Name, node: NodeName, kind: Kind) -> Self {
        let now = Timestamp::now();
        Self {
            name,
            server: node.user(),
            node,
            kind,
            gone_at: None,
            aliases: Vec::new(),
            labels: BTreeMap::new(),
            description: String::new(),
            service: None,
            warnings: Vec::new(),
            skills: SkillNotes::default(),
            container: None,
            replaces: Vec::new(),
            registered_at: now,
            updated_at: now,
        }
    }

    /// Whether its owner says that it no longer exists.
    #[must_use]
    pub fn is_gone(&self) -> bool {
        self.gone_at.is_some()
    }

    /// Whether its name is unique in the mesh, because it chose the name itself.
    #[must_use]
    pub fn owns_name(&self) -> bool {
        self.kind != Kind::Container
    }

    /// Whether this claim took the name from that one.
    #[must_use]
    pub fn has_replaced(&self, other: &Self) -> bool {
        let of = |replaced: &Replaced| replaced.node == other.node && replaced.registered_at == other.registered_at;
        !self.is_gone() && self.name == other.name && self.replaces.iter().any(of)
    }

    /// Who answers for one of its skills when it is called by that name, and by which path. Of a plugin that serves itself
    /// that is its own user, for its own skills by their names within it; what is standard stays with its node.
    #[must_use]
    pub fn server_of(&self, called: &Name, path: &SkillPath) -> (UserName, SkillPath) {
        let node = self.node.user();
        if self.server != node && self.name == *called {
            let within = path.as_str().strip_prefix(self.name.as_str()).and_then(|rest| rest.strip_prefix('.'));
            let within = within.unwrap_or(path.as_str());
            let whole = format!("{}.{within}", self.name);
            let is_own = self.skills.iter().any(|skill| skill.path.as_str() == whole);
            if let Some(within) = SkillPath::parse(within).ok().filter(|_| is_own) {
                return (self.server.clone(), within);
            }
        }
        (if self.kind == Kind::Plugin { node } else { self.server.clone() }, path.clone())
    }

    /// Whether both say the same, whenever it was said.
    #[must_use]
    pub fn says_the_same(&self, other: &Self) -> bool {
        let times = Self { registered_at: self.registered_at, updated_at: self.updated_at, ..other.clone() };
        *self == times
    }
}

/// What a node can reach of its engine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Engine {
    /// Whether it answers.
    pub reachable: bool,
    /// Its version.
    pub version: Option<String>,
    /// The version of its interface in use.
    pub api_version: Option<String>,
}

/// What a host has.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Capacity {
    /// Processors.
    pub cpus: Option<u32>,
    /// Memory.
    pub memory_bytes: Option<u64>,
    /// Room on the disk of the data directory.
    pub disk_free_bytes: Option<u64>,
}

/// What a node's record tells of its gateway.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gateway {
    /// Where an app is served, with `APP` in place of its name: `http://APP.localhost:8080`.
    pub url: String,
    /// Whether only this host reaches it.
    pub is_local: bool,
}

impl Gateway {
    /// Where an app is served.
    #[must_use]
    pub fn url_of(&self, app: &Name) -> String {
        self.url.replacen("APP", app.as_str(), 1)
    }
}

/// The record of a node, under `node.<name>`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeRecord {
    /// Its name.
    pub name: NodeName,
    /// The public key of its user at the bus.
    pub id: String,
    /// The version of Aigis that it runs.
    pub version: String,
    /// Its labels.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// Whether nothing new is to be placed on it.
    #[serde(default)]
    pub cordoned: bool,
    /// Whether it is being emptied.
    #[serde(default)]
    pub draining: bool,
    /// Its engine; `None` if it has none.
    #[serde(default)]
    pub engine: Option<Engine>,
    /// Since when the engine is, or is not, reachable.
    #[serde(default)]
    pub engine_since_at: Option<Timestamp>,
    /// What it has.
    #[serde(default)]
    pub capacity: Capacity,
    /// The key to which secrets are sealed that it may open.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sealing: Option<SignedSealing>,
    /// Its gateway, if it serves the mesh's apps over HTTP.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gateway: Option<Gateway>,
    /// When it started.
    pub started_at: Timestamp,
    /// When this was written last.
    pub updated_at: Timestamp,
}

impl NodeRecord {
    /// Whether the node has an engine that it cannot reach.
    #[must_use]
    pub fn lost_its_engine(&self) -> bool {
        self.engine.as_ref().is_some_and(|engine| !engine.reachable)
    }

    /// Whether both say the same, whenever it was said.
    #[must_use]
    pub fn says_the_same(&self, other: &Self) -> bool {
        *self == Self { updated_at: self.updated_at, ..other.clone() }
    }
}

/// The record of a bus start, under `bus.<server>.<node>`: how old it is tells how long the bus has been up.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BusRecord {
    /// The id of the server, new at each of its starts.
    pub server: String,
    /// The node that met it first.
    pub node: NodeName,
}

/// A sign of life, under `live.<user>` in the leases.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lease {
    /// Tells one start of the owner from another.
    pub boot: String,
    /// Moves with each renewal; observers watch it move.
    pub counter: u64,
    /// When the owner started.
    pub since_at: Timestamp,
    /// Whether the owner says that it ends now.
    #[serde(default)]
    pub goodbye: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_skill_declares_its_time_in_the_record() {
        let mut table = aigis_proxy::skill::Table::<()>::new();
        for path in ["slow", "usual"] {
            table.value(path, Effect::Read, "", async |_, _, _: aigis_proxy::skill::Nothing| Ok(()));
        }
        table.timeout("slow", std::time::Duration::from_millis(40_500));
        let notes: Vec<SkillNote> = table.skills().iter().map(|skill| SkillNote::from(&**skill)).collect();
        assert_eq!(notes.iter().map(|note| note.timeout_s).collect::<Vec<_>>(), [Some(41), None]);
        let written = serde_json::to_value(&notes).unwrap();
        assert_eq!(written[1], serde_json::json!({"path": "usual", "effect": "read"}));
        assert_eq!(serde_json::from_value::<Vec<SkillNote>>(written).unwrap(), notes);
    }

    #[test]
    fn plg_69_a_plugin_that_serves_itself_is_asked_for_its_own_skills_alone() {
        let (dice, node) = (Name::parse("dice").unwrap(), NodeName::parse("alpha").unwrap());
        let note = |path: &str| SkillNote {
            path: SkillPath::parse(path).unwrap(),
            effect: Effect::Read,
            stream: false,
            timeout_s: None,
        };
        let record = CiRecord::new(dice.clone(), node, Kind::Plugin);
        let skills = vec![note("describe"), note("dice.health"), note("dice.roll"), note("health")];
        let itself =
            CiRecord { server: UserName::parse("dice").unwrap(), skills: skills.clone().into(), ..record.clone() };
        let asked = |record: &CiRecord, called: &Name, path: &str| {
            let (server, path) = record.server_of(called, &SkillPath::parse(path).unwrap());
            format!("{server} {path}")
        };
        for (path, expected) in [
            ("dice.roll", "dice roll"),
            ("roll", "dice roll"),
            ("health", "dice health"),
            ("describe", "alpha describe"),
            ("nosuch", "alpha nosuch"),
        ] {
            assert_eq!(asked(&itself, &dice, path), expected);
        }
        assert_eq!(asked(&itself, &Name::parse("dice-ci").unwrap(), "health"), "alpha health");
        assert_eq!(asked(&CiRecord { skills: skills.into(), ..record }, &dice, "dice.roll"), "alpha dice.roll");
    }

    #[test]
    fn words_name_the_valid_ones() {
        assert_eq!("live".parse::<State>().unwrap(), State::Live);
        let message = "bogus".parse::<Kind>().unwrap_err().to_string();
        assert!(message.contains("container, plugin, node, app, aip, wrapped"), "{message}");
    }
}
