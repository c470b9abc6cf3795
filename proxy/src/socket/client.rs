//! The caller's end: one connection, made when it is first needed and again when it broke, shared by all calls.

use std::{
    collections::HashMap,
    fmt,
    path::PathBuf,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use tokio::{net::UnixStream, sync::mpsc, time::Instant};

use super::{
    Limits, MAX_FRAME,
    frame::{Frame, Kind},
    handshake,
    link::Link,
    reader::Reader,
};
use crate::{Error, Name, SkillPath, UserName, identity::Credential, subject::Control, sync::lock, task};

/// How long connecting may take before the bus is asked instead.
const CONNECT: Duration = Duration::from_secs(2);
/// How long a socket that did not answer is left alone.
const LEFT_ALONE: Duration = Duration::from_secs(1);

/// The way to the CIs of one node over its socket. It is made at the first call, and again when it broke.
#[derive(Clone)]
pub struct Local(Arc<Inner>);

struct Inner {
    path: PathBuf,
    server: UserName,
    credential: Arc<Credential>,
    current: Mutex<Option<Arc<Connection>>>,
    /// When the last attempt failed; held while one is made.
    failed: tokio::sync::Mutex<Option<Instant>>,
}

impl fmt::Debug for Local {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Local").field("path", &self.0.path).field("server", &self.0.server).finish_non_exhaustive()
    }
}

impl Local {
    /// The way over the socket at `path`, which the node `server` handed out. Nothing is opened yet.
    #[must_use]
    pub fn new(path: PathBuf, server: UserName, credential: Arc<Credential>) -> Self {
        let (current, failed) = (Mutex::default(), tokio::sync::Mutex::default());
        Self(Arc::new(Inner { path, server, credential, current, failed }))
    }

    /// Whether this is a way to what `server` serves.
    #[must_use]
    pub fn leads_to(&self, server: &UserName) -> bool {
        self.0.server == *server
    }

    /// Sends a request; `None` if it surely did not leave, as there is no connection or the body is too large.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future forgets the call.
    pub(crate) async fn begin(
        &self,
        ci: &Name,
        path: &SkillPath,
        body: &[u8],
        room: usize,
    ) -> Option<(Ongoing, Replies)> {
        let connection = self.connection().await?;
        connection.shared.link.room().await;
        connection.begin(&format!("{ci}.{path}\n"), body, room)
    }

    async fn connection(&self) -> Option<Arc<Connection>> {
        if let Some(connection) = self.current() {
            return Some(connection);
        }
        let mut failed = self.0.failed.lock().await;
        if let Some(connection) = self.current() {
            return Some(connection);
        }
        if failed.is_some_and(|failed| failed.elapsed() < LEFT_ALONE) {
            return None;
        }
        let connecting = tokio::time::timeout(CONNECT, self.connect()).await;
        let error = match connecting {
            Ok(Ok(connection)) => {
                let connection = Arc::new(connection);
                *lock(&self.0.current) = Some(connection.clone());
                *failed = None;
                return Some(connection);
            }
            Ok(Err(error)) => error,
            Err(_) => Error::unavailable("the node's socket does not answer"),
        };
        tracing::debug!(path = %self.0.path.display(), %error, "calls go over the bus");
        *failed = Some(Instant::now());
        None
    }

    fn current(&self) -> Option<Arc<Connection>> {
        let mut current = lock(&self.0.current);
        current.take_if(|connection| connection.shared.link.is_closed());
        current.clone()
    }

