//! Serving CIs over the bus: subscriptions, the reply-subject rule, limits, cancel, and streams with credit.

use std::{
    collections::{HashMap, HashSet},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use async_nats::Subscriber;
use bytes::Bytes;
use futures::{FutureExt, StreamExt};
use tokio::{runtime::Handle, task::unconstrained, time::Instant};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    bus::{Bus, Message, from_store, pack},
    dispatch::{Dispatcher, Incoming, Journal},
    error::{Code, Error},
    headers,
    name::UserName,
    subject::{Asked, Caller, Control, Heard, NOT_OWN_INBOX, may_reply, read_tail},
    sync::lock,
    task,
};

pub(crate) mod here;
mod in_flight;
mod passage;
mod pulse;
mod reply;
pub(crate) mod streaming;

use in_flight::{Admitted, InFlight};
use passage::Passing;
pub use passage::{Open, Passage};
use pulse::Pulse;
pub(crate) use reply::{Head, Key, Reply};
use streaming::Running;

/// Most calls that one caller may have in flight here.
pub const CALLER_LIMIT: usize = 1_024;
/// Most calls that may be in flight here at all.
pub const TOTAL_LIMIT: usize = 16_384;

/// What a server has done, for its status and for `$SRV.STATS`.
#[derive(Debug, Default)]
pub struct Counters {
    /// Requests that were taken.
    pub requests: AtomicU64,
    /// Those of them that came over the node's socket.
    pub local: AtomicU64,
    /// Requests that ended in an error.
    pub errors: AtomicU64,
    /// Messages that were dropped: requests whose reply subject was not their caller's own, and answers of the store.
    pub dropped: AtomicU64,
    /// Replies of CIs that are offered over the node's socket, which came when nobody waited for them any more.
    pub late: AtomicU64,
    /// Nanoseconds spent on requests.
    pub busy_ns: AtomicU64,
    /// Calls and streams that are running now.
    pub in_flight: AtomicUsize,
}

/// Serves what a dispatcher knows, over one bus connection.
#[derive(Debug, Clone)]
pub struct Server(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    bus: Bus,
    dispatcher: Dispatcher,
    running: Mutex<HashMap<Key, Arc<Running>>>,
    per_caller: Mutex<HashMap<UserName, usize>>,
    /// Where calls by hand are handed on to whoever serves a CI by itself.
    passages: Mutex<HashMap<UserName, Passage>>,
    counters: Counters,
    tracker: TaskTracker,
    /// Set when no calls are taken any more.
    stopping: CancellationToken,
    /// Set when those that run have had their grace.
    ended: CancellationToken,
    pulse: Arc<Pulse>,
    _beating: task::Owned,
}

impl Server {
    /// Makes a server; it hears nothing until [`Server::listen`].
    ///
    /// # Panics
    ///
    /// Panics outside a Tokio runtime.
    #[must_use]
    pub fn new(bus: Bus, dispatcher: Dispatcher) -> Self {
        let pulse = Pulse::new();
        let beating = task::Owned::spawn_on(bus.home(), "pulse", pulse.clone().run(bus.clone()));
        Self(Arc::new(Inner {
            bus,
            dispatcher,
            running: Mutex::default(),
            per_caller: Mutex::default(),
            passages: Mutex::default(),
            counters: Counters::default(),
            tracker: TaskTracker::new(),
            stopping: CancellationToken::new(),
            ended: CancellationToken::new(),
            pulse,
            _beating: beating,
        }))
    }

    /// What it has done so far.
    #[must_use]
    pub fn counters(&self) -> &Counters {
        &self.0.counters
    }

    /// Subscribes to a subject and serves what comes; the subscription ends when the returned value is dropped.
    ///
    /// # Errors
    ///
    /// As [`Bus::subscribe`].
    pub async fn listen(&self, subject: &str) -> Result<task::Owned, Error> {
        let subscriber = self.0.bus.subscribe(subject).await?;
        Ok(self.serving(subscriber))
    }

    /// Hears calls by hand to one target, `NAME` or `NAME@NODE`. It costs no round trip: such calls are heard a moment
    /// later, which nobody can tell from a CI that came a moment later.
    ///
    /// # Errors
    ///
    /// `unavailable` when the connection is closed.
    pub async fn listen_by_hand(&self, target: &str) -> Result<task::Owned, Error> {
        let subject = self.0.bus.subjects().by_hand(target);
        let subscriber = self.0.bus.subscribe_unproven(&subject).await?;
        Ok(self.serving(subscriber))
    }

    /// Takes what comes where the connection lives; what does not end at once goes on in the runtime of today.
    fn serving(&self, mut subscriber: Subscriber) -> task::Owned {
        let (server, elsewhere) = (self.clone(), Handle::current());
        task::Owned::spawn_on(self.0.bus.home(), "serve", async move {
            while let Some(message) = subscriber.next().await {
                server.take(message, &elsewhere);
            }
        })
    }

