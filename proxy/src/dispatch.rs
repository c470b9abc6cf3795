//! From a request to its answer: look-up, permission, journal, deadline; the same for calls over the bus and in process.

use std::{fmt, sync::Arc};

use bytes::Bytes;
use futures::{FutureExt, future::BoxFuture};
use serde_json::Value;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

use crate::{
    envelope::{DEFAULT_TIMEOUT, Request},
    error::{Code, Error},
    name::{Address, Name, SkillPath, UserName},
    role::{Effect, Role},
    skill::{self, Answer, Call, Ci},
    subject::{Caller, HandTarget},
    trace,
};

/// Finds the CIs that this process serves.
pub trait Directory: Send + Sync + 'static {
    /// Learns what a name said by hand means, where that is not known here; asked before [`Directory::find`].
    ///
    /// # Errors
    ///
    /// It is ambiguous, or cannot be known now.
    fn settle<'a>(&'a self, _target: &'a HandTarget) -> BoxFuture<'a, Result<(), Error>> {
        std::future::ready(Ok(())).boxed()
    }

    /// The CI of that name or alias, served here.
    ///
    /// # Errors
    ///
    /// Says why nothing answers: gone, not here.
    fn find(&self, target: &HandTarget) -> Result<Arc<dyn Ci>, Error>;

    /// Whether a plugin was granted that effect on a CI. A directory that knows of no grants gives none.
    fn grants(&self, plugin: &UserName, ci: &Name, effect: Effect) -> bool {
        let _ = (plugin, ci, effect);
        false
    }
}

/// What the journal says of a call that is about to have an effect.
#[derive(Debug)]
pub enum Begun {
    /// Run it, and tell the journal how it ended.
    Run,
    /// It ran before, with that outcome; do not run it again.
    Repeat(Result<Value, Error>),
}

/// A call that changes something, as the journal and the audit stream keep it.
#[derive(Debug, Clone, Copy)]
pub struct Deed<'a> {
    /// Who.
    pub caller: &'a Caller,
    /// On what.
    pub ci: &'a Address,
    /// Which skill.
    pub path: &'a SkillPath,
    /// Of which effect.
    pub effect: Effect,
    /// With what.
    pub request: &'a Request,
    /// The whole envelope as it came, where nobody read its arguments: `request` has none then.
    pub body: Option<&'a Bytes>,
}

/// How a deed ended, as far as its journal may want to keep it.
#[derive(Debug, Clone, Copy)]
pub enum Outcome<'a> {
    /// With that result.
    Value(&'a Value),
    /// With that result, as JSON.
    Body(&'a Bytes),
    /// With frames.
    Stream,
    /// With that error.
    Failed(&'a Error),
}

impl<'a> From<&'a Result<Value, Error>> for Outcome<'a> {
    fn from(result: &'a Result<Value, Error>) -> Self {
        match result {
            Ok(value) => Self::Value(value),
            Err(error) => Self::Failed(error),
        }
    }
}

impl<'a> From<&'a Result<Answer, Error>> for Outcome<'a> {
    fn from(result: &'a Result<Answer, Error>) -> Self {
        match result {
            Ok(Answer::Value(value)) => Self::Value(value),
            Ok(Answer::Body(body)) => Self::Body(body),
            Ok(Answer::Stream(_) | Answer::Bodies(..)) => Self::Stream,
            Err(error) => Self::Failed(error),
        }
    }
}

/// Keeps what must be known about calls that change something: once before the effect, once after it.
pub trait Journal: Send + Sync + 'static {
    /// Notes that a deed begins; durable when it returns.
    ///
    /// # Errors
    ///
    /// Whatever forbids running it: a full spool, a key used with other arguments.
    fn begin<'a>(&'a self, deed: Deed<'a>) -> BoxFuture<'a, Result<Begun, Error>>;
    /// Notes how a deed ended.
    fn end<'a>(&'a self, deed: Deed<'a>, outcome: Outcome<'a>) -> BoxFuture<'a, ()>;
    /// Notes a refusal.
    fn refused<'a>(&'a self, caller: &'a Caller, what: &'a str, reason: &'a str) -> BoxFuture<'a, ()>;
}

/// The journal of a process that serves only `read` skills: it refuses everything else.
#[derive(Debug, Clone, Copy)]
pub struct NoJournal;

