//! YAML: the first document of a file. Built from the parser's events, so that neither depth nor aliases can make more of
//! a file than it is.

use std::collections::HashMap;

use saphyr_parser::{Event, Parser, ScalarStyle};

use super::{DEPTH, Entry, Node, Refused, Value};

/// Most values that aliases may add to a document.
const COPIES: usize = 10_000;

/// A list or a table that is not closed yet.
struct Open {
    node: Node,
    anchor: usize,
    /// The key whose value comes next.
    key: Option<(String, u64)>,
}

/// What was read so far.
#[derive(Default)]
struct Reader {
    open: Vec<Open>,
    anchors: HashMap<usize, Node>,
    copies: usize,
    root: Option<Node>,
}

/// Parses a text. One that holds nothing is `null`.
pub(super) fn parse(text: &str) -> Result<Node, Refused> {
    let mut reader = Reader::default();
    for event in Parser::new_from_str(text) {
        let (event, span) =
            event.map_err(|error| Refused { line: error.marker().line() as u64, message: error.info().to_owned() })?;
        let line = span.start.line() as u64;
        let refused = |message: String| Refused { line, message };
        match event {
            Event::Scalar(text, style, anchor, _) => reader.add(scalar(&text, style, line), anchor),
            Event::SequenceStart(anchor, _) => reader.begin(Value::List(Vec::new()), line, anchor),
            Event::MappingStart(anchor, _) => reader.begin(Value::Table(Vec::new()), line, anchor),
            Event::SequenceEnd | Event::MappingEnd => reader.end(),
            Event::Alias(anchor) => {
                let node = reader.anchors.get(&anchor).cloned().unwrap_or(Node { line, value: Value::Null });
                reader.copies += size(&node);
                if reader.copies > COPIES {
                    return Err(refused(format!("its aliases stand for more than {COPIES} values")));
                }
                reader.add(node, 0);
            }
            Event::DocumentEnd => break,
            Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentStart(_) => {}
        }
        if reader.open.len() > DEPTH {
            return Err(refused(format!("it is nested deeper than {DEPTH} levels")));
        }
    }
    Ok(reader.root.unwrap_or(Node { line: 1, value: Value::Null }))
}

impl Reader {
    fn begin(&mut self, value: Value, line: u64, anchor: usize) {
        self.open.push(Open { node: Node { line, value }, anchor, key: None });
    }

    fn end(&mut self) {
        if let Some(Open { node, anchor, .. }) = self.open.pop() {
            self.add(node, anchor);
        }
    }

    fn add(&mut self, node: Node, anchor: usize) {
        if anchor > 0 {
            self.anchors.insert(anchor, node.clone());
        }
        let Some(open) = self.open.last_mut() else {
            self.root = Some(node);
            return;
        };
        match &mut open.node.value {
            Value::List(items) => items.push(node),
            Value::Table(entries) => match open.key.take() {
                None => open.key = Some((node.word().unwrap_or_default().to_owned(), node.line)),
                // What is merged counts only where the table does not say otherwise, so it comes first.
                Some((key, _)) if key == "<<" => {
                    entries.splice(0..0, node.entries().iter().cloned());
                }
                Some((key, line)) => entries.push(Entry { key, line, node }),
            },
            _ => {}
        }
    }
}

fn scalar(text: &str, style: ScalarStyle, line: u64) -> Node {
    let value = match text {
        _ if style != ScalarStyle::Plain => Value::Text(text.to_owned()),
        "" | "~" | "null" | "Null" | "NULL" => Value::Null,
        "true" | "True" | "TRUE" => Value::Bool(true),
        "false" | "False" | "FALSE" => Value::Bool(false),
        _ if text.parse::<f64>().is_ok() => Value::Number(text.to_owned()),
        _ => Value::Text(text.to_owned()),
    };
    Node { line, value }
}

/// How many values a value holds, itself included.
fn size(node: &Node) -> usize {
    let items: usize = node.items().iter().map(size).sum();
    let entries: usize = node.entries().iter().map(|entry| size(&entry.node)).sum();
    1 + items + entries
}
