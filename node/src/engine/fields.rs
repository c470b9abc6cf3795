//! Reading an engine's JSON as hostile: an absent field is nothing, one of the wrong type is nothing and a note.

use std::cell::RefCell;

use serde_json::{Map, Value};
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

/// A JSON object with the path that led to it, and the place where notes are kept.
#[derive(Debug, Clone)]
pub(super) struct Fields<'a> {
    value: Option<&'a Map<String, Value>>,
    path: String,
    notes: &'a RefCell<Vec<String>>,
}

/// Most notes that one answer can make.
const MAX_NOTES: usize = 20;

impl<'a> Fields<'a> {
    pub(super) fn new(value: &'a Value, notes: &'a RefCell<Vec<String>>) -> Self {
        Self { value: value.as_object(), path: String::new(), notes }
    }

    fn note(&self, name: &str, wanted: &str) {
        let mut notes = self.notes.borrow_mut();
        if notes.len() < MAX_NOTES {
            notes.push(format!("the engine's {}{name} is no {wanted}", self.path));
        }
    }

    /// The field, unless it is absent or null.
    pub(super) fn get(&self, name: &str) -> Option<&'a Value> {
        self.value.and_then(|map| map.get(name)).filter(|value| !value.is_null())
    }

    fn typed<T>(&self, name: &str, wanted: &str, read: impl FnOnce(&'a Value) -> Option<T>) -> Option<T> {
        let value = self.get(name)?;
        let found = read(value);
        if found.is_none() {
            self.note(name, wanted);
        }
        found
    }

    /// The object of that name; an empty one if it is absent.
    pub(super) fn object(&self, name: &str) -> Self {
        let value = self.typed(name, "object", Value::as_object);
        Self { value, path: format!("{}{name}.", self.path), notes: self.notes }
    }

    /// The members of the object of that name.
    pub(super) fn entries(&self, name: &str) -> Vec<(&'a String, &'a Value)> {
        self.typed(name, "object", Value::as_object).map(|map| map.iter().collect()).unwrap_or_default()
    }

    pub(super) fn array(&self, name: &str) -> &'a [Value] {
        self.typed(name, "array", Value::as_array).map_or(&[], Vec::as_slice)
    }

    pub(super) fn text(&self, name: &str) -> Option<String> {
        self.typed(name, "text", Value::as_str).map(str::to_owned)
    }

    /// The text, unless it is empty.
    pub(super) fn words(&self, name: &str) -> Option<String> {
        self.text(name).filter(|text| !text.is_empty())
    }

    pub(super) fn flag(&self, name: &str) -> Option<bool> {
        self.typed(name, "truth value", Value::as_bool)
    }

    pub(super) fn integer(&self, name: &str) -> Option<i64> {
        self.typed(name, "whole number", Value::as_i64)
    }

    /// A number over 0: the engine writes 0 or -1 for "none".
    pub(super) fn positive(&self, name: &str) -> Option<u64> {
        self.integer(name).and_then(|number| u64::try_from(number).ok()).filter(|number| *number > 0)
    }

    /// The texts in the array of that name; others are passed over.
    pub(super) fn texts(&self, name: &str) -> Vec<String> {
        self.array(name).iter().filter_map(Value::as_str).map(str::to_owned).collect()
    }

    /// An instant; the engine writes the year 1 for "never".
    pub(super) fn instant(&self, name: &str) -> Option<OffsetDateTime> {
        let text = self.words(name)?;
        match OffsetDateTime::parse(&text, &Rfc3339) {
            Ok(at) => (at.year() > 1).then_some(at),
            Err(_) => {
                self.note(name, "instant");
                None
            }
        }
    }

    /// The texts of the object of that name, by key.
    pub(super) fn map(&self, name: &str) -> std::collections::BTreeMap<String, String> {
        self.entries(name)
            .into_iter()
            .filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned())))
            .collect()
    }
}
