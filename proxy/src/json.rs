//! One strict reader for JSON from elsewhere: bounded depth, no doubled keys, no number that would lose value.
//!
//! A scan for depth comes before any value is built, so hostile nesting costs one pass over the bytes and no memory.

use std::fmt;

use serde::de::{self, DeserializeSeed, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value, value::RawValue};

use crate::error::Error;

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
    if let Err(error) = std::str::from_utf8(bytes) {
        let at = error.valid_up_to();
        return Err(Error::invalid(format!("the body is not UTF-8 at byte {at}")));
    }
    scan(bytes)?;
    let mut path = Vec::new();
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    deserializer.disable_recursion_limit();
    let value =
        Strict { path: &mut path, saturating }.deserialize(&mut deserializer).map_err(|error| syntax(bytes, &error))?;
    deserializer.end().map_err(|error| syntax(bytes, &error))?;
    Ok(value)
}

/// Walks the bytes once: depth, and numbers that JSON's common readers would silently change.
fn scan(bytes: &[u8]) -> Result<(), Error> {
    let (mut depth, mut index) = (0_usize, 0_usize);
    while let Some(&byte) = bytes.get(index) {
        match byte {
            b'"' => index = skip_string(bytes, index),
            b'[' | b'{' => {
                depth += 1;
                if depth > MAX_DEPTH {
                    return Err(Error::invalid(format!(
                        "the body nests deeper than {MAX_DEPTH} levels at byte {index}; the depth limit is {MAX_DEPTH}"
                    )));
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
    while let Some(&byte) = bytes.get(index) {
        match byte {
            b'"' => return index,
            b'\\' => index += 2,
            _ => index += 1,
        }
    }
    bytes.len()
}

fn syntax(bytes: &[u8], error: &serde_json::Error) -> Error {
    let text = error.to_string();
    let reason = text.split(" at line ").next().unwrap_or(&text);
    let offset = offset(bytes, error.line(), error.column());
    Error::invalid(format!("the body is not usable JSON at byte {offset}: {reason}"))
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

/// Builds a value, refusing doubled keys and unsafe numbers, and knows the JSON path it stands at.
struct Strict<'a> {
    path: &'a mut Vec<String>,
    saturating: &'a [&'a str],
}

impl Strict<'_> {
    fn here(&self) -> String {
        if self.path.is_empty() { "$".to_owned() } else { format!("$.{}", self.path.join(".")) }
    }

    fn refuse_number<E: de::Error>(&self, shown: impl fmt::Display) -> E {
        E::custom(format_args!(
            "the number {shown} at {} does not fit 64 bits; send it as {{\"$int\": \"…\"}} or {{\"$float\": \"…\"}}",
            self.here()
        ))
    }
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
        // An integer literal beyond 64 bits arrives here as a float that has lost digits.
        if value.fract() == 0.0 && value.abs() >= 9_223_372_036_854_775_808.0 {
            return Err(self.refuse_number(value));
        }
        Number::from_f64(value).map(Value::Number).ok_or_else(|| self.refuse_number(value))
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
            self.path.push(items.len().to_string());
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
            self.path.push(crate::name::quoted(&key));
            if object.contains_key(&key) {
                let place = self.here();
                return Err(de::Error::custom(format_args!("the key {place} stands there twice")));
            }
            let value = if self.path == self.saturating {
                saturated(access.next_value::<&RawValue>()?)
            } else {
                access.next_value_seed(Strict { path: self.path, saturating: self.saturating })?
            };
            self.path.pop();
            object.insert(key, value);
        }
        Ok(Value::Object(object))
    }
}

/// A number that is too large for 64 bits becomes the largest; any other value stays what it is.
fn saturated(raw: &RawValue) -> Value {
    let text = raw.get();
    match serde_json::from_str::<Value>(text) {
        Ok(Value::Number(number)) if number.as_f64().is_some_and(|float| float >= 18_446_744_073_709_551_615.0) => {
            u64::MAX.into()
        }
        Ok(value) => value,
        Err(_) if text.starts_with(|first: char| first.is_ascii_digit()) => u64::MAX.into(),
        Err(_) => Value::Null,
    }
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
        assert!(error.message.contains("$.a.b.0.c"), "{error}");
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
        for bad in ["18446744073709551616", "-9223372036854775809", "1e999", &"9".repeat(100_000)] {
            let error = read(format!("{{\"args\":[{bad}]}}").as_bytes()).unwrap_err();
            assert!(error.code == crate::Code::InvalidArgument, "{error}");
        }
        assert!(read(b"[18446744073709551616]").unwrap_err().message.contains("$.0"));
        assert_eq!(read(b"18446744073709551615").unwrap(), serde_json::json!(u64::MAX));
        assert_eq!(read(b"1.5").unwrap(), serde_json::json!(1.5));
    }

    proptest::proptest! {
        #[test]
        fn bad_07_any_bytes_are_read_or_refused(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..256)) {
            let _ = read(&bytes);
        }
    }
}
