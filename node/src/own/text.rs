//! A node's results as text: pure functions of the JSON, as those of containers are.

use std::fmt::Write as _;

use serde::de::DeserializeOwned;
use serde_json::Value;

use super::{Description, Health, Replied, Status, duties::Asked, plugins::Plugins};

/// Writes the result of a node's skill as text that ends in a newline. Absent where the skill has no text form, or the
/// result is not of its shape.
#[must_use]
pub(crate) fn render(skill: &str, result: &Value, address: &str) -> Option<String> {
    match skill {
        "status" => read(result).map(|result| status(&result, address)),
        "health" => read(result).map(|result| health(&result, address)),
        "describe" => read(result).map(|result| describe(&result)),
        "cordon" | "uncordon" | "drain" | "label" => read(result).map(|result| asked(&result, address)),
        "plugins.list" | "plugins.add" | "plugins.remove" | "plugins.sync" => {
            read(result).map(|result: Plugins| result.text())
        }
        "message" => read(result).map(|result: Replied| result.text),
        _ => None,
    }
}

fn read<T: DeserializeOwned>(value: &Value) -> Option<T> {
    T::deserialize(value).ok()
}

fn status(status: &Status, address: &str) -> String {
    let engine = match (&status.engine.version, &status.engine.trouble) {
        (Some(version), _) => format!("{version} at {}", status.engine.address),
        (None, Some(trouble)) => format!("not reachable: {trouble}"),
        (None, None) => "not reachable".to_owned(),
    };
    let bus = if status.bus.connected { "connected" } else { "not connected" };
    format!(
        "{address} is live\nversion: {}\nengine: {engine}\nbus: {bus}, nats-server {}\ncis: {}\ncalls in flight: {}\n\
         started: {}\n",
        status.version, status.bus.server_version, status.cis, status.calls_in_flight, status.started_at
    )
}

fn health(health: &Health, address: &str) -> String {
    let healthy = health.checks.iter().all(|check| check.outcome == "pass");
    let decided = health.checks.iter().filter(|check| healthy || check.outcome != "pass");
    let reasons: Vec<&str> = decided.map(|check| check.detail.as_str()).collect();
    let mut text = format!("{address}: {} ({})\n", health.verdict, reasons.join("; "));
    for check in &health.checks {
        let _ = writeln!(text, "{}: {}, {}", check.name, check.outcome, check.detail);
    }
    text
}

/// What holds now, in a line; a second one for the labels.
fn asked(asked: &Asked, address: &str) -> String {
    let holds = match (asked.draining, asked.cordoned) {
        (true, _) => "drained: nothing new is placed on it, and nothing stays that it hosts for others",
        (false, true) => "cordoned: nothing new is placed on it",
        (false, false) => "open: things may be placed on it",
    };
    let before = if asked.changed { "" } else { " (it was so before)" };
    let mut text = format!("{address} is {holds}{before}\n");
    if !asked.labels.is_empty() {
        let labels: Vec<String> = asked.labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
        let _ = writeln!(text, "labels: {}", labels.join(", "));
    }
    text
}

