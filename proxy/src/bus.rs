//! The connection to the bus: one inbox, replies by token, violations matched to the requests they end, and a link
//! state that says since when it can be trusted.

use std::{
    collections::HashSet,
    fmt,
    sync::{Arc, Mutex, OnceLock, Weak},
    time::{Duration, Instant},
};

use async_nats::{Event, ServerAddr, Subscriber};
use bytes::Bytes;
use tokio::{
    runtime::Handle,
    sync::{mpsc, oneshot, watch},
};

use crate::{
    client::Target,
    error::{Code, Error},
    identity::{CaCertificate, Credential, credential::Term},
    kv,
    name::{MeshName, UserName},
    role::Role,
    subject::{self, Caller, Subjects, Token},
    sync::lock,
    task,
};
use dial::{CONNECT, Dial, Order};
use events::Heard;
use home::{Home, Stay};
use inbox::{Table, To, Waiting};
use lane::{Lane, Move};
use outbox::{Out, Outbox};
use trust::Trust;

pub use async_nats::{HeaderMap, Message, StatusCode};

mod dial;
mod events;
mod home;
mod inbox;
mod lane;
mod outbox;
pub(crate) mod pack;
pub(crate) mod trust;
mod version;
mod vigil;

pub use events::from_store;
pub(crate) use inbox::{Replies, Reply};
pub use trust::Untrusted;
pub use version::{Version, check as check_version};
pub(crate) use vigil::Reader;

/// How far apart connections are made, so that a link that comes and goes makes no storm of them.
const APART: Duration = Duration::from_secs(1);

/// How to reach a bus, and as whom.
#[derive(Debug, Clone)]
pub struct Options {
    /// Its address, `nats://HOST:PORT` or `tls://HOST:PORT`, without a password; of a cluster one address for each
    /// server, with commas between.
    pub url: String,
    /// The CA of its mesh. With it TLS is required, and this CA alone is trusted; a `tls://` address needs it.
    pub ca: Option<CaCertificate>,
    /// Whose credential to log in with.
    pub credential: Arc<Credential>,
    /// What the connection is called in the server's own lists.
    pub label: String,
}

/// What is known of the link to the bus.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// Whether the connection stands.
    pub up: bool,
    /// The id of the server in use, new at each of its starts.
    pub server: String,
    /// When the link last broke or came back, on this process's clock.
    pub since: Instant,
    /// When the connection was last made.
    pub connected: Instant,
    /// Whether it was ever lost in this process.
    pub broken_before: bool,
}

/// Why no connection was made.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// Nothing answered there.
    #[error("no bus answers at {url}")]
    Unreachable {
        /// The address tried.
        url: String,
        /// What the attempt met.
        #[source]
        source: async_nats::ConnectError,
    },
    /// It is not taken for the mesh's bus.
    #[error(transparent)]
    Untrusted(#[from] Untrusted),
    /// The server refused the credential.
    #[error("the bus at {url} refuses the credential of \"{user}\"{}", .term.map(|term| format!(": {term}")).unwrap_or_default())]
    Refused {
        /// The address tried.
        url: String,
        /// The user named in the credential.
        user: UserName,
        /// When the credential ends, if it does. The bus judges it by its own clock, which it tells to nobody whom it refuses.
        term: Option<Term>,
    },
    /// The server is too old.
    #[error("the bus at {url} is nats-server {found}; {floor} or newer is required")]
    TooOld {
        /// The address tried.
        url: String,
        /// Its version.
        found: String,
        /// The oldest version that works.
        floor: &'static str,
    },
}

