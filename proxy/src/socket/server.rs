//! The node's end: who may connect, and how often.

use std::{
    collections::HashMap,
    fs, io,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::{
    net::{UnixListener, UnixStream},
    sync::watch,
    task::JoinSet,
};
use tokio_util::sync::CancellationToken;

use super::{
    Limits,
    calls::Calls,
    connection::Connection,
    desk::Desk,
    frame::Kind,
    handshake::{self, FIRST_FRAMES},
    link::Link,
    offer::{self, Offers},
    reader::Reader,
    tenure::Tenure,
};
use crate::{
    identity::{FileError, Issuer, Revocations, private_file},
    serve::Server,
    task,
};

/// How long the node waits when the operating system gives no connection.
const OUT_OF_MEANS: Duration = Duration::from_millis(100);
/// How long telling a caller why its connection ends may take.
const LAST_WORDS: Duration = Duration::from_millis(100);

/// Who may connect.
#[derive(Debug, Clone)]
pub struct Gate {
    /// Who vouches for callers.
    pub issuer: watch::Receiver<Issuer>,
    /// Whose tokens count no more; connections that stand end too.
    pub revoked: watch::Receiver<Revocations>,
    /// Who takes what callers offer to serve; nobody, if absent.
    pub offers: Option<Arc<dyn Offers>>,
}

/// Why there is no socket.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// Its directory is no safe place.
    #[error(transparent)]
    Place(#[from] FileError),
    /// It cannot be made.
    #[error("the socket {} cannot be made; a path of more than 100 bytes is too long for one", .path.display())]
    Make {
        /// The socket.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
}

/// A socket that is listened to until this is dropped, which ends its connections and removes it.
#[derive(Debug)]
pub struct Listening {
    path: PathBuf,
    shut: CancellationToken,
    _accepting: task::Owned,
}

impl Listening {
    /// Takes no more connections and removes the socket; what runs goes on.
    pub fn shut(&self) {
        if !self.shut.is_cancelled() {
            self.shut.cancel();
            // One that is left over misleads nobody for long: nobody answers there, and the next start replaces it.
            let _ = fs::remove_file(&self.path);
        }
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        self.shut();
    }
}

/// Serves what `server` serves on a socket of mode 0600 at `path`, in place of whatever was there. That no other process
/// listens there is for the caller to know.
///
/// # Errors
///
/// The place is not safe, or the operating system refuses.
pub fn listen(path: &Path, server: Server, gate: Gate, limits: Limits) -> Result<Listening, ListenError> {
    private_file::check_directory(path)?;
    let make = |source| ListenError::Make { path: path.to_owned(), source };
    // Made aside and then moved: nobody finds it before its mode is right, nor a moment without one.
    let fresh = path.with_extension("new");
    match fs::remove_file(&fresh) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(make(error)),
        _ => {}
    }
    let listener = UnixListener::bind(&fresh).map_err(make)?;
    fs::set_permissions(&fresh, fs::Permissions::from_mode(0o600)).map_err(make)?;
    fs::rename(&fresh, path).map_err(make)?;
    let shut = CancellationToken::new();
    let door = Arc::new(Door { server, gate, limits, peers: Mutex::default(), count: AtomicU64::new(0) });
    let accepting = task::Owned::spawn("socket", door.accept(listener, shut.clone()));
    Ok(Listening { path: path.to_owned(), shut, _accepting: accepting })
}

#[derive(Debug)]
struct Door {
    server: Server,
    gate: Gate,
    limits: Limits,
    peers: Mutex<HashMap<u32, usize>>,
    count: AtomicU64,
}

impl Door {
    async fn accept(self: Arc<Self>, listener: UnixListener, shut: CancellationToken) {
        let mut connections = JoinSet::new();
        loop {
            tokio::select! {
                () = shut.cancelled() => break,
                Some(_) = connections.join_next() => {}
                accepted = listener.accept() => match accepted {
                    Ok((stream, _)) => {
                        if let Some(peer) = Peer::count(&self, &stream) {
                            connections.spawn(self.clone().serve(stream, peer));
                        }
                    }
                    Err(error) => {
                        tracing::warn!(%error, "the node's socket takes no connection at the moment");
                        tokio::time::sleep(OUT_OF_MEANS).await;
                    }
                },
            }
        }
        drop(listener);
        while connections.join_next().await.is_some() {}
    }

    async fn serve(self: Arc<Self>, stream: UnixStream, peer: Peer) {
        let (read, mut write) = stream.into_split();
        let mut reader = Reader::new(read, FIRST_FRAMES);
        let server = self.server.user();
        let introduced = handshake::admit(&mut reader, &mut write, server, &self.gate);
        let user = match tokio::time::timeout(self.limits.introduction, introduced).await {
            Ok(Ok(Ok(user))) => user,
            Ok(Ok(Err(refusal))) => {
                tracing::warn!(uid = peer.uid, reason = %refusal.error, "a caller at the node's socket was refused");
                if let Some(caller) = &refusal.caller {
                    self.server.dispatcher().journal().refused(caller, "socket", &refusal.error.message).await;
                }
                return;
            }
            Ok(Err(end)) => return tracing::debug!(uid = peer.uid, %end, "a connection ended in its introduction"),
            Err(_) => return tracing::debug!(uid = peer.uid, "a connection did not introduce itself in time"),
        };
        reader.widen();
        let link = Link::new(write);
        let calls = Calls::new(link.clone());
        let (number, caller) = (self.count.fetch_add(1, Ordering::Relaxed), user.caller());
        let offering = offer::Peer { connection: number, caller: caller.clone(), pid: peer.pid };
        let (offers, server) = (self.gate.offers.clone(), self.server.clone());
        let tenure = Tenure::new(self.gate.clone(), user);
        let (desk, orders) = Desk::new(offers, offering, server.user().clone(), calls.clone());
        let holding = tenure.clone();
        let connection = Connection { server, caller, number, link: link.clone(), calls, desk: orders, tenure };
        let conversation = async {
            let end = tokio::select! {
                end = link.run(&mut reader, self.limits.patience, |frame| connection.take(frame)) => end,
                (end, why) = holding.over() => {
                    let _ = link.push(Kind::Dismissed, 0, &[&serde_json::to_vec(&why).unwrap_or_default()]);
                    // Whoever does not read what waits for it is not waited for.
                    let _ = tokio::time::timeout(LAST_WORDS, link.flushed()).await;
                    end
                }
            };
            tracing::debug!(caller = %connection.caller, %end, "a connection of the node's socket ended");
            connection.calls.end(&end);
            drop(connection);
        };
        tokio::join!(conversation, desk.run());
    }
}

/// A connection that counts against its user's limit until it ends.
struct Peer {
    door: Arc<Door>,
    uid: u32,
    pid: Option<i32>,
}

impl Peer {
    fn count(door: &Arc<Door>, stream: &UnixStream) -> Option<Self> {
        let peer = stream.peer_cred().ok()?;
        let (uid, pid) = (peer.uid(), peer.pid());
        let mut peers = door.peers.lock().unwrap_or_else(PoisonError::into_inner);
        let count = peers.entry(uid).or_default();
        if *count >= door.limits.connections {
            tracing::debug!(uid, "a connection beyond the limit was closed");
            return None;
        }
        *count += 1;
        Some(Self { door: door.clone(), uid, pid })
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        let mut peers = self.door.peers.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = peers.get_mut(&self.uid) {
            *count -= 1;
            if *count == 0 {
                peers.remove(&self.uid);
            }
        }
    }
}
