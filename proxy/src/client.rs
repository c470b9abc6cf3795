//! Calling skills, over the bus or this host's socket: one request, then a result or a stream of frames with credit.

use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::time::{Instant, Interval, interval};

use crate::{
    bus::Bus,
    envelope::{DEFAULT_TIMEOUT, Request},
    error::{Code, Error},
    json,
    name::{Name, SkillPath, UserName},
    socket::Local,
    subject::{Control, Token},
    trace,
};

mod way;

use way::{Head, Replies, Reply, Way};

/// The header of an error reply.
pub(crate) const ERROR_HEADER: &str = "Aigis-Error";
/// The header of the message that opens a stream.
pub(crate) const STREAM_HEADER: &str = "Aigis-Stream";
/// How many frames a callee may send before it hears of more credit.
pub(crate) const FIRST_CREDIT: u32 = 64;
/// How many replies may wait to be read: more than the credit that is given.
const ROOM: usize = FIRST_CREDIT as usize * 2 + 8;
/// Longest silence of a stream, in which at least a beat is due.
const SILENCE: Duration = Duration::from_secs(30);
/// How often credit is repeated, as a sign that the reader lives.
const CREDIT_BEAT: Duration = Duration::from_secs(10);

/// Where a call goes: which user serves which CI, and which skill is meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// The user that serves the CI, as its record says.
    pub server: UserName,
    /// The CI.
    pub ci: Name,
    /// The skill.
    pub path: SkillPath,
}

/// What came back.
#[derive(Debug)]
pub enum Response {
    /// One result.
    Value(Value),
    /// Frames.
    Stream(Frames),
}

/// A frame of a stream, as it travels.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Frame {
    pub(crate) seq: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) data: Option<Value>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) beat: bool,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) end: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) error: Option<Error>,
}

/// How a process calls: over the socket of its own host's node what that node serves, over the bus all else.
#[derive(Debug, Clone)]
pub struct Client {
    bus: Bus,
    local: Option<Local>,
}

impl Client {
    /// Calls over the bus alone.
    #[must_use]
    pub fn new(bus: Bus) -> Self {
        Self { bus, local: None }
    }

    /// Calls what the node of this host serves over its socket, as long as that answers.
    #[must_use]
    pub fn with_local(self, local: Local) -> Self {
        Self { local: Some(local), ..self }
    }

    /// The bus.
    #[must_use]
    pub fn bus(&self) -> &Bus {
        &self.bus
    }

    /// Calls a skill and takes its one result.
    ///
    /// # Errors
    ///
    /// As [`call`].
    ///
    /// # Cancel safety
    ///
    /// Dropping the future cancels the call at the callee.
    pub async fn call(&self, target: &Target, request: Request) -> Result<Value, Error> {
        one(self.open(target, request).await?, target)
    }

    /// Calls a skill and takes whatever it answers with. A call that surely did not leave over the socket goes over the
    /// bus; one that may have run is never made again.
    ///
    /// # Errors
    ///
    /// As [`call`].
    ///
    /// # Cancel safety
    ///
    /// Dropping the future, or the stream, cancels the call at the callee.
    pub async fn open(&self, target: &Target, mut request: Request) -> Result<Response, Error> {
        let Some(local) = self.local.as_ref().filter(|local| local.leads_to(&target.server)) else {
            return open(&self.bus, target, request).await;
        };
        let begun = Begun::now(&mut request);
        let body = request.to_bytes();
        let sending = local.begin(&target.ci, &target.path, &body, ROOM);
        let sent = tokio::time::timeout_at(begun.deadline, sending).await;
        if let Ok(Some((ongoing, replies))) = sent {
            let running = Running { way: Way::Socket(ongoing), server: target.server.clone(), ended: false };
            match begun.finish(running, Replies::Socket(replies), target).await {
                Err(Failed::Unsent) => {}
                Err(Failed::Told(error)) => return Err(error),
                Ok(response) => return Ok(response),
            }
        }
        request.meta.timeout = begun.explicit.then(|| begun.deadline.saturating_duration_since(Instant::now()));
        open(&self.bus, target, request).await
    }
}

