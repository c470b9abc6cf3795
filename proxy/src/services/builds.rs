//! What a node does for whoever packages a project: it says what its engine's images are, and runs phases of builds in
//! containers that are thrown away.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{
    blob::{Blob, Digest},
    error::Error,
};

/// The service name of [`Builds`]; its target is the node.
pub const BUILDS: &str = "builds";

/// An image that the engine of a node has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BaseImage {
    /// Its id, by which phases run on it.
    pub id: String,
    /// Operating system and architecture: `linux/amd64`.
    pub platform: String,
    /// The digest of its manifest in a registry; none if it was made on the host.
    pub manifest: Option<Digest>,
}

/// A phase of a build.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Phase {
    /// The image in which it runs, by id.
    pub image: String,
    /// The work directory, absolute.
    pub directory: String,
    /// What runs, in order; the first that fails ends it. No shell reads these words.
    pub commands: Vec<Vec<String>>,
    /// Its environment, besides the image's.
    pub env: BTreeMap<String, String>,
    /// Whether it has a network.
    pub network: bool,
    /// Archives that are unpacked at the root before, in order.
    pub inputs: Vec<Blob>,
    /// Paths below the root that are removed before.
    pub removed: Vec<String>,
    /// Paths below the root of which nothing is taken out, nor of what is below them.
    pub left_out: Vec<String>,
}

/// What a phase wrote since, and how it ended.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Told {
    /// Lines of its commands.
    pub lines: Vec<String>,
    /// From which line to ask next.
    pub next: u64,
    /// How it ended, if it did: an archive of all paths that differ from the image's, in which whiteouts stand for those
    /// that are gone.
    pub ended: Option<Result<Blob, Error>>,
}

/// A node with an engine, as whoever packages asks it; for operators.
#[tarpc::service(derive = [serde::Serialize, serde::Deserialize])]
pub trait Builds {
    /// Sees to it that the engine has an image, and says what it is. With `wanted`, the digest of a configuration, only that
    /// one counts.
    async fn image(reference: String, wanted: Option<Digest>) -> Result<BaseImage, Error>;
    /// Stores an image as a kept blob, an archive as the engine writes it.
    async fn export(image: String) -> Result<Blob, Error>;
    /// Begins a phase, and says under which id it runs. It ends when nobody has followed it for half a minute.
    async fn begin(phase: Phase) -> Result<String, Error>;
    /// Waits until a phase has written more, or some seconds have passed.
    async fn follow(id: String, from: u64) -> Result<Told, Error>;
    /// Ends a phase.
    async fn end(id: String) -> Result<(), Error>;
}
