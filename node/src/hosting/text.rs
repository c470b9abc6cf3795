//! A plugin's results as text: pure functions of the JSON, as those of containers are.

use std::fmt::Write as _;

use serde::de::DeserializeOwned;
use serde_json::Value;

use super::status::{Description, Status};

/// Writes the result of a plugin's standard skill as text that ends in a newline. Absent where the skill has no text form, or
/// the result is not of its shape.
#[must_use]
pub(crate) fn render(skill: &str, result: &Value, address: &str) -> Option<String> {
    match skill {
        "status" => read(result).map(|status: Status| status.text(address)),
        "describe" => read(result).map(|description: Description| description.text()),
        "start" | "stop" | "restart" | "reload" => {
            let (state, ci) = (result.get("state")?.as_str()?, result.get("ci")?.as_str()?);
            Some(format!("{ci} is {state}\n"))
        }
        _ => None,
    }
}

fn read<T: DeserializeOwned>(value: &Value) -> Option<T> {
    T::deserialize(value).ok()
}

/// Writes lines of a word and what it stands for; those without the latter are left out.
pub(super) fn lines(head: String, lines: impl IntoIterator<Item = (&'static str, Option<String>)>) -> String {
    let mut text = head;
    text.push('\n');
    for (word, said) in lines {
        if let Some(said) = said {
            // Writing to a text does not fail.
            let _ = writeln!(text, "{word}: {said}");
        }
    }
    text
}
