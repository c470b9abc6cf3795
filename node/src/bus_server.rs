//! The supervised `nats-server`: found, started, adopted when it outlived its node, restarted with back-off.

use std::{
    env, fs, io,
    net::{SocketAddr, TcpListener},
    path::{Path, PathBuf},
    process::Stdio,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, SystemTime},
};

use aigis_proxy::{
    bus::Version,
    identity::{Charter, MeshCa, MeshKeys, ServerFiles, ServerOptions, ca},
    task,
};
use rustix::process::Pid;
use serde::Deserialize;
use tokio::{
    process::Command,
    sync::{Notify, watch},
    time::interval,
};
use tokio_util::sync::CancellationToken;

mod greeting;
mod process;
pub(crate) mod refusals;
mod room;

use process::{Process, STOP};
use room::Room;

use crate::cluster::member::Running;

/// The first wait before a restart; it doubles to [`LAST_WAIT`].
const FIRST_WAIT: Duration = Duration::from_millis(200);
const LAST_WAIT: Duration = Duration::from_secs(5);
/// When a running server gets a new certificate: once half of the time of the one it has is over.
const RENEWAL: Duration = Duration::from_secs(ca::SERVER_LIFE.as_secs() / 2);
/// How often is looked whether it needs one: the clock may leap, and a host may have slept for weeks.
const CERTIFICATE_LOOK: Duration = Duration::from_secs(60);
/// How long a fresh server may take until it answers.
const READY: Duration = Duration::from_secs(20);
/// How often is looked whether it has said where it listens.
const LOOK: Duration = Duration::from_millis(20);
/// Most entries of the directory in which it says so.
const MAX_ENTRIES: usize = 1000;

/// Why there is no supervised server.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// None was found.
    #[error("no nats-server was found in AIGIS_NATS_SERVER, PATH or {}", .data.display())]
    NotFound {
        /// The data directory's `bin`.
        data: PathBuf,
    },
    /// What was named cannot be run.
    #[error("{named}{} cannot be run as a nats-server: {reason}", .path.display())]
    NotUsable {
        /// The variable that names it, as the message's beginning; nothing if it was found.
        named: &'static str,
        /// The file.
        path: PathBuf,
        /// Why not.
        reason: String,
    },
    /// It is older than the versions with the fixes that the mesh relies on.
    #[error("{named}{} is nats-server {found}; 2.11.16, 2.12.7 or 2.14.0 of its line, or newer, is required", .path.display())]
    TooOld {
        /// The variable that names it, as the message's beginning; nothing if it was found.
        named: &'static str,
        /// The file.
        path: PathBuf,
        /// Its version.
        found: String,
    },
    /// Its certificate.
    #[error("the bus server's certificate cannot be made")]
    Certificate(#[from] ca::Error),
    /// Its files cannot be written.
    #[error("the bus server's files cannot be written")]
    Files(#[from] aigis_proxy::identity::server::Error),
    /// It ended right after its start.
    #[error("the bus server ended before it listened at {listen}; its log says why: {}", .log.display())]
    Ended {
        /// Where it was to listen.
        listen: SocketAddr,
        /// Its log.
        log: PathBuf,
    },
    /// It ended right after its start, and somebody else listens there.
    #[error(
        "the bus server ended before it listened at {listen}: the port {} may be taken by another program; end that \
         program, or choose another port with --listen",
        .listen.port()
    )]
    Taken {
        /// Where it was to listen.
        listen: SocketAddr,
    },
    /// It did not answer.
    #[error("the bus server did not listen at {listen} within {} s; its log is {}", READY.as_secs(), .log.display())]
    NotReady {
        /// Where it was to listen.
        listen: SocketAddr,
        /// Its log.
        log: PathBuf,
    },
    /// The one that was running listens somewhere else.
    #[error(
        "the bus server that runs already, process {pid}, listens at {found}, not at {asked}; \
         leave --listen away, or end that process first"
    )]
    Elsewhere {
        /// Its process id.
        pid: i32,
        /// Where it listens.
        found: String,
        /// Where it was to listen.
        asked: SocketAddr,
    },
    /// The operating system refused.
    #[error("the bus server cannot be started")]
    Start(#[source] io::Error),
}

