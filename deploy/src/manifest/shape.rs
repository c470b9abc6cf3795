//! Holds a document against the schema.

use std::{collections::HashMap, sync::LazyLock};

use aigis_proxy::quoted;
use regex::Regex;
use serde_json::Value;

use super::{
    ProblemCode as Code,
    problem::{At, Problems, did_you_mean},
    rule,
    schema::schema,
};
use crate::json::Kind;

/// Finds whatever of a document is not as the schema says.
pub(super) fn check(document: &At<'_>, problems: &mut Problems<'_>) {
    Shape { root: schema(), problems }.value(document, schema());
}

struct Shape<'a, 'b> {
    root: &'a Value,
    problems: &'a mut Problems<'b>,
}

impl<'a> Shape<'a, '_> {
    /// Checks a value; as deep as the document is, which the reader bounds.
    fn value(&mut self, at: &At<'_>, schema: &'a Value) {
        let schema = self.resolved(schema);
        if matches!(at.node.kind, Kind::Flawed) || !schema.is_object() || self.problems.is_full() {
            return;
        }
        if let Some(branches) = schema.get("anyOf").and_then(Value::as_array) {
            return self.branch(at, branches);
        }
        if !self.is_of_type(at, schema) {
            let due = types(schema).iter().map(|kind| due(kind)).collect::<Vec<_>>().join(" or ");
            let message = format!("{due} is due here, not {}", found(&at.node.kind));
            return self.problems.add(at, Code::Type, message, "");
        }
        match &at.node.kind {
            Kind::Text(text) => self.text(at, text, schema),
            Kind::Number(number) => self.number(at, number.as_f64().unwrap_or_default(), schema),
            Kind::List(_) => self.list(at, schema),
            Kind::Object(_) => self.object(at, schema),
            Kind::Null | Kind::Bool(_) | Kind::Flawed => {}
        }
    }

    fn resolved(&self, schema: &'a Value) -> &'a Value {
        let path = schema.get("$ref").and_then(Value::as_str).and_then(|path| path.strip_prefix('#'));
        path.and_then(|path| self.root.pointer(path)).unwrap_or(schema)
    }

    /// Checks a value by the branch that is of its type.
    fn branch(&mut self, at: &At<'_>, branches: &'a [Value]) {
        let branch = branches.iter().find(|branch| self.is_of_type(at, self.resolved(branch)));
        if let Some(branch) = branch {
            return self.value(at, branch);
        }
        let kinds: Vec<&str> = branches.iter().flat_map(|branch| types(self.resolved(branch))).collect();
        let due = kinds.into_iter().map(due).collect::<Vec<_>>().join(" or ");
        self.problems.add(at, Code::Type, format!("{due} is due here, not {}", found(&at.node.kind)), "");
    }

    fn is_of_type(&self, at: &At<'_>, schema: &Value) -> bool {
        let types = types(schema);
        types.is_empty()
            || types.iter().any(|kind| match (&at.node.kind, *kind) {
                (Kind::Text(_), "string")
                | (Kind::Bool(_), "boolean")
                | (Kind::List(_), "array")
                | (Kind::Object(_), "object")
                | (Kind::Number(_), "number") => true,
                (Kind::Number(number), "integer") => !number.is_f64(),
                _ => false,
            })
    }

    fn text(&mut self, at: &At<'_>, text: &str, schema: &'a Value) {
        let words = words(schema);
        if !words.is_empty() && !words.contains(&text) {
            let hint = match words.as_slice() {
                [only] => format!("write {only}"),
                _ => did_you_mean(text, words.iter().copied()),
            };
            return self.problems.add(
                at,
                Code::Pattern,
                format!("\"{}\" is none of the words that can stand here", quoted(text)),
                hint,
            );
        }
        if let Some(pattern) = schema.get("pattern").and_then(Value::as_str)
            && !matches(pattern, text)
        {
            let rule = rule::words(pattern).unwrap_or(pattern);
            self.problems.add(at, Code::Pattern, format!("\"{}\" cannot stand here: {rule}", quoted(text)), "");
        }
    }

    fn number(&mut self, at: &At<'_>, number: f64, schema: &Value) {
        let least = schema.get("minimum").and_then(Value::as_f64);
        let most = schema.get("maximum").and_then(Value::as_f64);
        if least.is_some_and(|least| number < least) || most.is_some_and(|most| number > most) {
            let message = match (least, most) {
                (Some(least), Some(most)) => format!("it has to be from {least} to {most}"),
                (Some(least), None) => format!("it has to be {least} or more"),
                (None, most) => format!("it has to be {} or less", most.unwrap_or_default()),
            };
            self.problems.add(at, Code::Range, message, "");
        }
    }

    fn list(&mut self, at: &At<'_>, schema: &'a Value) {
        let items: Vec<At<'_>> = at.items().collect();
        let least = schema.get("minItems").and_then(Value::as_u64).unwrap_or_default();
        if (items.len() as u64) < least {
            self.problems.add(at, Code::Missing, "at least one has to stand here", "");
        }
        if schema.get("uniqueItems") == Some(&Value::Bool(true)) {
            let mut firsts: HashMap<Vec<u8>, usize> = HashMap::new();
            for (index, item) in items.iter().enumerate() {
                let value = crate::json::canonical(&item.node.value());
                let shown = String::from_utf8_lossy(&value).into_owned();
                if let Some(first) = firsts.get(&value).filter(|_| !matches!(item.node.kind, Kind::Flawed)) {
                    let message = format!("{} stands there already, at {first}", quoted(&shown));
                    self.problems.add(item, Code::Duplicate, message, "take one of them away");
                } else {
                    firsts.insert(value, index);
                }
            }
        }
        if let Some(of_item) = schema.get("items") {
            items.iter().for_each(|item| self.value(item, of_item));
        }
    }

    fn object(&mut self, at: &At<'_>, schema: &'a Value) {
        let properties = schema.get("properties").and_then(Value::as_object);
        let patterns = schema.get("patternProperties").and_then(Value::as_object);
        if schema.get("maxProperties") == Some(&Value::from(0)) && !at.node.members().is_empty() {
            return self.problems.add(
                at,
                Code::LaterPart,
                "only {} can stand here: a later part fills it",
                "write {}, or leave it out",
            );
        }
        for key in schema.get("required").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str) {
            if !at.has(key) {
                self.problems.add_key(at, key, Code::Missing, format!("{key} is required"), "");
            }
        }
        let lacking: Vec<&str> = properties
            .into_iter()
            .flat_map(serde_json::Map::keys)
            .map(String::as_str)
            .filter(|key| !at.has(key))
            .collect();
        for (key, value) in at.members() {
            if self.problems.is_full() {
                return;
            }
            if let Some(of_value) = properties.and_then(|known| known.get(key)) {
                self.value(&value, of_value);
                continue;
            }
            let by_pattern = patterns.into_iter().flatten().find(|(pattern, _)| matches(pattern, key));
            if let Some((_, of_value)) = by_pattern {
                self.value(&value, of_value);
            } else if properties.is_some() {
                let hint = did_you_mean(key, lacking.iter().copied());
                self.problems.add(
                    &value,
                    Code::UnknownKey,
                    format!("\"{}\" is no key of this object", quoted(key)),
                    hint,
                );
            } else if schema.get("additionalProperties") == Some(&Value::Bool(false)) {
                let rule = patterns.and_then(|patterns| rule::words(patterns.keys().next()?)).unwrap_or_default();
                self.problems.add(&value, Code::Pattern, format!("\"{}\" cannot stand here: {rule}", quoted(key)), "");
            }
        }
    }
}

