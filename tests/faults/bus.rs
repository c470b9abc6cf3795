//! The bus server: killed, frozen, without power, away for a minute and for long.

mod outage;
mod power;
pub(crate) mod server;

use std::{
    net::TcpListener,
    time::{Duration, Instant},
};

use aigis_tests::{inside, until};
use rustix::process::Signal;
use serde_json::Value;

use crate::{
    row::{Row, Run},
    scene::{HOSTS, Scene},
};
use server::{PORT, Server};

pub(crate) const ROWS: &[Row] = &[
    Row { id: "FLT-09", what: "the bus server is killed, and its port taken", play: killed },
    Row { id: "FLT-10", what: "the bus server freezes", play: frozen },
    Row { id: "FLT-11", what: "the bus server's store loses power", play: power::lost },
    Row { id: "FLT-12", what: "the bus server is away for longer than a lease", play: outage::beyond_leases },
    Row { id: "FLT-13", what: "the bus server is away for long", play: outage::long },
];

/// The row grants clients 5 s; a machine that does much else gets twice that.
const CLIENTS_BACK: Duration = Duration::from_secs(10);
/// The rows grant a list that is right again 10 s; twice that, for the same reason.
pub(crate) const RIGHT_AGAIN: Duration = Duration::from_secs(20);
/// How long after a start of the bus nobody may be called offline.
const YOUNG: Duration = Duration::from_secs(30);
/// What ends a call that nobody answers.
pub(crate) const PATIENT: [&str; 2] = ["--timeout", "5s"];

fn killed(scene: &mut Scene, run: &mut Run) {
    let (rounds, taken) = run.of((20, 5), (3, 3));
    let started = started(scene, "one-gamma");
    let (mut users, mut calls) = (Vec::new(), Vec::new());
    for round in 0..rounds {
        // Reported as done right before the server is killed: it must be there afterwards.
        let user = format!("nine-{}", aigis_tests::nonce());
        let _file = scene.on("alpha").user(&user, "viewer");
        users.push(user);
        calls.push(restart(scene, "one-beta"));
        let server = Server::of(scene);
        server.signal(Signal::KILL);
        if round < taken {
            hold_the_port(scene);
        }
        let free = Instant::now();
        server.until_another(scene);
        scene.bus_started();
        run.took("serves again", free.elapsed());
        let listening = Instant::now();
        all_call(scene, CLIENTS_BACK);
        run.took("clients are back", listening.elapsed());
        nobody_is_dead(scene);
    }
    nobody_dies(scene, YOUNG);
    assert_eq!(self::started(scene, "one-gamma"), started, "a call that was refused was made later");
    let known = known_users(scene);
    assert!(users.iter().all(|user| known.contains(user)), "acknowledged {users:?}, there {known:?}");
    let lines = until("the restarts are on record", RIGHT_AGAIN, || {
        let lines = audit(scene, &calls);
        (lines.len() >= 2 * rounds).then_some(lines)
    });
    for phase in ["begin", "end"] {
        assert_eq!(lines.iter().filter(|line| line["phase"] == phase).count(), rounds, "{phase}: {lines:?}");
    }
}

/// Takes the bus server's port before it starts again, keeps it for 3 s, and asserts what is said meanwhile.
fn hold_the_port(scene: &Scene) {
    let lab = scene.fleet.lab();
    let address = (lab.bus_address(), PORT);
    // The address is of another namespace than the node, which cannot try whether somebody else has the port: where it
    // can, it says so (`ci_74_a_bus_that_is_away_calls_nobody_dead`).
    let words = format!("the bus server ended before it listened at {}:{PORT}", lab.bus_address());
    let said = || scene.on("alpha").log().matches(&words).count();
    let before = said();
    // The former server has the port until its process is gone.
    let bind = || inside(&lab.bus_namespace(), || TcpListener::bind(address).ok());
    let stranger = until("the port is free", Duration::from_secs(1), bind);
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(3) {
        let call = ["call", "one-gamma.restart", "grace_s=0"];
        let refused = scene.on("beta").aish([&call[..], &PATIENT].concat()).failed(69);
        assert!(refused.stderr.contains("bus"), "{refused:?}");
    }
    until("the taken port is named", Duration::from_secs(5), || (said() > before).then_some(()));
    drop(stranger);
}

