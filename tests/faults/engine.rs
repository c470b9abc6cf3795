//! Engines that die, hang, fall silent, and storm.

mod relay;

use std::{
    thread,
    time::{Duration, Instant},
};

use aigis_tests::{docker, until};

use crate::{
    row::{Row, Run},
    scene::{BUSYBOX, Scene},
};
use relay::Relay;

pub(crate) const ROWS: &[Row] = &[
    Row { id: "FLT-34", what: "an engine is killed, and comes back", play: dies },
    Row { id: "FLT-35", what: "an engine hangs", play: hangs },
    Row { id: "FLT-36", what: "an engine's event stream falls silent", play: silent },
    Row { id: "FLT-37", what: "an engine storms", play: storms },
];

/// The rows grant 5 s until it is noticed; a machine that does much else gets twice that.
const NOTICED: Duration = Duration::from_secs(10);
/// The rows grant 10 s until all is right again; twice that, for the same reason.
const RIGHT_AGAIN: Duration = Duration::from_secs(20);
/// The row grants 10 s until a call to a hanging engine fails; two more for its process.
const REFUSED: Duration = Duration::from_secs(12);
/// The row grants 65 s: a full list comes each 60 s.
const LISTED: Duration = Duration::from_secs(70);
/// So many containers are made at once.
const STREAMS: usize = 4;

fn dies(scene: &mut Scene, run: &mut Run) {
    let engine = scene.fleet.lab().host("beta").unwrap_or_else(|error| panic!("{error}")).engine();
    engine.kill().unwrap_or_else(|error| panic!("{error}"));
    let begun = Instant::now();
    until("the rows of its containers are unknown", NOTICED, || rows_are(scene, "unknown").then_some(()));
    run.took("its rows are unknown", begun.elapsed());
    while begun.elapsed() < Duration::from_secs(10) {
        let call = scene.on("alpha").aish(["call", "one-beta.status"]).failed(69);
        assert!(call.stderr.contains("engine"), "{call:?}");
        run.took("a call is refused", call.took);
        nobody_else_suffers(scene);
    }
    engine.resume().unwrap_or_else(|error| panic!("{error}"));
    let back = Instant::now();
    until("all is as before", RIGHT_AGAIN, || scene.is_right(scene.on("alpha")).then_some(()));
    run.took("all is right again", back.elapsed());
    let _status = scene.on("alpha").aish(["call", "one-beta.status"]).good();
}

fn hangs(scene: &mut Scene, run: &mut Run) {
    let span = run.of(Duration::from_secs(60), Duration::from_secs(25));
    let engine = scene.fleet.lab().host("beta").unwrap_or_else(|error| panic!("{error}")).engine();
    engine.freeze().unwrap_or_else(|error| panic!("{error}"));
    let begun = Instant::now();
    while begun.elapsed() < span {
        let call = scene.on("alpha").aish(["call", "one-beta.restart", "grace_s=0"]).failed(69);
        assert!(call.took < REFUSED && call.stderr.contains("engine"), "{call:?}");
        run.took("a call is refused", call.took);
        nobody_else_suffers(scene);
    }
    engine.thaw().unwrap_or_else(|error| panic!("{error}"));
    let back = Instant::now();
    until("all is as before", RIGHT_AGAIN, || scene.is_right(scene.on("alpha")).then_some(()));
    run.took("all is right again", back.elapsed());
}

fn silent(scene: &mut Scene, run: &mut Run) {
    let engine = scene.fleet.lab().host("beta").unwrap_or_else(|error| panic!("{error}")).engine();
    let _down = scene.on("beta").aish(["down"]).good();
    let relay = Relay::before(&engine.socket());
    scene.on("beta").start();
    scene.is_whole();
    assert!(relay.silenced() > 0, "the node follows no events");
    let made = scene.fleet.container("beta", "unheard", &[], BUSYBOX, &["sleep", "100000"]);
    let listed = |name: &str| scene.on("alpha").row(name).is_some_and(|row| row["state"] == "live");
    let begun = Instant::now();
    until("a container made in silence is listed", LISTED, || listed("unheard").then_some(()));
    run.took("a new container is listed", begun.elapsed());
    drop(made);
    let begun = Instant::now();
    until("a container removed in silence is listed no more", LISTED, || (!listed("unheard")).then_some(()));
    run.took("a removed one is not", begun.elapsed());
    let _down = scene.on("beta").aish(["down"]).good();
    drop(relay);
    scene.on("beta").start();
}

fn storms(scene: &mut Scene, run: &mut Run) {
    let count = run.of(300, 60);
    let engine = scene.fleet.lab().host("beta").unwrap_or_else(|error| panic!("{error}")).engine();
    let host = engine.host();
    let begun = Instant::now();
    // Never started: what storms are the events, not the containers.
    let make_and_remove = |number: usize| {
        let id = docker(Some(&host), &["create", "--name", &format!("storm-{number}"), BUSYBOX, "sleep", "1"]);
        let _ = docker(Some(&host), &["rm", &id]);
    };
    let make = &make_and_remove;
    thread::scope(|scope| {
        let part = |part: usize| (0..count).filter(move |number| number % STREAMS == part);
        let storms: Vec<_> = (0..STREAMS).map(|stream| scope.spawn(move || part(stream).for_each(make))).collect();
        while storms.iter().any(|storm| !storm.is_finished()) {
            nobody_else_suffers(scene);
        }
    });
    run.took("the storm", begun.elapsed());
    let calm = Instant::now();
    let there = docker(Some(&host), &["ps", "--all", "--quiet"]).lines().count();
    assert_eq!(there, 2, "the storm left something");
    until("the list is the engine's", NOTICED, || scene.is_right(scene.on("alpha")).then_some(()));
    run.took("the list is right", calm.elapsed());
}

/// Whether alpha sees all of beta's containers in that state.
fn rows_are(scene: &Scene, state: &str) -> bool {
    let rows = scene.on("alpha").rows(&[]);
    ["one-beta", "two-beta"].iter().all(|name| rows.iter().any(|row| row["name"] == *name && row["state"] == state))
}

/// Asserts that beta's node and all of the other hosts are live, and nobody is called dead.
fn nobody_else_suffers(scene: &Scene) {
    for host in ["alpha", "gamma"] {
        let rows = scene.on(host).rows(&[]);
        let dead = |row: &&serde_json::Value| row["state"] == "offline" || row["state"] == "gone";
        let wrong = rows.iter().filter(dead).filter(|row| !is_of_a_storm(row)).collect::<Vec<_>>();
        assert!(wrong.is_empty(), "{host} calls dead: {wrong:?}");
        let suffers =
            |row: &&serde_json::Value| row["state"] != "live" && (row["node"] != "beta" || row["name"] == "beta");
        let suffering = rows.iter().filter(suffers).collect::<Vec<_>>();
        assert!(!rows.is_empty() && suffering.is_empty(), "{host} sees {suffering:?}");
    }
}

/// Whether a row is of a container that the storm made: that one is gone for good reason.
fn is_of_a_storm(row: &serde_json::Value) -> bool {
    row["name"].as_str().is_some_and(|name| name.starts_with("storm-"))
}
