//! A bus server that cannot be started for a while.

use std::{
    fs,
    path::PathBuf,
    time::{Duration, Instant},
};

use aigis_tests::until;
use rustix::process::Signal;
use serde_json::Value;

use super::{PATIENT, RIGHT_AGAIN, YOUNG, all_call, audit, nobody_dies, server::Server, until_whole};
use crate::{
    row::Run,
    scene::{HOSTS, Scene},
};

/// A bus server that is away until this is dropped: its program is put aside, so that nothing can start it.
struct Away {
    server: Server,
    program: PathBuf,
}

impl Away {
    fn begin(scene: &Scene) -> Self {
        let away = Self { server: Server::of(scene), program: scene.fleet.lab().bus_server_program() };
        away.rename(&away.program, &away.aside());
        away.server.signal(Signal::KILL);
        away
    }

    fn aside(&self) -> PathBuf {
        self.program.with_extension("aside")
    }

    fn rename(&self, from: &PathBuf, to: &PathBuf) {
        fs::rename(from, to).unwrap_or_else(|error| panic!("{}: {error}", self.program.display()));
    }

    /// Puts it back, and waits until it serves.
    fn end(self, scene: &mut Scene) -> Instant {
        let server = self.server;
        drop(self);
        server.until_another(scene);
        scene.bus_started();
        Instant::now()
    }
}

impl Drop for Away {
    fn drop(&mut self) {
        let _ = fs::rename(self.aside(), &self.program);
    }
}

pub(super) fn beyond_leases(scene: &mut Scene, run: &mut Run) {
    let span = run.of(Duration::from_secs(60), Duration::from_secs(25));
    let away = Away::begin(scene);
    is_away(scene, span);
    let back = away.end(scene);
    all_call(scene, RIGHT_AGAIN);
    until_whole(scene, back);
    run.took("all is live", back.elapsed());
    nobody_dies(scene, YOUNG);
}

pub(super) fn long(scene: &mut Scene, run: &mut Run) {
    let span = run.of(Duration::from_secs(600), Duration::from_secs(40));
    let main =
        |scene: &Scene| HOSTS.map(|host| scene.container(&format!("two-{host}")).inspect()["State"]["Pid"].take());
    let containers = main(scene);
    let calls = [aigis_tests::nonce()];
    // A call of beta to its own container, over its own socket: its bus goes away in the middle. A first process that
    // leaves signals alone takes the whole grace.
    let restart = scene.on("beta").running(["call", "--id", &calls[0], "one-beta.restart", "grace_s=10"]);
    until("the restart begins", Duration::from_secs(10), || (!audit(scene, &calls).is_empty()).then_some(()));

    let away = Away::begin(scene);
    let begun = Instant::now();
    let restarted = restart.end(Duration::from_secs(30));
    assert_eq!(restarted.code, 0, "a call within a host needs no bus: {restarted:?}");
    run.took("the restart without a bus", begun.elapsed());
    is_away(scene, span.saturating_sub(begun.elapsed()));
    assert_eq!(main(scene), containers, "containers go on");

    let back = away.end(scene);
    all_call(scene, RIGHT_AGAIN);
    until_whole(scene, back);
    run.took("all is live", back.elapsed());
    let lines = until("the end of the restart is on record", RIGHT_AGAIN, || {
        let lines = audit(scene, &calls);
        (lines.len() >= 2).then_some(lines)
    });
    run.took("the audit has arrived", back.elapsed());
    let phases: Vec<_> = lines.iter().filter_map(|line| line["phase"].as_str()).collect();
    assert_eq!(phases, ["begin", "end"], "{lines:?}");
    assert!(lines.iter().filter_map(|line| line["at"].as_str()).is_sorted(), "{lines:?}");
    nobody_dies(scene, YOUNG);
    logged(scene);
}

/// Asserts that what alpha's node logged while the bus was away has reached it, in order: nobody else can say so once
/// that node is dead.
fn logged(scene: &mut Scene) {
    let _killed = scene.on("alpha").kill("node.pid");
    let frames = until("the mesh tells what a dead node logged", Duration::from_secs(40), || {
        let log = scene.on("beta").aish(["logs", "alpha", "--tail", "10000", "--json"]);
        let frames: Vec<Value> = log.stdout.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
        (log.code == 0 && !frames.is_empty()).then_some(frames)
    });
    scene.on("alpha").start();
    let tries =
        |frame: &&Value| frame["line"].as_str().is_some_and(|line| line.contains("the bus server did not start"));
    assert!(frames.iter().filter(tries).count() >= 3, "{frames:?}");
    assert!(frames.iter().filter_map(|frame| frame["at"].as_str()).is_sorted(), "{frames:?}");
}

/// Lists and calls on all hosts for a while, all of which say that the bus is away.
fn is_away(scene: &Scene, span: Duration) {
    let begun = Instant::now();
    while begun.elapsed() < span {
        for (host, of) in [("alpha", "one-beta"), ("beta", "one-gamma"), ("gamma", "one-alpha")] {
            for command in [vec!["list", "--json"], vec!["call", &format!("{of}.status")]] {
                let ran = scene.on(host).aish([&command[..], &PATIENT].concat()).failed(69);
                assert!(ran.stderr.contains("bus"), "{ran:?}");
            }
        }
    }
}
