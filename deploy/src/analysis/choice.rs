//! Of all candidates, the best of each directory.

use std::collections::BTreeMap;

use super::{Options, settings};
use crate::{
    fact::{Alternative, Evidence, MODEL, ProviderName, Role},
    fill::Value,
    provider::{ALL, Candidate, Provider, named},
    tree::Tree,
};

/// What a candidate needs to be an application.
const ENOUGH: u8 = 30;
/// How good one of another language is beside which a package of tools is none.
const OTHER_LANGUAGE: u8 = 60;
/// How good assets may be at most, and tools.
const MOST_ASSETS: u8 = 29;
const MOST_TOOLING: u8 = 9;
/// How many points apart two are that are nearly as likely.
pub(super) const NEAR: u8 = 10;
/// Most points that further evidence adds.
const MOST_FURTHER: usize = 9;
/// The most that a Dockerfile is worth, which is less than a language's lone source file, and more than a start script.
const MOST_DOCKERFILE: u8 = 39;
/// What somebody asked for is worth, and what a file of another tool's settings says.
pub(super) const ASKED: u8 = 100;
const SETTINGS: u8 = 90;

/// A candidate and whose it is.
pub(super) struct Seen {
    pub(super) provider: &'static dyn Provider,
    pub(super) candidate: Candidate,
}

/// What is seen in one directory, the best first.
pub(super) struct Choice {
    seen: Vec<Seen>,
}

/// What is seen in each directory.
pub(super) type Choices = BTreeMap<String, Choice>;

impl Choice {
    /// The one that wins, if one is good enough.
    pub(super) fn winner(&self) -> Option<&Seen> {
        self.seen.first().filter(|seen| seen.candidate.role == Role::App && seen.candidate.score >= ENOUGH)
    }

    /// Those that did not win.
    pub(super) fn alternatives(&self) -> Vec<Alternative> {
        let lost = self.seen.iter().skip(1).map(|Seen { provider, candidate }| Alternative {
            provider: provider.name(),
            root: candidate.root.clone(),
            score: candidate.score,
            role: candidate.role,
            evidence: candidate.evidence.clone(),
        });
        lost.collect()
    }

    /// The toolchain of what the application serves, if there is one.
    pub(super) fn assets(&self) -> Option<&Seen> {
        self.seen.iter().find(|seen| seen.candidate.role == Role::Assets)
    }

    /// Whether another provider's is nearly as likely. A Dockerfile says how, not what.
    pub(super) fn is_ambiguous(&self) -> bool {
        let Some(winner) = self.winner().filter(|winner| winner.candidate.rule != MODEL) else { return false };
        self.seen.iter().skip(1).any(|other| {
            other.candidate.role == Role::App
                && other.provider.name() != ProviderName::Dockerfile
                && winner.candidate.score.saturating_sub(other.candidate.score) <= NEAR
        })
    }
}

/// Looks at all candidates of all providers.
pub(super) fn all(tree: &Tree, options: &Options) -> Choices {
    let mut by_root: BTreeMap<String, Vec<Seen>> = BTreeMap::new();
    for provider in ALL {
        for mut candidate in provider.candidates(tree) {
            candidate.evidence.sort();
            candidate.evidence.dedup();
            let further = candidate.evidence.len().saturating_sub(1).min(MOST_FURTHER) as u8;
            candidate.score = candidate.score.saturating_add(further);
            if provider.name() == ProviderName::Dockerfile {
                candidate.score = candidate.score.min(MOST_DOCKERFILE);
            }
            by_root.entry(candidate.root.clone()).or_default().push(Seen { provider: *provider, candidate });
        }
    }
    let bests: Vec<(String, ProviderName, u8)> = by_root
        .values()
        .flatten()
        .filter(|seen| seen.candidate.role == Role::App && seen.candidate.entry)
        .map(|seen| (seen.candidate.root.clone(), seen.provider.name(), seen.candidate.score))
        .collect();
    for seen in by_root.values_mut() {
        give_roles(seen, &bests);
    }
    override_by_settings(tree, &mut by_root);
    override_by_manifest(tree, &mut by_root);
    for asked in &options.providers {
        let rule = "option.provider";
        let at = tree.below(&asked.root).next().map(|file| Evidence::new(file, 1));
        take(&mut by_root, &asked.root, asked.provider, ASKED, rule, at.into_iter().collect());
    }
    for filled in &options.filled {
        if let Value::Provider(provider) = filled.value {
            take(&mut by_root, &filled.root, provider, ASKED, MODEL, filled.evidence.clone());
        }
    }
    let choice = |(root, mut seen): (String, Vec<Seen>)| {
        seen.sort_by_key(|seen| {
            (seen.candidate.role, u8::MAX - seen.candidate.score, seen.provider.name().to_string())
        });
        (root, Choice { seen })
    };
    by_root.into_iter().map(choice).collect()
}

