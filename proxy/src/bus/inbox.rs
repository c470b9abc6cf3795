//! The process's one inbox: who waits for which reply, and the delivery of what comes.

use std::{
    collections::{HashMap, HashSet},
    fmt,
    hash::{BuildHasherDefault, Hasher},
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use async_nats::{Message, StatusCode, Subscriber};
use bytes::Bytes;
use futures::StreamExt;
use tokio::sync::{mpsc, oneshot};

use super::{
    lane::{self, Move},
    pack::{self, Kind},
    vigil::{self, Vigil},
};
use crate::{
    client::{ERROR_HEADER, ROOM, STREAM_HEADER, Target},
    error::Error,
    name::UserName,
    subject::{self, Caller, Subjects, Token},
    sync::lock,
};

/// What a skill call gets back.
#[derive(Debug)]
pub(crate) enum Reply {
    /// Its result, or a frame of its stream.
    Plain(Bytes),
    /// Its error: the code, where a header says it, and the body.
    Error(Option<String>, Bytes),
    /// Frames that follow.
    Stream,
}

/// The replies to a skill call, awaited until this is dropped.
#[derive(Debug)]
pub(crate) struct Replies {
    next: Next,
    _entry: Entry,
}

#[derive(Debug)]
enum Next {
    First(oneshot::Receiver<Result<First, Error>>),
    Frame(mpsc::Receiver<Result<Bytes, Error>>),
    None,
}

/// A first reply, and what follows it.
#[derive(Debug)]
pub(super) enum First {
    Only(Reply),
    Stream(mpsc::Receiver<Result<Bytes, Error>>),
}

impl Replies {
    pub(super) fn new(first: oneshot::Receiver<Result<First, Error>>, entry: Entry) -> Self {
        Self { next: Next::First(first), _entry: entry }
    }

    /// The next reply; `None` after the last, and when the connection is closed for good.
    ///
    /// # Cancel safety
    ///
    /// No reply is lost when the future is dropped.
    pub(crate) async fn next(&mut self) -> Option<Result<Reply, Error>> {
        let first = match &mut self.next {
            Next::First(first) => first.await,
            Next::Frame(frames) => return Some(frames.recv().await?.map(Reply::Plain)),
            Next::None => return None,
        };
        self.next = Next::None;
        match first.ok()? {
            Ok(First::Only(reply)) => Some(Ok(reply)),
            Ok(First::Stream(frames)) => {
                self.next = Next::Frame(frames);
                Some(Ok(Reply::Stream))
            }
            Err(error) => Some(Err(error)),
        }
    }
}

/// What waits for a reply.
pub(super) enum Waiting {
    /// A plain request, for one message.
    Message(oneshot::Sender<Result<Message, Error>>),
    /// A skill call, for its first reply.
    Call(oneshot::Sender<Result<First, Error>>),
    /// A stream, for its frames.
    Frames(mpsc::Sender<Result<Bytes, Error>>),
}

/// Where a request went.
pub(super) enum To {
    Subject(String),
    Skill(Target),
}

pub(super) struct Pending {
    pub(super) to: To,
    pub(super) waiting: Waiting,
    /// The pack that it went in; none is 0.
    pub(super) pack: u64,
    /// Since which turn of the vigil it waits.
    pub(super) turn: u64,
}

type Map = HashMap<Token, Pending, BuildHasherDefault<TokenHasher>>;

/// The requests that wait, and the servers that read packs.
#[derive(Default)]
pub(super) struct Table {
    pending: Mutex<Map>,
    pub(super) peers: Peers,
    pub(super) vigil: Vigil,
    /// Replies and frames that came when nobody waited for them any more.
    late: AtomicU64,
}

/// The servers that have shown that they read packs.
#[derive(Debug, Default)]
pub(super) struct Peers {
    any: AtomicBool,
    names: Mutex<HashSet<UserName>>,
}

impl Peers {
    pub(super) fn has(&self, server: &UserName) -> bool {
        self.any.load(Ordering::Relaxed) && lock(&self.names).contains(server)
    }

    fn add(&self, server: &UserName) {
        if lock(&self.names).insert(server.clone()) {
            self.any.store(true, Ordering::Relaxed);
        }
    }

    /// Forgets a server that may have become another: it is sent single bodies until it shows it again.
    pub(super) fn forget(&self, server: &UserName) {
        lock(&self.names).remove(server);
    }
}

impl Table {
    pub(super) fn lock(&self) -> MutexGuard<'_, Map> {
        lock(&self.pending)
    }

    /// How many replies and frames came when nobody waited for them any more.
    pub(super) fn late(&self) -> u64 {
        self.late.load(Ordering::Relaxed)
    }

    fn was_late(&self) {
        self.late.fetch_add(1, Ordering::Relaxed);
    }

    /// Adds one that waits, until the returned value is dropped.
    pub(super) fn enter(self: &Arc<Self>, token: Token, to: To, waiting: Waiting) -> Entry {
        let turn = self.vigil.turn();
        self.lock().insert(token.clone(), Pending { to, waiting, pack: 0, turn });
        Entry { token, table: self.clone() }
    }

    /// Ends those that wait with an error.
    pub(super) fn fail(&self, which: impl Fn(&Pending) -> bool, error: &Error) {
        for (_, entry) in self.lock().extract_if(|_, entry| which(entry)) {
            // Whoever does not wait any more needs no error.
            match entry.waiting {
                Waiting::Message(sender) => drop(sender.send(Err(error.clone()))),
                Waiting::Call(sender) => drop(sender.send(Err(error.clone()))),
                Waiting::Frames(sender) => drop(sender.try_send(Err(error.clone()))),
            }
        }
    }

    /// Ends those whose request the bus refused to publish on that subject.
    pub(super) fn refuse(&self, refused: &str, subjects: &Subjects, caller: &Caller, error: &Error) {
        let went = |entry: &Pending| match &entry.to {
            To::Subject(subject) => subject == refused,
            To::Skill(target) if entry.pack == 0 => {
                subjects.to(&target.server, caller, &target.ci, &target.path) == refused
            }
            To::Skill(target) => subjects.pack(&target.server, caller) == refused,
        };
        self.fail(went, error);
    }

    /// Ends the request of that token, and all that went in one pack with it: nobody is there.
    fn nobody(&self, token: &Token) {
        let error = Error::unavailable("nobody answers there").sent(false);
        let Some(pack) = self.lock().get(token).map(|entry| {
            if let To::Skill(target) = &entry.to {
                self.peers.forget(&target.server);
            }
            entry.pack
        }) else {
            return self.unheard(token);
        };
        if pack == 0 {
            let Some(entry) = self.lock().remove(token) else { return };
            match entry.waiting {
                Waiting::Message(sender) => drop(sender.send(Err(error))),
                Waiting::Call(sender) => drop(sender.send(Err(error))),
                Waiting::Frames(sender) => drop(sender.try_send(Err(error))),
            }
        } else {
            self.fail(|entry| entry.pack == pack, &error);
        }
    }

    /// Ends what waits for a server that has left the bus.
    fn unheard(&self, token: &Token) {
        let Some((server, turn)) = self.vigil.unheard(token) else { return };
        self.peers.forget(&server);
        let waits =
            |entry: &Pending| entry.turn < turn && matches!(&entry.to, To::Skill(target) if target.server == server);
        self.fail(waits, &vigil::lost(&server));
    }

    /// Delivers what came to the inbox.
    pub(super) fn take(&self, message: Message) {
        // Whatever else is asked, such as the store for a blob's chunk, may answer with any bytes.
        let frames = pack::read(&message.payload).filter(|_| pack::reply(&message.subject).is_some());
        match frames {
            Some(frames) => self.pack(frames),
            None => self.message(message),
        }
    }

    fn message(&self, message: Message) {
        let Some(token) = subject::reply_token(&message.subject) else { return };
        if message.status == Some(StatusCode::NO_RESPONDERS) {
            return self.nobody(&token);
        }
        let mut pending = self.lock();
        let Some(entry) = pending.get(&token) else {
            // What wants an answer itself is no reply: a server asks whether this inbox is still heard.
            if message.reply.is_none() {
                self.was_late();
            }
            return;
        };
        if let Waiting::Message(_) = entry.waiting {
            if let Some(Pending { waiting: Waiting::Message(sender), .. }) = pending.remove(&token) {
                let _ = sender.send(Ok(message));
            }
            return;
        }
        let (kind, code) = kind(&message);
        let _known = deliver(&mut pending, &token, kind, code, message.payload);
    }

    fn pack(&self, frames: pack::Frames) {
        let mut pending = self.lock();
        let mut known = false;
        for frame in frames {
            if !known && let Some(Pending { to: To::Skill(target), .. }) = pending.get(&frame.token) {
                // A pack comes from one server.
                known = true;
                self.peers.add(&target.server);
            }
            if !deliver(&mut pending, &frame.token, frame.kind, None, frame.body) {
                self.was_late();
            }
        }
    }
}

