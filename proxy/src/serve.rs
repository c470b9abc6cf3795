//! Serving CIs over the bus: subscriptions, the reply-subject rule, limits, cancel, and streams with credit.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use async_nats::Subscriber;
use bytes::Bytes;
use futures::{FutureExt, StreamExt, stream::BoxStream};
use serde_json::Value;
use tokio::{sync::Notify, time::Instant};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    body,
    bus::{Bus, Message, from_store},
    client::{FIRST_CREDIT, Frame},
    dispatch::{Dispatcher, Incoming},
    error::{Code, Error},
    headers,
    name::UserName,
    skill::Answer,
    subject::{Asked, Caller, Heard, may_reply},
    task,
};

mod reply;

pub(crate) use reply::{Head, Key, Reply};

/// Most calls that one caller may have in flight here.
pub const CALLER_LIMIT: usize = 1_024;
/// Most calls that may be in flight here at all.
pub const TOTAL_LIMIT: usize = 16_384;
/// How long a stream goes on without a sign of its reader.
const READER_SILENCE: Duration = Duration::from_secs(30);
/// How often a silent stream says that it lives.
const BEAT: Duration = Duration::from_secs(10);
/// Most frames that credit can be worth.
const CREDIT_LIMIT: u32 = 1_024;

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
    /// Nanoseconds spent on them.
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
    counters: Counters,
    tracker: TaskTracker,
    stopping: CancellationToken,
}

/// A call that its caller can cancel, or give credit to.
#[derive(Debug, Default)]
struct Running {
    cancelled: CancellationToken,
    credit: AtomicUsize,
    heard: Notify,
    heard_count: AtomicU64,
}

