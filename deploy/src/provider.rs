//! What each ecosystem knows of a tree.

use crate::{
    fact::{Application, Evidence, ProviderName, Role},
    plan::{self, Bases, Plan},
    tree::Tree,
};

/// A directory that could be an application of an ecosystem.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// Its directory relative to the tree's root, `.` for the root.
    pub root: String,
    /// How good it is, before what further evidence adds: see the table of scores.
    pub score: u8,
    /// What it is to the application.
    pub role: Role,
    /// What proves it: at least one piece.
    pub evidence: Vec<Evidence>,
}

/// An ecosystem. All see the whole tree, and none stops another.
pub trait Provider: Sync {
    /// What it is called.
    fn name(&self) -> ProviderName;

    /// Every directory in which it sees an application.
    fn candidates(&self, tree: &Tree) -> Vec<Candidate>;

    /// What is known of the one that was chosen.
    fn application(&self, tree: &Tree, chosen: &Candidate) -> Application;

    /// How its image is made.
    ///
    /// # Errors
    ///
    /// Where nothing is known by which it could be made: what is missing, and what to do.
    fn plan(&self, app: &Application, bases: &Bases) -> Result<Plan, plan::Error>;
}
