//! All three stores without power at once: what had reached none of the disks is gone.

use std::time::{Duration, Instant};

use aigis_tests::until;
use rustix::process::Signal;

use super::{Server, WRITERS, Writers, until_back, until_spread};
use crate::{
    bus::server::Frozen,
    disk::Disk,
    row::Run,
    scene::{HOSTS, Scene},
};

/// The size of each disk, most of which stays a hole in its file.
const SIZE: &str = "4G";
/// How long the writers write before the power goes.
const WRITING: Duration = Duration::from_secs(2);

pub(super) fn lost(scene: &mut Scene, run: &mut Run) {
    let mut disks = Vec::new();
    for host in HOSTS {
        let file = scene.fleet.lab().directory().join(format!("store-{host}.img"));
        let place = scene.on(host).path().join("bus/store");
        while_down(scene, host, || disks.push(Disk::under(&place, file, SIZE)));
    }
    for _ in 0..run.of(20, 2) {
        let writers = Writers::start(scene, WRITERS);
        let since = Instant::now();
        until("they have written for a while", 10 * WRITING, || {
            (since.elapsed() >= WRITING && writers.wrote_since(since)).then_some(())
        });
        let servers = HOSTS.map(|host| Server::on(scene, host));
        // Their supervisors stand still, so that nothing starts on a disk that is no more.
        let supervisors = HOSTS.map(|host| Frozen::node(scene, host));
        disks.iter().for_each(Disk::cut);
        servers.iter().for_each(|server| server.signal(Signal::KILL));
        for disk in &disks {
            until("the dead disk is given back", Duration::from_secs(5), || disk.unmount().then_some(()));
            disk.mount();
        }
        drop(supervisors);
        until_back(scene, run, &servers, writers);
        until_spread(scene);
    }
    for (host, disk) in HOSTS.into_iter().zip(disks) {
        while_down(scene, host, || disk.give_back());
    }
}

/// Does something while a host's node and its server are down, and waits until its copies are whole again.
fn while_down(scene: &mut Scene, host: &str, work: impl FnOnce()) {
    until_spread(scene);
    let _down = scene.on(host).aish(["down"]).good();
    work();
    scene.on(host).start();
    scene.bus_started();
    until_spread(scene);
    scene.is_whole();
}
