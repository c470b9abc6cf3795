//! The connection that requests and their replies go over.
//!
//! A server ends a connection with the token that it was made with, renewed or not. So whoever renewed its credential
//! makes another connection beside the one that stands, and what waits for replies moves over to it while it waits. What
//! was subscribed to stays where it is, and is made anew when that connection is.

use std::{
    collections::{HashMap, VecDeque},
    hash::{BuildHasher, Hash, Hasher, RandomState},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use async_nats::{Client, Event, Message, Subscriber};
use bytes::Bytes;
use futures::StreamExt;
use tokio::{
    sync::{oneshot, watch},
    time::{Instant, interval, sleep_until, timeout_at},
};

use super::{Link, events::Heard, inbox::Table};
use crate::{
    subject::{Token, reply_token},
    sync::lock,
};

/// How long a move may take: as long as making a connection.
const MOVING: Duration = Duration::from_secs(5);
/// How soon another mark is sent if none was heard by the next connection: the server may not have known it yet.
const AGAIN: Duration = Duration::from_millis(50);
/// How many replies may come over the next connection before the former one is at its end.
const KEPT: usize = 65_536;

/// Which connection is the one in use.
pub(super) struct Lane {
    client: Mutex<Client>,
    number: AtomicU64,
    /// Whether the connection in use stands, where that is not the first.
    up: watch::Sender<bool>,
    /// Whether its server told of others when it was looked at last.
    several: AtomicBool,
}

impl Lane {
    pub(super) fn new(client: Client) -> Self {
        let several = AtomicBool::new(tells_of_others(&client));
        Self { client: Mutex::new(client), number: AtomicU64::new(0), up: watch::Sender::new(true), several }
    }

    /// Whether the server of the connection in use told of others when that was looked at last.
    pub(super) fn has_several(&self) -> bool {
        self.several.load(Ordering::Relaxed)
    }

    /// Looks at that again: each look copies all that the server says of itself, too much for each call.
    pub(super) fn look(&self) {
        self.several.store(tells_of_others(&self.client()), Ordering::Relaxed);
    }

    /// The connection in use.
    pub(super) fn client(&self) -> Client {
        lock(&self.client).clone()
    }

    /// The number of the connection in use: 0 for the one by which everything is subscribed to.
    pub(super) fn number(&self) -> u64 {
        self.number.load(Ordering::Acquire)
    }

    /// Whether requests can leave; `first` says so of the first connection.
    pub(super) fn is_up(&self, first: bool) -> bool {
        if self.number() == 0 { first } else { *self.up.borrow() }
    }

    /// Uses another connection from now on.
    fn take(&self, client: Client, number: u64) {
        *lock(&self.client) = client;
        self.number.store(number, Ordering::Release);
        self.up.send_replace(true);
        self.look();
    }

    /// Resolves when requests can no longer leave, nor replies come; `link` is that of the first connection.
    pub(super) async fn broke(&self, mut link: watch::Receiver<Link>) {
        let mut up = self.up.subscribe();
        while self.is_up(link.borrow_and_update().up) {
            tokio::select! {
                // Nobody tells any more once the connection is gone for good.
                changed = link.changed() => if changed.is_err() { return },
                // The sender is held here.
                _ = up.changed() => {}
            }
        }
    }

    /// Notes what a connection that is not the first hears.
    pub(super) fn note(&self, event: &Event, number: u64, heard: &Heard) {
        match event {
            _ if self.number() != number => {}
            Event::Connected => {
                self.up.send_replace(true);
            }
            Event::Disconnected | Event::Closed => {
                self.up.send_replace(false);
                heard.broke();
            }
            other => heard.said(other),
        }
    }
}

fn tells_of_others(client: &Client) -> bool {
    client.server_info().connect_urls.len() > 1
}

/// Another connection, which is to take the place of the one in use.
pub(super) struct Move {
    /// The connection.
    pub(super) client: Client,
    /// Its number.
    pub(super) number: u64,
    /// The inbox, as it hears it.
    pub(super) replies: Subscriber,
    /// The inbox's subject, without its last token.
    pub(super) inbox: String,
    /// Where it is to be used.
    pub(super) lane: Arc<Lane>,
    /// Told whether it is.
    pub(super) done: oneshot::Sender<bool>,
}

/// What came by the former connection, of which some comes by the next one too.
#[derive(Default)]
struct Seen {
    state: RandomState,
    counts: HashMap<u64, usize>,
}

impl Seen {
    fn of(&self, message: &Message) -> u64 {
        let mut hasher = self.state.build_hasher();
        message.subject.as_str().hash(&mut hasher);
        message.payload.hash(&mut hasher);
        hasher.finish()
    }

    fn note(&mut self, message: &Message) {
        let hash = self.of(message);
        *self.counts.entry(hash).or_default() += 1;
    }

    /// Whether it came before by the former connection; each is said once.
    fn was(&mut self, message: &Message) -> bool {
        let hash = self.of(message);
        match self.counts.get_mut(&hash).filter(|count| **count > 0) {
            Some(count) => {
                *count -= 1;
                true
            }
            None => false,
        }
    }
}

/// Reads the former connection to its end, then the next one: whatever was published before the next one heard anything
/// came by the former, what was published since comes by the next one too, and what came by both counts once. Replies of
/// one server stay in order. Gives what is to be read from now on.
pub(super) async fn cross(mut old: Subscriber, moving: Move, table: &Arc<Table>) -> Subscriber {
    let Move { client, number, replies: mut next, inbox, lane, done } = moving;
    let former = lane.client();
    let until = Instant::now() + MOVING;
    let (mut seen, mut kept) = (Seen::default(), VecDeque::new());
    let mut marks = Marks::default();
    let mut again = interval(AGAIN);
    while !marks.are_passed() && kept.len() < KEPT {
        let came = tokio::select! {
            biased;
            () = sleep_until(until) => break,
            // By way of the former connection: once one of them is heard by the next, its server, too, knows that it listens.
            _ = again.tick() => {
                marks.sent.push(send_mark(&former, &inbox).await);
                continue;
            }
            message = old.next() => (message, true),
            message = next.next() => (message, false),
        };
        // One of the two broke: all goes on as it was.
        let (Some(message), is_of_old) = came else { break };
        match (marks.place(&message), is_of_old) {
            (Some(mark), true) => marks.by_old = Some(mark),
            (Some(mark), false) => marks.by_next = marks.by_next.or(Some(mark)),
            (None, true) => {
                seen.note(&message);
                table.take(message);
            }
            (None, false) => kept.push_back(message),
        }
    }
    if !marks.are_passed() {
        let _ = done.send(false);
        return old;
    }
    // First of all this: the bus tells that nobody hears a request by the connection that it came by.
    lane.take(client, number);
    drop(old);
    for message in kept.into_iter().filter(|message| !seen.was(message)) {
        table.take(message);
    }
    let _ = done.send(true);
    let last = send_mark(&former, &inbox).await;
    while let Ok(Some(message)) = timeout_at(until, next.next()).await {
        if is_mark(&message, &last) {
            break;
        }
        if marks.place(&message).is_none() && !seen.was(&message) {
            table.take(message);
        }
    }
    next
}

/// The marks that were sent by the former connection, in order, until the next one hears them.
#[derive(Default)]
struct Marks {
    sent: Vec<Token>,
    /// The last that came by the former connection.
    by_old: Option<usize>,
    /// The first that came by the next one.
    by_next: Option<usize>,
}

impl Marks {
    fn place(&self, message: &Message) -> Option<usize> {
        self.sent.iter().position(|mark| is_mark(message, mark))
    }

    /// Whether all that came by the former connection alone has been read.
    fn are_passed(&self) -> bool {
        self.by_next.is_some() && self.by_old >= self.by_next
    }
}

async fn send_mark(client: &Client, inbox: &str) -> Token {
    let mark = Token::random();
    if let Err(error) = client.publish(format!("{inbox}.{}", mark.as_str()), Bytes::new()).await {
        tracing::debug!(%error, "a mark was not sent");
    }
    mark
}

fn is_mark(message: &Message, mark: &Token) -> bool {
    reply_token(&message.subject).is_some_and(|token| token == *mark)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(token: &str, payload: &'static str) -> Message {
        Message {
            subject: format!("_INBOX.vera.x.{token}").into(),
            reply: None,
            payload: payload.into(),
            headers: None,
            status: None,
            description: None,
            length: 0,
        }
    }

    #[test]
    fn the_former_connection_is_read_up_to_the_first_mark_that_the_next_one_heard() {
        let marks = |by_old, by_next| Marks { sent: Vec::new(), by_old, by_next }.are_passed();
        assert!(!marks(None, None) && !marks(Some(4), None) && !marks(None, Some(0)) && !marks(Some(1), Some(2)));
        assert!(marks(Some(2), Some(2)) && marks(Some(3), Some(2)));
    }

    #[test]
    fn what_came_by_both_ways_counts_once() {
        let mut seen = Seen::default();
        seen.note(&message("a", "1"));
        seen.note(&message("a", "2"));
        seen.note(&message("a", "2"));
        assert!(seen.was(&message("a", "2")) && seen.was(&message("a", "2")) && !seen.was(&message("a", "2")));
        assert!(!seen.was(&message("b", "1")), "another call's");
        assert!(seen.was(&message("a", "1")) && !seen.was(&message("a", "3")));
    }
}
