//! A bus of three servers, one on each host: its leader killed, frozen, cut off; all of it down; one of it replaced.

mod callers;
mod losses;
mod power;
mod revoked;
mod servers;
mod writers;

use std::time::{Duration, Instant};

use aigis_tests::until;
use rustix::process::Signal;

use crate::{
    row::{Row, Run},
    scene::{HOSTS, Scene},
};
use callers::Callers;
use servers::{Server, leader};
use writers::Writers;

pub(crate) const ROWS: &[Row] = &[
    Row { id: "FLT-19", what: "the leader of three bus servers is killed", play: killed },
    Row { id: "FLT-20", what: "the leader of three bus servers freezes, and is back", play: frozen },
    Row { id: "FLT-21", what: "three bus servers are restarted one after another", play: rolling },
    Row { id: "FLT-22", what: "all three bus servers are killed", play: losses::all_killed },
    Row { id: "FLT-23", what: "all three bus servers lose power", play: power::lost },
    Row { id: "FLT-24", what: "two of three bus servers are away", play: losses::quorum },
    Row { id: "FLT-25", what: "the leader is cut off with its clients", play: losses::cut },
    Row { id: "FLT-26", what: "a bus server is replaced by an empty one", play: losses::replaced },
];

/// Whether a row is played on a bus of three servers.
pub(crate) fn plays(id: &str) -> bool {
    ROWS.iter().any(|row| row.id == id)
}

/// How many writers are at work when all servers go.
const WRITERS: usize = 32;
/// The rows grant 15 s until all is live; twice that on a machine that does much else.
const LIVE: Duration = Duration::from_secs(30);
/// The row grants writes 9 s; twice that, for the same reason.
const STALL: Duration = Duration::from_secs(18);

fn killed(scene: &mut Scene, run: &mut Run) {
    let rounds = run.of(25, 2);
    let (writers, callers) = (Writers::start(scene, 8), Callers::start(scene));
    for _ in 0..rounds {
        for stream in ["KV_leases", "KV_records"] {
            let server = Server::on(scene, &leader(scene, stream));
            server.signal(Signal::KILL);
            let begun = Instant::now();
            nobody_dies_until(scene, Duration::from_secs(10), || writers.wrote_since(begun));
            run.took("writes go on", begun.elapsed());
            server.until_another(scene);
            until_live(scene, begun);
            run.took("all is live", begun.elapsed());
            until_spread(scene);
        }
    }
    run.took("longest stall of a writer", writers.end_unlost(scene, STALL));
    callers.end_unharmed();
}

fn frozen(scene: &mut Scene, run: &mut Run) {
    let (writers, callers) = (Writers::start(scene, 8), Callers::start(scene));
    let server = Server::on(scene, &leader(scene, "KV_records"));
    let begun = Instant::now();
    let still = server.freeze();
    nobody_dies_until(scene, Duration::from_secs(20), || false);
    drop(still);
    let thawed = Instant::now();
    nobody_dies_until(scene, Duration::from_secs(1), || false);
    until_live(scene, thawed);
    run.took("all is live", thawed.elapsed());
    assert!(writers.wrote_since(begun), "nothing was written while one of three stood still");
    until_spread(scene);
    run.took("longest stall of a writer", writers.end_unlost(scene, 2 * STALL));
    // A frozen server says nothing: who was connected to it learns by its own pings.
    callers.end();
    revoked::while_frozen(scene, run);
}

fn rolling(scene: &mut Scene, run: &mut Run) {
    let (writers, callers) = (Writers::start(scene, 8), Callers::start(scene));
    for host in HOSTS {
        let server = Server::on(scene, host);
        server.signal(Signal::TERM);
        let begun = Instant::now();
        server.until_another(scene);
        run.took("serves again", begun.elapsed());
        until_live(scene, begun);
        until_spread(scene);
        nobody_dies_until(scene, run.of(Duration::from_secs(30), Duration::from_secs(5)), || false);
    }
    run.took("longest stall of a writer", writers.end_unlost(scene, STALL));
    callers.end_unharmed();
}

/// Polls all hosts' lists for that long, or until `done`, and asserts that none calls anybody dead.
fn nobody_dies_until(scene: &Scene, span: Duration, done: impl Fn() -> bool) {
    let begun = Instant::now();
    while begun.elapsed() < span && !done() {
        for host in HOSTS {
            let dead = scene.dead(host);
            assert!(dead.is_empty(), "{host} calls dead: {dead:?}");
        }
    }
}

/// Waits until all hosts list all as live, and asserts that none calls anybody dead meanwhile.
fn until_live(scene: &Scene, since: Instant) {
    for host in HOSTS {
        until(&format!("{host} lists all as live"), LIVE.saturating_sub(since.elapsed()), || {
            let dead = scene.dead(host);
            assert!(dead.is_empty(), "{host} calls dead: {dead:?}");
            scene.is_right(scene.on(host)).then_some(())
        });
    }
}

/// Waits until servers that were all killed serve again and all is live, and asserts that nothing is lost.
fn until_back(scene: &mut Scene, run: &mut Run, servers: &[Server], mut writers: Writers) {
    let begun = Instant::now();
    scene.bus_started();
    for server in servers {
        server.until_another(scene);
    }
    run.took("serve again", begun.elapsed());
    until_live(scene, begun);
    run.took("all is live", begun.elapsed());
    // What failed meanwhile was told so.
    let _waited = writers.end();
    writers.lost_nothing(scene);
}

/// Waits until every server has all of the store.
fn until_spread(scene: &Scene) {
    until("all copies are whole", Duration::from_secs(60), || scene.fleet.is_grown().then_some(()));
}