impl From<ConnectError> for Error {
    fn from(error: ConnectError) -> Self {
        match &error {
            ConnectError::Untrusted(untrusted) => untrusted.clone().into(),
            ConnectError::Unreachable { .. } => Self::unavailable(error.to_string())
                .hint("start it here with: aish up; or name another with --bus URL")
                .sent(false),
            ConnectError::Refused { .. } => Self::new(Code::PermissionDenied, error.to_string()).hint(
                "it may have expired by the clock of the bus, which may be ahead, been revoked, or been signed by keys that \
                     were rotated since; compare the clocks, and ask an admin for a new one (aish users create), or for a \
                     join token where this is a node's",
            ),
            ConnectError::TooOld { .. } => Self::precondition(error.to_string()).hint("update the server of that bus"),
        }
    }
}

/// A connection to the bus: cheap to clone, closed when the last clone goes.
#[derive(Clone)]
pub struct Bus(Arc<Inner>);

struct Inner {
    /// By which all is subscribed to.
    client: async_nats::Client,
    /// By which requests leave, and their replies come.
    lane: Arc<Lane>,
    dial: Arc<Dial>,
    heard: Arc<Heard>,
    /// Held while another connection is made.
    moves: tokio::sync::Mutex<mpsc::Sender<Move>>,
    over: watch::Receiver<Option<Error>>,
    caller: Caller,
    mesh: MeshName,
    subjects: Subjects,
    inbox: String,
    table: Arc<Table>,
    link: watch::Receiver<Link>,
    denied: watch::Receiver<Vec<String>>,
    outbox: mpsc::Sender<Out>,
    home: Home,
    /// Users who are not heard, whatever a server lets through.
    shut_out: Mutex<Arc<HashSet<UserName>>>,
    store: kv::Guarded,
    _tasks: [task::Owned; 2],
}

impl fmt::Debug for Bus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bus").field("caller", &self.0.caller).field("link", &*self.0.link.borrow()).finish()
    }
}

impl Bus {
    /// Connects, and returns once an own message has come back through the inbox.
    ///
    /// # Errors
    ///
    /// Nothing there, a server that is not the mesh's, a refused credential, a server that is too old.
    pub async fn connect(options: Options) -> Result<Self, ConnectError> {
        Self::connect_to(options, Order::Any).await
    }

    /// Connects as [`Bus::connect`] does, of several servers to the first that answers in the order of their addresses, then
    /// and whenever the connection is made again: for a host that has a server of its own, whose name stands first.
    ///
    /// # Errors
    ///
    /// As [`Bus::connect`].
    pub async fn connect_in_order(options: Options) -> Result<Self, ConnectError> {
        Self::connect_to(options, Order::Given).await
    }

    async fn connect_to(options: Options, order: Order) -> Result<Self, ConnectError> {
        let url = options.url.clone();
        let lost = |reason: std::io::Error| ConnectError::Unreachable {
            url: url.clone(),
            source: async_nats::ConnectError::with_source(async_nats::ConnectErrorKind::Io, reason),
        };
        let (home, stay) = Home::make().map_err(lost)?;
        let connecting = Self::connect_at(options, order, home.clone(), stay);
        task::spawn_on(home.handle(), "bus-connect", connecting)
            .await
            .map_err(|error| lost(std::io::Error::other(error)))?
    }

