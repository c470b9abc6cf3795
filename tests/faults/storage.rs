//! Disks that fill up, are slow, are lost, and lie: the bus's, and a node's own.

mod flip;
mod full;
mod identity;
mod slow;

use std::{path::PathBuf, time::Duration};

use crate::{
    row::Row,
    scene::{HOSTS, Scene},
};

pub(crate) const ROWS: &[Row] = &[
    Row { id: "FLT-14", what: "the bus's store is full, and then its disk", play: full::of_the_bus },
    Row { id: "FLT-15", what: "the disk of the bus is slow", play: slow::disk },
    Row { id: "FLT-16", what: "the bus's store is lost", play: identity::lost },
    Row { id: "FLT-17", what: "a bit of the bus's store flips", play: flip::of_a_record },
    Row { id: "FLT-39", what: "a node's own disk is full", play: full::of_a_node },
];

/// The rows grant a refusal 1 s; twice that, and a process's start.
const REFUSED: Duration = Duration::from_secs(3);

/// Where the bus keeps its store.
fn store(scene: &Scene) -> PathBuf {
    scene.on("alpha").path().join("bus/store")
}

/// Where the file of a small disk is made.
fn image(scene: &Scene, name: &str) -> PathBuf {
    scene.fleet.lab().directory().join(format!("{name}.img"))
}

/// Asserts that every host lists all as live and calls others.
fn reads_go_on(scene: &Scene) {
    for (host, of) in [("alpha", "one-beta"), ("beta", "one-gamma"), ("gamma", "one-alpha")] {
        let rows = scene.on(host).rows(&[]);
        assert!(scene.is_right(scene.on(host)), "{host} lists {rows:?}");
        let _status = scene.on(host).aish(["call", &format!("{of}.status")]).good();
    }
}

/// Asserts that no host sees anything but live, beside what an earlier row has ended.
fn nothing_is_in_doubt(scene: &Scene) {
    for host in HOSTS {
        let doubted = [scene.on(host).rows(&["--state", "unknown"]), scene.dead(host)].concat();
        assert!(doubted.is_empty(), "{host} doubts {doubted:?}");
    }
}
