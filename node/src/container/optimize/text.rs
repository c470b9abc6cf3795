//! Results for people.

use std::fmt::Write;

use serde_json::Value;

use super::words::{bytes, percent};

/// The text form of a result, for these skills.
pub(in crate::container) fn text(skill: &str, result: &Value, address: &str) -> Option<String> {
    match skill {
        "optimize" => Some(proposed(result, address)),
        "optimize.apply" => Some(applied(result, address)),
        _ => None,
    }
}

fn proposed(result: &Value, address: &str) -> String {
    let list = |key: &str| result.get(key).and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    let (proposals, actions) = (list("proposals"), list("actions"));
    if proposals.is_empty() && actions.is_empty() {
        return format!("nothing to propose\n{}", measures(result));
    }
    let mut blocks: Vec<String> = proposals.iter().chain(actions).map(|one| block(one, address)).collect();
    if proposals.is_empty() {
        blocks.insert(0, "nothing to propose\n".to_owned());
    }
    blocks.push(measures(result));
    blocks.join("\n")
}

/// One proposal, with the command that applies it.
fn block(proposal: &Value, address: &str) -> String {
    let text = |key: &str| proposal.get(key).and_then(Value::as_str).unwrap_or_default();
    let mut out = format!("{}\n", text("id"));
    // Writing to a string cannot fail, here and below.
    let mut line = |key: &str, value: &str| {
        let _ = writeln!(out, "  {key}: {}", value.replace(['\n', '\r'], " "));
    };
    line("title", text("title"));
    line("reason", text("reason"));
    if let Some(change) = proposal.get("change") {
        let before = change.get("before").map(values).unwrap_or_default();
        let after = change.get("after").map(values).unwrap_or_default();
        let change = if before.is_empty() { after } else { format!("{before} -> {after}") };
        line("change", &change);
    }
    line("blast radius", &radius(proposal.get("blast_radius").unwrap_or(&Value::Null)));
    line("undo", proposal.get("undo").and_then(Value::as_str).unwrap_or("none"));
    let applicable = proposal.get("applicable").and_then(Value::as_bool).unwrap_or(false);
    if applicable {
        line("apply", &format!("aish call {address}.optimize.apply id={}", text("id")));
    } else {
        line("apply", "cannot be applied here");
    }
    out
}

fn radius(radius: &Value) -> String {
    let flag = |key: &str| radius.get(key).and_then(Value::as_bool);
    let restarts = if flag("restarts_container") == Some(true) { "restarts the container" } else { "no restart" };
    let downtime = match radius.get("downtime_s").and_then(Value::as_u64) {
        Some(0) => "no downtime".to_owned(),
        Some(seconds) => format!("up to {seconds} s of downtime"),
        None => "downtime unknown".to_owned(),
    };
    let connections = match flag("connections_dropped") {
        Some(true) => "connections dropped",
        Some(false) => "no connection dropped",
        None => "connections unknown",
    };
    let others: Vec<&str> =
        radius.get("other_cis").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str).collect();
    let others = if others.is_empty() { "no other CI".to_owned() } else { format!("also {}", others.join(", ")) };
    format!("{restarts}, {downtime}, {connections}, {others}, no data at risk")
}

/// A value of a change in words: `memory_limit 64.0 MiB, memory_swap_limit 128.0 MiB`.
fn values(value: &Value) -> String {
    let Value::Object(members) = value else {
        return if value.is_null() { String::new() } else { value.to_string() };
    };
    let words = members.iter().map(|(key, value)| match (key.strip_suffix("_bytes"), value.as_u64(), value) {
        (Some(key), Some(size), _) => format!("{key} {}", bytes(size)),
        (Some(key), None, Value::Null) => format!("{key} none"),
        (_, _, Value::Null) => format!("{key} none"),
        (_, _, Value::String(text)) => format!("{key} {text}"),
        (_, _, value) => format!("{key} {value}"),
    });
    words.collect::<Vec<_>>().join(", ")
}

