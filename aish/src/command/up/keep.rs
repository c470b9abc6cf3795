//! The keeper: starts the node again when it dies, and ends with it when it ends in order.

use std::{
    fs::{self, File, OpenOptions, TryLockError},
    io,
    os::unix::fs::OpenOptionsExt,
    path::PathBuf,
    process::{Child, ExitStatus, Stdio},
    time::Duration,
};

use aigis_node::Home;
use aigis_proxy::{Code, Error, NodeName, with_causes};
use rustix::process::{Pid, Signal, kill_process};
use tokio::time::{Instant, sleep};

use super::{
    Up, announce,
    background::{ready, status},
};
use crate::{
    context::Context,
    exit::{Failure, INTERRUPTED},
    process::keeper_file,
    signals::{Hangup, Hangups, Signals},
};

/// The first wait before the node is started again; it doubles with each death.
const FIRST: Duration = Duration::from_secs(1);
/// The longest wait.
const LONGEST: Duration = Duration::from_secs(30);
/// After how long a life its end is no part of a crash loop.
const GOOD_LIFE: Duration = Duration::from_secs(60);

/// Keeps the node running until a signal comes or the node ends in order. SIGHUP is passed on to it.
///
/// # Errors
///
/// What keeps the node from its first start; another keeper of the same node.
pub(super) async fn run(
    up: &Up,
    context: &Context,
    home: &Home,
    name: &NodeName,
    bus: Option<&str>,
    (mut signals, mut hangups): (Signals, Hangups),
) -> Result<(), Failure> {
    home.create().map_err(|error| Error::precondition(with_causes(&error)))?;
    let _own = Own::take(home)?;
    if up.background {
        // Fails only where this process leads a session already, which is what is wanted.
        let _ = rustix::process::setsid();
    }
    let (mut came_up, mut pause) = (false, FIRST);
    loop {
        let begun = Instant::now();
        let spawned = up
            .command(context, home, name, bus, !came_up)
            .and_then(|mut command| command.stdout(Stdio::null()).spawn());
        let mut node = spawned.map_err(|error| Error::precondition(format!("the node cannot be started: {error}")))?;
        let pid = i32::try_from(node.id()).unwrap_or_default();
        let life = async {
            if !came_up {
                tokio::select! {
                    _ready = ready(home, Some(pid)) => came_up = true,
                    status = status(&mut node) => return status,
                }
                if !up.background
                    && let Err(error) = announce(context, home, pid, "is up").await
                {
                    tracing::warn!(code = error.code(), "nobody was told that the node is up");
                }
            }
            status(&mut node).await
        };
        let mut told = async || {
            loop {
                tokio::select! {
                    () = signals.any() => return,
                    hangup = hangups.next() => match hangup {
                        Hangup::Over => return,
                        Hangup::Again => send(pid, Signal::HUP),
                    },
                }
            }
        };
        let ended = tokio::select! {
            ended = life => Some(ended),
            () = told() => None,
        };
        let Some(ended) = ended else { return end(node, &mut signals).await };
        match ended.and_then(|status| status.code()) {
            Some(0) => return Ok(()),
            Some(code) if !came_up || code == i32::from(INTERRUPTED) => {
                return Err(Failure::Said(u8::try_from(code).unwrap_or(1)));
            }
            _ => {}
        }
        if begun.elapsed() >= GOOD_LIFE {
            pause = FIRST;
        }
        tracing::error!(status = ?ended, again_in_s = pause.as_secs(), "the node died; it is started again");
        tokio::select! {
            () = sleep(pause) => {}
            () = signals.any() => return Ok(()),
        }
        pause = (pause * 2).min(LONGEST);
    }
}

/// Ends the node in order, which takes as long as its running calls are given; a second signal does not wait for it.
async fn end(mut node: Child, signals: &mut Signals) -> Result<(), Failure> {
    send(i32::try_from(node.id()).unwrap_or_default(), Signal::TERM);
    tokio::select! {
        _ended = status(&mut node) => Ok(()),
        () = signals.any() => Err(Failure::Said(INTERRUPTED)),
    }
}

fn send(pid: i32, signal: Signal) {
    if let Some(pid) = Pid::from_raw(pid) {
        // It may have ended by itself.
        let _ = kill_process(pid, signal);
    }
}

/// The file that says who keeps the node, locked for as long as this lives.
#[derive(Debug)]
struct Own {
    path: PathBuf,
    _lock: File,
}

impl Own {
    fn take(home: &Home) -> Result<Self, Error> {
        let path = keeper_file(home);
        let unusable = |error: io::Error| Error::precondition(format!("{} cannot be used: {error}", path.display()));
        let opened = OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(&path);
        let file = opened.map_err(unusable)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let message = "the node of this mesh is kept already, and is about to be started again";
                return Err(Error::new(Code::AlreadyExists, message).hint("stop it: aish down"));
            }
            Err(TryLockError::Error(error)) => return Err(unusable(error)),
        }
        fs::write(&path, format!("{}\n", std::process::id())).map_err(unusable)?;
        Ok(Self { path, _lock: file })
    }
}

impl Drop for Own {
    fn drop(&mut self) {
        // One that is left over misleads nobody: it is not locked.
        let _ = fs::remove_file(&self.path);
    }
}

/// How a node ended, where the operating system told.
pub(super) type Ended = Option<ExitStatus>;
