//! Where answers go: to a reply subject at the bus, or back over a connection of the node's socket.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::{here, in_flight::ends, streaming::Sink};
use crate::{
    blob::PASSING,
    body,
    bus::{Bus, HeaderMap, pack},
    client::{ERROR_HEADER, STREAM_HEADER},
    error::{Code, Error},
    name::UserName,
    socket::{MAX_BODY, Outlet},
    subject::{Token, reply_token},
};

/// Where the answer to one call goes.
#[derive(Debug, Clone)]
pub(crate) enum Reply {
    /// To that subject.
    Bus(String),
    /// To that inbox, whose owner reads packs, under that token.
    Inbox(Arc<str>, Token),
    /// Over that connection.
    Socket(Outlet),
    /// To the caller in this process.
    Here(here::Outlet),
}

/// What tells a running call from all others.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Key {
    /// The caller, and the token of its reply subject.
    Bus(UserName, Token),
    /// The connection, and the call's id in it.
    Socket(u64, u32),
}

/// What a part of an answer is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Head {
    /// The one result.
    Value,
    /// An error instead of it.
    Error(Code),
    /// The announcement of a stream.
    Stream,
    /// A frame of it.
    Frame,
}

impl Reply {
    /// Reads a reply subject that the caller may use.
    pub(super) fn at(subject: &str) -> Self {
        match pack::reply(subject) {
            Some((inbox, token)) => Self::Inbox(inbox.into(), token),
            None => Self::Bus(subject.to_owned()),
        }
    }

    /// How the call is named in cancels and credits, if it can be.
    pub(crate) fn key(&self, caller: &UserName) -> Option<Key> {
        match self {
            Self::Bus(subject) => reply_token(subject).map(|token| Key::Bus(caller.clone(), token)),
            Self::Inbox(_, token) => Some(Key::Bus(caller.clone(), token.clone())),
            Self::Socket(outlet) => Some(outlet.key()),
            Self::Here(outlet) => Some(outlet.key()),
        }
    }

    /// The largest message that the way takes.
    pub(crate) fn limit(&self, bus: &Bus) -> usize {
        match self {
            Self::Bus(_) | Self::Inbox(..) => bus.max_payload(),
            Self::Socket(_) | Self::Here(_) => MAX_BODY,
        }
    }

    /// What is to be sent for a result or a frame: over the bus, a large one goes as a blob.
    ///
    /// # Errors
    ///
    /// `resource_exhausted` for one that is too large for either way, and what forbids storing it.
    pub(crate) async fn fit(&self, bus: &Bus, body: Bytes) -> Result<Bytes, Error> {
        match self {
            Self::Bus(_) | Self::Inbox(..) => body::outgoing(bus, body, Instant::now() + PASSING).await,
            Self::Socket(_) | Self::Here(_) if body.len() > MAX_BODY => Err(body::too_large(body.len() as u64)),
            Self::Socket(_) | Self::Here(_) => Ok(body),
        }
    }

    /// Sends a part of the answer.
    ///
    /// # Errors
    ///
    /// `unavailable` when the connection is closed.
    pub(crate) async fn send(self, bus: &Bus, head: Head, body: Bytes) -> Result<(), Error> {
        let subject = match self {
            Self::Socket(outlet) => return outlet.send(head, &body).await,
            Self::Here(outlet) => {
                outlet.send(head, body).await;
                return Ok(());
            }
            Self::Inbox(inbox, token) => {
                let kind = match head {
                    Head::Value => pack::Kind::Value,
                    Head::Error(_) => pack::Kind::Error,
                    Head::Stream => pack::Kind::Stream,
                    Head::Frame => pack::Kind::Frame,
                };
                return bus.reply(inbox, kind, token, body).await;
            }
            Self::Bus(subject) => subject,
        };
        let headers = match head {
            Head::Value | Head::Frame => None,
            Head::Error(code) => Some(header(ERROR_HEADER, code.as_str())),
            Head::Stream => Some(header(STREAM_HEADER, "1")),
        };
        bus.publish(subject, headers, body).await
    }
}

/// The packs of frames that are there at once, in order; one that is too large for any is left to travel alone.
async fn send_frames(reply: &Reply, bus: &Bus, bodies: Vec<Bytes>) -> Result<(), Error> {
    let (Reply::Inbox(inbox, token), true) = (reply, bodies.len() > 1) else {
        for body in bodies {
            reply.clone().send(bus, Head::Frame, body).await?;
        }
        return Ok(());
    };
    let room = pack::ROOM.min(bus.max_payload());
    let mut bodies = bodies.into_iter().peekable();
    while let Some(first) = bodies.next() {
        let mut size = 1 + pack::size(0, first.len());
        if size > room {
            reply.clone().send(bus, Head::Frame, first).await?;
            continue;
        }
        let mut together = vec![first];
        while together.len() < pack::MOST
            && let Some(next) = bodies.next_if(|next| size + pack::size(0, next.len()) <= room)
        {
            size += pack::size(0, next.len());
            together.push(next);
        }
        let mut pack = BytesMut::with_capacity(size);
        for body in together {
            pack::put(&mut pack, pack::Kind::Frame, token, &[], &body);
        }
        bus.reply_pack(inbox, token, pack.freeze()).await?;
    }
    Ok(())
}

/// A reply and the bus that it may go over.
pub(super) struct Way<'a> {
    pub(super) bus: &'a Bus,
    pub(super) reply: Reply,
}

impl Way<'_> {
    /// Resolves when nothing gets through any more, where that is known, and with what the reader is told when the
    /// server has `ended`.
    pub(super) async fn down(&self, ended: &CancellationToken) -> Option<Error> {
        let reader = match &self.reply {
            Reply::Inbox(inbox, _) => Some(self.bus.reader(inbox)),
            Reply::Bus(_) | Reply::Socket(_) | Reply::Here(_) => None,
        };
        let gone = async {
            match &reader {
                Some(reader) => reader.gone().await,
                None => std::future::pending().await,
            }
        };
        let broken = async {
            if let Reply::Socket(_) | Reply::Here(_) = self.reply {
                // A connection that ends cancels its calls, and so does a caller here.
                return std::future::pending().await;
            }
            self.bus.broke().await;
        };
        tokio::select! {
            () = ended.cancelled() => Some(ends()),
            () = gone => None,
            () = broken => None,
        }
    }
}

impl Sink for Way<'_> {
    async fn fit(&self, body: Bytes) -> Result<Bytes, Error> {
        self.reply.fit(self.bus, body).await
    }

    async fn send(&self, head: Head, body: Bytes) -> Result<(), Error> {
        self.reply.clone().send(self.bus, head, body).await
    }

    async fn send_frames(&self, bodies: Vec<Bytes>) -> Result<(), Error> {
        send_frames(&self.reply, self.bus, bodies).await
    }
}

fn header(name: &'static str, value: &str) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(name, value);
    headers
}
