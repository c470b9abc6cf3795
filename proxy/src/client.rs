//! Calling skills, over the bus, this host's socket or within the process: one request, then a result or a stream of frames with credit.

use std::time::Duration;

use bytes::Bytes;
use serde_json::Value;
use tokio::time::Instant;
use tracing::Instrument;

use crate::{
    body,
    bus::Bus,
    envelope::{Outgoing, Passing, Request},
    error::{Code, Error},
    name::{Name, SkillPath, UserName},
    serve::Server,
    socket::{self, Local, Ongoing},
    subject::{Control, Token},
};
use again::Again;
use answer::{Begun, Failed, named};
use way::{Replies, Way};

mod again;
mod answer;
mod content;
mod frame;
mod frames;
mod way;

pub use content::Content;
pub(crate) use frame::{Data, Frame};
pub use frames::Frames;

/// The header of an error reply.
pub(crate) const ERROR_HEADER: &str = "Aigis-Error";
/// The header of the message that opens a stream.
pub(crate) const STREAM_HEADER: &str = "Aigis-Stream";
/// How many frames a callee may send before it hears of more credit.
pub(crate) const FIRST_CREDIT: u32 = 64;
/// How many frames a reader lets be under way while they are small: fewer would leave the writer waiting for credit most
/// of the time.
const WIDE: u32 = 512;
/// How many messages of a stream may wait: what there can be credit for, and some beats.
pub(crate) const ROOM: usize = WIDE as usize * 2 + 8;

/// Where a call goes: which user serves which CI, and which skill is meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// The user that serves the CI, as its record says.
    pub server: UserName,
    /// The CI.
    pub ci: Name,
    /// The skill.
    pub path: SkillPath,
    /// How long the skill declares to take, for calls that name no deadline.
    pub timeout: Option<Duration>,
}

/// What came back: values, or their bytes where they only pass through.
#[derive(Debug)]
pub enum Response<C = Value> {
    /// One result.
    Value(C),
    /// Frames.
    Stream(Box<Frames<C>>),
}

/// How a process calls: without any wire what it serves itself, over the socket of its own host's node what that node
/// serves, over the bus all else.
#[derive(Debug, Clone)]
pub struct Client {
    bus: Bus,
    local: Option<Local>,
    server: Option<Server>,
}

impl Client {
    /// Calls over the bus alone.
    #[must_use]
    pub fn new(bus: Bus) -> Self {
        Self { bus, local: None, server: None }
    }

    /// Calls what the node of this host serves over its socket, as long as that answers.
    #[must_use]
    pub fn with_local(self, local: Local) -> Self {
        Self { local: Some(local), ..self }
    }

    /// Calls what that server serves within this process, as the same caller as over the bus.
    #[must_use]
    pub fn with_server(self, server: Server) -> Self {
        Self { server: Some(server), ..self }
    }

    /// The bus.
    #[must_use]
    pub fn bus(&self) -> &Bus {
        &self.bus
    }