    async fn connect(&self) -> Result<Connection, Error> {
        let Inner { path, server, credential, .. } = &*self.0;
        let away = |error: std::io::Error| Error::unavailable(format!("the node's socket does not answer: {error}"));
        let stream = UnixStream::connect(path).await.map_err(away)?;
        let owner = stream.peer_cred().map_err(away)?.uid();
        let own = rustix::process::geteuid().as_raw();
        if owner != own && owner != 0 {
            return Err(Error::unavailable(format!("the socket belongs to user id {owner}, not to {own}")));
        }
        let (read, mut write) = stream.into_split();
        let mut reader = Reader::new(read, MAX_FRAME);
        handshake::introduce(&mut reader, &mut write, server, credential).await?;
        let shared = Arc::new(Shared { link: Link::new(write), pending: Mutex::default() });
        let driving = shared.clone();
        let driver = task::Owned::spawn("socket-calls", async move { driving.drive(reader).await });
        Ok(Connection { shared, next: AtomicU32::new(0), _driver: driver })
    }
}

/// What waits for the replies to one call.
struct Pending {
    sender: mpsc::Sender<Result<Frame, Error>>,
    /// How many bytes have left when the request has.
    end: u64,
}

struct Shared {
    link: Arc<Link>,
    pending: Mutex<HashMap<u32, Pending>>,
}

impl Shared {
    async fn drive(&self, reader: Reader) {
        let end = self
            .link
            .run(reader, Limits::default().patience, |frame| {
                let mut pending = lock(&self.pending);
                if let Some(entry) = pending.get(&frame.id) {
                    let id = frame.id;
                    // The room is the credit that was given, so only a callee that overdraws it can fill the channel.
                    if entry.sender.try_send(Ok(frame)).is_err() {
                        pending.remove(&id);
                    }
                }
                Ok(())
            })
            .await;
        let written = self.link.written();
        for (_, entry) in lock(&self.pending).drain() {
            let error = Error::unavailable(format!("the connection to the node's socket broke: {end}"));
            let _ = entry.sender.try_send(Err(error.sent(entry.end <= written)));
        }
    }
}

/// A connection that the node has accepted.
struct Connection {
    shared: Arc<Shared>,
    next: AtomicU32,
    _driver: task::Owned,
}

impl Connection {
    fn begin(self: &Arc<Self>, head: &str, body: &[u8], room: usize) -> Option<(Ongoing, Replies)> {
        let (sender, receiver) = mpsc::channel(room);
        let id = {
            let mut pending = lock(&self.shared.pending);
            let mut id = self.next.fetch_add(1, Ordering::Relaxed);
            while pending.contains_key(&id) {
                id = self.next.fetch_add(1, Ordering::Relaxed);
            }
            // Until more is known it counts as sent: a call must not be made twice.
            pending.insert(id, Pending { sender, end: 0 });
            id
        };
        let ongoing = Ongoing { connection: self.clone(), id };
        let end = self.shared.link.push(Kind::Request, id, &[head.as_bytes(), body])?;
        if let Some(entry) = lock(&self.shared.pending).get_mut(&id) {
            entry.end = end;
        }
        Some((ongoing, Replies { receiver }))
    }
}

/// A call that was sent; dropping this forgets its replies.
pub(crate) struct Ongoing {
    connection: Arc<Connection>,
    id: u32,
}

impl fmt::Debug for Ongoing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ongoing").field("id", &self.id).finish_non_exhaustive()
    }
}

impl Ongoing {
    /// Cancels it, or gives its stream credit.
    pub(crate) fn tell(&self, verb: Control, body: &[u8]) {
        let kind = match verb {
            Control::Cancel => Kind::Cancel,
            Control::Credit => Kind::Credit,
        };
        // On a connection that ended there is nothing left to cancel.
        let _ = self.connection.shared.link.push(kind, self.id, &[body]);
    }
}

impl Drop for Ongoing {
    fn drop(&mut self) {
        lock(&self.connection.shared.pending).remove(&self.id);
    }
}

/// The replies to one call.
#[derive(Debug)]
pub(crate) struct Replies {
    receiver: mpsc::Receiver<Result<Frame, Error>>,
}

impl Replies {
    /// The next reply, or why none comes any more.
    pub(crate) async fn next(&mut self) -> Option<Result<(Kind, Bytes), Error>> {
        let frame = self.receiver.recv().await?;
        Some(frame.map(|Frame { kind, body, .. }| (kind, body)))
    }
}
