//! What a frame says of itself, and messages made of one or several.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::MOST_CREDIT;
use crate::{Code, Effect, Role};

/// The largest id: what every reader of JSON can hold.
const LARGEST_ID: u64 = (1 << 53) - 1;

/// What a frame is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Both: the first of each side.
    Hello,
    /// Process: it has loaded what it was to load.
    Ready,
    /// Host: run a skill.
    Invoke,
    /// Process: call a skill of the mesh.
    Call,
    /// Both: the answer.
    Reply,
    /// Both: an error instead of it; without an id, why the connection ends.
    Error,
    /// Both: one value of a stream.
    Item,
    /// Both: the end of a stream.
    End,
    /// Both: further items may be sent.
    Credit,
    /// Both: nobody waits for the answer any more.
    Cancel,
    /// Process: a line for its log.
    Log,
    /// Host: end in order.
    Stop,
}

/// What a host asks of a core process besides the running of skills.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Control {
    /// Run a plugin's `AIGIS.core`.
    Load,
    /// Let the others in the process reach it.
    Serve,
    /// End it.
    Unload,
    /// Tell of the process.
    Status,
}

/// Where a line of a process comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Source {
    /// A logger.
    Log,
    /// What a core plugin printed.
    Stdout,
    /// What it printed as an error.
    Stderr,
}

/// The header of a frame; keys that are not here are ignored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Header {
    /// What the frame is.
    pub t: Kind,
    /// Which call or invocation it belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<u64>,
    /// Whether more parts of the same body follow.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub more: bool,
    /// `invoke`: what is asked besides the running of a skill.
    #[serde(default, rename = "do", skip_serializing_if = "Option::is_none")]
    pub control: Option<Control>,
    /// `invoke`, `call`, `log`: which loaded copy of a plugin.
    #[serde(default, rename = "gen", skip_serializing_if = "Option::is_none")]
    pub generation: Option<u64>,
    /// `call`: the address of a CI, where the caller gave one; of answers to it, the CI that answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ci: Option<String>,
    /// `call`, `invoke`: the path.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// `invoke`: the caller's role.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<Role>,
    /// `invoke`: the caller's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub caller: Option<String>,
    /// `invoke`: the largest effect that the caller has here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub may: Option<Effect>,
    /// `call`: how long the process waits; `invoke`: what is left of the deadline.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout_ms: Option<u64>,
    /// `invoke`, `log`: the call's id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub call: Option<String>,
    /// `invoke`: the caller's span.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub traceparent: Option<String>,
    /// `invoke`, `stop`: how long what runs may take to end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grace_ms: Option<u64>,
    /// `log`: where the line comes from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<Source>,
    /// `log`: how much it matters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub level: Option<String>,
    /// `credit`: how many items.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub n: Option<u32>,
    /// `reply`: whether items follow.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub stream: bool,
    /// `error`: its code.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<Code>,
}

impl Header {
    /// The header of a frame of that kind, and of that call.
    #[must_use]
    pub fn new(t: Kind, id: Option<u64>) -> Self {
        Self {
            t,
            id,
            more: false,
            control: None,
            generation: None,
            ci: None,
            path: None,
            role: None,
            caller: None,
            may: None,
            timeout_ms: None,
            call: None,
            traceparent: None,
            grace_ms: None,
            source: None,
            level: None,
            n: None,
            stream: false,
            code: None,
        }
    }

    /// Reads a header.
    ///
    /// # Errors
    ///
    /// What is no object, or has a key with a value that it cannot have.
    pub fn read(bytes: &[u8]) -> Result<Self, Violation> {
        // A list in the order of the keys would be read as well.
        if bytes.trim_ascii_start().first() != Some(&b'{') {
            return Err(Violation::new("a header that is no object"));
        }
        let header: Self = serde_json::from_slice(bytes).map_err(|error| {
            Violation::new(format!("a header that cannot be used: {}", crate::quoted_within(&error.to_string())))
        })?;
        if header.id.is_some_and(|id| !(1..=LARGEST_ID).contains(&id)) {
            return Err(Violation::new("an id that is out of range"));
        }
        if header.n.is_some_and(|n| !(1..=MOST_CREDIT).contains(&n)) {
            return Err(Violation::new(format!("a credit that is not from 1 to {MOST_CREDIT}")));
        }
        Ok(header)
    }

    /// The id, which frames of this kind must have.
    ///
    /// # Errors
    ///
    /// There is none.
    pub fn id(&self) -> Result<u64, Violation> {
        self.id.ok_or_else(|| Violation::new(format!("a frame of the kind {:?} without an id", self.t)))
    }
}

/// What came: a header, and the body of all its parts.
#[derive(Debug, Clone)]
pub struct Message {
    /// The header of the first part.
    pub header: Header,
    /// The body; `None` if it was more than can be held, and was let go.
    pub body: Option<Bytes>,
}

/// Something came that is no frame, or was not due: the connection ends.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the process sent {0}")]
pub struct Violation(String);

impl Violation {
    /// Says what came.
    pub fn new(what: impl Into<String>) -> Self {
        Self(what.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bad_24_headers_that_are_none_are_refused() {
        for bad in [
            "",
            "null",
            "[\"cancel\",1]",
            "{}",
            "{\"t\":1}",
            "{\"t\":\"dance\"}",
            "{\"t\":\"cancel\",\"id\":0}",
            "{\"t\":\"cancel\",\"id\":-1}",
            "{\"t\":\"cancel\",\"id\":1.5}",
            "{\"t\":\"cancel\",\"id\":\"1\"}",
            "{\"t\":\"cancel\",\"id\":9007199254740992}",
            "{\"t\":\"cancel\",\"id\":1,\"id\":2}",
            "{\"t\":\"credit\",\"id\":1,\"n\":0}",
            "{\"t\":\"credit\",\"id\":1,\"n\":1025}",
            "{\"t\":\"call\",\"id\":1,\"path\":7}",
            "{\"t\":\"call\",\"id\":1,\"more\":1}",
            "{\"t\":\"log\",\"source\":\"printer\"}",
            "{\"t\":\"log\",\"gen\":\"2\"}",
            "{\"t\":\"cancel\",\"id\":1} x",
        ] {
            let refused = Header::read(bad.as_bytes()).unwrap_err().to_string();
            assert!(!refused.chars().any(char::is_control), "{bad}: {refused:?}");
        }
        let deep = format!("{{\"t\":\"cancel\",\"x\":{}", "[".repeat(60_000));
        assert!(Header::read(deep.as_bytes()).is_err());
    }

    #[test]
    fn unknown_keys_are_ignored_and_headers_read_back() {
        let header = Header::read(br#"{"t":"call","id":9,"path":"web.status","gen":2,"colour":{"a":[1]}}"#).unwrap();
        assert_eq!((header.t, header.id, header.path.as_deref()), (Kind::Call, Some(9), Some("web.status")));
        let written = serde_json::to_string(&header).unwrap();
        assert_eq!(written, r#"{"t":"call","id":9,"gen":2,"path":"web.status"}"#);
        assert_eq!(Header::read(written.as_bytes()), Ok(header));
    }
}
