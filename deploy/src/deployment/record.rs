//! What is known of a deployment.

use std::collections::{BTreeMap, BTreeSet};

use aigis_proxy::{Error, Name, NodeName, UserName, identity::Mandate};
use aigis_registry::{Timestamp, shared::Holder};
use serde::{Deserialize, Serialize};

use super::stored::Stored;
use crate::Digest;

/// How many releases are kept.
const RELEASES: usize = 10;
/// How many events of the last task are kept.
const EVENTS: usize = 500;

/// The record of a deployment, under `deployment.<project>`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Stored", into = "Stored")]
pub struct Deployment {
    /// The project.
    pub project: Name,
    /// What is to run; nothing once it was removed.
    pub wanted: Parts,
    /// What passed as a whole last, and still is to run: what a failed release goes back to.
    pub stable: Option<Parts>,
    /// Where each replica stands, or is to stand, by its name.
    pub placements: Placements,
    /// The last releases, the newest last.
    pub releases: Vec<Release>,
    /// What is under way.
    pub task: Option<Task>,
    /// Why the last removal did not come to its end, if so.
    pub trouble: Option<Error>,
    /// What happened in what is under way, or was last.
    pub events: Vec<Event>,
    /// The epoch of the last holder; the next takes one more.
    pub epoch: u64,
    /// When this was written last.
    pub updated_at: Timestamp,
}

/// By container: what it is to be of.
pub type Parts = BTreeMap<Name, Part>;
/// By name of a replica: where it stands.
pub type Placements = BTreeMap<Name, Placement>;

/// What a container is of, and who wished that.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    /// The package.
    pub package: Digest,
    /// That person's signature.
    pub mandate: Mandate,
}

/// Where a replica stands, and why there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Placement {
    /// Of which container it is.
    pub container: Name,
    /// The node.
    pub node: NodeName,
    /// Why it was chosen.
    pub reason: String,
    /// Why not another, by its name.
    pub others: BTreeMap<NodeName, String>,
    /// How many others there are of which that is not kept.
    #[serde(default)]
    pub unnamed: usize,
}

/// One release.
#[derive(Debug, Clone, PartialEq)]
pub struct Release {
    /// Which, counted from 1.
    pub n: u32,
    /// Its package.
    pub package: Digest,
    /// What each container was to be of: of another package than this, where only some were released.
    pub parts: Parts,
    /// When.
    pub at: Timestamp,
    /// Who asked for it.
    pub by: UserName,
    /// How it ended.
    pub outcome: Outcome,
    /// Why it ended so, unless it went well.
    pub reason: Option<String>,
    /// The same, with what a node told of it; of the newest release alone.
    pub error: Option<Error>,
}

/// How a release ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// It is under way.
    Running,
    /// All of it passed.
    Deployed,
    /// It did not pass, and what was before runs again.
    RolledBack,
    /// It did not pass, and there was nothing to go back to, or that failed too.
    Failed,
    /// Somebody held it back half-way.
    Stopped,
}

/// What is under way.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Task {
    /// What it is.
    pub kind: Kind,
    /// The wish of who asked for it.
    pub mandate: Mandate,
    /// Who asked for it.
    pub by: UserName,
    /// When.
    pub at: Timestamp,
    /// The node that carries it. It is as alive as that node.
    pub holder: Holder,
    /// Whether it goes on, or back.
    pub direction: Direction,
    /// Why it goes back, if so.
    pub failure: Option<Error>,
    /// Where replicas stood before.
    pub before: Placements,
    /// Applications whose release command ran.
    pub prepared: BTreeSet<Name>,
    /// Replicas that were set up in this direction.
    pub begun: BTreeSet<Name>,
    /// Those of them that are judged.
    pub passed: BTreeSet<Name>,
}

/// What can be under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// The newest release.
    Release,
    /// All is removed.
    Remove {
        /// With its volumes.
        volumes: bool,
    },
}

/// Where a task goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    /// To what is wanted.
    Forward,
    /// To what was before.
    Back,
}

/// Something that happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// Which, counted from 1 in each task.
    pub n: u64,
    /// When.
    pub at: Timestamp,
    /// What.
    pub what: Was,
    /// With which replica or container.
    pub name: Option<Name>,
    /// On which node.
    pub node: Option<NodeName>,
    /// More of it, in words.
    pub text: String,
}

/// What can happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Was {
    /// Another node goes on with it.
    Taken,
    /// Its release command ran.
    Prepared,
    /// A replica was made where there was none.
    Created,
    /// A replica was made in place of another.
    Replaced,
    /// A replica passed.
    Healthy,
    /// A replica was stopped, and left.
    Stopped,
    /// A replica was removed.
    Removed,
    /// Something failed.
    Failed,
    /// It goes back to what was before.
    Back,
}

impl std::fmt::Display for Was {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(match self {
            Self::Taken => "taken",
            Self::Prepared => "prepared",
            Self::Created => "created",
            Self::Replaced => "replaced",
            Self::Healthy => "healthy",
            Self::Stopped => "stopped",
            Self::Removed => "removed",
            Self::Failed => "failed",
            Self::Back => "back",
        })
    }
}

