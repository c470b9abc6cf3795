//! A connection whose caller is known: its frames become calls, and answers go back over it.

use std::sync::Arc;

use bytes::{Buf, Bytes};
use tokio_util::sync::CancellationToken;

use super::{Frame, Kind, link::Link, reader::End};
use crate::{
    dispatch::Incoming,
    error::Error,
    serve::{Head, Key, Reply, Server},
    subject::{self, Caller},
};

/// A connection whose caller is known. Its calls end with it.
pub(super) struct Connection {
    pub(super) server: Server,
    pub(super) caller: Caller,
    pub(super) number: u64,
    pub(super) link: Arc<Link>,
}

impl Connection {
    /// Does what a frame asks for.
    pub(super) fn take(&self, frame: Frame) -> Result<(), End> {
        let Frame { kind, id, body } = frame;
        let outlet = Outlet { link: self.link.clone(), connection: self.number, id };
        match kind {
            // Two calls of one id could not be told apart.
            Kind::Request if self.server.is_running(&outlet.key()) => return Err(End::Violation),
            Kind::Request => self.call(outlet, body)?,
            Kind::Cancel => self.server.cancel(&outlet.key()),
            Kind::Credit => self.server.credit(&outlet.key(), &body),
            Kind::Value | Kind::Error | Kind::Stream | Kind::Frame => return Err(End::Violation),
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
        let incoming = Incoming { caller, target, path, by_hand: false, body, traceparent: None, cancelled };
        self.server.start(incoming, Reply::Socket(outlet));
        Ok(())
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.link.close();
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

impl Outlet {
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
