//! JSON with comments, trailing commas and the loose forms of JSON5.

use jsonc_parser::{ParseOptions, ast, common::Ranged};

use super::{Entry, Lines, Node, Refused, Value, shallow};

/// Parses a text. One that holds nothing is `null`.
pub(super) fn parse(text: &str) -> Result<Node, Refused> {
    shallow(text)?;
    let lines = Lines::of(text);
    let loose =
        ParseOptions { allow_comments: true, allow_loose_object_property_names: true, allow_trailing_commas: true };
    let parsed = jsonc_parser::parse_to_ast(text, &jsonc_parser::CollectOptions::default(), &loose);
    let parsed =
        parsed.map_err(|error| Refused { line: lines.at(error.range().start), message: error.kind().to_string() })?;
    Ok(parsed.value.map_or(Node { line: 1, value: Value::Null }, |value| node(&value, &lines)))
}

fn node(value: &ast::Value<'_>, lines: &Lines) -> Node {
    let line = lines.at(value.range().start);
    let value = match value {
        ast::Value::StringLit(text) => Value::Text(text.value.to_string()),
        ast::Value::NumberLit(number) => Value::Number(number.value.to_owned()),
        ast::Value::BooleanLit(truth) => Value::Bool(truth.value),
        ast::Value::NullKeyword(_) => Value::Null,
        ast::Value::Array(array) => Value::List(array.elements.iter().map(|value| node(value, lines)).collect()),
        ast::Value::Object(object) => Value::Table(object.properties.iter().map(|one| entry(one, lines)).collect()),
    };
    Node { line, value }
}

fn entry(property: &ast::ObjectProp<'_>, lines: &Lines) -> Entry {
    Entry {
        key: property.name.as_str().to_owned(),
        line: lines.at(property.name.range().start),
        node: node(&property.value, lines),
    }
}
