//! What runs.

use std::collections::BTreeMap;

use aigis_proxy::{Name, NodeName};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Command, is_default, rule};

/// One container: an image, and how it is deployed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Container {
    /// What its image stands on: a reference, `scratch`, or `container:NAME`; required unless there is a `dockerfile`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "rule::ImageReference")]
    pub base_image: Option<String>,
    /// The Dockerfile by which its image is made instead, relative to the project root.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "rule::Path")]
    pub dockerfile: Option<String>,
    /// The applications in its image; required unless there is a `dockerfile`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(with = "Vec<rule::CiName>", extend("minItems" = 1), extend("uniqueItems" = true))]
    pub applications: Vec<Name>,
    /// Which of them runs; the only one that can be started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "rule::CiName")]
    pub start: Option<Name>,
    /// The ports on which it listens.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(inner(range(min = 1, max = 65535)), extend("uniqueItems" = true))]
    pub ports: Vec<u16>,
    /// As whom it runs: `UID:GID`.
    #[serde(default = "user", skip_serializing_if = "is_user")]
    #[schemars(with = "rule::User")]
    pub user: String,
    /// Its environment; not for secrets.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(with = "BTreeMap<rule::Variable, rule::Plain>")]
    pub env: BTreeMap<String, String>,
    /// Labels of its image.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(with = "BTreeMap<rule::Variable, rule::Plain>")]
    pub labels: BTreeMap<String, String>,
    /// How its health is looked at; TCP on the first port.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub health: Option<Health>,
    /// The name of its CI; its own name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "rule::CiName")]
    pub ci_name: Option<Name>,
    /// Which skills its CI has beside those that every one has; all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("uniqueItems" = true))]
    pub ci_capabilities: Option<Vec<Capability>>,
    /// How many of it run.
    #[serde(default = "one", skip_serializing_if = "is_one")]
    #[schemars(range(min = 1, max = 100))]
    pub replicas: u32,
    /// Containers that have to be well before it begins.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(with = "Vec<rule::CiName>", extend("uniqueItems" = true))]
    pub depends_on: Vec<Name>,
    /// On which nodes it may run; any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub place: Option<Place>,
    /// By its port: the port of the host, `[ADDRESS:]PORT`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(with = "BTreeMap<rule::PortKey, rule::Published>")]
    pub publish: BTreeMap<String, String>,
    /// By the name of a volume: where it is mounted.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(with = "BTreeMap<rule::CiName, rule::AbsolutePath>")]
    pub volumes: BTreeMap<Name, String>,
    /// Secrets that it may read.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("uniqueItems" = true))]
    pub secrets: Vec<Secret>,
    /// What it may use of its host.
    #[serde(default, skip_serializing_if = "is_default")]
    pub resources: Resources,
    /// When it is started again.
    #[serde(default, skip_serializing_if = "is_default")]
    pub restart: Restart,
    /// How long it has to end by itself, in seconds.
    #[serde(default = "grace", skip_serializing_if = "is_grace")]
    #[schemars(range(max = 300))]
    pub grace_s: u32,
}

impl Default for Container {
    fn default() -> Self {
        Self {
            base_image: None,
            dockerfile: None,
            applications: Vec::new(),
            start: None,
            ports: Vec::new(),
            user: user(),
            env: BTreeMap::new(),
            labels: BTreeMap::new(),
            health: None,
            ci_name: None,
            ci_capabilities: None,
            replicas: one(),
            depends_on: Vec::new(),
            place: None,
            publish: BTreeMap::new(),
            volumes: BTreeMap::new(),
            secrets: Vec::new(),
            resources: Resources::default(),
            restart: Restart::default(),
            grace_s: grace(),
        }
    }
}

/// What an image stands on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Base<'a> {
    /// Nothing.
    Scratch,
    /// The image of another container of the manifest.
    Container(&'a str),
    /// An image by its reference.
    Image(&'a str),
}

impl<'a> Base<'a> {
    /// What a reference of a manifest means.
    #[must_use]
    pub fn of(reference: &'a str) -> Self {
        match reference.strip_prefix("container:") {
            Some(name) => Self::Container(name),
            None if reference == "scratch" => Self::Scratch,
            None => Self::Image(reference),
        }
    }
}

impl Container {
    /// What its image stands on; `None` where a Dockerfile says it.
    #[must_use]
    pub fn base(&self) -> Option<Base<'_>> {
        self.base_image.as_deref().map(Base::of)
    }
}

