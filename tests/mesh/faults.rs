//! Things that break: the bus server, the node, the engine; what was acknowledged stays, and nobody is called dead.

use std::{
    collections::BTreeMap,
    fs,
    net::TcpListener,
    os::unix::fs::PermissionsExt,
    path::PathBuf,
    time::{Duration, Instant},
};

use aigis_tests::{Container, Mesh, PrivateEngine, Ran, until};
use serde_json::Value;

use crate::client::Client;

const BUSYBOX: &str = "aigis-test/busybox";
/// Longer than a lease, and than an observer may be in doubt.
const WATCHED: Duration = Duration::from_secs(20);
/// Three times what a row grants, for a machine that does much else.
const PATIENCE: Duration = Duration::from_secs(30);

/// A bus server that cannot be started while the gate is shut: as if its program were away.
pub(crate) struct Gate(tempfile::TempDir);

impl Gate {
    pub(crate) fn open() -> Self {
        let gate = Self(tempfile::tempdir().unwrap());
        let script = format!("#!/bin/sh\n[ -e '{}' ] && exit 1\nexec nats-server \"$@\"\n", gate.bar().display());
        fs::write(gate.program(), script).unwrap();
        fs::set_permissions(gate.program(), fs::Permissions::from_mode(0o755)).unwrap();
        gate
    }

    pub(crate) fn program(&self) -> PathBuf {
        self.0.path().join("nats-server")
    }

    pub(crate) fn bar(&self) -> PathBuf {
        self.0.path().join("shut")
    }

    pub(crate) fn shut(&self) {
        fs::write(self.bar(), "").unwrap();
    }

    pub(crate) fn reopen(&self) {
        fs::remove_file(self.bar()).unwrap();
    }
}

fn rows(list: &Ran) -> Vec<Value> {
    list.json().as_array().unwrap().clone()
}

/// Lists by new processes for a while; a list that is given has nobody `offline` or `gone`.
fn nobody_dies(mesh: &Mesh, engine: &str, span: Duration) {
    let deadline = Instant::now() + span;
    while Instant::now() < deadline {
        let list = mesh.aish(["list", "--json", "--state", "offline", "--state", "gone"]);
        match list.code {
            0 => assert_eq!(list.stdout, "[]\n", "on the engine {engine}\n{}", mesh.log()),
            _ => drop(list.failed(69)),
        }
    }
}

/// Lists and calls by new processes for a while, all of which say that the bus is away.
fn is_away(mesh: &Mesh, span: Duration) {
    let deadline = Instant::now() + span;
    while Instant::now() < deadline {
        for command in [["list", "--json"], ["web", "status"]] {
            let ran = mesh.aish(command).failed(69);
            assert!(ran.stderr.contains("bus"), "{ran:?}");
        }
    }
}

/// The records of CIs, nodes and users; beside them, each start of the bus server has one, and each end of an audit.
fn records(client: &Client) -> BTreeMap<String, (u64, String)> {
    let moves = |key: &str| key.starts_with("bus.") || key.starts_with("audit.");
    client.records().into_iter().filter(|(key, _)| !moves(key)).collect()
}

/// Awaits that all CIs are listed, once each, and live.
fn all_live(mesh: &Mesh, names: &[&str]) {
    until("all are live", PATIENCE, || {
        let list = mesh.aish(["list", "--json"]);
        let rows = if list.code == 0 { rows(&list) } else { Vec::new() };
        let mut listed: Vec<&str> = rows.iter().filter_map(|row| row["name"].as_str()).collect();
        listed.sort_unstable();
        (listed == names && rows.iter().all(|row| row["state"] == "live")).then_some(())
    });
}

fn two(engine: &PrivateEngine) -> [Container; 2] {
    engine.load(BUSYBOX);
    ["web", "db"].map(|name| Container::run_on(Some(&engine.host()), name, &[], BUSYBOX, &["sleep", "1000"]))
}

#[test]
fn ci_74_a_bus_that_is_away_calls_nobody_dead() {
    let (engine, gate) = (PrivateEngine::start(), Gate::open());
    let _containers = two(&engine);
    let mesh =
        Mesh::up_in(vec![("DOCKER_HOST", engine.host()), ("AIGIS_NATS_SERVER", gate.program().display().to_string())]);
    all_live(&mesh, &["alpha", "db", "web"]);
    let file = mesh.user("vera", "viewer");
    let before = records(&Client::log_in(&mesh, "vera", &file));
    assert!(before.contains_key("ci.web.alpha") && before.contains_key("ci.db.alpha"), "{before:?}");

    gate.shut();
    let killed = mesh.kill("bus/nats-server.pid");
    is_away(&mesh, Duration::from_secs(10));
    // A stranger who has the port is not taken for the bus server, by anybody.
    let address = mesh.bus().trim_start_matches("nats://").to_owned();
    let stranger = TcpListener::bind(&address).unwrap();
    gate.reopen();
    is_away(&mesh, Duration::from_secs(10));
    let told = format!("the port {} may be taken", stranger.local_addr().unwrap().port());
    until("the log tells of the port", PATIENCE, || mesh.log().contains(&told).then_some(()));
    drop(stranger);

    nobody_dies(&mesh, &engine.host(), WATCHED);
    all_live(&mesh, &["alpha", "db", "web"]);
    assert_ne!(mesh.pid("bus/nats-server.pid"), Some(killed));
    assert_eq!(records(&Client::log_in(&mesh, "vera", &file)), before);
    let _status = mesh.aish(["web", "status"]).good();
    let status = mesh.aish(["call", "alpha.status", "--json"]).good().json();
    assert!(status["bus"]["restarts"].as_u64() >= Some(1), "{status}");
}

