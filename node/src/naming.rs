//! The CI name of a container and what its labels declare: pure functions of name and labels, never of the id.

mod declared;

use std::collections::BTreeMap;

use aigis_proxy::{Name, quoted};
use ring::digest::{SHA256, digest};

use crate::deployed::labels::NOTES;

pub use declared::{Action, Declared, declared};

/// Longest label, key and value together, in bytes; a longer one is left out of records.
pub const MAX_LABEL: usize = 4096;
/// Most bytes of labels that a record keeps, so that a record stays far below what the registry takes.
pub const MAX_LABELS: usize = 64 * 1024;
/// Most warnings about one container; the last one then says how many more there are.
pub const MAX_WARNINGS: usize = 32;

const LONGEST: usize = 63;
const CUT: usize = 56;
const DIGITS: usize = 6;
const KEPT: [&str; 3] = ["aigis.", "com.docker.compose.", "org.opencontainers.image."];

/// A container's CI name, and what could not be followed in its labels.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Named {
    /// The name, before any other CI of the node is looked at.
    pub name: Name,
    /// Lines for the record's `warnings`.
    pub warnings: Vec<String>,
}

/// Works out the CI name of a container by its name and labels (a leading `/`, as the engine writes it, is cut).
#[must_use]
pub fn ci_name(container_name: &str, labels: &BTreeMap<String, String>) -> Named {
    let Some(label) = labels.get("aigis.ci.name") else {
        return Named { name: from_container(container_name), warnings: Vec::new() };
    };
    match Name::choose(label) {
        Ok(name) => Named { name, warnings: Vec::new() },
        Err(error) => {
            let name = from_container(container_name);
            let warning = format!("label aigis.ci.name is not used, the container's name is: {error}");
            Named { name, warnings: vec![warning] }
        }
    }
}

/// The name that a newcomer gets where another CI of its node already holds `name`.
#[must_use]
pub fn disambiguated(name: &Name, container_name: &str) -> Name {
    let digest = hex_digest(bare(container_name));
    let short = with_digits(name.as_str(), &digest, DIGITS);
    // A long name may end in its digits already: more of them tell it from itself.
    let chosen = if short == name.as_str() { with_digits(name.as_str(), &digest, 2 * DIGITS) } else { short };
    made(&chosen)
}

/// The alias `NAME-ci`; none where the name ends in `-ci` or leaves no room for it.
#[must_use]
pub fn alias(name: &Name) -> Option<Name> {
    if name.as_str().ends_with("-ci") { None } else { Name::parse(&format!("{name}-ci")).ok() }
}

/// The labels that a record keeps, and a warning for each that is too large to be kept.
#[must_use]
pub fn kept_labels(labels: &BTreeMap<String, String>) -> (BTreeMap<String, String>, Vec<String>) {
    let mut kept = BTreeMap::new();
    let mut warnings = Warnings::default();
    let mut room = MAX_LABELS;
    for (key, value) in labels.iter().filter(|(key, _)| !NOTES.contains(&key.as_str())) {
        let size = key.len() + value.len();
        if size > MAX_LABEL {
            warnings.add(format!(
                "label \"{}\" is left out: it has {size} bytes, at most {MAX_LABEL} are kept",
                quoted(key)
            ));
        } else if KEPT.iter().any(|prefix| key.starts_with(prefix)) {
            if let Some(left) = room.checked_sub(size) {
                room = left;
                kept.insert(key.clone(), value.clone());
            } else {
                warnings.add(format!(
                    "label \"{}\" is left out: at most {MAX_LABELS} bytes of labels are kept",
                    quoted(key)
                ));
            }
        }
    }
    (kept, warnings.into_lines())
}

/// Warnings, bounded: labels come from outside, and a record has to stay small.
#[derive(Debug, Default)]
pub(crate) struct Warnings {
    lines: Vec<String>,
    more: usize,
}

impl Warnings {
    pub(crate) fn add(&mut self, line: String) {
        if self.lines.len() + 1 < MAX_WARNINGS {
            self.lines.push(line);
        } else {
            self.more += 1;
        }
    }

    pub(crate) fn into_lines(mut self) -> Vec<String> {
        if self.more > 0 {
            self.lines.push(format!("{} more labels could not be used", self.more));
        }
        self.lines
    }
}

fn bare(container_name: &str) -> &str {
    container_name.strip_prefix('/').unwrap_or(container_name)
}

fn from_container(container_name: &str) -> Name {
    let full = bare(container_name);
    let digest = hex_digest(full);
    let folded = folded(full);
    let trimmed = folded.trim_matches(['-', '_']);
    let name = if trimmed.is_empty() {
        made(&format!("container-{}", first(&digest, DIGITS)))
    } else if trimmed.len() > LONGEST {
        made(&with_digits(trimmed, &digest, DIGITS))
    } else {
        made(trimmed)
    };
    if name.is_reserved() { made(&format!("{name}-ci")) } else { name }
}

/// A text that the rules above have made a name, as the property tests show.
fn made(text: &str) -> Name {
    Name::parse(text).unwrap_or_else(|error| unreachable!("the naming rules make names: {error}"))
}

/// Lower case, and one `-` for each run of characters that no name may hold.
fn folded(full: &str) -> String {
    let mut out = String::with_capacity(full.len());
    let mut replaced = false;
    for character in full.chars() {
        let lower = character.to_ascii_lowercase();
        let good = matches!(lower, 'a'..='z' | '0'..='9' | '_' | '-');
        if good {
            out.push(lower);
        } else if !replaced {
            out.push('-');
        }
        replaced = !good;
    }
    out
}

fn hex_digest(text: &str) -> String {
    data_encoding::HEXLOWER.encode(digest(&SHA256, text.as_bytes()).as_ref())
}

fn first(text: &str, length: usize) -> &str {
    text.get(..length).unwrap_or(text)
}

/// `name`, `-` and digits, the name cut to what leaves room for them.
fn with_digits(name: &str, digest: &str, digits: usize) -> String {
    let cut = first(name, CUT + DIGITS - digits);
    format!("{cut}-{}", first(digest, digits))
}

#[cfg(test)]
mod tests;
