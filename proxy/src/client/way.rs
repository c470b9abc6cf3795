//! The ways of a call: a subject of the bus, the socket of this host's node, or none at all within the process that serves.

use bytes::Bytes;

use crate::{
    bus::{self, Bus},
    error::{Code, Error},
    name::UserName,
    serve::{self, here},
    socket::{self, Kind, Ongoing},
    subject::{Control, Token},
};

/// How a call that is under way is reached.
#[derive(Debug)]
pub(super) enum Way {
    /// At the bus, by the token of its reply subject.
    Bus(Bus, Token),
    /// On the connection that it was sent on.
    Socket(Ongoing),
    /// At the server of this process.
    Here(here::Ongoing),
}

impl Way {
    /// The bus, if it goes there: bodies may be blobs then.
    pub(super) fn bus(&self) -> Option<&Bus> {
        match self {
            Self::Bus(bus, _) => Some(bus),
            Self::Socket(_) | Self::Here(_) => None,
        }
    }

    /// Cancels it, or gives its stream credit.
    pub(super) fn tell(&self, server: &UserName, verb: Control, body: Bytes) {
        match self {
            Self::Bus(bus, token) => bus.publish_soon(bus.subjects().control(server, bus.caller(), verb, token), body),
            Self::Socket(ongoing) => ongoing.tell(verb, &body),
            Self::Here(ongoing) => ongoing.tell(verb, &body),
        }
    }
}

/// What came back, before its body is read.
#[derive(Debug)]
pub(super) struct Reply {
    pub(super) head: Head,
    pub(super) body: Bytes,
}

/// What a reply says that it is.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Head {
    /// The result, or a frame of a stream.
    Plain,
    /// An error, with its code where that stands outside the body.
    Error(Option<String>),
    /// The announcement of a stream.
    Stream,
}

/// The replies to one call, whichever way they come.
#[derive(Debug)]
pub(super) enum Replies {
    Bus(bus::Replies),
    Socket(socket::Replies),
    Here(here::Parts),
}

impl Replies {
    /// The next reply; `None` when the connection is closed for good.
    pub(super) async fn next(&mut self) -> Option<Result<Reply, Error>> {
        match self {
            Self::Bus(replies) => Some(replies.next().await?.map(of_bus)),
            Self::Socket(replies) => Some(replies.next().await?.and_then(|(kind, body)| of_socket(kind, body))),
            Self::Here(parts) => parts.recv().await.map(|(head, body)| Ok(of_here(head, body))),
        }
    }
}

fn of_bus(reply: bus::Reply) -> Reply {
    let (head, body) = match reply {
        bus::Reply::Plain(body) => (Head::Plain, body),
        bus::Reply::Error(code, body) => (Head::Error(code), body),
        bus::Reply::Stream => (Head::Stream, Bytes::new()),
    };
    Reply { head, body }
}

fn of_socket(kind: Kind, body: Bytes) -> Result<Reply, Error> {
    let head = match kind {
        Kind::Value | Kind::Frame => Head::Plain,
        Kind::Error => Head::Error(None),
        Kind::Stream => Head::Stream,
        Kind::Request | Kind::Cancel | Kind::Credit | Kind::Offer | Kind::Withdraw | Kind::Renew | Kind::Dismissed => {
            return Err(Error::new(Code::Internal, "what is no reply came as one"));
        }
    };
    Ok(Reply { head, body })
}

fn of_here(head: serve::Head, body: Bytes) -> Reply {
    let head = match head {
        serve::Head::Value | serve::Head::Frame => Head::Plain,
        serve::Head::Error(_) => Head::Error(None),
        serve::Head::Stream => Head::Stream,
    };
    Reply { head, body }
}
