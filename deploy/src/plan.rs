//! How an image is made: what stands between the facts of an application and its Dockerfile, or the phases of its package.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::fact::{Application, ProviderName};

mod bases;
pub(crate) mod draft;
mod health;
mod of;
pub(crate) mod site;

pub use of::of;

/// Why there is no plan.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// An ecosystem that is only recognised.
    #[error("there is no template for {0}: write a Dockerfile, which decides then how it is built")]
    NoTemplate(String),
    /// A fact without which no image can be made.
    #[error("{what} is not known: {hint}")]
    Unknown {
        /// Which.
        what: &'static str,
        /// What to do.
        hint: String,
    },
    /// Text of the project that must not reach a Dockerfile.
    #[error("{what} holds a control character: rename it")]
    ControlCharacter {
        /// Where.
        what: String,
    },
    /// A base that the map does not have.
    #[error("no base is called {0}: name its image in packages.toml, under [bases]")]
    NoBase(String),
}

impl Error {
    /// What kind of failure it is to who asked for the plan.
    #[must_use]
    pub fn code(&self) -> aigis_proxy::Code {
        match self {
            Self::NoTemplate(_) => aigis_proxy::Code::Unimplemented,
            Self::Unknown { .. } => aigis_proxy::Code::FailedPrecondition,
            Self::ControlCharacter { .. } | Self::NoBase(_) => aigis_proxy::Code::InvalidArgument,
        }
    }
}

/// References of base images, by their logical names.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bases {
    /// By the logical name (`python`): the reference, with `{version}`.
    pub references: BTreeMap<String, String>,
    /// By the logical name: the version where a project asks for none.
    pub versions: BTreeMap<String, String>,
    /// By the reference without a digest: the digest that a lock file knows.
    pub digests: BTreeMap<String, String>,
}

/// How the image of an application is made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// Of which form this is: 1.
    pub plan_version: u32,
    /// Whose image.
    pub application: String,
    /// What runs before the image is put together, in this order.
    pub stages: Vec<Stage>,
    /// The image.
    pub image: Image,
    /// What of the context is left out, as lines of a `.dockerignore`.
    pub ignore: Vec<String>,
}

/// A base image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Base {
    /// Its logical name: `python`.
    pub logical: String,
    /// The version that is put into its reference, where it is not the usual one.
    pub version: Option<String>,
    /// Why this version: the rule and the file of the fact.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub because: Option<String>,
}

/// One stage.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stage {
    /// By which others copy from it.
    pub name: String,
    /// On what it stands.
    pub base: Base,
    /// Where its commands run.
    pub workdir: String,
    /// Its environment.
    pub env: BTreeMap<String, String>,
    /// What happens in it.
    pub steps: Vec<Step>,
}

/// What happens in a stage.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Step {
    /// Files are put into it.
    Copy {
        /// The stage they come from, or the context.
        #[serde(skip_serializing_if = "Option::is_none", default)]
        from: Option<String>,
        /// Paths, relative to the context, or absolute within a stage.
        sources: Vec<String>,
        /// Where to.
        dest: String,
        /// `UID:GID` of whom they are, if not root's.
        #[serde(skip_serializing_if = "Option::is_none", default)]
        owner: Option<String>,
        /// Why: the rule and the file of the fact that this follows from.
        #[serde(skip_serializing_if = "Option::is_none", default)]
        because: Option<String>,
    },
    /// A command runs in it.
    Run {
        /// The exec form.
        argv: Vec<String>,
        /// Whether it may use the network.
        network: bool,
        /// Secrets that it may read, by their names.
        secrets: Vec<String>,
        /// Why: the rule and the file of the fact that this follows from.
        #[serde(skip_serializing_if = "Option::is_none", default)]
        because: Option<String>,
    },
}

/// The image that a plan makes: its last stage.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Image {
    /// The stage with its files, and its base.
    pub from: Stage,
    /// Its environment.
    pub env: BTreeMap<String, String>,
    /// Where its command runs.
    pub workdir: String,
    /// `UID:GID`, never root's.
    pub user: String,
    /// The ports on which it listens.
    pub ports: Vec<u16>,
    /// How its health is looked at.
    pub health: Option<Health>,
    /// Its command.
    pub argv: Vec<String>,
    /// Paths that belong to its user.
    pub writable: Vec<String>,
    /// Why it has what it has: by `argv`, `health` and `ports`, the rule and the file of the fact.
    #[serde(skip_serializing_if = "BTreeMap::is_empty", default)]
    pub because: BTreeMap<String, String>,
}

impl Plan {
    /// The same for a context that holds this plan's in a directory: what is copied from the context is copied from
    /// there. Of the root (`.`) it is the plan itself.
    #[must_use]
    pub fn in_context_above(mut self, directory: &str) -> Self {
        if directory == "." {
            return self;
        }
        let stages = self.stages.iter_mut().chain([&mut self.image.from]);
        for step in stages.flat_map(|stage| &mut stage.steps) {
            if let Step::Copy { from: None, sources, .. } = step {
                for source in sources {
                    *source = match source.trim_start_matches("./") {
                        "" | "." => format!("{directory}/"),
                        rest => format!("{directory}/{rest}"),
                    };
                }
            }
        }
        for line in &mut self.ignore {
            if !line.contains("**/") {
                *line = format!("{directory}/{line}");
            }
        }
        self
    }
}

/// How the health of a container is looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Health {
    /// The command: 0 is well.
    pub argv: Vec<String>,
    /// How often, in seconds.
    pub interval_s: u32,
    /// How long it may take, in seconds.
    pub timeout_s: u32,
    /// How long after the start a failure does not count, in seconds.
    pub start_s: u32,
    /// After how many failures it is not well.
    pub retries: u32,
}
