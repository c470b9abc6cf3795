//! The projects of a node's host: what its skills `project.…` and `dockerfile.…` ask, and who answers.
//!
//! A project is called by a name that the host's user gave to a directory, or by the digest of a tree that was uploaded.
//! Never by a path: a caller reads nothing of a host but what its user named.

use std::{path::PathBuf, time::Duration};

use futures::{future::BoxFuture, stream::BoxStream};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{blob::Digest, error::Error};

/// How long a look at a whole project may take; an uploaded tree comes over the bus first.
pub const LOOKING: Duration = Duration::from_secs(5 * 60);
/// How long a package may take: its turn, and its phases.
pub const PACKING: Duration = Duration::from_secs(4 * 60 * 60);

/// A project of a host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Listed {
    /// Its name.
    pub name: String,
    /// Where it lies on the host.
    pub directory: String,
    /// The digest of its manifest's canonical form; none where it has no manifest, or one that is not valid.
    pub manifest: Option<String>,
}

/// A proposal that is to be written.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Save {
    /// Its id, as it was shown.
    pub proposal: String,
    /// The project, where the same was proposed for several.
    #[serde(default)]
    pub project: Option<String>,
    /// Whether another content is written over; it is kept on the host.
    #[serde(default)]
    pub replace: bool,
}

/// What became of a proposal's files.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Saved {
    /// The files, by their paths.
    pub files: Vec<SavedFile>,
    /// Whether any was written.
    pub changed: bool,
}

/// A file of a proposal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SavedFile {
    /// Its path in the project.
    pub path: String,
    /// Whether it was written; it holds the very same otherwise.
    pub written: bool,
}

/// A proposal that is to be built and started.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Test {
    /// Its id, as it was shown.
    pub proposal: String,
    /// The project, where the same was proposed for several.
    #[serde(default)]
    pub project: Option<String>,
    /// Whether the image stays.
    #[serde(default)]
    pub keep: bool,
}

/// What is built and started of a proposal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trial {
    /// The Dockerfile.
    pub dockerfile: String,
    /// The ports on which it has to listen.
    pub ports: Vec<u16>,
}

/// A project of which a package is to be built.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Pack {
    /// A name of the table \[projects\] in the host's packages.toml, or the digest of an uploaded tree.
    pub project: String,
    /// Only these containers, and those that they stand on; all, if none is named.
    #[serde(default)]
    pub containers: Vec<String>,
    /// For these platforms only, such as linux/amd64; if none is named, for those that the manifest names, or the host's own.
    #[serde(default)]
    pub platforms: Vec<String>,
    /// Whether phases run also where it is known what they leave.
    #[serde(default)]
    pub no_cache: bool,
    /// A tag instead of the one that the manifest asks for.
    #[serde(default)]
    pub tag: Option<String>,
}

/// What is told of a build: lines as they come, and last what came of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Packing {
    /// A line.
    Line {
        /// The phase that runs, such as `build api`.
        phase: String,
        /// The container whose image is made.
        container: String,
        /// What was said.
        line: String,
        /// How much of all images is made, in percent.
        percent: usize,
    },
    /// The record of the package and whether it is new, or the report.
    Ended(Value),
}

/// A build that goes on as long as this is kept.
pub type Packed = BoxStream<'static, Result<Packing, Error>>;

/// Whoever knows the projects of a host, as its node asks.
///
/// Each is asked on behalf of a caller whose role was judged.
pub trait Projects: Send + Sync + 'static {
    /// The projects that have names, sorted by them.
    ///
    /// # Errors
    ///
    /// `invalid_argument` for settings of the host that cannot be read.
    fn list(&self) -> BoxFuture<'static, Result<Vec<Listed>, Error>>;

    /// What a project is: the JSON of `aish analyze`.
    ///
    /// # Errors
    ///
    /// `not_found` for an unknown project, `invalid_argument` for what is neither name nor digest, `failed_precondition`
    /// where there is no application.
    fn analyze(&self, project: String) -> BoxFuture<'static, Result<Value, Error>>;

    /// The Dockerfile that is proposed for an application of a project: the JSON of `aish dockerfile`. Nothing of the project
    /// is written; the proposal is kept for a day. With `fills`, the model of the host fills the gaps of the analysis; where it
    /// does not, the proposal is the same as without.
    ///
    /// # Errors
    ///
    /// As [`Projects::analyze`]; `not_found` for an application of another name; `failed_precondition` where gaps are to be
    /// filled and the host has no model.
    fn propose(
        &self,
        project: String,
        application: Option<String>,
        fills: bool,
    ) -> BoxFuture<'static, Result<Value, Error>>;

    /// What is found in the text of a Dockerfile, by line.
    ///
    /// # Errors
    ///
    /// `invalid_argument` for a text that is too long.
    fn lint(&self, content: String) -> BoxFuture<'static, Result<Value, Error>>;

    /// Writes a proposal that was made here.
    ///
    /// # Errors
    ///
    /// `not_found` for an unknown proposal; `failed_precondition` where the project, or what stands in the files' places, is
    /// not what it was, and for an uploaded tree; `already_exists` where other files stand there. Nothing was written then.
    fn save(&self, save: Save) -> BoxFuture<'static, Result<Saved, Error>>;

    /// Puts at `into`, where nothing stands yet, the context of a proposal's build with its `.dockerignore`.
    ///
    /// # Errors
    ///
    /// `not_found` for an unknown proposal; `failed_precondition` where the project is not what it was.
    fn context(&self, test: Test, into: PathBuf) -> BoxFuture<'static, Result<Trial, Error>>;

    /// The text of a Dockerfile that was proposed here for an uploaded tree, for builds that have the whole tree as their
    /// context.
    ///
    /// # Errors
    ///
    /// `not_found` for a proposal that is not kept; `failed_precondition` for one of another tree, or where the tree leads to
    /// another one now.
    fn proposed(&self, proposal: String, tree: Digest) -> BoxFuture<'static, Result<String, Error>>;

    /// Builds a package of a project and registers it, for `by`; last comes its record.
    ///
    /// # Errors
    ///
    /// `not_found` for an unknown project, `invalid_argument` for what is neither name nor digest; the others end the stream.
    fn pack(&self, by: String, pack: Pack) -> BoxFuture<'static, Result<Packed, Error>>;

    /// Builds a package again of what is recorded of it, for `by`; last comes the report.
    ///
    /// # Errors
    ///
    /// All end the stream.
    fn verify(&self, by: String, id: String) -> BoxFuture<'static, Result<Packed, Error>>;
}