/// Finds a server: `AIGIS_NATS_SERVER`, then `PATH`, then the data directory's `bin/`; checks its version.
///
/// # Errors
///
/// None found, not runnable, too old.
pub async fn find(data: &Path) -> Result<PathBuf, Error> {
    let named = env::var_os("AIGIS_NATS_SERVER").filter(|value| !value.is_empty()).map(PathBuf::from);
    let (named, path) = match named {
        Some(path) => ("AIGIS_NATS_SERVER: ", path),
        None => env::split_paths(&env::var_os("PATH").unwrap_or_default())
            .chain([data.join("bin")])
            .map(|directory| directory.join("nats-server"))
            .find(|candidate| candidate.is_file())
            .map(|path| ("", path))
            .ok_or_else(|| Error::NotFound { data: data.join("bin") })?,
    };
    let not_usable = |reason: String| Error::NotUsable { named, path: path.clone(), reason };
    if path.is_dir() {
        return Err(not_usable("it is a directory".to_owned()));
    }
    let asked = Command::new(&path).arg("--version").stdin(Stdio::null()).kill_on_drop(true).output();
    let output = tokio::time::timeout(Duration::from_secs(10), asked)
        .await
        .map_err(|_| not_usable("it does not say its version".to_owned()))?
        .map_err(|error| not_usable(error.to_string()))?;
    let words = String::from_utf8_lossy(&output.stdout);
    let version = words.split_whitespace().find_map(|word| word.parse::<Version>().ok());
    match version {
        Some(version) if version.is_supported() => Ok(path),
        Some(version) => Err(Error::TooOld { named, found: version.to_string(), path }),
        None => Err(not_usable("it does not say its version".to_owned())),
    }
}

/// What the supervisor says of the server.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Status {
    /// Its process id, while it runs.
    pub pid: Option<i32>,
    /// How often it was started again.
    pub restarts: u32,
    /// Why it did not start the last time.
    pub trouble: Option<String>,
    /// Its id, new at each start, while it runs as one of a cluster.
    pub id: Option<String>,
}

/// What a server starts with of the mesh, and who makes its certificate.
#[derive(Debug)]
pub enum Papers {
    /// The issuer's own: always the newest, so that a start never puts back a token from before a revocation.
    Own {
        /// The signing keys, shared with the issuer.
        keys: Arc<MeshKeys>,
        /// Makes the server's certificate, where it needs one.
        ca: Option<Box<MeshCa>>,
    },
    /// What the issuer gave to this host last; the certificate lies beside.
    Given(Arc<Mutex<Charter>>),
}

impl Papers {
    fn charter(&self) -> Charter {
        match self {
            Self::Own { keys, .. } => keys.charter(),
            Self::Given(charter) => charter.lock().unwrap_or_else(PoisonError::into_inner).clone(),
        }
    }
}

/// Everything that a start needs.
#[derive(Debug)]
struct Supervisor {
    program: PathBuf,
    files: ServerFiles,
    options: ServerOptions,
    papers: Papers,
    status: watch::Sender<Status>,
    stop: CancellationToken,
    /// Told when there is another certificate.
    reload: Arc<Notify>,
}

/// A supervised server. It goes on when this is dropped without [`BusServer::stop`], as it would if the node died.
#[derive(Debug)]
pub struct BusServer {
    address: SocketAddr,
    /// Whether it ran before.
    adopted: bool,
    status: watch::Receiver<Status>,
    stop: CancellationToken,
    reload: Arc<Notify>,
    given: Option<Arc<Mutex<Charter>>>,
    supervision: tokio::task::JoinHandle<()>,
}

