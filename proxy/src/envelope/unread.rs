//! Requests whose arguments the callee's process reads by itself: checked as a whole, and left as they came.

use std::fmt;

use serde::de::{self, Deserializer as _, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::{Meta, Request};
use crate::{
    error::Error,
    json::{self, Sound},
};

impl Request {
    /// Reads of a body what stands around its arguments, and checks the rest by the same rules but for its tagged values:
    /// those mean something to whoever reads it.
    ///
    /// # Errors
    ///
    /// As [`Request::read`].
    pub(crate) fn read_around(body: &[u8]) -> Result<Self, Error> {
        if body.is_empty() {
            return Ok(Self::default());
        }
        let meta = match json::skim(body, |deserializer| deserializer.deserialize_map(Around)) {
            Some(Some(meta)) => meta_of(meta.get().as_bytes())?,
            Some(None) => Meta::default(),
            // What is wrong with it takes longer to say.
            None => Self::read(body)?.meta,
        };
        Ok(Self { meta, ..Self::default() })
    }
}

fn meta_of(text: &[u8]) -> Result<Meta, Error> {
    match json::read_saturating(text, &["timeout_ms"])? {
        serde_json::Value::Object(meta) => Meta::read(&meta),
        _ => Err(Error::invalid("$.meta is no object")),
    }
}

/// Takes an object of the three keys, and gives the text of `meta`.
struct Around;

impl<'de> Visitor<'de> for Around {
    type Value = Option<&'de RawValue>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object of args, kwargs and meta")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Self::Value, A::Error> {
        let (mut args, mut kwargs, mut meta) = (None, None, None);
        while let Some(key) = access.next_key::<String>()? {
            let is_doubled = match key.as_str() {
                "args" => args.replace(access.next_value_seed(Sound::Array)?).is_some(),
                "kwargs" => kwargs.replace(access.next_value_seed(Sound::Object)?).is_some(),
                "meta" => meta.replace(access.next_value()?).is_some(),
                _ => true,
            };
            if is_doubled {
                return Err(de::Error::custom("a key that is unknown, or stands there twice"));
            }
        }
        Ok(meta)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Code;

    fn around(body: &str) -> Result<Request, Error> {
        Request::read_around(body.as_bytes())
    }

    #[test]
    fn what_stands_around_arguments_is_read_and_they_are_not() {
        for body in ["", "{}", r#"{"args":[{"$ref":{"id":"r1"}},{"$foo":1}],"kwargs":{"b":1e5,"a":{}}}"#] {
            assert_eq!(around(body).unwrap(), Request::default(), "{body}");
        }
        let read = around(r#"{"meta":{"timeout_ms":1e400,"call":"c","hops":2,"colour":1},"args":[1]}"#).unwrap();
        assert!(read.args.is_empty());
        assert_eq!((read.meta.timeout, read.meta.hops), (Some(super::super::MAX_TIMEOUT), 2));
    }

    #[test]
    fn plg_49_what_is_wrong_is_said_as_by_the_strict_reader() {
        for body in [
            "[1",
            "[]",
            "1",
            "{} x",
            r#"{"args":1}"#,
            r#"{"args":null}"#,
            r#"{"kwargs":[]}"#,
            r#"{"x":1}"#,
            r#"{"meta":[]}"#,
            r#"{"args":[],"args":[]}"#,
            r#"{"args":[{"a":{"b":1,"b":2}}]}"#,
            r#"{"args":[18446744073709551616]}"#,
            r#"{"meta":{"call":7}}"#,
            r#"{"meta":{"call":"a","call":"a"}}"#,
            &format!(r#"{{"args":{}{}}}"#, "[".repeat(200), "]".repeat(200)),
        ] {
            let error = around(body).unwrap_err();
            assert_eq!(error.code, Code::InvalidArgument, "{body}");
            if !body.contains("\"call\":\"a\"") {
                assert_eq!(error, Request::read(body.as_bytes()).unwrap_err(), "{body}");
            }
        }
        assert_eq!(around(r#"{"meta":{"hops":17}}"#).unwrap_err().code, Code::FailedPrecondition);
    }

    proptest::proptest! {
        #[test]
        fn bad_07_whatever_the_strict_reader_takes_is_taken(
            body in "\\{\"(args|kwargs|meta)\":[\\[\\]{}:,\"a0 -]{0,30}\\}?",
        ) {
            let (around, whole) = (around(&body), Request::read(body.as_bytes()));
            if let Ok(whole) = &whole {
                proptest::prop_assert_eq!(&around.as_ref().unwrap().meta, &whole.meta);
            }
            proptest::prop_assert_eq!(around.is_ok(), whole.is_ok());
        }
    }
}
