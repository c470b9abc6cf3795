//! A process of a plugin: a group of its own that is ended as a whole, also when this node is killed.

use std::{
    ffi::{OsStr, OsString},
    fmt, io,
    os::unix::{fs::PermissionsExt as _, process::ExitStatusExt as _},
    path::{Path, PathBuf},
    process::{ExitStatus, Stdio},
    sync::Arc,
    time::Duration,
};

use aigis_proxy::{Code, Error, task};
use rustix::process::{Pid, Signal, kill_process_group};
use tokio::{
    io::AsyncWriteExt as _,
    process::{Child, Command},
    sync::watch,
    time::Instant,
};

use super::line::{Sink, Source};
use crate::process::Process as Handle;

mod guard;
mod lines;

use guard::Guard;

/// How long output may still come after a process has ended: others may hold its pipes.
const LAST_WORDS: Duration = Duration::from_secs(2);
/// Becomes the program once it is told to: before that nobody would end it if this node were killed.
const GATE: &str = r#"read -r _ && exec "$@" </dev/null"#;

/// By how much, in thousandths of the host's memory, a plugin's process and its children count as larger than they are.
const FIRST_TO_GO: &str = "500";

/// What is run.
#[derive(Debug)]
pub(super) struct Spec {
    /// The program and its arguments.
    pub(super) arguments: Vec<OsString>,
    /// Where.
    pub(super) directory: PathBuf,
    /// All its variables; of two of one name the later holds.
    pub(super) environment: Vec<(OsString, OsString)>,
}

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ended {
    /// Its exit code; none if a signal ended it.
    pub(crate) code: Option<i32>,
    /// The signal that ended it.
    pub(crate) signal: Option<i32>,
}

impl From<ExitStatus> for Ended {
    fn from(status: ExitStatus) -> Self {
        Self { code: status.code(), signal: status.signal() }
    }
}

impl fmt::Display for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.code, self.signal) {
            (Some(code), _) => write!(f, "ended with code {code}"),
            (None, Some(signal)) => write!(f, "was ended by signal {signal}"),
            (None, None) => f.write_str("ended"),
        }
    }
}

/// A process that runs. Dropping this kills its group.
#[derive(Debug)]
pub(crate) struct Process {
    pid: u32,
    ended: watch::Receiver<Option<Ended>>,
    stop: watch::Sender<Option<Duration>>,
    _keeping: task::Owned,
}

impl Process {
    /// Starts one; what it says goes to `sink`.
    ///
    /// # Errors
    ///
    /// `failed_precondition` for a program or folder that is not there; else what the operating system says.
    pub(super) fn spawn(spec: &Spec, sink: Arc<dyn Sink>) -> Result<Self, Error> {
        let program = spec.arguments.first().ok_or_else(|| Error::invalid("there is no program to run"))?;
        check(program, spec)?;
        let kept = Kept::start(spec).map_err(|error| {
            Error::new(Code::ResourceExhausted, format!("{} cannot be started: {error}", program.display()))
        })?;
        let pid = kept.pid;
        let ((ending, ended), (stop, stopping)) = (watch::channel(None), watch::channel(None));
        let keeping = task::Owned::spawn("plugin-process", async move {
            let status = kept.keep(stopping, &*sink).await;
            ending.send_replace(Some(status));
        });
        Ok(Self { pid, ended, stop, _keeping: keeping })
    }

    /// Its number, which is that of its group.
    pub(crate) fn pid(&self) -> u32 {
        self.pid
    }

    /// Resolves when it has ended, all of its group with it, and what it said was taken.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    pub(crate) async fn ended(&self) -> Ended {
        let mut ended = self.ended.clone();
        let ended = ended.wait_for(Option::is_some).await;
        ended.ok().and_then(|ended| *ended).unwrap_or(Ended { code: None, signal: None })
    }

    /// Tells the group to end, and kills what is left of it after `grace`.
    pub(crate) async fn stop(&self, grace: Duration) -> Ended {
        self.stop.send_replace(Some(grace));
        self.ended().await
    }
}

