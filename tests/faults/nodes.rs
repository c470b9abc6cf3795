//! Nodes and callers that die, freeze, and end in order.

use std::time::{Duration, Instant};

use aigis_lab::Process;
use aigis_tests::{Container, Events, Ran, nonce, until};
use serde_json::Value;

use crate::{
    row::{Row, Run},
    scene::Scene,
};

mod away;
mod deaths;
mod ends;

pub(crate) const ROWS: &[Row] = &[
    Row { id: "FLT-01", what: "a node dies and comes back", play: deaths::comes_back },
    Row { id: "FLT-02", what: "a node dies for good", play: deaths::for_good },
    Row { id: "FLT-03", what: "a node dies inside an effect", play: deaths::inside_an_effect },
    Row { id: "FLT-04", what: "a node ends in order under load", play: ends::in_order },
    Row { id: "FLT-05", what: "a node is frozen", play: ends::frozen },
    Row { id: "FLT-06", what: "a node is in a crash loop", play: ends::crash_loop },
    Row { id: "FLT-07", what: "a caller dies", play: away::callers },
    Row { id: "FLT-08", what: "the issuer is away", play: away::issuer },
];

/// What a call, a list or a start may take beyond its row on a machine that does much else.
const SLACK: Duration = Duration::from_secs(2);
/// Within what a node that came back is live.
const BACK: Duration = Duration::from_secs(10);
/// A bound for what no row bounds.
const PATIENCE: Duration = Duration::from_secs(60);

/// The process of a host's node.
fn node(scene: &Scene, host: &str) -> Process {
    let host = scene.fleet.lab().host(host).unwrap_or_else(|error| panic!("{error}"));
    host.node().unwrap_or_else(|| panic!("no node runs on {}", host.name()))
}

/// Kills a host's node, and tells when.
fn kill(scene: &Scene, host: &str) -> Instant {
    let node = node(scene, host);
    let killed = Instant::now();
    assert!(node.kill(), "the node of {host} does not end");
    killed
}

/// The commands of ours that run on a host, its node among them.
fn commands(scene: &Scene, host: &str) -> usize {
    let host = scene.fleet.lab().host(host).unwrap_or_else(|error| panic!("{error}"));
    let name = |process: &Process| {
        std::fs::read_to_string(format!("/proc/{}/comm", process.pid().as_raw_nonzero())).unwrap_or_default()
    };
    host.namespace().processes().iter().filter(|process| name(process).trim_end() == "aish").count()
}

/// Lets a host join again under its name, which is free.
fn join(scene: &Scene, host: &str) {
    let (alpha, node) = (scene.on("alpha"), scene.on(host));
    std::fs::remove_dir_all(node.path()).unwrap_or_else(|error| panic!("{error}"));
    let token = alpha.token("node");
    let joined = node.with_input(["join", "-", "--name", host], Some(token.as_bytes()));
    assert_eq!(joined.code, 0, "{joined:?}\n{}", node.log());
}

/// Lets an admin join on a host where nobody has: a node's own credential only reads.
fn admit_admin(scene: &Scene, host: &str) {
    let node = scene.on(host);
    if !node.path().join("creds/default.creds").exists() {
        let (token, name) = (scene.on("alpha").token("admin"), format!("adam-{}", nonce()));
        let joined = node.with_input(["join", "-", "--name", &name], Some(token.as_bytes()));
        assert_eq!(joined.code, 0, "{joined:?}");
    }
}

/// Removes a host's node, which is offline.
fn remove(scene: &Scene, host: &str) {
    let removed = scene.on("alpha").aish(["nodes", "remove", host]);
    assert_eq!(removed.code, 0, "{removed:?}");
}

/// Waits on two hosts at once until beta is `unknown` and then `offline` there, neither too soon nor too late.
fn fades(scene: &Scene, run: &mut Run, since: Instant) {
    let watch = |seen_by| {
        let unknown = scene.until_all(seen_by, "beta", "unknown", since, Duration::from_secs(10) + SLACK);
        let offline = scene.until_all(seen_by, "beta", "offline", since, Duration::from_secs(16) + SLACK);
        (unknown, offline)
    };
    let seen = std::thread::scope(|scope| {
        let threads = ["alpha", "gamma"].map(|seen_by| scope.spawn(move || watch(seen_by)));
        threads.map(|thread| thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
    });
    for (unknown, offline) in seen {
        run.took("unknown", unknown);
        run.took("offline", offline);
        assert!(unknown >= Duration::from_secs(5) && offline >= Duration::from_secs(10), "{unknown:?} {offline:?}");
    }
}

/// The error that a command told with `--json`.
fn error(ran: &Ran) -> Value {
    serde_json::from_str(&ran.stderr).unwrap_or_else(|error| panic!("no error in JSON ({error}): {ran:?}"))
}

/// When a node's lease was last seen renewed from a host, as that says; `None` for one that has ended.
fn renewed(scene: &Scene, seen_by: &str, node: &str) -> Option<String> {
    let rows: Vec<Value> = serde_json::from_str(&scene.on(seen_by).aish(["nodes", "--json"]).stdout).ok()?;
    rows.into_iter().find(|row| row["name"] == node)?["last_renewed_at"].as_str().map(str::to_owned)
}

/// Waits until beta has renewed its lease as gamma sees it, and asserts that it knows of this container by then.
fn renews_reconciled(scene: &Scene, before: &Option<String>, fresh: &str) {
    let known = |row: &Value| row["container"]["id"] == fresh;
    until("beta renews its lease", PATIENCE, || {
        let now = renewed(scene, "gamma", "beta");
        (now.is_some() && now != *before).then_some(())
    });
    let rows = until("gamma lists", PATIENCE, || Some(scene.on("gamma").rows(&[])).filter(|rows| !rows.is_empty()));
    assert!(rows.iter().any(known), "beta renewed its lease before it reconciled: {rows:?}");
}

/// Waits until a host's list is right.
fn until_right(scene: &Scene, seen_by: &str, since: Instant) -> Duration {
    let left = (BACK + SLACK).saturating_sub(since.elapsed());
    until(&format!("{seen_by} lists all as live"), left, || scene.is_right(scene.on(seen_by)).then_some(()));
    since.elapsed()
}

/// The address of beta's engine.
fn engine(scene: &Scene) -> String {
    scene.fleet.lab().host("beta").unwrap_or_else(|error| panic!("{error}")).engine().host()
}

/// How often an engine saw a container end.
fn deaths(events: &mut Events, container: &Container) -> usize {
    events.of(container).iter().filter(|action| *action == "die").count()
}

/// The calls and streams under way at beta, as alpha is told.
fn in_flight(scene: &Scene) -> Option<u64> {
    let status = scene.on("alpha").aish(["call", "beta.status", "--json"]);
    (status.code == 0).then(|| status.json()["calls_in_flight"].as_u64()).flatten()
}

/// Waits until an instant that long after `since`.
fn until_past(since: Instant, span: Duration) {
    until("the time is over", span + SLACK, || (since.elapsed() >= span).then_some(()));
}
