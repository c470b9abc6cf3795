//! What is known of an app.

use aigis_proxy::{
    Error, Name, NodeName, UserName,
    chain::{ChainId, Tree},
    identity::Mandate,
    services::{
        chains::{InstanceId, Restart},
        steps::Limits,
    },
};
use serde::{Deserialize, Serialize};

use super::chain::Source;
use crate::timestamp::Timestamp;

/// The record of an app, under `app.<name>`. It names the one instance in force and at most one candidate; a place runs
/// what it names there, and ends what it does not name.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AppRecord {
    /// Its name.
    pub name: Name,
    /// The id of its project.
    pub project: String,
    /// Who pushed it last.
    pub pushed_by: UserName,
    /// When.
    pub pushed_at: Timestamp,
    /// The chain of that push.
    pub chain: ChainId,
    /// What was pushed.
    pub source: Source,
    /// Where it is to run: labels `KEY=VALUE`, or one node's name; all must hold.
    #[serde(default)]
    pub on: Vec<String>,
    /// Whether somebody stopped it: it stays so until it is started or pushed again.
    #[serde(default)]
    pub stopped: bool,
    /// The instance in force.
    #[serde(default)]
    pub instance: Option<Instance>,
    /// The one that is to take its place once it is ready.
    #[serde(default)]
    pub candidate: Option<Instance>,
    /// The tree and the state as its last chain left them; what `aish apps pull` gives.
    #[serde(default)]
    pub app_tree: Tree,
    /// See `app_tree`.
    #[serde(default)]
    pub state_tree: Tree,
    /// Why it does not run though it should, if so.
    #[serde(default)]
    pub trouble: Option<String>,
    /// Why it is not run elsewhere though its place is lost or being emptied, if so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stranded: Option<String>,
}

/// An instance of an app: a container that a place runs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Instance {
    /// Which one.
    pub id: InstanceId,
    /// Its place.
    pub node: NodeName,
    /// The image's id or name there.
    pub image: String,
    /// An archive of the image, where the place had to be given one.
    #[serde(default)]
    pub archive: Tree,
    /// Its command; the image's own if empty.
    #[serde(default)]
    pub cmd: Vec<String>,
    /// Where that runs; the image's own if absent.
    #[serde(default)]
    pub workingdir: Option<String>,
    /// Its TCP ports, the main one first.
    #[serde(default)]
    pub ports: Vec<u16>,
    /// When it is started again.
    pub restart: Restart,
    /// What it may use.
    #[serde(default)]
    pub limits: Limits,
    /// How many seconds it has to listen on its ports.
    pub ready_timeout_s: u64,
    /// The wish of the person who pushed it.
    pub mandate: Mandate,
    /// Whether it has been ready.
    #[serde(default)]
    pub ready: bool,
    /// Ports on which it does not listen, though it had its time.
    #[serde(default)]
    pub silent: Vec<u16>,
    /// How it ended by itself, if it did: it is not started again.
    #[serde(default)]
    pub exit_code: Option<i64>,
    /// The same, with what its place told of it; also where it could not be started.
    #[serde(default)]
    pub end: Option<InstanceEnd>,
    /// When it was named.
    pub since: Timestamp,
}

/// How an instance ended, as its place told.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct InstanceEnd {
    /// How its process ended, if it ran.
    #[serde(default)]
    pub exit_code: Option<i64>,
    /// Whether the kernel ended it for its memory.
    #[serde(default)]
    pub out_of_memory: bool,
    /// The last of what it wrote.
    #[serde(default)]
    pub log: Tree,
    /// Who ended it, if somebody did.
    #[serde(default)]
    pub by: Option<String>,
    /// Why it could not be started.
    #[serde(default)]
    pub error: Option<Error>,
}
