//! One strict reader for JSON from elsewhere: bounded depth, no doubled keys, no number that would lose value.
//!
//! A scan for depth comes before any value is built, so hostile nesting costs one pass over the bytes and no memory.

use std::fmt;

use serde::de::{self, DeserializeSeed, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value, value::RawValue};

use crate::error::Error;

mod skim;
mod write;

pub(crate) use skim::Sound;
use write::plain;
pub(crate) use write::{buffer, to_bytes, write, write_array, write_object};

/// Deepest nesting of arrays and objects that is read.
pub const MAX_DEPTH: usize = 128;

/// Reads one JSON value strictly.
///
/// # Errors
///
/// `invalid_argument` that names the byte offset, or the JSON path, and the rule.
pub fn read(bytes: &[u8]) -> Result<Value, Error> {
    read_saturating(bytes, &[])
}

/// Reads one JSON value strictly, but takes a number too large for 64 bits at the path `saturating` as the largest:
/// for budgets, where too much means all there is.
///
/// # Errors
///
/// As [`read`].
pub(crate) fn read_saturating(bytes: &[u8], saturating: &[&str]) -> Result<Value, Error> {
    if bytes.starts_with(&[0xEF, 0xBB, 0xBF]) {
        return Err(Error::invalid("the body begins with a byte order mark at byte 0; send plain UTF-8"));
    }
    let text = std::str::from_utf8(bytes).map_err(|error| {
        let at = error.valid_up_to();
        Error::invalid(format!("the body is not UTF-8 at byte {at}"))
    })?;
    scan(bytes).map_err(|index| {
        Error::invalid(format!(
            "the body nests deeper than {MAX_DEPTH} levels at byte {index}; the depth limit is {MAX_DEPTH}"
        ))
    })?;
    strict(text, saturating).map_err(|flaw| {
        let offset = flaw.offset(bytes);
        Error::invalid(format!("the body is not usable JSON at byte {offset}{}", flaw.reason(bytes, offset)))
    })
}

/// Goes over a body by the rules of [`read`] as far as `take` asks for them; `None` for one that breaks them, of which
/// [`read`] says how.
pub(crate) fn skim<'a, T>(
    bytes: &'a [u8],
    take: impl FnOnce(&mut serde_json::Deserializer<serde_json::de::StrRead<'a>>) -> serde_json::Result<T>,
) -> Option<T> {
    let text = std::str::from_utf8(bytes).ok()?;
    scan(bytes).ok()?;
    let mut deserializer = serde_json::Deserializer::from_str(text);
    deserializer.disable_recursion_limit();
    let taken = take(&mut deserializer).ok()?;
    deserializer.end().ok()?;
    Some(taken)
}

/// Checks the JSON of a file by the same rules; what is wrong comes with line and column, from 1.
///
/// # Errors
///
/// The line, the column, and what is wrong there.
pub(crate) fn check(text: &str) -> Result<(), (usize, usize, String)> {
    scan(text.as_bytes()).map_err(|index| {
        let (line, column) = crate::text_file::place(text, index);
        (line, column, format!("it nests deeper than {MAX_DEPTH} levels, the most that is read"))
    })?;
    strict(text, &[]).map(drop).map_err(|flaw| {
        let (line, column, _) = located(&flaw.error);
        let reason = flaw.reason(text.as_bytes(), flaw.offset(text.as_bytes()));
        (line, column, reason.trim_start_matches([',', ':', ' ']).to_owned())
    })
}

/// The line, the column, and the reason without them.
pub(crate) fn located(error: &serde_json::Error) -> (usize, usize, String) {
    (error.line(), error.column(), reason(error))
}

/// What is wrong with a text, and the place in its structure where reading ended.
struct Flaw {
    error: serde_json::Error,
    path: Vec<Step>,
}

impl Flaw {
    /// The byte at which it is wrong.
    fn offset(&self, bytes: &[u8]) -> usize {
        if self.error.is_eof() { bytes.len() } else { offset(bytes, self.error.line(), self.error.column()) }
    }

    /// The place and what is wrong there, as the end of a message.
    fn reason(&self, bytes: &[u8], offset: usize) -> String {
        let mut reason = reason(&self.error);
        let rest = bytes.get(offset..).unwrap_or_default();
        let unwritable = rest.starts_with(b"N") || rest.starts_with(b"I");
        if matches!(reason.as_str(), "number out of range" | "invalid number") || unwritable {
            reason.push_str("; a number that JSON or 64 bits cannot hold");
            reason.push_str(AS_TAG);
        }
        if self.path.is_empty() { format!(": {reason}") } else { format!(", {}: {reason}", shown(&self.path)) }
    }
}

