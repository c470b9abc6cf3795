//! Readers that stand still while others write.

use std::time::{Duration, Instant};

use aigis_proxy::{
    Bus,
    kv::{self, Bucket, Expect},
};
use aigis_tests::{nonce, resident_bytes, until};
use futures::{StreamExt as _, stream};
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::{
    row::{Row, Run},
    scene::{BUSYBOX, Scene},
};

pub(crate) const ROWS: &[Row] = &[Row { id: "FLT-42", what: "readers stand still", play: slow }];

/// How much more memory a node may need for a reader that stands still.
const GROWTH: u64 = 32 * 1024 * 1024;
/// The row grants 5 s until the list is right; a machine that does much else gets twice that.
const RIGHT_AGAIN: Duration = Duration::from_secs(10);
/// How many changes are under way at once.
const AT_ONCE: usize = 64;
/// As many lines as it can write.
const SCRIPT: &str = "while :; do echo a line that nobody reads; done";
/// So many lines in a row are a log that goes on.
const LINES: usize = 10_000;
/// A bound for what no row bounds.
const PATIENCE: Duration = Duration::from_secs(60);

fn slow(scene: &mut Scene, run: &mut Run) {
    of_a_log(scene, run);
    of_a_watch(scene, run);
}

fn of_a_log(scene: &Scene, run: &mut Run) {
    let span = run.of(Duration::from_secs(60), Duration::from_secs(15));
    // The engine keeps them in files of bounded size.
    let options = ["--log-opt", "max-size=10m", "--log-opt", "max-file=3"];
    let chatter = scene.fleet.container("beta", "chatter", &options, BUSYBOX, &["sh", "-c", SCRIPT]);
    let _row = scene.on("alpha").live("chatter", &chatter.id);
    let node = || {
        let pid = scene.on("beta").pid("node.pid").unwrap_or_else(|| panic!("no node on beta"));
        resident_bytes(pid)
    };
    let mut reader = scene.on("alpha").running(["logs", "chatter", "--follow", "--tail", "0"]);
    reader.until("it reads", PATIENCE, |line| line.contains("a line").then_some(()));
    let before = node();
    reader.signal(Signal::STOP);
    let stopped = Instant::now();
    while stopped.elapsed() < span {
        let now = node();
        assert!(now < before + GROWTH, "beta's node grew from {before} to {now} bytes");
        // Nobody else waits for it.
        let _status = scene.on("gamma").aish(["call", "chatter.status"]).good();
    }
    reader.signal(Signal::CONT);
    let back = Instant::now();
    // The bus gives up who stands still for 15 s: its reader goes on, or ends and says so.
    let goes_on = (0..LINES).all(|_| reader.next(RIGHT_AGAIN).is_some());
    run.took("the reader goes on, or has ended", back.elapsed());
    if goes_on {
        drop(reader);
    } else {
        let ended = reader.end(RIGHT_AGAIN);
        assert!(ended.code == 69 && ended.stderr.contains("error"), "{} {}", ended.code, ended.stderr);
    }
    drop(chatter);
    until("the container is gone", PATIENCE, || scene.on("alpha").row("chatter").is_none().then_some(()));
    until("nothing is in flight", PATIENCE, || {
        let status = scene.on("alpha").aish(["call", "beta.status", "--json"]);
        (status.code == 0 && status.json()["calls_in_flight"] == 0).then_some(())
    });
}

fn of_a_watch(scene: &mut Scene, run: &mut Run) {
    let changes = run.of(100_000, 20_000);
    let span = run.of(Duration::from_secs(60), Duration::from_secs(15));
    let mut watch = scene.on("gamma").running(["list", "--watch", "--json"]);
    let told = |line: &str| serde_json::from_str::<Value>(line).unwrap_or_default();
    watch.until("synced", PATIENCE, |line| (told(line)["type"] == "synced").then_some(()));
    watch.signal(Signal::STOP);
    let stopped = Instant::now();
    change(scene, changes);
    run.took("so many changes", stopped.elapsed());
    // One change that must be seen afterwards, among all that need not.
    scene.replace("one-beta");
    let fresh = scene.container("one-beta").id.clone();
    until("the time is over", span * 2 + PATIENCE, || (stopped.elapsed() >= span).then_some(()));
    scene.is_whole();
    watch.signal(Signal::CONT);
    let back = Instant::now();
    watch.until("the watch is right", RIGHT_AGAIN, |line| {
        let told = told(line);
        let row = &told["row"];
        assert!(row["state"] != "offline", "{line}");
        (row["container"]["id"] == fresh.as_str() && row["state"] == "live").then_some(())
    });
    run.took("the watch is right", back.elapsed());
}

/// Changes what all watch so many times, as a user that no CI is of.
fn change(scene: &Scene, changes: usize) {
    let name = format!("ghost-{}", nonce());
    let file = scene.on("alpha").user(&name, "node");
    scene.over_the_bus(&file, async |bus: Bus| {
        let key = format!("live.{name}");
        let put = |counter: usize| {
            let lease =
                json!({"boot": "ghost", "counter": counter, "since_at": "2026-01-01T00:00:00Z", "goodbye": true});
            let (bus, key, body) = (bus.clone(), key.clone(), lease.to_string());
            async move {
                let put = kv::put(&bus, Bucket::Leases, &key, body.into(), Expect::Anything, PATIENCE).await;
                put.unwrap_or_else(|error| panic!("{error}"))
            }
        };
        stream::iter(0..changes).map(put).buffer_unordered(AT_ONCE).for_each(|_| std::future::ready(())).await;
    });
}
