//! Disks without room.

use std::time::{Duration, Instant};

use aigis_proxy::{
    Bus,
    kv::{self, Bucket, Expect},
};
use aigis_tests::{Events, Ran, nonce, until};

use super::{REFUSED, image, reads_go_on, store};
use crate::{
    bus::{RIGHT_AGAIN, known_users, nobody_is_dead},
    disk::Disk,
    row::Run,
    scene::Scene,
};

/// The size of the disk at first: the store may fill three quarters of it, of which logs and blobs have their part.
const SMALL: &str = "96M";
/// Its size then.
const LARGE: &str = "1G";
/// The largest value that a bucket takes, a little less.
const VALUE: usize = 240 * 1024;
/// More values than that store can hold.
const VALUES: usize = 1_000;
/// A bound for what no row bounds.
const WITHIN: Duration = Duration::from_secs(10);
/// The keys of what is written to fill it: of no kind that anybody reads.
const KIND: &str = "filler";

/// A user that may write records: a node that does not run.
struct Filler {
    name: String,
    file: String,
}

impl Filler {
    fn new(scene: &Scene) -> Self {
        let name = format!("filler-{}", nonce());
        let file = scene.on("alpha").user(&name, "node");
        Self { name, file }
    }

    fn key(&self, number: usize) -> String {
        format!("{KIND}.n{number}.{}", self.name)
    }

    /// Writes until the store refuses, and tells how many it took and how long the refusal did.
    fn fill(&self, scene: &Scene) -> (usize, Duration) {
        scene.over_the_bus(&self.file, async |bus: Bus| {
            for number in 0..VALUES {
                let begun = Instant::now();
                let (key, value) = (self.key(number), vec![7; VALUE].into());
                match kv::put(&bus, Bucket::Records, &key, value, Expect::Anything, WITHIN).await {
                    Ok(_) => {}
                    Err(kv::Error::Full { .. }) => return (number, begun.elapsed()),
                    Err(error) => panic!("the store is not full but {error}"),
                }
            }
            panic!("the store took {VALUES} values of {VALUE} bytes");
        })
    }

    fn take_back(&self, scene: &Scene, count: usize) {
        scene.over_the_bus(&self.file, async |bus: Bus| {
            for number in 0..count {
                let gone = kv::delete(&bus, Bucket::Records, &self.key(number), Expect::Anything, WITHIN).await;
                gone.unwrap_or_else(|error| panic!("{error}"));
            }
        });
    }
}

pub(super) fn of_the_bus(scene: &mut Scene, run: &mut Run) {
    let alpha = |scene: &Scene, command: &str| {
        let ran = scene.on("alpha").aish([command]);
        assert_eq!(ran.code, 0, "{ran:?}");
    };
    let known = known_users(scene);
    alpha(scene, "down");
    let disk = Disk::under(&store(scene), image(scene, "store"), SMALL);
    scene.on("alpha").start();
    scene.bus_started();
    scene.settle();
    let filler = Filler::new(scene);
    let (count, refused) = filler.fill(scene);
    run.took("a write is refused", refused);
    assert!(refused < REFUSED, "{refused:?}");
    for _ in 0..run.of(20, 3) {
        let refused = write(scene).failed(1);
        assert!(refused.stderr.contains("full") && refused.took < REFUSED, "{refused:?}");
        run.took("a command is refused", refused.took);
        reads_go_on(scene);
    }

    // More room, and the limit that comes with it.
    alpha(scene, "down");
    disk.grow(LARGE);
    scene.on("alpha").start();
    scene.bus_started();
    let back = Instant::now();
    until_written(scene, back);
    run.took("written again", back.elapsed());
    filler.take_back(scene, count);
    scene.settle();

    // Others fill what the bus was promised: it says nothing then, instead of a refusal.
    disk.fill();
    let begun = Instant::now();
    until("a write is not taken", RIGHT_AGAIN, || (write(scene).code != 0).then_some(()));
    while begun.elapsed() < run.of(Duration::from_secs(60), Duration::from_secs(20)) {
        let refused = write(scene);
        assert!(matches!(refused.code, 1 | 69 | 75) && refused.stdout.is_empty(), "{refused:?}");
        reads_go_on(scene);
    }
    disk.relieve();
    let back = Instant::now();
    until_written(scene, back);
    run.took("written again after the disk was full", back.elapsed());
    scene.bus_started();
    nobody_is_dead(scene);
    let all = known_users(scene);
    assert!(known.iter().all(|user| all.contains(user)), "acknowledged {known:?}, there {all:?}");
    alpha(scene, "down");
    disk.give_back();
    scene.on("alpha").start();
    scene.bus_started();
}

/// A command that writes a record.
fn write(scene: &Scene) -> Ran {
    let name = format!("full-{}", nonce());
    let file = scene.fleet.lab().directory().join(format!("{name}.creds")).display().to_string();
    scene.on("alpha").aish(["--timeout", "5s", "users", "create", &name, "--role", "viewer", "--out", &file])
}

/// Waits until a record can be written again; the row grants 10 s.
fn until_written(scene: &Scene, since: Instant) {
    until("records are written", RIGHT_AGAIN.saturating_sub(since.elapsed()), || {
        (write(scene).code == 0).then_some(())
    });
}

pub(super) fn of_a_node(scene: &mut Scene, run: &mut Run) {
    let beta = scene.on("beta");
    let _down = beta.aish(["down"]).good();
    let disk = Disk::under(&beta.path(), image(scene, "beta"), "64M");
    beta.start();
    scene.is_whole();
    let engine = scene.fleet.lab().host("beta").unwrap_or_else(|error| panic!("{error}")).engine();
    let mut events = Events::follow_on(Some(&engine.host()));
    disk.fill();
    for _ in 0..run.of(20, 5) {
        for host in ["alpha", "beta"] {
            let _status = scene.on(host).aish(["call", "one-beta.status"]).good();
        }
        let refused = scene.on("alpha").aish(["call", "one-beta.restart", "grace_s=0"]).failed(1);
        assert!(refused.took < REFUSED, "{refused:?}");
        run.took("a restart is refused", refused.took);
    }
    let told = events.of(scene.container("one-beta"));
    assert!(told.is_empty(), "refused, and done all the same: {told:?}");
    super::nothing_is_in_doubt(scene);
    disk.relieve();
    let back = Instant::now();
    until("what changes something is done again", RIGHT_AGAIN, || {
        (scene.on("alpha").aish(["call", "one-beta.restart", "grace_s=0"]).code == 0).then_some(())
    });
    run.took("done again", back.elapsed());
    let told = events.of(scene.container("one-beta"));
    assert_eq!(told.iter().filter(|action| *action == "restart").count(), 1, "{told:?}");
    let _down = scene.on("beta").aish(["down"]).good();
    disk.give_back();
    scene.on("beta").start();
}