impl std::fmt::Display for Outcome {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(match self {
            Self::Running => "running",
            Self::Deployed => "deployed",
            Self::RolledBack => "rolled_back",
            Self::Failed => "failed",
            Self::Stopped => "stopped",
        })
    }
}

impl Placement {
    /// Keeps the reasons against so many nodes, the first by name, in so many characters each, and the count of the rest.
    pub(super) fn shorten(&mut self, nodes: usize, characters: usize) {
        self.unnamed += self.others.len().saturating_sub(nodes);
        let kept = std::mem::take(&mut self.others).into_iter().take(nodes);
        self.others = kept.map(|(node, why)| (node, why.chars().take(characters).collect())).collect();
    }
}

impl Deployment {
    /// A deployment of which nothing is known yet.
    #[must_use]
    pub fn new(project: Name, now: Timestamp) -> Self {
        Self {
            project,
            wanted: Parts::new(),
            stable: None,
            placements: Placements::new(),
            releases: Vec::new(),
            task: None,
            trouble: None,
            events: Vec::new(),
            epoch: 0,
            updated_at: now,
        }
    }

    /// Begins a release of a package.
    pub fn release(&mut self, package: Digest, parts: Parts, placements: Placements, task: Task) -> u32 {
        let n = self.releases.last().map_or(0, |last| last.n) + 1;
        let (at, by) = (task.at, task.by.clone());
        let parts_of = parts.clone();
        // What was told of a release may be long, and nobody waits for the end of a former one.
        self.releases.iter_mut().for_each(|former| former.error = None);
        self.releases.push(Release {
            n,
            package,
            parts: parts_of,
            at,
            by,
            outcome: Outcome::Running,
            reason: None,
            error: None,
        });
        let over = self.releases.len().saturating_sub(RELEASES);
        self.releases.drain(..over);
        self.wanted = parts;
        self.placements = placements;
        self.begin(task);
        n
    }

    /// Begins a task.
    pub fn begin(&mut self, task: Task) {
        self.epoch = task.holder.epoch;
        self.trouble = None;
        self.events.clear();
        self.task = Some(task);
    }

    /// Notes what happened.
    pub fn note(&mut self, what: Was, name: Option<&Name>, node: Option<&NodeName>, text: impl Into<String>) {
        let n = self.events.last().map_or(0, |last| last.n) + 1;
        let event =
            Event { n, at: Timestamp::now(), what, name: name.cloned(), node: node.cloned(), text: text.into() };
        self.events.push(event);
        let over = self.events.len().saturating_sub(EVENTS);
        self.events.drain(..over);
    }

    /// Has the task go back, because of that.
    pub fn turn_back(&mut self, failure: Error) {
        self.note(Was::Back, None, None, failure.message.clone());
        let Some(task) = &mut self.task else { return };
        task.direction = Direction::Back;
        task.failure = Some(failure);
        task.begun.clear();
        task.passed.clear();
        if let Some(stable) = &self.stable {
            self.wanted.clone_from(stable);
            self.placements.clone_from(&task.before);
        }
    }

    /// Ends the release that is under way.
    pub fn end_release(&mut self, outcome: Outcome, error: Option<Error>) {
        self.task = None;
        if outcome == Outcome::Deployed {
            self.stable = Some(self.wanted.clone());
        }
        if let Some(release) = self.releases.last_mut() {
            release.outcome = outcome;
            release.reason = error.as_ref().map(|error| error.message.clone());
            release.error = error;
        }
    }

    /// Ends a removal; with an error, something is left.
    pub fn end_removal(&mut self, error: Option<Error>) {
        self.task = None;
        if error.is_none() {
            self.wanted.clear();
            self.placements.clear();
            self.stable = None;
        }
        self.trouble = error;
    }

    /// The release of that number, if it is kept.
    #[must_use]
    pub fn kept(&self, n: u32) -> Option<&Release> {
        self.releases.iter().find(|release| release.n == n)
    }

    /// The release by which what is wanted runs, if it is kept.
    #[must_use]
    pub fn running(&self) -> Option<&Release> {
        let runs = |release: &&Release| packages(&release.parts) == packages(&self.wanted);
        self.releases.iter().rev().find(|release| release.outcome == Outcome::Deployed && runs(release))
    }

    /// The release that a rollback without a number goes to: the newest that passed and is not what runs.
    #[must_use]
    pub fn former(&self) -> Option<&Release> {
        let runs = |release: &&Release| packages(&release.parts) == packages(&self.wanted);
        self.releases.iter().rev().find(|release| release.outcome == Outcome::Deployed && !runs(release))
    }

    /// All packages that it names: they stay.
    #[must_use]
    pub fn packages(&self) -> BTreeSet<Digest> {
        let releases = self.releases.iter().flat_map(|release| release.parts.values());
        releases
            .chain(self.wanted.values())
            .chain(self.stable.iter().flat_map(|parts| parts.values()))
            .map(|part| part.package)
            .collect()
    }
}

/// What the containers are of, whoever wished that.
#[must_use]
pub(super) fn packages(parts: &Parts) -> BTreeMap<&Name, Digest> {
    parts.iter().map(|(container, part)| (container, part.package)).collect()
}
