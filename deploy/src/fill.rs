//! Gaps that a model may fill: what it is asked, and which of its answers count.
//!
//! A [`Question`] holds the facts of one application and the lines that are evidence, and nothing else of the tree. An answer
//! chooses among what the tree holds, or names a number or a directory of a narrow form; what follows from it, the command
//! above all, is worked out by the rules of the analysis. So no answer brings in a command, an image, a package or a text. A
//! reply counts whole or not at all.
//!
//! ```
//! use aigis_deploy::{Options, Tree, analyze, fill};
//!
//! let tree = Tree::of([("requirements.txt", "requests\n"), ("collect.py", "import requests\n"), ("tidy.py", "import os\n")]);
//! let analysis = analyze(&tree, &Options::default()).unwrap();
//! let question = fill::question(&tree, &analysis.applications[0]).unwrap();
//! let filled = question.filled(&tree, &[], "small", r#"{"start": "collect.py"}"#).unwrap();
//! let analysis = analyze(&tree, &Options { filled, ..Options::default() }).unwrap();
//! assert_eq!(analysis.applications[0].start.value.as_deref(), Some("python collect.py"));
//! assert!(question.filled(&tree, &[], "small", r#"{"start": "rm -rf /"}"#).is_err());
//! ```

use std::fmt::Display;

use serde::{Deserialize, Serialize};

use crate::{
    Analysis,
    fact::{Application, Evidence, Fact, ProviderName},
};

mod answer;
mod question;

pub use answer::Refused;
pub use question::{INSTRUCTIONS, Question, question};

/// Most characters of a path that an answer names.
const LONGEST: usize = 200;

/// With what a gap of an application is filled.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Filled {
    /// The directory of the application, `.` for the tree's root.
    pub root: String,
    /// What was chosen.
    pub value: Value,
    /// The model that chose it.
    pub model: String,
    /// What is said to prove it.
    pub evidence: Vec<Evidence>,
}

/// What was chosen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Value {
    /// Whose application it is.
    Provider(ProviderName),
    /// By which file it is started, relative to the tree's root, or by which `MODULE:NAME`.
    Entry(String),
    /// On which port it listens.
    Port(u16),
    /// Where its build leaves a site, relative to its directory.
    Output(String),
}

/// A fact that a model chose, for who has to know.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Chosen {
    /// The application.
    pub application: String,
    /// The fact.
    pub fact: &'static str,
    /// Its value.
    pub value: String,
    /// [`MODEL`](crate::fact::MODEL).
    pub rule: &'static str,
    /// The model.
    pub model: String,
    /// What proves it.
    pub evidence: Vec<Evidence>,
}

impl Display for Chosen {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { application, fact, value, rule, model, evidence } = self;
        write!(f, "{application}: {fact}: {value} ({rule} {model}")?;
        match evidence.first() {
            Some(at) => write!(f, ", {}:{})", at.file, at.line),
            None => write!(f, ")"),
        }
    }
}

/// What of an application a model chose.
#[must_use]
pub fn chosen_of(app: &Application) -> Vec<Chosen> {
    fn one<T: Display, More>(app: &Application, name: &'static str, fact: &Fact<T, More>) -> Option<Chosen> {
        let (value, model) = (fact.value.as_ref()?.to_string(), fact.model.clone()?);
        let (application, rule, evidence) = (app.name.clone(), crate::fact::MODEL, fact.evidence.clone());
        Some(Chosen { application, fact: name, value, rule, model, evidence })
    }
    let found = [
        one(app, "provider", &app.provider),
        one(app, "start", &app.start),
        one(app, "port", &app.port),
        one(app, "output", &app.output_dir),
    ];
    found.into_iter().flatten().collect()
}

/// The application of that directory.
fn at<'a>(analysis: &'a Analysis, root: &str) -> Option<&'a Application> {
    analysis.applications.iter().find(|app| app.root == root)
}

/// Whether a path is of plain characters alone, and below where it is read: no word of a shell, no option, no way up.
pub(crate) fn is_plain(path: &str) -> bool {
    let is_part = |part: &str| !part.is_empty() && part != "." && part != ".." && !part.starts_with('-');
    path.len() <= LONGEST
        && path.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-/".contains(&byte))
        && path.split('/').all(is_part)
}

#[cfg(test)]
mod tests;