fn frozen(scene: &mut Scene, run: &mut Run) {
    let server = Server::of(scene);
    let before = HOSTS.map(|host| (host, given_up(scene, host)));
    let begun = Instant::now();
    let frozen = server.freeze();
    for (host, before) in before {
        // The row grants 15 s; two more for a look at each. A node has two connections: one is for its lease alone.
        until(
            &format!("{host} gives its connections up"),
            Duration::from_secs(17).saturating_sub(begun.elapsed()),
            || (given_up(scene, host) >= before + 2).then_some(()),
        );
        run.took("connections are given up", begun.elapsed());
    }
    while begun.elapsed() < Duration::from_secs(20) {
        for host in ["beta", "gamma"] {
            let call = scene.on(host).aish([&["call", "one-alpha.status"][..], &PATIENT].concat());
            assert!(matches!(call.code, 69 | 75) && call.stdout.is_empty(), "{call:?}");
        }
    }
    drop(frozen);
    let thawed = Instant::now();
    scene.bus_started();
    all_call(scene, RIGHT_AGAIN);
    until_whole(scene, thawed);
    run.took("all is live", thawed.elapsed());
    nobody_dies(scene, YOUNG);
}

/// Waits until a new process on each host can call a CI of another.
pub(crate) fn all_call(scene: &Scene, within: Duration) {
    let begun = Instant::now();
    for (host, of) in [("alpha", "one-beta"), ("beta", "one-gamma"), ("gamma", "one-alpha")] {
        until(&format!("{host} calls {of}"), within.saturating_sub(begun.elapsed()), || {
            let call = scene.on(host).aish([&["call", &format!("{of}.status")][..], &PATIENT].concat());
            (call.code == 0).then_some(())
        });
    }
}

/// Waits until all hosts list all as live.
pub(crate) fn until_whole(scene: &Scene, since: Instant) {
    for host in HOSTS {
        until(&format!("{host} lists all as live"), RIGHT_AGAIN.saturating_sub(since.elapsed()), || {
            scene.is_right(scene.on(host)).then_some(())
        });
    }
}

pub(crate) fn nobody_is_dead(scene: &Scene) {
    for host in HOSTS {
        let dead = scene.dead(host);
        assert!(dead.is_empty(), "{host} calls dead: {dead:?}");
    }
}

/// Asserts for a while that no host calls anybody dead.
fn nobody_dies(scene: &Scene, span: Duration) {
    let begun = Instant::now();
    while begun.elapsed() < span {
        nobody_is_dead(scene);
    }
}

/// When a container was started last.
fn started(scene: &Scene, name: &str) -> Value {
    scene.container(name).inspect()["State"]["StartedAt"].take()
}

/// Restarts a container, and gives the call's id.
fn restart(scene: &Scene, name: &str) -> String {
    let id = aigis_tests::nonce();
    let skill = format!("{name}.restart");
    let _restarted = scene.on("alpha").aish(["call", "--id", &id, &skill, "grace_s=0"]).good();
    id
}

/// The audit lines of these calls, the oldest first.
fn audit(scene: &Scene, calls: &[String]) -> Vec<Value> {
    let ran = scene.on("alpha").aish(["audit", "--json", "--limit", "1000"]);
    let lines: Vec<Value> = serde_json::from_str(&ran.stdout).unwrap_or_default();
    let is_of = |line: &Value| line["call"].as_str().is_some_and(|id| calls.iter().any(|call| call == id));
    lines.into_iter().filter(is_of).collect()
}

/// The names of the users on record.
pub(crate) fn known_users(scene: &Scene) -> Vec<String> {
    let users = scene.on("alpha").aish(["users", "list", "--json"]).good().json();
    let names = users.as_array().into_iter().flatten().filter_map(|user| user["name"].as_str());
    names.map(str::to_owned).collect()
}

/// How many connections to the bus a host's node has lost so far, as its log says.
fn given_up(scene: &Scene, host: &str) -> usize {
    scene.on(host).log().matches("event: disconnected").count()
}
