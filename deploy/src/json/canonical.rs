//! Canonical JSON: RFC 8785.

use std::fmt::Write as _;

use serde_json::Value;

/// Writes a value by RFC 8785: keys by their UTF-16 code units, numbers as ECMAScript prints them, no white space.
///
/// Numbers are those of ECMAScript: an integer beyond 2⁵³ is written as the nearest one that it has.
#[must_use]
pub fn canonical(value: &Value) -> Vec<u8> {
    let mut out = String::new();
    write(value, &mut out);
    out.into_bytes()
}

fn write(value: &Value, out: &mut String) {
    match value {
        Value::Number(number) => write_number(number.as_f64().unwrap_or_default(), out),
        // By the very rules of the RFC: the short escapes, others as \u00xx, all else as it is.
        Value::Null | Value::Bool(_) | Value::String(_) => out.push_str(&value.to_string()),
        Value::Array(items) => {
            out.push('[');
            for (index, item) in items.iter().enumerate() {
                separate(index, out);
                write(item, out);
            }
            out.push(']');
        }
        Value::Object(object) => {
            let mut members: Vec<_> = object.iter().collect();
            members.sort_by(|(a, _), (b, _)| a.encode_utf16().cmp(b.encode_utf16()));
            out.push('{');
            for (index, (key, value)) in members.into_iter().enumerate() {
                separate(index, out);
                out.push_str(&Value::from(key.as_str()).to_string());
                out.push(':');
                write(value, out);
            }
            out.push('}');
        }
    }
}

fn separate(index: usize, out: &mut String) {
    if index > 0 {
        out.push(',');
    }
}

/// `Number::toString` of ECMA-262, which puts the shortest digits that read back into one of four forms.
fn write_number(number: f64, out: &mut String) {
    // Also of −0.
    if number == 0.0 {
        return out.push('0');
    }
    // Of two texts as short and as near, serde_json takes the even one, as ECMA-262 wants it; the standard library does not.
    let shortest = Value::from(number.abs()).to_string();
    let (mantissa, exponent) = shortest.split_once('e').unwrap_or((&shortest, "0"));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let all = format!("{whole}{fraction}");
    let significant = all.trim_start_matches('0');
    let digits = significant.trim_end_matches('0');
    let length = |text: &str| i32::try_from(text.len()).unwrap_or_default();
    let count = length(digits);
    // The decimal point stands behind so many digits.
    let point = exponent.parse::<i32>().unwrap_or_default() + length(whole) - (length(&all) - length(significant));
    if number < 0.0 {
        out.push('-');
    }
    let zeros = |count: i32| "0".repeat(usize::try_from(count).unwrap_or_default());
    let split = |at: i32| digits.split_at(usize::try_from(at).unwrap_or_default().min(digits.len()));
    // Writing to a text never fails.
    let _ = match point {
        1..=21 if point >= count => write!(out, "{digits}{}", zeros(point - count)),
        1..=21 => write!(out, "{}.{}", split(point).0, split(point).1),
        -5..=0 => write!(out, "0.{}{digits}", zeros(-point)),
        _ if count == 1 => write!(out, "{digits}e{:+}", point - 1),
        _ => write!(out, "{}.{}e{:+}", split(1).0, split(1).1, point - 1),
    };
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::json::read;

    fn text(value: &Value) -> String {
        String::from_utf8(canonical(value)).unwrap()
    }

    #[test]
    fn numbers_are_those_of_the_rfc() {
        // Appendix B of RFC 8785, by the bits of the number.
        for (bits, shown) in [
            (0x0000_0000_0000_0000_u64, "0"),
            (0x8000_0000_0000_0000, "0"),
            (0x0000_0000_0000_0001, "5e-324"),
            (0x8000_0000_0000_0001, "-5e-324"),
            (0x7fef_ffff_ffff_ffff, "1.7976931348623157e+308"),
            (0xffef_ffff_ffff_ffff, "-1.7976931348623157e+308"),
            (0x4340_0000_0000_0000, "9007199254740992"),
            (0xc340_0000_0000_0000, "-9007199254740992"),
            (0x4430_0000_0000_0000, "295147905179352830000"),
            (0x44b5_2d02_c7e1_4af5, "9.999999999999997e+22"),
            (0x44b5_2d02_c7e1_4af6, "1e+23"),
            (0x44b5_2d02_c7e1_4af7, "1.0000000000000001e+23"),
            (0x444b_1ae4_d6e2_ef4e, "999999999999999700000"),
            (0x444b_1ae4_d6e2_ef4f, "999999999999999900000"),
            (0x444b_1ae4_d6e2_ef50, "1e+21"),
            (0x3eb0_c6f7_a0b5_ed8c, "9.999999999999997e-7"),
            (0x3eb0_c6f7_a0b5_ed8d, "0.000001"),
            (0x41b3_de43_5555_5553, "333333333.3333332"),
            (0x41b3_de43_5555_5554, "333333333.33333325"),
            (0x41b3_de43_5555_5555, "333333333.3333333"),
            (0x41b3_de43_5555_5556, "333333333.3333334"),
            (0x41b3_de43_5555_5557, "333333333.33333343"),
            (0xbecb_f647_612f_3696, "-0.0000033333333333333333"),
            (0x4314_3ff3_c1cb_0959, "1424953923781206.2"),
        ] {
            assert_eq!(text(&json!(f64::from_bits(bits))), shown);
        }
    }

    #[test]
    fn pkg_28_the_canonical_row_of_the_golden_vectors() {
        let given = br#"{"z":1.0,"a":"\u20ac","10":[],"\u00e9":1e21,"\ud83d\ude00":-0.0,"\ufb33":true}"#;
        let read = read(given);
        assert_eq!(read.flaws, []);
        let bytes = canonical(&read.document.unwrap().root.value());
        assert_eq!(
            String::from_utf8(bytes.clone()).unwrap(),
            "{\"10\":[],\"a\":\"€\",\"z\":1,\"é\":1e+21,\"😀\":0,\"\u{fb33}\":true}"
        );
        assert_eq!(
            crate::digest::Digest::of(&bytes).to_string(),
            "sha256:d3ccc07831dbba8c7698650bf87f081166eec4d0736d4e0351da8b276342bf37"
        );
    }

    #[test]
    fn texts_are_escaped_as_little_as_can_be() {
        assert_eq!(
            text(&json!("\u{8}\t\n\u{c}\r\"\\/\u{1}\u{7f}é\u{2028}")),
            "\"\\b\\t\\n\\f\\r\\\"\\\\/\\u0001\u{7f}é\u{2028}\""
        );
    }

    proptest::proptest! {
        #[test]
        fn a_number_reads_back(number in proptest::num::f64::NORMAL) {
            proptest::prop_assert_eq!(text(&json!(number)).parse::<f64>().unwrap().to_bits(), number.to_bits());
        }
    }
}
