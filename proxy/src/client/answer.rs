//! How the answer to a call is awaited and read, whichever way the call went.

use std::time::Duration;

use serde_json::Value;
use tokio::time::Instant;

use super::{
    Content, Frames, Response, Running, Target,
    way::{Head, Replies, Reply, Way},
};
use crate::{
    body,
    envelope::{DEFAULT_TIMEOUT, MAX_TIMEOUT, Outgoing},
    error::{Code, Error},
    trace,
};

/// A call's time, counted from its beginning.
#[derive(Debug, Clone, Copy)]
pub(super) struct Begun {
    pub(super) explicit: bool,
    pub(super) deadline: Instant,
}

/// Why there is no response.
pub(super) enum Failed {
    /// The request surely did not arrive.
    Unsent,
    /// The way to the callee broke: it may have arrived.
    Broken(Error),
    /// Anything else.
    Told(Error),
}

impl Failed {
    /// What a failure on the way means.
    pub(super) fn of(error: Error) -> Self {
        if error.code == Code::Unavailable { Self::Broken(error) } else { Self::Told(error) }
    }

    /// What is told where there is no other way.
    pub(super) fn into_error(self, unsent: impl FnOnce() -> Error) -> Error {
        match self {
            Self::Unsent => unsent(),
            Self::Broken(error) | Self::Told(error) => error,
        }
    }
}

impl Begun {
    pub(super) fn now(request: &mut impl Outgoing, target: &Target) -> Self {
        let meta = request.meta_mut();
        if meta.traceparent.is_none() {
            meta.traceparent = trace::current();
        }
        let explicit = meta.timeout;
        // A callee applies what its skill declares by itself: only the patience is ours.
        let budget = explicit.or(target.timeout).unwrap_or(DEFAULT_TIMEOUT).min(MAX_TIMEOUT);
        Self { explicit: explicit.is_some(), deadline: Instant::now() + budget }
    }

    /// What is left of the time that the caller named.
    pub(super) fn left(&self) -> Option<Duration> {
        self.explicit.then(|| self.deadline.saturating_duration_since(Instant::now()))
    }

    /// Awaits the first reply, whichever way the request went.
    pub(super) async fn finish<C: Content>(
        self,
        mut running: Running,
        mut replies: Replies,
        target: &Target,
    ) -> Result<Response<C>, Failed> {
        // The callee tells of its own deadline; the grace is for that answer to arrive.
        let grace = Duration::from_millis(250);
        let mut reply = match tokio::time::timeout_at(self.deadline + grace, replies.next()).await {
            Ok(Some(Ok(reply))) => reply,
            Ok(Some(Err(error))) => {
                running.ended = true;
                let unsent = error.code == Code::Unavailable && error.detail("sent") == Some(&Value::Bool(false));
                return Err(if unsent { Failed::Unsent } else { Failed::of(error) });
            }
            Ok(None) => return Err(Failed::Told(Error::unavailable("the connection was closed").sent(true))),
            Err(_) => {
                if let Way::Bus(bus, _) = &running.way {
                    bus.was_silent(&running.server);
                }
                let Target { ci, path, .. } = target;
                let message = format!("{path} on {ci} did not answer before the deadline");
                let error = Error::new(Code::DeadlineExceeded, message).hint("give it longer: --timeout 2m");
                return Err(Failed::Told(error.sent(true)));
            }
        };
        if reply.head == Head::Stream {
            let frames = Frames::new(running, replies, self.explicit.then_some(self.deadline));
            return Ok(Response::Stream(Box::new(frames)));
        }
        running.ended = true;
        if let Some(bus) = running.way.bus() {
            let opened = body::incoming(bus, reply.body, self.deadline).await;
            reply.body = opened.map_err(|error| Failed::Told(unopened(error, target).sent(true)))?;
        }
        decode(reply, target).map(Response::Value).map_err(Failed::Told)
    }
}

/// Reads a single reply: a result, or the callee's error.
fn decode<C: Content>(reply: Reply, target: &Target) -> Result<C, Error> {
    let Head::Error(code) = reply.head else {
        return C::whole(reply.body).map_err(|error| hostile(target, &error.message));
    };
    match (code.map(|code| code.parse::<Code>()).transpose(), serde_json::from_slice::<Error>(&reply.body)) {
        (Ok(code), Ok(error)) => Err(Error { code: code.unwrap_or(error.code), ..error }.heard()),
        (Err(unknown), _) => Err(hostile(target, &unknown.to_string())),
        (_, Err(_)) => Err(hostile(target, "its error has no readable body")),
    }
}

fn hostile(target: &Target, reason: &str) -> Error {
    Error::internal(format!("the reply of {} (served by {}) is unusable: {reason}", target.ci, target.server))
}

/// A reference that is none is the callee's fault.
fn unopened(error: Error, target: &Target) -> Error {
    if error.code == Code::InvalidArgument { hostile(target, &error.message) } else { error }
}

pub(super) fn named(target: &Target) -> Error {
    let Target { ci, server, .. } = target;
    Error::unavailable(format!("{ci} does not answer: its server \"{server}\" is not on the bus"))
        .hint("see: aish nodes")
        .sent(false)
}
