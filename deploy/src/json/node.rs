//! Values that know where they stand.

use super::{Map, Number, Value};

/// A value, and where it stands.
#[derive(Debug, Clone, PartialEq)]
pub struct Node {
    /// The byte at which it begins.
    pub at: usize,
    /// What it is.
    pub kind: Kind,
}

/// What a value is.
#[derive(Debug, Clone, PartialEq)]
pub enum Kind {
    /// `null`.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// A number. Whatever has the value of an integer of at most 2⁵³ is one, however it is written.
    Number(Number),
    /// A text.
    Text(String),
    /// An array.
    List(Vec<Node>),
    /// An object, its members in the order of the text; of a doubled key the first.
    Object(Vec<Member>),
    /// Something that breaks a rule of the reader, of which a flaw tells.
    Flawed,
}

/// A member of an object.
#[derive(Debug, Clone, PartialEq)]
pub struct Member {
    /// Its key.
    pub key: String,
    /// The byte at which the key begins.
    pub at: usize,
    /// Its value.
    pub value: Node,
}

impl Node {
    /// The same without places.
    #[must_use]
    pub fn value(&self) -> Value {
        match &self.kind {
            Kind::Null | Kind::Flawed => Value::Null,
            Kind::Bool(flag) => Value::Bool(*flag),
            Kind::Number(number) => Value::Number(number.clone()),
            Kind::Text(text) => Value::String(text.clone()),
            Kind::List(items) => items.iter().map(Self::value).collect(),
            Kind::Object(members) => {
                let pairs = members.iter().map(|member| (member.key.clone(), member.value.value()));
                Value::Object(pairs.collect::<Map<_, _>>())
            }
        }
    }

    /// The text that it is.
    #[must_use]
    pub fn text(&self) -> Option<&str> {
        match &self.kind {
            Kind::Text(text) => Some(text),
            _ => None,
        }
    }

    /// Its items, if it is an array.
    #[must_use]
    pub fn items(&self) -> &[Self] {
        match &self.kind {
            Kind::List(items) => items,
            _ => &[],
        }
    }

    /// Its members, if it is an object.
    #[must_use]
    pub fn members(&self) -> &[Member] {
        match &self.kind {
            Kind::Object(members) => members,
            _ => &[],
        }
    }

    /// What stands there under that key.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&Self> {
        self.members().iter().find(|member| member.key == key).map(|member| &member.value)
    }
}
