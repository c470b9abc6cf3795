//! The arguments of a skill as a type, and what is said where they are not of it.

use schemars::JsonSchema;
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Map, Value};

use super::table::schema;
use crate::{
    envelope::Request,
    error::Error,
    name::{quoted, quoted_within},
};

/// The arguments of a skill as a type.
pub trait Input: DeserializeOwned + JsonSchema + Send + 'static {
    /// The names that positional arguments stand for, in order.
    const POSITIONAL: &'static [&'static str] = &[];
}

/// No arguments.
#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Nothing {}

impl Input for Nothing {}

/// Reads a request's arguments as a type.
///
/// # Errors
///
/// `invalid_argument` that names the argument and what is expected of it.
pub fn arguments<I: Input>(request: &Request) -> Result<I, Error> {
    named_arguments(request, I::POSITIONAL)
}

/// As [`arguments`], where `positional` names what positional arguments stand for.
pub(crate) fn named_arguments<I: DeserializeOwned + JsonSchema>(
    request: &Request,
    positional: &[&str],
) -> Result<I, Error> {
    let mut named = Map::new();
    for (index, value) in request.args.iter().enumerate() {
        let Some(name) = positional.get(index) else {
            let limit = positional.len();
            return Err(Error::invalid(format!(
                "{} arguments without a name; at most {limit} are taken",
                request.args.len()
            ))
            .hint("write NAME=VALUE"));
        };
        named.insert((*name).to_owned(), value.clone());
    }
    for (name, value) in &request.kwargs {
        if named.insert(name.clone(), value.clone()).is_some() {
            return Err(Error::invalid(format!("argument \"{}\" is given twice, by place and by name", quoted(name))));
        }
    }
    serde_path_to_error::deserialize(Value::Object(named)).map_err(|error| {
        let path = error.path().to_string();
        let inner = quoted_within(&error.into_inner().to_string());
        if path != "." {
            return Error::invalid(format!("argument \"{}\": {inner}", quoted(&path)));
        }
        let missing = inner.strip_prefix("missing field `").and_then(|rest| rest.strip_suffix('`'));
        Error::invalid(match missing {
            Some(name) => format!("argument \"{name}\" is missing; {} is expected", expected::<I>(name)),
            None => inner,
        })
    })
}

/// The type of an argument in the words of its schema.
fn expected<I: JsonSchema>(name: &str) -> String {
    let schema = schema::<I>();
    let argument = schema.get("properties").and_then(|properties| properties.get(name));
    match argument.and_then(|argument| argument.get("type")) {
        Some(Value::String(word)) => format!("a value of type {word}"),
        Some(Value::Array(words)) => {
            let words: Vec<&str> = words.iter().filter_map(Value::as_str).collect();
            format!("a value of type {}", words.join(" or "))
        }
        _ => "a value".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{envelope::Meta, error::Code};
    use serde_json::json;

    #[derive(Debug, Deserialize, JsonSchema)]
    #[serde(deny_unknown_fields)]
    struct Stop {
        grace_s: u32,
        #[serde(default)]
        why: Option<String>,
    }

    impl Input for Stop {
        const POSITIONAL: &'static [&'static str] = &["grace_s"];
    }

    fn read(args: Value, kwargs: Value) -> Result<Stop, Error> {
        let (Value::Array(args), Value::Object(kwargs)) = (args, kwargs) else { panic!("not arguments") };
        arguments(&Request { args, kwargs, meta: Meta::default() })
    }

    #[test]
    fn bad_12_arguments_are_named() {
        let stop = read(json!([3]), json!({"why": "x"})).unwrap();
        assert_eq!((stop.grace_s, stop.why.as_deref()), (3, Some("x")));
        for (args, kwargs, named) in [
            (json!([]), json!({"grace_s": 1, "colour": 2}), "colour"),
            (json!([]), json!({}), "\"grace_s\" is missing; a value of type integer"),
            (json!([]), json!({"grace_s": 1, "why": 7}), "expected a string"),
            (json!([1]), json!({"grace_s": 1}), "grace_s"),
            (json!([]), json!({"grace_s": "soon"}), "\"grace_s\": invalid type: string \"soon\", expected u32"),
            (json!([]), json!({"grace_s": null}), "\"grace_s\": invalid type: null, expected u32"),
            (json!([]), json!({"grace_s": 1, "\u{1b}[2J": 2}), "unknown field `\\u{1b}[2J`, expected `grace_s`"),
            (json!([1, 2]), json!({}), "at most 1"),
        ] {
            let error = read(args, kwargs).unwrap_err();
            assert_eq!(error.code, Code::InvalidArgument);
            assert!(error.message.contains(named), "{error}");
        }
    }
}
