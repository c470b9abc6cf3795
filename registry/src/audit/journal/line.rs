//! What the audit line of a call says.

use aigis_proxy::{NodeName, dispatch::Deed, subject::Caller};
use serde::Deserialize;
use serde_json::{Value, json, value::RawValue};

use super::super::{Line, Phase};
use crate::{record::digest, timestamp::Timestamp};

/// Largest arguments that an audit line shows, in bytes of JSON.
const MAX_ARGUMENTS: usize = 4 * 1024;
/// Longest reason that an audit line shows, in characters.
const MAX_REASON: usize = 500;

/// The largest envelope that nobody read whose arguments are read for this, in bytes.
const MAX_READ: usize = 64 * 1024;

/// The arguments of an envelope, read by nobody before: they were found to be sound, and may hold any tagged value.
#[derive(Default, Deserialize)]
struct Unread<T> {
    #[serde(default)]
    args: T,
    #[serde(default)]
    kwargs: T,
}

/// What is known of a call's arguments.
enum Arguments {
    /// The values of `args` and `kwargs`.
    Values(Value),
    /// The digest of large ones, as they were written.
    Digest(String),
}

impl Arguments {
    fn of(deed: &Deed<'_>) -> Self {
        let values = |args, kwargs| Self::Values(json!({ "args": args, "kwargs": kwargs }));
        match deed.body {
            None => values(json!(deed.request.args), json!(deed.request.kwargs)),
            Some(body) if body.len() <= MAX_READ => {
                let Unread { args, kwargs } = serde_json::from_slice::<Unread<Option<Value>>>(body).unwrap_or_default();
                values(args.unwrap_or_else(|| json!([])), kwargs.unwrap_or_else(|| json!({})))
            }
            Some(body) => {
                let read = serde_json::from_slice::<Unread<Option<&RawValue>>>(body).unwrap_or_default();
                let text = |raw: Option<&RawValue>, none| raw.map_or(none, RawValue::get).to_owned();
                let (args, kwargs) = (text(read.args, "[]"), text(read.kwargs, "{}"));
                Self::Digest(digest(format!("[{args},{kwargs}]").as_bytes()))
            }
        }
    }

    fn digest(&self) -> String {
        match self {
            Self::Values(values) => digest(sorted(&json!([values["args"], values["kwargs"]])).to_string().as_bytes()),
            Self::Digest(digest) => digest.clone(),
        }
    }
}

/// The digest by which a repeat is known to have the same arguments.
pub(super) fn digest_of(deed: &Deed<'_>) -> String {
    Arguments::of(deed).digest()
}

/// The value with all keys in order, so that equal arguments have equal digests.
fn sorted(value: &Value) -> Value {
    match value {
        Value::Array(items) => items.iter().map(sorted).collect(),
        Value::Object(object) => {
            let mut entries: Vec<_> = object.iter().collect();
            entries.sort_by_key(|(key, _)| key.as_str());
            Value::Object(entries.into_iter().map(|(key, value)| (key.clone(), sorted(value))).collect())
        }
        other => other.clone(),
    }
}

/// A line that says no more than who did what kind of thing; the writer sets its number, time and predecessor.
pub(super) fn blank(node: &NodeName, caller: &Caller, phase: Phase) -> Line {
    Line {
        seq: 0,
        previous: String::new(),
        at: Timestamp::now(),
        node: node.clone(),
        phase,
        caller: caller.name.clone(),
        role: caller.role,
        ci: None,
        skill: None,
        effect: None,
        call: None,
        arguments: None,
        code: None,
        reason: None,
        more: 0,
    }
}

/// The line of a call.
pub(super) fn line_of(node: &NodeName, deed: &Deed<'_>, phase: Phase) -> Line {
    Line {
        ci: Some(deed.ci.to_string()),
        skill: Some(deed.path.to_string()),
        effect: Some(deed.effect),
        call: deed.request.meta.call.clone(),
        arguments: Some(if deed.path.as_str() == ANSWER { hidden() } else { shown(&Arguments::of(deed)) }),
        ..blank(node, deed.caller, phase)
    }
}

/// Answers a question of an assistant: what is said there may be a secret.
const ANSWER: &str = "chain.answer";

fn hidden() -> Value {
    json!("[hidden]")
}

/// The arguments as audit shows them: no secrets, no mass.
fn shown(arguments: &Arguments) -> Value {
    if let Arguments::Values(values) = &arguments {
        let mut shown = values.clone();
        hide(&mut shown);
        if shown.to_string().len() <= MAX_ARGUMENTS {
            return shown;
        }
    }
    json!({ "digest": arguments.digest() })
}

fn hide(value: &mut Value) {
    const SECRET: [&str; 6] = ["password", "passwd", "secret", "token", "credential", "private"];
    match value {
        Value::Array(items) => items.iter_mut().for_each(hide),
        Value::Object(object) => {
            for (key, value) in object {
                let key = key.to_ascii_lowercase();
                if SECRET.iter().any(|word| key.contains(word)) {
                    *value = "[hidden]".into();
                } else {
                    hide(value);
                }
            }
        }
        _ => {}
    }
}

/// A text as a line shows it, of a bounded length.
pub(super) fn shortened(text: &str) -> String {
    text.chars().take(MAX_REASON).collect()
}