    async fn connect_at(options: Options, order: Order, home: Home, stay: Stay) -> Result<Self, ConnectError> {
        let Options { url, ca, credential, label } = options;
        let trust = Trust::new(&url, ca.as_ref())?;
        let user = credential.name().clone();
        let caller = Caller { role: credential.role(), name: user.clone() };
        let mesh = credential.mesh().clone();
        let subjects = Subjects::new(&mesh);
        let inbox = format!("{}.{}", subject::inbox(&user), Token::random().as_str());
        let table: Arc<Table> = Arc::default();
        let now = Instant::now();
        let (link_sender, link) =
            watch::channel(Link { up: false, server: String::new(), since: now, connected: now, broken_before: false });
        let link_sender = Arc::new(link_sender);
        let (denied_sender, denied) = watch::channel(Vec::new());
        let (over_sender, over) = watch::channel(None);
        let client_slot: Arc<OnceLock<async_nats::Client>> = Arc::default();
        let lane_slot: Arc<OnceLock<Weak<Lane>>> = Arc::default();
        let dial = Arc::new(Dial::new(url.clone(), order, label, credential, trust)?);
        let heard = Arc::new(Heard {
            table: table.clone(),
            subjects: subjects.clone(),
            caller: caller.clone(),
            denied: denied_sender,
            over: over_sender,
        });
        let on_event = {
            let (slot, lane) = (client_slot.clone(), lane_slot.clone());
            let (heard, link_sender) = (heard.clone(), link_sender.clone());
            move |event: Event, over| {
                if let Some(error) = over {
                    return heard.end(error);
                }
                let carries = lane.get().and_then(Weak::upgrade).is_none_or(|lane| lane.number() == 0);
                heard.first(&event, &link_sender, carries, slot.get());
            }
        };
        let (connected, known) = (client_slot.clone(), link_sender.clone());
        let wait = move |attempts| {
            // The client asks before its first attempt too, when there is no burst to be spread.
            if connected.get().is_none() {
                return Duration::ZERO;
            }
            reconnect_delay(attempts).max(APART.saturating_sub(known.borrow().connected.elapsed()))
        };
        let client = dial.connect(on_event, wait).await?;
        // Only a client that was made can hear events that matter; the slot is filled once.
        let _ = client_slot.set(client.clone());
        // The first event may have come before the client was there to be asked.
        link_sender.send_modify(|link| {
            link.up = client.connection_state() == async_nats::connection::State::Connected;
            link.server = client.server_info().server_id;
        });
        let found = client.server_info().version;
        if let Err(floor) = version::check(&found) {
            return Err(ConnectError::TooOld { url, found, floor });
        }
        let unreachable = |source: async_nats::SubscribeError| ConnectError::Unreachable {
            url: url.clone(),
            source: async_nats::ConnectError::with_source(async_nats::ConnectErrorKind::Io, source),
        };
        let replies = client.subscribe(format!("{inbox}.>")).await.map_err(unreachable)?;
        let lane = Arc::new(Lane::new(client.clone()));
        let _ = lane_slot.set(Arc::downgrade(&lane));
        let (outbox, queue) = mpsc::channel(outbox::QUEUE);
        let sending = Outbox::new(lane.clone(), table.clone(), subjects.clone(), caller.clone(), pack::inbox(&inbox));
        // Ends by itself when the last sender goes: a cancel that was queued by then is still sent.
        drop(task::spawn("bus-outbox", async move {
            sending.run(queue).await;
            drop(stay);
        }));
        let (moves, moved) = mpsc::channel(1);
        let replies = task::Owned::spawn("bus-replies", inbox::run(replies, table.clone(), moved));
        let watching =
            vigil::run(lane.clone(), table.clone(), subjects.clone(), caller.clone(), inbox.clone(), link.clone());
        let tasks = [replies, task::Owned::spawn("bus-vigil", watching)];
        let inner = Inner {
            client,
            lane,
            dial,
            heard,
            moves: tokio::sync::Mutex::new(moves),
            over,
            caller,
            mesh,
            subjects,
            inbox,
            table,
            link,
            denied,
            outbox,
            home,
            shut_out: Mutex::default(),
            store: kv::Guarded::default(),
            _tasks: tasks,
        };
        let bus = Self(Arc::new(inner));
        match bus.echo().await {
            Ok(()) => Ok(bus),
            Err(_) if bus.0.over.borrow().is_some() => Err(bus.0.dial.refused()),
            Err(_) => Err(ConnectError::Unreachable {
                url,
                source: async_nats::ConnectError::new(async_nats::ConnectErrorKind::TimedOut),
            }),
        }
    }

