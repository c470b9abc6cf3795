//! What is measured at one size, from the first join to a bus that was killed and a link that was cut.

use std::{
    collections::HashSet,
    hint::black_box,
    net::TcpStream,
    sync::Arc,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use aigis_proxy::{Address, task};
use aigis_registry::{Cache, Snapshot, State};
use aigis_tests::{cpu_seconds, resident_bytes, until};
use rustix::process::Pid;

use crate::{
    engine,
    figures::{Figures, percentile},
    fleet, leaders,
    stage::{SERVER, Stage, address, cut},
};

/// How much is measured.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Effort {
    /// How long an idle mesh is watched.
    pub(crate) steady: Duration,
    /// How many changes are followed, and how many lists read.
    pub(crate) rounds: usize,
    /// How often the leader of each bucket is killed, where the bus has three servers.
    pub(crate) kills: usize,
}

/// How long anything may take.
const LIMIT: Duration = Duration::from_secs(1_800);
/// How long a change, a return or a death may take until it counts as one that is never seen.
pub(crate) const SOON: Duration = Duration::from_secs(120);
const MIB: f64 = 1024.0 * 1024.0;
/// How many names are resolved for one figure.
const NAMES: u32 = 200_000;

/// Measures a mesh of that size, over a bus of one server or of three.
pub(crate) fn measure(size: usize, containers: usize, clustered: bool, effort: Effort, figures: &mut Figures) {
    figures.of(size, containers);
    let mut stage = Stage::set(size, containers, clustered);
    registration(&mut stage, size, containers, figures);
    stage.look();
    steady(&stage, size, effort, figures);
    change(&stage, size, containers, effort, figures);
    lists(&stage, size, containers, effort, figures);
    names(&stage, size, containers, figures);
    if clustered {
        leaders::killed(&stage, size, effort.kills, figures);
    } else {
        restart(&mut stage, size, figures);
        link(&stage, size, figures);
    }
    figures.at_most(0.0, "nodes called offline that were not, over all of this", stage.false_offline(), "times");
}

pub(crate) fn number(count: usize) -> f64 {
    f64::from(u32::try_from(count).unwrap_or(u32::MAX))
}

fn took(answer: &serde_json::Value) -> f64 {
    answer["took"].as_f64().unwrap_or_else(|| panic!("{answer}"))
}

/// From hosts that know nothing of each other to a mesh that knows every CI of theirs.
fn registration(stage: &mut Stage, size: usize, containers: usize, figures: &mut Figures) {
    let (empty, server_before) = (mebibytes(stage.nodes.pid()), of_the_bus(stage));
    let joined = stage.nodes.ask("join");
    figures.shown("all have joined by a token", took(&joined), "s");
    figures.shown("joins tried again", joined["failures"].as_f64().unwrap_or_default(), "times");
    let (begun, records) = (Instant::now(), size * containers);
    stage.nodes.tell("start");
    let observer = stage.observers[0].clone();
    until("all CIs are registered, and live", LIMIT, || {
        let snapshot = observer.snapshot();
        (all(&snapshot, stage, size) && registered(&snapshot) == records).then_some(())
    });
    let all_live = begun.elapsed().as_secs_f64();
    let started: serde_json::Value = serde_json::from_str(&stage.nodes.heard()).unwrap_or_default();
    figures.shown("all are registered, and live for an observer", all_live, "s");
    figures.shown("records written", number(records) / all_live, "a second");
    figures.shown("starts tried again", started["failures"].as_f64().unwrap_or_default(), "times");
    let nodes = stage.nodes.pid();
    figures.at_most(30.0, "memory of a node", (mebibytes(nodes) - empty) / number(size), "MiB");
    figures.shown("threads of a node", number(listed(nodes, "task")) / number(size), "");
    figures.shown("open files of a node", number(listed(nodes, "fd")) / number(size), "");
    let server = of_the_bus(stage);
    figures.shown("memory of the bus", server, "MiB");
    figures.shown("memory of the bus for a CI", (server - server_before) * 1024.0 / number(records.max(1)), "KiB");
}

/// Whether all nodes are known, and live: those that were made, and those that have the bus.
pub(crate) fn all(snapshot: &Snapshot, stage: &Stage, size: usize) -> bool {
    let known = snapshot.nodes().filter(|node| snapshot.sight(node.name.as_str()).state == State::Live);
    known.count() == size + stage.hosts().count()
}

/// The memory of all servers of the bus.
fn of_the_bus(stage: &Stage) -> f64 {
    stage.bus_servers().into_iter().map(mebibytes).sum()
}

