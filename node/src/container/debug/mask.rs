//! Masks secrets in a report: by the general rules, and wherever a value is shown again that the container was given as a
//! secret, or that this node knows as one.

use std::sync::Arc;

use serde_json::{Map, Value};

use super::{Health, Line, LogLine, ProcessList};
use crate::{engine::Inspection, mask, redact};

/// Shorter values are too common to be looked for everywhere.
const SHORTEST: usize = 6;
/// Arrays in the engine's inspection that are command lines.
const COMMANDS: [&str; 4] = ["Args", "Cmd", "Entrypoint", "Test"];

/// What must not be shown of one container.
#[derive(Debug)]
pub(super) struct Mask {
    secrets: Vec<String>,
    known: Arc<mask::Mask>,
}

impl Mask {
    /// Collects the values of the container's variables and options that the rules call secret.
    pub(super) fn of(inspection: &Inspection, known: Arc<mask::Mask>) -> Self {
        let mut secrets: Vec<String> = Vec::new();
        for entry in &inspection.env {
            if let Some((name, value)) = entry.split_once('=')
                && is_secret(name)
            {
                secrets.push(value.to_owned());
            }
        }
        for (word, masked) in inspection.command.iter().zip(redact::argv(&inspection.command)) {
            if masked == redact::MASK {
                secrets.push(word.clone());
            } else if let Some(value) = masked.strip_suffix(redact::MASK).and_then(|name| word.strip_prefix(name)) {
                secrets.push(value.to_owned());
            }
        }
        secrets.retain(|secret| secret.len() >= SHORTEST);
        // Longer ones first, so that no part of one is left standing beside the mask of another.
        secrets.sort_by_key(|secret| std::cmp::Reverse(secret.len()));
        secrets.dedup();
        Self { secrets, known }
    }

    fn text(&self, text: &str) -> String {
        let mut text = self.known.text(&redact::text(text));
        for secret in &self.secrets {
            if text.contains(secret.as_str()) {
                text = text.replace(secret.as_str(), redact::MASK);
            }
        }
        text
    }

    /// Masks the engine's own inspection.
    pub(super) fn inspection(&self, raw: &Value) -> Value {
        self.value(raw, "")
    }

    fn value(&self, value: &Value, key: &str) -> Value {
        match value {
            Value::String(text) => Value::String(self.text(text)),
            Value::Array(items) => {
                let texts: Option<Vec<String>> = items.iter().map(|item| item.as_str().map(str::to_owned)).collect();
                match texts {
                    Some(texts) if key == "Env" => redact::environment(&texts).into(),
                    Some(texts) if COMMANDS.contains(&key) => {
                        let masked = redact::argv(&texts);
                        masked.iter().map(|word| self.text(word)).collect::<Vec<_>>().into()
                    }
                    _ => items.iter().map(|item| self.value(item, "")).collect::<Vec<_>>().into(),
                }
            }
            Value::Object(members) => {
                let masked: Map<String, Value> =
                    members.iter().map(|(name, value)| (name.clone(), self.member(key, name, value))).collect();
                Value::Object(masked)
            }
            Value::Null | Value::Bool(_) | Value::Number(_) => value.clone(),
        }
    }

    fn member(&self, parent: &str, name: &str, value: &Value) -> Value {
        // Names in these maps are the owner's; elsewhere they are the engine's, and `SandboxKey` is no secret.
        let named = matches!(parent, "Labels" | "Options" | "Config" | "DriverOpts") && value.is_string();
        if named && is_secret(name) { Value::String(redact::MASK.to_owned()) } else { self.value(value, name) }
    }

    pub(super) fn line(&self, line: LogLine) -> LogLine {
        let shown = match line.line {
            Line::Text(text) => Line::Text(self.text(&text)),
            // Bytes that are no text may hold a secret all the same.
            Line::Bytes { base64 } => {
                let bytes = data_encoding::BASE64.decode(base64.as_bytes()).unwrap_or_default();
                Line::Text(self.text(&String::from_utf8_lossy(&bytes)))
            }
        };
        LogLine { line: shown, ..line }
    }

    pub(super) fn processes(&self, mut top: ProcessList) -> ProcessList {
        for cell in top.processes.iter_mut().flatten() {
            *cell = self.text(cell);
        }
        top
    }

    pub(super) fn health(&self, mut health: Health) -> Health {
        health.engine_health = health.engine_health.map(|check| check.map_output(|text| self.text(text)));
        health
    }
}

/// Whether a value of that name is masked by the general rules.
fn is_secret(name: &str) -> bool {
    let probe = format!("{name}=value-to-mask");
    redact::argv(std::slice::from_ref(&probe)).first().is_some_and(|shown| *shown != probe)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn ci_43_secrets_are_masked_wherever_they_stand() {
        let known = Arc::new(mask::Mask::of([&b"sealed-4321"[..]]));
        let mask = Mask { secrets: vec!["nonce-1234".to_owned()], known };
        let shown = mask.inspection(&json!({
            "Path": "srv", "Args": ["--token", "nonce-1234", "--port", "80"],
            "Config": {"Env": ["DB_PASSWORD=nonce-1234", "PATH=/bin"], "Cmd": ["srv", "--token=nonce-1234"],
                "Labels": {"db.password": "nonce-1234", "url": "postgres://a:nonce-1234@db", "kept": "here"}},
            "State": {"Health": {"Log": [{"Output": "said nonce-1234 sealed-4321"}]}},
            "NetworkSettings": {"SandboxKey": "/var/run/x"},
        }));
        let text = shown.to_string();
        assert!(!text.contains("nonce-1234") && !text.contains("sealed-4321"), "{text}");
        for kept in ["--port", "DB_PASSWORD=***", "\"kept\":\"here\"", "/var/run/x"] {
            assert!(text.contains(kept), "{kept}: {text}");
        }
    }
}
