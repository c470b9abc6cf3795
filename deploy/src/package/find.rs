//! Which package a text names.

use aigis_proxy::{Code, Error, quoted};
use aigis_registry::resolve::distance;

use super::{Record, State};

/// Fewest digits of a digest that name a package.
const DIGITS: usize = 12;

/// A package, and what changes of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Known {
    /// The package.
    pub record: Record,
    /// What changes of it.
    pub state: State,
}

/// Finds one of these, which are sorted by project and time.
pub(super) fn find(all: Vec<Known>, text: &str) -> Result<Known, Error> {
    let shown = quoted(text);
    if let Some(digits) = text.strip_prefix("sha256:") {
        let is_hex = |digit: u8| digit.is_ascii_digit() || (b'a'..=b'f').contains(&digit);
        if digits.len() < DIGITS || digits.len() > 64 || !digits.bytes().all(is_hex) {
            let message = format!("\"{shown}\" is no id of a package");
            return Err(
                Error::invalid(message).hint("give sha256: and 12 to 64 digits of 0-9 a-f, PROJECT or PROJECT:TAG")
            );
        }
        let matching: Vec<Known> = all.into_iter().filter(|known| known.record.id.hex().starts_with(digits)).collect();
        return only(matching, &shown);
    }
    let (project, tag) = match text.split_once(':') {
        Some((project, tag)) => (project, Some(tag)),
        None => (text, None),
    };
    let (of_project, others): (Vec<Known>, Vec<Known>) =
        all.into_iter().partition(|known| known.record.project == project);
    if of_project.is_empty() {
        let near =
            others.iter().filter_map(|known| Some((distance(project, &known.record.project)?, &known.record.project)));
        let missing = Error::new(Code::NotFound, format!("there is no package of a project \"{}\"", quoted(project)));
        return Err(match near.min() {
            Some((_, near)) => missing.hint(format!("did you mean \"{near}\"? see: aish packages list")),
            None => missing.hint("see: aish packages list"),
        });
    }
    let Some(tag) = tag else {
        return of_project.into_iter().next_back().ok_or_else(|| none(&shown));
    };
    let tags: Vec<String> = of_project.iter().flat_map(|known| known.state.tags.iter().cloned()).collect();
    let matching = of_project.into_iter().filter(|known| known.state.tags.contains(tag)).collect();
    only(matching, &shown).map_err(|error| match error.code {
        Code::NotFound if !tags.is_empty() => error.hint(format!("its tags: {}", tags.join(", "))),
        _ => error,
    })
}

fn only(mut matching: Vec<Known>, shown: &str) -> Result<Known, Error> {
    let candidates: Vec<String> = matching.iter().map(|known| known.record.id.to_string()).collect();
    match (matching.pop(), matching.is_empty()) {
        (Some(known), true) => Ok(known),
        (None, _) => Err(none(shown)),
        (Some(_), false) => {
            let message = format!("\"{shown}\" names {} packages: {}", candidates.len(), candidates.join(", "));
            Err(Error::invalid(message).hint("give more digits").with("candidates", candidates))
        }
    }
}

fn none(shown: &str) -> Error {
    Error::new(Code::NotFound, format!("there is no package \"{shown}\"")).hint("see: aish packages list")
}
