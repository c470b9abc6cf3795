//! XML, as project files of builds have it.

use super::{DEPTH, Refused};

/// An element.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Element {
    /// Its name without its namespace.
    pub(crate) name: String,
    /// The line at which it begins, from 1.
    pub(crate) line: u64,
    /// Its attributes, without namespaces.
    pub(crate) attributes: Vec<(String, String)>,
    /// The text directly in it, without white space around it.
    pub(crate) text: String,
    /// The elements in it.
    pub(crate) children: Vec<Self>,
}

impl Element {
    /// The first child of that name.
    pub(crate) fn child(&self, name: &str) -> Option<&Self> {
        self.children.iter().find(|child| child.name == name)
    }

    /// The children of that name.
    pub(crate) fn children<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a Self> {
        self.children.iter().filter(move |child| child.name == name)
    }

    /// The first element at the end of that path of names.
    pub(crate) fn at(&self, path: &[&str]) -> Option<&Self> {
        path.iter().try_fold(self, |element, name| element.child(name))
    }

    /// The value of an attribute.
    pub(crate) fn attribute(&self, name: &str) -> Option<&str> {
        self.attributes.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }
}

/// Parses a text.
pub(super) fn parse(text: &str) -> Result<Element, Refused> {
    shallow(text)?;
    // With a declaration of its document type it is taken apart as well: entities have their own limit in the parser.
    let options = roxmltree::ParsingOptions { allow_dtd: true, nodes_limit: 200_000 };
    let document = roxmltree::Document::parse_with_options(text, options)
        .map_err(|error| Refused { line: u64::from(error.pos().row), message: error.to_string() })?;
    Ok(element(document.root_element()))
}

fn element(node: roxmltree::Node<'_, '_>) -> Element {
    let texts = node.children().filter(roxmltree::Node::is_text).filter_map(|child| child.text());
    Element {
        name: node.tag_name().name().to_owned(),
        line: u64::from(node.document().text_pos_at(node.range().start).row),
        attributes: node.attributes().map(|one| (one.name().to_owned(), one.value().to_owned())).collect(),
        text: texts.collect::<String>().trim().to_owned(),
        children: node.children().filter(roxmltree::Node::is_element).map(element).collect(),
    }
}

/// Refuses what is nested too deeply: more elements begin than end or are empty.
fn shallow(text: &str) -> Result<(), Refused> {
    let (mut depth, mut line) = (0_usize, 1);
    let mut before = b' ';
    for pair in text.as_bytes().windows(2) {
        match pair {
            [b'\n', _] => line += 1,
            [b'<', b'/'] => depth = depth.saturating_sub(1),
            [b'<', next] if next.is_ascii_alphabetic() => depth += 1,
            [b'/', b'>'] if before != b'<' => depth = depth.saturating_sub(1),
            _ => {}
        }
        before = pair.first().copied().unwrap_or(b' ');
        if depth > DEPTH {
            return Err(Refused { line, message: format!("it is nested deeper than {DEPTH} levels") });
        }
    }
    Ok(())
}
