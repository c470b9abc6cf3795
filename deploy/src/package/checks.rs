//! What is good about a package, worked out of what is stored each time it is asked for: nothing keeps an outcome, and nobody
//! can set one.

use std::{fmt, str::FromStr};

use aigis_proxy::Error;
use serde::{Deserialize, Serialize};

use super::{Known, Reproducible, Store};

mod images;
mod keys;
mod origin;
mod sources;

/// Most lines of evidence of one check.
const MOST: usize = 20;

/// A question that is asked of every package.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Question {
    /// Whether sources have a README over 200 bytes.
    Documented,
    /// Whether sources have a test file, by the convention of its ecosystem.
    HasTests,
    /// Whether the project has a version.
    Versioned,
    /// Whether a repository and a commit are known.
    Sourced,
    /// Whether every dependency is given by a lock file or by hashes.
    Locked,
    /// Whether each image stands on content that the lock knows.
    BasesPinned,
    /// Whether each image runs as a number that is not 0.
    NonRoot,
    /// Whether each image, or its manifest, says how its health is looked at.
    HealthCheck,
    /// Whether no known key stands in what the package brings.
    NoSecrets,
    /// Whether a build was of a commit as it is.
    CleanCommit,
    /// Whether independent builds agreed.
    Reproducible,
}

/// All of them, with their names.
pub const QUESTIONS: [(&str, Question); 11] = [
    ("documented", Question::Documented),
    ("has_tests", Question::HasTests),
    ("versioned", Question::Versioned),
    ("sourced", Question::Sourced),
    ("locked", Question::Locked),
    ("bases_pinned", Question::BasesPinned),
    ("non_root", Question::NonRoot),
    ("health_check", Question::HealthCheck),
    ("no_secrets", Question::NoSecrets),
    ("clean_commit", Question::CleanCommit),
    ("reproducible", Question::Reproducible),
];

impl fmt::Display for Question {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(QUESTIONS.iter().find(|(_, question)| question == self).map_or("", |(name, _)| name))
    }
}

impl FromStr for Question {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let known = QUESTIONS.iter().find(|(name, _)| *name == text).map(|(_, question)| *question);
        known.ok_or_else(|| format!("one of {} is needed", QUESTIONS.map(|(name, _)| name).join(", ")))
    }
}

/// How a check ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// It is so.
    Pass,
    /// It is not so.
    Fail,
    /// What is stored does not tell.
    Unknown,
}

impl FromStr for Outcome {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "pass" => Ok(Self::Pass),
            "fail" => Ok(Self::Fail),
            "unknown" => Ok(Self::Unknown),
            _ => Err("one of pass, fail, unknown is needed"),
        }
    }
}

/// One check of a package.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Check {
    /// What was asked.
    pub name: Question,
    /// How it ended.
    pub outcome: Outcome,
    /// What shows it, in no more than 20 lines.
    pub evidence: Vec<String>,
}

/// What was found, before it is anybody's answer.
type Found = (Outcome, Vec<String>);

/// Asks some questions of a package, in their order. What of its content is needed is brought here. This blocks.
///
/// # Errors
///
/// `data_loss` for content that cannot be read; what the mesh says.
pub fn checks(store: &Store, known: &Known, questions: &[Question]) -> Result<Vec<Check>, Error> {
    let record = &known.record;
    // Several questions look at the same; it is read for the first of them.
    let (mut sources, mut manifest, mut builds) = (None, None, None);
    let read_manifest = || store.manifest(record).map(|document| document.manifest);
    let read_builds = || store.builds(&record.inputs);
    let mut told = Vec::new();
    for name in questions {
        let (outcome, mut evidence) = match name {
            Question::Documented | Question::HasTests | Question::Locked => {
                let sources = once(&mut sources, || sources::Sources::read(store, record))?;
                match name {
                    Question::Documented => sources.documented(),
                    Question::HasTests => sources.tested(),
                    _ => sources.locked(record, once(&mut manifest, read_manifest)?),
                }
            }
            Question::Versioned => origin::versioned(&once(&mut manifest, read_manifest)?.project),
            Question::Sourced => {
                let project = &once(&mut manifest, read_manifest)?.project;
                origin::sourced(project, once(&mut builds, read_builds)?, record)
            }
            Question::CleanCommit => origin::clean(once(&mut builds, read_builds)?, record),
            Question::BasesPinned => images::pinned(store, record)?,
            Question::NonRoot => images::each(store, record, images::user)?,
            Question::HealthCheck => {
                let manifest = once(&mut manifest, read_manifest)?;
                images::each(store, record, |image, config| images::health(manifest, image, config))?
            }
            Question::NoSecrets => keys::found(store, record)?,
            Question::Reproducible => {
                let builds = once(&mut builds, read_builds)?;
                let outcome = match Reproducible::of(builds) {
                    Reproducible::Yes => Outcome::Pass,
                    Reproducible::No => Outcome::Fail,
                    Reproducible::Unchecked => Outcome::Unknown,
                };
                (outcome, builds.iter().map(|build| format!("{} gave {}", build.id, build.package)).collect())
            }
        };
        evidence.truncate(MOST);
        told.push(Check { name: *name, outcome, evidence });
    }
    Ok(told)
}

/// What was read, or is read now.
fn once<T>(known: &mut Option<T>, read: impl FnOnce() -> Result<T, Error>) -> Result<&T, Error> {
    match known {
        Some(known) => Ok(known),
        none => Ok(none.insert(read()?)),
    }
}

/// What several parts of a package come to: one that fails fails all, and one that is unknown leaves all unknown.
fn all(parts: impl IntoIterator<Item = Found>) -> Found {
    let (mut outcome, mut evidence) = (Outcome::Pass, Vec::new());
    for (part, shown) in parts {
        if part != Outcome::Pass && outcome != Outcome::Fail {
            if part == Outcome::Fail {
                // What passed is no evidence of a failure.
                evidence.clear();
            }
            outcome = part;
        }
        if part == outcome {
            evidence.extend(shown);
        }
    }
    (outcome, evidence)
}

#[cfg(test)]
mod tests;
