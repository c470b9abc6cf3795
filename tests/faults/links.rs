//! Links that are cut, half open, flapping, bad and thin, and observers that slept.

mod bad;
mod storm;
mod watch;

use std::{
    collections::BTreeSet,
    thread,
    time::{Duration, Instant},
};

use aigis_lab::Direction;
use aigis_tests::{Events, nonce, until};
use rustix::process::Signal;

use crate::{
    row::{Row, Run, joined},
    scene::{BUSYBOX, HOSTS, Scene},
};
use watch::Watch;

pub(crate) const ROWS: &[Row] = &[
    Row { id: "FLT-27", what: "a host's link is cut", play: cut },
    Row { id: "FLT-28", what: "a link loses every packet, both ways and one way", play: half_open },
    Row { id: "FLT-29", what: "a link comes and goes each second", play: flapping },
    Row { id: "FLT-30", what: "a bad link: late, lossy, doubled, disordered", play: bad::bad },
    Row { id: "FLT-31", what: "a thin link with a large body and a log on it", play: bad::thin },
    Row { id: "FLT-32", what: "a watch that is suspended", play: suspended },
    Row { id: "FLT-33", what: "all clients reconnect at once", play: storm::storm },
];

/// The rows grant 10 s until all is right again; a machine that does much else gets twice that.
const HEALED: Duration = Duration::from_secs(20);
/// The rows grant 15 s until an end of a dead link notices; two more for a look at it.
const NOTICED: Duration = Duration::from_secs(17);
/// A cut is noticed by a lease's end: the rows grant 17 s, and the same.
const MISSED: Duration = Duration::from_secs(19);
/// The row grants 5 s until a command says that it is cut off; two more for the start of its process.
const REFUSED: Duration = Duration::from_secs(7);
const SECOND: Duration = Duration::from_secs(1);

fn cut(scene: &mut Scene, run: &mut Run) {
    let mut watch = Watch::on(scene.on("beta"));
    let (lab, since) = (scene.fleet.lab(), Instant::now());
    lab.cut("beta").unwrap_or_else(|error| panic!("{error}"));
    scene.containers.retain(|container| container.name != "two-beta");
    let added = scene.fleet.container("beta", "three-beta", &[], BUSYBOX, &["sleep", "100000"]);
    scene.containers.push(added);
    let until_healed = since + Duration::from_secs(run.of(60, 25));
    let (noticed, refused, doubted) = {
        let scene = &*scene;
        thread::scope(|scope| {
            let noticed = scope.spawn(|| scene.until_all("alpha", "beta", "offline", since, MISSED));
            let refused = scope.spawn(|| refusals(scene, until_healed));
            let doubted = watch.until_all("unknown", since, NOTICED);
            watch.follow(until_healed);
            (joined(noticed), joined(refused), doubted)
        })
    };
    run.took("offline on alpha", noticed);
    run.took("unknown on beta", doubted);
    for took in refused {
        run.took("a command on beta refused", took);
    }
    let healed = Instant::now();
    scene.fleet.lab().heal("beta").unwrap_or_else(|error| panic!("{error}"));
    run.took("lists right", right(scene, healed, HEALED));
    run.took("live in beta's watch", watch.until_all("live", healed, HEALED));
    watch.called_nobody_dead();

    scene.containers.retain(|container| container.name != "three-beta");
    let back = scene.fleet.container("beta", "two-beta", &[], BUSYBOX, &["sleep", "100000"]);
    scene.containers.push(back);
}

/// Runs new commands on the host that is cut off: each says so soon.
fn refusals(scene: &Scene, until: Instant) -> Vec<Duration> {
    let mut took = Vec::new();
    for command in [&["list", "--json"][..], &["call", "one-alpha.status"]].into_iter().cycle() {
        if Instant::now() >= until {
            return took;
        }
        let ran = scene.on("beta").aish(command).failed(69);
        assert!(ran.took <= REFUSED, "{ran:?}");
        took.push(ran.took);
    }
    took
}

/// Waits until all hosts list what is there, and tells how long it took since `since`.
fn right(scene: &Scene, since: Instant, within: Duration) -> Duration {
    for host in HOSTS {
        let left = within.saturating_sub(since.elapsed());
        until(&format!("{host} lists what is there"), left, || scene.is_right(scene.on(host)).then_some(()));
    }
    since.elapsed()
}

fn half_open(scene: &mut Scene, run: &mut Run) {
    for direction in [Direction::Both, Direction::In, Direction::Out] {
        deaf(scene, run, direction);
    }
}

