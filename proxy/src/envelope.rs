//! The body of a request: arguments, and metadata that travels in the body because headers halve the throughput.
//!
//! Nothing here is trusted for identity. The form is specified in `docs/specs/envelope.md`.

use std::time::Duration;

use bytes::Bytes;
use serde::Serialize;
use serde_json::{Map, Value};

use crate::{error::Error, json, tags, trace};

mod passing;
mod unread;

pub use passing::Passing;

/// The deadline of a call that names none.
pub const DEFAULT_TIMEOUT: Duration = Duration::from_secs(30);
/// The longest deadline; longer ones are clamped to it before anything else reads them.
pub const MAX_TIMEOUT: Duration = Duration::from_secs(24 * 60 * 60);
/// How many calls may stand behind one another before it is taken for a loop.
pub const MAX_HOPS: u8 = 16;

/// What stands around the arguments of a request.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Meta {
    /// What is left of the budget; relative, so that clocks need not agree.
    #[serde(rename = "timeout_ms", serialize_with = "milliseconds", skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Duration>,
    /// The call's id, and its idempotency key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub call: Option<String>,
    /// How many calls stand behind this one.
    #[serde(skip_serializing_if = "is_zero")]
    pub hops: u8,
    /// The W3C trace context of the caller's span.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub traceparent: Option<String>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes fields by reference")]
fn is_zero(hops: &u8) -> bool {
    *hops == 0
}

fn milliseconds<S: serde::Serializer>(timeout: &Option<Duration>, serializer: S) -> Result<S::Ok, S::Error> {
    let milliseconds = timeout.unwrap_or(MAX_TIMEOUT).as_millis();
    serializer.serialize_u64(u64::try_from(milliseconds).unwrap_or(u64::MAX))
}

/// A request's body.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Request {
    /// Positional arguments.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub args: Vec<Value>,
    /// Named arguments.
    #[serde(skip_serializing_if = "Map::is_empty")]
    pub kwargs: Map<String, Value>,
    /// The rest.
    pub meta: Meta,
}

impl Request {
    /// Reads a request's body; an empty one is a call without arguments.
    ///
    /// # Errors
    ///
    /// `invalid_argument` that names the byte offset or the JSON path; `failed_precondition` for a loop.
    pub fn read(body: &[u8]) -> Result<Self, Error> {
        if body.is_empty() {
            return Ok(Self::default());
        }
        let Value::Object(object) = json::read_saturating(body, &["meta", "timeout_ms"])? else {
            let at = body.iter().position(|byte| !byte.is_ascii_whitespace()).unwrap_or_default();
            return Err(Error::invalid(format!(
                "the body is no JSON object at byte {at}; send {{\"args\": […], \"kwargs\": {{…}}}}, or nothing"
            )));
        };
        let mut request = Self::default();
        for (key, value) in object {
            match (key.as_str(), value) {
                ("args", Value::Array(args)) => request.args = args,
                ("kwargs", Value::Object(kwargs)) => request.kwargs = kwargs,
                ("meta", Value::Object(meta)) => request.meta = Meta::read(&meta)?,
                ("args", _) => return Err(Error::invalid("$.args is no array")),
                ("kwargs", _) => return Err(Error::invalid("$.kwargs is no object")),
                ("meta", _) => return Err(Error::invalid("$.meta is no object")),
                (other, _) => {
                    let shown = crate::name::quoted(other);
                    return Err(Error::invalid(format!(
                        "$.{shown} is no key of a request; the keys are args, kwargs, meta"
                    )));
                }
            }
        }
        for (index, value) in request.args.iter().enumerate() {
            tags::check(value, &format!("$.args[{index}]"))?;
        }
        for (key, value) in &request.kwargs {
            tags::check(value, &format!("$.kwargs.{}", crate::name::quoted(key)))?;
        }
        Ok(request)
    }