/// Says early and in words what a shell would say late.
fn check(program: &OsStr, spec: &Spec) -> Result<(), Error> {
    let directory = &spec.directory;
    let fails = |what: String| Err(Error::precondition(what));
    if !directory.is_dir() {
        return fails(format!("{} is no folder that a process could run in", directory.display()));
    }
    let is_program =
        |path: PathBuf| path.metadata().is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0);
    let named = Path::new(program);
    if named.components().count() > 1 || named.has_root() {
        let path = directory.join(named);
        return if is_program(path) { Ok(()) } else { fails(format!("{} is no program", named.display())) };
    }
    let path = spec.environment.iter().rev().find(|(name, _)| name == "PATH").map(|(_, path)| path);
    if path.is_some_and(|path| std::env::split_paths(path).any(|folder| is_program(folder.join(named)))) {
        return Ok(());
    }
    fails(format!("the program {} is not on PATH", named.display()))
}

/// What stands behind a [`Process`], in its task.
#[derive(Debug)]
struct Kept {
    // Dropped before the child, which may be waited for by then.
    group: Group,
    child: Child,
    handle: Handle,
    guard: Guard,
    pid: u32,
}

impl Kept {
    fn start(spec: &Spec) -> io::Result<Self> {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", GATE, "sh"]).args(&spec.arguments).current_dir(&spec.directory);
        command.env_clear().envs(spec.environment.iter().map(|(name, value)| (name, value)));
        command.process_group(0).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let child = command.spawn()?;
        let pid = child.id().unwrap_or_default();
        let number = i32::try_from(pid).ok().filter(|pid| *pid > 1);
        let unseen = || io::Error::other("the process cannot be watched");
        let group = Group(Some(number.and_then(Pid::from_raw).ok_or_else(unseen)?));
        let handle = number.and_then(Handle::open).ok_or_else(unseen)?;
        let guard = Guard::start(pid)?;
        // Where the host has no memory left, the kernel is to take this one and not the node, nor a container.
        if let Err(error) = std::fs::write(format!("/proc/{pid}/oom_score_adj"), FIRST_TO_GO) {
            tracing::debug!(%error, pid, "a plugin's process is as likely to be ended for lack of memory as any other");
        }
        Ok(Self { group, child, handle, guard, pid })
    }

    async fn keep(mut self, mut stopping: watch::Receiver<Option<Duration>>, sink: &dyn Sink) -> Ended {
        if let Some(mut gate) = self.child.stdin.take() {
            // Where the shell is gone already, that is told by how it ended.
            let _ = gate.write_all(b"\n").await;
        }
        let (out, err) = (self.child.stdout.take(), self.child.stderr.take());
        let reading = async {
            tokio::join!(
                lines::read(out, Source::Stdout, self.pid, sink),
                lines::read(err, Source::Stderr, self.pid, sink)
            )
        };
        tokio::pin!(reading);
        let (mut read_all, mut kill_at) = (false, None);
        loop {
            tokio::select! {
                _ = &mut reading, if !read_all => read_all = true,
                () = self.handle.ended() => break,
                Ok(()) = stopping.changed() => {
                    self.group.signal(Signal::TERM);
                    kill_at = (*stopping.borrow_and_update()).map(|grace| Instant::now() + grace);
                }
                () = tokio::time::sleep_until(kill_at.unwrap_or_else(Instant::now)), if kill_at.is_some() => {
                    self.group.signal(Signal::KILL);
                    kill_at = None;
                }
            }
        }
        // Until it is waited for its number is nobody else's, and what it left behind can be told by it.
        self.group.signal(Signal::KILL);
        self.guard.dismiss().await;
        let status = self.child.wait().await;
        self.group.0 = None;
        if !read_all {
            // A process that left the group may hold the pipes for ever.
            let _ = tokio::time::timeout(LAST_WORDS, reading).await;
        }
        status.map_or(Ended { code: None, signal: None }, Ended::from)
    }
}

/// A group, until its leader was waited for; killed when this is dropped.
#[derive(Debug)]
struct Group(Option<Pid>);

impl Group {
    fn signal(&self, signal: Signal) {
        if let Some(group) = self.0 {
            // One that is empty already is what is wanted.
            let _ = kill_process_group(group, signal);
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.signal(Signal::KILL);
    }
}

#[cfg(test)]
mod tests;
