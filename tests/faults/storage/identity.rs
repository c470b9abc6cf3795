//! A store whose directory is emptied under a mesh that lives.

use std::{
    fs,
    time::{Duration, Instant},
};

use aigis_tests::until;
use rustix::process::Signal;
use serde_json::Value;

use super::store;
use crate::{
    bus::{
        known_users, nobody_is_dead,
        server::{Frozen, Server},
    },
    row::Run,
    scene::{HOSTS, Scene},
};

/// How long the nodes may take to look at the store that they come back to; no row bounds it.
const SEEN: Duration = Duration::from_secs(30);
/// The row grants 15 s; a machine that does much else gets twice that.
const LISTED: Duration = Duration::from_secs(30);

pub(super) fn lost(scene: &mut Scene, run: &mut Run) {
    let user = format!("sixteen-{}", aigis_tests::nonce());
    let _file = scene.on("alpha").user(&user, "viewer");
    let former = known(scene, "alpha");
    let server = Server::of(scene);
    let supervisor = Frozen::node(scene, "alpha");
    server.signal(Signal::KILL);
    server.until_dead();
    let directory = store(scene);
    for entry in fs::read_dir(&directory).unwrap_or_else(|error| panic!("{error}")).flatten() {
        fs::remove_dir_all(entry.path()).unwrap_or_else(|error| panic!("{error}"));
    }
    drop(supervisor);
    let emptied = Instant::now();
    server.until_another(scene);
    scene.bus_started();
    let found = until("the other store is named", SEEN, || {
        let list = scene.on("alpha").aish(["list", "--json"]);
        let error: Value = serde_json::from_str(&list.stderr).ok()?;
        (list.code == 70).then(|| error["data"]["found"].as_str().map(str::to_owned)).flatten()
    });
    run.took("noticed", emptied.elapsed());
    assert_ne!(found, former);
    let begun = Instant::now();
    while begun.elapsed() < run.of(Duration::from_secs(70), Duration::from_secs(15)) {
        for host in HOSTS {
            for command in [&["list"][..], &["call", "one-beta.restart", "grace_s=0"], &["nodes"], &["audit"]] {
                let refused = scene.on(host).aish(command).failed(70);
                let names = refused.stderr.contains(&former) && refused.stderr.contains(&found);
                assert!(names, "{host}: {refused:?}");
            }
        }
    }
    assert_eq!(streams(scene), ["KV_records"], "something was made in a store that is not the mesh's");
    let written = bytes(scene);
    assert_eq!(written, 0, "something was written to a store that is not the mesh's");

    let up = scene.on("alpha").aish(["up", "--new-store"]);
    assert!(up.code == 0 && up.stderr.contains(&found), "{up:?}");
    let accepted = Instant::now();
    until("all is listed again", LISTED, || HOSTS.iter().all(|host| scene.is_right(scene.on(host))).then_some(()));
    run.took("all is listed again", accepted.elapsed());
    nobody_is_dead(scene);
    for host in HOSTS {
        until(&format!("{host} knows its store"), LISTED, || (known(scene, host) == found).then_some(()));
    }
    let users = known_users(scene);
    assert!(users.contains(&user), "what the issuer knew is gone: {users:?}");
    let again = scene.on("alpha").aish(["up", "--new-store"]);
    assert!(again.code == 0 && again.stderr.contains(&found), "{again:?}");
}

/// The id of the store that a host knows.
fn known(scene: &Scene, host: &str) -> String {
    let text = fs::read_to_string(scene.on(host).path().join("store.json")).unwrap_or_default();
    let known: Value = serde_json::from_str(&text).unwrap_or_default();
    known["store"].as_str().unwrap_or_default().to_owned()
}

/// The streams that are on disk.
fn streams(scene: &Scene) -> Vec<String> {
    let accounts = fs::read_dir(store(scene).join("jetstream")).into_iter().flatten().flatten();
    let streams = accounts.flat_map(|account| fs::read_dir(account.path().join("streams")).into_iter().flatten());
    let mut names: Vec<_> = streams.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

/// How many bytes of messages are on disk.
fn bytes(scene: &Scene) -> u64 {
    let accounts = fs::read_dir(store(scene).join("jetstream")).into_iter().flatten().flatten();
    let blocks = accounts.flat_map(|account| {
        fs::read_dir(account.path().join("streams/KV_records/msgs")).into_iter().flatten().flatten()
    });
    let blocks = blocks.filter(|entry| entry.path().extension().is_some_and(|extension| extension == "blk"));
    blocks.filter_map(|entry| entry.metadata().ok()).map(|metadata| metadata.len()).sum()
}
