//! The journal of calls that change something: on disk before the effect, and the answer to whoever repeats a call.

mod counts;
mod line;

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    path::Path,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use aigis_proxy::{
    Bus, Code, Error, NodeName, Role,
    dispatch::{self, Begun, Deed, Journal},
    envelope::DEFAULT_TIMEOUT,
    identity::Credential,
    subject::Caller,
    task,
};
use futures::{FutureExt, future::BoxFuture};
use serde_json::Value;
use tokio::sync::watch;

use line::{blank, digest_of, line_of, shortened};

use super::{
    Head, Line, Phase, WITNESS,
    chain::{self, Chain, Entry, Kept, Local, MEMORY, Outcome},
};
use crate::{
    spool::{OpenError, ROOM, Spool},
    timestamp::Timestamp,
};

/// How many calls are remembered; more within ten minutes are refused.
const MAX_CALLS: usize = 200_000;
/// Largest result that is kept for a repeat, in bytes of JSON.
const MAX_RESULT: usize = 64 * 1024;
/// How many refusals of one caller get a line of their own each second.
const REFUSALS: u32 = 10;
/// How many callers' refusals are counted apart.
const MAX_CALLERS: usize = 1024;

/// The audit of one node; cheap to clone.
#[derive(Debug, Clone)]
pub struct AuditJournal(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    node: NodeName,
    spool: Spool<Chain>,
    head: watch::Receiver<Head>,
    /// How many bytes may wait for the bus.
    room: u64,
    calls: Mutex<Calls>,
    refusals: Mutex<HashMap<Caller, Refusals>>,
}

/// The calls of the last ten minutes.
#[derive(Debug, Default)]
struct Calls {
    known: HashMap<String, Known>,
    /// In the order in which they end to be remembered.
    order: VecDeque<(Timestamp, String)>,
}

#[derive(Debug, Clone)]
struct Known {
    arguments: String,
    at: Timestamp,
    state: State,
}

#[derive(Debug, Clone)]
enum State {
    Running(Arc<watch::Sender<Option<Outcome>>>),
    Ended(Outcome),
    /// It began before this process did, and nothing tells how it ended.
    Lost,
}

#[derive(Debug)]
struct Refusals {
    since: Instant,
    count: u32,
    /// How many have no line yet.
    more: u64,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl AuditJournal {
    /// Opens the journal in a directory, and remembers what was done in the last ten minutes.
    ///
    /// # Errors
    ///
    /// If the directory cannot be read and written.
    pub fn open(directory: &Path, credential: Arc<Credential>) -> Result<Self, OpenError> {
        Self::open_with(directory, credential, ROOM)
    }

    /// As [`AuditJournal::open`], with another bound on the bytes that may wait for the bus.
    ///
    /// # Errors
    ///
    /// As [`AuditJournal::open`].
    pub fn open_with(directory: &Path, credential: Arc<Credential>, room: u64) -> Result<Self, OpenError> {
        let node = credential.name().node();
        let mut calls = Calls::default();
        let chain = Chain::new(credential);
        let head = chain.head();
        let spool = Spool::open(directory, chain, |kept| calls.restore(kept))?;
        Ok(Self(Arc::new(Inner { node, spool, head, room, calls: Mutex::new(calls), refusals: Mutex::default() })))
    }

    /// Ships the lines to the audit stream until the returned task is dropped; one at a time.
    #[must_use]
    pub fn ship(&self, bus: &Bus) -> task::Owned {
        chain::ship(self.0.spool.clone(), bus.clone())
    }

    /// Bytes that wait for the bus.
    #[must_use]
    pub fn backlog(&self) -> u64 {
        self.0.spool.backlog()
    }

    /// Where the chain of lines ends, as that moves.
    #[must_use]
    pub fn head(&self) -> watch::Receiver<Head> {
        self.0.head.clone()
    }

    /// Notes how long the chains of others are, as they say.
    ///
    /// # Errors
    ///
    /// `resource_exhausted` if the disk does not take it.
    pub async fn witness(&self, heads: &BTreeMap<NodeName, Head>) -> Result<(), Error> {
        let node = &self.0.node;
        let caller = Caller { role: Role::Node, name: node.user() };
        let arguments = Some(serde_json::json!({ "kwargs": heads }));
        let line = Line { skill: Some(WITNESS.to_owned()), arguments, ..blank(node, &caller, Phase::End) };
        self.append(line, None).await
    }

    async fn begin_deed(&self, deed: Deed<'_>) -> Result<Begun, Error> {
        let room = self.0.room;
        if self.backlog() >= room {
            return Err(Error::new(
                Code::ResourceExhausted,
                format!("{} MiB of audit wait for the bus; nothing that changes anything runs unaudited", room >> 20),
            )
            .hint("bring the bus back; see: aish doctor")
            .sent(false));
        }
        let arguments = digest_of(&deed);
        let Some(key) = key_of(&deed) else {
            return self.append(line_of(&self.0.node, &deed, Phase::Begin), None).await.map(|()| Begun::Run);
        };
        let claim = loop {
            let mut known = match self.claim(&key, &arguments)? {
                Ok(claim) => break claim,
                Err(known) => known,
            };
            if known.arguments != arguments {
                return Err(reused(&deed, &known));
            }
            match known.state {
                State::Ended(outcome) => return repeat(outcome),
                State::Lost => return Err(lost(&deed, &known)),
                State::Running(ref sender) => {
                    let mut outcome = sender.subscribe();
                    // Only the first call may hold the sender: that it is dropped says that the call never began.
                    known.state = State::Lost;
                    let budget = deed.request.meta.budget(DEFAULT_TIMEOUT);
                    let ended = tokio::time::timeout(budget, outcome.wait_for(Option::is_some)).await;
                    match ended {
                        Ok(Ok(outcome)) => {
                            if let Some(outcome) = outcome.clone() {
                                return repeat(outcome);
                            }
                        }
                        // It never began; this repeat is the first.
                        Ok(Err(_)) => {}
                        Err(_) => return Err(running(&deed, &known)),
                    }
                }
            }
        };
        let local = Local { key, arguments, outcome: None };
        self.append(line_of(&self.0.node, &deed, Phase::Begin), Some(local)).await?;
        claim.keep();
        Ok(Begun::Run)
    }

    async fn append(&self, line: Line, local: Option<Local>) -> Result<(), Error> {
        self.0.spool.append(Entry { line, local }).await.map_err(|reason| {
            Error::new(Code::ResourceExhausted, format!("the audit of this node cannot be written: {reason}"))
                .hint("nothing that changes anything runs unaudited; look at the disk of the node's data directory")
                .sent(false)
        })
    }

    /// Takes a call's key, or tells what is known of it.
    fn claim(&self, key: &str, arguments: &str) -> Result<Result<Claim<'_>, Known>, Error> {
        let mut calls = lock(&self.0.calls);
        calls.forget(Timestamp::now());
        if let Some(known) = calls.known.get(key) {
            return Ok(Err(known.clone()));
        }
        if calls.known.len() >= MAX_CALLS {
            let message = "too many calls that change something within ten minutes";
            return Err(Error::new(Code::ResourceExhausted, message).hint("wait a minute and repeat").sent(false));
        }
        let state = State::Running(Arc::new(watch::Sender::new(None)));
        calls.remember(key, Known { arguments: arguments.to_owned(), at: Timestamp::now(), state });
        Ok(Ok(Claim { calls: &self.0.calls, key: key.to_owned(), kept: false }))
    }

