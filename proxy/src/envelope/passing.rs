//! Requests that pass through a host: what they are called with stays the bytes that came.

use bytes::{BufMut, Bytes, BytesMut};
use serde_json::Value;

use super::{Meta, Outgoing, Request};
use crate::{error::Error, json};

/// How the last key of a body begins where whoever wrote it was one of our SDKs.
const META: &[u8] = b"\"meta\":";
/// No such `meta` is longer.
const LONGEST: usize = 512;

/// A request whose arguments nobody here looks at; the callee does.
#[derive(Debug, Clone, Default)]
pub struct Passing {
    /// The body up to the key `meta`: the brace, and the arguments with a comma behind each.
    front: Bytes,
    /// The rest.
    pub meta: Meta,
}

impl Passing {
    /// Takes a body apart. One that ends with `"meta":{…}}` is not read but for that.
    ///
    /// # Errors
    ///
    /// As [`Request::read`].
    pub fn read(body: Bytes) -> Result<Self, Error> {
        if body.is_empty() {
            return Ok(Self::of(&Request::default()));
        }
        match ending(&body) {
            Some((at, Value::Object(meta))) => Ok(Self { front: body.slice(..at), meta: Meta::read(&meta)? }),
            _ => Request::read(&body).map(|request| Self::of(&request)),
        }
    }

    fn of(request: &Request) -> Self {
        let body = Request { meta: Meta::default(), ..request.clone() }.to_bytes();
        let empty = META.len() + b"{}}".len();
        Self { front: body.slice(..body.len().saturating_sub(empty)), meta: request.meta.clone() }
    }
}

impl Outgoing for Passing {
    fn meta_mut(&mut self) -> &mut Meta {
        &mut self.meta
    }

    fn to_bytes(&self) -> Bytes {
        let mut body = BytesMut::with_capacity(self.front.len() + LONGEST);
        body.extend_from_slice(&self.front);
        body.extend_from_slice(META);
        let mut body = body.writer();
        // Numbers and texts always have a JSON form, and memory takes it.
        let _ = serde_json::to_writer(&mut body, &self.meta);
        let mut body = body.into_inner();
        body.put_u8(b'}');
        body.freeze()
    }
}

/// Where the key `meta` stands at the end of a body, and its value. In JSON no text can look like it: its quotes would be
/// escaped.
fn ending(body: &[u8]) -> Option<(usize, Value)> {
    let inner = body.strip_suffix(b"}")?;
    let from = inner.len().saturating_sub(LONGEST);
    let at = from + inner.get(from..)?.windows(META.len()).rposition(|window| window == META)?;
    let meta = json::read_saturating(inner.get(at + META.len()..)?, &["timeout_ms"]).ok()?;
    Some((at, meta))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn passed(body: &str) -> String {
        let passing = Passing::read(Bytes::copy_from_slice(body.as_bytes())).unwrap();
        String::from_utf8(passing.to_bytes().to_vec()).unwrap()
    }

    #[test]
    fn what_an_sdk_writes_passes_to_the_byte() {
        for body in [
            r#"{"meta":{}}"#,
            r#"{"args":[1.0,-0.0,{"b":1,"a":2}],"meta":{"timeout_ms":5}}"#,
            r#"{"args":["\"meta\":{}"],"kwargs":{"meta":{"timeout_ms":1}},"meta":{"hops":1}}"#,
        ] {
            assert_eq!(passed(body), body);
        }
    }

    #[test]
    fn any_other_form_is_read_whole() {
        assert_eq!(passed(""), r#"{"meta":{}}"#);
        assert_eq!(passed(r#"{"meta":{"hops":2},"args":[1]}"#), r#"{"args":[1],"meta":{"hops":2}}"#);
        assert_eq!(passed(r#"{"kwargs":{"meta":{}}}"#), r#"{"kwargs":{"meta":{}},"meta":{}}"#);
        assert_eq!(passed("{}"), r#"{"meta":{}}"#);
        for bad in ["[1", r#"{"args":1}"#, r#"{"x":1}"#, r#"{"meta":[]}"#, r#"{"meta":{"call":7}}"#] {
            assert_eq!(
                Passing::read(Bytes::from_static(bad.as_bytes())).unwrap_err().code,
                crate::Code::InvalidArgument
            );
        }
    }

    #[test]
    fn meta_can_be_changed_on_the_way() {
        let mut passing = Passing::read(Bytes::from_static(br#"{"args":[1],"meta":{"timeout_ms":1e400}}"#)).unwrap();
        assert_eq!(passing.meta.timeout, Some(super::super::MAX_TIMEOUT));
        passing.meta.timeout = Some(Duration::from_millis(7));
        passing.meta.call = Some("c".to_owned());
        assert_eq!(passing.to_bytes(), r#"{"args":[1],"meta":{"timeout_ms":7,"call":"c"}}"#);
    }
}
