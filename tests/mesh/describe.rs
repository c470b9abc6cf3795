//! `describe`: what it lists is what answers, in the shape that it says.

use std::collections::BTreeSet;

use aigis_tests::{Container, Mesh, nonce};
use serde_json::Value;

/// Arguments that make a skill short, or that it requires.
fn arguments(skill: &str) -> &'static [&'static str] {
    match skill {
        "message" => &["text=status"],
        "monitor" => &["count=2", "interval_s=1"],
        "optimize" => &["window_s=5"],
        _ => &[],
    }
}

/// What is wrong with a value by its schema.
fn flaws(schema: &Value, value: &Value) -> Vec<String> {
    let validator = jsonschema::validator_for(schema).unwrap_or_else(|error| panic!("{error}: {schema}"));
    validator.iter_errors(value).map(|error| format!("{}: {error}", error.instance_path())).collect()
}

#[test]
fn ci_30_each_listed_skill_answers_as_its_schema_says() {
    let mesh = Mesh::up();
    let name = format!("test-app-{}", nonce());
    let container = Container::run(&name, &[], "aigis-test/nginx", &[]);
    let row = mesh.live(&name, &container.id);
    let described = mesh.aish(["describe", &name, "--json"]).good().json();
    for (key, value) in row.as_object().into_iter().flatten().filter(|(key, _)| *key != "skills") {
        assert_eq!(described[key], *value, "{key}");
    }
    assert_eq!((&described["actions"], &described["members"]), (&Value::Array(Vec::new()), &Value::Null));

    let skills = described["skills"].as_array().cloned().unwrap_or_default();
    let paths: Vec<&str> = skills.iter().filter_map(|skill| skill["path"].as_str()).collect();
    let expected = [
        "debug",
        "describe",
        "exec",
        "health",
        "logs",
        "message",
        "monitor",
        "optimize",
        "optimize.apply",
        "restart",
        "services",
        "start",
        "stats",
        "status",
        "stop",
    ];
    assert_eq!(paths, expected);
    assert_eq!(row["skills"], Value::from(paths.clone()));

    for skill in skills.iter().filter(|skill| skill["effect"] == "read") {
        let path = skill["path"].as_str().unwrap_or_default();
        assert!(skill["doc"].as_str().is_some_and(|doc| !doc.is_empty()), "{skill}");
        let address = format!("{name}.{path}");
        let args = [&["call", address.as_str(), "--json"], arguments(path)].concat();
        let ran = mesh.aish(args);
        assert_eq!(ran.code, 0, "{path}: {ran:?}");
        let frames: Vec<Value> = if skill["stream"] == true {
            ran.stdout
                .lines()
                .map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}")))
                .collect()
        } else {
            vec![ran.json()]
        };
        if path == "monitor" {
            assert_eq!(frames.len(), 2, "{ran:?}");
        }
        for frame in &frames {
            assert_eq!(flaws(&skill["output"], frame), Vec::<String>::new(), "{path}: {frame}\n{}", skill["output"]);
            says_all(&skill["output"], frame, path);
        }
        // A schema that takes anything would prove nothing.
        assert!(!flaws(&skill["output"], &Value::Bool(true)).is_empty(), "{path}: {}", skill["output"]);
    }

    let unknown = mesh.aish(["call", &format!("{name}.nosuch"), "--json"]).failed(65);
    let error: Value = serde_json::from_str(&unknown.stderr).unwrap_or_else(|e| panic!("{e}: {unknown:?}"));
    assert_eq!((&error["code"], &error["data"]["skills"]), (&"not_found".into(), &paths.into()));
}

/// Asserts that a result has no field that its schema does not name.
fn says_all(schema: &Value, value: &Value, path: &str) {
    let (Some(named), Some(object)) = (schema["properties"].as_object(), value.as_object()) else { return };
    let named: BTreeSet<&String> = named.keys().collect();
    let more: Vec<&String> = object.keys().filter(|key| !named.contains(key)).collect();
    assert!(more.is_empty(), "{path}: {more:?} is not in {schema}");
}
