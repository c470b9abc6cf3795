//! One invocation as its caller sees it: what is asked, and what is answered.

use std::{
    fmt,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use futures::{Stream, StreamExt};
use tokio::sync::mpsc;

use super::{
    frame::{Header, Kind},
    table::{Guard, Table},
};
use crate::{
    Effect, Error, SkillPath,
    skill::{Answer, Bodies, Call},
    subject::Caller,
    trace,
};

/// A skill that is to be run, or a handle that is to be used.
#[derive(Debug, Clone)]
pub struct Invocation {
    /// Which loaded copy of a plugin; none for a handle's path.
    pub generation: Option<u64>,
    /// Which skill, whatever CI it was asked of; or a path that begins with `_ref`.
    pub path: SkillPath,
    /// Who calls.
    pub caller: Caller,
    /// The largest effect that the caller has here.
    pub may: Effect,
    /// What is left of the deadline.
    pub timeout: Duration,
    /// The call's id, for logs.
    pub call: Option<String>,
    /// The caller's span.
    pub traceparent: Option<String>,
    /// The envelope as it came.
    pub body: Bytes,
}

impl Invocation {
    /// What a call of a skill that takes bodies asks of the process behind it.
    #[must_use]
    pub fn of(call: Call, generation: Option<u64>, path: SkillPath, may: Effect) -> Self {
        let timeout = call.remaining();
        let meta = call.request.meta;
        let traceparent = trace::current().or(meta.traceparent);
        Self { generation, path, caller: call.caller, may, timeout, call: meta.call, traceparent, body: call.body }
    }

    /// The header of its frame, and the body.
    pub(super) fn into_frame(self, id: u64) -> (Header, Bytes) {
        let header = Header {
            generation: self.generation,
            path: Some(self.path.to_string()),
            role: Some(self.caller.role),
            caller: Some(self.caller.name.to_string()),
            may: Some(self.may),
            timeout_ms: Some(u64::try_from(self.timeout.as_millis()).unwrap_or(u64::MAX)),
            call: self.call,
            traceparent: self.traceparent,
            ..Header::new(Kind::Invoke, Some(id))
        };
        (header, self.body)
    }
}

/// What a process answers.
#[derive(Debug)]
pub enum Answered {
    /// One result, as JSON.
    Value(Bytes),
    /// Items, as they come.
    Items(Items),
}

impl From<Answered> for Answer {
    fn from(answered: Answered) -> Self {
        match answered {
            Answered::Value(value) => Self::Body(value),
            Answered::Items(items) => {
                let pace = items.pace();
                Self::Bodies(Bodies::paced(items.boxed(), move |frames| pace.grant(frames)))
            }
        }
    }
}

/// The items of a stream, each as JSON; ended by the first error. Dropping it cancels the stream.
///
/// A process may send 32 items, and then what its reader grants by [`Items::pace`]: reading gives it nothing.
pub struct Items {
    items: mpsc::Receiver<Result<Bytes, Error>>,
    pace: Pace,
    _guard: Guard,
}

impl Items {
    pub(super) fn new(items: mpsc::Receiver<Result<Bytes, Error>>, guard: Guard) -> Self {
        let pace = Pace { id: guard.id, taken: Arc::default(), table: guard.table.clone() };
        Self { items, pace, _guard: guard }
    }

    /// What grants further items.
    #[must_use]
    pub fn pace(&self) -> Pace {
        self.pace.clone()
    }
}

impl Stream for Items {
    type Item = Result<Bytes, Error>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let next = self.items.poll_recv(context);
        if let Poll::Ready(Some(Ok(_))) = next {
            self.pace.taken.fetch_add(1, Ordering::AcqRel);
        }
        next
    }
}

impl fmt::Debug for Items {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Items").field("id", &self.pace.id).finish_non_exhaustive()
    }
}

/// How far a stream may run ahead of its reader.
#[derive(Clone)]
pub struct Pace {
    id: u64,
    /// How many items were read.
    taken: Arc<AtomicU64>,
    table: Arc<Table>,
}

impl Pace {
    /// Lets the process send so many further items; no more than 1,024 are ever under way.
    pub fn grant(&self, items: u32) {
        self.table.grant(self.id, items, self.taken.load(Ordering::Acquire));
    }
}

impl fmt::Debug for Pace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pace").field("id", &self.id).field("taken", &self.taken).finish_non_exhaustive()
    }
}
