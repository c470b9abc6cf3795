//! The values of an `AIGIS.config` by their keys, each of its type.

use std::collections::BTreeMap;

use aigis_proxy::{quoted, text_file};

use super::{
    paths::Paths,
    value::{Binding, Fault, Node, Value},
};

/// The file's bindings, and what was odd about them.
#[derive(Debug)]
pub(super) struct Reader<'a> {
    text: &'a str,
    bindings: BTreeMap<&'a str, &'a Binding>,
    pub(super) paths: Paths<'a>,
    pub(super) warnings: Vec<String>,
}

impl<'a> Reader<'a> {
    /// Of a name that has two values, the last one counts.
    pub(super) fn new(text: &'a str, bindings: &'a [Binding], paths: Paths<'a>) -> Self {
        let bindings = bindings.iter().map(|binding| (binding.name.as_str(), binding)).collect();
        Self { text, bindings, paths, warnings: Vec::new() }
    }

    /// The value of a key.
    pub(super) fn get(&self, key: &str) -> Option<&'a Node> {
        self.bindings.get(key).map(|binding| &binding.node)
    }

    /// All names.
    pub(super) fn names(&self) -> impl Iterator<Item = &'a str> {
        self.bindings.keys().copied()
    }

    /// The line of a key.
    pub(super) fn line(&self, key: &str) -> usize {
        self.bindings.get(key).map_or(0, |binding| text_file::place(self.text, binding.at).0)
    }

    /// Says what is odd about a key.
    pub(super) fn warn(&mut self, key: &str, what: impl std::fmt::Display) {
        self.warnings.push(format!("line {}: {key}: {what}", self.line(key)));
    }

    /// What is missing, told where the file ends.
    pub(super) fn missing(&self, key: &str) -> Fault {
        Fault::new(self.text.trim_end().len(), format!("{key} is missing: write {key} = …"))
    }

    /// Says that a value cannot be used.
    pub(super) fn refuse(key: &str, node: &Node, reason: impl std::fmt::Display) -> Fault {
        Fault::new(node.at, format!("{key}: {reason}"))
    }

    fn wrong(key: &str, node: &Node, expected: &str) -> Fault {
        Self::refuse(key, node, format!("this is {}; {expected}", node.value.kind()))
    }

    /// A text.
    pub(super) fn text<'n>(key: &str, node: &'n Node) -> Result<&'n str, Fault> {
        match &node.value {
            Value::Text(text) => Ok(text),
            _ => Err(Self::wrong(key, node, "write text in quotes")),
        }
    }

    /// A list of texts, or a tuple of them.
    pub(super) fn texts<'n>(key: &str, node: &'n Node) -> Result<Vec<(&'n Node, &'n str)>, Fault> {
        match &node.value {
            Value::List(items) | Value::Tuple(items) => {
                items.iter().map(|item| Ok((item, Self::text(key, item)?))).collect()
            }
            _ => Err(Self::wrong(key, node, "write a list of texts")),
        }
    }

    /// The entries of a dict whose keys are texts.
    pub(super) fn dict<'n>(key: &str, node: &'n Node) -> Result<Vec<(&'n Node, &'n str, &'n Node)>, Fault> {
        match &node.value {
            Value::Dict(items) => items.iter().map(|(name, value)| Ok((name, Self::text(key, name)?, value))).collect(),
            _ => Err(Self::wrong(key, node, "write a dict")),
        }
    }

    /// A truth value.
    pub(super) fn flag(key: &str, node: &Node) -> Result<bool, Fault> {
        match node.value {
            Value::Bool(value) => Ok(value),
            _ => Err(Self::wrong(key, node, "write True or False")),
        }
    }

    /// A whole number within a range.
    pub(super) fn whole(key: &str, node: &Node, least: i64, most: i64) -> Result<i64, Fault> {
        let expected = format!("write a whole number from {least} to {most}");
        match node.value {
            Value::Integer(number) => number
                .filter(|number| (least..=most).contains(number))
                .ok_or_else(|| Self::refuse(key, node, format!("it is out of range; {expected}"))),
            _ => Err(Self::wrong(key, node, &expected)),
        }
    }

    /// A time in seconds.
    pub(super) fn seconds(key: &str, node: &Node, most: f64) -> Result<std::time::Duration, Fault> {
        let expected = format!("write seconds, more than 0 and at most {most}");
        let seconds = match node.value {
            Value::Integer(number) => number.map_or(f64::INFINITY, |number| number as f64),
            Value::Float(number) => number,
            _ => return Err(Self::wrong(key, node, &expected)),
        };
        let time =
            std::time::Duration::try_from_secs_f64(seconds).ok().filter(|time| !time.is_zero() && seconds <= most);
        time.ok_or_else(|| Self::refuse(key, node, format!("it is out of range; {expected}")))
    }

    /// One of some words.
    pub(super) fn word<T: Copy>(key: &str, node: &Node, words: &[(&str, T)]) -> Result<T, Fault> {
        let text = Self::text(key, node)?;
        let found = words.iter().find(|(word, _)| *word == text);
        found.map(|(_, value)| *value).ok_or_else(|| {
            let known: Vec<String> = words.iter().map(|(word, _)| format!("\"{word}\"")).collect();
            Self::refuse(key, node, format!("\"{}\" is none of {}", quoted(text), known.join(", ")))
        })
    }
}
