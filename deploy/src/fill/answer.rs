//! Which answers of a model count.

use serde_json::{Map, Value as Json};

use super::{Filled, LONGEST, Question, Value, at, is_plain};
use crate::{
    Options, Tree, analyze,
    fact::{Application, Evidence, Gap, GapKind},
    rules::is_environment,
};

/// Most bytes of a reply that are read.
const MOST: usize = 64 * 1024;
/// Directories that are no output of a build, whatever stands in them.
const NO_OUTPUT: [&str; 3] = ["node_modules", "vendor", "venv"];

/// Why a reply does not count.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refused {
    /// It is no JSON object.
    #[error("it is no JSON object")]
    NoObject,
    /// It answers what was not asked.
    #[error("it answers what was not asked")]
    NotAsked,
    /// It leaves all gaps open.
    #[error("it leaves all of them open")]
    Nothing,
    /// An answer is not of the kind of its gap, or not of the tree.
    #[error("its answer to {gap} is {why}")]
    Invalid {
        /// The gap.
        gap: String,
        /// What the answer is not.
        why: &'static str,
    },
}

impl Question {
    /// What a reply fills the gaps with, beside `before` of other applications. It counts whole or not at all; a gap to which
    /// it says null stays open.
    ///
    /// # Errors
    ///
    /// Why it does not count.
    pub fn filled(&self, tree: &Tree, before: &[Filled], model: &str, reply: &str) -> Result<Vec<Filled>, Refused> {
        let answers = object(reply).ok_or(Refused::NoObject)?;
        if answers.keys().any(|id| !self.gaps.iter().any(|gap| gap.id == *id)) {
            return Err(Refused::NotAsked);
        }
        let options = |filled: &[Filled]| Options { filled: filled.to_vec(), ..Options::default() };
        let plain = analyze(tree, &options(before)).map_err(|_| Refused::Nothing)?;
        let app = at(&plain, &self.root).ok_or(Refused::Nothing)?;
        let mut filled = Vec::new();
        for gap in &self.gaps {
            let Some(answer) = answers.get(&gap.id).filter(|answer| !answer.is_null()) else { continue };
            let invalid = |why| Refused::Invalid { gap: gap.id.clone(), why };
            let value = value(tree, app, gap, answer).map_err(invalid)?;
            let evidence = evidence(app, gap, &value);
            filled.push(Filled { root: self.root.clone(), value, model: model.to_owned(), evidence });
        }
        if filled.is_empty() {
            return Err(Refused::Nothing);
        }
        let all = [before, &filled].concat();
        let analysis = analyze(tree, &options(&all)).map_err(|_| Refused::Nothing)?;
        let gone = || Refused::Invalid { gap: "provider".to_owned(), why: "no application of that directory" };
        let app = at(&analysis, &self.root).ok_or_else(gone)?;
        let untaken = filled.iter().find(|filled| !is_taken(app, &filled.value));
        match untaken {
            Some(filled) => Err(Refused::Invalid {
                gap: id(&filled.value).to_owned(),
                why: "nothing that the application could be started or served by",
            }),
            None => Ok(filled),
        }
    }
}

/// The object of a reply. Some servers put prose or a fence around it.
fn object(reply: &str) -> Option<Map<String, Json>> {
    let reply = reply.get(..MOST.min(reply.len())).filter(|_| reply.len() <= MOST)?;
    let (from, to) = (reply.find('{')?, reply.rfind('}')?);
    match serde_json::from_str(reply.get(from..=to)?).ok()? {
        Json::Object(members) => Some(members),
        _ => None,
    }
}

