//! Values that JSON lacks, as one-key objects whose key begins with `$`: checked when a request enters.

use serde_json::Value;
use time::{Date, Time, format_description::well_known::Iso8601};

use crate::error::{Code, Error};

/// Checks every tagged value in `value`, which stands at `path`.
///
/// # Errors
///
/// `invalid_argument` with the JSON path and the tag; `failed_precondition` for a handle that is not held here.
pub(crate) fn check(value: &Value, path: &str) -> Result<(), Error> {
    match value {
        Value::Array(items) => {
            items.iter().enumerate().try_for_each(|(index, item)| check(item, &format!("{path}[{index}]")))
        }
        Value::Object(object) => {
            if let Some((tag, inner)) = object.iter().find(|(key, _)| key.starts_with('$')) {
                if object.len() != 1 {
                    let shown = crate::name::quoted(tag);
                    return Err(Error::invalid(format!(
                        "{path} has the tag {shown} beside other keys; a tag stands alone"
                    )));
                }
                return tagged(tag, inner, path);
            }
            object.iter().try_for_each(|(key, item)| check(item, &format!("{path}.{}", crate::name::quoted(key))))
        }
        _ => Ok(()),
    }
}

fn tagged(tag: &str, inner: &Value, path: &str) -> Result<(), Error> {
    let text = inner.as_str();
    let good = match tag {
        "$bytes" => text.is_some_and(|text| data_encoding::BASE64.decode(text.as_bytes()).is_ok()),
        "$datetime" => text.is_some_and(is_datetime),
        "$date" => text.is_some_and(|text| Date::parse(text, &Iso8601::DATE).is_ok()),
        "$time" => text.is_some_and(|text| Time::parse(text, &Iso8601::TIME).is_ok()),
        "$duration" => inner.is_number() || text.is_some_and(is_decimal),
        "$decimal" => text.is_some_and(is_decimal),
        "$uuid" => text.is_some_and(|text| text.len() == 36 && text.parse::<uuid::Uuid>().is_ok()),
        "$int" => text.is_some_and(|text| is_digits(text.strip_prefix('-').unwrap_or(text))),
        "$float" => text.is_some_and(is_float),
        "$complex" => inner.as_array().is_some_and(|parts| parts.len() == 2 && parts.iter().all(is_part)),
        "$set" | "$frozenset" | "$tuple" => match inner {
            Value::Array(_) => return check(inner, &format!("{path}.{tag}")),
            _ => false,
        },
        "$map" => match inner.as_array() {
            Some(pairs) if pairs.iter().all(|pair| pair.as_array().is_some_and(|pair| pair.len() == 2)) => {
                return check(inner, &format!("{path}.{tag}"));
            }
            _ => false,
        },
        "$enum" | "$record" | "$error" => match inner {
            Value::Object(_) => return check(inner, &format!("{path}.{tag}")),
            _ => false,
        },
        "$path" => text.is_some_and(|text| !text.contains('\0')),
        "$ref" => {
            return Err(Error::new(Code::FailedPrecondition, format!("{path} is a handle that is not held here"))
                .hint("handles end with the process that gave them; ask for a new one"));
        }
        _ => {
            let shown = crate::name::quoted(tag);
            return Err(Error::invalid(format!("{path} has the unknown tag {shown}")));
        }
    };
    if good { Ok(()) } else { Err(Error::invalid(format!("{path} is no valid {tag}"))) }
}

fn is_digits(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

fn is_float(text: &str) -> bool {
    matches!(text, "nan" | "inf" | "-inf" | "NaN" | "Infinity" | "-Infinity") || is_decimal(text)
}

/// Whether it is one of the two numbers of a `$complex`.
fn is_part(value: &Value) -> bool {
    let tagged = |object: &serde_json::Map<String, Value>| {
        object.len() == 1 && object.get("$float").and_then(Value::as_str).is_some_and(is_float)
    };
    value.is_number() || value.as_object().is_some_and(tagged)
}

fn is_decimal(text: &str) -> bool {
    let text = text.strip_prefix(['-', '+']).unwrap_or(text);
    let (number, exponent) = text.split_once(['e', 'E']).map_or((text, None), |(n, e)| (n, Some(e)));
    let (whole, fraction) = number.split_once('.').map_or((number, None), |(w, f)| (w, Some(f)));
    is_digits(whole)
        && fraction.is_none_or(is_digits)
        && exponent.is_none_or(|exponent| is_digits(exponent.strip_prefix(['-', '+']).unwrap_or(exponent)))
}

fn is_datetime(text: &str) -> bool {
    time::OffsetDateTime::parse(text, &Iso8601::DEFAULT).is_ok()
        || time::PrimitiveDateTime::parse(text, &Iso8601::DEFAULT).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn bad_11_tags_name_path_and_tag() {
        for bad in [
            json!({"$bytes": "*"}),
            json!({"$foo": 1}),
            json!({"$date": "2026-13-01"}),
            json!({"$decimal": "x"}),
            json!({"$uuid": "1"}),
            json!({"$bytes": "", "$uuid": ""}),
            json!({"$set": 3}),
            json!({"$record": {"b": {"$foo": 1}}}),
            json!({"$datetime": "2026-02-30T00:00:00Z"}),
            json!({"$int": "1.5"}),
            json!({"$float": "many"}),
            json!({"$duration": "1 s"}),
            json!({"$complex": [1, {"$int": "1"}]}),
            json!({"$foo\u{1b}": 1}),
        ] {
            let error = check(&json!([{"a": bad}]), "$.args[0]").unwrap_err();
            assert_eq!(error.code, Code::InvalidArgument);
            assert!(error.message.starts_with("$.args[0][0].a"), "{error}");
            assert!(error.message.contains('$') && !error.message.contains('\u{1b}'), "{error}");
        }
        assert_eq!(check(&json!({"$ref": "h"}), "$").unwrap_err().code, Code::FailedPrecondition);
    }

    proptest::proptest! {
        #[test]
        fn bad_11_any_text_under_any_tag_is_taken_or_refused(
            tag in "\\$(bytes|datetime|date|time|duration|decimal|uuid|int|float|complex|set|map|path|[a-z]{0,8})",
            text in "[0-9TZ:.+eE-]{0,40}|.{0,40}|[A-Za-z0-9+/=]{0,40}",
        ) {
            if let Err(error) = check(&json!({ tag: text }), "$.args[0]") {
                proptest::prop_assert!(error.message.starts_with("$.args[0]"));
                proptest::prop_assert!(!error.message.chars().any(char::is_control));
            }
        }
    }

    #[test]
    fn good_tags_pass() {
        for good in [
            json!({"$bytes": "aGk="}),
            json!({"$datetime": "2026-11-21T07:25:40.450Z"}),
            json!({"$date": "2026-11-21"}),
            json!({"$decimal": "-1.50"}),
            json!({"$int": "123456789012345678901234567890"}),
            json!({"$float": "NaN"}),
            json!({"$float": "-inf"}),
            json!({"$float": "1e+300"}),
            json!({"$duration": 1.5}),
            json!({"$duration": "-1.5"}),
            json!({"$complex": [0.5, {"$float": "nan"}]}),
            json!({"$tuple": [1, {"$bytes": ""}]}),
            json!({"$map": [[1, 2]]}),
            json!({"$record": {"name": {"$bytes": ""}}}),
        ] {
            check(&good, "$").unwrap();
        }
    }
}