/// Calls a skill and takes its one result.
///
/// # Errors
///
/// The callee's error; `unavailable`, `deadline_exceeded` or `permission_denied` with `data.sent`; `unimplemented`
/// if the skill answers with a stream.
///
/// # Cancel safety
///
/// Dropping the future cancels the call at the callee.
pub async fn call(bus: &Bus, target: &Target, request: Request) -> Result<Value, Error> {
    one(open(bus, target, request).await?, target)
}

fn one(response: Response, target: &Target) -> Result<Value, Error> {
    match response {
        Response::Value(value) => Ok(value),
        Response::Stream(_) => {
            let path = &target.path;
            Err(Error::new(Code::Unimplemented, format!("{path} answers with a stream")).hint("open it as one"))
        }
    }
}

/// Calls a skill and takes whatever it answers with.
///
/// # Errors
///
/// As [`call`].
///
/// # Cancel safety
///
/// Dropping the future, or the stream, cancels the call at the callee.
pub async fn open(bus: &Bus, target: &Target, mut request: Request) -> Result<Response, Error> {
    let begun = Begun::now(&mut request);
    let token = Token::random();
    let subject = bus.subjects().to(&target.server, bus.caller(), &target.ci, &target.path);
    let way = Way::Bus(bus.clone(), token.clone());
    let mut running = Running { way, server: target.server.clone(), ended: false };
    let replies =
        bus.request_many(&token, &subject, request.to_bytes(), ROOM).await.inspect_err(|_| running.ended = true)?;
    match begun.finish(running, Replies::Bus(replies), target).await {
        Ok(response) => Ok(response),
        Err(Failed::Unsent) => Err(named(target)),
        Err(Failed::Told(error)) => Err(error),
    }
}

/// A call's time, counted from its beginning.
#[derive(Debug, Clone, Copy)]
struct Begun {
    explicit: bool,
    deadline: Instant,
}

/// Why there is no response.
enum Failed {
    /// The request surely did not arrive.
    Unsent,
    /// Anything else.
    Told(Error),
}

impl Begun {
    fn now(request: &mut Request) -> Self {
        if request.meta.traceparent.is_none() {
            request.meta.traceparent = trace::current();
        }
        let explicit = request.meta.timeout;
        Self { explicit: explicit.is_some(), deadline: Instant::now() + explicit.unwrap_or(DEFAULT_TIMEOUT) }
    }

    /// Awaits the first reply, whichever way the request went.
    async fn finish(self, mut running: Running, mut replies: Replies, target: &Target) -> Result<Response, Failed> {
        // The callee tells of its own deadline; the grace is for that answer to arrive.
        let grace = Duration::from_millis(250);
        let reply = match tokio::time::timeout_at(self.deadline + grace, replies.next()).await {
            Ok(Some(Ok(reply))) => reply,
            Ok(Some(Err(error))) => {
                running.ended = true;
                let unsent = error.code == Code::Unavailable && error.detail("sent") == Some(&Value::Bool(false));
                return Err(if unsent { Failed::Unsent } else { Failed::Told(error) });
            }
            Ok(None) => return Err(Failed::Told(Error::unavailable("the connection was closed").sent(true))),
            Err(_) => {
                let Target { ci, path, .. } = target;
                let message = format!("{path} on {ci} did not answer before the deadline");
                let error = Error::new(Code::DeadlineExceeded, message).hint("give it longer: --timeout 2m");
                return Err(Failed::Told(error.sent(true)));
            }
        };
        if reply.head == Head::Stream {
            return Ok(Response::Stream(Frames::new(running, replies, self.explicit.then_some(self.deadline))));
        }
        running.ended = true;
        decode(reply, target).map(Response::Value).map_err(Failed::Told)
    }
}

/// Reads a single reply: a result, or the callee's error.
fn decode(reply: Reply, target: &Target) -> Result<Value, Error> {
    let Head::Error(code) = reply.head else {
        return json::read(&reply.body).map_err(|error| hostile(target, &error.message));
    };
    match (code.map(|code| code.parse::<Code>()).transpose(), serde_json::from_slice::<Error>(&reply.body)) {
        (Ok(code), Ok(error)) => Err(Error { code: code.unwrap_or(error.code), ..error }),
        (Err(unknown), _) => Err(hostile(target, &unknown.to_string())),
        (_, Err(_)) => Err(hostile(target, "its error has no readable body")),
    }
}

