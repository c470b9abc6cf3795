//! TOML.

use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

use super::{Entry, Lines, Node, Refused, Value, shallow};

/// Parses a text.
pub(super) fn parse(text: &str) -> Result<Node, Refused> {
    shallow(text)?;
    let lines = Lines::of(text);
    let parsed = DeTable::parse(text).map_err(|error| Refused {
        line: lines.at(error.span().map_or(0, |span| span.start)),
        message: error.message().to_owned(),
    })?;
    Ok(Node { line: 1, value: table(parsed.get_ref(), &lines) })
}

fn table(table: &DeTable<'_>, lines: &Lines) -> Value {
    let entry = |(key, value): (&Spanned<std::borrow::Cow<'_, str>>, &Spanned<DeValue<'_>>)| Entry {
        key: key.get_ref().to_string(),
        line: lines.at(key.span().start),
        node: node(value, lines),
    };
    let mut entries: Vec<Entry> = table.iter().map(entry).collect();
    // The parser has them by their keys; what comes first in the text is what people mean by first.
    entries.sort_by_key(|entry| entry.line);
    Value::Table(entries)
}

fn node(value: &Spanned<DeValue<'_>>, lines: &Lines) -> Node {
    let line = lines.at(value.span().start);
    let value = match value.get_ref() {
        DeValue::String(text) => Value::Text(text.to_string()),
        DeValue::Integer(number) => Value::Number(number.as_str().to_owned()),
        DeValue::Float(number) => Value::Number(number.as_str().to_owned()),
        DeValue::Boolean(truth) => Value::Bool(*truth),
        DeValue::Datetime(time) => Value::Number(time.to_string()),
        DeValue::Array(items) => Value::List(items.iter().map(|item| node(item, lines)).collect()),
        DeValue::Table(entries) => table(entries, lines),
    };
    Node { line, value }
}