    /// Logs in with the credential as it is now, beside the connection that stands: requests, and what waits for replies
    /// or frames, go on over the new one, and nothing of it is lost when the old token ends. Subscriptions stay, and are
    /// made again when their own connection is.
    ///
    /// # Errors
    ///
    /// As [`Bus::connect`]; then all is as it was.
    ///
    /// # Cancel safety
    ///
    /// Dropped, it may or may not have moved them.
    pub async fn log_in_again(&self) -> Result<(), ConnectError> {
        let bus = self.clone();
        // Where the first connection lives, like all that is done for it.
        let moving = task::spawn_on(self.0.home.handle(), "bus-move", async move { bus.move_over().await });
        moving.await.map_err(|error| self.unreachable(std::io::Error::other(error)))?
    }

    async fn move_over(&self) -> Result<(), ConnectError> {
        let inner = &self.0;
        let moves = inner.moves.lock().await;
        let number = inner.lane.number() + 1;
        // What holds a connection must not be held by it: it ends with its last holder.
        let (lane, heard) = (Arc::downgrade(&inner.lane), inner.heard.clone());
        let note = move |event: Event, over| match (over, lane.upgrade()) {
            (Some(error), _) => heard.end(error),
            (None, Some(lane)) => lane.note(&event, number, &heard),
            (None, None) => {}
        };
        let client = inner.dial.connect(note, reconnect_delay).await?;
        let replies = client.subscribe(format!("{}.>", inner.inbox)).await;
        let replies = replies.map_err(|error| self.unreachable(error))?;
        let (done, moved) = oneshot::channel();
        let (lane, inbox) = (inner.lane.clone(), inner.inbox.clone());
        let next = Move { client, number, replies, inbox, lane, done };
        let closed = || self.unreachable(std::io::Error::other("the connection in use is closed"));
        moves.send(next).await.map_err(|_| closed())?;
        match moved.await {
            Ok(true) => Ok(()),
            _ => Err(closed()),
        }
    }

    fn unreachable(&self, error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> ConnectError {
        let source = async_nats::ConnectError::with_source(async_nats::ConnectErrorKind::Io, error);
        ConnectError::Unreachable { url: self.0.dial.url().to_owned(), source }
    }

    /// Resolves when the bus has ended this user's connection for good, because its credential was revoked or has ended
    /// unrenewed, with what there is to say of that; it may never be.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    pub async fn over(&self) -> Error {
        let mut over = self.0.over.clone();
        match over.wait_for(Option::is_some).await.map(|over| over.clone()) {
            Ok(Some(error)) => error,
            _ => std::future::pending().await,
        }
    }

    /// Who this connection is at the bus.
    #[must_use]
    pub fn caller(&self) -> &Caller {
        &self.0.caller
    }

    /// Its user name.
    #[must_use]
    pub fn user(&self) -> &UserName {
        &self.0.caller.name
    }

    /// Its role.
    #[must_use]
    pub fn role(&self) -> Role {
        self.0.caller.role
    }

    /// The mesh.
    #[must_use]
    pub fn mesh(&self) -> &MeshName {
        &self.0.mesh
    }

    /// The mesh's subjects.
    #[must_use]
    pub fn subjects(&self) -> &Subjects {
        &self.0.subjects
    }

    /// Says whose calls are refused in this process from now on: those whom the issuer revoked.
    pub fn shut_out(&self, users: HashSet<UserName>) {
        *lock(&self.0.shut_out) = Arc::new(users);
    }

    /// Has the store made sure of before anything is read there or written, once each time the connection is made.
    pub fn guard_store(&self, guard: kv::StoreGuard) {
        self.0.store.set(guard);
    }

    pub(crate) fn guarded(&self) -> &kv::Guarded {
        &self.0.store
    }

    /// Refuses a user that was shut out.
    ///
    /// # Errors
    ///
    /// `permission_denied`.
    pub(crate) fn admit(&self, user: &UserName) -> Result<(), Error> {
        match lock(&self.0.shut_out).contains(user) {
            false => Ok(()),
            true => Err(Error::new(Code::PermissionDenied, format!("the user {user} was revoked"))
                .hint("ask an admin of this mesh for a new credential")),
        }
    }

