//! Secrets that stand in a Dockerfile.

use super::{Instruction, Parsed, Report};
use crate::secret::{is_surely_secret, known_key};

pub(super) fn look(parsed: &Parsed, report: &mut Report) {
    for found in &parsed.instructions {
        let secret = match found.keyword.as_str() {
            "ENV" | "ARG" => pairs(found).into_iter().find_map(|(name, value)| in_pair(&name, &value)),
            "RUN" => in_command(found),
            _ => None,
        };
        let secret = secret.or_else(|| known_key(&found.rest).map(|kind| format!("a key that begins with {kind}")));
        if let Some(what) = secret {
            let hint =
                "everybody who has the image can read it: give it to the container when it runs, and change it now";
            report.error("secret-value", found.line, format!("{} holds {what}", found.keyword), hint);
        }
    }
}

/// The names and values of `ENV A=b C="d"`, of `ENV A b`, and of `ARG A=b`.
fn pairs(found: &Instruction) -> Vec<(String, String)> {
    let first = found.rest.split_whitespace().next().unwrap_or_default();
    if found.keyword == "ENV" && !first.contains('=') {
        let value = found.rest.get(first.len()..).unwrap_or_default().trim();
        return vec![(first.to_owned(), value.to_owned())];
    }
    found
        .words()
        .iter()
        .filter_map(|word| word.split_once('='))
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect()
}

fn in_pair(name: &str, value: &str) -> Option<String> {
    let value = value.trim_matches(['"', '\'', ';', '&']);
    let is_literal =
        !value.is_empty() && !value.contains('$') && !value.starts_with('<') && !value.starts_with("/run/secrets/");
    let is_name = !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-');
    let is_switch = matches!(value, "true" | "false" | "0" | "1");
    (is_name && is_literal && !is_switch && is_surely_secret(name)).then(|| format!("a value for {name}"))
}

/// Words of a command such as `TOKEN=x`, `--password=x` and `https://user:x@host`.
fn in_command(found: &Instruction) -> Option<String> {
    let documents = found.documents.concat();
    let words = found.words();
    let words = words.iter().map(String::as_str).flat_map(str::split_whitespace).chain(documents.split_whitespace());
    for word in words {
        let word = word.trim_matches(['"', '\'', ';', '(', ')']);
        if let Some((name, value)) = word.split_once('=')
            && let Some(what) = in_pair(name.trim_start_matches('-'), value)
        {
            return Some(what);
        }
        if let Some((_, rest)) = word.split_once("://")
            && let Some((login, _)) = rest.split('/').next().and_then(|host| host.rsplit_once('@'))
            && login.split_once(':').is_some_and(|(_, password)| !password.is_empty() && !password.contains('$'))
        {
            return Some("a password in an address".to_owned());
        }
    }
    known_key(&documents).map(|kind| format!("a key that begins with {kind}"))
}
