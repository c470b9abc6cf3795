//! What can go wrong with a request to the engine, in words that name the engine.

use std::{error::Error as _, io, os::unix::fs::MetadataExt, path::Path, time::Duration};

use aigis_proxy::Code;
use bollard::errors::Error as ClientError;
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use super::transport::Target;

/// A request to the engine that brought no usable answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The engine does not take connections, or breaks them off.
    #[error("the Docker engine at {engine} cannot be reached since {}: {what}", stamp(*since))]
    Unreachable {
        /// Where the engine was asked.
        engine: String,
        /// The first failure after the last success.
        since: OffsetDateTime,
        /// What happened.
        what: String,
        /// What to do about it.
        hint: String,
    },
    /// The engine has no such container, image or command run.
    #[error("the Docker engine at {engine} says: {words}")]
    NotFound {
        /// Where the engine was asked.
        engine: String,
        /// The engine's own words.
        words: String,
    },
    /// The state of the container does not allow it (status 409).
    #[error("the Docker engine at {engine} refused to {what}: {words}")]
    Conflict {
        /// Where the engine was asked.
        engine: String,
        /// What was asked of it.
        what: &'static str,
        /// The engine's own words.
        words: String,
    },
    /// The engine refused for another reason: a port taken, a network missing, a value out of range.
    #[error("the Docker engine at {engine} refused to {what}: {words}")]
    Refused {
        /// Where the engine was asked.
        engine: String,
        /// What was asked of it.
        what: &'static str,
        /// The status of its answer.
        status: u16,
        /// The engine's own words.
        words: String,
    },
    /// No answer in time.
    #[error("the Docker engine at {engine} did not {what} within {:.1} s", after.as_secs_f64())]
    Timeout {
        /// Where the engine was asked.
        engine: String,
        /// What was asked of it.
        what: &'static str,
        /// How long it was waited for.
        after: Duration,
        /// Whether the caller's budget ended, and not the bound of an engine request.
        budget: bool,
    },
    /// An answer that cannot be read, or is over 16 MiB.
    #[error("the Docker engine at {engine} answered {endpoint} with what cannot be read: {what}")]
    Malformed {
        /// Where the engine was asked.
        engine: String,
        /// Which request it was.
        endpoint: &'static str,
        /// What is wrong with the answer.
        what: String,
    },
}

impl Error {
    /// What to do next, if that is known.
    #[must_use]
    pub fn hint(&self) -> Option<&str> {
        match self {
            Self::Unreachable { hint, .. } => Some(hint),
            Self::Timeout { budget: false, .. } => Some("see whether it works at all: docker version"),
            Self::Malformed { .. } => Some("see that the socket is a Docker engine's: docker version"),
            _ => None,
        }
    }

    /// Whether the engine itself is away, so that any other request would fail as well.
    #[must_use]
    pub fn is_engine_away(&self) -> bool {
        matches!(self, Self::Unreachable { .. } | Self::Timeout { budget: false, .. })
    }

    /// The engine's own words, where it answered with some.
    #[must_use]
    pub fn words(&self) -> Option<&str> {
        match self {
            Self::NotFound { words, .. } | Self::Conflict { words, .. } | Self::Refused { words, .. } => Some(words),
            _ => None,
        }
    }

    /// The code under which this travels to a caller.
    #[must_use]
    pub fn code(&self) -> Code {
        match self {
            Self::Unreachable { .. } | Self::Timeout { budget: false, .. } | Self::Malformed { .. } => {
                Code::Unavailable
            }
            Self::Timeout { .. } => Code::DeadlineExceeded,
            Self::NotFound { .. } => Code::NotFound,
            Self::Conflict { .. } | Self::Refused { .. } => Code::FailedPrecondition,
        }
    }
}

impl From<Error> for aigis_proxy::Error {
    fn from(error: Error) -> Self {
        let made = Self::new(error.code(), error.to_string());
        match error.hint() {
            Some(hint) => made.hint(hint),
            None => made,
        }
    }
}