    /// The link's state, as it changes.
    #[must_use]
    pub fn link(&self) -> watch::Receiver<Link> {
        self.0.link.clone()
    }

    /// Resolves when the connection is broken over which replies leave and come.
    pub(crate) async fn broke(&self) {
        self.0.lane.broke(self.link()).await;
    }

    /// The version of the server in use.
    #[must_use]
    pub fn server_version(&self) -> String {
        self.0.client.server_info().version
    }

    /// The name of the server in use.
    #[must_use]
    pub fn server_name(&self) -> String {
        self.0.client.server_info().server_name
    }

    /// Whether another server would take over if the one in use went away.
    #[must_use]
    pub fn has_several(&self) -> bool {
        self.0.dial.has_several() || self.0.lane.has_several()
    }

    /// Where the servers of the bus are, as the one in use says; none where it is alone.
    #[must_use]
    pub fn servers(&self) -> Vec<String> {
        self.0.client.server_info().connect_urls
    }

    /// The largest body, with headers, that one message may have, in bytes.
    #[must_use]
    pub fn max_payload(&self) -> usize {
        self.0.client.max_payload()
    }

    /// The underlying client, for the modules of this crate that speak to `JetStream`.
    pub(crate) fn client(&self) -> &async_nats::Client {
        &self.0.client
    }

    /// Sends a request and awaits its one reply.
    ///
    /// # Errors
    ///
    /// `unavailable` at once if the bus is away or nobody listens, `permission_denied` if the bus refuses the
    /// subject, `deadline_exceeded`; each with `data.sent`.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future forgets the reply.
    pub async fn request(
        &self,
        subject: String,
        headers: Option<HeaderMap>,
        body: Bytes,
        timeout: Duration,
    ) -> Result<Message, Error> {
        self.ready(body.len())?;
        let (sender, receiver) = oneshot::channel();
        let token = Token::random();
        let reply = self.reply_subject(&token);
        let _entry = self.0.table.enter(token, To::Subject(subject.clone()), Waiting::Message(sender));
        let client = self.0.lane.client();
        let published = match headers {
            Some(headers) => client.publish_with_reply_and_headers(subject, reply, headers, body).await,
            None => client.publish_with_reply(subject, reply, body).await,
        };
        published.map_err(|error| Error::unavailable(format!("the request could not be sent: {error}")).sent(false))?;
        match tokio::time::timeout(timeout, receiver).await {
            Ok(Ok(reply)) => reply,
            Ok(Err(_)) => Err(closed()),
            Err(_) => Err(Error::new(Code::DeadlineExceeded, "no reply came before the deadline").sent(true)),
        }
    }

    /// Sends a skill call; its replies are awaited as long as the returned value lives.
    ///
    /// # Errors
    ///
    /// As [`Bus::request`], for what is known before the first reply.
    pub(crate) async fn call(&self, token: Token, target: &Target, body: Bytes) -> Result<Replies, Error> {
        self.ready(body.len())?;
        let (sender, first) = oneshot::channel();
        let entry = self.0.table.enter(token.clone(), To::Skill(target.clone()), Waiting::Call(sender));
        self.0.outbox.send(Out::Call(target.clone(), token, body)).await.map_err(|_| closed().sent(false))?;
        Ok(Replies::new(first, entry))
    }