fn describe(description: &Description) -> String {
    let mut text = format!("{} is a {}: {}\n", description.address, description.kind, description.state);
    if !description.labels.is_empty() {
        let labels: Vec<String> = description.labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
        let _ = writeln!(text, "labels: {}", labels.join(", "));
    }
    text.push_str("skills:\n");
    for skill in &description.skills {
        let of = |key: &str| skill.get(key).and_then(Value::as_str).unwrap_or_default();
        let _ = writeln!(text, "  {} ({}): {}", of("path"), of("effect"), of("doc"));
    }
    text
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    // Through the one door that callers use, so that no result of a node is taken for a container's.
    use crate::text::render;

    use super::*;

    const AT: &str = "2026-11-21T07:25:40.450Z";

    fn status_of(engine: &Value) -> Value {
        json!({"ci": "alpha", "node": "alpha", "observed_at": AT, "version": "0.1.0", "started_at": AT,
            "engine": engine, "bus": {"connected": true, "server_version": "2.15.1", "supervised": true, "restarts": 0},
            "cis": 3, "calls_in_flight": 0, "requests": 9, "errors": 0, "dropped": 0, "notes": []})
    }

    #[test]
    fn a_node_s_status_has_seven_lines() {
        let up = status_of(&json!({"address": "unix:///run/docker.sock", "reachable": true, "version": "20.10",
            "api_version": "1.41", "trouble": null}));
        assert_eq!(
            render("status", &up, "alpha@alpha").unwrap(),
            "alpha@alpha is live\n\
             version: 0.1.0\n\
             engine: 20.10 at unix:///run/docker.sock\n\
             bus: connected, nats-server 2.15.1\n\
             cis: 3\n\
             calls in flight: 0\n\
             started: 2026-11-21T07:25:40.450Z\n"
        );
        let down = status_of(&json!({"address": "unix:///run/docker.sock", "reachable": false, "version": null,
            "api_version": null, "trouble": "no such socket"}));
        assert!(render("status", &down, "alpha@alpha").unwrap().contains("\nengine: not reachable: no such socket\n"));
    }

    #[test]
    fn a_node_s_health_says_what_decided() {
        let health = |verdict: &str, engine: &str, detail: &str| {
            json!({"ci": "alpha", "node": "alpha", "observed_at": AT, "verdict": verdict, "notes": [], "checks": [
                {"name": "bus", "outcome": "pass", "detail": "nats-server 2.15.1"},
                {"name": "engine", "outcome": engine, "detail": detail}]})
        };
        assert_eq!(
            render("health", &health("healthy", "pass", "it answers"), "alpha@alpha").unwrap(),
            "alpha@alpha: healthy (nats-server 2.15.1; it answers)\nbus: pass, nats-server 2.15.1\nengine: pass, it \
             answers\n"
        );
        let text = render("health", &health("degraded", "fail", "no such socket"), "alpha@alpha").unwrap();
        assert!(text.starts_with("alpha@alpha: degraded (no such socket)\n"), "{text}");
    }

    #[test]
    fn what_was_asked_of_a_node_is_said_in_a_line() {
        let asked = |changed: bool, cordoned: bool, draining: bool, labels: Value| {
            let result = json!({"ci": "alpha", "node": "alpha", "observed_at": AT, "changed": changed,
                "cordoned": cordoned, "draining": draining, "labels": labels, "calls_in_flight": 0, "notes": []});
            render("cordon", &result, "alpha@alpha").unwrap()
        };
        assert_eq!(asked(true, true, false, json!({})), "alpha@alpha is cordoned: nothing new is placed on it\n");
        assert_eq!(
            asked(false, false, false, json!({"zone": "b"})),
            "alpha@alpha is open: things may be placed on it (it was so before)\nlabels: zone=b\n"
        );
        assert!(asked(true, true, true, json!({})).starts_with("alpha@alpha is drained: "));
    }

    #[test]
    fn a_node_describes_itself_and_answers_in_words() {
        let described = json!({"name": "alpha", "address": "alpha@alpha", "node": "alpha", "kind": "node",
            "state": "live", "labels": {"zone": "b"}, "skills": [{"path": "status", "effect": "read", "doc": "Says."}]});
        assert_eq!(
            render("describe", &described, "alpha@alpha").unwrap(),
            "alpha@alpha is a node: live\nlabels: zone=b\nskills:\n  status (read): Says.\n"
        );
        let said = json!({"ci": "alpha", "node": "alpha", "text": "alpha@alpha is live\n", "answers": []});
        assert_eq!(render("message", &said, "alpha@alpha").unwrap(), "alpha@alpha is live\n");
        assert_eq!(render("services", &said, "alpha@alpha"), None);
    }
}
