//! Links that carry, but badly or little.

use std::{
    fs, thread,
    time::{Duration, Instant},
};

use aigis_lab::{Link, Share};
use aigis_tests::{Container, Events, nonce};
use rustix::process::Signal;

use super::{joined, watch::Watch};
use crate::{
    row::Run,
    scene::{BUSYBOX, HOSTS, Scene},
};

/// A program that answers with the digest of what it gets.
const DIGEST: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/mesh/wrap/lines_of_json.py");

pub(super) fn bad(scene: &mut Scene, run: &mut Run) {
    let lab = scene.fleet.lab();
    let engine = lab.engine("beta").unwrap_or_else(|error| panic!("{error}"));
    let mut events = Events::follow_on(Some(&engine.host()));
    let mut watches = HOSTS.map(|host| Watch::on(scene.on(host)));
    let five = Share::of_hundred(5.0);
    let (delay, jitter) = (Duration::from_millis(300), Duration::from_millis(100));
    let link = Link { delay, jitter, loss: five, duplicate: five, reorder: five, rate: None };
    lab.slow("beta", &link).unwrap_or_else(|error| panic!("{error}"));
    let until = Instant::now() + Duration::from_secs(run.of(300, 30));
    let scene = &*scene;
    let (to, from) = thread::scope(|scope| {
        let to = scope.spawn(|| calls(scene, "alpha", "one-beta", until));
        let from = scope.spawn(|| commands(scene, "beta", "one-alpha", until));
        for watch in &mut watches {
            watch.follow(until);
        }
        (joined(to), joined(from))
    });
    for took in to {
        run.took("a call over it", took);
    }
    for took in from {
        run.took("a command beyond it", took);
    }
    let id = nonce();
    for _ in 0..2 {
        let _ = scene.on("alpha").aish(["call", "--json", "--id", &id, "one-beta.restart", "grace_s=0"]).good();
    }
    lab.clear("beta").unwrap_or_else(|error| panic!("{error}"));
    let restarts = events.of(scene.container("one-beta")).into_iter().filter(|action| action == "restart").count();
    assert_eq!(restarts, 1);
    for watch in &watches {
        watch.called_nobody_dead();
    }
}

/// Asks for a container's status until then: each call is answered.
fn calls(scene: &Scene, from: &str, of: &str, until: Instant) -> Vec<Duration> {
    let mut took = Vec::new();
    while Instant::now() < until {
        took.push(scene.on(from).aish(["call", "--json", &format!("{of}.status")]).good().took);
    }
    took
}

/// The same beyond the link. Each command connects anew, which may take longer there than a bus is waited for: such a
/// one says so, and has done nothing.
fn commands(scene: &Scene, from: &str, of: &str, until: Instant) -> Vec<Duration> {
    let (mut took, mut late) = (Vec::new(), Vec::new());
    while Instant::now() < until {
        let ran = scene.on(from).aish(["call", "--json", &format!("{of}.status")]);
        match ran.code {
            0 => took.push(ran.took),
            _ => {
                let ran = ran.failed(69);
                assert!(ran.stderr.contains("\"sent\":false"), "{ran:?}");
                late.push(ran);
            }
        }
    }
    assert!(took.len() > late.len(), "{} answered, but {late:#?}", took.len());
    took
}

pub(super) fn thin(scene: &mut Scene, run: &mut Run) {
    let size: usize = run.of(50_000_000, 2_000_000);
    // The node's own credential, which beta's commands have, permits no offer.
    let olga = scene.on("alpha").user("olga", "operator");
    let wrap = ["-n", "digest", "--jsonl", "--creds", &olga, "--", "python3", DIGEST, "digest"];
    let digest = scene.on("beta").wrap(wrap);
    let chatty = ["sh", "-c", "while date; do usleep 20000; done"];
    let talker = scene.fleet.container("beta", "talker", &[], BUSYBOX, &chatty);
    let given = scene.on("alpha").path().join("given");
    let place = given.display().to_string();
    let made = scene.on("alpha").shell(&format!("head -c {size} /dev/urandom >{place}; sha256sum <{place}")).good();
    let sum = made.stdout.split_whitespace().next().unwrap_or_default().to_owned();
    let mut watches = HOSTS.map(|host| Watch::on(scene.on(host)));
    for watch in &mut watches {
        watch.until_news("talker", Instant::now(), Duration::from_secs(15));
        watch.until_news("digest", Instant::now(), Duration::from_secs(15));
    }
    let lab = scene.fleet.lab();
    lab.slow("beta", &Link { rate: Some(1_000_000), ..Link::default() }).unwrap_or_else(|error| panic!("{error}"));
    let mut logs = scene.on("alpha").running(["logs", "--follow", "talker"]);
    logs.until("a line of the log", Duration::from_secs(20), |_| Some(()));
    let sent = scene.on("alpha").shell(&format!("aish digest what --timeout 1h <{place}")).good();
    assert_eq!(sent.stdout, format!("{sum} {size}\n"));
    run.took("the body there", sent.took);
    let before = logs.seen().len();
    while logs.next(Duration::ZERO).is_some() {}
    assert!(logs.seen().len() > before, "the log stood still");
    for watch in &mut watches {
        watch.follow(Instant::now());
        watch.doubted_nobody();
    }
    lab.clear("beta").unwrap_or_else(|error| panic!("{error}"));
    end(digest, talker);
    let _ = fs::remove_file(given);
}

/// Ends what was there for the row alone.
fn end(digest: aigis_tests::Running, talker: Container) {
    digest.signal(Signal::TERM);
    let _ = digest.end(Duration::from_secs(20));
    drop(talker);
}