    /// How many requests wait for replies.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.0.table.lock().len()
    }

    /// How many replies and frames came when nobody waited for them any more: their caller had given up, or had them
    /// already. They were dropped.
    #[must_use]
    pub fn late_replies(&self) -> u64 {
        self.0.table.late()
    }

    /// Whether a request can be sent now.
    fn ready(&self, size: usize) -> Result<(), Error> {
        if !self.0.lane.is_up(self.0.link.borrow().up) {
            return Err(Error::unavailable("the bus is not reachable").hint("see: aish doctor").sent(false));
        }
        let limit = self.max_payload();
        if size > limit {
            let message = format!("the request is {size} bytes; the bus takes at most {limit}");
            return Err(Error::new(Code::ResourceExhausted, message).sent(false));
        }
        Ok(())
    }

    /// Notes that a server did not answer a call: it may have become another, which reads no packs.
    pub(crate) fn was_silent(&self, server: &UserName) {
        self.0.table.peers.forget(server);
    }

    /// Sends a reply, in order, to an inbox whose owner reads packs.
    ///
    /// # Errors
    ///
    /// `unavailable` when the connection is closed for good.
    pub(crate) async fn reply(
        &self,
        inbox: Arc<str>,
        kind: pack::Kind,
        token: Token,
        body: Bytes,
    ) -> Result<(), Error> {
        self.0.outbox.send(Out::Reply(inbox, kind, token, body)).await.map_err(|_| closed())
    }

    /// Sends a pack that is made already, in order, to an inbox whose owner reads packs.
    ///
    /// # Errors
    ///
    /// `unavailable` when the connection is closed for good.
    pub(crate) async fn reply_pack(&self, inbox: &str, first: &Token, pack: Bytes) -> Result<(), Error> {
        let subject = outbox::reply_subject(inbox, first);
        self.0.outbox.send(Out::Publish(subject, pack)).await.map_err(|_| closed())
    }

    /// Watches whether somebody still hears an inbox whose owner reads packs.
    pub(crate) fn reader(&self, inbox: &Arc<str>) -> Reader {
        Reader::watch(self.0.table.clone(), inbox.clone())
    }

    /// The runtime that the connection lives on: what is done there for a message costs no hop between threads.
    pub(crate) fn home(&self) -> &Handle {
        self.0.home.handle()
    }

    /// The reply subject of that token, below this process's inbox.
    #[must_use]
    pub fn reply_subject(&self, token: &Token) -> String {
        format!("{}.{}", self.0.inbox, token.as_str())
    }

    /// Publishes without awaiting anything; for replies and for what repeats itself.
    ///
    /// # Errors
    ///
    /// `unavailable` when the connection is closed for good.
    pub async fn publish(&self, subject: String, headers: Option<HeaderMap>, body: Bytes) -> Result<(), Error> {
        let client = &self.0.client;
        let published = match headers {
            Some(headers) => client.publish_with_headers(subject, headers, body).await,
            None => client.publish(subject, body).await,
        };
        published.map_err(|error| Error::unavailable(format!("the message could not be sent: {error}")))
    }

    /// Publishes from where nothing can be awaited, such as a drop: a cancel is best effort.
    pub fn publish_soon(&self, subject: String, body: Bytes) {
        if self.0.outbox.try_send(Out::Publish(subject, body)).is_err() {
            tracing::warn!("a cancel was dropped: the bus takes nothing at the moment");
        }
    }

    /// Subscribes, and returns once an own message has come back after it.
    ///
    /// # Errors
    ///
    /// `permission_denied` if the bus refuses the subject; `unavailable` if it is away.
    pub async fn subscribe(&self, subject: &str) -> Result<Subscriber, Error> {
        self.proven(subject, self.0.client.subscribe(subject.to_owned())).await
    }

    /// Subscribes to a share of what comes: each message goes to one of those that subscribe under that name.
    ///
    /// # Errors
    ///
    /// As [`Bus::subscribe`].
    pub async fn subscribe_shared(&self, subject: &str, share: &str) -> Result<Subscriber, Error> {
        self.proven(subject, self.0.client.queue_subscribe(subject.to_owned(), share.to_owned())).await
    }

    async fn proven(
        &self,
        subject: &str,
        subscribing: impl Future<Output = Result<Subscriber, async_nats::SubscribeError>>,
    ) -> Result<Subscriber, Error> {
        let denied_before = self.denials(subject);
        let away =
            |error: async_nats::SubscribeError| Error::unavailable(format!("cannot subscribe to {subject}: {error}"));
        let subscriber = subscribing.await.map_err(away)?;
        self.echo().await?;
        if self.denials(subject) > denied_before {
            let user = self.user();
            return Err(Error::new(
                Code::PermissionDenied,
                format!("the bus does not let \"{user}\" listen to {subject}"),
            ));
        }
        Ok(subscriber)
    }

    /// Subscribes without waiting until it is known to hold.
    pub(crate) async fn subscribe_unproven(&self, subject: &str) -> Result<Subscriber, Error> {
        let away =
            |error: async_nats::SubscribeError| Error::unavailable(format!("cannot subscribe to {subject}: {error}"));
        self.0.client.subscribe(subject.to_owned()).await.map_err(away)
    }

    /// Subscribes to what a request is about to ask for.
    pub(crate) async fn subscribe_ahead(&self, subject: &str) -> Result<Subscriber, Error> {
        match self.0.lane.number() {
            // Both go over one connection in order: no round trip is needed between them.
            0 => self.subscribe_unproven(subject).await,
            _ => self.subscribe(subject).await,
        }
    }

    fn denials(&self, subject: &str) -> usize {
        self.0.denied.borrow().iter().filter(|denied| *denied == subject).count()
    }

    /// Sends a message to the own inbox and awaits it: what was sent before has then reached the server.
    ///
    /// # Errors
    ///
    /// As [`Bus::request`].
    pub async fn echo(&self) -> Result<(), Error> {
        let token = Token::random();
        let (sender, receiver) = oneshot::channel();
        let subject = self.reply_subject(&token);
        let _entry = self.0.table.enter(token, To::Subject(subject.clone()), Waiting::Message(sender));
        self.publish(subject, None, Bytes::new()).await?;
        match tokio::time::timeout(CONNECT, receiver).await {
            Ok(Ok(Ok(_))) => Ok(()),
            _ => Err(Error::unavailable("the bus does not answer")),
        }
    }

    /// Sends what waits to be sent, within `grace`, before the process ends.
    pub async fn close(&self, grace: Duration) {
        let (sender, receiver) = oneshot::channel();
        let flush = async {
            if self.0.outbox.send(Out::Flushed(sender)).await.is_ok() {
                let _ = receiver.await;
            }
        };
        if tokio::time::timeout(grace, flush).await.is_err() {
            tracing::debug!("the bus took no farewell in time");
        }
    }
}

