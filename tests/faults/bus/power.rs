//! The store's disk without power: what had not reached it is gone.

use std::{
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use aigis_tests::until;
use rustix::process::Signal;

use super::{
    RIGHT_AGAIN, all_call, audit, known_users, nobody_is_dead, restart,
    server::{Frozen, Server},
    until_whole,
};
use crate::{row::Run, scene::Scene};

/// The row grants 30 s.
const BACK: Duration = Duration::from_secs(30);
/// The size of the disk, most of which stays a hole in its file.
const SIZE: &str = "4G";

/// A file with a file system, mounted over the bus's store until this is dropped.
struct Disk {
    file: PathBuf,
    store: PathBuf,
}

impl Disk {
    /// Puts what is in the store on a disk of its own.
    fn under(scene: &Scene) -> Self {
        let disk = Self {
            file: scene.fleet.lab().directory().join("store.img"),
            store: scene.on("alpha").path().join("bus/store"),
        };
        let (file, store) = (disk.file(), disk.store());
        run("truncate", &["--size", SIZE, &file]);
        run("mkfs.ext4", &["-q", "-E", "nodiscard", &file]);
        let content = disk.file.with_extension("content");
        run("mkdir", &[&shown(&content)]);
        run("mount", &["-o", "loop", &file, &shown(&content)]);
        run("cp", &["--archive", &format!("{store}/."), &shown(&content)]);
        run("umount", &[&shown(&content)]);
        disk.mount();
        disk
    }

    fn file(&self) -> String {
        shown(&self.file)
    }

    fn store(&self) -> String {
        shown(&self.store)
    }

    fn mount(&self) {
        run("mount", &["-o", "loop", &self.file(), &self.store()]);
    }

    /// Ends it at once, as a power cut does: neither what is cached nor its journal is written.
    fn cut(&self) {
        run("xfs_io", &["-x", "-c", "shutdown", &self.store()]);
    }

    fn unmount(&self) -> bool {
        Command::new("umount").arg(&self.store).output().is_ok_and(|ran| ran.status.success())
    }

    /// Puts what is on it back into the store, and ends it.
    fn give_back(&self) {
        let content = shown(&self.file.with_extension("content"));
        run("cp", &["--archive", &format!("{}/.", self.store()), &content]);
        assert!(self.unmount(), "{} is in use", self.store());
        run("rm", &["--recursive", &self.store()]);
        run("mv", &[&content, &self.store()]);
        run("rm", &[&self.file()]);
    }
}

pub(super) fn lost(scene: &mut Scene, run: &mut Run) {
    let _down = scene.on("alpha").aish(["down"]).good();
    let disk = Disk::under(scene);
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

fn shown(path: &Path) -> String {
    path.display().to_string()
}

fn run(program: &str, args: &[&str]) {
    let ran = Command::new(program).args(args).output();
    let ran = ran.unwrap_or_else(|error| panic!("{program} cannot be run: {error}; scripts/faults installs it"));
    assert!(ran.status.success(), "{program} {args:?}: {}", String::from_utf8_lossy(&ran.stderr));
}