/// What was being asked, for the words of a failure.
#[derive(Debug, Clone, Copy)]
pub(super) struct Asked {
    /// The verb phrase: `start the container`.
    pub(super) what: &'static str,
    /// The endpoint: `GET /containers/json`.
    pub(super) endpoint: &'static str,
}

/// Turns the client's failure into ours.
pub(super) fn from_client(target: &Target, asked: Asked, since: OffsetDateTime, error: &ClientError) -> Error {
    let engine = name(target);
    let Asked { what, endpoint } = asked;
    match error {
        ClientError::DockerResponseServerError { status_code, message } => {
            let words = message.trim().to_owned();
            match status_code {
                404 => Error::NotFound { engine, words },
                409 => Error::Conflict { engine, what, words },
                status => Error::Refused { engine, what, status: *status, words },
            }
        }
        ClientError::IOError { err } if err.kind() != io::ErrorKind::InvalidData => unreachable(target, since, err),
        ClientError::HyperResponseError { err } => match source(err) {
            Some(cause) if cause.kind() == io::ErrorKind::InvalidData => {
                Error::Malformed { engine, endpoint, what: cause.to_string() }
            }
            Some(cause) => unreachable(target, since, cause),
            None if err.is_parse() => Error::Malformed { engine, endpoint, what: format!("no HTTP answer: {err}") },
            None => {
                let hint = "see whether the engine runs: docker version".to_owned();
                Error::Unreachable { engine, since, what: format!("it broke off the answer: {err}"), hint }
            }
        },
        other => Error::Malformed { engine, endpoint, what: other.to_string() },
    }
}

fn source(error: &hyper::Error) -> Option<&io::Error> {
    let mut next = error.source();
    // A chain of causes is short; the bound only keeps a hostile one from holding us.
    for _ in 0..16 {
        match next?.downcast_ref::<io::Error>() {
            Some(found) => return Some(found),
            None => next = next?.source(),
        }
    }
    None
}

fn unreachable(target: &Target, since: OffsetDateTime, error: &io::Error) -> Error {
    let engine = name(target);
    let (what, hint) = match (target, error.kind()) {
        (Target::Foreign(address), _) => (
            format!("{address} is no Unix socket"),
            "a node serves the engine of its own host: set DOCKER_HOST to unix:///PATH, or unset it".to_owned(),
        ),
        (Target::Socket(path), io::ErrorKind::NotFound) => (
            format!("there is no socket {}", path.display()),
            "install and start Docker, or say where its socket is with DOCKER_HOST=unix:///PATH".to_owned(),
        ),
        (Target::Socket(path), io::ErrorKind::PermissionDenied) => {
            let group = group_of(path).unwrap_or_else(|| "docker".to_owned());
            (
                format!("this user may not open {}", path.display()),
                format!("join the group {group} (usermod -aG {group} USER) and log in again"),
            )
        }
        (Target::Socket(path), io::ErrorKind::ConnectionRefused) => (
            format!("nothing listens on {}", path.display()),
            "start the engine: systemctl start docker, or service docker start".to_owned(),
        ),
        _ => (error.to_string(), "see whether the engine runs: docker version".to_owned()),
    };
    Error::Unreachable { engine, since, what, hint }
}

/// The name of the group that owns the socket.
fn group_of(path: &Path) -> Option<String> {
    let gid = std::fs::metadata(path).ok()?.gid().to_string();
    let groups = std::fs::read_to_string("/etc/group").ok()?;
    groups.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)? == gid).then(|| name.to_owned())
    })
}

/// How the engine is called in messages.
pub(super) fn name(target: &Target) -> String {
    match target {
        Target::Socket(path) => format!("unix://{}", path.display()),
        Target::Foreign(address) => address.clone(),
    }
}

fn stamp(at: OffsetDateTime) -> String {
    let whole = at.replace_millisecond(at.millisecond()).unwrap_or(at);
    whole.format(&Rfc3339).unwrap_or_else(|_| whole.to_string())
}
