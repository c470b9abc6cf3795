//! What the audit line of a call says.

use aigis_proxy::{NodeName, Request, dispatch::Deed, subject::Caller};
use serde_json::{Value, json};

use super::super::{Line, Phase};
use crate::{record::digest, timestamp::Timestamp};

/// Largest arguments that an audit line shows, in bytes of JSON.
const MAX_ARGUMENTS: usize = 4 * 1024;
/// Longest reason that an audit line shows, in characters.
const MAX_REASON: usize = 500;

/// The digest by which a repeat is known to have the same arguments.
pub(super) fn digest_of(request: &Request) -> String {
    digest(sorted(&json!([request.args, request.kwargs])).to_string().as_bytes())
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
        arguments: Some(shown(deed.request)),
        ..blank(node, deed.caller, phase)
    }
}

/// The arguments as audit shows them: no secrets, no mass.
fn shown(request: &Request) -> Value {
    let mut shown = json!({ "args": request.args, "kwargs": request.kwargs });
    hide(&mut shown);
    if shown.to_string().len() > MAX_ARGUMENTS {
        return json!({ "digest": digest_of(request) });
    }
    shown
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
