//! What a node does for the deployments of the mesh: it says what it has of a project, and sets up, replaces, judges and
//! removes its containers, one at a time.
//!
//! Each request is whole in itself and may be repeated: whoever carries a deployment may die, and the next one looks and
//! goes on.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
};

use serde::{Deserialize, Serialize};

use super::steps::Limits;
use crate::{
    blob::{Blob, Digest},
    error::Error,
    identity::Mandate,
    name::{Name, NodeName},
};

/// The service name of [`Deployments`]; its target is the node.
pub const DEPLOYMENTS: &str = "deployments";

/// One container that a deployment wants, as the engine gets it. The image has what does not depend on where it runs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Replica {
    /// The project.
    pub project: Name,
    /// The container's name in the manifest, and in the project's network.
    pub container: Name,
    /// Its name in the engine: `api`, or `api-2`.
    pub name: Name,
    /// The name of its CI.
    pub ci_name: Name,
    /// The CI that its replicas share, if there are several.
    pub service: Option<Name>,
    /// The package.
    pub package: Digest,
    /// The configuration of its image: the image's id in the engine.
    pub image: Digest,
    /// Its volumes, by name: where they are in it.
    pub volumes: BTreeMap<Name, String>,
    /// The ports of the host that lead to its ports.
    pub publish: BTreeMap<u16, SocketAddr>,
    /// Keys of the project's secrets that it gets as files.
    pub secret_files: BTreeSet<String>,
    /// Keys of the project's secrets that it gets as variables.
    pub secret_env: BTreeSet<String>,
    /// What it may use.
    pub resources: Limits,
    /// When it is started again.
    pub restart: Restart,
    /// How long it has to end by itself, in seconds.
    pub grace_s: u32,
    /// Which of the skills that depend on capabilities its CI has, by name; all if absent.
    pub capabilities: Option<BTreeSet<String>>,
    /// Containers of the project on other nodes that it reaches by their names.
    pub remotes: Vec<Remote>,
    /// What its CI says of where it comes from, under `manifest` of `describe`.
    pub about: serde_json::Value,
    /// Its part of the manifest, which its CI answers with.
    pub document: serde_json::Value,
}

/// A container on another node.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Remote {
    /// Its name in the manifest.
    pub container: Name,
    /// Where it is.
    pub node: NodeName,
    /// Its name in that node's engine.
    pub name: Name,
    /// Its ports.
    pub ports: Vec<u16>,
}

/// When a container is started again after it has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Restart {
    /// Never.
    No,
    /// Where it failed.
    OnFailure,
    /// Always.
    Always,
}

/// What a node has of a project, and to offer to it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Survey {
    /// Operating system and architecture: `linux/amd64`.
    pub platform: String,
    /// Why it takes nothing new, if it does not: it is cordoned, drained, or full.
    pub refuses: Option<String>,
    /// Bytes of memory that are free.
    pub free_memory_bytes: u64,
    /// The project's containers, by name in the engine.
    pub containers: Vec<Standing>,
    /// The project's volumes, by name.
    pub volumes: BTreeSet<Name>,
    /// Which of the names that were asked for belong to containers of somebody else.
    pub foreign: BTreeSet<Name>,
}

/// A container of a project as the engine has it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Standing {
    /// Its id.
    pub id: String,
    /// Its name in the engine.
    pub name: Name,
    /// Its name in the manifest.
    pub container: Name,
    /// The package that it is of.
    pub package: Digest,
    /// The id of its image.
    pub image: Digest,
    /// [`Replica::digest`] of what it was made from.
    pub made_from: Digest,
    /// Whether it runs.
    pub is_running: bool,
}

/// How well a container does.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Judgement {
    /// Its id; another container under the same name has another one.
    pub id: String,
    /// The verdict of its CI: `healthy`, `unknown`, or what is wrong.
    pub verdict: String,
    /// What the verdict stands on, as `health` answers it.
    pub checks: serde_json::Value,
    /// Whether it runs.
    pub is_running: bool,
    /// How often it was started again.
    pub restarts: u64,
    /// The last lines that it wrote, masked as `logs` are.
    pub lines: Vec<String>,
    /// Its ports on which nothing listens, sorted; none where that is not known.
    pub silent: Vec<u16>,
}

/// How a command in a new container ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ran {
    /// Its exit code.
    pub exit_code: i64,
    /// The last lines that it wrote, masked.
    pub lines: Vec<String>,
}

impl Replica {
    /// The digest of what a container is made from: one that was made from the same need not be made again. Of which
    /// package it came, and what is told of that and of the manifest, counts for nothing here: the next package may hold the
    /// same image, and another number of replicas is no reason to replace those that run.
    #[must_use]
    pub fn digest(&self) -> Digest {
        let untold = serde_json::Value::Null;
        let plain = Self { package: Digest::of(b""), about: untold.clone(), document: untold, ..self.clone() };
        // A type of plain fields and maps with text keys always has a JSON form.
        Digest::of(&serde_json::to_vec(&plain).unwrap_or_default())
    }
}

/// A node, as whoever carries a deployment asks it. What changes something takes the mandate of the person who wished it.
#[tarpc::service(derive = [serde::Serialize, serde::Deserialize])]
pub trait Deployments {
    /// Says what the node has of a project, and which of these names belong to others; for everyone.
    async fn survey(project: Name, names: BTreeSet<Name>) -> Result<Survey, Error>;
    /// Has the engine know an image, by an archive as `docker load` takes it; one that it knows is not loaded again. Another
    /// id than that one is `data_loss`.
    async fn load(mandate: Mandate, project: Name, image: Digest, archive: Blob) -> Result<(), Error>;
    /// Makes a container, stops and removes the project's former one of that name, gives the new one its name and secrets,
    /// and starts it. What fails before the former one is stopped changes nothing. One that was made from the same and runs
    /// is left as it is. Answers with its id.
    async fn replace(mandate: Mandate, replica: Replica) -> Result<String, Error>;
    /// Has the CI of a container tell that it is of this package: one that was made from the same, and stays.
    async fn tell(mandate: Mandate, replica: Replica) -> Result<(), Error>;
    /// Runs a command in a new container like that one, without ports and name, and removes it.
    async fn run(mandate: Mandate, replica: Replica, command: Vec<String>) -> Result<Ran, Error>;
    /// Says how well a container of the project does; for everyone.
    async fn judge(project: Name, name: Name) -> Result<Judgement, Error>;
    /// Stops a container of the project, and leaves it for who looks at it.
    async fn stop(mandate: Mandate, project: Name, name: Name) -> Result<(), Error>;
    /// Stops and removes a container of the project; one that is not there is removed.
    async fn remove(mandate: Mandate, project: Name, name: Name) -> Result<(), Error>;
    /// Removes the network of a project that has no container here any more, and its volumes if asked to.
    async fn clear(mandate: Mandate, project: Name, volumes: bool) -> Result<(), Error>;
}
