//! A connection whose caller is known: its frames become calls, and answers go back over it.

use std::sync::{Arc, atomic::Ordering};

use bytes::{Buf, Bytes};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::{Frame, Kind, MAX_BODY, calls::Calls, desk::Order, link::Link, reader::End, tenure::Tenure};
use crate::{
    body,
    dispatch::Incoming,
    error::Error,
    serve::{Head, Key, Reply, Server, streaming::Sink},
    subject::{self, Caller},
};

/// A connection whose caller is known. Its calls end with it.
pub(super) struct Connection {
    pub(super) server: Server,
    pub(super) caller: Caller,
    pub(super) number: u64,
    pub(super) link: Arc<Link>,
    /// What the node asks of the CIs that are offered here.
    pub(super) calls: Arc<Calls>,
    /// Where offers go.
    pub(super) desk: mpsc::Sender<Order>,
    /// Where a renewed token goes.
    pub(super) tenure: Tenure,
}

impl Connection {
    /// Does what a frame asks for.
    pub(super) fn take(&self, frame: Frame) -> Result<(), End> {
        let Frame { kind, id, body } = frame;
        let outlet = Outlet::new(self.link.clone(), self.number, id);
        match kind {
            // Two calls of one id could not be told apart.
            Kind::Request if self.server.is_running(&outlet.key()) => return Err(End::Violation),
            Kind::Request => self.call(outlet, body)?,
            Kind::Renew => self.tenure.renew(&body)?,
            Kind::Cancel => self.server.cancel(&outlet.key()),
            Kind::Credit => self.server.credit(&outlet.key(), &body),
            // One who says more than is taken in is cut off, as it would be by a full buffer.
            Kind::Offer | Kind::Withdraw => {
                return self.desk.try_send(Order { kind, id, body }).map_err(|_| End::Violation);
            }
            // Who was never asked has nothing to answer; a late answer finds nobody who waits.
            Kind::Value | Kind::Error | Kind::Stream | Kind::Frame if !self.calls.has_begun() => {
                return Err(End::Violation);
            }
            Kind::Value | Kind::Error | Kind::Stream | Kind::Frame => {
                if !self.calls.take(Frame { kind, id, body }) {
                    self.server.counters().late.fetch_add(1, Ordering::Relaxed);
                }
            }
            Kind::Dismissed => return Err(End::Violation),
        }
        Ok(())
    }

    fn call(&self, outlet: Outlet, mut body: Bytes) -> Result<(), End> {
        let end = body.iter().position(|byte| *byte == b'\n').ok_or(End::Violation)?;
        let tail = body.split_to(end);
        body.advance(1);
        let tail = std::str::from_utf8(&tail).map_err(|_| End::Violation)?;
        let (target, path) = match subject::read_tail(tail) {
            Ok(asked) => asked,
            Err(error) => {
                let body = serde_json::to_vec(&Error::from(error).sent(false)).unwrap_or_default();
                return outlet.push(Kind::Error, &body).map_err(|_| End::Closed);
            }
        };
        let caller = self.caller.clone();
        let cancelled = CancellationToken::new();
        let since = self.server.sent_at_earliest();
        let incoming = Incoming { caller, target, path, by_hand: false, body, traceparent: None, since, cancelled };
        self.server.start(incoming, Reply::Socket(outlet));
        Ok(())
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.link.close();
        self.calls.end(&End::Closed);
        self.server.hang_up(self.number);
    }
}

/// Where the answer to one call of a connection goes.
#[derive(Debug, Clone)]
pub(crate) struct Outlet {
    link: Arc<Link>,
    connection: u64,
    id: u32,
}

impl Sink for Outlet {
    async fn fit(&self, body: Bytes) -> Result<Bytes, Error> {
        if body.len() > MAX_BODY { Err(body::too_large(body.len() as u64)) } else { Ok(body) }
    }

    async fn send(&self, head: Head, body: Bytes) -> Result<(), Error> {
        self.clone().send(head, &body).await
    }

    async fn send_frames(&self, bodies: Vec<Bytes>) -> Result<(), Error> {
        for body in bodies {
            self.clone().send(Head::Frame, &body).await?;
        }
        Ok(())
    }
}

impl Outlet {
    /// Where the answer to that call goes, over that link.
    pub(super) fn new(link: Arc<Link>, connection: u64, id: u32) -> Self {
        Self { link, connection, id }
    }

    /// What tells its call from all others.
    pub(crate) fn key(&self) -> Key {
        Key::Socket(self.connection, self.id)
    }

    /// Sends a part of the answer, once the caller takes what was sent before.
    pub(crate) async fn send(self, head: Head, body: &[u8]) -> Result<(), Error> {
        self.link.room().await;
        self.push(
            match head {
                Head::Value => Kind::Value,
                Head::Error(_) => Kind::Error,
                Head::Stream => Kind::Stream,
                Head::Frame => Kind::Frame,
            },
            body,
        )
    }

    fn push(&self, kind: Kind, body: &[u8]) -> Result<(), Error> {
        let pushed = self.link.push(kind, self.id, &[body]);
        pushed
            .map(|_| ())
            .ok_or_else(|| Error::unavailable("the caller's connection is closed, or the frame too large"))
    }
}