    async fn end_deed(&self, deed: Deed<'_>, ended: dispatch::Outcome<'_>) {
        let mut line = line_of(&self.0.node, &deed, Phase::End);
        line.arguments = None;
        if let dispatch::Outcome::Failed(error) = ended {
            (line.code, line.reason) = (Some(error.code), Some(shortened(&error.message)));
        }
        let outcome = kept(ended);
        let key = key_of(&deed);
        let local = key.clone().map(|key| Local { key, arguments: digest_of(&deed), outcome: Some(outcome.clone()) });
        if let Err(error) = self.append(line, local).await {
            tracing::error!(%error, "the end of a call is not on record");
        }
        if let Some(known) = key.and_then(|key| {
            lock(&self.0.calls)
                .known
                .get_mut(&key)
                .map(|known| std::mem::replace(&mut known.state, State::Ended(outcome.clone())))
        }) && let State::Running(sender) = known
        {
            sender.send_replace(Some(outcome));
        }
    }

    async fn refuse(&self, caller: &Caller, what: &str, reason: &str) {
        let Some(more) = self.due(caller) else { return };
        let (ci, skill) = match what.split_once(' ') {
            Some((ci, skill)) => (Some(ci.to_owned()), skill),
            None => (None, what),
        };
        let line = Line {
            ci,
            skill: Some(shortened(skill)),
            code: Some(Code::PermissionDenied),
            reason: Some(shortened(reason)),
            more,
            ..blank(&self.0.node, caller, Phase::Refused)
        };
        if let Err(error) = self.append(line, None).await {
            tracing::error!(%error, "a refusal is not on record");
        }
    }

    /// Whether a refusal of that caller gets a line now, and how many before it got none.
    fn due(&self, caller: &Caller) -> Option<u64> {
        let mut refusals = lock(&self.0.refusals);
        if refusals.len() >= MAX_CALLERS {
            refusals.retain(|_, refusals| refusals.more > 0 || refusals.since.elapsed() < Duration::from_secs(1));
        }
        let fresh = Refusals { since: Instant::now(), count: 0, more: 0 };
        let entry = refusals.entry(caller.clone()).or_insert(fresh);
        if entry.since.elapsed() >= Duration::from_secs(1) {
            (entry.since, entry.count) = (Instant::now(), 0);
        }
        // Above this share only lines of calls that run are taken, so that refusals cannot fill the room.
        if entry.count >= REFUSALS || self.backlog() >= self.0.room / 4 * 3 {
            entry.more += 1;
            return None;
        }
        entry.count += 1;
        Some(std::mem::take(&mut entry.more))
    }
}

