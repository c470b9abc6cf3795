//! The error of a call, as it travels: a code, what failed and why, and what to do next.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// What kind of failure a call met. Each code has one exit code at the command line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Code {
    /// The arguments, the body or the text cannot be used.
    InvalidArgument,
    /// No such skill, or no such thing named in the arguments.
    NotFound,
    /// Registered, but does not answer.
    Unavailable,
    /// The deadline passed first.
    DeadlineExceeded,
    /// The caller gave up.
    Cancelled,
    /// The role does not permit it.
    PermissionDenied,
    /// The name, or the idempotency key, is taken.
    AlreadyExists,
    /// The state of things does not allow it.
    FailedPrecondition,
    /// A limit was reached.
    ResourceExhausted,
    /// Known, but not offered here.
    Unimplemented,
    /// Stored data is damaged or missing.
    DataLoss,
    /// A fault; with `data.exception`, the skill's own.
    Internal,
}

impl Code {
    /// Every code.
    pub const ALL: [Self; 12] = [
        Self::InvalidArgument,
        Self::NotFound,
        Self::Unavailable,
        Self::DeadlineExceeded,
        Self::Cancelled,
        Self::PermissionDenied,
        Self::AlreadyExists,
        Self::FailedPrecondition,
        Self::ResourceExhausted,
        Self::Unimplemented,
        Self::DataLoss,
        Self::Internal,
    ];

    /// The code's word, as in the header `Aigis-Error`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::InvalidArgument => "invalid_argument",
            Self::NotFound => "not_found",
            Self::Unavailable => "unavailable",
            Self::DeadlineExceeded => "deadline_exceeded",
            Self::Cancelled => "cancelled",
            Self::PermissionDenied => "permission_denied",
            Self::AlreadyExists => "already_exists",
            Self::FailedPrecondition => "failed_precondition",
            Self::ResourceExhausted => "resource_exhausted",
            Self::Unimplemented => "unimplemented",
            Self::DataLoss => "data_loss",
            Self::Internal => "internal",
        }
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// A word that is no error code.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("\"{0}\" is no error code of this version")]
pub struct UnknownCode(String);

impl FromStr for Code {
    type Err = UnknownCode;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL.into_iter().find(|code| code.as_str() == text).ok_or_else(|| UnknownCode(crate::name::quoted(text)))
    }
}

/// How many bytes of another's words are believed to be worth reading.
const HEARD: usize = 4 * 1024;

/// A call's failure: what the callee answers instead of a result.
///
/// ```
/// use aigis_proxy::{Code, Error};
/// let error = Error::new(Code::NotFound, "web has no skill \"dance\"").hint("ask: aish describe web");
/// assert_eq!(error.to_string(), "web has no skill \"dance\"");
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
pub struct Error {
    /// The kind of failure.
    pub code: Code,
    /// What failed and why, for people.
    pub message: String,
    /// What to do next.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    /// Details for programs: an object, if present.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data: Option<Value>,
    /// The failure behind this one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cause: Option<Box<Self>>,
}

impl Error {
    /// Makes a failure of that code.
    #[must_use]
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), hint: None, data: None, cause: None }
    }

    /// Makes an `invalid_argument`.
    #[must_use]
    pub fn invalid(message: impl Into<String>) -> Self {
        Self::new(Code::InvalidArgument, message)
    }

    /// Makes an `unavailable`.
    #[must_use]
    pub fn unavailable(message: impl Into<String>) -> Self {
        Self::new(Code::Unavailable, message)
    }

    /// Makes a `failed_precondition`.
    #[must_use]
    pub fn precondition(message: impl Into<String>) -> Self {
        Self::new(Code::FailedPrecondition, message)
    }

    /// Makes an `internal`: a fault of ours.
    #[must_use]
    pub fn internal(message: impl Into<String>) -> Self {
        Self::new(Code::Internal, message)
    }

    /// Adds what to do next.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Adds one detail under `key`.
    #[must_use]
    pub fn with(mut self, key: &str, value: impl Into<Value>) -> Self {
        let data = self.data.get_or_insert_with(|| json!({}));
        if let Some(object) = data.as_object_mut() {
            object.insert(key.to_owned(), value.into());
        }
        self
    }

    /// Says whether the request may have reached the callee (`data.sent`).
    #[must_use]
    pub fn sent(self, sent: bool) -> Self {
        self.with("sent", sent)
    }

    /// An error as another process sent it: all its words together no longer than a person may be shown.
    #[must_use]
    pub(crate) fn heard(mut self) -> Self {
        self.cut(&mut { HEARD });
        self
    }

    fn cut(&mut self, left: &mut usize) {
        for text in std::iter::once(&mut self.message).chain(self.hint.as_mut()) {
            if text.len() > *left {
                text.truncate(text.floor_char_boundary(*left));
                text.push('…');
            }
            *left = left.saturating_sub(text.len());
        }
        if let Some(cause) = &mut self.cause {
            cause.cut(left);
        }
    }

    /// The detail under `key`, if there is one.
    #[must_use]
    pub fn detail(&self, key: &str) -> Option<&Value> {
        self.data.as_ref().and_then(|data| data.get(key))
    }
}

impl From<crate::name::Error> for Error {
    fn from(error: crate::name::Error) -> Self {
        Self::invalid(error.to_string())
    }
}

/// An error with what caused it, on one line.
#[must_use]
pub fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text.push_str(": ");
        text.push_str(&error.to_string());
        source = error.source();
    }
    text
}
