//! The three servers' processes, and which of them leads.

use std::{
    fs,
    sync::Arc,
    time::{Duration, Instant},
};

use aigis_proxy::{
    Bus,
    bus::Options,
    identity::{CaCertificate, Credential},
    kv,
};
use aigis_tests::{inside, until};
use rustix::process::{Pid, Signal, kill_process};

use crate::scene::Scene;

/// How long the supervisor may take to start another: its longest wait, and the start.
const STARTED: Duration = Duration::from_secs(30);

/// A host's server that runs at the moment.
#[derive(Debug, Clone)]
pub(super) struct Server {
    host: String,
    pid: Pid,
}

impl Server {
    pub(super) fn on(scene: &Scene, host: &str) -> Self {
        let pid = scene.on(host).pid("bus/nats-server.pid").unwrap_or_else(|| panic!("no bus server on {host}"));
        Self { host: host.to_owned(), pid }
    }

    /// Sends it a signal.
    pub(super) fn signal(&self, signal: Signal) {
        assert_eq!(kill_process(self.pid, signal), Ok(()), "{signal:?} to the server of {}", self.host);
    }

    /// Freezes it for as long as what this gives is kept.
    pub(super) fn freeze(&self) -> Frozen {
        self.signal(Signal::STOP);
        Frozen(self.pid)
    }

    /// Kills it, and keeps any other from starting until what this gives is dropped.
    pub(super) fn away(&self, scene: &Scene) -> Away {
        let away = Away { program: scene.fleet.server_program(&self.host) };
        away.rename(false);
        self.signal(Signal::KILL);
        away
    }

    /// Waits until another has been started in its place, and listens.
    pub(super) fn until_another(&self, scene: &Scene) {
        let (node, begun) = (scene.on(&self.host), Instant::now());
        until("another bus server serves", STARTED * 2, || {
            let log = || fs::read_to_string(node.path().join("bus/server.log")).unwrap_or_default();
            assert!(begun.elapsed() < STARTED, "no other bus server on {}:\n{}", self.host, tail(&log()));
            let pid = node.pid("bus/nats-server.pid").filter(|pid| *pid != self.pid)?;
            let said = fs::read_dir(node.path().join("bus/ports")).into_iter().flatten().flatten();
            let ending = format!("_{}.ports", pid.as_raw_nonzero());
            said.into_iter().any(|entry| entry.file_name().to_string_lossy().ends_with(&ending)).then_some(())
        });
    }
}

/// A process that stands still until this is dropped.
#[derive(Debug)]
pub(super) struct Frozen(Pid);

impl Drop for Frozen {
    fn drop(&mut self) {
        let _ = kill_process(self.0, Signal::CONT);
    }
}

/// A server that cannot be started: its program is put aside until this is dropped.
#[derive(Debug)]
pub(super) struct Away {
    program: std::path::PathBuf,
}

impl Away {
    fn rename(&self, back: bool) {
        let aside = self.program.with_extension("aside");
        let (from, to) = if back { (&aside, &self.program) } else { (&self.program, &aside) };
        let renamed = fs::rename(from, to);
        assert!(renamed.is_ok() || std::thread::panicking(), "{}: {renamed:?}", self.program.display());
    }
}

impl Drop for Away {
    fn drop(&mut self) {
        self.rename(true);
    }
}

/// The last lines of a log.
fn tail(log: &str) -> String {
    let lines: Vec<_> = log.lines().collect();
    lines[lines.len().saturating_sub(20)..].join("\n")
}

/// The host of the server that leads a stream.
pub(super) fn leader(scene: &Scene, stream: &str) -> String {
    until(&format!("{stream} has a leader"), Duration::from_secs(30), || {
        on_bus(scene, "alpha", async |bus| {
            let standing = kv::standing(&bus, Duration::from_secs(5)).await.ok()?;
            let found = standing.into_iter().find(|found| found.stream == stream)?;
            found.leader?.strip_prefix("main-").map(str::to_owned)
        })
    })
}

/// What it takes to log in from a host, as its first admin or as its node.
pub(super) fn login(scene: &Scene, host: &str) -> Option<Options> {
    let mesh = scene.on(host);
    let creds = mesh.path().join("creds");
    let file =
        [creds.join("default.creds"), creds.join(format!("{host}.creds"))].into_iter().find(|file| file.exists());
    let credential = Arc::new(Credential::read(&file?, None).ok()?);
    let ca = CaCertificate::read(&mesh.path().join("ca.pem")).ok()?;
    Some(Options { url: mesh.bus(), ca: Some(ca), credential, label: "faults".to_owned() })
}

/// Does something over a connection from a host.
pub(super) fn on_bus<T: Send>(scene: &Scene, host: &str, work: impl AsyncFnOnce(Bus) -> Option<T> + Send) -> Option<T> {
    let options = login(scene, host)?;
    let lab = scene.fleet.lab().host(host).unwrap_or_else(|error| panic!("{error}"));
    inside(lab.namespace(), || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.unwrap_or_else(|error| panic!("{error}"));
        runtime.block_on(async { work(Bus::connect(options).await.ok()?).await })
    })
}
