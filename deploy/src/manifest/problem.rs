//! What is wrong with a manifest.

use std::fmt;

use aigis_registry::resolve::distance;
use serde::Serialize;

use crate::json::{Document, Node, step};

/// After so many problems no more are looked for: whoever has as many begins with these.
const MOST: usize = 1000;

/// What kind of problem it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ProblemCode {
    /// It is no strict JSON.
    Json,
    /// A key that nobody reads.
    UnknownKey,
    /// A key that has to be there is not.
    Missing,
    /// Another type of value is due.
    Type,
    /// A number is too small or too large.
    Range,
    /// A text is not of the form that is due.
    Pattern,
    /// Something that may stand once stands twice.
    Duplicate,
    /// A name of something that is not there.
    UnknownReference,
    /// Things depend on each other in a circle.
    Cycle,
    /// Something comes before what it stands on.
    Order,
    /// A list of all lacks one.
    NotCovered,
    /// There is no such file or directory.
    PathMissing,
    /// A path leads out of the project, or out of where it is to stay.
    PathEscape,
    /// Two things that cannot both be.
    Conflict,
    /// What a later part will bring.
    LaterPart,
    /// A secret may stand in the open: a warning.
    SecretValue,
}

impl fmt::Display for ProblemCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.serialize(f)
    }
}

/// One problem, and where it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// The value that it is about, as a JSON pointer (RFC 6901).
    pub pointer: String,
    /// What kind of problem it is.
    pub code: ProblemCode,
    /// What is wrong.
    pub message: String,
    /// The line, from 1: that of the value or its key; of a key that is missing, that of its object.
    pub line: usize,
    /// Where in the line, in characters from 1.
    pub column: usize,
    /// What to do.
    pub hint: Option<String>,
}

/// Problems of a document, as they are found.
#[derive(Debug)]
pub(super) struct Problems<'a> {
    document: &'a Document,
    pub(super) found: Vec<Problem>,
}

impl<'a> Problems<'a> {
    pub(super) fn of(document: &'a Document) -> Self {
        Self { document, found: Vec::new() }
    }

    /// Whether no more are looked for.
    pub(super) fn is_full(&self) -> bool {
        self.found.len() >= MOST
    }

    /// Says that something is wrong with a value.
    pub(super) fn add(&mut self, at: &At<'_>, code: ProblemCode, message: impl Into<String>, hint: impl Into<Hint>) {
        self.place(at.pointer.clone(), at.byte, code, message.into(), hint.into());
    }

    /// Says that something is wrong with what is to stand under a key of an object, whether it does or not.
    pub(super) fn add_key(
        &mut self,
        at: &At<'_>,
        key: &str,
        code: ProblemCode,
        message: impl Into<String>,
        hint: impl Into<Hint>,
    ) {
        let byte = at.get(key).map_or(at.byte, |value| value.byte);
        self.place(format!("{}/{}", at.pointer, step(key)), byte, code, message.into(), hint.into());
    }

    fn place(&mut self, pointer: String, byte: usize, code: ProblemCode, message: String, Hint(hint): Hint) {
        if self.is_full() {
            return;
        }
        let (line, column) = self.document.place(byte);
        self.found.push(Problem { pointer, code, message, line, column, hint });
    }
}

/// What to do about a problem, if that is not plain.
#[derive(Debug)]
pub(super) struct Hint(Option<String>);

impl From<&str> for Hint {
    fn from(text: &str) -> Self {
        Self((!text.is_empty()).then(|| text.to_owned()))
    }
}

impl From<String> for Hint {
    fn from(text: String) -> Self {
        text.as_str().into()
    }
}

impl From<Option<String>> for Hint {
    fn from(text: Option<String>) -> Self {
        Self(text)
    }
}

/// The one of some words that is most like another.
pub(super) fn nearest<'a>(wanted: &str, words: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    words.into_iter().filter_map(|word| Some((distance(wanted, word)?, word))).min().map(|(_, word)| word)
}

/// The hint that names the nearest word, else all there are.
pub(super) fn did_you_mean<'a>(wanted: &str, words: impl IntoIterator<Item = &'a str> + Clone) -> String {
    if let Some(word) = nearest(wanted, words.clone()) {
        return format!("did you mean {word}?");
    }
    let all: Vec<&str> = words.into_iter().collect();
    if all.is_empty() { "there is none".to_owned() } else { format!("known: {}", all.join(", ")) }
}

/// The word that such a hint names.
pub(super) fn meant(hint: &str) -> Option<&str> {
    hint.strip_prefix("did you mean ")?.strip_suffix('?')
}

/// A value of the document, with the way to it.
#[derive(Debug, Clone)]
pub(super) struct At<'a> {
    pub(super) node: &'a Node,
    pub(super) pointer: String,
    /// Where to point at: its key in an object, or itself.
    byte: usize,
}

impl<'a> At<'a> {
    pub(super) fn root(node: &'a Node) -> Self {
        Self { node, pointer: String::new(), byte: node.at }
    }

    /// What stands there under that key.
    pub(super) fn get(&self, key: &str) -> Option<Self> {
        self.members().find(|(name, _)| *name == key).map(|(_, at)| at)
    }

    /// What stands there under its keys.
    pub(super) fn members(&self) -> impl Iterator<Item = (&'a str, Self)> + use<'a> {
        let pointer = self.pointer.clone();
        self.node.members().iter().map(move |member| {
            let pointer = format!("{pointer}/{}", step(&member.key));
            (member.key.as_str(), Self { node: &member.value, pointer, byte: member.at })
        })
    }

    /// What stands there under the keys of what stands there under that key.
    pub(super) fn members_of(&self, key: &str) -> Vec<(&'a str, Self)> {
        self.get(key).map(|at| at.members().collect()).unwrap_or_default()
    }

    /// The items of the list under that key; a value that is no list is its only item.
    pub(super) fn items_of(&self, key: &str) -> Vec<Self> {
        let Some(list) = self.get(key) else { return Vec::new() };
        if list.node.items().is_empty() {
            return list.text().is_some().then_some(list).into_iter().collect();
        }
        list.items().collect()
    }

    /// Its items.
    pub(super) fn items(&self) -> impl Iterator<Item = Self> + use<'a> {
        let pointer = self.pointer.clone();
        let items = self.node.items().iter().enumerate();
        items.map(move |(index, node)| Self { node, pointer: format!("{pointer}/{index}"), byte: node.at })
    }

    /// The text that it is.
    pub(super) fn text(&self) -> Option<&'a str> {
        self.node.text()
    }

    /// The text under that key.
    pub(super) fn text_of(&self, key: &str) -> Option<&'a str> {
        self.node.get(key)?.text()
    }

    /// Whether something stands there under that key.
    pub(super) fn has(&self, key: &str) -> bool {
        self.node.get(key).is_some()
    }
}