impl Journal for NoJournal {
    fn begin<'a>(&'a self, deed: Deed<'a>) -> BoxFuture<'a, Result<Begun, Error>> {
        let path = deed.path;
        let error = Error::precondition(format!("{path} changes something, and this process keeps no audit"));
        std::future::ready(Err(error)).boxed()
    }

    fn end<'a>(&'a self, _: Deed<'a>, _: Outcome<'a>) -> BoxFuture<'a, ()> {
        std::future::ready(()).boxed()
    }

    fn refused<'a>(&'a self, _: &'a Caller, _: &'a str, _: &'a str) -> BoxFuture<'a, ()> {
        std::future::ready(()).boxed()
    }
}

/// Answers requests over a directory and a journal.
#[derive(Clone)]
pub struct Dispatcher {
    directory: Arc<dyn Directory>,
    journal: Arc<dyn Journal>,
}

impl fmt::Debug for Dispatcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Dispatcher").finish_non_exhaustive()
    }
}

/// A request as it came in, before anything of it is believed.
#[derive(Debug)]
pub struct Incoming {
    /// Who calls, as the bus vouches for it.
    pub caller: Caller,
    /// The CI, as addressed.
    pub target: HandTarget,
    /// The skill.
    pub path: SkillPath,
    /// Whether it came by hand.
    pub by_hand: bool,
    /// The body.
    pub body: Bytes,
    /// The header `traceparent`, which counts where the body says none.
    pub traceparent: Option<String>,
    /// Since when the caller may have waited: its budget counts from there.
    pub since: Instant,
    /// Set when the caller gives up.
    pub cancelled: CancellationToken,
}

impl Dispatcher {
    /// Makes a dispatcher.
    #[must_use]
    pub fn new(directory: Arc<dyn Directory>, journal: Arc<dyn Journal>) -> Self {
        Self { directory, journal }
    }

    /// Where refusals and deeds are kept.
    #[must_use]
    pub fn journal(&self) -> &dyn Journal {
        &*self.journal
    }

    /// Answers one request.
    ///
    /// # Errors
    ///
    /// What the caller is to be told.
    pub async fn answer(&self, incoming: Incoming) -> Result<Answer, Error> {
        let Incoming { caller, target, path, .. } = &incoming;
        let span = tracing::info_span!(
            "call",
            otel.kind = "server",
            ci = target.name.as_str(),
            skill = path.as_str(),
            caller = caller.name.as_str(),
            role = caller.role.as_str()
        );
        let ci = self.find(&incoming).await;
        let mut request = match &ci {
            Ok(ci) if ci.takes_bodies(path.as_str()) => Request::read_around(&incoming.body),
            _ => Request::read(&incoming.body),
        };
        if let Ok(Request { meta, .. }) = &mut request {
            let header = || incoming.traceparent.clone().filter(|text| trace::is_valid(text));
            meta.traceparent = meta.traceparent.take().or_else(header);
            // Before the span is entered: after that its parent is settled.
            trace::continue_from(&span, meta.traceparent.as_deref());
        }
        self.run(incoming, ci, request).instrument(span).await
    }

    /// The path of a skill of a CI of this process at the user that serves it by itself.
    pub(crate) fn handed_on(&self, target: &HandTarget, path: &SkillPath) -> Option<SkillPath> {
        self.directory.find(target).ok()?.handed_on(path.as_str())
    }

    /// Learns what a name said by hand means, where that is not known here.
    ///
    /// # Errors
    ///
    /// As [`Directory::settle`].
    pub(crate) async fn settle(&self, target: &HandTarget) -> Result<(), Error> {
        self.directory.settle(target).await
    }

    async fn find(&self, incoming: &Incoming) -> Result<Arc<dyn Ci>, Error> {
        if incoming.by_hand {
            self.directory.settle(&incoming.target).await?;
        }
        self.directory.find(&incoming.target)
    }

