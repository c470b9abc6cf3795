//! Reading TOML strictly: every key must be known, and what is wrong is told with its place.
//!
//! ```
//! use aigis_registry::toml_file;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let path = std::path::Path::new("node.toml");
//! let port = toml_file::parse(path, "port = 4222", &["port"], |root| root.integer("port", 1..=u16::MAX))?;
//! assert_eq!(port, Some(4222));
//! let error = toml_file::parse(path, "prot = 4222", &["port"], |_| Ok(())).unwrap_err();
//! assert!(error.to_string().starts_with("node.toml:1:1: unknown key \"prot\"; did you mean \"port\"?"));
//! # Ok(())
//! # }
//! ```

use std::{
    fmt::Display,
    ops::{Range, RangeInclusive},
    path::Path,
};

use aigis_proxy::{
    quoted,
    text_file::{self, Error, place, told},
};
use toml::{
    Spanned,
    de::{DeString, DeTable, DeValue},
};

use crate::resolve::distance;

/// A file's text, for places.
#[derive(Debug, Clone, Copy)]
struct Source<'a> {
    path: &'a Path,
    text: &'a str,
}

impl Source<'_> {
    fn refuse(self, span: &Range<usize>, reason: impl Into<String>) -> Error {
        Error::at(self.path, self.text, span.start, reason)
    }

    /// What the parser refuses; it knows where a key stands again, and not where it stood first.
    fn refuse_syntax(self, error: &toml::de::Error, parsed: &DeTable<'_>) -> Error {
        let span = error.span().unwrap_or(0..0);
        let again = self.text.get(span.clone()).unwrap_or_default();
        let first = (error.message() == "duplicate key").then(|| self.first(parsed, again, span.start)).flatten();
        let Some(first) = first else {
            return self.refuse(&span, told(error.message()));
        };
        let line = |offset| place(self.text, offset).0;
        let key = quoted(again.trim_matches(['"', '\'']));
        let reason = format!(
            "the key \"{key}\" stands there twice: on line {} and on line {}; keep one",
            line(first),
            line(span.start)
        );
        self.refuse(&span, reason)
    }

    /// Where the key that stands at `again` once more stood before.
    fn first(self, parsed: &DeTable<'_>, key: &str, again: usize) -> Option<usize> {
        // Of two tables of one name, the parser keeps the second: the first is in what stands above.
        let above = self.text.get(..again).and_then(|text| text.rfind('\n')).and_then(|end| self.text.get(..=end));
        let above = above.map(|text| DeTable::parse_recoverable(text).0);
        stands(parsed, key, again).or_else(|| stands(above.as_ref()?.get_ref(), key, again))
    }
}

/// Where the last key of that name before `before` stands in a table.
fn stands(table: &DeTable<'_>, name: &str, before: usize) -> Option<usize> {
    let name = name.trim_matches(['"', '\'']);
    let own = table.keys().filter(|key| key.get_ref() == name).map(|key| key.span().start);
    let inner = table.values().filter_map(|value| value.get_ref().as_table()).filter_map(|it| stands(it, name, before));
    own.chain(inner).filter(|start| *start < before).max()
}

/// Reads a file's root table, in which only `known` keys may stand.
///
/// # Errors
///
/// What keeps from reading it; what is no TOML, or stands there twice, or is unknown.
pub fn read<T>(path: &Path, known: &[&str], with: impl FnOnce(Table<'_>) -> Result<T, Error>) -> Result<T, Error> {
    parse(path, &text_file::read(path)?, known, with)
}

/// As [`read`], of a file whose text is there already.
///
/// # Errors
///
/// What is no TOML, or stands there twice, or is unknown.
pub fn parse<T>(
    path: &Path,
    text: &str,
    known: &[&str],
    with: impl FnOnce(Table<'_>) -> Result<T, Error>,
) -> Result<T, Error> {
    let source = Source { path, text };
    let (root, errors) = DeTable::parse_recoverable(text);
    if let Some(error) = errors.first() {
        return Err(source.refuse_syntax(error, root.get_ref()));
    }
    let root = Table { source, name: String::new(), entries: root.get_ref() };
    root.check(known)?;
    with(root)
}

/// A table of the file.
#[derive(Debug, Clone)]
pub struct Table<'a> {
    source: Source<'a>,
    name: String,
    entries: &'a DeTable<'a>,
}

/// What stands in a table under a key that the file's author chose.
#[derive(Debug, Clone)]
pub struct Entry<'a> {
    source: Source<'a>,
    path: String,
    key: &'a Spanned<DeString<'a>>,
    value: &'a Spanned<DeValue<'a>>,
}

