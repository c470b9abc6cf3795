//! What a directory is: which applications it holds, how each is built and started, and which lines prove it.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{
    fact::{Application, ProviderName},
    fill::Filled,
    provider,
    tree::{Tree, Warning},
};

mod choice;
mod compose;
pub(crate) mod container;
mod environment;
mod filled;
mod finish;
mod gaps;
mod health;
mod name;
pub(crate) mod port;
mod select;
mod services;
pub(crate) mod settings;
mod text;

/// What is asked of an analysis beside the tree.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Options {
    /// Which providers are to be taken, whatever the tree says.
    pub providers: Vec<Asked>,
    /// With what gaps are filled.
    pub filled: Vec<Filled>,
}

/// A provider that is to be taken for a directory: `ROOT=NAME`, or `NAME` for the root.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asked {
    /// The directory, `.` for the root.
    pub root: String,
    /// The provider.
    pub provider: ProviderName,
}

impl std::str::FromStr for Asked {
    type Err = crate::fact::UnknownProvider;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (root, name) = text.rsplit_once('=').unwrap_or((".", text));
        let root = crate::tree::joined(".", root).unwrap_or_else(|| ".".to_owned());
        Ok(Self { root, provider: name.parse()? })
    }
}

/// There is no application in a tree.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("no application was found; looked for\n{}", self.looked_for.join("\n"))]
pub struct Nothing {
    /// What was looked for: `PROVIDER: FILES`, by provider.
    pub looked_for: Vec<String>,
    /// What is to be known of the tree all the same.
    pub warnings: Vec<Warning>,
}

/// What a tree holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Analysis {
    /// Of which form this is: 1.
    pub analysis_version: u32,
    /// The name of the application that is meant where none is named.
    pub primary: String,
    /// What was read.
    pub tree: TreeFacts,
    /// The applications, by their names; at least one.
    pub applications: Vec<Application>,
    /// What is to be known beside, by file and line.
    pub warnings: Vec<Warning>,
}

/// What was read of a tree.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TreeFacts {
    /// What it is: `sha256:…` over its names and what was read.
    pub digest: String,
    /// How many files it has.
    pub files: usize,
    /// How many bytes were read.
    pub read_bytes: u64,
    /// Whether something lies past a limit.
    pub truncated: bool,
}

impl Analysis {
    /// The application that is meant where none is named.
    #[must_use]
    pub fn primary(&self) -> Option<&Application> {
        self.applications.iter().find(|application| application.name == self.primary)
    }

    /// Whether something is to be looked at by a person: a warning, or something that was nearly as likely.
    #[must_use]
    pub fn is_doubtful(&self) -> bool {
        !self.warnings.is_empty() || self.applications.iter().any(|application| application.ambiguous)
    }
}

impl fmt::Display for Analysis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.applications.iter().try_for_each(|application| text::application(f, application))
    }
}

/// Says what a tree is: a pure function of both.
///
/// # Errors
///
/// Where no application was found: what was looked for.
pub fn analyze(tree: &Tree, options: &Options) -> Result<Analysis, Nothing> {
    let choices = choice::all(tree, options);
    let selected = select::roots(tree, &choices);
    let mut applications = finish::applications(tree, &choices, &selected, &options.filled);
    let Some(primary) = select::primary(&applications).map(|primary| primary.root.clone()) else {
        let looked_for = provider::ALL.iter().map(|one| format!("{}: {}", one.name(), one.looks_for()));
        let mut looked_for: Vec<String> = looked_for.collect();
        looked_for.sort();
        return Err(Nothing { looked_for, warnings: tree.warnings() });
    };
    name::give(&mut applications);
    let named = applications.iter().find(|application| application.root == primary);
    let primary = named.map(|application| application.name.clone()).unwrap_or_default();
    applications.sort_by(|one, other| one.name.cmp(&other.name));
    let mut warnings = tree.warnings();
    warnings.extend(applications.iter_mut().flat_map(|application| std::mem::take(&mut application.details.warnings)));
    warnings.sort_by(|one, other| (&one.at, &one.code).cmp(&(&other.at, &other.code)));
    warnings.dedup();
    let tree = TreeFacts {
        digest: tree.digest(),
        files: tree.len(),
        read_bytes: tree.read_bytes(),
        truncated: tree.is_truncated(),
    };
    Ok(Analysis { analysis_version: 1, primary, tree, applications, warnings })
}

#[cfg(test)]
mod corpus;
#[cfg(test)]
mod everywhere;
#[cfg(test)]
mod mutations;
#[cfg(test)]
mod tests;