/// How many containers are known.
fn registered(snapshot: &Snapshot) -> usize {
    snapshot.cis().filter(|record| record.container.is_some() && !record.is_gone()).count()
}

fn mebibytes(pid: Pid) -> f64 {
    number(usize::try_from(resident_bytes(pid) / 1024).unwrap_or(usize::MAX)) * 1024.0 / MIB
}

/// How many entries a directory of a process has in `/proc`.
fn listed(pid: Pid, what: &str) -> usize {
    let path = format!("/proc/{}/{what}", pid.as_raw_nonzero());
    std::fs::read_dir(&path).unwrap_or_else(|error| panic!("{path}: {error}")).count()
}

/// What a mesh costs in which nothing happens.
fn steady(stage: &Stage, size: usize, effort: Effort, figures: &mut Figures) {
    // What the registration left to be done is no steady state.
    stage.pass(effort.steady / 2);
    let of = [stage.bus_servers(), vec![stage.nodes.pid()]];
    let spent = || of.each_ref().map(|pids| pids.iter().copied().map(cpu_seconds).sum::<f64>());
    let (before, begun) = (spent(), Instant::now());
    stage.pass(effort.steady);
    let (after, passed) = (spent(), begun.elapsed().as_secs_f64());
    let percent = |which: usize| (after[which] - before[which]) / passed * 100.0;
    // The goal is a server's.
    let servers = number(stage.hosts().count());
    figures.at_most(50.0, "idle: a server of the bus", percent(0) / servers, "% of a core");
    figures.at_most(1.0, "idle: a node", percent(1) / number(size), "% of a core");
}

/// A container starts: when does everybody who looks know it?
fn change(stage: &Stage, size: usize, containers: usize, effort: Effort, figures: &mut Figures) {
    if containers == 0 {
        return;
    }
    let mut times = Vec::new();
    for round in 0..effort.rounds {
        let (node, number) = (round * 7 % size, round % containers);
        let address: Address = parsed(&format!("{}@{}", engine::name(node, number), fleet::name(node)));
        let begun = Instant::now();
        let seen: Vec<_> = stage
            .observers
            .iter()
            .map(|cache| task::spawn_on(stage.runtime.handle(), "change", seen(cache.clone(), address.clone())))
            .collect();
        let (directory, what) = (stage.directory.path(), "start");
        let told = async {
            engine::command(directory, node, number, what).await;
            let all = futures::future::join_all(seen);
            tokio::time::timeout(SOON, all).await.unwrap_or_else(|_| panic!("{address} is not seen to change"))
        };
        let told = stage.runtime.block_on(told);
        times.extend(told.into_iter().map(|at| (at.unwrap_or_else(|e| panic!("{e}")) - begun).as_secs_f64()));
    }
    figures.shown("a container starts, until an observer knows: p50", percentile(&mut times, 50), "s");
    figures.at_most(2.0, "a container starts, until all observers know: most", percentile(&mut times, 100), "s");
}

/// When that container is known to run.
async fn seen(cache: Cache, address: Address) -> Instant {
    let mut snapshots = cache.changed();
    let runs = |snapshot: &Arc<Snapshot>| {
        let node = address.node.as_ref()?;
        Some(snapshot.ci(&address.name, node)?.container.as_ref()?.is_running())
    };
    let waited = snapshots.wait_for(|snapshot| runs(snapshot) == Some(true)).await;
    assert!(waited.is_ok(), "the cache ended");
    Instant::now()
}

fn parsed<T: std::str::FromStr>(text: &str) -> T
where
    T::Err: std::fmt::Display,
{
    text.parse().unwrap_or_else(|error| panic!("{text}: {error}"))
}

/// A process that was not there before reads all.
fn lists(stage: &Stage, size: usize, containers: usize, effort: Effort, figures: &mut Figures) {
    let rounds = effort.rounds.min(5);
    let expected = size * containers + size + stage.hosts().count();
    let mut listed: Vec<f64> = (0..rounds)
        .map(|_| {
            let list = stage.mesh.aish(["list"]).good();
            let live = list.stdout.lines().filter(|line| line.contains("\tlive\t")).count();
            assert_eq!(live, expected, "not all are listed as live");
            list.took.as_secs_f64()
        })
        .collect();
    figures.at_most(1.0, "`aish list`, whole, a new process: p50", percentile(&mut listed, 50), "s");
    let mut read: Vec<f64> = (0..rounds)
        .map(|_| {
            let begun = Instant::now();
            let cache = stage.observer();
            let took = begun.elapsed().as_secs_f64();
            assert_eq!(registered(&cache.snapshot()), size * containers);
            took
        })
        .collect();
    figures.at_most(3.0, "a new watch has the whole registry: p50", percentile(&mut read, 50), "s");
}

