//! The supervised `nats-server`: found, started, adopted when it outlived its node, restarted with back-off.

use std::{
    env, fs, io,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use aigis_proxy::{
    bus::Version,
    identity::{MeshKeys, ServerFiles, ServerOptions},
    task,
};
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal},
};
use tokio::{net::TcpStream, process::Command, sync::watch};
use tokio_util::sync::CancellationToken;

/// The first wait before a restart; it doubles to [`LAST_WAIT`].
const FIRST_WAIT: Duration = Duration::from_millis(200);
const LAST_WAIT: Duration = Duration::from_secs(5);
/// How long a fresh server may take until it answers.
const READY: Duration = Duration::from_secs(20);
/// How often an adopted server is looked at.
const LOOK: Duration = Duration::from_millis(100);
/// How long it may take to end when asked to.
const STOP: Duration = Duration::from_secs(10);

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
    #[error("{} cannot be run as a nats-server: {reason}", .path.display())]
    NotUsable {
        /// The file.
        path: PathBuf,
        /// Why not.
        reason: String,
    },
    /// It is older than the versions with the fixes that the mesh relies on.
    #[error("{} is nats-server {found}; 2.11.16, 2.12.7 or 2.14.0 of its line, or newer, is required", .path.display())]
    TooOld {
        /// The file.
        path: PathBuf,
        /// Its version.
        found: String,
    },
    /// Its files cannot be written.
    #[error("the bus server's files cannot be written")]
    Files(#[from] aigis_proxy::identity::server::Error),
    /// It ended, or did not answer, right after its start.
    #[error("the bus server did not answer at {listen} within {} s; its log is {}", READY.as_secs(), .log.display())]
    NotReady {
        /// Where it was to listen.
        listen: SocketAddr,
        /// Its log.
        log: PathBuf,
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
    let path = match named {
        Some(path) => path,
        None => env::split_paths(&env::var_os("PATH").unwrap_or_default())
            .chain([data.join("bin")])
            .map(|directory| directory.join("nats-server"))
            .find(|candidate| candidate.is_file())
            .ok_or_else(|| Error::NotFound { data: data.join("bin") })?,
    };
    let not_usable = |reason: String| Error::NotUsable { path: path.clone(), reason };
    let asked = Command::new(&path).arg("--version").stdin(Stdio::null()).kill_on_drop(true).output();
    let output = tokio::time::timeout(Duration::from_secs(10), asked)
        .await
        .map_err(|_| not_usable("it does not say its version".to_owned()))?
        .map_err(|error| not_usable(error.to_string()))?;
    let words = String::from_utf8_lossy(&output.stdout);
    let version = words.split_whitespace().find_map(|word| word.parse::<Version>().ok());
    match version {
        Some(version) if version.is_supported() => Ok(path),
        Some(version) => Err(Error::TooOld { found: version.to_string(), path }),
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
}

/// Everything that a start needs.
#[derive(Debug)]
pub struct Supervisor {
    program: PathBuf,
    files: ServerFiles,
    options: ServerOptions,
    keys: MeshKeys,
    status: watch::Sender<Status>,
    stop: CancellationToken,
}

/// A supervised server. It goes on when this is dropped without [`BusServer::stop`], as it would if the node died.
#[derive(Debug)]
pub struct BusServer {
    status: watch::Receiver<Status>,
    stop: CancellationToken,
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
        keys: MeshKeys,
    ) -> Result<Self, Error> {
        let (sender, status) = watch::channel(Status::default());
        let stop = CancellationToken::new();
        let supervisor = Supervisor { program, files, options, keys, status: sender, stop: stop.clone() };
        let mut process = match supervisor.adopt() {
            Some(process) => process,
            None => supervisor.launch()?,
        };
        supervisor.ready(&mut process).await?;
        let supervision = task::spawn("bus-server", supervisor.run(process));
        Ok(Self { status, stop, supervision })
    }

    /// What is known of it.
    #[must_use]
    pub fn status(&self) -> watch::Receiver<Status> {
        self.status.clone()
    }

    /// Ends the server and the supervision.
    pub async fn stop(self) {
        self.stop.cancel();
        if tokio::time::timeout(STOP + Duration::from_secs(1), self.supervision).await.is_err() {
            tracing::warn!("the bus server did not end in time");
        }
    }
}

/// A process, ours or adopted, known by its handle: a reused process id cannot be mistaken for it.
#[derive(Debug)]
struct Process {
    pid: Pid,
    handle: std::os::fd::OwnedFd,
    /// Ours is reaped when it ends; an adopted one is somebody else's child.
    child: Option<tokio::process::Child>,
}

impl Process {
    fn open(pid: Pid, child: Option<tokio::process::Child>) -> io::Result<Self> {
        Ok(Self { pid, handle: pidfd_open(pid, PidfdFlags::empty())?, child })
    }

    /// Completes when the process has ended.
    async fn ended(&mut self) {
        if let Some(child) = &mut self.child {
            // An error says the same: there is nothing left to wait for.
            let _ = child.wait().await;
            return;
        }
        while !self.has_ended() {
            tokio::time::sleep(LOOK).await;
        }
    }

    fn has_ended(&self) -> bool {
        let mut handle = [PollFd::new(&self.handle, PollFlags::IN)];
        poll(&mut handle, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })).is_ok_and(|ready| ready > 0)
    }

    fn signal(&self, signal: Signal) {
        if let Err(error) = pidfd_send_signal(&self.handle, signal) {
            tracing::debug!(%error, "the bus server took no signal");
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
        let written = self.files.write(&self.keys, &self.options)?;
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

    /// Awaits until the server answers, or has ended.
    async fn ready(&self, process: &mut Process) -> Result<(), Error> {
        let listen = self.options.listen;
        let not_ready = || Error::NotReady { listen, log: self.options.log.clone().unwrap_or_default() };
        let answers = async {
            while TcpStream::connect(listen).await.is_err() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::select! {
            () = answers => {}
            () = process.ended() => return Err(not_ready()),
            () = tokio::time::sleep(READY) => return Err(not_ready()),
        }
        self.status.send_modify(|status| {
            status.pid = Some(process.pid.as_raw_nonzero().get());
            status.trouble = None;
        });
        Ok(())
    }

    async fn run(self, mut process: Process) {
        let mut wait = FIRST_WAIT;
        loop {
            tokio::select! {
                () = process.ended() => {}
                () = self.stop.cancelled() => return self.end(process).await,
            }
            self.status.send_modify(|status| {
                status.pid = None;
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
                        let trouble = format!("{error}; the port {} may be taken", self.options.listen.port());
                        tracing::warn!(error = trouble, "the bus server did not start; trying again");
                        self.status.send_modify(|status| status.trouble = Some(trouble));
                    }
                }
            };
            wait = FIRST_WAIT;
        }
    }

    async fn again(&self) -> Result<Process, Error> {
        let mut process = self.launch()?;
        self.ready(&mut process).await.map(|()| process)
    }

    async fn end(&self, mut process: Process) {
        process.signal(Signal::TERM);
        if tokio::time::timeout(STOP, process.ended()).await.is_err() {
            process.signal(Signal::KILL);
            process.ended().await;
        }
    }
}