fn deaf(scene: &Scene, run: &mut Run, direction: Direction) {
    let lab = scene.fleet.lab();
    let engine = lab.engine("beta").unwrap_or_else(|error| panic!("{error}"));
    let mut events = Events::follow_on(Some(&engine.host()));
    let mut watch = Watch::on(scene.on("beta"));
    assert!(!connections(scene, "beta").is_empty());
    let id = nonce();
    let restart = ["call", "--json", "--timeout", "8s", "--id", &id, "one-beta.restart", "grace_s=0"];

    let since = Instant::now();
    lab.drop_packets("beta", direction).unwrap_or_else(|error| panic!("{error}"));
    let (first, given_up, told) = thread::scope(|scope| {
        let first = scope.spawn(|| scene.on("alpha").aish(restart));
        let given_up = scope.spawn(|| {
            until("the bus gives up", NOTICED, || connections(scene, "beta").is_empty().then_some(()));
            since.elapsed()
        });
        let told = watch.until_cut_off(since, NOTICED);
        watch.follow(since + Duration::from_secs(run.of(60, 25)));
        (joined(first), joined(given_up), told)
    });
    run.took("the cut host says so", told);
    run.took("the bus gives it up", given_up);
    // The deadline, a second more, and the start of a process.
    assert!(first.took <= Duration::from_secs(10), "packets dropped {direction}: {first:?}");

    let healed = Instant::now();
    lab.clear("beta").unwrap_or_else(|error| panic!("{error}"));
    run.took("lists right", right(scene, healed, HEALED));
    watch.until_all("live", healed, HEALED);
    watch.called_nobody_dead();
    // Leases come by another connection than calls, and may be back before it.
    let left = HEALED.saturating_sub(healed.elapsed());
    let again = until("it answers again", left, || Some(scene.on("alpha").aish(restart)).filter(|ran| ran.code == 0));
    run.took("answers again", healed.elapsed());
    let restarts = events.of(scene.container("one-beta")).into_iter().filter(|action| action == "restart").count();
    assert_eq!(restarts, 1, "packets dropped {direction}: {first:?} {again:?}");
}

/// The connections that the bus has from a host: both addresses of each. The host itself keeps one that it has given up
/// until it has another.
fn connections(scene: &Scene, host: &str) -> BTreeSet<String> {
    let lab = scene.fleet.lab();
    let host = lab.host(host).unwrap_or_else(|error| panic!("{error}"));
    let mut command = lab.bus_namespace().command("ss");
    let output = command.args(["-Htn", "state", "established", "dst", &host.address().to_string()]).output();
    let output = output.unwrap_or_else(|error| panic!("ss cannot be run: {error}"));
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    // Before the addresses stand the lengths of the queues.
    text.lines().map(|line| line.split_whitespace().skip(2).collect::<Vec<_>>().join(" ")).collect()
}

fn flapping(scene: &mut Scene, run: &mut Run) {
    let lab = scene.fleet.lab();
    let mut watches = HOSTS.map(|host| Watch::on(scene.on(host)));
    let before = connections(scene, "beta");
    let mut seen = before.clone();
    let begun = Instant::now();
    for _ in 0..run.of(60, 8) {
        for change in [aigis_lab::Lab::cut, aigis_lab::Lab::heal] {
            change(lab, "beta").unwrap_or_else(|error| panic!("{error}"));
            let until = Instant::now() + SECOND;
            while Instant::now() < until {
                seen.extend(connections(scene, "beta"));
                thread::park_timeout(Duration::from_millis(100));
            }
        }
    }
    let healed = Instant::now();
    let seconds = usize::try_from((healed - begun).as_secs()).unwrap_or(usize::MAX);
    let made = seen.len() - before.len();
    assert!(made <= before.len() * seconds, "{made} connections of {} clients in {seconds} s", before.len());
    run.took("lists right", right(scene, healed, HEALED));
    for watch in &mut watches {
        watch.until_all("live", healed, HEALED);
        watch.called_nobody_dead();
    }
}

fn suspended(scene: &mut Scene, run: &mut Run) {
    let mut watch = Watch::on(scene.on("gamma"));
    watch.signal(Signal::STOP);
    let asleep = Instant::now();
    // No shorter in brief: it is to sleep through leases.
    until("it slept", Duration::from_secs(35), || (asleep.elapsed() > Duration::from_secs(30)).then_some(()));
    watch.signal(Signal::CONT);
    let awake = Instant::now();
    // It is awake once it tells of something new.
    let news = scene.fleet.container("beta", "news-beta", &[], BUSYBOX, &["sleep", "100000"]);
    run.took("all live", watch.until_news(&news.name, awake, Duration::from_secs(20)));
    watch.called_nobody_dead();
}