    /// Refuses all calls of these users from now on, and cancels those that run. It goes for every service of the same
    /// connection.
    pub fn shut_out(&self, users: HashSet<UserName>) {
        for (key, running) in lock(&self.0.running).iter() {
            if matches!(key, Key::Bus(caller, _) if users.contains(caller)) {
                running.cancelled.cancel();
            }
        }
        self.0.bus.shut_out(users);
    }

    /// Stops taking calls, waits for those that run until `grace` has passed, then cancels them: each is told, streams by
    /// their last frame.
    pub async fn stop(&self, grace: Duration) {
        self.0.stopping.cancel();
        self.0.tracker.close();
        if tokio::time::timeout(grace, self.0.tracker.wait()).await.is_err() {
            self.0.ended.cancel();
            for running in lock(&self.0.running).values() {
                running.cancelled.cancel();
            }
            // A cancelled call answers at once; what does not is dropped with its process.
            let _ = tokio::time::timeout(Duration::from_secs(1), self.0.tracker.wait()).await;
        }
    }

    fn take(&self, message: Message, elsewhere: &Handle) {
        let inner = &self.0;
        let Some(Heard { caller, asked, by_hand }) = inner.bus.subjects().read(&message.subject) else { return };
        match asked {
            Asked::Cancel(_) | Asked::Credit(_) | Asked::Pack if from_store(&message) => {
                inner.counters.dropped.fetch_add(1, Ordering::Relaxed);
            }
            Asked::Cancel(token) => {
                if by_hand {
                    self.pass_control(&caller, Control::Cancel, &token, &message.payload);
                }
                self.cancel(&Key::Bus(caller.name, token));
            }
            Asked::Credit(token) => {
                if by_hand {
                    self.pass_control(&caller, Control::Credit, &token, &message.payload);
                }
                self.credit(&Key::Bus(caller.name, token), &message.payload);
            }
            Asked::Malformed(error) => {
                if let Some(reply) = message.reply.filter(|reply| may_reply(&caller.name, reply)) {
                    self.refuse(Reply::at(&reply), error.into(), elsewhere);
                }
            }
            Asked::Skill { target, path } => {
                let Some(reply) = self.permitted(&caller, message.reply.as_deref(), elsewhere) else { return };
                if let Some(Err(error)) = message.headers.as_ref().map(headers::check) {
                    return self.refuse(reply, error, elsewhere);
                }
                let passage = by_hand.then(|| self.passage(&target, &path)).flatten();
                if let Some((passage, path)) = passage {
                    return self.pass_on(Passing { passage, caller, target, path }, message, reply, elsewhere);
                }
                let traceparent =
                    message.headers.as_ref().and_then(|headers| headers.get("traceparent")).map(ToString::to_string);
                let cancelled = CancellationToken::new();
                let since = self.sent_at_earliest();
                let body = message.payload;
                let incoming = Incoming { caller, target, path, by_hand, body, traceparent, since, cancelled };
                self.start_in(incoming, reply, elsewhere);
            }
            Asked::Pack => {
                let Some(reply) = self.permitted(&caller, message.reply.as_deref(), elsewhere) else { return };
                // Only who reads packs may send them.
                let (Reply::Inbox(inbox, _), Some(frames)) = (reply, pack::read(&message.payload)) else { return };
                let since = self.sent_at_earliest();
                for frame in frames.take(pack::MOST) {
                    let reply = Reply::Inbox(inbox.clone(), frame.token);
                    match read_tail(&String::from_utf8_lossy(&frame.head)) {
                        Ok((target, path)) => {
                            let (caller, cancelled) = (caller.clone(), CancellationToken::new());
                            let (body, traceparent) = (frame.body, None);
                            let incoming =
                                Incoming { caller, target, path, by_hand, body, traceparent, since, cancelled };
                            self.start_in(incoming, reply, elsewhere);
                        }
                        Err(error) => self.refuse(reply, error.into(), elsewhere),
                    }
                }
            }
        }
    }

    /// When a request that is read now was sent, at the earliest.
    pub(crate) fn sent_at_earliest(&self) -> Instant {
        self.0.pulse.sent_at_earliest()
    }

    /// Whether that call is under way.
    pub(crate) fn is_running(&self, key: &Key) -> bool {
        lock(&self.0.running).contains_key(key)
    }

    /// Cancels a call, if it is under way.
    pub(crate) fn cancel(&self, key: &Key) {
        if let Some(running) = lock(&self.0.running).get(key) {
            running.cancelled.cancel();
        }
    }

    /// Gives a stream credit, if it is under way.
    pub(crate) fn credit(&self, key: &Key, body: &[u8]) {
        if let Some(running) = lock(&self.0.running).get(key) {
            running.credit(body);
        }
    }

    /// Cancels all calls of a connection that ended.
    pub(crate) fn hang_up(&self, connection: u64) {
        for (key, running) in lock(&self.0.running).iter() {
            if matches!(key, Key::Socket(of, _) if *of == connection) {
                running.cancelled.cancel();
            }
        }
    }

    /// The user that serves.
    pub(crate) fn user(&self) -> &UserName {
        self.0.bus.user()
    }

    /// What answers.
    pub(crate) fn dispatcher(&self) -> &Dispatcher {
        &self.0.dispatcher
    }

