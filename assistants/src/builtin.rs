//! The assistants that are part of the product. They run in the coordinator's process, and use places for what takes an
//! engine.

use std::{fmt, path::PathBuf, sync::Arc};

use aigis_deploy::plan::Bases;
use aigis_proxy::{
    Error, Name,
    chain::{ChainId, Tree},
    services::steps::{BuildWork, GitWork, Image, Question},
};
use aigis_registry::AppState;
use futures::future::BoxFuture;

use crate::selection::Known;

mod app;
mod detect;
mod dockerfile;
mod exec;
mod git;
mod python;
#[cfg(test)]
mod testing;

/// What a builtin works with.
pub struct Context {
    /// The app.
    pub app: Name,
    /// The chain.
    pub chain: ChainId,
    /// The step.
    pub step: u32,
    /// Where the app's tree is unpacked, to be read and not to be changed.
    pub app_dir: PathBuf,
    /// The same as a blob.
    pub app_tree: Tree,
    /// The state before the step, without `next`.
    pub state: AppState,
    /// Where the app came from: a path with its host, or a URL.
    pub from: String,
    /// What the coordinator does for it.
    pub means: Arc<dyn Means>,
}

impl fmt::Debug for Context {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Context").field("app", &self.app).field("chain", &self.chain).finish_non_exhaustive()
    }
}

/// What the coordinator does for builtins.
pub trait Means: Send + Sync {
    /// Writes a line to the step's log.
    fn log(&self, line: &str);
    /// Says what is odd, but no reason to fail: in the log, and in what the step leaves.
    fn warn(&self, text: &str);
    /// Asks the user, and waits for the answer: that of the flags, the user's, or in the end the question's default. Fails
    /// with `deadline_exceeded` if there is none. `until` is set here: leave it empty.
    fn ask(&self, question: Question) -> BoxFuture<'_, Result<String, Error>>;
    /// Builds an image at a place; its output goes to the step's log.
    fn build(&self, work: BuildWork) -> BoxFuture<'_, Result<Image, Error>>;
    /// Brings the tree of a git repository.
    fn fetch(&self, work: GitWork) -> BoxFuture<'_, Result<Tree, Error>>;
    /// Stores what a directory holds as a tree; what no tree may hold is an error that names the path.
    fn keep(&self, directory: PathBuf) -> BoxFuture<'_, Result<Tree, Error>>;
    /// Unpacks a tree into a directory that stays until the step ends.
    fn open(&self, tree: Tree) -> BoxFuture<'_, Result<PathBuf, Error>>;
    /// The assistants that are known in the mesh, with those that are part of the product.
    fn known(&self) -> BoxFuture<'_, Result<Vec<Known>, Error>>;
    /// The image that Python apps are built on, if this node has one of its own for them.
    fn python_image(&self) -> Option<String>;
    /// The images behind the logical names of bases, as this node's owner has them.
    fn bases(&self) -> BoxFuture<'_, Result<Bases, Error>>;
    /// Names an instance in the app's record, and waits until it serves or has ended.
    fn serve(&self, instance: NewInstance) -> BoxFuture<'_, Result<Served, Error>>;
}

/// What of an app is to run. What else its instance takes, the coordinator knows from the push.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NewInstance {
    /// The image: its id, or a name.
    pub image: String,
    /// Its command; the image's own if empty.
    pub cmd: Vec<String>,
    /// Where that runs; the image's own if absent.
    pub workingdir: Option<String>,
    /// Its TCP ports, the main one first.
    pub ports: Vec<u16>,
}

/// What became of an instance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Served {
    /// It is in force and runs: the chain serves.
    Serving,
    /// It ended by itself before it was that.
    Ended {
        /// How its process ended.
        exit_code: i64,
    },
}

/// What a builtin leaves.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Outcome {
    /// The app's tree, if it is another one now.
    pub app_tree: Option<Tree>,
    /// The state after the step.
    pub state: AppState,
    /// What comes next, if anything does.
    pub next: Option<String>,
    /// Whether the app runs now, and the chain serves it.
    pub serving: bool,
}

/// An assistant that is part of the product.
pub trait Builtin: Send + Sync {
    /// Its name, without its kind.
    fn name(&self) -> &'static str;
    /// What it does, in a sentence.
    fn description(&self) -> &'static str;
    /// Runs it. Dropping the future ends what it began at places.
    ///
    /// # Errors
    ///
    /// Why the step failed.
    fn run<'a>(&'a self, context: &'a mut Context) -> BoxFuture<'a, Result<Outcome, Error>>;
}

/// All of them, sorted by name.
#[must_use]
pub fn all() -> Vec<Box<dyn Builtin>> {
    vec![
        Box::new(detect::Detect),
        Box::new(dockerfile::Dockerfile),
        Box::new(exec::Exec),
        Box::new(git::Git),
        Box::new(python::Python),
    ]
}

/// The one of that name, if there is one.
#[must_use]
pub fn find(name: &str) -> Option<Box<dyn Builtin>> {
    all().into_iter().find(|builtin| builtin.name() == name)
}
