//! Query strings for the engine.

use std::fmt;

use time::OffsetDateTime;

/// The part of a path from `?` on.
#[derive(Debug, Default)]
pub(super) struct Query(String);

impl Query {
    pub(super) fn new() -> Self {
        Self::default()
    }

    /// Adds `name=value`, escaped.
    pub(super) fn add(&mut self, name: &str, value: &str) -> &mut Self {
        self.0.push(if self.0.is_empty() { '?' } else { '&' });
        self.0.push_str(name);
        self.0.push('=');
        self.0.push_str(&escape(value));
        self
    }
}

impl fmt::Display for Query {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Escapes all but letters, digits and `-._~` (RFC 3986).
pub(super) fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => escaped.push(char::from(byte)),
            _ => escaped.push_str(&format!("%{byte:02X}")),
        }
    }
    escaped
}

/// An instant as the engine reads it: seconds and nanoseconds.
pub(super) fn instant(at: OffsetDateTime) -> String {
    format!("{}.{:09}", at.unix_timestamp(), at.nanosecond())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_escaped() {
        let mut query = Query::new();
        query.add("filters", r#"{"id":["a"]}"#).add("ps_args", "-eo pid,args");
        assert_eq!(query.to_string(), "?filters=%7B%22id%22%3A%5B%22a%22%5D%7D&ps_args=-eo%20pid%2Cargs");
    }
}
