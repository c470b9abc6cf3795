//! The JSON Schema of manifests, made of their types.

use std::sync::LazyLock;

use schemars::{Schema, generate::SchemaSettings, transform::RecursiveTransform};
use serde_json::{Map, Value, json};

use super::Manifest;

/// The address by which the schema of this form is known.
const ID: &str = "https://aigis.dev/schemas/manifest-1.0.json";

/// The JSON Schema (draft 2020-12) of manifests of the form 1.0.
///
/// It says of a document alone what can be said so; [`check`](super::check()) holds documents against this very schema, and
/// adds what needs more: references, circles, files.
#[must_use]
pub fn schema() -> &'static Value {
    static SCHEMA: LazyLock<Value> = LazyLock::new(|| {
        let settings = SchemaSettings::draft2020_12().with_transform(RecursiveTransform(strict));
        let mut schema = settings.into_generator().into_root_schema_for::<Manifest>();
        schema.insert("$id".to_owned(), ID.into());
        schema.to_value()
    });
    &SCHEMA
}

/// Makes a schema as strict as the reader: no `null` where nothing is to stand, no unknown key but those of `x-`.
fn strict(schema: &mut Schema) {
    let Some(object) = schema.as_object_mut() else { return };
    // They say how wide a number is in memory.
    object.remove("format");
    if let Some(types) = object.get_mut("type")
        && let Some([only]) = without_null(types).as_deref()
    {
        *types = only.clone();
    }
    if let Some(Value::Array(branches)) = object.get_mut("anyOf") {
        branches.retain(|branch| branch.get("type").is_none_or(|kind| kind != "null"));
        if let [Value::Object(only)] = branches.as_slice() {
            let only = only.clone();
            object.remove("anyOf");
            let missing = only.into_iter().filter(|(key, _)| !object.contains_key(key)).collect::<Map<_, _>>();
            object.extend(missing);
        }
    }
    if object.contains_key("properties") {
        object.insert("patternProperties".to_owned(), json!({"^x-": true}));
        object.insert("additionalProperties".to_owned(), false.into());
    }
}

fn without_null(types: &Value) -> Option<Vec<Value>> {
    Some(types.as_array()?.iter().filter(|kind| *kind != "null").cloned().collect())
}

#[cfg(test)]
mod tests {
    use std::{env, fs, path::Path};

    use super::*;

    /// What is checked of a schema; any other word would promise what nobody looks at.
    const CHECKED: [&str; 17] = [
        "$ref",
        "type",
        "properties",
        "required",
        "patternProperties",
        "additionalProperties",
        "items",
        "minItems",
        "uniqueItems",
        "maxProperties",
        "minimum",
        "maximum",
        "pattern",
        "enum",
        "const",
        "anyOf",
        "oneOf",
    ];
    const SAID: [&str; 7] = ["$schema", "$id", "$defs", "title", "description", "default", "x-of"];

    fn words(schema: &Value, found: &mut Vec<String>) {
        let Value::Object(object) = schema else { return };
        for (word, value) in object {
            found.push(word.clone());
            match (word.as_str(), value) {
                ("properties" | "patternProperties" | "$defs", Value::Object(inner)) => {
                    inner.values().for_each(|schema| words(schema, found));
                }
                ("anyOf" | "oneOf", Value::Array(inner)) => inner.iter().for_each(|schema| words(schema, found)),
                ("items" | "additionalProperties", inner) => words(inner, found),
                _ => {}
            }
        }
    }

    #[test]
    fn whatever_the_schema_says_is_checked() {
        let mut found = Vec::new();
        words(schema(), &mut found);
        found.sort();
        found.dedup();
        let unknown: Vec<_> =
            found.iter().filter(|word| !CHECKED.contains(&word.as_str()) && !SAID.contains(&word.as_str())).collect();
        assert!(unknown.is_empty(), "{unknown:?}");
        assert!(!schema().to_string().contains("\"null\""), "nothing is said by null");
    }

    #[test]
    fn the_published_schema_is_that_of_the_types() {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/specs/manifest-1.0.schema.json");
        let made = serde_json::to_string_pretty(schema()).unwrap() + "\n";
        if env::var_os("AIGIS_UPDATE_DOCS").is_some() {
            fs::write(&file, &made).unwrap();
        }
        let published = fs::read_to_string(&file).unwrap_or_default();
        assert!(published == made, "docs/specs/manifest-1.0.schema.json is not current: run with AIGIS_UPDATE_DOCS=1");
    }
}
