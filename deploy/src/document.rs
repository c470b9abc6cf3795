//! Documents of a tree, parsed once, each value with its line: JSON with comments, JSON5, TOML and YAML become the same
//! [`Node`]; XML becomes an [`Element`].

mod data;
mod json;
mod toml;
mod xml;
mod yaml;

pub(crate) use data::{Entry, Node, Value};
pub(crate) use xml::Element;

/// Most levels of lists and tables in a document; one with more is refused, because parsers recurse.
const DEPTH: usize = 128;

/// Of which form a document is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    /// JSON, with comments, trailing commas and the loose forms of JSON5.
    Json,
    /// TOML.
    Toml,
    /// YAML.
    Yaml,
    /// XML.
    Xml,
}

/// What a file was parsed to.
#[derive(Debug, Clone)]
pub(crate) enum Document {
    /// Of JSON, TOML and YAML.
    Data(Node),
    /// Of XML: its root.
    Markup(Element),
}

/// Why a file is not what its name says.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub(crate) struct Refused {
    /// The line at which its parser stopped, from 1.
    pub(crate) line: u64,
    /// What the parser says.
    pub(crate) message: String,
}

/// Parses a text.
///
/// # Errors
///
/// Where it is not of that form, or is nested deeper than 128 levels.
pub(crate) fn parse(text: &str, form: Form) -> Result<Document, Refused> {
    let parsed = match form {
        Form::Json => json::parse(text).map(Document::Data),
        Form::Toml => toml::parse(text).map(Document::Data),
        Form::Yaml => yaml::parse(text).map(Document::Data),
        Form::Xml => xml::parse(text).map(Document::Markup),
    };
    // What is missing at the end is missing in the last line.
    let last = text.lines().count().max(1) as u64;
    parsed.map_err(|refused| Refused { line: refused.line.clamp(1, last), ..refused })
}

/// The lines of a text, by the bytes at which they begin.
struct Lines(Vec<usize>);

impl Lines {
    fn of(text: &str) -> Self {
        let after = text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n').map(|(at, _)| at + 1);
        Self(std::iter::once(0).chain(after).collect())
    }

    /// The line in which that byte stands, from 1.
    fn at(&self, byte: usize) -> u64 {
        self.0.partition_point(|start| *start <= byte) as u64
    }
}

/// Refuses what is nested too deeply in brackets. A string ends with its line, so that one that is not closed hides no
/// more than that line.
fn shallow(text: &str) -> Result<(), Refused> {
    let (mut depth, mut line, mut quote, mut escaped) = (0_usize, 1, None, false);
    for byte in text.bytes() {
        match (quote, byte) {
            (_, b'\n') => (line, quote, escaped) = (line + 1, None, false),
            (Some(_), _) if escaped => escaped = false,
            (Some(b'"'), b'\\') => escaped = true,
            (Some(open), _) if open == byte => quote = None,
            (None, b'"' | b'\'') => quote = Some(byte),
            (None, b'[' | b'{') => depth += 1,
            (None, b']' | b'}') => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth > DEPTH {
            return Err(Refused { line, message: format!("it is nested deeper than {DEPTH} levels") });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
