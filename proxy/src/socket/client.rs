//! The caller's end: one connection, made when it is first needed and again when it broke, shared by all calls.

use std::{
    fmt,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
    time::Duration,
};

use tokio::{
    net::{UnixStream, unix::OwnedWriteHalf},
    time::Instant,
};

use super::{
    Limits, MAX_FRAME,
    calls::{Calls, Ongoing, Replies},
    frame::{Frame, Kind},
    handshake,
    link::Link,
    reader::Reader,
};
use crate::{Error, Name, SkillPath, UserName, identity::Credential, sync::lock, task};

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
    current: Mutex<Option<Connection>>,
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

    /// Shows the node the token of a renewal, so that what runs over the connection outlives the former one.
    pub(crate) fn show_renewed(&self) {
        if let Some(calls) = self.current() {
            // A connection that ended has nothing to outlive.
            let _ = calls.link().push(Kind::Renew, 0, &[self.0.credential.jwt().as_bytes()]);
        }
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
        let calls = self.connection().await?;
        calls.link().room().await;
        calls.begin(&format!("{ci}.{path}\n"), body, room)
    }

    async fn connection(&self) -> Option<Arc<Calls>> {
        if let Some(calls) = self.current() {
            return Some(calls);
        }
        let mut failed = self.0.failed.lock().await;
        if let Some(calls) = self.current() {
            return Some(calls);
        }
        if failed.is_some_and(|failed| failed.elapsed() < LEFT_ALONE) {
            return None;
        }
        let connecting = tokio::time::timeout(CONNECT, self.connect()).await;
        let error = match connecting {
            Ok(Ok(connection)) => {
                let calls = connection.calls.clone();
                *lock(&self.0.current) = Some(connection);
                *failed = None;
                return Some(calls);
            }
            Ok(Err(error)) => error,
            Err(_) => Error::unavailable("the node's socket does not answer"),
        };
        tracing::debug!(path = %self.0.path.display(), %error, "calls go over the bus");
        *failed = Some(Instant::now());
        None
    }

    fn current(&self) -> Option<Arc<Calls>> {
        let mut current = lock(&self.0.current);
        current.take_if(|connection| connection.calls.link().is_closed());
        current.as_ref().map(|connection| connection.calls.clone())
    }

    async fn connect(&self) -> Result<Connection, Error> {
        let Inner { path, server, credential, .. } = &*self.0;
        let (mut reader, write) = open(path, server, credential).await?;
        let calls = Calls::new(Link::new(write));
        let driving = calls.clone();
        let driver = task::Owned::spawn("socket-calls", async move {
            let take = |frame: Frame| {
                match frame.kind {
                    Kind::Dismissed => driving.dismissed(&frame.body),
                    _ => {
                        driving.take(frame);
                    }
                }
                Ok(())
            };
            let end = driving.link().run(&mut reader, Limits::default().patience, take).await;
            driving.end(&end);
        });
        Ok(Connection { calls, _driver: driver })
    }
}

/// A connection that the node has accepted.
struct Connection {
    calls: Arc<Calls>,
    _driver: task::Owned,
}

/// Connects to the node's socket and is let in.
///
/// # Errors
///
/// `unavailable` where nobody answers, or somebody else; the node's refusal.
pub(super) async fn open(
    path: &Path,
    server: &UserName,
    credential: &Credential,
) -> Result<(Reader, OwnedWriteHalf), Error> {
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
    Ok((reader, write))
}