/// A package without a server is no application beside one of another language in the same directory; and one that has
/// tools alone is none where anything below it can be started.
fn give_roles(seen: &mut [Seen], bests: &[(String, ProviderName, u8)]) {
    let scores: Vec<(ProviderName, u8)> =
        seen.iter().map(|seen| (seen.provider.name(), seen.candidate.score)).collect();
    for Seen { provider, candidate } in seen {
        if candidate.beside == Role::App {
            continue;
        }
        let other = scores.iter().any(|(name, score)| *name != provider.name() && *score >= OTHER_LANGUAGE);
        let below = || {
            let prefix = if candidate.root == "." { String::new() } else { format!("{}/", candidate.root) };
            bests.iter().any(|(root, _, score)| {
                root != &candidate.root && root.starts_with(&prefix) && *score >= OTHER_LANGUAGE
            })
        };
        let is_workspace = candidate.workspace.as_deref() == Some(candidate.root.as_str());
        let is_hollow = candidate.beside == Role::Tooling && !candidate.entry && !is_workspace;
        if other || is_hollow && below() {
            candidate.role = candidate.beside;
            let most = if candidate.role == Role::Tooling { MOST_TOOLING } else { MOST_ASSETS };
            candidate.score = candidate.score.min(most);
        }
    }
}

/// What the settings of other tools in a directory name.
fn override_by_settings(tree: &Tree, by_root: &mut BTreeMap<String, Vec<Seen>>) {
    let directories: Vec<String> = tree.directories().map(str::to_owned).collect();
    for directory in directories {
        if let Some((provider, rule, evidence)) = settings::provider(tree, &directory) {
            take(by_root, &directory, provider, SETTINGS, rule, vec![evidence]);
        }
    }
}

/// What the manifest names.
fn override_by_manifest(tree: &Tree, by_root: &mut BTreeMap<String, Vec<Seen>>) {
    for told in settings::manifest(tree) {
        if let Some((provider, evidence)) = told.provider {
            take(by_root, &told.root, provider, ASKED, "manifest.type", vec![evidence]);
        }
    }
}

/// Makes a provider the one of a directory, whether it saw something there or not.
fn take(
    by_root: &mut BTreeMap<String, Vec<Seen>>,
    root: &str,
    name: ProviderName,
    score: u8,
    rule: &'static str,
    evidence: Vec<Evidence>,
) {
    let Some(provider) = named(name) else { return };
    if evidence.is_empty() {
        return;
    }
    let seen = by_root.entry(root.to_owned()).or_default();
    let index = seen.iter().position(|seen| seen.provider.name() == name).unwrap_or_else(|| {
        seen.push(Seen { provider, candidate: Candidate::new(root, 0, rule, Vec::new()) });
        seen.len() - 1
    });
    if let Some(Seen { candidate, .. }) = seen.get_mut(index) {
        candidate.role = Role::App;
        candidate.score = score;
        candidate.rule = rule;
        candidate.evidence.extend(evidence);
        candidate.evidence.sort();
        candidate.evidence.dedup();
    }
}
