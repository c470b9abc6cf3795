//! The store's disk without power: what had not reached it is gone.

use std::time::{Duration, Instant};

use aigis_tests::until;
use rustix::process::Signal;

use super::{
    RIGHT_AGAIN, all_call, audit, known_users, nobody_is_dead, restart,
    server::{Frozen, Server},
    until_whole,
};
use crate::{disk::Disk, row::Run, scene::Scene};

/// The row grants 30 s.
const BACK: Duration = Duration::from_secs(30);
/// The size of the disk, most of which stays a hole in its file.
const SIZE: &str = "4G";

pub(super) fn lost(scene: &mut Scene, run: &mut Run) {
    let _down = scene.on("alpha").aish(["down"]).good();
    let file = scene.fleet.lab().directory().join("store.img");
    let disk = Disk::under(&scene.on("alpha").path().join("bus/store"), file, SIZE);
    scene.on("alpha").start();
    scene.bus_started();
    scene.settle();
    let rounds = run.of(20, 2);
    let (mut users, mut calls) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        let user = format!("eleven-{}", aigis_tests::nonce());
        let _file = scene.on("alpha").user(&user, "viewer");
        users.push(user);
        calls.push(restart(scene, "one-beta"));
        let server = Server::of(scene);
        // Its supervisor stands still, so that nothing starts on a disk that is no more.
        let supervisor = Frozen::node(scene, "alpha");
        disk.cut();
        server.signal(Signal::KILL);
        until("the dead disk is given back", Duration::from_secs(5), || disk.unmount().then_some(()));
        disk.mount();
        drop(supervisor);
        let begun = Instant::now();
        server.until_another(scene);
        scene.bus_started();
        all_call(scene, BACK);
        until_whole(scene, begun);
        run.took("all is live", begun.elapsed());
        nobody_is_dead(scene);
        let known = known_users(scene);
        assert!(users.iter().all(|user| known.contains(user)), "acknowledged {users:?}, there {known:?}");
    }
    until("the restarts are on record", RIGHT_AGAIN, || {
        let lines = audit(scene, &calls);
        let of = |phase: &str| lines.iter().filter(|line| line["phase"] == phase).count();
        (of("begin") == rounds && of("end") == rounds).then_some(())
    });
    let _down = scene.on("alpha").aish(["down"]).good();
    disk.give_back();
    scene.on("alpha").start();
    scene.bus_started();
}