    /// Writes the body as it travels.
    #[must_use]
    pub fn to_bytes(&self) -> Bytes {
        let mut body = json::buffer();
        body.push(b'{');
        if !self.args.is_empty() {
            body.extend_from_slice(b"\"args\":");
            json::write_array(&self.args, &mut body);
            body.push(b',');
        }
        if !self.kwargs.is_empty() {
            body.extend_from_slice(b"\"kwargs\":");
            json::write_object(&self.kwargs, &mut body);
            body.push(b',');
        }
        body.extend_from_slice(b"\"meta\":");
        // Numbers and texts always have a JSON form, and memory takes it.
        let _ = serde_json::to_writer(&mut body, &self.meta);
        body.push(b'}');
        body.into()
    }
}

/// What can be sent as the body of a request.
pub(crate) trait Outgoing {
    /// What stands around the arguments.
    fn meta_mut(&mut self) -> &mut Meta;
    /// Writes the body as it travels.
    fn to_bytes(&self) -> Bytes;
}

impl Outgoing for Request {
    fn meta_mut(&mut self) -> &mut Meta {
        &mut self.meta
    }

    fn to_bytes(&self) -> Bytes {
        Self::to_bytes(self)
    }
}

impl Meta {
    fn read(object: &Map<String, Value>) -> Result<Self, Error> {
        let mut meta = Self::default();
        for (key, value) in object {
            match key.as_str() {
                "timeout_ms" => meta.timeout = timeout(value),
                "call" => meta.call = Some(call_id(value)?),
                "hops" => meta.hops = hops(value)?,
                // What is malformed begins a new trace, here and wherever this call leads.
                "traceparent" => {
                    meta.traceparent = value.as_str().filter(|text| trace::is_valid(text)).map(str::to_owned);
                }
                // A newer caller may say more than this version knows.
                _ => {}
            }
        }
        Ok(meta)
    }

    /// Whether a text can be a call's id.
    #[must_use]
    pub fn is_call_id(text: &str) -> bool {
        (1..=64).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
    }

    /// The time this call has, from now on.
    #[must_use]
    pub fn budget(&self, default: Duration) -> Duration {
        self.timeout.unwrap_or(default).min(MAX_TIMEOUT)
    }
}

/// A usable time-out; too long counts as the longest, nonsense as none given.
fn timeout(value: &Value) -> Option<Duration> {
    value.as_u64().map(|milliseconds| Duration::from_millis(milliseconds).min(MAX_TIMEOUT))
}

fn call_id(value: &Value) -> Result<String, Error> {
    value.as_str().filter(|id| Meta::is_call_id(id)).map(str::to_owned).ok_or_else(|| {
        let shown = crate::name::quoted(&value.to_string());
        Error::invalid(format!("$.meta.call is {shown}; an id is 1 to 64 of A-Z a-z 0-9 _ -"))
    })
}