fn matches(pattern: &str, text: &str) -> bool {
    static PATTERNS: LazyLock<HashMap<&str, Regex>> = LazyLock::new(|| {
        let mut patterns = HashMap::new();
        compile(schema(), &mut patterns);
        patterns
    });
    PATTERNS.get(pattern).is_some_and(|regex| regex.is_match(text))
}

/// Compiles all patterns of a schema.
fn compile<'a>(schema: &'a Value, patterns: &mut HashMap<&'a str, Regex>) {
    let mut add = |pattern: &'a str| patterns.extend(Regex::new(pattern).ok().map(|regex| (pattern, regex)));
    match schema {
        Value::Object(object) => {
            object.get("pattern").and_then(Value::as_str).into_iter().for_each(&mut add);
            let of_keys = object.get("patternProperties").and_then(Value::as_object);
            of_keys.into_iter().flat_map(serde_json::Map::keys).map(String::as_str).for_each(add);
            object.values().for_each(|schema| compile(schema, patterns));
        }
        Value::Array(schemas) => schemas.iter().for_each(|schema| compile(schema, patterns)),
        _ => {}
    }
}

/// The types that a schema takes.
fn types(schema: &Value) -> Vec<&str> {
    match schema.get("type") {
        Some(Value::String(one)) => vec![one],
        Some(Value::Array(all)) => all.iter().filter_map(Value::as_str).collect(),
        _ if words(schema).is_empty() => Vec::new(),
        _ => vec!["string"],
    }
}

/// The words that a schema takes, if it takes no others.
fn words(schema: &Value) -> Vec<&str> {
    let of = |key: &str| schema.get(key).and_then(Value::as_array).into_iter().flatten();
    let one = schema.get("const").into_iter();
    of("enum").chain(one).filter_map(Value::as_str).chain(of("oneOf").flat_map(words)).collect()
}

fn due(kind: &str) -> &'static str {
    match kind {
        "string" => "a text",
        "boolean" => "true or false",
        "array" => "a list",
        "object" => "an object",
        "integer" => "a whole number",
        _ => "a number",
    }
}

fn found(kind: &Kind) -> &'static str {
    match kind {
        Kind::Null | Kind::Flawed => "null",
        Kind::Bool(_) => "true or false",
        Kind::Number(number) if number.is_f64() => "a number with a fraction",
        Kind::Number(_) => "a number",
        Kind::Text(_) => "a text",
        Kind::List(_) => "a list",
        Kind::Object(_) => "an object",
    }
}
