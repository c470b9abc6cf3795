//! What is built.

use std::collections::BTreeMap;

use aigis_proxy::Name;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Command, is_default, rule};
use crate::fact::ProviderName;

/// One application: sources, and what is made of them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Application {
    /// A provider or framework that the analysis knows, or `files`: taken as they are.
    #[serde(rename = "type")]
    pub kind: String,
    /// The provider that knows the type; worked out from it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String")]
    pub language: Option<ProviderName>,
    /// Its directory inside the project.
    #[serde(default = "here", skip_serializing_if = "is_here")]
    #[schemars(with = "rule::Path")]
    pub root: String,
    /// The file that it begins with, relative to its root, or `MODULE:NAME`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "rule::Path")]
    pub entrypoint: Option<String>,
    /// What the install phase gets: files, relative to its root.
    #[serde(default, skip_serializing_if = "OneOrMany::is_none")]
    pub dependencies: OneOrMany,
    /// How its dependencies are installed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub install_commands: Vec<Command>,
    /// How it is built.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub build_commands: Vec<Command>,
    /// How it is started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run_command: Option<Command>,
    /// What runs once for each release, before the first start.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub release_command: Option<Command>,
    /// Files that are served on the first port, instead of a command that is run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub site: Option<Site>,
    /// The image in which its phases run, if another than its container's base; it needs `outputs`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "rule::ImageReference")]
    pub build_image: Option<String>,
    /// What is kept of its phases: paths, absolute or relative to the work directory. Otherwise, every change.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Vec<rule::Path>", extend("uniqueItems" = true))]
    pub outputs: Option<Vec<String>>,
    /// Outputs of other applications that are put into it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub copy: Vec<Copied>,
    /// Its environment, for build and run; not for secrets.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(with = "BTreeMap<rule::Variable, rule::Plain>")]
    pub env: BTreeMap<String, String>,
    /// Secrets that its phases may read, as files `/run/secrets/KEY`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(with = "Vec<rule::SecretKey>", extend("uniqueItems" = true))]
    pub build_secrets: Vec<String>,
    /// Paths that belong to the user that it runs as, absolute or relative to the work directory.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(with = "Vec<rule::Path>", extend("uniqueItems" = true))]
    pub writable: Vec<String>,
    /// What of its sources is left out: lines of an ignore file.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(with = "Vec<rule::Path>")]
    pub exclude: Vec<String>,
    /// Packages of Debian that it needs.
    #[serde(default, skip_serializing_if = "is_default")]
    pub system_packages: SystemPackages,
    /// Whether its phases may use the network.
    #[serde(default = "yes", skip_serializing_if = "is_yes")]
    pub network: bool,
}

impl Default for Application {
    fn default() -> Self {
        Self {
            kind: "files".to_owned(),
            language: None,
            root: here(),
            entrypoint: None,
            dependencies: OneOrMany::default(),
            install_commands: Vec::new(),
            build_commands: Vec::new(),
            run_command: None,
            release_command: None,
            site: None,
            build_image: None,
            outputs: None,
            copy: Vec::new(),
            env: BTreeMap::new(),
            build_secrets: Vec::new(),
            writable: Vec::new(),
            exclude: Vec::new(),
            system_packages: SystemPackages::default(),
            network: true,
        }
    }
}

/// One text or several.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum OneOrMany {
    /// One.
    One(#[schemars(with = "rule::Path")] String),
    /// Several.
    Many(#[schemars(with = "Vec<rule::Path>", extend("uniqueItems" = true))] Vec<String>),
}

impl OneOrMany {
    /// All of them.
    #[must_use]
    pub fn all(&self) -> &[String] {
        match self {
            Self::One(one) => std::slice::from_ref(one),
            Self::Many(many) => many,
        }
    }

    fn is_none(&self) -> bool {
        self.all().is_empty()
    }
}

impl Default for OneOrMany {
    fn default() -> Self {
        Self::Many(Vec::new())
    }
}

/// Files that are served as a site.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Site {
    /// Their directory, absolute or relative to the work directory.
    #[schemars(with = "rule::Path")]
    pub root: String,
    /// The file that answers for paths that are none, relative to their directory: `index.html` of a single-page site.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "rule::Path")]
    pub fallback: Option<String>,
}

/// An output of another application.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Copied {
    /// Which application.
    #[schemars(with = "rule::CiName")]
    pub from: Name,
    /// Where it stands there, absolute or relative to the work directory.
    #[schemars(with = "rule::Path")]
    pub path: String,
    /// Where it stands here, absolute or relative to the work directory.
    #[schemars(with = "rule::Path")]
    pub to: String,
}

/// Packages of Debian.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SystemPackages {
    /// For its phases.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(with = "Vec<rule::DebianPackage>", extend("uniqueItems" = true))]
    pub build: Vec<String>,
    /// For its image.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(with = "Vec<rule::DebianPackage>", extend("uniqueItems" = true))]
    pub run: Vec<String>,
}

fn here() -> String {
    ".".to_owned()
}

fn is_here(root: &str) -> bool {
    root == "."
}

fn yes() -> bool {
    true
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde gives a reference")]
fn is_yes(flag: &bool) -> bool {
    *flag
}
