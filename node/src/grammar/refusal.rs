//! What is said where a text runs nothing.

use aigis_proxy::quoted;
use serde_json::{Value, json};

use super::{Decision, NEGATIONS, SYNONYMS, words};

/// What every CI can be asked, and so what every refusal names.
const ALWAYS: [&str; 2] = ["status", "health"];

/// Words the refusal of `text`: the message, and the `data` of the error `invalid_argument`.
///
/// `address` is what the hints put after `aish`; `could_ask` are the paths of the CI's read skills. The message holds
/// no control character, whatever the text holds.
#[must_use]
pub fn refusal(decision: &Decision, text: &str, address: &str, could_ask: &[&str]) -> (String, Value) {
    let shown = quoted(text.trim());
    let hint = hint_call(decision, address);
    let mut asks: Vec<&str> = ALWAYS.to_vec();
    asks.extend(could_ask.iter().filter(|path| !ALWAYS.contains(path) && **path != "message"));
    let why = match decision {
        Decision::Run(skills) => format!("'{shown}' asks for {}", skills.join(", ")),
        Decision::NeedsYes(skill) => {
            let named = if skill == text.trim() {
                format!("'{shown}'")
            } else {
                format!("'{shown}' asks for '{skill}', which")
            };
            format!("{named} changes {address}: nothing was run; to run it: {hint}")
        }
        Decision::NeedsArguments(skill) => {
            format!("'{shown}' asks for '{skill}', which needs arguments: nothing was run; to run it: {hint}")
        }
        Decision::Negated => {
            let word = negation(text).map_or_else(String::new, |word| format!(" (\"{}\")", quoted(&word)));
            format!("'{shown}' says what is not to be done{word}: nothing was run")
        }
        Decision::Ambiguous => format!(
            "'{shown}' can be read in more than one way{}: nothing was run; ask for one skill, or join up to {} read \
             skills with 'and'",
            understood(text, &asks),
            super::MAX_SKILLS
        ),
        Decision::Unknown => {
            format!("'{shown}' is not understood by {address}{}: nothing was run", understood(text, &asks))
        }
    };
    let message = format!("{why}; you could ask: {}", asks.join(", "));
    (message, json!({ "reason": decision.reason(), "could_ask": asks, "hint_call": hint }))
}

fn hint_call(decision: &Decision, address: &str) -> String {
    match decision {
        Decision::NeedsYes(skill) => format!("aish {address} {skill} --yes"),
        Decision::NeedsArguments(skill) => format!("aish call {address}.{skill} KEY=VALUE"),
        Decision::Run(_) | Decision::Negated | Decision::Ambiguous | Decision::Unknown => {
            format!("aish {address} status")
        }
    }
}

/// The words of a text, or none where it is too long to be read.
fn known_words(text: &str) -> Vec<String> {
    if text.chars().nth(super::MAX_TEXT).is_some() {
        return Vec::new();
    }
    words::words(text).iter().filter_map(|word| word.known().map(str::to_owned)).collect()
}

fn negation(text: &str) -> Option<String> {
    known_words(text).into_iter().find(|word| NEGATIONS.contains(&word.as_str()))
}

/// Which of the skills were made out in the text.
fn understood(text: &str, asks: &[&str]) -> String {
    let mut made_out: Vec<&str> = Vec::new();
    for word in known_words(text) {
        let meant = SYNONYMS.iter().find(|(synonym, _)| *synonym == word).map_or(word.as_str(), |(_, skill)| skill);
        if let Some(skill) = asks.iter().find(|skill| **skill == meant)
            && !made_out.contains(skill)
        {
            made_out.push(skill);
        }
    }
    if made_out.is_empty() { String::new() } else { format!(" (made out: {})", made_out.join(", ")) }
}
