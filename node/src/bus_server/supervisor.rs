//! The task that keeps a server running: adopted or launched, given new certificates, started again when it ends.

use std::{
    fs, io,
    net::{SocketAddr, TcpListener},
    path::PathBuf,
    process::Stdio,
    sync::Arc,
    time::{Duration, SystemTime},
};

use aigis_proxy::identity::{ServerFiles, ServerOptions, ca};
use rustix::process::Pid;
use tokio::{
    process::Command,
    sync::{Notify, watch},
    time::interval,
};
use tokio_util::sync::CancellationToken;

use super::{
    Error, Papers, Status, greeting,
    ports::said,
    process::Process,
    room::{self, Room},
};

/// The first wait before a restart; it doubles to [`LAST_WAIT`].
const FIRST_WAIT: Duration = Duration::from_millis(200);
const LAST_WAIT: Duration = Duration::from_secs(5);
/// When a running server gets a new certificate: once half of the time of the one it has is over.
const RENEWAL: Duration = Duration::from_secs(ca::SERVER_LIFE.as_secs() / 2);
/// How often is looked whether it needs one: the clock may leap, and a host may have slept for weeks.
const CERTIFICATE_LOOK: Duration = Duration::from_secs(60);
/// How long a fresh server may take until it answers.
pub(super) const READY: Duration = Duration::from_secs(20);
/// How often is looked whether it has said where it listens.
const LOOK: Duration = Duration::from_millis(20);

/// Everything that a start needs.
#[derive(Debug)]
pub(super) struct Supervisor {
    pub(super) program: PathBuf,
    pub(super) files: ServerFiles,
    pub(super) options: ServerOptions,
    pub(super) papers: Papers,
    pub(super) status: watch::Sender<Status>,
    pub(super) stop: CancellationToken,
    /// Told when there is another certificate.
    pub(super) reload: Arc<Notify>,
}

impl Supervisor {
    /// The server that runs over these files, if one does: it outlived the node that started it.
    pub(super) fn adopt(&self) -> Option<Process> {
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

    pub(super) fn launch(&self) -> Result<Process, Error> {
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
    pub(super) async fn ready(&self, process: &mut Process) -> Result<SocketAddr, Error> {
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

    pub(super) async fn run(self, mut process: Process) {
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
    pub(super) async fn give_up(&self, process: Process) {
        if !process.is_adopted() {
            process.end().await;
        }
    }
}

/// Whether another process listens there, so that a server of ours cannot.
fn is_taken(listen: SocketAddr) -> bool {
    TcpListener::bind(listen).is_err_and(|error| error.kind() == io::ErrorKind::AddrInUse)
}