/// What a message is that is no pack.
fn kind(message: &Message) -> (Kind, Option<String>) {
    let Some(headers) = &message.headers else { return (Kind::Value, None) };
    if headers.get(STREAM_HEADER).is_some() {
        return (Kind::Stream, None);
    }
    match headers.get(ERROR_HEADER) {
        Some(code) => (Kind::Error, Some(code.to_string())),
        None => (Kind::Value, None),
    }
}

/// Gives a reply or a frame to whoever waits for it; says whether anybody does.
fn deliver(pending: &mut Map, token: &Token, kind: Kind, code: Option<String>, body: Bytes) -> bool {
    let Some(entry) = pending.get_mut(token) else { return false };
    match (&entry.waiting, kind) {
        (Waiting::Frames(sender), _) => {
            // The room is the credit that was given, so only a callee that overdraws it can fill the channel.
            if sender.try_send(Ok(body)).is_err() {
                pending.remove(token);
            }
        }
        (Waiting::Call(_), Kind::Stream) => {
            // Frames may follow at once: they are kept from here on.
            let (sender, receiver) = mpsc::channel(ROOM);
            if let Waiting::Call(first) = std::mem::replace(&mut entry.waiting, Waiting::Frames(sender)) {
                let _ = first.send(Ok(First::Stream(receiver)));
            }
        }
        (Waiting::Call(_), _) => {
            let reply = if kind == Kind::Error { Reply::Error(code, body) } else { Reply::Plain(body) };
            if let Some(Pending { waiting: Waiting::Call(first), .. }) = pending.remove(token) {
                let _ = first.send(Ok(First::Only(reply)));
            }
        }
        // A plain request goes where no pack comes from.
        (Waiting::Message(_), _) => {}
    }
    true
}