/// What an answer says, by the kind of its gap.
fn value(tree: &Tree, app: &Application, gap: &Gap, answer: &Json) -> Result<Value, &'static str> {
    if gap.kind == GapKind::Port {
        let port = answer.as_u64().and_then(|port| u16::try_from(port).ok()).filter(|port| *port > 0);
        return port.map(Value::Port).ok_or("no port");
    }
    let text = answer.as_str().ok_or("no text")?;
    match gap.kind {
        GapKind::Choice => {
            let chosen = gap.choices.iter().find(|choice| *choice == text).ok_or("none of its choices")?;
            chosen.parse().map(Value::Provider).map_err(|_| "none of its choices")
        }
        GapKind::Entry if gap.schema.get("enum").is_some() => {
            let chosen = gap.choices.iter().find(|choice| *choice == text).ok_or("none of its choices")?;
            Ok(Value::Entry(chosen.clone()))
        }
        GapKind::Entry => {
            let is_file = is_plain(text) && tree.has(text) && !is_environment(text) && is_in(app, text);
            (is_file || is_object(text)).then(|| Value::Entry(text.to_owned())).ok_or("no file of the application")
        }
        GapKind::Output => {
            let path = text.strip_suffix('/').unwrap_or(text);
            let from = crate::tree::path(&app.root, path);
            // What a build makes is not there before, and lies in nothing that is.
            let is_there = path.match_indices('/').filter_map(|(end, _)| path.get(..end)).chain([path]).any(|part| {
                let part = crate::tree::path(&app.root, part);
                tree.has(&part)
            }) || tree.has_directory(&from);
            let is_own = is_plain(path)
                && path.split('/').all(|part| !part.starts_with('.') && !NO_OUTPUT.contains(&part))
                && !is_there;
            is_own.then(|| Value::Output(path.to_owned())).ok_or("no directory that a build could make")
        }
        GapKind::Port | GapKind::Path => Err("of a kind that is not asked for"),
    }
}

/// `MODULE:NAME`; whether there is one, the rules of its language say.
fn is_object(text: &str) -> bool {
    let is_name = |name: &str| {
        name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
            && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
    };
    let Some((module, name)) = text.split_once(':') else { return false };
    text.len() <= LONGEST && is_name(name) && module.split('.').all(is_name)
}

/// Whether a file is one of an application.
fn is_in(app: &Application, file: &str) -> bool {
    app.root == "." || file.strip_prefix(&app.root).is_some_and(|rest| rest.starts_with('/'))
}

/// What proves an answer: what proves the gap, and of several that of the one that was chosen.
fn evidence(app: &Application, gap: &Gap, value: &Value) -> Vec<Evidence> {
    let own = match value {
        Value::Provider(provider) if app.provider.value == Some(*provider) => app.provider.evidence.clone(),
        Value::Provider(provider) => {
            let other = app.alternatives.iter().find(|other| other.provider == *provider);
            other.map(|other| other.evidence.clone()).unwrap_or_default()
        }
        Value::Entry(file) => gap.evidence.iter().filter(|at| at.file == *file).cloned().collect(),
        Value::Port(_) | Value::Output(_) => Vec::new(),
    };
    if own.is_empty() { gap.evidence.clone() } else { own }
}

/// Whether the analysis took it: a provider as it is, the rest where there still is a gap for it.
fn is_taken(app: &Application, value: &Value) -> bool {
    let is_open = |gap: &str| app.gaps.iter().any(|open| open.id == gap);
    match value {
        Value::Provider(provider) => app.provider.is_chosen() && app.provider.value == Some(*provider),
        Value::Entry(_) => !is_open("start") && !app.output_dir.is_chosen(),
        Value::Port(_) => !is_open("port"),
        Value::Output(output) if app.output_dir.is_chosen() => app.output_dir.value.as_ref() == Some(output),
        // Another provider may know how it is started.
        Value::Output(_) => app.start.is_known() && !app.start.is_chosen(),
    }
}

fn id(value: &Value) -> &'static str {
    match value {
        Value::Provider(_) => "provider",
        Value::Entry(_) => "start",
        Value::Port(_) => "port",
        Value::Output(_) => "output",
    }
}