const AS_TAG: &str = " is sent as {\"$int\": \"…\"} or {\"$float\": \"…\"}";

fn strict(text: &str, saturating: &[&str]) -> Result<Value, Flaw> {
    let mut path = Vec::new();
    let mut deserializer = serde_json::Deserializer::from_str(text);
    deserializer.disable_recursion_limit();
    let value = Strict { path: &mut path, saturating }.deserialize(&mut deserializer);
    match value.and_then(|value| deserializer.end().map(|()| value)) {
        Ok(value) => Ok(value),
        Err(error) => Err(Flaw { error, path }),
    }
}

/// Walks the bytes once for their depth; gives the byte that is too deep.
fn scan(bytes: &[u8]) -> Result<(), usize> {
    let (mut depth, mut index) = (0_usize, 0_usize);
    while let Some(&byte) = bytes.get(index) {
        match byte {
            b'"' => index = skip_string(bytes, index),
            b'[' | b'{' => {
                depth += 1;
                if depth > MAX_DEPTH {
                    return Err(index);
                }
            }
            b']' | b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        index += 1;
    }
    Ok(())
}

/// The index of the closing quote of the string that opens at `start`, or of the last byte.
fn skip_string(bytes: &[u8], start: usize) -> usize {
    let mut index = start + 1;
    while let Some(rest) = bytes.get(index..) {
        index += plain(rest);
        match bytes.get(index) {
            Some(b'"') => return index,
            Some(b'\\') => index += 2,
            Some(_) => index += 1,
            None => break,
        }
    }
    bytes.len()
}

fn reason(error: &serde_json::Error) -> String {
    let text = error.to_string();
    crate::name::quoted_within(text.rsplit_once(" at line ").map_or(text.as_str(), |(reason, _)| reason))
}

fn offset(bytes: &[u8], line: usize, column: usize) -> usize {
    let start = bytes
        .iter()
        .enumerate()
        .filter(|(_, byte)| **byte == b'\n')
        .map(|(index, _)| index + 1)
        .nth(line.saturating_sub(2))
        .filter(|_| line > 1)
        .unwrap_or(0);
    (start + column.saturating_sub(1)).min(bytes.len())
}

/// A step from a value into one that it holds.
#[derive(Debug)]
enum Step {
    Key(String),
    Item(usize),
}

/// A place as a JSON path: `$.args[0].name`.
fn shown(path: &[Step]) -> String {
    let steps = path.iter().map(|step| match step {
        Step::Key(key) => format!(".{}", crate::name::quoted(key)),
        Step::Item(index) => format!("[{index}]"),
    });
    std::iter::once("$".to_owned()).chain(steps).collect()
}

/// Builds a value, refusing doubled keys and unsafe numbers; the path stays where it was when it refused.
struct Strict<'a> {
    path: &'a mut Vec<Step>,
    saturating: &'a [&'a str],
}

impl Strict<'_> {
    fn saturates(&self) -> bool {
        let same = |(step, name): (&Step, &&str)| matches!(step, Step::Key(key) if key == name);
        !self.saturating.is_empty()
            && self.path.len() == self.saturating.len()
            && self.path.iter().zip(self.saturating).all(same)
    }
}

/// Whether it may have been an integer literal beyond 64 bits, which arrives as a float that has lost digits.
fn loses_value(value: f64) -> bool {
    value.fract() == 0.0 && value.abs() >= 9_223_372_036_854_775_808.0
}

fn refuse_number<E: de::Error>(shown: impl fmt::Display) -> E {
    E::custom(format_args!("the number {shown} does not fit 64 bits; such a one{AS_TAG}"))
}