impl Server {
    /// Makes a server; it hears nothing until [`Server::listen`].
    #[must_use]
    pub fn new(bus: Bus, dispatcher: Dispatcher) -> Self {
        Self(Arc::new(Inner {
            bus,
            dispatcher,
            running: Mutex::default(),
            per_caller: Mutex::default(),
            counters: Counters::default(),
            tracker: TaskTracker::new(),
            stopping: CancellationToken::new(),
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
        Ok(task::Owned::spawn("serve", self.clone().serve(subscriber)))
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
        Ok(task::Owned::spawn("serve", self.clone().serve(subscriber)))
    }

    async fn serve(self, mut subscriber: Subscriber) {
        while let Some(message) = subscriber.next().await {
            self.take(message);
        }
    }

    /// Stops taking calls, waits for those that run until `grace` has passed, then cancels them.
    pub async fn stop(&self, grace: Duration) {
        self.0.stopping.cancel();
        self.0.tracker.close();
        if tokio::time::timeout(grace, self.0.tracker.wait()).await.is_err() {
            for running in lock(&self.0.running).values() {
                running.cancelled.cancel();
            }
            // A cancelled call answers at once; what does not is dropped with its process.
            let _ = tokio::time::timeout(Duration::from_secs(1), self.0.tracker.wait()).await;
        }
    }

    fn take(&self, message: Message) {
        let inner = &self.0;
        let Some(Heard { caller, asked, by_hand }) = inner.bus.subjects().read(&message.subject) else { return };
        match asked {
            Asked::Cancel(_) | Asked::Credit(_) if from_store(&message) => {
                inner.counters.dropped.fetch_add(1, Ordering::Relaxed);
            }
            Asked::Cancel(token) => self.cancel(&Key::Bus(caller.name, token)),
            Asked::Credit(token) => self.credit(&Key::Bus(caller.name, token), &message.payload),
            Asked::Malformed(error) => {
                if let Some(reply) = message.reply.filter(|reply| may_reply(&caller.name, reply)) {
                    self.refuse(Reply::Bus(reply.into_string()), error.into());
                }
            }
            Asked::Skill { target, path } => {
                let Some(reply) = message.reply.filter(|reply| may_reply(&caller.name, reply)) else {
                    inner.counters.dropped.fetch_add(1, Ordering::Relaxed);
                    self.record_bad_reply(caller);
                    return;
                };
                if let Some(Err(error)) = message.headers.as_ref().map(headers::check) {
                    return self.refuse(Reply::Bus(reply.into_string()), error);
                }
                let traceparent =
                    message.headers.as_ref().and_then(|headers| headers.get("traceparent")).map(ToString::to_string);
                let cancelled = CancellationToken::new();
                let incoming =
                    Incoming { caller, target, path, by_hand, body: message.payload, traceparent, cancelled };
                self.start(incoming, Reply::Bus(reply.into_string()));
            }
        }
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

    fn record_bad_reply(&self, caller: Caller) {
        let dispatcher = self.0.dispatcher.clone();
        self.0.tracker.spawn_on(
            async move {
                let reason = "the reply subject is not below the caller's own inbox";
                dispatcher.journal().refused(&caller, "call", reason).await;
            },
            &tokio::runtime::Handle::current(),
        );
    }

    /// Tells a caller what is wrong with a request before anything is made of it.
    fn refuse(&self, reply: Reply, error: Error) {
        self.0.counters.errors.fetch_add(1, Ordering::Relaxed);
        let server = self.clone();
        let mut work = Box::pin(async move { server.send_error(reply, &error).await });
        if (&mut work).now_or_never().is_none() {
            self.0.tracker.spawn_on(work, &tokio::runtime::Handle::current());
        }
    }

    /// Runs a call: inline as far as it goes without waiting, in a task of its own beyond that.
    pub(crate) fn start(&self, incoming: Incoming, reply: Reply) {
        let running = Arc::new(Running { cancelled: incoming.cancelled.clone(), ..Running::default() });
        let server = self.clone();
        let mut work = Box::pin(async move { server.answer(incoming, reply, running).await });
        if (&mut work).now_or_never().is_none() {
            self.0.tracker.spawn_on(work, &tokio::runtime::Handle::current());
        }
    }

    async fn answer(self, incoming: Incoming, reply: Reply, running: Arc<Running>) {
        let started = Instant::now();
        let inner = &*self.0;
        inner.counters.requests.fetch_add(1, Ordering::Relaxed);
        if let Reply::Socket(_) = reply {
            inner.counters.local.fetch_add(1, Ordering::Relaxed);
        }
        let admitted = self.admit(&incoming.caller, reply.key(&incoming.caller.name), &running);
        let answer = match &admitted {
            Ok(_) => match body::received(&inner.bus, incoming).await {
                Ok(incoming) => inner.dispatcher.answer(incoming).await,
                Err(error) => Err(error),
            },
            Err(error) => Err(error.clone()),
        };
        match answer {
            Ok(Answer::Value(value)) => self.send_value(reply, &value).await,
            Ok(Answer::Stream(stream)) => self.send_stream(reply, stream, &running).await,
            Err(error) => {
                inner.counters.errors.fetch_add(1, Ordering::Relaxed);
                self.send_error(reply, &error).await;
            }
        }
        let spent = u64::try_from(started.elapsed().as_nanos()).unwrap_or(u64::MAX);
        inner.counters.busy_ns.fetch_add(spent, Ordering::Relaxed);
    }

    fn admit(&self, caller: &Caller, key: Option<Key>, running: &Arc<Running>) -> Result<Admitted, Error> {
        let inner = &self.0;
        if inner.stopping.is_cancelled() {
            return Err(Error::unavailable("the node is stopping").sent(false));
        }
        let full = |who: &str, limit: usize| {
            Error::new(Code::ResourceExhausted, format!("{who} has {limit} calls in flight here, which is the limit"))
                .hint("wait for some of them to end")
                .sent(false)
        };
        if inner.counters.in_flight.load(Ordering::Relaxed) >= TOTAL_LIMIT {
            return Err(full("this node", TOTAL_LIMIT));
        }
        let mut per_caller = lock(&inner.per_caller);
        let count = per_caller.entry(caller.name.clone()).or_default();
        if *count >= CALLER_LIMIT {
            return Err(full(caller.name.as_str(), CALLER_LIMIT));
        }
        *count += 1;
        drop(per_caller);
        inner.counters.in_flight.fetch_add(1, Ordering::Relaxed);
        if let Some(key) = &key {
            lock(&inner.running).insert(key.clone(), running.clone());
        }
        Ok(Admitted { server: self.clone(), caller: caller.name.clone(), key })
    }

    async fn send_value(&self, reply: Reply, value: &Value) {
        let body = Bytes::from(serde_json::to_vec(value).unwrap_or_default());
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

    async fn send_stream(&self, reply: Reply, mut stream: BoxStream<'static, Result<Value, Error>>, running: &Running) {
        running.credit.store(FIRST_CREDIT as usize, Ordering::Release);
        if reply.clone().send(&self.0.bus, Head::Stream, Bytes::from_static(b"{}")).await.is_err() {
            return;
        }
        let mut link = self.0.bus.link();
        let over_bus = matches!(reply, Reply::Bus(_));
        let over = async {
            tokio::select! {
                () = running.cancelled.cancelled() => {}
                () = down(&mut link), if over_bus => {}
                () = running.reader_gone() => {}
            }
        };
        tokio::pin!(over);
        let mut seq = 0;
        loop {
            seq += 1;
            let frame = tokio::select! {
                biased;
                () = &mut over => return,
                frame = running.paid(stream.next()) => match frame {
                    Some(Ok(data)) => Frame { seq, data: Some(data), ..Frame::default() },
                    Some(Err(error)) => Frame { seq, error: Some(error), ..Frame::default() },
                    None => Frame { seq, end: true, ..Frame::default() },
                },
                () = tokio::time::sleep(BEAT) => Frame { seq, beat: true, ..Frame::default() },
            };
            let last = frame.end || frame.error.is_some();
            let body = serde_json::to_vec(&frame).unwrap_or_default().into();
            let (body, last) = match reply.fit(&self.0.bus, body).await {
                Ok(body) => (body, last),
                Err(error) => {
                    let frame = Frame { seq, error: Some(error), ..Frame::default() };
                    (serde_json::to_vec(&frame).unwrap_or_default().into(), true)
                }
            };
            if reply.clone().send(&self.0.bus, Head::Frame, body).await.is_err() || last {
                return;
            }
        }
    }
}

async fn down(link: &mut tokio::sync::watch::Receiver<crate::bus::Link>) {
    // The sender lives as long as the bus; if it is gone, so is the link.
    let _ = link.wait_for(|link| !link.up).await;
}

impl Running {
    /// Adds credit. Whatever a caller writes, it is held between 1 and 1,024.
    fn credit(&self, body: &[u8]) {
        let text = std::str::from_utf8(body).unwrap_or_default().trim();
        let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        let asked = if digits { text.parse().unwrap_or(CREDIT_LIMIT) } else { 0 };
        let limit = CREDIT_LIMIT as usize;
        let more = asked.min(CREDIT_LIMIT) as usize;
        let add = |credit: usize| Some((credit + more).clamp(1, limit));
        // The closure always gives a value, so the update cannot fail.
        let _ = self.credit.fetch_update(Ordering::AcqRel, Ordering::Acquire, add);
        self.heard_count.fetch_add(1, Ordering::AcqRel);
        self.heard.notify_waiters();
    }

    /// Awaits credit for one frame, then the frame, and spends the credit on it.
    async fn paid<T>(&self, frame: impl Future<Output = T>) -> T {
        loop {
            let heard = self.heard.notified();
            if self.credit.load(Ordering::Acquire) > 0 {
                break;
            }
            heard.await;
        }
        let frame = frame.await;
        let spend = |credit: usize| Some(credit.saturating_sub(1));
        // The closure always gives a value, so the update cannot fail.
        let _ = self.credit.fetch_update(Ordering::AcqRel, Ordering::Acquire, spend);
        frame
    }

    /// Completes when the reader has given no sign for too long.
    async fn reader_gone(&self) {
        loop {
            let before = self.heard_count.load(Ordering::Acquire);
            tokio::time::sleep(READER_SILENCE).await;
            if self.heard_count.load(Ordering::Acquire) == before {
                return;
            }
        }
    }
}

/// A call that counts against the limits until it ends.
struct Admitted {
    server: Server,
    caller: UserName,
    key: Option<Key>,
}

impl Drop for Admitted {
    fn drop(&mut self) {
        let inner = &self.server.0;
        inner.counters.in_flight.fetch_sub(1, Ordering::Relaxed);
        if let Some(key) = &self.key {
            lock(&inner.running).remove(key);
        }
        let mut per_caller = lock(&inner.per_caller);
        if let Some(count) = per_caller.get_mut(&self.caller) {
            *count -= 1;
            if *count == 0 {
                per_caller.remove(&self.caller);
            }
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bad_22_credit_is_held_within_bounds() {
        for (before, body, after) in [
            (0, "-1", 1),
            (0, "0", 1),
            (5, "0", 5),
            (0, "32", 32),
            (64, "1000", 1_024),
            (0, "18446744073709551616", 1_024),
            (0, "many", 1),
            (3, "", 3),
        ] {
            let running = Running::default();
            running.credit.store(before, Ordering::Release);
            running.credit(body.as_bytes());
            assert_eq!(running.credit.load(Ordering::Acquire), after, "{before} and {body}");
        }
    }

    proptest::proptest! {
        #[test]
        fn bad_22_any_credit_is_held_within_bounds(
            before in 0..=1_024_usize,
            body in proptest::collection::vec(proptest::num::u8::ANY, 0..40),
        ) {
            let running = Running::default();
            running.credit.store(before, Ordering::Release);
            running.credit(&body);
            proptest::prop_assert!((1..=1_024).contains(&running.credit.load(Ordering::Acquire)));
        }
    }
}
