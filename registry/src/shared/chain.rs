//! What is known of a chain, and of each of its steps.

use std::{collections::BTreeMap, fmt, str::FromStr};

use aigis_proxy::{
    Code, Name, NodeName, UserName,
    blob::{Blob, Digest},
    chain::{ChainId, Tree},
    identity::Mandate,
    services::{chains::PushOptions, steps::Question},
};
use serde::{Deserialize, Serialize};

use crate::{record::UnknownWord, timestamp::Timestamp};

/// How a chain stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// It waits for a coordinator, or for its turn.
    Queued,
    /// A coordinator holds it.
    Running,
    /// A step waits for an answer.
    Asking,
    /// Somebody holds it.
    Held,
    /// Its app runs.
    Serving,
    /// It has come to its end.
    Done,
    /// A step failed, or a bound was reached.
    Failed,
    /// Somebody ended it.
    Cancelled,
}

impl Status {
    /// Every status.
    pub const ALL: [Self; 8] = [
        Self::Queued,
        Self::Running,
        Self::Asking,
        Self::Held,
        Self::Serving,
        Self::Done,
        Self::Failed,
        Self::Cancelled,
    ];

    /// The status's word.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Running => "running",
            Self::Asking => "asking",
            Self::Held => "held",
            Self::Serving => "serving",
            Self::Done => "done",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        }
    }

    /// Whether nothing more happens unless somebody asks for it.
    #[must_use]
    pub fn is_over(self) -> bool {
        matches!(self, Self::Done | Self::Failed | Self::Cancelled)
    }

    /// Whether steps of it run or are to run: it is neither over, nor does it only serve.
    #[must_use]
    pub fn is_under_way(self) -> bool {
        !self.is_over() && self != Self::Serving
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for Status {
    type Err = UnknownWord;

    fn from_str(text: &str) -> Result<Self, UnknownWord> {
        let found = Self::ALL.into_iter().find(|status| status.as_str() == text);
        found.ok_or_else(|| UnknownWord::new("status", text, &Self::ALL.map(Self::as_str)))
    }
}

/// Where a pushed tree came from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Source {
    /// The tree.
    pub tree: Tree,
    /// A path with its host, or a URL.
    pub from: String,
}

/// What a chain may use, and has used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Budget {
    /// Most steps.
    pub max_steps: u32,
    /// Most seconds of running steps.
    pub max_time_s: u64,
    /// Steps that were committed.
    pub used_steps: u32,
    /// Seconds that they ran.
    pub used_time_s: u64,
}

/// Who holds a chain back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hold {
    /// Who.
    pub by: UserName,
    /// Why.
    pub why: String,
    /// Since when.
    pub since: Timestamp,
    /// Until when, if it goes on by itself.
    pub until: Option<Timestamp>,
    /// Whether a running step was to be ended.
    #[serde(default)]
    pub now: bool,
}

/// The node whose coordinator holds a chain. It is as alive as that node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holder {
    /// The node.
    pub node: NodeName,
    /// One more than that of the holder before; carried by every command to a place.
    pub epoch: u64,
}

/// Why a chain or a step failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// What kind of failure.
    pub code: Code,
    /// Its words.
    pub message: String,
    /// What to do next.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    /// The step.
    pub step: u32,
}

/// The record of a chain, under `chain.<id>`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ChainRecord {
    /// Its id.
    pub id: ChainId,
    /// The app.
    pub app: Name,
    /// When it was pushed.
    pub created_at: Timestamp,
    /// Who pushed it.
    pub created_by: UserName,
    /// That person's signature.
    pub mandate: Mandate,
    /// What was pushed.
    pub source: Source,
    /// How it stands.
    pub status: Status,
    /// Why, in words.
    pub status_reason: String,
    /// The step that runs or runs next, counted from 1.
    pub step: u32,
    /// The assistant of that step, by its whole name; none once the chain has come to its end.
    pub next: Option<String>,
    /// The app's tree that the step finds.
    pub app_tree: Tree,
    /// The state that the step finds.
    pub state_tree: Tree,
    /// What it may use.
    pub budget: Budget,
    /// Where its steps and the app are to run.
    #[serde(default)]
    pub on: Vec<String>,
    /// The folders of the assistants that users had pushed when it was, by their whole names: it runs these versions.
    #[serde(default)]
    pub assistants: BTreeMap<String, Tree>,
    /// What was said when it was pushed.
    pub options: PushOptions,
    /// Whether it waits for another chain of the app.
    #[serde(default)]
    pub queued_behind: Option<ChainId>,
    /// Who holds it back, if somebody does.
    #[serde(default)]
    pub hold: Option<Hold>,
    /// The question that waits for an answer.
    #[serde(default)]
    pub question: Option<Question>,
    /// Answers to questions of builtins, by the question's id; of a builtin none is a secret.
    #[serde(default)]
    pub answers: BTreeMap<String, String>,
    /// The coordinator that holds it.
    #[serde(default)]
    pub holder: Option<Holder>,
    /// The epoch of the last holder; the next takes one more.
    #[serde(default)]
    pub epoch: u64,
    /// Who asked for its end, while that is under way.
    #[serde(default)]
    pub cancelled_by: Option<String>,
    /// Why it failed, if it did.
    #[serde(default)]
    pub error: Option<Failure>,
    /// When it ended.
    #[serde(default)]
    pub ended_at: Option<Timestamp>,
    /// When this was written last.
    pub updated_at: Timestamp,
}

