//! More than one server at once, or one with all that it had.

use std::{
    fs,
    time::{Duration, Instant},
};

use aigis_tests::until;
use rustix::process::Signal;

use super::{
    Callers, LIVE, STALL, Server, WRITERS, Writers, leader, nobody_dies_until, until_back, until_live, until_spread,
};
use crate::{
    row::{Run, joined},
    scene::{HOSTS, Scene},
};

/// How long after a start of the bus nobody may be called offline.
const YOUNG: Duration = Duration::from_secs(30);
/// The row grants refusals 20 s; what is asked may take a few more to say so.
const REFUSED: Duration = Duration::from_secs(30);

pub(super) fn all_killed(scene: &mut Scene, run: &mut Run) {
    for _ in 0..run.of(5, 1) {
        let writers = Writers::start(scene, WRITERS);
        let servers = HOSTS.map(|host| Server::on(scene, host));
        for server in &servers {
            server.signal(Signal::KILL);
        }
        until_back(scene, run, &servers, writers);
        nobody_dies_until(scene, YOUNG, || false);
        until_spread(scene);
    }
}

pub(super) fn quorum(scene: &mut Scene, run: &mut Run) {
    let span = run.of(Duration::from_secs(300), Duration::from_secs(25));
    let callers = Callers::start(scene);
    let lost = ["beta", "gamma"].map(|host| Server::on(scene, host));
    let away = lost.each_ref().map(|server| server.away(scene));
    let begun = Instant::now();
    let write = scene.on("alpha").aish(["users", "create", "late", "--role", "viewer", "--timeout", "20s"]);
    // Who asks the issuer for it may be told by the end of its own patience.
    assert!(matches!(write.code, 69 | 75) && write.took <= REFUSED, "a write without a majority: {write:?}");
    run.took("a write is refused", write.took);
    nobody_dies_until(scene, span.saturating_sub(begun.elapsed()), || false);
    drop(away);
    let back = Instant::now();
    scene.bus_started();
    for server in &lost {
        server.until_another(scene);
    }
    until_live(scene, back);
    run.took("all is live", back.elapsed());
    // Who was connected to those that died had to find the one that is left.
    callers.end_unharmed();
    nobody_dies_until(scene, YOUNG, || false);
    until_spread(scene);
}

pub(super) fn cut(scene: &mut Scene, run: &mut Run) {
    let span = Duration::from_secs(20);
    let host = leader(scene, "KV_records");
    let others: Vec<_> = HOSTS.into_iter().filter(|other| *other != host).collect();
    let lab = scene.fleet.lab();
    lab.cut(&host).unwrap_or_else(|error| panic!("{error}"));
    let begun = Instant::now();
    let scene = &*scene;
    let (listed, wrote) = std::thread::scope(|scope| {
        let goes_on = |command: Vec<&'static str>| {
            let on = scene.on(others[0]);
            scope.spawn(move || {
                until("the majority goes on", STALL, || (on.aish(&command).code == 0).then_some(()));
                begun.elapsed()
            })
        };
        let listing = goes_on(vec!["list", "--json"]);
        let writing = goes_on(vec!["nodes", "label", others[0], "cut=no"]);
        // Behind the cut nothing is acknowledged, and nobody is called dead.
        let write = scene.on(&host).aish(["nodes", "label", &host, "cut=yes", "--timeout", "5s"]);
        assert!(write.code != 0, "{host} wrote behind the cut: {write:?}");
        (joined(listing), joined(writing))
    });
    run.took("the majority lists again", listed);
    run.took("the majority writes again", wrote);
    until("the cut is over", span * 2, || {
        assert!(scene.dead(&host).is_empty(), "{host} calls others dead from behind the cut");
        (begun.elapsed() >= span).then_some(())
    });
    lab.heal(&host).unwrap_or_else(|error| panic!("{error}"));
    let healed = Instant::now();
    for host in HOSTS {
        until(&format!("{host} lists all as live"), LIVE, || scene.is_right(scene.on(host)).then_some(()));
    }
    run.took("all is live", healed.elapsed());
    until_spread(scene);
}

pub(super) fn replaced(scene: &mut Scene, run: &mut Run) {
    let writers = Writers::start(scene, 8);
    let beta = scene.on("beta");
    let _down = beta.aish(["down"]).good();
    fs::remove_dir_all(beta.path().join("bus/store")).unwrap_or_else(|error| panic!("{error}"));
    // While it is away, and until it has caught up, the guide's command spares the next one.
    let refused = scene.on("gamma").aish(["down"]).failed(1);
    assert!(refused.stderr.contains("main-beta") && refused.stderr.contains("--force"), "{refused:?}");
    let begun = Instant::now();
    beta.start();
    until_spread(scene);
    run.took("it has caught up", begun.elapsed());
    until("gamma may be restarted", Duration::from_secs(30), || {
        (scene.on("gamma").aish(["down"]).code == 0).then_some(())
    });
    scene.on("gamma").start();
    until_spread(scene);
    until_live(scene, Instant::now());
    run.took("longest stall of a writer", writers.end_unlost(scene, Duration::from_secs(25)));
}