impl<'a> Entry<'a> {
    /// The key.
    #[must_use]
    pub fn key(&self) -> &'a str {
        self.key.get_ref()
    }

    /// The line of the key, from 1.
    #[must_use]
    pub fn line(&self) -> usize {
        place(self.source.text, self.key.span().start).0
    }

    /// The value, if it is text.
    #[must_use]
    pub fn as_text(&self) -> Option<&'a str> {
        self.value.get_ref().as_str()
    }

    /// The value as a table in which only `known` keys may stand.
    ///
    /// # Errors
    ///
    /// It is something else, of which `expected` says what to write; a key is unknown.
    pub fn table(&self, known: &[&str], expected: &str) -> Result<Table<'a>, Error> {
        let Some(entries) = self.value.get_ref().as_table() else {
            let kind = self.value.get_ref().type_str();
            return Err(self.refuse(format!("{} is of type {kind}; {expected}", self.path)));
        };
        let table = Table { source: self.source, name: self.path.clone(), entries };
        table.check(known)?;
        Ok(table)
    }

    /// Says that the value cannot be used.
    #[must_use]
    pub fn refuse(&self, reason: impl Into<String>) -> Error {
        self.source.refuse(&self.value.span(), reason)
    }

    /// Says that the key cannot be used.
    #[must_use]
    pub fn refuse_key(&self, reason: impl Into<String>) -> Error {
        self.source.refuse(&self.key.span(), reason)
    }
}

impl<'a> Table<'a> {
    fn check(&self, known: &[&str]) -> Result<(), Error> {
        let unknown = self.entries.iter().filter(|(key, _)| !known.contains(&key.get_ref().as_ref()));
        let Some((key, value)) = unknown.min_by_key(|(key, _)| key.span().start) else {
            return Ok(());
        };
        let what = if value.get_ref().is_table() { "table" } else { "key" };
        let near = known.iter().filter_map(|name| Some((distance(key.get_ref(), name)?, name))).min();
        let near = near.map(|(_, name)| format!("; did you mean \"{name}\"?")).unwrap_or_default();
        let place = if self.name.is_empty() { String::new() } else { format!(" in [{}]", self.name) };
        let shown = quoted(key.get_ref());
        Err(self
            .source
            .refuse(&key.span(), format!("unknown {what} \"{shown}\"{place}{near} (known here: {})", known.join(", "))))
    }

    fn get(&self, key: &str) -> Option<&'a Spanned<DeValue<'a>>> {
        self.entries.get(key)
    }

    fn path(&self, key: &str) -> String {
        if self.name.is_empty() { quoted(key) } else { format!("{}.{}", self.name, quoted(key)) }
    }

    fn wrong_type(&self, key: &str, value: &Spanned<DeValue<'_>>, expected: &str) -> Error {
        let kind = value.get_ref().type_str();
        self.source.refuse(&value.span(), format!("{} is of type {kind}; {expected}", self.path(key)))
    }

    /// Says that the value of that key cannot be used.
    #[must_use]
    pub fn refuse(&self, key: &str, reason: impl Display) -> Error {
        let span = self.get(key).map(Spanned::span).unwrap_or_default();
        self.source.refuse(&span, format!("{}: {reason}", self.path(key)))
    }

    /// The table of that key, in which only `known` keys may stand.
    ///
    /// # Errors
    ///
    /// It is something else, or has an unknown key.
    pub fn table(&self, key: &str, known: Option<&[&str]>) -> Result<Option<Self>, Error> {
        let Some(value) = self.get(key) else { return Ok(None) };
        let entries = value.get_ref().as_table().ok_or_else(|| self.wrong_type(key, value, "write it as a table"))?;
        let table = Self { source: self.source, name: self.path(key), entries };
        known.map_or(Ok(()), |known| table.check(known))?;
        Ok(Some(table))
    }

