//! From what went wrong to the exit code.

use std::{io, process::ExitCode};

use aigis_proxy::{Code, Error, NameError};
use serde_json::Value;

/// Why a command ends without success.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The command line cannot be used; nothing was sent.
    Usage(Usage),
    /// The address names no CI, or more than one.
    Address(Error),
    /// A call, or something like one, failed.
    Call(Error),
    /// What is to be said was said; this is the exit code.
    Said(u8),
    /// The reader of our output is gone, which is its right.
    Closed,
    /// Our output could not be written.
    Output(io::Error),
}

/// A command line that cannot be used.
#[derive(Debug)]
pub(crate) struct Usage {
    /// What is wrong.
    pub(crate) message: String,
    /// What to do next.
    pub(crate) hint: Option<String>,
}

impl Failure {
    /// Makes a usage error.
    pub(crate) fn usage(message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::Usage(Usage { message: message.into(), hint: Some(hint.into()) })
    }

    /// The error of a call that is one of many, which has no exit code of its own.
    pub(crate) fn into_error(self) -> Error {
        match self {
            Self::Address(error) | Self::Call(error) => error,
            Self::Usage(usage) => Error::invalid(usage.message),
            other => Error::internal(format!("the call ended unexpectedly: {other:?}")),
        }
    }

    /// The exit code.
    pub(crate) fn code(&self) -> u8 {
        match self {
            Self::Usage(_) => 2,
            Self::Address(error) => address(error),
            Self::Call(error) => of(error),
            Self::Said(code) => *code,
            Self::Closed => 0,
            Self::Output(_) => 1,
        }
    }

    /// The same, for the operating system.
    pub(crate) fn exit_code(&self) -> ExitCode {
        ExitCode::from(self.code())
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Call(error)
    }
}

impl From<NameError> for Failure {
    fn from(error: NameError) -> Self {
        Self::Usage(Usage { message: error.to_string(), hint: None })
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::BrokenPipe { Self::Closed } else { Self::Output(error) }
    }
}

/// The exit code of a command that Ctrl-C or SIGTERM ended.
pub(crate) const INTERRUPTED: u8 = 130;

/// The exit code of an error that finding the CI met.
fn address(error: &Error) -> u8 {
    match error.code {
        Code::NotFound | Code::FailedPrecondition => 68,
        _ => of(error),
    }
}

/// The exit code of a call's error.
pub(crate) fn of(error: &Error) -> u8 {
    if error.detail("kind").and_then(Value::as_str) == Some("ci") {
        return match error.code {
            Code::NotFound | Code::FailedPrecondition => 68,
            code => plain(code),
        };
    }
    if error.code == Code::Internal && error.detail("exception").is_some() {
        return 1;
    }
    plain(error.code)
}

fn plain(code: Code) -> u8 {
    match code {
        Code::FailedPrecondition | Code::AlreadyExists | Code::ResourceExhausted | Code::Unimplemented => 1,
        Code::InvalidArgument | Code::NotFound => 65,
        Code::Unavailable => 69,
        Code::Internal | Code::DataLoss => 70,
        Code::DeadlineExceeded => 75,
        Code::PermissionDenied => 77,
        Code::Cancelled => INTERRUPTED,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_code_has_its_exit_code() {
        let codes: Vec<(Code, u8)> = Code::ALL.into_iter().map(|code| (code, of(&Error::new(code, "x")))).collect();
        insta::assert_debug_snapshot!(codes.iter().map(|(code, exit)| format!("{code} {exit}")).collect::<Vec<_>>(), @r#"
        [
            "invalid_argument 65",
            "not_found 65",
            "unavailable 69",
            "deadline_exceeded 75",
            "cancelled 130",
            "permission_denied 77",
            "already_exists 1",
            "failed_precondition 1",
            "resource_exhausted 1",
            "unimplemented 1",
            "data_loss 70",
            "internal 70",
        ]
        "#);
    }

    #[test]
    fn an_address_that_names_none_or_several_is_68() {
        assert_eq!(of(&Error::new(Code::NotFound, "x").with("kind", "ci")), 68);
        assert_eq!(of(&Error::precondition("x").with("kind", "ci").with("candidates", Value::Array(vec![]))), 68);
        assert_eq!(Failure::Address(Error::precondition("x")).code(), 68);
        assert_eq!(Failure::Address(Error::unavailable("x")).code(), 69);
        assert_eq!(of(&Error::precondition("a service").with("candidates", Value::Array(vec![]))), 1, "CI-21");
    }

    #[test]
    fn an_exception_of_the_skill_is_1_and_a_fault_of_ours_70() {
        assert_eq!(of(&Error::internal("x").with("exception", "ValueError")), 1);
        assert_eq!(of(&Error::internal("x")), 70);
    }
}
