//! Writing values: most bytes of large texts stand in JSON as they are, and are found to do so many at a time.

use bytes::Bytes;
use serde_json::{Map, Value};

/// How many bytes are looked at together: as many as a compiler makes a few wide instructions of.
const BLOCK: usize = 32;
/// Room for what follows a text, in bytes: without it the last bracket would double the room of a large one, and the tag
/// that seals it would copy it.
const AFTER: usize = 64;

/// Where a body of unknown size is written: most are small, and grow no further.
pub(crate) fn buffer() -> Vec<u8> {
    Vec::with_capacity(128)
}

/// Writes a value as a body of its own.
pub(crate) fn to_bytes(value: &Value) -> Bytes {
    let mut out = buffer();
    write(value, &mut out);
    out.into()
}

/// Writes a value at the end of `out`, to the byte as `serde_json` does.
pub(crate) fn write(value: &Value, out: &mut Vec<u8>) {
    match value {
        Value::String(text) => write_text(text, out),
        Value::Array(items) => write_array(items, out),
        Value::Object(object) => write_object(object, out),
        // They always have a JSON form, and memory takes it.
        Value::Null | Value::Bool(_) | Value::Number(_) => drop(serde_json::to_writer(out, value)),
    }
}

/// [`write`] for an array.
pub(crate) fn write_array(items: &[Value], out: &mut Vec<u8>) {
    out.push(b'[');
    for (index, item) in items.iter().enumerate() {
        separate(index, out);
        write(item, out);
    }
    out.push(b']');
}

/// [`write`] for an object.
pub(crate) fn write_object(object: &Map<String, Value>, out: &mut Vec<u8>) {
    out.push(b'{');
    for (index, (key, value)) in object.iter().enumerate() {
        separate(index, out);
        write_text(key, out);
        out.push(b':');
        write(value, out);
    }
    out.push(b'}');
}

fn separate(index: usize, out: &mut Vec<u8>) {
    if index > 0 {
        out.push(b',');
    }
}

fn write_text(text: &str, out: &mut Vec<u8>) {
    let mut rest = text.as_bytes();
    out.reserve(rest.len() + AFTER);
    out.push(b'"');
    loop {
        let (plain, others) = rest.split_at(plain(rest));
        out.extend_from_slice(plain);
        let Some((&byte, others)) = others.split_first() else { break };
        escape(byte, out);
        rest = others;
    }
    out.push(b'"');
}

fn escape(byte: u8, out: &mut Vec<u8>) {
    let short = match byte {
        b'"' | b'\\' => byte,
        0x08 => b'b',
        b'\t' => b't',
        b'\n' => b'n',
        0x0C => b'f',
        b'\r' => b'r',
        _ => {
            let digit = |nibble: u8| if nibble < 10 { b'0' + nibble } else { b'a' + nibble - 10 };
            return out.extend_from_slice(&[b'\\', b'u', b'0', b'0', digit(byte >> 4), digit(byte & 0xF)]);
        }
    };
    out.extend_from_slice(&[b'\\', short]);
}

/// How many bytes stand before the first that ends a JSON text or is no part of one as it is.
pub(super) fn plain(bytes: &[u8]) -> usize {
    let is_plain = |byte: u8| (byte >= 0x20) & (byte != b'"') & (byte != b'\\');
    let all_plain = |block: &&[u8]| block.iter().fold(true, |all, &byte| all & is_plain(byte));
    let whole = bytes.chunks_exact(BLOCK).take_while(all_plain).count() * BLOCK;
    let rest = bytes.get(whole..).unwrap_or_default();
    whole + rest.iter().position(|&byte| !is_plain(byte)).unwrap_or(rest.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    proptest::proptest! {
        #[test]
        fn a_text_is_written_as_by_serde_json(text in "([a-zé ]{0,40}[\\x00-\\x20\"\\\\\\x7f€]{0,2}){0,6}") {
            let value = serde_json::json!({ "key": [&text, null, -1.5, true], &text: {} });
            let mut out = Vec::new();
            write(&value, &mut out);
            proptest::prop_assert_eq!(String::from_utf8(out).unwrap(), value.to_string());
        }
    }
}
