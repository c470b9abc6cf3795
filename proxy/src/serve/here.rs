//! Calls from within the process that serves: judged like all others, with no wire between.

use bytes::Bytes;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::{Head, Key, Reply, Server};
use crate::{
    client::Target,
    dispatch::Incoming,
    name::UserName,
    subject::{Caller, Control, HandTarget, Token},
};

/// The parts of an answer, as they come.
pub(crate) type Parts = mpsc::Receiver<(Head, Bytes)>;

/// Where the answer to a call of this process goes.
#[derive(Debug, Clone)]
pub(crate) struct Outlet {
    caller: UserName,
    token: Token,
    parts: mpsc::Sender<(Head, Bytes)>,
}

impl Outlet {
    /// What tells its call from all others.
    pub(super) fn key(&self) -> Key {
        Key::Bus(self.caller.clone(), self.token.clone())
    }

    /// Sends a part of the answer.
    pub(super) async fn send(self, head: Head, body: Bytes) {
        // Whoever has gone has cancelled the call.
        let _ = self.parts.send((head, body)).await;
    }
}

/// A call of this process that was begun.
#[derive(Debug)]
pub(crate) struct Ongoing {
    server: Server,
    key: Key,
}

impl Ongoing {
    /// Cancels it, or gives its stream credit.
    pub(crate) fn tell(&self, verb: Control, body: &[u8]) {
        match verb {
            Control::Cancel => self.server.cancel(&self.key),
            Control::Credit => self.server.credit(&self.key, body),
        }
    }
}

impl Server {
    /// Begins a call of this process by that caller; at most `room` parts of its answer wait to be taken.
    pub(crate) fn begin(&self, caller: Caller, target: &Target, body: Bytes, room: usize) -> (Ongoing, Parts) {
        let (sender, parts) = mpsc::channel(room);
        let outlet = Outlet { caller: caller.name.clone(), token: Token::random(), parts: sender };
        let ongoing = Ongoing { server: self.clone(), key: outlet.key() };
        let incoming = Incoming {
            caller,
            target: HandTarget { name: target.ci.clone(), node: None },
            path: target.path.clone(),
            by_hand: false,
            body,
            traceparent: None,
            since: tokio::time::Instant::now(),
            cancelled: CancellationToken::new(),
        };
        self.start(incoming, Reply::Here(outlet));
        (ongoing, parts)
    }
}