    /// Goes on with a credential that was renewed: calls that run outlive the token that they began with.
    ///
    /// # Errors
    ///
    /// As [`Bus::log_in_again`].
    pub async fn renewed(&self) -> Result<(), Error> {
        if let Some(local) = &self.local {
            local.show_renewed();
        }
        Ok(self.bus.log_in_again().await?)
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
    pub async fn open(&self, target: &Target, request: Request) -> Result<Response, Error> {
        self.begin(target, request).await
    }

    /// As [`Client::open`], for a caller of whom the arguments came as bytes and who wants bytes.
    ///
    /// # Errors
    ///
    /// As [`call`].
    ///
    /// # Cancel safety
    ///
    /// As [`Client::open`].
    pub async fn pass(&self, target: &Target, request: Passing) -> Result<Response<Bytes>, Error> {
        self.begin(target, request).await
    }

    async fn begin<C: Content>(&self, target: &Target, request: impl Outgoing) -> Result<Response<C>, Error> {
        let local = self.local.as_ref().filter(|local| local.leads_to(&target.server));
        let server = self.server.as_ref().filter(|server| *server.user() == target.server);
        let begun = async {
            match (server, local) {
                (Some(server), _) => self.within(server, target, request).await,
                (None, Some(local)) => self.locally(local, target, request).await,
                (None, None) => exchange(&self.bus, target, request).await,
            }
        };
        begun.instrument(span(target)).await
    }

    async fn within<C: Content>(
        &self,
        server: &Server,
        target: &Target,
        mut request: impl Outgoing,
    ) -> Result<Response<C>, Error> {
        let begun = Begun::now(&mut request, target);
        let (ongoing, parts) = server.begin(self.bus.caller().clone(), target, request.to_bytes(), ROOM);
        let running = Running { way: Way::Here(ongoing), server: target.server.clone(), ended: false };
        begun.finish(running, Replies::Here(parts), target).await.map_err(|failed| failed.into_error(|| named(target)))
    }

    async fn locally<C: Content>(
        &self,
        local: &Local,
        target: &Target,
        mut request: impl Outgoing,
    ) -> Result<Response<C>, Error> {
        let begun = Begun::now(&mut request, target);
        let body = request.to_bytes();
        let sending = local.begin(&target.ci, &target.path, &body, ROOM);
        let sent = tokio::time::timeout_at(begun.deadline, sending).await;
        if let Ok(Some((ongoing, replies))) = sent {
            let running = Running { way: Way::Socket(ongoing), server: target.server.clone(), ended: false };
            match begun.finish(running, Replies::Socket(replies), target).await {
                Err(Failed::Unsent) => {}
                Err(Failed::Told(error) | Failed::Broken(error)) => return Err(error),
                Ok(response) => return Ok(response),
            }
        }
        request.meta_mut().timeout = begun.left();
        exchange(&self.bus, target, request).await
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
pub async fn open(bus: &Bus, target: &Target, request: Request) -> Result<Response, Error> {
    exchange(bus, target, request).instrument(span(target)).await
}

/// The caller's side of a call, as a trace shows it.
fn span(target: &Target) -> tracing::Span {
    tracing::info_span!("call", otel.kind = "client", ci = target.ci.as_str(), skill = target.path.as_str())
}

async fn exchange<C: Content>(bus: &Bus, target: &Target, mut request: impl Outgoing) -> Result<Response<C>, Error> {
    let begun = Begun::now(&mut request, target);
    let mut again = Again::new(bus, &mut request, begun.deadline);
    loop {
        let error = match once(bus, target, &request, begun).await {
            Ok(response) => return Ok(response),
            Err(Failed::Told(error)) => return Err(error),
            Err(Failed::Unsent) => named(target),
            Err(Failed::Broken(error)) => error,
        };
        if !again.can(bus, &error).await {
            return Err(again.sent_before(error));
        }
        again.note(&error);
        request.meta_mut().timeout = begun.left();
    }
}

/// Sends a call once.
async fn once<C: Content>(
    bus: &Bus,
    target: &Target,
    request: &impl Outgoing,
    begun: Begun,
) -> Result<Response<C>, Failed> {
    let token = Token::random();
    let body = body::outgoing(bus, request.to_bytes(), begun.deadline).await.map_err(Failed::of)?;
    let way = Way::Bus(bus.clone(), token.clone());
    let mut running = Running { way, server: target.server.clone(), ended: false };
    let replies = bus.call(token, target, body).await.inspect_err(|_| running.ended = true).map_err(Failed::of)?;
    begun.finish(running, Replies::Bus(replies), target).await
}

/// Takes the answer to a call that a node passed on over its socket.
///
/// # Errors
///
/// As [`call`].
pub(crate) async fn passed(
    ongoing: Ongoing,
    replies: socket::Replies,
    target: &Target,
    deadline: Instant,
) -> Result<Response, Error> {
    let running = Running { way: Way::Socket(ongoing), server: target.server.clone(), ended: false };
    let begun = Begun { explicit: false, deadline };
    let let_go = || Error::unavailable(format!("{} has let go of its connection to the node", target.ci)).sent(false);
    begun.finish(running, Replies::Socket(replies), target).await.map_err(|failed| failed.into_error(let_go))
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