impl BusServer {
    /// Starts the server, or adopts the one that runs over these files, and keeps it running.
    ///
    /// # Errors
    ///
    /// The first start failed.
    pub async fn start(
        program: PathBuf,
        files: ServerFiles,
        options: ServerOptions,
        papers: Papers,
    ) -> Result<Self, Error> {
        let (sender, status) = watch::channel(Status::default());
        let stop = CancellationToken::new();
        let reload = Arc::new(Notify::new());
        let given = match &papers {
            Papers::Given(charter) => Some(charter.clone()),
            Papers::Own { .. } => None,
        };
        let (stopped, told) = (stop.clone(), reload.clone());
        let mut supervisor =
            Supervisor { program, files, options, papers, status: sender, stop: stopped, reload: told };
        let mut process = match supervisor.adopt() {
            Some(process) => process,
            None => supervisor.launch()?,
        };
        // Whatever port it chose, it has it again after each restart: that is where everybody looks for it.
        supervisor.options.listen = match supervisor.ready(&mut process).await {
            Ok(address) => address,
            Err(error) => {
                supervisor.give_up(process).await;
                return Err(error);
            }
        };
        let (address, adopted) = (supervisor.options.listen, process.is_adopted());
        let supervision = task::spawn("bus-server", supervisor.run(process));
        Ok(Self { address, adopted, status, stop, reload, given, supervision })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What is known of it.
    #[must_use]
    pub fn status(&self) -> watch::Receiver<Status> {
        self.status.clone()
    }

    /// What is told to a server whose papers came from the issuer; `None` for the issuer's own.
    pub(crate) fn given(&self) -> Option<Running> {
        self.given.clone().map(|charter| Running { charter, reload: self.reload.clone() })
    }

    /// Ends the supervision alone: the server is one that others need.
    pub fn leave(self) {
        self.supervision.abort();
    }

    /// Ends the supervision, and the server unless it was adopted: for a start that fails leaves all as it was.
    pub async fn give_back(self) {
        if self.adopted {
            self.supervision.abort();
        } else {
            self.stop().await;
        }
    }

    /// Ends the server and the supervision.
    pub async fn stop(self) {
        self.stop.cancel();
        if tokio::time::timeout(STOP + Duration::from_secs(1), self.supervision).await.is_err() {
            tracing::warn!("the bus server did not end in time");
        }
    }
}

impl Supervisor {
    /// The server that runs over these files, if one does: it outlived the node that started it.
    fn adopt(&self) -> Option<Process> {
        let pid: i32 = fs::read_to_string(self.files.pid()).ok()?.trim().parse().ok()?;
        let command = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
        let config = self.files.config();
        let ours = command.split(|byte| *byte == 0).any(|argument| argument == config.as_os_str().as_encoded_bytes());
        if !ours {
            return None;
        }
        let process = Process::open(Pid::from_raw(pid)?, None).ok()?;
        tracing::info!(pid, "adopted the bus server that was running");
        Some(process)
    }

    fn launch(&self) -> Result<Process, Error> {
        self.certify()?;
        let written = self.files.write(&self.papers.charter(), &self.options)?;
        if !written.restored.is_empty() || !written.removed.is_empty() {
            tracing::warn!(restored = ?written.restored, removed = ?written.removed, "stored account tokens were not ours");
        }
        // A group of its own: a Ctrl-C at the terminal is for the node, which ends the server in order.
        let child = Command::new(&self.program)
            .arg("--config")
            .arg(&written.config)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()
            .map_err(Error::Start)?;
        let pid = child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
        let pid = pid.ok_or_else(|| Error::Start(io::Error::other("it ended at once")))?;
        Process::open(pid, Some(child)).map_err(Error::Start)
    }

    /// Makes the server's certificate anew, where it needs one.
    fn certify(&self) -> Result<(), Error> {
        // One certificate serves clients and the other servers.
        let files = self.options.tls.as_ref().or(self.options.cluster.as_ref().map(|cluster| &cluster.tls));
        if let (Papers::Own { ca: Some(ca), .. }, Some(files)) = (&self.papers, files) {
            ca.issue(self.options.listen.ip(), SystemTime::now() + ca::SERVER_LIFE)?.write(files)?;
        }
        Ok(())
    }

    /// Gives a server that has been running for long, or was adopted, a new certificate. Its connections stay.
    fn renew_certificate(&self, process: &Process) {
        if !matches!(self.papers, Papers::Own { ca: Some(_), .. }) {
            return;
        }
        match self.certify() {
            Ok(()) => process.reload(),
            Err(error) => tracing::warn!(%error, "the bus server keeps the certificate that it has"),
        }
    }

    /// Awaits until this very process says where it listens: that somebody answers there is no sign of it.
    async fn ready(&self, process: &mut Process) -> Result<SocketAddr, Error> {
        let (asked, pid) = (self.options.listen, process.pid);
        let log = || self.options.log.clone().unwrap_or_default();
        let said = async {
            loop {
                if let Some(said) = said(&self.files.ports(), pid) {
                    return said;
                }
                tokio::time::sleep(LOOK).await;
            }
        };
        let said = tokio::select! {
            said = said => said,
            () = process.ended() => return Err(match is_taken(asked) {
                true => Error::Taken { listen: asked },
                false => Error::Ended { listen: asked, log: log() },
            }),
            () = tokio::time::sleep(READY) => return Err(Error::NotReady { listen: asked, log: log() }),
        };
        let pid = pid.as_raw_nonzero().get();
        let wanted =
            |address: &&SocketAddr| address.ip() == asked.ip() && (asked.port() == 0 || address.port() == asked.port());
        let Some(address) = said.iter().find(wanted) else {
            let found = said.first().map(ToString::to_string).unwrap_or_default();
            return Err(Error::Elsewhere { pid, found, asked });
        };
        let id = match &self.options.cluster {
            Some(_) => greeting::server_id(*address).await,
            None => None,
        };
        self.status.send_modify(|status| {
            status.pid = Some(pid);
            status.trouble = None;
            status.id = id;
        });
        Ok(*address)
    }

