//! Which of the directories that hold something are applications, and which of those is meant first.

use super::{choice::Choices, compose};
use crate::{fact::Application, tree::Tree};

/// How deep applications are looked for where the root is none.
const DEPTH: usize = 3;
/// What stands below these is there to be shown or to test with, while there is something else.
const SHOWN: [&str; 8] = ["examples", "example", "docs", "test", "tests", "fixtures", "e2e", "supabase/functions"];

/// The directories of the applications, in the order of their bytes.
pub(super) fn roots(tree: &Tree, choices: &Choices) -> Vec<String> {
    if choices.get(".").is_some_and(|choice| choice.winner().is_some()) {
        return expanded(".", choices);
    }
    let mut found: Vec<String> = Vec::new();
    let mut covered: Vec<&str> = Vec::new();
    let mut won: Vec<&String> =
        choices.iter().filter(|(_, one)| one.winner().is_some()).map(|(root, _)| root).collect();
    won.sort_by_key(|root| (depth(root), root.as_str()));
    let contexts = compose::contexts(tree);
    for root in won {
        let is_near = depth(root) <= DEPTH || contexts.contains(root);
        if is_near && !covered.iter().any(|above| is_below(root, above)) {
            covered.push(root);
            found.extend(expanded(root, choices));
        }
    }
    without_shown(found)
}

/// The applications of a directory that won: itself, or the members of the workspace that it is.
fn expanded(root: &str, choices: &Choices) -> Vec<String> {
    let Some(winner) = choices.get(root).and_then(|choice| choice.winner()) else { return Vec::new() };
    if winner.candidate.workspace.as_deref() != Some(root) {
        return vec![root.to_owned()];
    }
    let members = choices.iter().filter(|(_, choice)| {
        choice
            .winner()
            .is_some_and(|member| member.candidate.workspace.as_deref() == Some(root) && member.candidate.entry)
    });
    let members = without_shown(members.map(|(root, _)| root.clone()).collect());
    if members.is_empty() { vec![root.to_owned()] } else { members }
}

/// Leaves out what is only there to be shown, while there is something else.
fn without_shown(roots: Vec<String>) -> Vec<String> {
    let (shown, mut rest): (Vec<String>, Vec<String>) = roots.into_iter().partition(|root| is_shown(root));
    if rest.is_empty() {
        rest = shown;
    }
    rest.sort();
    rest.dedup();
    rest
}

fn is_shown(root: &str) -> bool {
    let padded = format!("/{root}/");
    SHOWN.iter().any(|shown| padded.contains(&format!("/{shown}/")))
}

/// How many directories lead to one.
fn depth(root: &str) -> usize {
    if root == "." { 0 } else { root.split('/').count() }
}

/// Whether a path is that directory or lies below it.
pub(super) fn is_below(path: &str, directory: &str) -> bool {
    directory == "." || path.strip_prefix(directory).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// The application that is meant where none is named: the root's, else the only one, else one that listens on a port, the
/// best of them, else the first by its directory.
pub(super) fn primary(applications: &[Application]) -> Option<&Application> {
    applications.iter().min_by_key(|application| {
        let score = u8::MAX - application.provider.more.score;
        (application.root != ".", !application.port.is_known(), score, application.root.as_str())
    })
}