fn hostile(target: &Target, reason: &str) -> Error {
    Error::internal(format!("the reply of {} (served by {}) is unusable: {reason}", target.ci, target.server))
}

fn named(target: &Target) -> Error {
    let Target { ci, server, .. } = target;
    Error::unavailable(format!("{ci} does not answer: its server \"{server}\" is not on the bus"))
        .hint("see: aish nodes")
        .sent(false)
}

/// A call under way: dropping it before its end cancels it at the callee.
#[derive(Debug)]
struct Running {
    way: Way,
    server: UserName,
    ended: bool,
}

impl Running {
    fn tell(&self, verb: Control, body: Bytes) {
        self.way.tell(&self.server, verb, body);
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if !self.ended {
            self.tell(Control::Cancel, Bytes::new());
        }
    }
}

/// The frames of a stream, in order, each once. Reading gives the callee credit for more; dropping cancels it.
#[derive(Debug)]
pub struct Frames {
    running: Running,
    replies: Replies,
    next: u64,
    unpaid: u32,
    beat: Interval,
    silent_since: Instant,
    deadline: Option<Instant>,
}

impl Frames {
    fn new(running: Running, replies: Replies, deadline: Option<Instant>) -> Self {
        let beat = interval(CREDIT_BEAT);
        let silent_since = Instant::now();
        Self { running, replies, next: 1, unpaid: 0, beat, silent_since, deadline }
    }

    /// The next frame's data; `None` after the end.
    ///
    /// # Errors
    ///
    /// The callee's error, a broken stream, or the deadline; nothing comes after it.
    ///
    /// # Cancel safety
    ///
    /// No frame is lost when the future is dropped.
    pub async fn next(&mut self) -> Option<Result<Value, Error>> {
        if self.running.ended {
            return None;
        }
        loop {
            let message = tokio::select! {
                message = self.replies.next() => message,
                _ = self.beat.tick() => {
                    self.pay();
                    if self.silent_since.elapsed() > SILENCE {
                        return Some(Err(self.broken("nothing came for 30 s")));
                    }
                    continue;
                }
                () = until(self.deadline) => {
                    self.finish_cancelled();
                    return Some(Err(Error::new(Code::DeadlineExceeded, "the stream did not end before the deadline").sent(true)));
                }
            };
            self.silent_since = Instant::now();
            let frame: Frame = match message {
                None => return Some(Err(self.broken("the connection was closed"))),
                Some(Err(error)) => {
                    self.running.ended = true;
                    return Some(Err(error));
                }
                Some(Ok(message)) => match serde_json::from_slice(&message.body) {
                    Ok(frame) => frame,
                    Err(_) => return Some(Err(self.broken("a frame is unreadable"))),
                },
            };
            if frame.seq != self.next {
                let reason = format!("frame {} came where frame {} was due", frame.seq, self.next);
                return Some(Err(self.broken(&reason)));
            }
            self.next += 1;
            if let Some(error) = frame.error {
                self.running.ended = true;
                return Some(Err(error));
            }
            if frame.end {
                self.running.ended = true;
                return None;
            }
            if frame.beat {
                continue;
            }
            self.unpaid += 1;
            if self.unpaid >= FIRST_CREDIT / 2 {
                self.pay();
            }
            return Some(Ok(frame.data.unwrap_or(Value::Null)));
        }
    }

    fn pay(&mut self) {
        let credit = std::mem::take(&mut self.unpaid);
        self.running.tell(Control::Credit, credit.to_string().into());
    }

    fn finish_cancelled(&mut self) {
        self.running.tell(Control::Cancel, Bytes::new());
        self.running.ended = true;
    }

    fn broken(&mut self, reason: &str) -> Error {
        self.finish_cancelled();
        Error::internal(format!("the stream of \"{}\" broke: {reason}", self.running.server))
    }
}

async fn until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}