/// How the health of a container is looked at: by one of `http`, `tcp` and `command`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Health {
    /// A path of HTTP on the first port that answers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "rule::UrlPath")]
    pub http: Option<String>,
    /// A port that can be connected to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 65535))]
    pub tcp: Option<u16>,
    /// A command that ends with 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub command: Option<Command>,
    /// How often, in seconds.
    #[serde(default = "interval", skip_serializing_if = "is_interval")]
    #[schemars(range(min = 1, max = 86400))]
    pub interval_s: u32,
    /// How long it may take, in seconds.
    #[serde(default = "limit", skip_serializing_if = "is_limit")]
    #[schemars(range(min = 1, max = 86400))]
    pub timeout_s: u32,
    /// How long after the start a failure does not count, in seconds.
    #[serde(default = "start", skip_serializing_if = "is_start")]
    #[schemars(range(max = 86400))]
    pub start_s: u32,
    /// After how many failures it is not well.
    #[serde(default = "retries", skip_serializing_if = "is_retries")]
    #[schemars(range(min = 1, max = 100))]
    pub retries: u32,
}

impl Health {
    /// A look at that path of the first port.
    #[must_use]
    pub fn http(path: String) -> Self {
        let (interval_s, timeout_s, start_s, retries) = (interval(), limit(), start(), retries());
        Self { http: Some(path), tcp: None, command: None, interval_s, timeout_s, start_s, retries }
    }
}

/// A group of skills that a container's CI may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
#[expect(missing_docs, reason = "they are the names of skills")]
pub enum Capability {
    Stats,
    Logs,
    Monitor,
    Debug,
    Optimize,
    Exec,
}

/// On which nodes a container may run: by one of both.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Place {
    /// On this one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "rule::CiName")]
    pub node: Option<NodeName>,
    /// On those with this label: `KEY=VALUE`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "rule::NodeLabel")]
    pub label: Option<String>,
}

/// A secret that a container may read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Secret {
    /// As the file `/run/secrets/KEY`.
    File(#[schemars(with = "rule::SecretKey")] String),
    /// As a variable of its environment.
    Environment(EnvironmentSecret),
}

/// A secret that is a variable of a container's environment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct EnvironmentSecret {
    /// Its key, and the variable.
    #[schemars(with = "rule::SecretKey")]
    pub key: String,
    /// As what it is given.
    #[serde(rename = "as")]
    pub given_as: EnvironmentWord,
}

impl Secret {
    /// Its key.
    #[must_use]
    pub fn key(&self) -> &str {
        match self {
            Self::File(key) | Self::Environment(EnvironmentSecret { key, .. }) => key,
        }
    }
}

/// The word for a variable of the environment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(inline)]
pub enum EnvironmentWord {
    /// As a variable.
    #[serde(rename = "env")]
    Env,
}

/// What a container may use of its host.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Resources {
    /// Memory, in bytes; at least the 6 MiB that an engine asks for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 6_291_456))]
    pub memory_bytes: Option<u64>,
    /// Processors: 0.5 is half of one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0.01, max = 1024))]
    pub cpus: Option<f64>,
    /// Processes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 4_194_304))]
    pub pids: Option<u32>,
}

// No number that JSON can hold is unequal to itself.
impl Eq for Resources {}

/// When a container is started again.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[schemars(inline)]
pub enum Restart {
    /// Never.
    No,
    /// After it failed.
    #[default]
    OnFailure,
    /// Whenever it ended.
    Always,
}

fn user() -> String {
    "10001:10001".to_owned()
}

fn is_user(given: &str) -> bool {
    given == "10001:10001"
}

fn one() -> u32 {
    1
}

fn grace() -> u32 {
    10
}

fn interval() -> u32 {
    10
}

fn limit() -> u32 {
    3
}

fn start() -> u32 {
    20
}

fn retries() -> u32 {
    3
}

/// Whether a value is the one that counts where none is given.
macro_rules! is_usual {
    ($($name:ident: $usual:ident;)*) => {
        $(
            fn $name(value: &u32) -> bool {
                *value == $usual()
            }
        )*
    };
}

is_usual! {
    is_one: one;
    is_grace: grace;
    is_interval: interval;
    is_limit: limit;
    is_start: start;
    is_retries: retries;
}
