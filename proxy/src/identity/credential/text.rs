//! The text of a credential file: a token and a seed, each between its marks.

use zeroize::Zeroizing;

use super::Flaw;
use crate::identity::key::{Key, Kind};

const TOKEN: &str = "NATS USER JWT";
const SEED: &str = "USER NKEY SEED";

/// The text of a credential file.
pub(in crate::identity) fn to_text(jwt: &str, key: &Key, holder: &str) -> Zeroizing<String> {
    Zeroizing::new(format!(
        "-----BEGIN {TOKEN}-----\n{jwt}\n------END {TOKEN}------\n\n\
         The seed below proves that its holder is {holder}: keep it to yourself.\n\n\
         -----BEGIN {SEED}-----\n{}\n------END {SEED}------\n",
        key.seed(),
    ))
}

/// The key in the text of a credential file, if it holds one.
pub(in crate::identity) fn seed(text: &str) -> Option<Key> {
    split(text).ok().map(|(_, key)| key)
}

/// The token and the key in the text of a credential file.
pub(super) fn split(text: &str) -> Result<(&str, Key), Flaw> {
    if text.trim().is_empty() {
        return Err(Flaw::Empty);
    }
    let jwt = part(text, TOKEN)?;
    let seed = part(text, SEED)?;
    Ok((jwt, Key::from_seed(seed, Kind::User)?))
}

/// The one line between the marks of a part.
fn part<'a>(text: &'a str, name: &'static str) -> Result<&'a str, Flaw> {
    let is_mark = |line: &str, word: &str| {
        let inner = line.trim().trim_matches('-');
        line.trim().starts_with("---") && inner.strip_prefix(word).is_some_and(|rest| rest.trim() == name)
    };
    let mut lines = text.lines();
    if !lines.any(|line| is_mark(line, "BEGIN")) {
        return Err(Flaw::Missing { part: name });
    }
    let mut content = None;
    loop {
        let line = lines.next().ok_or(Flaw::Cut { part: name })?.trim();
        if is_mark(line, "END") {
            break;
        }
        if line.is_empty() {
            continue;
        }
        if line.starts_with("---") {
            return Err(Flaw::Cut { part: name });
        }
        if content.replace(line).is_some() {
            return Err(Flaw::Twice { part: name });
        }
    }
    if lines.any(|line| is_mark(line, "BEGIN")) {
        return Err(Flaw::Twice { part: name });
    }
    content.ok_or(Flaw::Missing { part: name })
}
