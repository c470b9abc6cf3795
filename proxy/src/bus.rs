//! The connection to the bus: one inbox, replies by token, violations matched to the requests they end, and a link
//! state that says since when it can be trusted.

use std::{
    collections::HashSet,
    fmt,
    sync::{Arc, Mutex},
    time::Instant,
};

use tokio::{
    runtime::Handle,
    sync::{mpsc, watch},
};

use crate::{
    error::{Code, Error},
    kv,
    name::{MeshName, UserName},
    role::Role,
    subject::{Caller, Subjects},
    sync::lock,
    task,
};
use dial::Dial;
use events::Heard;
use home::Home;
use inbox::Table;
use lane::{Lane, Move};
use outbox::Out;

pub use async_nats::{HeaderMap, Message, StatusCode};

mod connect;
mod dial;
mod error;
mod events;
mod home;
mod inbox;
mod lane;
mod outbox;
pub(crate) mod pack;
mod send;
mod subscribe;
pub(crate) mod trust;
mod version;
mod vigil;

pub use connect::Options;
pub(crate) use dial::addresses;
pub use error::ConnectError;
pub use events::from_store;
pub(crate) use inbox::{Replies, Reply};
pub use trust::Untrusted;
pub use version::{Version, check as check_version};
pub(crate) use vigil::Reader;

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

    /// The runtime that the connection lives on: what is done there for a message costs no hop between threads.
    pub(crate) fn home(&self) -> &Handle {
        self.0.home.handle()
    }
}
