//! What a container's labels declare about it.

use std::collections::BTreeMap;

use aigis_proxy::{Name, quoted};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{MAX_LABEL, Warnings};
use crate::services::{DeclaredService, Protocol, Source};

/// Most services, and most actions, that one container can declare.
const MAX_DECLARED: usize = 64;
/// Longest time that an action may take, in seconds.
const MAX_ACTION_S: u64 = 3600;

const ACTION: &str = "aigis.action.";

/// An action that the container's owner declared: an argv, never a shell string.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Action {
    /// Its id, from the label's key.
    #[schemars(with = "String")]
    pub id: Name,
    /// What runs in the container.
    pub argv: Vec<String>,
    /// The owner's words.
    pub description: String,
    /// How long it may take, in seconds.
    pub timeout_s: u64,
    /// The user that it runs as; the container's own if absent.
    pub user: Option<String>,
}

/// What the labels of a container declare.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Declared {
    /// `aigis.ci=false`: the container has no CI.
    pub hidden: bool,
    /// `aigis.service`: the service of which the container is a replica.
    pub service: Option<Name>,
    /// `aigis.purpose`: its words, in lower case.
    pub purpose: Vec<String>,
    /// `aigis.description`, or nothing.
    pub description: String,
    /// `aigis.owner`: who registers this container in place of its node.
    pub owner: Option<String>,
    /// `aigis.services`.
    pub services: Vec<DeclaredService>,
    /// `aigis.action.ID`, sorted by id.
    pub actions: Vec<Action>,
    /// Lines for the record's `warnings`.
    pub warnings: Vec<String>,
}

/// Reads the labels that declare something; what is wrong with one is a warning.
///
/// A label over [`MAX_LABEL`] bytes is passed over: [`super::kept_labels`] warns of it.
#[must_use]
pub fn declared(labels: &BTreeMap<String, String>) -> Declared {
    let mut warnings = Warnings::default();
    let get = |key: &str| {
        labels.get(key).map(String::as_str).filter(|value| !value.is_empty() && key.len() + value.len() <= MAX_LABEL)
    };
    let service = get("aigis.service").and_then(|value| match Name::choose(value) {
        Ok(name) => Some(name),
        Err(error) => {
            warnings.add(format!("label aigis.service is not used: {error}"));
            None
        }
    });
    let services = services(get("aigis.services").unwrap_or_default(), &mut warnings);
    let actions = actions(labels, &mut warnings);
    Declared {
        hidden: get("aigis.ci").is_some_and(|value| value.trim().eq_ignore_ascii_case("false")),
        service,
        purpose: purpose(get("aigis.purpose").unwrap_or_default()),
        description: get("aigis.description").unwrap_or_default().to_owned(),
        owner: get("aigis.owner").map(str::to_owned),
        services,
        actions,
        warnings: warnings.into_lines(),
    }
}

fn purpose(value: &str) -> Vec<String> {
    let mut words: Vec<String> = Vec::new();
    for word in value.split(|character: char| character == ',' || character.is_whitespace()) {
        let word = word.to_lowercase();
        if !word.is_empty() && !words.contains(&word) {
            words.push(word);
        }
    }
    words
}

fn services(value: &str, warnings: &mut Warnings) -> Vec<DeclaredService> {
    let mut out: Vec<DeclaredService> = Vec::new();
    for item in value.split(',').map(str::trim).filter(|item| !item.is_empty()) {
        match service(item) {
            Ok(declared) if out.contains(&declared) => {}
            Ok(declared) if out.len() < MAX_DECLARED => out.push(declared),
            Ok(_) => warnings.add(format!("label aigis.services: only the first {MAX_DECLARED} are used")),
            Err(why) => warnings.add(format!("label aigis.services: \"{}\" is not used: {why}", quoted(item))),
        }
    }
    out
}

fn service(item: &str) -> Result<DeclaredService, String> {
    let (name, port) = match item.split_once(':') {
        Some((name, port)) => (name, Some(port)),
        None => (item, None),
    };
    let name = Name::parse(name).map_err(|error| error.to_string())?;
    let mut protocol = Protocol::Tcp;
    let port = match port {
        None => None,
        Some(text) => {
            let number = match text.split_once('/') {
                None | Some((_, "tcp")) => text.split('/').next().unwrap_or_default(),
                Some((number, "udp")) => {
                    protocol = Protocol::Udp;
                    number
                }
                Some(_) => return Err("the protocol is tcp or udp; write NAME[:PORT[/udp]]".to_owned()),
            };
            match number.parse::<u16>() {
                Ok(port) if port > 0 => Some(port),
                _ => return Err("a port is 1 to 65535; write NAME[:PORT[/udp]]".to_owned()),
            }
        }
    };
    Ok(DeclaredService { name: name.as_str().to_owned(), port, protocol, source: Source::Label })
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ActionLabel {
    argv: Vec<String>,
    #[serde(default)]
    description: String,
    #[serde(default = "default_timeout")]
    timeout_s: u64,
    #[serde(default)]
    user: Option<String>,
}

fn default_timeout() -> u64 {
    60
}

fn actions(labels: &BTreeMap<String, String>, warnings: &mut Warnings) -> Vec<Action> {
    let mut out = Vec::new();
    for (key, value) in labels.range(ACTION.to_owned()..).take_while(|(key, _)| key.starts_with(ACTION)) {
        if key.len() + value.len() > MAX_LABEL {
            continue;
        }
        match action(key.get(ACTION.len()..).unwrap_or_default(), value) {
            Ok(action) if out.len() < MAX_DECLARED => out.push(action),
            Ok(_) => warnings.add(format!("label \"{}\" is not used: at most {MAX_DECLARED} actions", quoted(key))),
            Err(why) => warnings.add(format!("label \"{}\" is not used: {why}", quoted(key))),
        }
    }
    out
}

fn action(id: &str, value: &str) -> Result<Action, String> {
    let id = Name::parse(id).map_err(|error| format!("its id is no name: {error}"))?;
    let label: ActionLabel = serde_json::from_str(value).map_err(|error| {
        let error = error.to_string();
        format!("it is no action ({}); write {{\"argv\":[…],\"description\":\"…\"}}", quoted(&error))
    })?;
    if label.argv.first().is_none_or(String::is_empty) {
        return Err("argv names no program".to_owned());
    }
    if label.argv.iter().any(|argument| argument.contains('\0')) {
        return Err("argv holds a NUL, which no program can be given".to_owned());
    }
    if !(1..=MAX_ACTION_S).contains(&label.timeout_s) {
        return Err(format!("timeout_s is {}; 1 to {MAX_ACTION_S} are allowed", label.timeout_s));
    }
    let ActionLabel { argv, description, timeout_s, user } = label;
    Ok(Action { id, argv, description, timeout_s, user: user.filter(|user| !user.is_empty()) })
}
