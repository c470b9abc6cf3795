//! Results as text.

use aigis_proxy::Address;
use serde_json::Value;

use crate::{exit::Failure, frames, output::Output};

/// Prints a skill's result.
///
/// # Errors
///
/// What keeps from writing it.
pub(crate) fn result(output: &Output, path: &str, value: &Value, address: &Address) -> Result<(), Failure> {
    if output.is_json() {
        return output.json(value);
    }
    if value.as_object().is_some_and(|keys| keys.len() == 1 && keys.contains_key("$bytes")) {
        return output.binary(&frames::content(value)?);
    }
    output.text(&text(path, value, address))?;
    notes(output, value);
    Ok(())
}

/// Prints the reply to a message.
///
/// # Errors
///
/// What keeps from writing it.
pub(crate) fn reply(output: &Output, value: &Value, address: &Address) -> Result<(), Failure> {
    if output.is_json() {
        return output.json(&answers(value));
    }
    match value.get("text").filter(|text| text.is_object()) {
        // What is no text has no line to end.
        Some(bytes) => output.data(&frames::content(bytes)?)?,
        None => output.text(&reply_text(value, address))?,
    }
    notes(output, value);
    for answer in value.get("answers").and_then(Value::as_array).into_iter().flatten() {
        if let Some(result) = answer.get("result") {
            notes(output, result);
        }
    }
    Ok(())
}

/// A skill's result as text.
pub(crate) fn text(path: &str, value: &Value, address: &Address) -> String {
    aigis_node::text::render(path, value, &address.to_string()).unwrap_or_else(|| plain(value))
}

/// The text that a reply to a message carries.
pub(crate) fn reply_text(value: &Value, address: &Address) -> String {
    match value.get("text").and_then(Value::as_str) {
        Some(text) => text.to_owned(),
        None => text("message", value, address),
    }
}

/// What a reply to a message is as JSON: one skill's result, several by skill, or what a program replied.
pub(crate) fn answers(value: &Value) -> Value {
    let Some(answers) = value.get("answers").and_then(Value::as_array).filter(|answers| !answers.is_empty()) else {
        return value.clone();
    };
    let pair = |answer: &Value| Some((answer.get("skill")?.as_str()?.to_owned(), answer.get("result")?.clone()));
    let pairs: Option<Vec<_>> = answers.iter().map(pair).collect();
    match pairs.as_deref() {
        Some([(_, only)]) => only.clone(),
        Some(_) => Value::Object(pairs.into_iter().flatten().collect()),
        None => value.clone(),
    }
}

/// A value nobody has words for.
pub(crate) fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => String::new(),
        _ => serde_json::to_string_pretty(value).unwrap_or_default(),
    }
}

/// Says what stands in a result's `notes`.
fn notes(output: &Output, value: &Value) {
    for note in value.get("notes").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str) {
        output.note(note);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn ci_56_answers_are_keyed_by_skill_where_there_are_several() {
        let one = json!({"ci": "web", "text": "x", "answers": [{"skill": "status", "result": {"state": "running"}}]});
        assert_eq!(answers(&one), json!({"state": "running"}));
        let two = json!({"answers": [{"skill": "services", "result": 1}, {"skill": "health", "result": 2}]});
        assert_eq!(answers(&two), json!({"services": 1, "health": 2}));
        let program = json!({"ci": "solo", "node": "alpha", "text": "hi"});
        assert_eq!(answers(&program), program);
    }

    #[test]
    fn values_without_words_are_readable() {
        assert_eq!(plain(&json!("x")), "x");
        assert_eq!(plain(&json!({"a": 1})), "{\n  \"a\": 1\n}");
        let address = Address::parse("web@alpha").unwrap();
        assert_eq!(reply_text(&json!({"text": "web is running"}), &address), "web is running");
    }
}
