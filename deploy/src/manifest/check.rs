//! All that can be wrong with a manifest, at once.

use serde::Deserialize;

use super::{
    Document, FILE, Files, Manifest, Problem, ProblemCode, circles, conflicts, paths,
    problem::{At, Problems, meant},
    references, secrets, shape,
};
use crate::json;

/// What a look at a manifest gave.
#[derive(Debug, Clone, PartialEq)]
pub struct Checked {
    /// What is wrong, by pointer.
    pub problems: Vec<Problem>,
    /// What may be wrong, by pointer.
    pub warnings: Vec<Problem>,
    /// The manifest, if nothing is wrong.
    pub document: Option<Document>,
}

/// Reads a manifest and finds whatever is wrong with it, all at once.
///
/// `files` says what of the project exists, by paths from its root.
#[must_use]
pub fn check(bytes: &[u8], files: &dyn Files) -> Checked {
    let json::Read { document, flaws } = json::read(bytes);
    let mut problems: Vec<Problem> = flaws.into_iter().map(of_flaw).collect();
    let mut warnings = Vec::new();
    if let Some(document) = &document {
        let root = At::root(&document.root);
        let mut found = Problems::of(document);
        shape::check(&root, &mut found);
        references::check(&root, &mut found);
        circles::check(&root, &mut found);
        conflicts::check(&root, &mut found);
        paths::check(&root, files, &mut found);
        problems.append(&mut told_once(std::mem::take(&mut found.found)));
        secrets::check(&root, &mut found);
        warnings = found.found;
    }
    problems.sort_by(|a, b| (&a.pointer, a.line, a.column, a.code).cmp(&(&b.pointer, b.line, b.column, b.code)));
    warnings.sort_by(|a, b| a.pointer.cmp(&b.pointer));
    let document = document.filter(|_| problems.is_empty()).and_then(|document| {
        let value = document.root.value();
        let read = Manifest::deserialize(&value);
        // The schema is made of the types, so what it takes they take; were it otherwise, this would say so.
        read.map_err(|error| problems.push(unread(&error))).ok().map(|manifest| Document::new(manifest, value))
    });
    Checked { problems, warnings, document }
}

/// Takes away that a key is missing where it stands misspelt, of which another problem tells.
fn told_once(problems: Vec<Problem>) -> Vec<Problem> {
    let parts = |pointer: &str| pointer.rsplit_once('/').map(|(object, key)| (object.to_owned(), key.to_owned()));
    let misspelt: Vec<_> = problems
        .iter()
        .filter(|problem| problem.code == ProblemCode::UnknownKey)
        .filter_map(|problem| Some((parts(&problem.pointer)?.0, meant(problem.hint.as_deref()?)?.to_owned())))
        .collect();
    let is_told = |problem: &Problem| parts(&problem.pointer).is_some_and(|place| misspelt.contains(&place));
    problems.into_iter().filter(|problem| problem.code != ProblemCode::Missing || !is_told(problem)).collect()
}

pub(super) fn of_flaw(flaw: json::Flaw) -> Problem {
    let json::Flaw { pointer, line, column, message, hint } = flaw;
    Problem {
        pointer,
        code: ProblemCode::Json,
        message,
        line,
        column,
        hint: (!hint.is_empty()).then(|| hint.to_owned()),
    }
}

fn unread(error: &serde_json::Error) -> Problem {
    let message = format!("{FILE} cannot be read: {error}");
    Problem { pointer: String::new(), code: ProblemCode::Type, message, line: 1, column: 1, hint: None }
}

#[cfg(test)]
mod tests;
