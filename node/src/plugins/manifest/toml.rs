//! The second form of the file: TOML.

use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

use super::value::{Binding, Node, Value};

/// Reads a whole file; `None` if it is no TOML.
pub(super) fn parse(text: &str) -> Option<Vec<Binding>> {
    let root = DeTable::parse(text).ok()?;
    let mut bindings: Vec<Binding> = root
        .get_ref()
        .iter()
        .map(|(key, value)| Binding { name: key.get_ref().to_string(), at: key.span().start, node: node(value) })
        .collect();
    bindings.sort_by_key(|binding| binding.at);
    Some(bindings)
}

fn node(value: &Spanned<DeValue<'_>>) -> Node {
    let at = value.span().start;
    let value = match value.get_ref() {
        DeValue::String(text) => Value::Text(text.to_string()),
        DeValue::Boolean(value) => Value::Bool(*value),
        DeValue::Integer(number) => Value::Integer(i64::from_str_radix(number.as_str(), number.radix()).ok()),
        DeValue::Float(number) => Value::Float(number.as_str().parse().unwrap_or(f64::NAN)),
        DeValue::Array(items) => Value::List(items.iter().map(node).collect()),
        DeValue::Table(items) => {
            let named = |at, name: &str| Node { at, value: Value::Text(name.to_owned()) };
            let items = items.iter().map(|(key, value)| (named(key.span().start, key.get_ref()), node(value)));
            Value::Dict(items.collect())
        }
        DeValue::Datetime(_) => Value::Date,
    };
    Node { at, value }
}