fn measures(result: &Value) -> String {
    let measures = result.get("measures").unwrap_or(&Value::Null);
    let number = |key: &str| measures.get(key).and_then(Value::as_u64);
    let shown = |value: Option<String>| value.unwrap_or_else(|| "unknown".to_owned());
    let share = |key: &str| measures.get(key).and_then(Value::as_f64).map(percent);
    let count = |key: &str| shown(number(key).map(|number| number.to_string()));
    let memory = match (number("memory_peak_bytes"), share("memory_percent_peak")) {
        (Some(peak), Some(share)) => format!("{} ({share} of the limit)", bytes(peak)),
        (Some(peak), None) => bytes(peak),
        (None, _) => "unknown".to_owned(),
    };
    let window = result.get("window_s").and_then(Value::as_u64).unwrap_or_default();
    let mut out = String::new();
    for (key, value) in [
        ("measured for", format!("{window} s")),
        ("memory peak", memory),
        ("cpu mean", shown(share("cpu_percent_mean"))),
        ("throttled", shown(share("throttled_percent"))),
        ("pids peak", count("pids_peak")),
        ("oom kills in 24 h", count("oom_kills_24h")),
        ("restarts in 24 h", count("restarts_24h")),
        ("log", shown(number("log_bytes").map(bytes))),
    ] {
        let _ = writeln!(out, "{key}: {value}");
    }
    out
}

fn applied(result: &Value, address: &str) -> String {
    let id = result.get("id").and_then(Value::as_str).unwrap_or_default();
    let mut out = format!("{address}: applied {id}\n");
    let value = |key: &str| result.get(key).map(values).unwrap_or_default();
    let (before, after) = (value("before"), value("after"));
    if !after.is_empty() {
        let _ = writeln!(out, "change: {before} -> {after}");
    }
    if let Some(code) = result.get("exit_code").and_then(Value::as_i64) {
        let _ = writeln!(out, "exit code: {code}");
    }
    if let Some(undo) = result.pointer("/undo/kwargs/id").and_then(Value::as_str) {
        let _ = writeln!(out, "undo: aish call {address}.optimize.apply id={undo}");
    }
    if let Some(output) = result.get("output").and_then(Value::as_str).filter(|output| !output.is_empty()) {
        let _ = write!(out, "output:\n{output}");
        if !output.ends_with('\n') {
            out.push('\n');
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const MIB: u64 = 1024 * 1024;

    #[test]
    fn nothing_found_shows_the_measures() {
        let result = json!({"window_s": 10, "proposals": [], "actions": [], "measures": {"memory_peak_bytes": 12 * MIB,
            "memory_percent_peak": 18.8, "cpu_percent_mean": 0.4, "throttled_percent": null, "pids_peak": 3,
            "oom_kills_24h": 0, "restarts_24h": 0, "log_bytes": null}});
        assert_eq!(
            text("optimize", &result, "web@alpha").unwrap(),
            "nothing to propose\nmeasured for: 10 s\nmemory peak: 12.0 MiB (18.8% of the limit)\ncpu mean: 0.4%\nthrottled: unknown\n\
             pids peak: 3\noom kills in 24 h: 0\nrestarts in 24 h: 0\nlog: unknown\n"
        );
    }

    #[test]
    fn a_proposal_shows_what_it_costs_and_how_it_is_applied() {
        let result = json!({"window_s": 10, "actions": [], "measures": {}, "proposals": [{"id": "raise-memory-limit-0a1b2c3d",
            "kind": "raise-memory-limit", "title": "raise it", "reason": "it is full",
            "change": {"before": {"memory_limit_bytes": 64 * MIB}, "after": {"memory_limit_bytes": 96 * MIB}},
            "blast_radius": {"restarts_container": false, "downtime_s": 0, "connections_dropped": false, "other_cis": [],
            "data_at_risk": false}, "undo": "sets it back", "applicable": true}]});
        let shown = text("optimize", &result, "web@alpha").unwrap();
        assert!(shown.starts_with(
            "raise-memory-limit-0a1b2c3d\n  title: raise it\n  reason: it is full\n  \
             change: memory_limit 64.0 MiB -> memory_limit 96.0 MiB\n  \
             blast radius: no restart, no downtime, no connection dropped, no other CI, no data at risk\n  \
             undo: sets it back\n  apply: aish call web@alpha.optimize.apply id=raise-memory-limit-0a1b2c3d\n\nmeasured for: 10 s\n"
        ), "{shown}");
    }

    #[test]
    fn what_was_applied_says_how_to_take_it_back() {
        let result = json!({"id": "x-1", "before": {"pids_limit": 10}, "after": {"pids_limit": 20}, "exit_code": null,
            "undo": {"skill": "optimize.apply", "kwargs": {"id": "undo-x-2"}}, "output": null});
        assert_eq!(
            text("optimize.apply", &result, "web@alpha").unwrap(),
            "web@alpha: applied x-1\nchange: pids_limit 10 -> pids_limit 20\nundo: aish call web@alpha.optimize.apply id=undo-x-2\n"
        );
    }
}
