//! The bus server's process.

use std::{
    fs,
    time::{Duration, Instant},
};

use aigis_tests::until;
use rustix::process::{Pid, Signal, kill_process};

use crate::scene::Scene;

/// Where it listens.
pub(crate) const PORT: u16 = 4222;
/// How long the supervisor may take to start another: its longest wait, and the start.
const STARTED: Duration = Duration::from_secs(15);

/// The server that runs at the moment.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Server(Pid);

impl Server {
    /// The one that alpha's node supervises.
    pub(crate) fn of(scene: &Scene) -> Self {
        let pid = scene.on("alpha").pid("bus/nats-server.pid");
        Self(pid.unwrap_or_else(|| panic!("no bus server")))
    }

    /// Its process.
    pub(crate) fn pid(self) -> Pid {
        self.0
    }

    /// Sends it a signal.
    pub(crate) fn signal(self, signal: Signal) {
        assert_eq!(kill_process(self.0, signal), Ok(()), "{signal:?}");
    }

    /// Waits until it has ended, whether or not its supervisor has taken notice.
    pub(crate) fn until_dead(self) {
        let command = format!("/proc/{}/cmdline", self.0.as_raw_nonzero());
        until("the server has ended", Duration::from_secs(5), || {
            fs::read(&command).map_or(true, |command| command.is_empty()).then_some(())
        });
    }

    /// Freezes it for as long as what this gives is kept.
    pub(crate) fn freeze(self) -> Frozen {
        self.signal(Signal::STOP);
        Frozen(self.0)
    }

    /// Waits until another has been started in its place, and listens.
    pub(crate) fn until_another(self, scene: &Scene) {
        let (alpha, begun) = (scene.on("alpha"), Instant::now());
        until("another bus server serves", STARTED * 2, || {
            let log = || fs::read_to_string(alpha.path().join("bus/server.log")).unwrap_or_default();
            assert!(begun.elapsed() < STARTED, "no other bus server:\n{}\n{}", tail(&alpha.log()), tail(&log()));
            let pid = alpha.pid("bus/nats-server.pid").filter(|pid| *pid != self.0)?;
            listens(scene, pid).then_some(())
        });
    }
}

/// A process that stands still until this is dropped.
#[derive(Debug)]
pub(crate) struct Frozen(Pid);

impl Frozen {
    /// A host's node.
    pub(crate) fn node(scene: &Scene, host: &str) -> Self {
        let pid = scene.on(host).pid("node.pid").unwrap_or_else(|| panic!("no node on {host}"));
        assert_eq!(kill_process(pid, Signal::STOP), Ok(()), "{host}");
        Self(pid)
    }
}

impl Drop for Frozen {
    fn drop(&mut self) {
        let _ = kill_process(self.0, Signal::CONT);
    }
}

/// The last lines of a log.
fn tail(log: &str) -> String {
    let lines: Vec<_> = log.lines().collect();
    lines[lines.len().saturating_sub(20)..].join("\n")
}

/// Whether that server has said where it listens, which it does once it serves.
fn listens(scene: &Scene, pid: Pid) -> bool {
    let said = fs::read_dir(scene.on("alpha").path().join("bus/ports")).into_iter().flatten().flatten();
    let ending = format!("_{}.ports", pid.as_raw_nonzero());
    said.into_iter().any(|entry| entry.file_name().to_string_lossy().ends_with(&ending))
}