/// The addresses of the servers of a bus.
///
/// # Errors
///
/// One of them is none.
pub(crate) fn addresses(url: &str) -> Result<Vec<ServerAddr>, async_nats::ConnectError> {
    let parsed: Result<Vec<ServerAddr>, _> = url.split(',').map(str::parse).collect();
    parsed.map_err(|error| async_nats::ConnectError::with_source(async_nats::ConnectErrorKind::ServerParse, error))
}

fn closed() -> Error {
    Error::unavailable("the connection to the bus was closed").sent(true)
}

/// A random wait that grows to 5 s, so that thousands of clients do not come back in one burst.
fn reconnect_delay(attempts: usize) -> Duration {
    let exponent = u32::try_from(attempts).unwrap_or(u32::MAX).min(6);
    let ceiling = (100_u64 << exponent).min(5_000);
    let mut random = [0; 8];
    let share = if ring::rand::SecureRandom::fill(&ring::rand::SystemRandom::new(), &mut random).is_ok() {
        u64::from_le_bytes(random) % (ceiling - 49)
    } else {
        ceiling / 2
    };
    Duration::from_millis(50 + share)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reconnects_wait_at_random_within_bounds() {
        for attempts in 0..100 {
            let wait = reconnect_delay(attempts).as_millis();
            assert!((50..=5_000).contains(&wait), "{wait}");
        }
    }
}
