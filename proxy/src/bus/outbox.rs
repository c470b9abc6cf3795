//! What leaves in order: skill calls, their replies, cancels and credits. Whatever is queued for one receiver leaves in
//! one message, if the receiver has shown that it reads packs; nothing waits for more to come.

use std::{sync::Arc, time::Duration};

use async_nats::Client;
use bytes::{Bytes, BytesMut};
use tokio::sync::{mpsc, oneshot};

use super::{
    inbox::Table,
    lane::Lane,
    pack::{self, Kind},
};
use crate::{
    client::Target,
    name::UserName,
    subject::{Caller, Subjects, Token},
};

/// How much may be queued.
pub(super) const QUEUE: usize = 4_096;
/// How much is taken from the queue at once.
const TAKEN: usize = 256;
/// How long the rest may take to leave when the connection is given up.
const FLUSH: Duration = Duration::from_secs(5);

/// Something that is to leave.
#[derive(Debug)]
pub(super) enum Out {
    /// A message of its own, or a pack that is made already.
    Publish(String, Bytes),
    /// A skill call.
    Call(Target, Token, Bytes),
    /// A reply to an inbox whose owner reads packs.
    Reply(Arc<str>, Kind, Token, Bytes),
    /// Tells when all before it has left.
    Flushed(oneshot::Sender<()>),
}

/// Where a pack goes.
#[derive(Debug, PartialEq, Eq)]
enum Receiver {
    Server(UserName),
    Inbox(Arc<str>),
}

/// What leaves together.
#[derive(Debug)]
struct Group {
    to: Receiver,
    size: usize,
    frames: Vec<Out>,
}

/// Sends what is queued.
pub(super) struct Outbox {
    lane: Arc<Lane>,
    /// The connection in use when the queue was looked at.
    client: Client,
    table: Arc<Table>,
    subjects: Subjects,
    caller: Caller,
    inbox: String,
    groups: Vec<Group>,
    packs: u64,
}

impl Outbox {
    pub(super) fn new(lane: Arc<Lane>, table: Arc<Table>, subjects: Subjects, caller: Caller, inbox: String) -> Self {
        let client = lane.client();
        Self { lane, client, table, subjects, caller, inbox, groups: Vec::new(), packs: 0 }
    }

    /// Runs until nobody can queue any more, and what was queued by then has left.
    pub(super) async fn run(mut self, mut queue: mpsc::Receiver<Out>) {
        let mut taken = Vec::with_capacity(TAKEN);
        let mut number = 0;
        while queue.recv_many(&mut taken, TAKEN).await > 0 {
            if self.lane.number() != number {
                number = self.lane.number();
                // What left by the former connection is at the server before anything leaves by this one.
                self.flush().await;
                self.client = self.lane.client();
            }
            for out in taken.drain(..) {
                self.take(out).await;
            }
            self.leave().await;
        }
        self.flush().await;
    }

    async fn flush(&self) {
        // A bus that is away flushes nothing, and needs not be told.
        let _ = tokio::time::timeout(FLUSH, self.client.flush()).await;
    }

    async fn take(&mut self, out: Out) {
        let (to, size) = match &out {
            Out::Call(target, _, body) if self.table.peers.has(&target.server) => {
                let head = target.ci.as_str().len() + 1 + target.path.as_str().len();
                (Receiver::Server(target.server.clone()), pack::size(head, body.len()))
            }
            Out::Reply(inbox, kind, _, body) if *kind == Kind::Error || body.len() <= pack::ROOM => {
                (Receiver::Inbox(inbox.clone()), pack::size(0, body.len()))
            }
            _ => {
                // A cancel must not overtake its call.
                self.leave().await;
                return self.alone(out).await;
            }
        };
        let room = pack::ROOM.min(self.client.max_payload());
        match self.groups.iter_mut().position(|group| group.to == to) {
            Some(place) => {
                let group = &mut self.groups[place];
                if group.frames.len() >= pack::MOST || group.size + size > room {
                    let full = std::mem::replace(group, Group { to, size, frames: vec![out] });
                    self.send(full).await;
                } else {
                    group.size += size;
                    group.frames.push(out);
                }
            }
            None => self.groups.push(Group { to, size, frames: vec![out] }),
        }
    }

    async fn leave(&mut self) {
        for group in std::mem::take(&mut self.groups) {
            self.send(group).await;
        }
    }

    async fn send(&mut self, group: Group) {
        let Group { to, size, mut frames } = group;
        let first = match (&to, &frames[..]) {
            // By itself, a call goes where anybody would look for it.
            (Receiver::Server(_), [_]) => return self.each(frames).await,
            (Receiver::Inbox(_), [Out::Reply(_, _, token, _), ..]) | (_, [Out::Call(_, token, _), ..]) => token.clone(),
            _ => return,
        };
        let mut body = BytesMut::with_capacity(size + 1);
        for frame in &frames {
            match frame {
                Out::Call(Target { ci, path, .. }, token, request) => {
                    pack::put(&mut body, Kind::Request, token, &[ci.as_str(), ".", path.as_str()], request);
                }
                Out::Reply(_, kind, token, reply) => pack::put(&mut body, *kind, token, &[], reply),
                Out::Publish(..) | Out::Flushed(_) => {}
            }
        }
        let body = body.freeze();
        let sent = match &to {
            Receiver::Server(server) => {
                self.note(&frames);
                let subject = self.subjects.pack(server, &self.caller);
                self.client.publish_with_reply(subject, reply_subject(&self.inbox, &first), body).await
            }
            Receiver::Inbox(inbox) => self.client.publish(reply_subject(inbox, &first), body).await,
        };
        frames.clear();
        if let Err(error) = sent {
            tracing::warn!(%error, "a pack was not sent");
        }
    }

    /// Notes which pack the calls went in: if nobody is there, the bus says so to the first of them.
    fn note(&mut self, frames: &[Out]) {
        self.packs += 1;
        let mut pending = self.table.lock();
        for frame in frames {
            if let Out::Call(_, token, _) = frame
                && let Some(entry) = pending.get_mut(token)
            {
                entry.pack = self.packs;
            }
        }
    }

    async fn each(&self, frames: Vec<Out>) {
        for frame in frames {
            self.alone(frame).await;
        }
    }

    async fn alone(&self, out: Out) {
        let sent = match out {
            Out::Publish(subject, body) => self.client.publish(subject, body).await,
            Out::Call(Target { server, ci, path, .. }, token, body) => {
                let subject = self.subjects.to(&server, &self.caller, &ci, &path);
                self.client.publish_with_reply(subject, reply_subject(&self.inbox, &token), body).await
            }
            // What is too large for a pack is a result or a frame, which need no header.
            Out::Reply(inbox, _, token, body) => self.client.publish(reply_subject(&inbox, &token), body).await,
            Out::Flushed(done) => {
                self.flush().await;
                // Who asked may not wait any more.
                let _ = done.send(());
                Ok(())
            }
        };
        if let Err(error) = sent {
            tracing::warn!(%error, "a message was not sent");
        }
    }
}

pub(super) fn reply_subject(inbox: &str, token: &Token) -> String {
    format!("{inbox}.{}", token.as_str())
}