    /// The text of that key, as `read` takes it.
    ///
    /// # Errors
    ///
    /// It is no text, or `read` refuses it.
    pub fn text<T, E: Display>(&self, key: &str, read: impl FnOnce(&str) -> Result<T, E>) -> Result<Option<T>, Error> {
        let Some(value) = self.get(key) else { return Ok(None) };
        let text = value.get_ref().as_str().ok_or_else(|| self.wrong_type(key, value, "write text in quotes"))?;
        read(text).map(Some).map_err(|reason| self.refuse(key, reason))
    }

    /// The texts of that key's array, each as `read` takes it.
    ///
    /// # Errors
    ///
    /// It is no array of texts, or `read` refuses one.
    pub fn texts<T, E: Display>(
        &self,
        key: &str,
        read: impl Fn(&str) -> Result<T, E>,
    ) -> Result<Option<Vec<T>>, Error> {
        const EXPECTED: &str = "write texts in quotes, between [ and ]";
        let Some(value) = self.get(key) else { return Ok(None) };
        let items = value.get_ref().as_array().ok_or_else(|| self.wrong_type(key, value, EXPECTED))?;
        let one = |item: &Spanned<DeValue<'_>>| {
            let text = item.get_ref().as_str().ok_or_else(|| self.wrong_type(key, item, EXPECTED))?;
            read(text).map_err(|reason| self.source.refuse(&item.span(), format!("{}: {reason}", self.path(key))))
        };
        items.iter().map(one).collect::<Result<_, _>>().map(Some)
    }

    /// The truth value of that key.
    ///
    /// # Errors
    ///
    /// It is something else.
    pub fn flag(&self, key: &str) -> Result<Option<bool>, Error> {
        let Some(value) = self.get(key) else { return Ok(None) };
        let read = value.get_ref().as_bool();
        read.map(Some).ok_or_else(|| self.wrong_type(key, value, "write true or false, without quotes"))
    }

    /// The whole number of that key.
    ///
    /// # Errors
    ///
    /// It is something else, or out of the range.
    pub fn integer<T>(&self, key: &str, range: RangeInclusive<T>) -> Result<Option<T>, Error>
    where
        T: TryFrom<i64> + PartialOrd + Display,
    {
        let Some(value) = self.get(key) else { return Ok(None) };
        let expected = format!("write a whole number from {} to {}, without quotes", range.start(), range.end());
        let number = value.get_ref().as_integer().ok_or_else(|| self.wrong_type(key, value, &expected))?;
        let read = i64::from_str_radix(number.as_str(), number.radix()).ok();
        let read = read.and_then(|number| T::try_from(number).ok()).filter(|number| range.contains(number));
        read.map(Some)
            .ok_or_else(|| self.refuse(key, format!("{} is out of range; {expected}", quoted(number.as_str()))))
    }

    /// The number of that key, which need not be a whole one.
    ///
    /// # Errors
    ///
    /// It is something else, or out of the range.
    pub fn number(&self, key: &str, range: RangeInclusive<f64>) -> Result<Option<f64>, Error> {
        let Some(value) = self.get(key) else { return Ok(None) };
        let expected = format!("write a number from {} to {}, without quotes", range.start(), range.end());
        let text = match value.get_ref() {
            DeValue::Integer(number) if number.radix() == 10 => number.as_str(),
            DeValue::Float(number) => number.as_str(),
            _ => return Err(self.wrong_type(key, value, &expected)),
        };
        let read = text.parse::<f64>().ok().filter(|number| range.contains(number));
        read.map(Some).ok_or_else(|| self.refuse(key, format!("{} is out of range; {expected}", quoted(text))))
    }

    /// Whether the key stands there.
    #[must_use]
    pub fn has(&self, key: &str) -> bool {
        self.get(key).is_some()
    }

    /// What stands there, in the order of the file.
    #[must_use]
    pub fn entries(&self) -> Vec<Entry<'a>> {
        let entry = |(key, value): (&'a Spanned<DeString<'a>>, _)| Entry {
            source: self.source,
            path: self.path(key.get_ref()),
            key,
            value,
        };
        let mut entries: Vec<Entry<'a>> = self.entries.iter().map(entry).collect();
        entries.sort_by_key(|entry| entry.key.span().start);
        entries
    }
}
