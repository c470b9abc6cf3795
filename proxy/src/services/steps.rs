//! What a node does for the chains of the mesh: it runs the steps that are placed on it.
//!
//! A *place* keeps each attempt with its result on its disk until it is told to forget it. So whoever holds the chain may
//! die, and the next holder asks again and gets the same.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{
    blob::{Blob, Content},
    chain::{Attempt, ChainId, Tree},
    error::Error,
    identity::Mandate,
    name::{Name, quoted},
    secret::SecretName,
};

/// The service name of [`Steps`]; its target is the node.
pub const STEPS: &str = "steps";

/// What a place may use for a step or an app; what is `None` is not bounded beyond the usual.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Limits {
    /// Bytes of memory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_bytes: Option<u64>,
    /// Processors, which need not be whole ones.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpus: Option<f64>,
    /// Processes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pids: Option<u32>,
}

/// What somebody looks for a place for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Wanted {
    /// The chain.
    pub chain: ChainId,
    /// The step.
    pub step: u32,
    /// What kind of room it takes.
    pub room: Room,
    /// Blobs that it needs.
    pub blobs: Vec<Blob>,
    /// Images that it needs, by id.
    pub images: Vec<String>,
    /// What it will use.
    pub limits: Limits,
    /// How long the place may wait for room before it refuses, in milliseconds.
    #[serde(default)]
    pub patience_ms: u64,
}

/// The kinds of room that a place has, each with a bound of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Room {
    /// A step in a container.
    Step,
    /// A build.
    Build,
    /// A running app.
    App,
}

/// What a place has to offer; it keeps the room for half a minute under the bid's id, and takes the id once.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Bid {
    /// Its id.
    pub id: String,
    /// Processors that nothing uses.
    pub free_cpus: f64,
    /// Bytes of memory that are free.
    pub free_memory_bytes: u64,
    /// Bytes that are free where the engine keeps its images.
    pub free_disk_bytes: u64,
    /// Operating system and architecture: `linux/amd64`.
    pub platform: String,
    /// How many of the wanted blobs it has at hand.
    pub blobs: usize,
    /// How many of the wanted images its engine has.
    pub images: usize,
    /// Steps and builds that run there.
    pub running: usize,
}

/// An attempt at a step, as a place gets it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Order {
    /// Which one.
    pub attempt: Attempt,
    /// The holder's epoch: a place refuses an older one than it has heard.
    pub epoch: u64,
    /// The bid that this takes up, if there was one.
    pub bid: Option<String>,
    /// The app.
    pub app: Name,
    /// The wish of the person who pushed.
    pub mandate: Mandate,
    /// What is to be done.
    pub work: Work,
    /// How long it may take, in seconds, but for the time in which a question is open.
    pub timeout_s: u64,
}

/// What a step does at a place.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Work {
    /// Runs an assistant in a container.
    Assistant(Box<AssistantWork>),
    /// Builds an image.
    Build(BuildWork),
    /// Brings the tree of a git repository.
    Git(GitWork),
}

/// A step of an assistant in a container.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AssistantWork {
    /// The assistant's whole name: `local:cp`.
    pub assistant: String,
    /// Its folder, from which its image is built.
    pub folder: Tree,
    /// What it finds in `/in/app`.
    pub app_tree: Tree,
    /// What it finds in `/in/state`.
    pub state_tree: Tree,
    /// What it may use.
    pub limits: Limits,
    /// Whether it has a network.
    pub network: bool,
    /// Whether the same inputs give the same outputs, so that it need not run again for them.
    pub deterministic: bool,
    /// Environment variables that are secrets: a sealed dotenv text that the place opens.
    pub secret: Option<SecretName>,
    /// Answers that are known before they are asked for, by the question's id.
    pub answers: BTreeMap<String, String>,
    /// Whether every `confirm` is answered with yes.
    pub yes: bool,
}

/// A build of an image.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct BuildWork {
    /// The context.
    pub context: Tree,
    /// The Dockerfile; that of the context if absent.
    pub dockerfile: Option<String>,
    /// What the image is called besides its id: `aigis/hello:latest`.
    pub tag: String,
}

/// A tree of a git repository.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GitWork {
    /// The repository.
    pub url: String,
    /// A commit, tag or branch; the repository's own choice if absent.
    pub reference: Option<String>,
}

/// What an attempt has left behind. What its kind of work does not make is absent.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Finished {
    /// How the assistant's process ended.
    pub exit_code: Option<i64>,
    /// `/out/app`, or the tree of a repository; only of what ended well.
    #[serde(default, deserialize_with = "made", skip_serializing_if = "Option::is_none")]
    pub app_tree: Option<Tree>,
    /// The state after the step: what it was before, with what the assistant wrote; without `next`.
    #[serde(default, deserialize_with = "made", skip_serializing_if = "Option::is_none")]
    pub state_tree: Option<Tree>,
    /// What the assistant wrote as `next`, trimmed; absent if that is empty, `nil` or `null`.
    pub next: Option<String>,
    /// The image that was built.
    pub image: Option<Image>,
    /// Whether an earlier result was taken, and nothing ran.
    #[serde(default)]
    pub cached: bool,
    /// What was odd, but no reason to fail.
    #[serde(default)]
    pub warnings: Vec<String>,
}

/// Reads a tree that was made, be it empty: `null` is the empty tree, and only what is absent was not made.
fn made<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<Tree>, D::Error> {
    Tree::deserialize(deserializer).map(Some)
}