    async fn run(
        &self,
        incoming: Incoming,
        ci: Result<Arc<dyn Ci>, Error>,
        request: Result<Request, Error>,
    ) -> Result<Answer, Error> {
        let Incoming { caller, target, path, since, cancelled, body, .. } = incoming;
        let ci = ci?;
        let request = request.map_err(|error| match error.code {
            // Which others the call went through is not known here, only where it ended.
            Code::FailedPrecondition => {
                let place = format!("{}@{}", ci.name(), ci.node());
                Error { message: format!("{path} of {place}, asked by {}: {}", caller.name, error.message), ..error }
            }
            _ => error,
        })?;
        let Some(info) = ci.skill(path.as_str()) else {
            return Err(skill::unknown(&path, &ci.skills()));
        };
        let address = Address { name: ci.name().clone(), node: Some(ci.node().clone()) };
        self.permit(&caller, &address, &path, info.effect).await?;
        let deadline = since + skill::budget(&info, &request.meta);
        let bounds =
            Bounds { deadline, cancelled: cancelled.clone(), address: &address, path: &path, stream: info.stream };
        bounds.check()?;
        let unread = ci.takes_bodies(path.as_str());
        let body = if unread { body } else { Bytes::new() };
        let call = Call { caller, addressed: target.name, request, body, deadline, cancelled };
        if info.effect == Effect::Read {
            return bounds.keep(ci.run(path.clone(), call)).await;
        }
        let run = ci.run(path.clone(), call.clone());
        let Call { caller, request, body, .. } = &call;
        let body = unread.then_some(body);
        let deed = Deed { caller, ci: &address, path: &path, effect: info.effect, request, body };
        match self.journal.begin(deed).await? {
            Begun::Repeat(outcome) => return outcome.map(Answer::Value),
            Begun::Run => {}
        }
        // Its caller may have given up while it was being noted.
        let answer = match bounds.check() {
            Ok(()) => bounds.keep(run).await,
            Err(error) => Err(error),
        };
        self.journal.end(deed, Outcome::from(&answer)).await;
        answer
    }

    /// Whether a caller's role, or its grants, cover an effect on a CI of this node.
    #[must_use]
    pub fn may(&self, caller: &Caller, ci: &Name, effect: Effect) -> bool {
        match caller.role {
            Role::Plugin => self.directory.grants(&caller.name, ci, effect),
            role => role.permits(effect),
        }
    }

    /// Checks the role against the effect, and puts a refusal on record.
    ///
    /// # Errors
    ///
    /// `permission_denied`.
    pub async fn permit(&self, caller: &Caller, ci: &Address, path: &SkillPath, effect: Effect) -> Result<(), Error> {
        let own =
            caller.role == Role::Node && ci.node.as_ref().is_some_and(|node| node.as_str() == caller.name.as_str());
        if self.may(caller, &ci.name, effect) || own {
            return Ok(());
        }
        let by = match caller.role {
            Role::Plugin => format!("no grant of {} covers", caller.name),
            role => format!("the role {role} does not permit"),
        };
        let message = format!("{path} on {ci} has the effect {effect}, which {by}");
        self.journal.refused(caller, &format!("{ci} {path}"), &message).await;
        Err(Error::new(Code::PermissionDenied, message).hint("ask an operator or admin of this mesh"))
    }
}

/// What a call is held to.
struct Bounds<'a> {
    deadline: Instant,
    cancelled: CancellationToken,
    address: &'a Address,
    path: &'a SkillPath,
    stream: bool,
}

impl Bounds<'_> {
    /// Refuses what nobody waits for any more, before it runs.
    fn check(&self) -> Result<(), Error> {
        if self.cancelled.is_cancelled() {
            return Err(self.cancelled().sent(false));
        }
        if self.deadline <= Instant::now() { Err(late(self.address, self.path, false)) } else { Ok(()) }
    }

    fn cancelled(&self) -> Error {
        Error::new(Code::Cancelled, format!("{} on {} was cancelled by its caller", self.path, self.address))
    }

    /// Runs within the deadline, until the caller gives up. A stream's deadline is for its first answer: its frames are
    /// bounded where they are sent.
    async fn keep(&self, run: BoxFuture<'static, Result<Answer, Error>>) -> Result<Answer, Error> {
        let Self { address, path, .. } = self;
        let late_after = if self.stream { self.deadline.min(Instant::now() + DEFAULT_TIMEOUT) } else { self.deadline };
        tokio::select! {
            biased;
            answer = run => answer,
            () = self.cancelled.cancelled() => Err(self.cancelled()),
            () = tokio::time::sleep_until(late_after) => Err(late(address, path, true)),
        }
    }
}

fn late(address: &Address, path: &SkillPath, sent: bool) -> Error {
    Error::new(Code::DeadlineExceeded, format!("{path} on {address} did not end before the deadline"))
        .hint("give it longer: --timeout 2m")
        .sent(sent)
}
