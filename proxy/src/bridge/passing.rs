//! One call of the process, from its frame to the last of its answer.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use futures::future::BoxFuture;

use super::{
    credit::Granted,
    frame::{Header, Kind, Message, Violation},
    outbox::{Closed, Outbox},
};
use crate::{
    Address, Code, Error, SkillPath,
    client::Frames,
    envelope::{MAX_TIMEOUT, Passing},
};

/// How a host passes on the calls of its process.
pub trait Way: Send + Sync + 'static {
    /// Finds whom a call is for, and makes it.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future, or the stream that it gives, cancels the call at the callee.
    fn open(&self, asked: Asked) -> impl Future<Output = Result<Opened, Refused>> + Send;
}

impl<W: Way> Way for Arc<W> {
    fn open(&self, asked: Asked) -> impl Future<Output = Result<Opened, Refused>> + Send {
        W::open(self, asked)
    }
}

/// What a process asks for.
#[derive(Debug)]
pub struct Asked {
    /// Of which CI, where the caller gave an address; else the path begins with its name, or is one that a plugin claims.
    pub ci: Option<Address>,
    /// Which skill; none where an address itself was called.
    pub path: Option<SkillPath>,
    /// With what.
    pub request: Passing,
}

impl Asked {
    /// Reads a `call`.
    ///
    /// # Errors
    ///
    /// A violation for a frame without a path; what else is wrong is the caller's to hear.
    pub(crate) fn read(message: Message) -> Result<Result<Self, Error>, Violation> {
        let Message { header: Header { path, ci, timeout_ms, .. }, body } = message;
        let path = path.ok_or_else(|| Violation::new("a call without a path"))?;
        let Some(body) = body else {
            let error = Error::new(Code::ResourceExhausted, "the calls of this process hold too much at once");
            return Ok(Err(error.hint("send large values one after another").sent(false)));
        };
        let read = || -> Result<Self, Error> {
            let path = Some(path).filter(|path| !path.is_empty()).map(|path| SkillPath::parse(&path)).transpose()?;
            let ci = ci.map(|ci| Address::parse(&ci)).transpose()?;
            let mut request = Passing::read(body)?;
            let waits = timeout_ms.map(|timeout| Duration::from_millis(timeout).min(MAX_TIMEOUT));
            let timeouts = waits.into_iter().chain(request.meta.timeout);
            request.meta.timeout = timeouts.min();
            Ok(Self { ci, path, request })
        };
        Ok(read().map_err(|error| error.sent(false)))
    }

    /// Whether it lets go of a handle: a process that ends does so last, and waits for no answer.
    pub(super) fn releases(&self) -> bool {
        self.path.as_ref().is_some_and(|path| path.as_str().starts_with("_ref.") && path.as_str().ends_with(".release"))
    }
}

/// A call that was answered.
#[derive(Debug)]
pub struct Opened {
    /// Who answered.
    pub ci: Address,
    /// What.
    pub answer: Answer,
}

/// What a call was answered with.
pub enum Answer {
    /// One result.
    Value(Bytes),
    /// Frames, and what is resolved if whoever sends them is known to be away.
    Stream(Box<Frames<Bytes>>, BoxFuture<'static, Error>),
}

impl std::fmt::Debug for Answer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Value(_) => "Value",
            Self::Stream(..) => "Stream",
        })
    }
}

/// A call that was answered with an error, or not made.
#[derive(Debug)]
pub struct Refused {
    /// Why.
    pub error: Error,
    /// Of whom it was asked, if that is known.
    pub ci: Option<Address>,
}

impl From<Error> for Refused {
    fn from(error: Error) -> Self {
        Self { error, ci: None }
    }
}

/// Passes a call on, and its answer back; `is_alone` says whether others of its process are under way.
///
/// # Errors
///
/// The process is gone.
pub(super) async fn pass(
    way: Arc<impl Way>,
    id: u64,
    asked: Asked,
    granted: Granted,
    outbox: &Outbox,
    is_alone: impl Fn() -> bool,
) -> Result<(), Closed> {
    let Opened { ci, answer } = match way.open(asked).await {
        Ok(opened) => opened,
        Err(Refused { error, ci }) => {
            return outbox.refuse(Some(id), ci.map(|ci| ci.to_string()), &in_python(error)).await;
        }
    };
    let ci = Some(ci.to_string());
    let reply = Header { ci: ci.clone(), ..Header::new(Kind::Reply, Some(id)) };
    let (frames, lost) = match answer {
        Answer::Value(value) if is_alone() => return outbox.send_alone(reply, value).await,
        Answer::Value(value) => return outbox.send(reply, value).await,
        Answer::Stream(frames, lost) => (frames.paced(), lost),
    };
    outbox.send(Header { stream: true, ..reply }, Bytes::new()).await?;
    let items = tokio::time::timeout(MAX_TIMEOUT, pass_items(id, frames, lost, granted, outbox)).await;
    let ended = items
        .unwrap_or_else(|_| Err(Stopped::By(Error::new(Code::DeadlineExceeded, "no stream lasts longer than a day"))));
    match ended {
        Ok(()) => outbox.send(Header::new(Kind::End, Some(id)), Bytes::new()).await,
        Err(Stopped::By(error)) => outbox.refuse(Some(id), ci, &in_python(error)).await,
        Err(Stopped::Closed) => Err(Closed),
    }
}

/// Why a stream ended before its end.
enum Stopped {
    By(Error),
    Closed,
}

impl From<Closed> for Stopped {
    fn from(_: Closed) -> Self {
        Self::Closed
    }
}

/// Passes items on as the process grants them, and what it grants to whoever sends them.
async fn pass_items(
    id: u64,
    mut frames: Frames<Bytes>,
    mut lost: BoxFuture<'static, Error>,
    mut granted: Granted,
    outbox: &Outbox,
) -> Result<(), Stopped> {
    loop {
        let item = tokio::select! {
            item = frames.next() => item,
            error = &mut lost => return Err(Stopped::By(error.sent(true))),
            more = granted.more() => {
                frames.grant(more);
                continue;
            }
        };
        let Some(item) = item.transpose().map_err(Stopped::By)? else { return Ok(()) };
        // Its sender may have sent more than the process has room for; it is told all the while that somebody is there.
        while !granted.is_left() {
            tokio::select! {
                more = granted.more() => frames.grant(more),
                never = frames.hold() => match never {},
            }
        }
        tokio::select! {
            sent = outbox.send(Header::new(Kind::Item, Some(id)), item) => sent?,
            never = frames.hold() => match never {},
        }
        granted.spend();
    }
}

/// An error as it is told to whoever writes Python, and no command lines.
fn in_python(error: Error) -> Error {
    let named = error.hint.as_deref().is_some_and(|hint| hint.contains("--timeout"));
    if named { error.hint("give it longer: aigis.with_timeout(120)") } else { error }
}
