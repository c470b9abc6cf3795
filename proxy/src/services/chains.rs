//! What coordinators do for people, and for the nodes that run apps.

pub mod skills;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::steps::Limits;
use crate::{
    blob::{Blob, Content},
    chain::{ChainId, Tree},
    error::Error,
    identity::Mandate,
    name::Name,
};

/// The service name of [`Chains`]. Its target is shared by all coordinators, or is the node of one.
pub const CHAINS: &str = "chains";

/// What is about to be pushed, before anything is uploaded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wish {
    /// The app's name.
    pub app: Name,
    /// The id of the project that the directory holds.
    pub project: Option<String>,
    /// Whether another project's app of that name may be taken over.
    pub replace: bool,
    /// Whether to wait for a chain of the app that runs, rather than to supersede it.
    pub queue: bool,
    /// Where it is to run; what was said before holds if absent: nodes by name, or labels `KEY=VALUE`; all must hold.
    pub on: Option<Vec<String>>,
}

/// A push: the tree is uploaded, the chain is to begin.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Push {
    /// What was announced.
    pub wish: Wish,
    /// The person's signature.
    pub mandate: Mandate,
    /// The source tree.
    pub tree: Tree,
    /// Where it came from: a path with its host, or a URL.
    pub from: String,
    /// The state files.
    pub state_tree: Tree,
    /// The first assistant's whole name: `builtin:dockerfile`.
    pub first: String,
    /// Why that one.
    pub reason: String,
    /// What was said on the command line.
    pub options: PushOptions,
}

/// How a pushed app is to be built and run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct PushOptions {
    /// Most steps.
    pub max_steps: u32,
    /// Most seconds of running steps.
    pub max_time_s: u64,
    /// Most seconds of one step, in place of the usual.
    pub step_timeout_s: Option<u64>,
    /// Whether every `confirm` is answered with yes.
    pub yes: bool,
    /// Answers by a question's id.
    pub answers: BTreeMap<String, String>,
    /// When the app is started again after it ended: `no`, `on-failure`, `always`; by its kind if absent.
    pub restart: Option<Restart>,
    /// What the app may use.
    pub limits: Limits,
    /// How many seconds the app has to listen on its ports.
    pub ready_timeout_s: u64,
}

impl Default for PushOptions {
    fn default() -> Self {
        Self {
            max_steps: 50,
            max_time_s: 2 * 60 * 60,
            step_timeout_s: None,
            yes: false,
            answers: BTreeMap::new(),
            restart: None,
            limits: Limits::default(),
            ready_timeout_s: 60,
        }
    }
}

/// When an app that ended is started again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Restart {
    /// Never.
    No,
    /// When it failed.
    OnFailure,
    /// Whenever it ended.
    Always,
}

/// What may be done with a chain.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Control {
    /// Ends it, and the app that it serves.
    Cancel,
    /// Lets no step begin.
    Hold {
        /// Why.
        why: String,
        /// Until when, in RFC 3339; until it is resumed if absent.
        until: Option<String>,
        /// Whether a step that runs is ended, to run again later.
        now: bool,
    },
    /// Goes on after a hold.
    Resume,
    /// Goes on after a failure.
    Retry {
        /// From this step's inputs; those of the failed step if absent.
        from: Option<u32>,
    },
    /// Answers a question.
    Answer {
        /// The question's id; the only open one if absent.
        id: Option<String>,
        /// The answer.
        value: String,
    },
}

/// A piece of the log of a step that runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogPiece {
    /// The bytes.
    pub log: Content,
    /// Where they begin.
    pub from: u64,
    /// How far the step says that it is, of 1 in a thousand parts, and its words.
    pub progress: Option<(u32, String)>,
    /// Whether no more will come: the step has ended.
    pub is_last: bool,
}

/// What may be done with an app.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AppChange {
    /// Ends its instance, and keeps it ended.
    Stop,
    /// Starts it again.
    Start,
    /// Ends it, and frees its name.
    Remove {
        /// Whether its volumes go too.
        data: bool,
    },
}

/// Which instance of an app: the step that made it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct InstanceId {
    /// The chain.
    pub chain: ChainId,
    /// The step.
    pub step: u32,
    /// The epoch of the holder that named it.
    pub epoch: u64,
}

/// What a place has to say of an instance.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// The app.
    pub app: Name,
    /// The instance.
    pub instance: InstanceId,
    /// What became of it.
    pub what: Reported,
}

/// What became of an instance.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reported {
    /// It runs, and listens on all its ports.
    Ready,
    /// It runs, and does not listen on these.
    Silent {
        /// The ports.
        ports: Vec<u16>,
    },
    /// It has ended, and is not started again.
    Ended {
        /// How its process ended.
        exit_code: i64,
        /// Whether the kernel ended it for its memory.
        out_of_memory: bool,
        /// The last 10 MiB of what it wrote.
        log: Option<Blob>,
        /// Who ended it, if somebody did.
        by: Option<String>,
    },
    /// It cannot be started.
    Failed {
        /// Why.
        error: Error,
    },
}

/// The folder of an assistant that is to be known in the mesh.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NewAssistant {
    /// Its name, without its kind.
    pub name: String,
    /// Its folder, without the file of secrets.
    pub folder: Tree,
    /// What its `assistant.toml` says, as JSON; see `docs/chains.md`.
    pub settings: serde_json::Value,
}

/// A coordinator. But for what says otherwise, for operators and admins.
#[tarpc::service(derive = [serde::Serialize, serde::Deserialize])]
pub trait Chains {
    /// Says whether a push would be taken, before anything is uploaded.
    async fn announce(wish: Wish) -> Result<(), Error>;
    /// Writes the chain's record; what is answered is durable.
    async fn push(push: Push) -> Result<ChainId, Error>;
    /// Does something with a chain, and answers with its status then. What it has become already is no error.
    async fn control(chain: ChainId, control: Control) -> Result<String, Error>;
    /// Waits for more of the log of a step, or some seconds, at the coordinator that holds the chain; for everyone.
    async fn log(chain: ChainId, step: u32, from: u64) -> Result<LogPiece, Error>;
    /// Makes an assistant known as `local:NAME`, in place of the one of that name.
    async fn keep_assistant(assistant: NewAssistant) -> Result<(), Error>;
    /// Removes `local:NAME`.
    async fn remove_assistant(name: String) -> Result<(), Error>;
    /// Does something with an app.
    async fn change_app(app: Name, change: AppChange) -> Result<(), Error>;
    /// Takes what a place has to say of an instance of its own; for nodes.
    async fn report(report: Report) -> Result<(), Error>;
}