/// Delivers what comes to the inbox, over one connection after the other.
pub(super) async fn run(mut replies: Subscriber, table: Arc<Table>, mut moves: mpsc::Receiver<Move>) {
    loop {
        tokio::select! {
            biased;
            message = replies.next() => match message {
                Some(message) => table.take(message),
                None => return,
            },
            Some(next) = moves.recv() => replies = lane::cross(replies, next, &table).await,
        }
    }
}

/// Removes its request from those that wait, whatever happens to the future that made it.
pub(crate) struct Entry {
    token: Token,
    table: Arc<Table>,
}

impl fmt::Debug for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Entry")
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.table.lock().remove(&self.token);
    }
}

/// Hashes tokens that this process drew: they are random already.
#[derive(Debug, Default)]
pub(super) struct TokenHasher(u64);

impl Hasher for TokenHasher {
    fn write(&mut self, bytes: &[u8]) {
        if let Some(first) = bytes.first_chunk::<8>() {
            // Spreads what is random over the bits that are not: letters have few.
            self.0 = u64::from_le_bytes(*first).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        }
    }

    fn write_usize(&mut self, _: usize) {}

    fn finish(&self) -> u64 {
        self.0 ^ (self.0 >> 32)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flt_41_a_reply_that_nobody_waits_for_is_counted() {
        let (table, token) = (Arc::<Table>::default(), Token::random());
        let come = |reply: Option<&str>| {
            let subject = format!("_INBOX.olga.{}.{}", Token::random().as_str(), token.as_str());
            let message = Message {
                subject: subject.into(),
                reply: reply.map(Into::into),
                payload: Bytes::from_static(b"1"),
                headers: None,
                status: None,
                description: None,
                length: 1,
            };
            table.take(message);
        };
        let (sender, receiver) = oneshot::channel();
        let entry = table.enter(token.clone(), To::Subject("a".to_owned()), Waiting::Message(sender));
        come(None);
        assert!(receiver.blocking_recv().unwrap().is_ok());
        assert_eq!(table.late(), 0);
        come(None);
        assert_eq!(table.late(), 1, "a second reply");
        drop(entry);
        come(Some("_INBOX.alpha.x.y"));
        assert_eq!(table.late(), 1, "a question is no reply");
    }
}
