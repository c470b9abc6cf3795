//! Variables in the words of a Dockerfile.

use std::collections::BTreeMap;

/// A word with its variables replaced, `$NAME`, `${NAME}` and `${NAME:-usual}`, without the quotes around it; nothing if
/// one of them has no value.
///
/// ```
/// use std::collections::BTreeMap;
///
/// let values = BTreeMap::from([("V".to_owned(), "3".to_owned())]);
/// assert_eq!(aigis_registry::dockerfile::expanded("py:${V}-slim", &values).as_deref(), Some("py:3-slim"));
/// assert_eq!(aigis_registry::dockerfile::expanded("py:$NONE", &values), None);
/// ```
#[must_use]
pub fn expanded(word: &str, values: &BTreeMap<String, String>) -> Option<String> {
    let (mut out, mut rest) = (String::new(), word.trim_matches(['"', '\'']));
    while let Some((before, after)) = rest.split_once('$') {
        out.push_str(before);
        let (name, usual, tail) = match after.strip_prefix('{') {
            Some(inner) => {
                let (inside, tail) = inner.split_once('}')?;
                let (name, usual) = inside.split_once(":-").unwrap_or((inside, ""));
                (name, usual, tail)
            }
            None => {
                let end = after.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(after.len());
                let (name, tail) = after.split_at(end);
                (name, "", tail)
            }
        };
        let value = values.get(name).map(String::as_str).filter(|value| !value.is_empty()).unwrap_or(usual);
        if value.is_empty() {
            return None;
        }
        out.push_str(value);
        rest = tail;
    }
    out.push_str(rest);
    (!out.is_empty()).then_some(out)
}
