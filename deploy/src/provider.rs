//! What each ecosystem knows of a tree.
//!
//! A new one is a module of its own below this and a line in [`ALL`]. What is the same for all of them is done after a
//! provider's `application` by the analysis, and no provider does it: `Procfile`, `railpack.json`, `nixpacks.toml`, an
//! existing Dockerfile, ports from `EXPOSE`, compose files, commands and code (a provider gives the framework's default
//! alone), names, variables, services of compose files and variable names, alternatives, gaps.

use crate::{
    fact::{Application, Evidence, ProviderName, Role},
    plan::{self, Bases, Plan},
    tree::Tree,
};

mod cpp;
pub(crate) mod deno;
pub(crate) mod dir;
mod dockerfile;
mod dotnet;
mod elixir;
mod entry;
mod gleam;
mod go;
mod java;
mod listen;
mod needs;
mod node;
mod php;
mod python;
mod recognised;
mod ruby;
mod rust;
mod shell;
pub(crate) mod site;
mod tools;
mod version;

/// All ecosystems; their order says nothing.
#[rustfmt::skip]
pub(crate) const ALL: &[&dyn Provider] = &[
    &cpp::Cpp,
    &deno::Deno,
    &dockerfile::Dockerfile,
    &dotnet::Dotnet,
    &elixir::Elixir,
    &gleam::Gleam,
    &go::Go,
    &java::Java,
    &node::Node,
    &php::Php,
    &python::Python,
    &recognised::ALL[0],
    &recognised::ALL[1],
    &recognised::ALL[2],
    &recognised::ALL[3],
    &recognised::ALL[4],
    &recognised::ALL[5],
    &recognised::ALL[6],
    &recognised::ALL[7],
    &recognised::ALL[8],
    &ruby::Ruby,
    &rust::Rust,
    &shell::Shell,
    &site::Static,
];

/// A directory that could be an application of an ecosystem.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// Its directory relative to the tree's root, `.` for the root.
    pub root: String,
    /// How good it is, before what further evidence adds: see the table of scores.
    pub score: u8,
    /// What it is to the application.
    pub role: Role,
    /// What it is beside a candidate of another language with 60 or more in the same directory: [`Role::App`] unless it
    /// only builds what that one serves, or is no more than its tools.
    pub beside: Role,
    /// Which rule found it: `node.manifest`.
    pub rule: &'static str,
    /// Whether there is something in it that can be started; a library has none.
    pub entry: bool,
    /// The directory of the workspace that it is the root or a member of.
    pub workspace: Option<String>,
    /// What it is to be started by where nothing of the project says so, chosen by somebody: a file relative to its
    /// directory, or `MODULE:NAME`.
    pub wanted: Option<String>,
    /// What proves it: at least one piece. Each further independent one adds 1 to the score.
    pub evidence: Vec<Evidence>,
}

impl Candidate {
    /// An application at that directory, which nothing can be started in as far as is known.
    #[must_use]
    pub fn new(root: &str, score: u8, rule: &'static str, evidence: Vec<Evidence>) -> Self {
        let root = root.to_owned();
        let (role, entry, workspace) = (Role::App, false, None);
        Self { root, score, role, beside: role, rule, entry, workspace, wanted: None, evidence }
    }

    /// The same, with or without an entry.
    #[must_use]
    pub fn with_entry(self, entry: bool) -> Self {
        Self { entry, ..self }
    }

    /// The same as the root or a member of the workspace in that directory.
    #[must_use]
    pub fn in_workspace(self, workspace: Option<String>) -> Self {
        Self { workspace, ..self }
    }

    /// The path of a file of that name in its directory.
    #[must_use]
    pub fn path(&self, name: &str) -> String {
        crate::tree::path(&self.root, name)
    }
}

/// An ecosystem. All see the whole tree, and none stops another.
pub trait Provider: Sync {
    /// What it is called.
    fn name(&self) -> ProviderName;

    /// What it looks for, in a few words: for whoever has none of it.
    fn looks_for(&self) -> &'static str;

    /// Every directory in which it sees an application.
    fn candidates(&self, tree: &Tree) -> Vec<Candidate>;

    /// What is known of the one that was chosen: begin with [`Application::of`]. Where the provider was asked for by its
    /// user, it may be a directory in which it sees none by itself.
    fn application(&self, tree: &Tree, chosen: &Candidate) -> Application;

    /// How the names of files end by which it can start an application ([`Candidate::wanted`]).
    fn entries(&self) -> &'static [&'static str] {
        &[]
    }

    /// The frameworks that it can name.
    #[cfg(test)]
    fn frameworks(&self) -> Vec<&'static str> {
        Vec::new()
    }

    /// How its image is made. An ecosystem that is only recognised has no plan.
    ///
    /// # Errors
    ///
    /// Where nothing is known by which it could be made: what is missing, and what to do.
    fn plan(&self, app: &Application, bases: &Bases) -> Result<Plan, plan::Error> {
        plan::of(app, bases)
    }
}

/// The provider of that name.
#[must_use]
pub(crate) fn named(name: ProviderName) -> Option<&'static dyn Provider> {
    ALL.iter().copied().find(|provider| provider.name() == name)
}
