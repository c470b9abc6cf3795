//! What a node does for whoever packages a project: it says what its engine's images are, and runs phases of builds in
//! containers that are thrown away.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{
    blob::{Blob, Content, Digest},
    error::Error,
    name::Name,
    secret::SecretName,
};

/// The service name of [`Builds`]; its target is the node.
pub const BUILDS: &str = "builds";

/// What a Dockerfile is called in the archive of its context, where nothing else is called so.
pub const DOCKERFILE: &str = ".aigis.Dockerfile";

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

/// The engine of a node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Engine {
    /// Its version: `20.10.24`.
    pub version: String,
    /// Operating system and architecture: `linux/amd64`.
    pub platform: String,
}

/// An image of an archive, as the engine that takes it in is to know it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Loaded {
    /// What the archive calls it: `shop/api:4ae8dd081b62`.
    pub name: String,
    /// The digest of its configuration.
    pub config: Digest,
    /// The digest of its manifest, by which an engine with a store of containerd knows it.
    pub output: Digest,
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
    /// Secrets of projects that its commands find as files in `/run/secrets`; what it leaves holds none of their values.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub secrets: Vec<SecretName>,
    /// What belongs to the place where it runs, and to nothing that it leaves.
    #[serde(default)]
    pub surroundings: Surroundings,
    /// Whether it runs though an equal one runs already.
    #[serde(default)]
    pub is_fresh: bool,
    /// The project with whose other phases, run for the same person, it shares what package managers download; with none if
    /// absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub project: Option<Name>,
}

/// What of its surroundings a phase sees.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Surroundings {
    /// Certificates that it trusts, as a file of PEM.
    pub certificates: Option<Content>,
    /// Variables for proxies and mirrors of package indexes, under its own.
    pub env: BTreeMap<String, String>,
}

/// An image that a Dockerfile makes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageBuild {
    /// The Dockerfile.
    pub dockerfile: String,
    /// What it may copy: an archive, a kept blob.
    pub context: Blob,
    /// The images that it names, by the digests of their configurations.
    pub bases: BTreeMap<String, Digest>,
    /// Whether nothing is taken from the engine's cache.
    pub fresh: bool,
}

/// What a phase or a build of an image wrote since, and how it ended.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Told {
    /// Lines of its commands.
    pub lines: Vec<String>,
    /// From which line to ask next.
    pub next: u64,
    /// How it ended, if it did: an image in an archive as the engine writes it; of a phase, an archive of all paths that differ
    /// from the image's, in which whiteouts stand for those that are gone.
    pub ended: Option<Result<Blob, Error>>,
}

/// A node with an engine, as whoever packages asks it; for operators.
#[tarpc::service(derive = [serde::Serialize, serde::Deserialize])]
pub trait Builds {
    /// Sees to it that the engine has an image, and says what it is. With `wanted`, the digest of a configuration, only that
    /// one counts.
    async fn image(reference: String, wanted: Option<Digest>) -> Result<BaseImage, Error>;
    /// Says what engine it is.
    async fn engine() -> Result<Engine, Error>;
    /// Has the engine take in an archive, a kept blob, with these images: `data_loss` where one of them is another afterwards.
    async fn load(archive: Blob, images: Vec<Loaded>) -> Result<(), Error>;
    /// Stores an image as a kept blob, an archive as the engine writes it.
    async fn export(image: String) -> Result<Blob, Error>;
    /// Begins a phase, and says under which id it runs. It ends when nobody has followed it for half a minute.
    async fn begin(phase: Phase) -> Result<String, Error>;
    /// Begins to build an image by a Dockerfile, and says under which id, as with a phase.
    async fn build(image: ImageBuild) -> Result<String, Error>;
    /// Waits until a phase has written more, or some seconds have passed.
    async fn follow(id: String, from: u64) -> Result<Told, Error>;
    /// Ends a phase.
    async fn end(id: String) -> Result<(), Error>;
}
