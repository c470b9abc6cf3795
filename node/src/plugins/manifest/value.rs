//! The values of an `AIGIS.config`, whichever of its two forms it has.

/// A value, and where in the file it stands.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Node {
    pub(super) at: usize,
    pub(super) value: Value,
}

/// What a literal can be.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Value {
    None,
    Bool(bool),
    /// `None` where the number is beyond 64 bits, which no key takes.
    Integer(Option<i64>),
    Float(f64),
    Text(String),
    List(Vec<Node>),
    Tuple(Vec<Node>),
    Dict(Vec<(Node, Node)>),
    /// A date of TOML, which no key takes.
    Date,
}

/// A name that is given a value.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Binding {
    pub(super) name: String,
    pub(super) at: usize,
    pub(super) node: Node,
}

/// What is wrong, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Fault {
    pub(super) at: usize,
    pub(super) reason: String,
}

impl Fault {
    pub(super) fn new(at: usize, reason: impl Into<String>) -> Self {
        Self { at, reason: reason.into() }
    }
}

impl Value {
    /// The word for what it is.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::None => "None",
            Self::Bool(_) => "a truth value",
            Self::Integer(_) => "a whole number",
            Self::Float(_) => "a number",
            Self::Text(_) => "a string",
            Self::List(_) => "a list",
            Self::Tuple(_) => "a tuple",
            Self::Dict(_) => "a dict",
            Self::Date => "a date",
        }
    }

    /// How much memory it takes, about.
    pub(super) fn weight(&self) -> usize {
        let inner = match self {
            Self::Text(text) => text.len(),
            Self::List(items) | Self::Tuple(items) => items.iter().map(|node| node.value.weight()).sum(),
            Self::Dict(items) => items.iter().map(|(key, node)| key.value.weight() + node.value.weight()).sum(),
            _ => 0,
        };
        inner + size_of::<Node>()
    }
}
