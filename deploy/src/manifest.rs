//! The manifest of a project, `aigis.json`: its types, all that can be wrong with one, and its digests.
//!
//! The types are what a manifest says; the JSON Schema is made of them ([`schema()`]) and is what a document is held
//! against, so that the two cannot differ. What no schema can say, [`check()`] says beside it, all at once.
//!
//! ```
//! use aigis_deploy::manifest::{self, Found};
//!
//! let given = br#"{"manifest_version": "1.0", "project": {"name": "golden"},
//!     "applications": {"hello": {"type": "files", "run_command": ["/app/run.sh"]}},
//!     "containers": {"hello": {"base_image": "scratch", "applications": ["hello"], "ports": [8080]}}}"#;
//! let checked = manifest::check(given, &|_: &str| Found::File);
//! let document = checked.document.expect("there is no problem");
//! assert_eq!(document.manifest.containers["hello"].ports, [8080]);
//! ```

mod application;
mod check;
mod circles;
mod command;
mod conflicts;
mod container;
mod kinds;
mod lock;
mod packaging;
mod paths;
mod problem;
mod propose;
mod references;
mod rule;
mod schema;
mod secrets;
mod shape;
mod spec;

use std::collections::BTreeMap;

use aigis_proxy::Name;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use application::{Application, Copied, OneOrMany, Site, SystemPackages};
pub use check::{Checked, check};
pub use command::Command;
pub use container::{
    Base, Capability, Container, EnvironmentSecret, EnvironmentWord, Health, Place, Resources, Restart, Secret,
};
pub use kinds::{is_kind, providers};
pub use lock::{LOCK_FILE, Lock, LockError, LockedBase};
pub use packaging::{CommitWord, Epoch, Packaging, Platform, Tagging};
pub use paths::{Directory, Files, Found, joined};
pub use problem::{Problem, ProblemCode};
pub use propose::{NoManifest, propose, source_of};
pub use schema::schema;
pub use spec::Document;

/// The name of the file that holds a manifest; its directory is the project root.
pub const FILE: &str = "aigis.json";

/// What a project is made of, and how it is packaged and deployed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Manifest {
    /// Of which form this is.
    pub manifest_version: FormVersion,
    /// The project.
    pub project: Project,
    /// What is built, by names: at least one, unless a Dockerfile makes each container.
    #[serde(default)]
    #[schemars(with = "BTreeMap<rule::CiName, Application>")]
    pub applications: BTreeMap<Name, Application>,
    /// What runs, by names: at least one.
    #[schemars(with = "BTreeMap<rule::CiName, Container>")]
    pub containers: BTreeMap<Name, Container>,
    /// How packages are made.
    #[serde(default, skip_serializing_if = "is_default")]
    pub packaging: Packaging,
    /// Of a later part: an empty object.
    #[serde(default, skip_serializing_if = "is_default")]
    pub lifecycle: Later,
    /// Of a later part: an empty object.
    #[serde(default, skip_serializing_if = "is_default")]
    pub federation: Later,
}

/// The forms of manifests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum FormVersion {
    /// The form of this page.
    #[serde(rename = "1.0")]
    One,
}

/// The project of a manifest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Project {
    /// What it is called.
    #[schemars(with = "rule::CiName")]
    pub name: Name,
    /// Where its sources are kept: `github.com/acme/shop`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub repository: Option<String>,
    /// What it is for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Its version, by <https://semver.org>.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "rule::SemanticVersion")]
    pub version: Option<String>,
}

/// What a later part will fill.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(inline, extend("maxProperties" = 0))]
pub struct Later {}

/// Whether a value need not be written.
fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}
