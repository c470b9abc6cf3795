//! JSON of people, read strictly and with places; and the one form of a value that is hashed.
//!
//! ```
//! use aigis_deploy::json;
//!
//! let read = json::read(br#"{"b": 8e3, "a": "\u20ac"}"#);
//! let document = read.document.expect("it is JSON");
//! assert_eq!(json::canonical(&document.root.value()), r#"{"a":"€","b":8000}"#.as_bytes());
//!
//! let read = json::read(b"{\"a\": 1,\n \"a\": 2}");
//! assert_eq!((read.flaws[0].line, read.flaws[0].pointer.as_str()), (2, "/a"));
//! ```

use serde_json::{Map, Number, Value};

mod canonical;
mod node;
mod read;

pub use canonical::canonical;
pub use node::{Kind, Member, Node};
pub use read::{MAX_BYTES, MAX_DEPTH, read};

/// What reading gave: the document as far as it could be read, and all that is wrong with it.
///
/// Without a flaw there is a document.
#[derive(Debug, Clone)]
pub struct Read {
    /// The document; absent where reading could not go on after a flaw.
    pub document: Option<Document>,
    /// What is wrong, in the order of the text.
    pub flaws: Vec<Flaw>,
}

/// What breaks a rule of the reader.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Flaw {
    /// The value that it is in, as a JSON pointer (RFC 6901).
    pub pointer: String,
    /// Where, from 1.
    pub line: usize,
    /// Where in the line, in characters from 1.
    pub column: usize,
    /// What is wrong.
    pub message: String,
    /// What to do.
    pub hint: &'static str,
}

/// A JSON text that was read.
#[derive(Debug, Clone)]
pub struct Document {
    /// Its value.
    pub root: Node,
    places: Places,
}

impl Document {
    /// The line, and the column in characters, of a byte of the text; both from 1.
    #[must_use]
    pub fn place(&self, byte: usize) -> (usize, usize) {
        self.places.of(byte)
    }
}

/// Lines of a text.
#[derive(Debug, Clone)]
struct Places {
    text: String,
    /// The byte at which each line begins.
    lines: Vec<usize>,
}

impl Places {
    fn new(text: &str) -> Self {
        let ends = text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n');
        let lines = std::iter::once(0).chain(ends.map(|(index, _)| index + 1)).collect();
        Self { text: text.to_owned(), lines }
    }

    fn of(&self, byte: usize) -> (usize, usize) {
        let line = self.lines.partition_point(|start| *start <= byte).max(1);
        let start = self.lines.get(line - 1).copied().unwrap_or_default();
        let column = self.text.get(start..byte).map_or(0, |before| before.chars().count());
        (line, column + 1)
    }
}

/// A step of a JSON pointer with what has a meaning there escaped.
#[must_use]
pub fn step(key: &str) -> String {
    key.replace('~', "~0").replace('/', "~1")
}