impl<'de> DeserializeSeed<'de> for Strict<'_> {
    type Value = Value;

    fn deserialize<D: de::Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Strict<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> Result<Value, E> {
        if loses_value(value) {
            return Err(refuse_number(value));
        }
        Number::from_f64(value).map(Value::Number).ok_or_else(|| refuse_number(value))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::String(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(Value::String(value))
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        let mut items = Vec::new();
        loop {
            self.path.push(Step::Item(items.len()));
            let item = access.next_element_seed(Strict { path: self.path, saturating: self.saturating })?;
            self.path.pop();
            match item {
                Some(item) => items.push(item),
                None => return Ok(Value::Array(items)),
            }
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        let mut object = Map::new();
        while let Some(key) = access.next_key::<String>()? {
            let doubled = object.contains_key(&key);
            self.path.push(Step::Key(key));
            if doubled {
                return Err(de::Error::custom("this key stands there twice"));
            }
            let value = if self.saturates() {
                saturated(access.next_value::<&RawValue>()?)?
            } else {
                access.next_value_seed(Strict { path: self.path, saturating: self.saturating })?
            };
            if let Some(Step::Key(key)) = self.path.pop() {
                object.insert(key, value);
            }
        }
        Ok(Value::Object(object))
    }
}

/// A number that is too large for 64 bits becomes the largest; any other value is read by the usual rules.
fn saturated<E: de::Error>(raw: &RawValue) -> Result<Value, E> {
    let text = raw.get();
    if !text.starts_with(|first: char| first.is_ascii_digit() || first == '-') {
        return strict(text, &[]).map_err(|flaw| E::custom(reason(&flaw.error)));
    }
    Ok(match serde_json::from_str::<Value>(text) {
        Ok(Value::Number(number)) if number.as_f64().is_some_and(|float| float >= 18_446_744_073_709_551_615.0) => {
            u64::MAX.into()
        }
        Ok(value) => value,
        Err(_) if text.starts_with('-') => Value::Null,
        Err(_) => u64::MAX.into(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bad_07_bodies_name_the_byte() {
        for bad in ["[1", "", "\u{feff}{}", "{} x", "{\"a\":\"\0\"}", "01", "NaN"] {
            let error = read(bad.as_bytes()).unwrap_err();
            assert!(error.message.contains("byte"), "{bad:?}: {error}");
        }
        assert!(read(b"{\"a\":\"\xff\"}").unwrap_err().message.contains("byte 6"));
    }

    #[test]
    fn bad_08_doubled_keys_name_the_path() {
        let error = read(br#"{"a":{"b":[{"c":1,"c":2}]}}"#).unwrap_err();
        assert!(error.message.contains("$.a.b[0].c: "), "{error}");
    }

    #[test]
    fn bad_09_depth_is_bounded_before_building() {
        let deep = |n: usize| [vec![b'['; n], vec![b']'; n]].concat();
        assert!(read(&deep(128)).is_ok());
        assert!(read(&deep(129)).unwrap_err().message.contains("128"));
        assert!(read(&vec![b'['; 1_000_000]).unwrap_err().message.contains("128"));
        assert!(read("{\"a\":".repeat(200_000).as_bytes()).unwrap_err().message.contains("128"));
    }

    #[test]
    fn bad_10_numbers_that_lose_value_are_refused() {
        for bad in [
            "18446744073709551616",
            "-9223372036854775809",
            "1e999",
            "-1e999",
            "1e300",
            "01",
            "-",
            "NaN",
            "-Infinity",
            "Infinity",
            &"9".repeat(100_000),
        ] {
            let error = read(format!("{{\"args\":[{bad}]}}").as_bytes()).unwrap_err();
            assert!(error.code == crate::Code::InvalidArgument, "{error}");
            assert!(error.message.contains("$.args[0]: ") && error.message.contains("$int"), "{error}");
        }
        assert_eq!(read(b"18446744073709551615").unwrap(), serde_json::json!(u64::MAX));
        assert_eq!(read(b"1.5").unwrap(), serde_json::json!(1.5));
    }

    fn any_json() -> impl proptest::strategy::Strategy<Value = Value> {
        use proptest::prelude::*;
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<u64>().prop_map(Value::from),
            any::<i32>().prop_map(|n| Value::from(f64::from(n) / 8.0)),
            any::<String>().prop_map(Value::from),
        ];
        leaf.prop_recursive(6, 48, 6, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
                prop::collection::btree_map(any::<String>(), inner, 0..6).prop_map(|map| map.into_iter().collect()),
            ]
        })
    }

    proptest::proptest! {
        #[test]
        fn bad_08_what_is_written_reads_back(value in any_json()) {
            proptest::prop_assert_eq!(read(value.to_string().as_bytes()).unwrap(), value);
        }

        #[test]
        fn bad_09_brackets_are_read_or_refused_with_a_safe_message(text in "[\\[\\]{}:,\"a0\\\\\u{1b}-]{0,300}") {
            if let Err(error) = read_saturating(text.as_bytes(), &["a"]) {
                proptest::prop_assert!(!error.message.chars().any(char::is_control));
            }
        }

        #[test]
        fn bad_07_any_bytes_are_read_or_refused(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..256)) {
            let _ = read(&bytes);
        }
    }
}