fn hops(value: &Value) -> Result<u8, Error> {
    let Some(hops) = value.as_u64().filter(|hops| *hops <= 1_000) else {
        let shown = crate::name::quoted(&value.to_string());
        return Err(Error::invalid(format!("$.meta.hops is {shown}; it counts calls, from 0 to {MAX_HOPS}")));
    };
    match u8::try_from(hops) {
        Ok(hops) if hops <= MAX_HOPS => Ok(hops),
        _ => Err(Error::precondition(format!(
            "the call went through {hops} others; more than {MAX_HOPS} are taken for a loop"
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Code;

    fn error(body: &str) -> Error {
        Request::read(body.as_bytes()).unwrap_err()
    }

    #[test]
    fn bad_07_bodies() {
        for bad in ["[]", "\"x\""] {
            assert_eq!(error(bad).code, Code::InvalidArgument);
            assert!(error(bad).message.contains("byte 0"));
        }
        assert_eq!(Request::read(b"").unwrap(), Request::default());
    }

    #[test]
    fn bad_08_keys_name_the_path() {
        assert!(error(r#"{"argv":[]}"#).message.contains("$.argv"));
        assert!(error(r#"{"args":{}}"#).message.contains("$.args"));
        assert!(error(r#"{"kwargs":[]}"#).message.contains("$.kwargs"));
    }

    #[test]
    fn bad_15_meta() {
        assert!(error(r#"{"meta":[]}"#).message.contains("$.meta"));
        assert!(Request::read(br#"{"meta":{"colour":"red","role":"admin"}}"#).is_ok());
    }

    #[test]
    fn bad_16_timeouts_are_clamped_before_a_duration_is_made() {
        let budget = |text: &str| {
            let body = format!(r#"{{"meta":{{"timeout_ms":{text}}}}}"#);
            Request::read(body.as_bytes()).map(|request| request.meta.budget(DEFAULT_TIMEOUT))
        };
        assert_eq!(budget("0").unwrap(), Duration::ZERO);
        assert_eq!(budget("18446744073709551615").unwrap(), MAX_TIMEOUT);
        for default in ["-1", "\"soon\"", "null", "1.5"] {
            assert_eq!(budget(default).unwrap(), DEFAULT_TIMEOUT, "{default}");
        }
        for clamped in ["18446744073709551616", "1e300", &"9".repeat(100_000)] {
            assert_eq!(budget(clamped).unwrap(), MAX_TIMEOUT, "{}", &clamped[..8.min(clamped.len())]);
        }
    }

    #[test]
    fn bad_17_hops_are_never_taken_as_none() {
        assert_eq!(error(r#"{"meta":{"hops":17}}"#).code, Code::FailedPrecondition);
        for bad in ["-1", "\"x\"", "null", "1000000000"] {
            assert_eq!(error(&format!(r#"{{"meta":{{"hops":{bad}}}}}"#)).code, Code::InvalidArgument, "{bad}");
        }
    }

    #[test]
    fn bad_18_call_ids() {
        for bad in ["\"\"", "\"*\"", "7", &format!("\"{}\"", "a".repeat(65))] {
            assert_eq!(error(&format!(r#"{{"meta":{{"call":{bad}}}}}"#)).code, Code::InvalidArgument, "{bad}");
        }
    }

    #[test]
    fn bad_19_a_malformed_trace_is_no_trace() {
        let good = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        for (text, kept) in [(good, Some(good)), ("00-0-0-00", None), (&"0".repeat(1024), None)] {
            let body = format!(r#"{{"meta":{{"traceparent":"{text}"}}}}"#);
            assert_eq!(Request::read(body.as_bytes()).unwrap().meta.traceparent.as_deref(), kept);
        }
    }

    proptest::proptest! {
        #[test]
        fn bad_07_any_body_is_read_or_refused_with_a_safe_message(
            body in "\\{\"(args|kwargs|meta|[a-z\u{1b}]{0,5})\":[\\[\\]{}:,\"a0$ -]{0,60}\\}?",
        ) {
            if let Err(error) = Request::read(body.as_bytes()) {
                proptest::prop_assert!(!error.message.chars().any(char::is_control));
            }
        }

        #[test]
        fn bad_16_any_meta_has_a_time_within_bounds(text in "-?[0-9]{1,400}([.][0-9]{1,9})?(e[0-9]{1,4})?") {
            let body = format!(r#"{{"meta":{{"timeout_ms":{text}}}}}"#);
            if let Ok(request) = Request::read(body.as_bytes()) {
                proptest::prop_assert!(request.meta.budget(DEFAULT_TIMEOUT) <= MAX_TIMEOUT);
            }
        }
    }

    #[test]
    fn a_request_reads_back() {
        let request = Request {
            args: vec![1.into()],
            kwargs: Map::from_iter([("a".to_owned(), "b".into())]),
            meta: Meta {
                timeout: Some(Duration::from_millis(1500)),
                call: Some("x".into()),
                hops: 2,
                traceparent: None,
            },
        };
        assert_eq!(Request::read(&request.to_bytes()).unwrap(), request);
        assert_eq!(request.to_bytes(), serde_json::to_vec(&request).unwrap());
        assert_eq!(Request::default().to_bytes(), r#"{"meta":{}}"#);
    }
}