/// How an attempt at a step stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum StepStatus {
    /// Its place has it.
    Running,
    /// It ended well.
    Done,
    /// An earlier result was taken.
    Cached,
    /// It failed.
    Failed,
    /// It was ended.
    Cancelled,
    /// The chain went back before it.
    Superseded,
}

/// The trees of a step.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trees {
    /// The app.
    pub app: Tree,
    /// The state.
    pub state: Tree,
}

/// The log of a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogNote {
    /// What is kept of it.
    pub blob: Blob,
    /// How many bytes were left out, in its middle.
    #[serde(default)]
    pub dropped: u64,
}

/// What a place offered, or why it did not.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Offer {
    /// The node.
    pub node: NodeName,
    /// What it had to offer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bid: Option<aigis_proxy::services::steps::Bid>,
    /// Why it had nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refusal: Option<String>,
}

/// How the place of a step was chosen.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct PlacementNote {
    /// What each place offered, by its name.
    pub bids: Vec<Offer>,
    /// The one that was taken.
    pub chosen: Option<NodeName>,
    /// Why, in words.
    pub reason: String,
}

/// An attempt that the mesh failed: its place was lost, or could not do what it was to do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Earlier {
    /// Which attempt.
    pub attempt: u32,
    /// Where; none for what the holder did itself.
    pub node: Option<NodeName>,
    /// Why it failed.
    pub message: String,
}

impl StepRecord {
    /// Whether it builds the app's image.
    #[must_use]
    pub fn is_build(&self) -> bool {
        matches!(self.assistant.as_str(), "builtin:dockerfile" | "builtin:python")
    }
}

impl fmt::Display for Earlier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "attempt {}", self.attempt)?;
        if let Some(node) = &self.node {
            write!(f, " at {node}")?;
        }
        write!(f, ": {}", self.message)
    }
}

/// The journal of a step, under `chain.<id>.step.<n>`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StepRecord {
    /// Which step, counted from 1.
    pub n: u32,
    /// Which attempt at it, counted from 1.
    pub attempt: u32,
    /// The assistant's whole name.
    pub assistant: String,
    /// The digest of its folder; none for a builtin.
    pub assistant_digest: Tree,
    /// Where it runs; none for what the holder does itself.
    pub node: Option<NodeName>,
    /// How it stands.
    pub status: StepStatus,
    /// What it found.
    #[serde(rename = "in")]
    pub input: Trees,
    /// What it left.
    #[serde(rename = "out", default)]
    pub output: Option<Trees>,
    /// What it said comes next.
    #[serde(default)]
    pub next: Option<String>,
    /// How its process ended.
    #[serde(default)]
    pub exit_code: Option<i64>,
    /// When it began.
    pub started_at: Timestamp,
    /// When it ended.
    #[serde(default)]
    pub ended_at: Option<Timestamp>,
    /// What it wrote.
    #[serde(default)]
    pub log: Option<LogNote>,
    /// How its place was chosen.
    #[serde(default)]
    pub placement: PlacementNote,
    /// Why it failed.
    #[serde(default)]
    pub error: Option<Failure>,
    /// Attempts before this one, which the mesh failed.
    #[serde(default)]
    pub earlier: Vec<Earlier>,
    /// A digest of what it found, without what says nothing of an app's progress.
    #[serde(default)]
    pub likeness: Option<Digest>,
    /// What was odd, but no reason to fail.
    #[serde(default)]
    pub warnings: Vec<String>,
    /// The volumes of the image that it built: an app that has some stays where they are.
    #[serde(default)]
    pub volumes: Vec<String>,
    /// Seconds in which it waited for answers.
    #[serde(default)]
    pub asked_s: u64,
}
