//! Calls that the node passes on: read, answered by the CI, and ended with the connection.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
};

use bytes::{Buf, Bytes};
use futures::{FutureExt, future::BoxFuture};
use tokio::time::Instant;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::super::{
    Outlet,
    frame::{Frame, Kind},
    link::Link,
    reader::End,
};
use crate::{
    Effect, Name, Role, SkillPath, UserName,
    dispatch::{Begun, Deed, Directory, Dispatcher, Incoming, Journal, Outcome},
    error::Error,
    json,
    serve::{
        Head,
        streaming::{self, Running, Sink},
    },
    skill::{Answer, Ci},
    subject::{Caller, HandTarget},
    sync::lock,
};

/// The one CI that is offered.
struct Alone(Arc<dyn Ci>);

impl Directory for Alone {
    fn find(&self, target: &HandTarget) -> Result<Arc<dyn Ci>, Error> {
        if target.name == *self.0.name() {
            return Ok(self.0.clone());
        }
        Err(Error::unavailable(format!("{} is not offered here", target.name)).sent(false))
    }

    /// The node has judged it.
    fn grants(&self, _: &UserName, _: &Name, _: Effect) -> bool {
        true
    }
}

/// The node has put on record what it passes on.
struct OnRecord;

impl Journal for OnRecord {
    fn begin<'a>(&'a self, _: Deed<'a>) -> BoxFuture<'a, Result<Begun, Error>> {
        std::future::ready(Ok(Begun::Run)).boxed()
    }

    fn end<'a>(&'a self, _: Deed<'a>, _: Outcome<'a>) -> BoxFuture<'a, ()> {
        std::future::ready(()).boxed()
    }

    fn refused<'a>(&'a self, _: &'a Caller, _: &'a str, _: &'a str) -> BoxFuture<'a, ()> {
        std::future::ready(()).boxed()
    }
}

/// The calls that run for one connection; they are cancelled when this is dropped.
pub(super) struct Served {
    ci: Arc<dyn Ci>,
    dispatcher: Dispatcher,
    link: Arc<Link>,
    running: Arc<Mutex<HashMap<u32, Arc<Running>>>>,
    all: CancellationToken,
    tracker: TaskTracker,
}

impl Served {
    pub(super) fn new(ci: Arc<dyn Ci>, link: Arc<Link>) -> Self {
        let dispatcher = Dispatcher::new(Arc::new(Alone(ci.clone())), Arc::new(OnRecord));
        let (all, tracker) = (CancellationToken::new(), TaskTracker::new());
        Self { ci, dispatcher, link, running: Arc::default(), all, tracker }
    }

    /// Does what a frame of the node asks for.
    pub(super) fn take(&self, frame: Frame) -> Result<(), End> {
        let Frame { kind, id, body } = frame;
        match kind {
            Kind::Request => self.call(id, body)?,
            Kind::Cancel => {
                if let Some(running) = lock(&self.running).get(&id) {
                    running.cancelled.cancel();
                }
            }
            Kind::Credit => {
                if let Some(running) = lock(&self.running).get(&id) {
                    running.credit(&body);
                }
            }
            _ => return Err(End::Violation),
        }
        Ok(())
    }

    /// Resolves when no call runs any more.
    pub(super) async fn idle(&self) {
        self.tracker.close();
        self.tracker.wait().await;
    }

    fn call(&self, id: u32, mut body: Bytes) -> Result<(), End> {
        let end = body.iter().position(|byte| *byte == b'\n').ok_or(End::Violation)?;
        let head = body.split_to(end);
        body.advance(1);
        let (caller, path) = read(&head, self.ci.name().as_str()).ok_or(End::Violation)?;
        let cancelled = self.all.child_token();
        let running = Arc::new(Running::until(cancelled.clone()));
        if lock(&self.running).insert(id, running.clone()).is_some() {
            return Err(End::Violation);
        }
        let target = HandTarget { name: self.ci.name().clone(), node: None };
        let since = Instant::now();
        let incoming = Incoming { caller, target, path, by_hand: false, body, traceparent: None, since, cancelled };
        let (dispatcher, all) = (self.dispatcher.clone(), self.running.clone());
        let outlet = Outlet::new(self.link.clone(), 0, id);
        self.tracker.spawn(async move {
            let answer = dispatcher.answer(incoming).await;
            // Nobody can be told but over the connection, so that a failure to send is its end.
            let _ = answered(&outlet, answer, &running).await;
            lock(&all).remove(&id);
        });
        Ok(())
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        self.all.cancel();
        self.tracker.close();
    }
}

/// Reads `<role>.<caller>.<ci>.<skill…>`.
fn read(head: &[u8], ci: &str) -> Option<(Caller, SkillPath)> {
    let mut parts = std::str::from_utf8(head).ok()?.splitn(4, '.');
    let role: Role = parts.next()?.parse().ok()?;
    let name = UserName::parse(parts.next()?).ok()?;
    let path = parts.next().filter(|named| *named == ci).and(parts.next())?;
    Some((Caller { role, name }, SkillPath::parse(path).ok()?))
}

async fn answered(outlet: &Outlet, answer: Result<Answer, Error>, running: &Running) -> Result<(), Error> {
    // A connection that ends cancels its calls.
    let down = std::future::pending();
    let body = match answer {
        Ok(Answer::Stream(stream)) => {
            streaming::send(outlet, stream, running, down).await;
            return Ok(());
        }
        Ok(Answer::Bodies(bodies)) => {
            streaming::send_bodies(outlet, bodies, running, down).await;
            return Ok(());
        }
        Ok(Answer::Value(value)) => outlet.fit(json::to_bytes(&value)).await,
        Ok(Answer::Body(body)) => outlet.fit(body).await,
        Err(error) => Err(error),
    };
    let error = match body {
        Ok(body) => return Sink::send(outlet, Head::Value, body).await,
        Err(error) => error,
    };
    let body = serde_json::to_vec(&error).unwrap_or_default();
    Sink::send(outlet, Head::Error(error.code), body.into()).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_calls_what_stands_before_the_envelope() {
        let (caller, path) = read(b"operator.olga.solo.optimize.apply", "solo").unwrap();
        assert_eq!((caller.to_string().as_str(), path.as_str()), ("operator.olga", "optimize.apply"));
        for bad in [&b"operator.olga.other.status"[..], b"root.olga.solo.status", b"operator.olga.solo", b"", b"\xff"] {
            assert!(read(bad, "solo").is_none(), "{bad:?}");
        }
    }
}
