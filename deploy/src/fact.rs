//! What is known of an application, each value with the rule that gave it and the lines that prove it.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The rule of what a model chose.
pub const MODEL: &str = "model";

/// Where something stands.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Evidence {
    /// The file, relative to the tree's root, with `/`.
    pub file: String,
    /// The line, from 1.
    pub line: u64,
}

impl Evidence {
    /// That line of that file.
    #[must_use]
    pub fn new(file: impl Into<String>, line: u64) -> Self {
        Self { file: file.into(), line }
    }
}

/// A value that is known, or is not, and what is said beside it.
///
/// What is known has at least one piece of evidence; what is not has neither rule nor evidence. What a model chose has the
/// rule [`MODEL`], and names the model.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fact<T, More = Nothing> {
    /// The value, where it is known.
    pub value: Option<T>,
    /// What is said beside it.
    #[serde(flatten)]
    pub more: More,
    /// Which rule gave it: `python.application-object`.
    pub rule: Option<String>,
    /// The model that chose it, where one did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// What proves it, by file and line.
    pub evidence: Vec<Evidence>,
}

impl<T, More: Default> Fact<T, More> {
    /// What that rule found there.
    #[must_use]
    pub fn known(value: T, rule: &str, evidence: Vec<Evidence>) -> Self {
        Self { value: Some(value), more: More::default(), rule: Some(rule.to_owned()), model: None, evidence }
    }
}

impl<T, More> Fact<T, More> {
    /// The same with this said beside it.
    #[must_use]
    pub fn with(self, more: More) -> Self {
        Self { more, ..self }
    }

    /// Whether it is known.
    #[must_use]
    pub fn is_known(&self) -> bool {
        self.value.is_some()
    }

    /// Whether a model chose it.
    #[must_use]
    pub fn is_chosen(&self) -> bool {
        self.rule.as_deref() == Some(MODEL)
    }
}

impl<T, More: Default> Default for Fact<T, More> {
    fn default() -> Self {
        Self { value: None, more: More::default(), rule: None, model: None, evidence: Vec::new() }
    }
}

/// Nothing is said beside a value.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Nothing {}

/// How good a candidate is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Scored {
    /// From 0 to 109: that of the best evidence, and 1 for each further independent piece.
    pub score: u8,
}

/// What was asked for where a version was chosen.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Requested {
    /// As it stands in the project: `>=3.12`.
    pub requested: Option<String>,
}

/// How dependencies are pinned.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Managed {
    /// The version of the package manager that the project asks for.
    pub version: Option<String>,
    /// The lock file, relative to the tree's root.
    pub lock: Option<String>,
    /// Whether each dependency is pinned.
    pub locked: bool,
}

/// A command as words.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Argv {
    /// The exec form; empty where no command is known.
    pub argv: Vec<String>,
}

/// What an existing Dockerfile says.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dockerfile {
    /// Its stages, by their names or numbers.
    pub stages: Vec<String>,
    /// The ports that its last stage exposes.
    pub ports: Vec<u16>,
    /// The command of its last stage.
    pub cmd: Vec<String>,
}

/// Who knows an ecosystem.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum ProviderName {
    /// Clojure.
    Clojure,
    /// COBOL.
    Cobol,
    /// C and C++.
    Cpp,
    /// Crystal.
    Crystal,
    /// Dart.
    Dart,
    /// Deno.
    Deno,
    /// An existing Dockerfile, and nothing else to go by.
    Dockerfile,
    /// .NET.
    Dotnet,
    /// Elixir.
    Elixir,
    /// Gleam.
    Gleam,
    /// Go.
    Go,
    /// Haskell.
    Haskell,
    /// Java with Maven or Gradle.
    Java,
    /// Node.js, and Bun.
    Node,
    /// PHP.
    Php,
    /// Python.
    Python,
    /// Ruby.
    Ruby,
    /// Rust.
    Rust,
    /// Scala.
    Scala,
    /// Scheme.
    Scheme,
    /// A start script.
    Shell,
    /// A site of files.
    Static,
    /// Swift.
    Swift,
    /// Zig.
    Zig,
}

impl std::str::FromStr for ProviderName {
    type Err = UnknownProvider;

    fn from_str(name: &str) -> Result<Self, UnknownProvider> {
        serde_json::from_value(name.into()).map_err(|_| UnknownProvider(name.to_owned()))
    }
}

/// A word that is no provider's name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("there is no provider {0:?}")]
pub struct UnknownProvider(String);

impl fmt::Display for ProviderName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.serialize(f)
    }
}

/// What a candidate is to an application.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// It could be the application.
    App,
    /// It builds what the application serves: a second toolchain.
    Assets,
    /// It formats, lints or tests.
    Tooling,
}

/// A candidate that did not win.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Alternative {
    /// Whose it is.
    pub provider: ProviderName,
    /// Its directory, `.` for the tree's root.
    pub root: String,
    /// How good it is.
    pub score: u8,
    /// What it would be.
    pub role: Role,
    /// What proves it.
    pub evidence: Vec<Evidence>,
}

/// A variable of the environment that the application reads.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Variable {
    /// Its name. Values are never read.
    pub name: String,
    /// Whether its name says that its value is secret.
    pub secret: bool,
    /// Where it is named.
    pub evidence: Vec<Evidence>,
}

/// A service that the application needs: a database, a cache, a queue.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Service {
    /// `postgres`.
    pub name: String,
    /// What proves it.
    pub evidence: Vec<Evidence>,
}

/// Debian packages that an application needs.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SystemPackages {
    /// To be built.
    pub build: Vec<String>,
    /// To run.
    pub run: Vec<String>,
}

