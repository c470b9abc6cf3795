//! Plugins whose processes run elsewhere than at home: how a home node and a place speak with each other.
//!
//! The home node keeps all that a plugin is in the mesh: its name, its skills, its state, its log. A *place*, another node or a
//! plugin host, runs its process. The home [puts](placement) the plugin there and follows what becomes of it; the place
//! [keeps](guests) the process running, whether it hears of the home or not.

use std::{collections::BTreeMap, path::PathBuf};

use aigis_proxy::{
    Effect, Error, Grant, Name, Role, SkillPath, UserName,
    blob::{Content, Digest},
    secret::{Sealed, SecretName},
};
use aigis_registry::Timestamp;
use serde::{Deserialize, Serialize};

use super::{
    journal,
    standing::{LastExit, Standing, State},
};

mod bringing;
mod choice;
mod desk;
pub(crate) mod guests;
pub(crate) mod placement;
mod tree;

pub(crate) use desk::serve;

/// The service name of [`Places`]; its target is the place.
pub(crate) const PLACES: &str = "places";

/// A place, as the home nodes of plugins ask it; and a home node, as places ask it.
#[tarpc::service(derive = [serde::Serialize, serde::Deserialize])]
pub(crate) trait Places {
    /// Says what this place has for a plugin of the caller.
    async fn offer(plugin: Name, tree: Digest) -> Result<Offer, Error>;
    /// Takes a piece of a plugin's tree.
    async fn bring(plugin: Name, piece: Piece) -> Result<(), Error>;
    /// Makes a plugin of the caller ready, and runs it in place of what ran of it before. Where that runs as wanted already,
    /// nothing is done. What is wrong with it leaves the former one running.
    async fn run(part: Part) -> Result<(), Error>;
    /// Ends a plugin of the caller; with `remove`, nothing of it stays.
    async fn end(plugin: Name, remove: bool) -> Result<(), Error>;
    /// Waits until there is something new of a plugin of the caller, or some seconds have passed.
    async fn follow(plugin: Name, known: Known) -> Result<News, Error>;
    /// Uses an object that lives in the process of a plugin of the caller; answers with JSON.
    async fn invoke(using: Using) -> Result<Content, Error>;
    /// Says whether the callee, a home node, wants a plugin to run at the caller.
    async fn wants(plugin: Name) -> Result<Wanted, Error>;
}

/// What a place has for a plugin.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Offer {
    /// The public key of the user under which the plugin would call; its other half stays there.
    pub(crate) public_key: String,
    /// Whether it has that tree.
    pub(crate) has_tree: bool,
    /// How many bytes of its memory are free.
    pub(crate) free_bytes: u64,
}

/// A piece of an archive of a tree.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Piece {
    /// The digest of what the tree holds, by which it is called.
    pub(crate) tree: Digest,
    /// Where in the archive it stands, in bytes.
    pub(crate) offset: u64,
    pub(crate) content: Content,
    /// Whether the archive is whole with it.
    pub(crate) is_last: bool,
}

/// A plugin, as a place gets it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Part {
    pub(crate) plugin: Name,
    /// The digest of its tree, which was brought before.
    pub(crate) tree: Digest,
    /// Variables of its process.
    pub(crate) env: BTreeMap<String, String>,
    /// The interpreter that is to run it.
    pub(crate) python: Option<PathBuf>,
    /// What it may call.
    pub(crate) grants: Vec<Grant>,
    pub(crate) secrets: Vec<Secret>,
    /// What the issuer signed for the key of the [`Offer`].
    pub(crate) token: String,
}

/// A use of an object in a plugin's process. Who uses it is what its home says: to the place, that is the one who asks.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Using {
    pub(crate) plugin: Name,
    /// A path that begins with `_ref`.
    pub(crate) path: SkillPath,
    pub(crate) role: Role,
    pub(crate) caller: UserName,
    /// The largest effect that the caller has on the plugin.
    pub(crate) may: Effect,
    pub(crate) call: Option<String>,
    /// The envelope as it came.
    pub(crate) body: Content,
}

/// A secret, sealed to the place.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Secret {
    pub(crate) key: SecretName,
    /// Which value that is.
    pub(crate) version: String,
    /// The mode of its file.
    pub(crate) mode: u32,
    pub(crate) sealed: Sealed,
}

/// What a home node knows of a plugin at a place.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Known {
    pub(crate) told: Option<Told>,
    /// Up to where it has read the log.
    pub(crate) read: journal::Place,
}

/// What is new of a plugin at a place.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct News {
    pub(crate) told: Told,
    /// How many bytes its process has in memory.
    pub(crate) memory_bytes: Option<u64>,
    /// Lines of the log that come next.
    pub(crate) lines: Vec<journal::Line>,
    /// Up to where the log is read with these.
    pub(crate) read: journal::Place,
}

/// Where a home node wants a plugin of its own to run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Wanted {
    /// There, at the place that asks.
    Here,
    /// Somewhere else, or not now.
    Elsewhere,
    /// It has no such plugin.
    Nowhere,
}

/// How a plugin stands at a place.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Told {
    pub(crate) state: State,
    pub(crate) since: Timestamp,
    pub(crate) pid: Option<u32>,
    pub(crate) started_at: Option<Timestamp>,
    pub(crate) restarts: u32,
    pub(crate) last_exit: Option<LastExit>,
    /// The version of its interpreter.
    pub(crate) python: Option<String>,
    pub(crate) warnings: Vec<String>,
    pub(crate) error: Option<Error>,
}

impl Told {
    /// How a plugin of this place stands.
    fn of(standing: &Standing) -> Self {
        let Standing { state, since, pid, restarts, ref last_exit, ref python, ref warnings, ref error, .. } =
            *standing;
        Self {
            state,
            since,
            pid,
            started_at: standing.started.map(|(at, _)| at),
            restarts,
            last_exit: last_exit.clone(),
            python: python.clone(),
            warnings: warnings.clone(),
            error: error.clone(),
        }
    }
}

impl Part {
    /// Whether another one asks for the same, whatever its credential.
    fn asks_the_same(&self, other: &Self) -> bool {
        let versions = |part: &Self| -> Vec<(SecretName, String)> {
            part.secrets.iter().map(|secret| (secret.key.clone(), secret.version.clone())).collect()
        };
        self.tree == other.tree
            && self.env == other.env
            && self.python == other.python
            && self.grants == other.grants
            && versions(self) == versions(other)
    }
}