/// A key that was taken for a call which has not begun: given back unless it does.
struct Claim<'a> {
    calls: &'a Mutex<Calls>,
    key: String,
    kept: bool,
}

impl Claim<'_> {
    fn keep(mut self) {
        self.kept = true;
    }
}

impl Drop for Claim<'_> {
    fn drop(&mut self) {
        if !self.kept {
            lock(self.calls).known.remove(&self.key);
        }
    }
}

impl Calls {
    fn remember(&mut self, key: &str, known: Known) {
        self.order.push_back((known.at, key.to_owned()));
        self.known.insert(key.to_owned(), known);
    }

    fn forget(&mut self, now: Timestamp) {
        while let Some((at, key)) = self.order.pop_front() {
            if now.time() - at.time() < MEMORY {
                self.order.push_front((at, key));
                return;
            }
            if self.known.get(&key).is_some_and(|known| known.at == at) {
                self.known.remove(&key);
            }
        }
    }

    fn restore(&mut self, kept: Kept) {
        let Kept { signed, local: Some(Local { key, arguments, outcome }) } = kept else { return };
        let Some(line) = signed.read() else { return };
        if Timestamp::now().time() - line.at.time() >= MEMORY {
            return;
        }
        match (self.known.get_mut(&key), outcome) {
            (Some(known), Some(outcome)) => known.state = State::Ended(outcome),
            (_, outcome) => {
                let state = outcome.map_or(State::Lost, State::Ended);
                self.remember(&key, Known { arguments, at: line.at, state });
            }
        }
    }
}

impl Journal for AuditJournal {
    fn begin<'a>(&'a self, deed: Deed<'a>) -> BoxFuture<'a, Result<Begun, Error>> {
        self.begin_deed(deed).boxed()
    }

    fn end<'a>(&'a self, deed: Deed<'a>, outcome: dispatch::Outcome<'a>) -> BoxFuture<'a, ()> {
        self.end_deed(deed, outcome).boxed()
    }

    fn refused<'a>(&'a self, caller: &'a Caller, what: &'a str, reason: &'a str) -> BoxFuture<'a, ()> {
        self.refuse(caller, what, reason).boxed()
    }
}

/// What is kept of an outcome for a repeat.
fn kept(outcome: dispatch::Outcome<'_>) -> Outcome {
    match outcome {
        dispatch::Outcome::Value(value) if value.to_string().len() <= MAX_RESULT => Outcome::Done(value.clone()),
        // Whoever made it answers for its form; what has none cannot be told again.
        dispatch::Outcome::Body(body) if body.len() <= MAX_RESULT => {
            serde_json::from_slice(body).map_or(Outcome::Large, Outcome::Done)
        }
        dispatch::Outcome::Value(_) | dispatch::Outcome::Body(_) => Outcome::Large,
        dispatch::Outcome::Stream => Outcome::Done(Value::Null),
        dispatch::Outcome::Failed(error) => Outcome::Failed(error.clone()),
    }
}

fn repeat(outcome: Outcome) -> Result<Begun, Error> {
    match outcome {
        Outcome::Done(value) => Ok(Begun::Repeat(Ok(value))),
        Outcome::Failed(error) => Ok(Begun::Repeat(Err(error))),
        Outcome::Large => {
            Err(Error::precondition("this call was done before, and its result was too large to be kept")
                .hint("do not repeat it; look at the state of the CI"))
        }
    }
}

fn call_id<'a>(deed: &'a Deed<'_>) -> &'a str {
    deed.request.meta.call.as_deref().unwrap_or_default()
}

fn reused(deed: &Deed<'_>, known: &Known) -> Error {
    let (call, at) = (call_id(deed), known.at);
    Error::new(Code::AlreadyExists, format!("the call id \"{call}\" was used at {at} with other arguments"))
        .hint("use a new id for a new call")
        .with("call", call)
        .with("at", at.to_string())
        .sent(false)
}

fn lost(deed: &Deed<'_>, known: &Known) -> Error {
    let (call, at) = (call_id(deed), known.at);
    Error::precondition(format!(
        "the call \"{call}\" began at {at}, before the node restarted; its outcome is not known"
    ))
    .hint("look at the state of the CI; then use a new call id")
    .with("call", call)
    .with("at", at.to_string())
    .sent(true)
}

fn running(deed: &Deed<'_>, known: &Known) -> Error {
    let (call, at) = (call_id(deed), known.at);
    Error::new(Code::DeadlineExceeded, format!("the call \"{call}\" began at {at} and has not ended"))
        .with("call", call)
        .sent(true)
}

/// The key under which a call is known: who, on what, which skill, which id.
fn key_of(deed: &Deed<'_>) -> Option<String> {
    let call = deed.request.meta.call.as_deref()?;
    Some(format!("{} {} {} {call}", deed.caller, deed.ci, deed.path))
}
