//! A disk that takes its time, by the kernel's own limits for a group of processes.

use std::{
    fs,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use rustix::process::Pid;

use super::{image, nothing_is_in_doubt, store};
use crate::{
    bus::{RIGHT_AGAIN, all_call, server::Server},
    disk::Disk,
    row::Run,
    scene::Scene,
};

/// What the row lets through a second.
const BYTES: u64 = 1024 * 1024;
/// So many operations a second are 200 ms for each flush.
const OPERATIONS: u64 = 5;

/// A group of processes whose writes to a disk are bounded until this is dropped.
struct Throttle {
    group: PathBuf,
    device: String,
    pid: Pid,
}

impl Throttle {
    fn new(disk: &Disk, pid: Pid) -> Self {
        let group = Path::new(controller()).join(format!("aigis-{}", aigis_tests::nonce()));
        if is_unified() {
            write(&Path::new(controller()).join("cgroup.subtree_control"), "+io");
        }
        fs::create_dir(&group).unwrap_or_else(|error| panic!("{}: {error}", group.display()));
        let throttle = Self { group, device: disk.device(), pid };
        write(&throttle.group.join("cgroup.procs"), &pid.as_raw_nonzero().to_string());
        throttle
    }

    /// Lets through so much a second.
    fn limit(&self, bytes: Option<u64>, operations: Option<u64>) {
        let device = &self.device;
        if is_unified() {
            let word = |limit: Option<u64>| limit.map_or("max".to_owned(), |limit| limit.to_string());
            write(&self.group.join("io.max"), &format!("{device} wbps={} wiops={}", word(bytes), word(operations)));
            return;
        }
        for (file, limit) in [("write_bps_device", bytes), ("write_iops_device", operations)] {
            let file = self.group.join(format!("blkio.throttle.{file}"));
            write(&file, &format!("{device} {}", limit.unwrap_or_default()));
        }
    }
}

impl Drop for Throttle {
    fn drop(&mut self) {
        // The server may have ended; a group that is left over limits nobody.
        let _ = fs::write(Path::new(controller()).join("cgroup.procs"), self.pid.as_raw_nonzero().to_string());
        let _ = fs::remove_dir(&self.group);
    }
}

/// Whether the kernel has one tree of groups for all that it limits.
fn is_unified() -> bool {
    Path::new("/sys/fs/cgroup/cgroup.controllers").exists()
}

fn controller() -> &'static str {
    if is_unified() { "/sys/fs/cgroup" } else { "/sys/fs/cgroup/blkio" }
}

fn write(file: &Path, text: &str) {
    fs::write(file, text).unwrap_or_else(|error| panic!("{} takes no \"{text}\": {error}", file.display()));
}

pub(super) fn disk(scene: &mut Scene, run: &mut Run) {
    let span = run.of(Duration::from_secs(60), Duration::from_secs(20));
    let _down = scene.on("alpha").aish(["down"]).good();
    let disk = Disk::under(&store(scene), image(scene, "store"), "4G");
    scene.on("alpha").start();
    scene.bus_started();
    scene.settle();
    let throttle = Throttle::new(&disk, Server::of(scene).pid());
    for (what, bytes, operations) in
        [("written at 1 MB/s", Some(BYTES), None), ("written at 200 ms a flush", None, Some(OPERATIONS))]
    {
        throttle.limit(bytes, operations);
        let begun = Instant::now();
        while begun.elapsed() < span {
            let created = Instant::now();
            let _file = scene.on("alpha").user(&format!("slow-{}", aigis_tests::nonce()), "viewer");
            run.took(what, created.elapsed());
            let _restarted = scene.on("beta").aish(["call", "one-beta.status"]).good();
            let _restarted = scene.on("alpha").aish(["call", "one-beta.restart", "grace_s=0"]).good();
            nothing_is_in_doubt(scene);
        }
    }
    throttle.limit(None, None);
    let back = Instant::now();
    all_call(scene, RIGHT_AGAIN);
    run.took("all call again", back.elapsed());
    nothing_is_in_doubt(scene);
    drop(throttle);
    let _down = scene.on("alpha").aish(["down"]).good();
    disk.give_back();
    scene.on("alpha").start();
    scene.bus_started();
}