/// An image that was built, as its configuration has it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Image {
    /// Its id: `sha256:…`.
    pub id: String,
    /// `ENTRYPOINT`; a shell form is `["/bin/sh", "-c", …]`.
    pub entrypoint: Vec<String>,
    /// `CMD`, likewise.
    pub cmd: Vec<String>,
    /// `WORKDIR`; empty if there is none.
    pub workingdir: String,
    /// `EXPOSE`: `3000/tcp`.
    pub exposed: Vec<String>,
    /// `VOLUME`.
    pub volumes: Vec<String>,
}

/// How an attempt ended.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Ended {
    /// What it left behind, or why it failed. `unavailable` is the mesh's fault: the step may be tried elsewhere. All else is
    /// the assistant's own.
    pub result: Result<Finished, Error>,
    /// What it left behind in spite of a failure: its state and the exit code.
    #[serde(default)]
    pub remains: Finished,
    /// When it began, in RFC 3339.
    pub started_at: String,
    /// When it ended.
    pub ended_at: String,
    /// Its log, as a kept blob; none if it is empty.
    pub log: Option<Blob>,
    /// How many bytes of the log were left out, in its middle.
    #[serde(default)]
    pub log_dropped: u64,
}

/// What a question is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ask {
    /// Yes or no.
    Confirm,
    /// One of the choices.
    Choose,
    /// A line.
    Text,
    /// A line that is shown and stored nowhere.
    Secret,
}

/// A question of an assistant to the user.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Question {
    /// Its id, unique within the step.
    pub id: String,
    /// Its words.
    pub ask: String,
    /// What it is about.
    pub kind: Ask,
    /// What may be chosen.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub choices: Vec<String>,
    /// The answer if nobody gives one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default: Option<String>,
    /// Until when it waits, in RFC 3339.
    pub until: String,
}

impl Question {
    /// Looks whether a value is an answer to it.
    ///
    /// # Errors
    ///
    /// `invalid_argument` says what would be one.
    pub fn check(&self, value: &str) -> Result<(), Error> {
        match self.kind {
            Ask::Confirm if confirmed(value).is_none() => {
                Err(Error::invalid(format!("\"{}\" is neither yes nor no", quoted(value))).sent(false))
            }
            Ask::Choose if !self.choices.iter().any(|choice| choice == value) => {
                let choices = self.choices.iter().map(|choice| quoted(choice)).collect::<Vec<_>>().join(", ");
                Err(Error::invalid(format!("\"{}\" is none of: {choices}", quoted(value))).sent(false))
            }
            _ => Ok(()),
        }
    }
}

/// Reads yes or no, in full or as a letter, or as `true` or `false`.
#[must_use]
pub fn confirmed(value: &str) -> Option<bool> {
    match value.trim().to_ascii_lowercase().as_str() {
        "yes" | "y" | "true" => Some(true),
        "no" | "n" | "false" => Some(false),
        _ => None,
    }
}

/// What somebody knows of an attempt.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Known {
    /// Up to which byte its log was read.
    pub log: u64,
    /// Which [`News::version`] was seen last.
    pub version: u64,
}

/// What is new of an attempt.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct News {
    /// Grows with each change that is not the log's.
    pub version: u64,
    /// The log from where it was read.
    pub log: Content,
    /// Where that begins: later than asked for where the middle of a long log was dropped.
    pub log_from: u64,
    /// The questions that are open, the oldest first.
    pub questions: Vec<Question>,
    /// How far it says that it is, of 1, and its words.
    pub progress: Option<(f64, String)>,
    /// How it ended, if it did and all of the log was read with this.
    pub ended: Option<Box<Ended>>,
}

/// A place, as coordinators ask it. An attempt that it does not know is `not_found`.
#[tarpc::service(derive = [serde::Serialize, serde::Deserialize])]
pub trait Steps {
    /// Says what this place would give, and keeps that for a moment; `failed_precondition` or `resource_exhausted` says why
    /// nothing.
    async fn bid(wanted: Wanted) -> Result<Bid, Error>;
    /// Gives back what this place keeps for a chain that found another one, and its place in line here.
    async fn decline(chain: ChainId) -> Result<(), Error>;
    /// Begins an attempt. One that is known already, running or ended, stays as it is; older attempts of the step are ended.
    async fn run(order: Order) -> Result<(), Error>;
    /// Waits until something is new of an attempt, or some seconds have passed.
    async fn follow(attempt: Attempt, known: Known) -> Result<News, Error>;
    /// Answers a question.
    async fn answer(attempt: Attempt, id: String, value: String) -> Result<(), Error>;
    /// Ends an attempt: TERM, 10 s, KILL. Its result is `cancelled`.
    async fn end(attempt: Attempt, epoch: u64) -> Result<(), Error>;
    /// Drops all that is kept of a step, once its result stands in the record.
    async fn forget(chain: ChainId, step: u32, epoch: u64) -> Result<(), Error>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chn_08_an_empty_tree_is_another_thing_than_none() {
        for app_tree in [None, Some(None), Some(Some(Blob { digest: crate::blob::Digest::of(b"x"), size: 1 }))] {
            let finished = Finished { app_tree, ..Finished::default() };
            let text = serde_json::to_string(&finished).unwrap();
            assert_eq!(serde_json::from_str::<Finished>(&text).unwrap(), finished, "{text}");
        }
    }
}