/// A second toolchain that builds what an application serves.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Assets {
    /// Whose toolchain.
    pub provider: ProviderName,
    /// Its directory, `.` for the tree's root.
    pub root: String,
    /// What manages its packages.
    pub package_manager: Fact<String, Managed>,
    /// The version of its runtime.
    pub runtime: Fact<String, Requested>,
    /// How its dependencies are installed.
    pub install: Fact<Vec<String>>,
    /// How it is built.
    pub build: Fact<Vec<String>>,
    /// Where what it builds stands, relative to its directory.
    pub output_dir: Fact<String>,
}

/// Something that the analysis cannot decide, and of which kind an answer has to be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gap {
    /// By which it is answered: `start`.
    pub id: String,
    /// Of which kind the answer is.
    #[serde(rename = "type")]
    pub kind: GapKind,
    /// The JSON Schema of the answer.
    pub schema: serde_json::Value,
    /// Of what one is to be chosen.
    pub choices: Vec<String>,
    /// What speaks for which.
    pub evidence: Vec<Evidence>,
}

/// Of which kind the answer to a gap is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum GapKind {
    /// One of the choices.
    Choice,
    /// An existing file, or `MODULE:NAME` that the tree holds.
    Entry,
    /// A port.
    Port,
    /// A path of HTTP.
    Path,
    /// A relative path.
    Output,
}

/// What is known of one application.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Application {
    /// A CI name, unique in the analysis.
    pub name: String,
    /// Its directory relative to the tree's root, `.` for the root.
    pub root: String,
    /// The directory of the workspace or lock file, where it is another than its own: the context of its build.
    pub workspace: Option<String>,
    /// Whether something else was nearly as likely.
    pub ambiguous: bool,
    /// Whose application it is.
    pub provider: Fact<ProviderName, Scored>,
    /// The framework that a dependency and a marker prove.
    pub framework: Fact<String>,
    /// The version of the language's runtime: `3.13`.
    pub runtime: Fact<String, Requested>,
    /// What manages its packages.
    pub package_manager: Fact<String, Managed>,
    /// How its dependencies are installed.
    pub install: Fact<Vec<String>>,
    /// How it is built.
    pub build: Fact<Vec<String>>,
    /// How it is started.
    pub start: Fact<String, Argv>,
    /// What runs once for each release, before the first start.
    pub release: Fact<String>,
    /// On which port it listens.
    pub port: Fact<u16>,
    /// The directory of files that a site is served from, relative to its root.
    pub output_dir: Fact<String>,
    /// An existing Dockerfile.
    pub dockerfile: Fact<String, Dockerfile>,
    /// Which variables it reads.
    pub env: Vec<Variable>,
    /// Which services it needs.
    pub services: Vec<Service>,
    /// Which packages of Debian it needs.
    pub system_packages: SystemPackages,
    /// Paths that it writes to.
    pub writable: Vec<String>,
    /// The toolchain of what it serves.
    pub assets: Option<Assets>,
    /// What is not decided.
    pub gaps: Vec<Gap>,
    /// What it could be as well.
    pub alternatives: Vec<Alternative>,
    /// What a plan needs beside the facts.
    #[serde(skip)]
    pub details: Details,
}

impl Application {
    /// The application of a provider at the directory of a candidate, of which nothing else is known yet.
    #[must_use]
    pub fn of(provider: ProviderName, chosen: &crate::Candidate) -> Self {
        let scored = Scored { score: chosen.score };
        Self {
            name: String::new(),
            root: chosen.root.clone(),
            workspace: chosen.workspace.clone().filter(|workspace| *workspace != chosen.root),
            ambiguous: false,
            provider: Fact::known(provider, chosen.rule, chosen.evidence.clone()).with(scored),
            framework: Fact::default(),
            runtime: Fact::default(),
            package_manager: Fact::default(),
            install: Fact::default(),
            build: Fact::default(),
            start: Fact::default(),
            release: Fact::default(),
            port: Fact::default(),
            output_dir: Fact::default(),
            dockerfile: Fact::default(),
            env: Vec::new(),
            services: Vec::new(),
            system_packages: SystemPackages::default(),
            writable: Vec::new(),
            assets: None,
            gaps: Vec::new(),
            alternatives: Vec::new(),
            details: Details::default(),
        }
    }
}

impl Fact<String, Argv> {
    /// A command that is started, with its exec form.
    #[must_use]
    pub fn command(command: &str, rule: &str, evidence: Vec<Evidence>) -> Self {
        let argv = crate::words::argv(command);
        Self::known(command.to_owned(), rule, evidence).with(Argv { argv })
    }
}

/// What a plan needs of an application beside its facts.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Details {
    /// The files that an install needs, relative to the build's context: manifests and lock files.
    pub dependency_files: Vec<String>,
    /// The path of HTTP that says whether it is well.
    pub health_path: Option<String>,
    /// What a compiled application's build makes, by its name: a binary, an archive, a program.
    pub artifact: Option<String>,
    /// Whether paths that a site does not have lead to its `index.html`.
    pub single_page: bool,
    /// Whether what starts it is a development dependency, so that those have to stay.
    pub keeps_development: bool,
    /// What its language's manifest calls it, before that is made a CI name.
    pub project_name: Option<String>,
    /// What is to be known of it beside what the tree itself says: two lock files, a version that no table has.
    pub warnings: Vec<crate::Warning>,
    /// Where each of several programs begins that are as likely, where nothing says which is meant.
    pub programs: Vec<Evidence>,
    /// The files at the root of the build's context, directories with `/` behind them.
    pub context: Vec<String>,
}