    async fn run(self, mut process: Process) {
        let mut wait = FIRST_WAIT;
        let mut look = interval(CERTIFICATE_LOOK);
        let (mut room, mut room_look) = (Room::of(&self.options.store), interval(room::LOOK));
        // What an adopted server has may be of any age.
        let mut due = if process.is_adopted() { SystemTime::UNIX_EPOCH } else { SystemTime::now() + RENEWAL };
        loop {
            tokio::select! {
                () = process.ended() => {}
                _ = look.tick() => {
                    if SystemTime::now() >= due {
                        self.renew_certificate(&process);
                        due = SystemTime::now() + RENEWAL;
                    }
                    continue;
                }
                () = self.reload.notified() => {
                    process.reload();
                    continue;
                }
                _ = room_look.tick() => {
                    if room.is_back() {
                        tracing::warn!("the disk of the bus has room again: its server is started anew, to write again");
                        process.stop();
                    }
                    continue;
                }
                () = self.stop.cancelled() => return process.end().await,
            }
            self.status.send_modify(|status| {
                status.pid = None;
                status.id = None;
                status.restarts += 1;
            });
            tracing::warn!("the bus server ended; starting it again");
            process = loop {
                tokio::select! {
                    () = tokio::time::sleep(wait) => {}
                    () = self.stop.cancelled() => return,
                }
                match self.again().await {
                    Ok(process) => break process,
                    Err(error) => {
                        wait = (wait * 2).min(LAST_WAIT);
                        let trouble = error.to_string();
                        tracing::warn!(error = trouble, "the bus server did not start; trying again");
                        self.status.send_modify(|status| status.trouble = Some(trouble));
                    }
                }
            };
            wait = FIRST_WAIT;
            due = SystemTime::now() + RENEWAL;
        }
    }

    async fn again(&self) -> Result<Process, Error> {
        let mut process = self.launch()?;
        match self.ready(&mut process).await {
            Ok(_) => Ok(process),
            Err(error) => {
                self.give_up(process).await;
                Err(error)
            }
        }
    }

    /// Ends a server of ours that does not answer, which would keep the next one from the port and the store.
    async fn give_up(&self, process: Process) {
        if !process.is_adopted() {
            process.end().await;
        }
    }
}

/// Whether another process listens there, so that a server of ours cannot.
fn is_taken(listen: SocketAddr) -> bool {
    TcpListener::bind(listen).is_err_and(|error| error.kind() == io::ErrorKind::AddrInUse)
}

/// What a server writes of itself, as far as it matters here.
#[derive(Debug, Deserialize)]
struct Ports {
    nats: Vec<String>,
}

/// Where the server of that process id says that it listens; `None` until its file is there and whole.
fn said(directory: &Path, pid: Pid) -> Option<Vec<SocketAddr>> {
    let ending = format!("_{}.ports", pid.as_raw_nonzero());
    let entries = fs::read_dir(directory).ok()?.take(MAX_ENTRIES).flatten();
    let file = entries.map(|entry| entry.path()).find(|path| path.to_string_lossy().ends_with(&ending))?;
    let ports: Ports = serde_json::from_slice(&fs::read(file).ok()?).ok()?;
    let addresses = ports.nats.iter().filter_map(|url| url.split_once("://")?.1.parse().ok());
    Some(addresses.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_file_of_that_process_says_where_it_listens() {
        let directory = tempfile::tempdir().unwrap();
        let pid = Pid::from_raw(77).unwrap();
        let write = |name: &str, text: &str| fs::write(directory.path().join(name), text).unwrap();
        write("nats-server_7.ports", r#"{"nats":["nats://127.0.0.1:1"]}"#);
        write("nats-server_177.ports", r#"{"nats":["nats://127.0.0.1:2"]}"#);
        assert_eq!(said(directory.path(), pid), None);
        write("nats-server_77.ports", r#"{"nats":["nats://127.0.0.1:"#);
        assert_eq!(said(directory.path(), pid), None, "half written");
        write("nats-server_77.ports", r#"{"nats":["nats://127.0.0.1:3","nats://[::1]:4"],"monitoring":[]}"#);
        let addresses = ["127.0.0.1:3".parse().unwrap(), "[::1]:4".parse().unwrap()];
        assert_eq!(said(directory.path(), pid), Some(addresses.to_vec()));
    }
}