#[test]
fn flt_09_a_killed_bus_server_comes_back_with_all_it_acknowledged() {
    let engine = PrivateEngine::start();
    let [web, _db] = two(&engine);
    let mesh = Mesh::up_over(Some(&engine.host()));
    all_live(&mesh, &["alpha", "db", "web"]);
    let file = mesh.user("vera", "viewer");
    let before = records(&Client::log_in(&mesh, "vera", &file));
    let rows_before = rows(&mesh.aish(["list", "--json"]).good());

    // The last one is written right before the kill: what was reported as done must be there after it.
    for _ in 0..5 {
        let _restarted = mesh.aish(["call", "web.restart", "grace_s=0"]).good();
        let killed = mesh.kill("bus/nats-server.pid");
        until("a call is answered again", PATIENCE, || {
            let status = mesh.aish(["call", "web.status", "--json", "--timeout", "5s"]);
            (status.code == 0).then(|| assert_eq!(status.json()["container_id"], web.id.as_str()))
        });
        assert_ne!(mesh.pid("bus/nats-server.pid"), Some(killed));
    }
    nobody_dies(&mesh, &engine.host(), WATCHED);
    all_live(&mesh, &["alpha", "db", "web"]);
    let after = records(&Client::log_in(&mesh, "vera", &file));
    for (key, (revision, _)) in &before {
        assert!(after.get(key).is_some_and(|(later, _)| later >= revision), "{key}: {before:?} {after:?}");
    }
    assert_eq!(after["ci.db.alpha"], before["ci.db.alpha"]);
    let rows_after = rows(&mesh.aish(["list", "--json"]).good());
    let db = |rows: &[Value]| rows.iter().find(|row| row["name"] == "db").cloned();
    assert_eq!(db(&rows_after), db(&rows_before));
    let audit = until("the restarts are on record", PATIENCE, || {
        let lines = mesh.aish(["audit", "--json", "--ci", "web"]).good().json();
        lines.as_array().filter(|lines| lines.len() >= 10).cloned()
    });
    assert_eq!(audit.iter().filter(|line| line["phase"] == "begin").count(), 5, "{audit:?}");
    assert_eq!(audit.iter().filter(|line| line["phase"] == "end").count(), 5, "{audit:?}");
}

#[test]
fn flt_01_a_node_that_was_killed_adopts_the_bus_server_it_left() {
    let engine = PrivateEngine::start();
    let [web, db] = two(&engine);
    let mesh = Mesh::up_over(Some(&engine.host()));
    all_live(&mesh, &["alpha", "db", "web"]);
    let (bus, address) = (mesh.pid("bus/nats-server.pid"), mesh.bus());

    for _ in 0..2 {
        let killed = mesh.kill("node.pid");
        let call = until("the call is refused", PATIENCE, || {
            let call = mesh.aish(["web", "status"]);
            (call.code == 69).then_some(call)
        });
        assert!(call.stdout.is_empty() && !call.stderr.is_empty(), "{call:?}");
        drop(Container::run_on(Some(&engine.host()), "gap", &[], BUSYBOX, &["sleep", "1000"]));
        mesh.start();
        assert_ne!(mesh.pid("node.pid"), Some(killed));
        assert_eq!((mesh.pid("bus/nats-server.pid"), mesh.bus()), (bus, address.clone()), "the same server serves on");
        all_live(&mesh, &["alpha", "db", "web"]);
        for container in [&web, &db] {
            assert_eq!(mesh.row(&container.name).unwrap()["container"]["id"], container.id.as_str());
            assert_eq!(container.inspect()["State"]["Running"], true);
        }
    }

    // An adopted server is supervised as one's own.
    let _killed = mesh.kill("bus/nats-server.pid");
    until("a call is answered again", PATIENCE, || (mesh.aish(["web", "status"]).code == 0).then_some(()));
    assert_ne!(mesh.pid("bus/nats-server.pid"), bus);
    let adopted = mesh.pid("bus/nats-server.pid");
    let _down = mesh.aish(["down"]).good();
    let gone = adopted.map(rustix::process::test_kill_process);
    assert!(gone.is_some_and(|gone| gone.is_err()), "it ends with its node");
}

#[test]
fn ci_75_flt_34_an_engine_that_is_away_is_no_dead_container() {
    let mut engine = PrivateEngine::start();
    let [web, db] = two(&engine);
    let mesh = Mesh::up_over(Some(&engine.host()));
    all_live(&mesh, &["alpha", "db", "web"]);

    engine.kill();
    let states = ["alpha", "db", "web"].map(|name| (name, if name == "alpha" { "live" } else { "unknown" }));
    until("the rows are unknown", PATIENCE, || {
        let rows = mesh.rows(&[]);
        let is = |(name, state): &(&str, &str)| rows.iter().any(|row| row["name"] == *name && row["state"] == *state);
        states.iter().all(is).then_some(())
    });
    let status = mesh.aish(["web", "status"]).failed(69);
    assert!(status.stderr.contains("engine"), "{status:?}");
    nobody_dies(&mesh, &engine.host(), Duration::from_secs(3));

    engine.resume();
    all_live(&mesh, &["alpha", "db", "web"]);
    for container in [&web, &db] {
        assert_eq!(mesh.row(&container.name).unwrap()["container"]["id"], container.id.as_str());
    }
    let _status = mesh.aish(["web", "status"]).good();
}