/// A name is looked up in what a process knows.
fn names(stage: &Stage, size: usize, containers: usize, figures: &mut Figures) {
    let cache = &stage.observers[0];
    let every = (size * containers / 1_000).max(1);
    let addresses: Vec<Address> = (0..size * containers)
        .step_by(every)
        .map(|at| parsed(&engine::name(at / containers, at % containers)))
        .collect();
    let round = || {
        let before = on_processor();
        for (address, _) in addresses.iter().cycle().zip(0..NAMES) {
            let found = cache.snapshot().resolve(black_box(address));
            assert!(black_box(found).is_ok(), "{address}");
        }
        (on_processor() - before) / f64::from(NAMES)
    };
    let mut times: Vec<f64> = (0..5).map(|_| round()).collect();
    let mut took = 0.0;
    // The reading of the clock allocates; a name, which is looked up 200,000 times, does not.
    let allocations = allocation_counter::measure(|| took = round()).count_total;
    // The goal is a release's.
    let goal = if cfg!(debug_assertions) { 10_000.0 } else { 1_000.0 };
    figures.at_most(goal, "a name is resolved: p50", percentile(&mut times, 50) * 1e9, "ns");
    let each = f64::from(u32::try_from(allocations).unwrap_or(u32::MAX)) / f64::from(NAMES);
    figures.at_most(0.01, "allocations for a name", each, "");
}

/// The seconds that this thread has had a processor.
fn on_processor() -> f64 {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_else(|error| panic!("{error}"));
    let nanoseconds: f64 = parsed(text.split(' ').next().unwrap_or_default());
    nanoseconds / 1e9
}

/// The bus server is killed, and started again by its node.
fn restart(stage: &mut Stage, size: usize, figures: &mut Figures) {
    stage.nodes.ask("mark");
    let listens = address(&stage.mesh);
    let killed = stage.mesh.kill(SERVER);
    until("another server runs", SOON, || stage.mesh.pid(SERVER).filter(|pid| *pid != killed));
    until("the bus is back", SOON, || TcpStream::connect(listens).ok());
    let (ready, begun) = (now(), Instant::now());
    let mut back = until("all nodes are back at the bus", SOON, || {
        let links = stage.nodes.ask("links");
        let times: Option<Vec<f64>> = links.as_array()?.iter().map(serde_json::Value::as_f64).collect();
        times
    });
    back.iter_mut().for_each(|at| *at = (*at - ready).max(0.0));
    let observers = stage.observers.clone();
    until("all nodes are live again", SOON, || {
        observers.iter().all(|cache| all(&cache.snapshot(), stage, size)).then_some(())
    });
    let live = begun.elapsed().as_secs_f64();
    figures.shown("bus killed, until a node is connected: p50", percentile(&mut back, 50), "s");
    figures.at_most(2.0, "bus killed, until a node is connected: p99", percentile(&mut back, 99), "s");
    figures.at_most(5.0, "bus killed, until all nodes are connected", percentile(&mut back, 100), "s");
    figures.at_most(10.0, "bus killed, until all nodes are live for all observers", live, "s");
    figures.at_most(0.0, "nodes called offline that were not", stage.false_offline(), "times");
}

fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64()
}

/// One node of ten loses its link, and gets it back.
fn link(stage: &Stage, size: usize, figures: &mut Figures) {
    let relay = stage.relay.as_ref().unwrap_or_else(|| panic!("no link"));
    let cut = cut(size);
    // A bus that has just started calls nobody offline.
    stage.pass(aigis_registry::observer::GRACE + aigis_registry::observer::RENEWAL);
    stage.exempt(cut.clone());
    let begun = Instant::now();
    relay.set(false);
    let observers = stage.observers.clone();
    let are = |state: State| observers.iter().all(|cache| is(&cache.snapshot(), &cut, state));
    until("the nodes that are cut off are offline", SOON, || are(State::Offline).then_some(()));
    let offline = begun.elapsed().as_secs_f64();
    let begun = Instant::now();
    relay.set(true);
    until("the nodes that were cut off are live", SOON, || are(State::Live).then_some(()));
    let live = begun.elapsed().as_secs_f64();
    stage.exempt(HashSet::new());
    figures.at_most(17.0, "link of one in ten cut, until they are offline for all observers", offline, "s");
    figures.at_most(10.0, "link healed, until they are live for all observers", live, "s");
}

/// Whether all of these nodes are seen as that.
fn is(snapshot: &Snapshot, nodes: &HashSet<String>, state: State) -> bool {
    nodes.iter().all(|node| snapshot.sight(node).state == state)
}