    /// Where refusals are kept.
    #[must_use]
    pub fn journal(&self) -> &dyn Journal {
        self.0.dispatcher.journal()
    }

    /// Where the reply goes; a request that wants it elsewhere than in its caller's own inbox is dropped, and recorded.
    fn permitted(&self, caller: &Caller, reply: Option<&str>, elsewhere: &Handle) -> Option<Reply> {
        if let Some(reply) = reply.filter(|reply| may_reply(&caller.name, reply)) {
            return Some(Reply::at(reply));
        }
        self.0.counters.dropped.fetch_add(1, Ordering::Relaxed);
        let (dispatcher, caller) = (self.0.dispatcher.clone(), caller.clone());
        self.0.tracker.spawn_on(
            async move {
                dispatcher.journal().refused(&caller, "call", NOT_OWN_INBOX).await;
            },
            elsewhere,
        );
        None
    }

    /// Tells a caller what is wrong with a request before anything is made of it.
    fn refuse(&self, reply: Reply, error: Error, elsewhere: &Handle) {
        self.0.counters.errors.fetch_add(1, Ordering::Relaxed);
        let server = self.clone();
        let mut work = Box::pin(async move { server.send_error(reply, &error).await });
        if unconstrained(&mut work).now_or_never().is_none() {
            self.0.tracker.spawn_on(work, elsewhere);
        }
    }

    /// Runs a call in the runtime of today.
    pub(crate) fn start(&self, incoming: Incoming, reply: Reply) {
        self.start_in(incoming, reply, &Handle::current());
    }

    /// Runs a call: inline as far as it goes without waiting, in a task of its own beyond that.
    fn start_in(&self, incoming: Incoming, reply: Reply, elsewhere: &Handle) {
        let caller = incoming.caller.name.clone();
        let key = reply.key(&caller);
        let running = Arc::new(Running::until(incoming.cancelled.clone()));
        let in_flight = InFlight::begin(self.clone());
        let refused = self.refusal(&caller);
        let mut work = Box::pin(in_flight.answer(incoming, reply, running.clone(), refused));
        // Whatever it spawns or waits for belongs to that runtime, not to the connection's own.
        let entered = elsewhere.enter();
        // Its budget is not the subscription's, of which many calls in one pack would leave nothing.
        let ended = unconstrained(&mut work).now_or_never();
        drop(entered);
        if ended.is_none() {
            // Nobody can have cancelled it before: cancels come the same way.
            let admitted = self.admit(caller, key, running);
            self.0.tracker.spawn_on(
                async move {
                    let _admitted = admitted;
                    work.await;
                },
                elsewhere,
            );
        }
    }

    /// Why this caller's call is not run, if it is not.
    fn refusal(&self, caller: &UserName) -> Option<Error> {
        let inner = &self.0;
        if let Err(error) = inner.bus.admit(caller) {
            return Some(error);
        }
        if inner.stopping.is_cancelled() {
            return Some(Error::unavailable("the node is stopping").sent(false));
        }
        let in_flight = inner.counters.in_flight.load(Ordering::Relaxed);
        let (who, limit) = if in_flight > TOTAL_LIMIT {
            ("this node", TOTAL_LIMIT)
        } else if in_flight > CALLER_LIMIT && lock(&inner.per_caller).get(caller).is_some_and(|n| *n >= CALLER_LIMIT) {
            (caller.as_str(), CALLER_LIMIT)
        } else {
            return None;
        };
        let message = format!("{who} has {limit} calls in flight here, which is the limit");
        Some(Error::new(Code::ResourceExhausted, message).hint("wait for some of them to end").sent(false))
    }

    /// Makes a call that goes on known to its cancel and credit, and to its caller's limit.
    fn admit(&self, caller: UserName, key: Option<Key>, running: Arc<Running>) -> Admitted {
        let inner = &self.0;
        *lock(&inner.per_caller).entry(caller.clone()).or_default() += 1;
        if let Some(key) = &key {
            lock(&inner.running).insert(key.clone(), running);
        }
        Admitted { server: self.clone(), caller, key }
    }

    async fn send_body(&self, reply: Reply, body: Bytes) {
        let body = match reply.fit(&self.0.bus, body).await {
            Ok(body) => body,
            Err(error) => return self.send_error(reply, &error).await,
        };
        if let Err(error) = reply.send(&self.0.bus, Head::Value, body).await {
            tracing::warn!(%error, "a reply was not sent");
        }
    }

    async fn send_error(&self, reply: Reply, error: &Error) {
        let mut body = serde_json::to_vec(error).unwrap_or_default();
        if body.len() + 1_024 > reply.limit(&self.0.bus) {
            let cut = Error {
                data: None,
                cause: None,
                message: error.message.chars().take(4_096).collect(),
                ..error.clone()
            };
            body = serde_json::to_vec(&cut).unwrap_or_default();
        }
        if let Err(error) = reply.send(&self.0.bus, Head::Error(error.code), body.into()).await {
            tracing::warn!(%error, "an error reply was not sent");
        }
    }
}
