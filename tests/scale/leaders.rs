//! Leaders of a bus of three servers that are killed, under writes and calls.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use aigis_proxy::{
    Bus, Meta, Name, NodeName, Request, SkillPath,
    client::{Client, Target},
    kv::{self, Bucket, Expect},
    task,
};
use aigis_registry::State;
use aigis_tests::until;

use crate::{
    figures::{Figures, percentile},
    fleet,
    measure::{SOON, all, number},
    stage::{SERVER, Stage},
};

/// How many write, each a record of its own.
const WRITERS: usize = 8;
/// How many call, each a node of its own.
const CALLERS: usize = 4;
/// How long each waits after a write or a call.
const PAUSE: Duration = Duration::from_millis(100);
/// How long a write or a call may take.
const PATIENCE: Duration = Duration::from_secs(25);
/// How long one look at the streams may take.
const LOOK: Duration = Duration::from_secs(5);

/// What writers and callers were told.
#[derive(Debug)]
struct Told {
    /// When the last write began that was acknowledged.
    wrote: Mutex<Instant>,
    /// How long each wrote at most.
    longest: Mutex<Duration>,
    failures: Mutex<Vec<String>>,
    calls: AtomicUsize,
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Kills the server that leads the leases, and then the one that leads the records, so many times.
pub(crate) fn killed(stage: &Stage, size: usize, kills: usize, figures: &mut Figures) {
    let now = Instant::now();
    let told = Arc::new(Told {
        wrote: Mutex::new(now),
        longest: Mutex::default(),
        failures: Mutex::default(),
        calls: AtomicUsize::new(0),
    });
    let at_work = under_way(stage, size, &told);
    let bus = stage.looker();
    whole(stage, &bus);
    let (mut writes, mut lives) = (Vec::new(), Vec::new());
    for _ in 0..kills {
        for bucket in [Bucket::Leases, Bucket::Records] {
            let leader = leader(stage, &bus, bucket);
            let host = stage.hosts().find(|host| host.path().join(format!("creds/{leader}.creds")).exists());
            let host = host.unwrap_or_else(|| panic!("no host {leader}"));
            let killed = host.kill(SERVER);
            let begun = Instant::now();
            until("writes go on", SOON, || (*lock(&told.wrote) > begun).then_some(()));
            // The other one leads no write.
            if bucket == Bucket::Records {
                writes.push(begun.elapsed().as_secs_f64());
            }
            until("another server runs", SOON, || host.pid(SERVER).filter(|pid| *pid != killed));
            until("all nodes are live", 2 * SOON, || {
                let is_so = stage.observers.iter().all(|cache| all(&cache.snapshot(), stage, size));
                assert!(is_so || begun.elapsed() < SOON, "not all are live: {}", missing(stage));
                is_so.then_some(())
            });
            lives.push(begun.elapsed().as_secs_f64());
            whole(stage, &bus);
        }
    }
    drop(at_work);
    figures.shown("leaders that were killed", number(lives.len()), "times");
    figures.shown("leader of the records killed, until writes go on: p50", percentile(&mut writes, 50), "s");
    figures.at_most(9.0, "leader killed, the longest that a write took", lock(&told.longest).as_secs_f64(), "s");
    figures.shown("leader killed, until all nodes are live for all observers: p50", percentile(&mut lives, 50), "s");
    figures.at_most(15.0, "leader killed, until all nodes are live: most", percentile(&mut lives, 100), "s");
    let failures = lock(&told.failures).clone();
    for failure in &failures {
        crate::say(failure);
    }
    figures.shown("calls meanwhile", number(told.calls.load(Ordering::Relaxed)), "");
    figures.at_most(0.0, "writes and calls that failed", number(failures.len()), "times");
}

/// Whom each observer does not see live.
fn missing(stage: &Stage) -> String {
    let of = |cache: &aigis_registry::Cache| {
        let snapshot = cache.snapshot();
        let state = |name: &str| snapshot.sight(name).state;
        let others = snapshot.nodes().map(|node| node.name.as_str()).filter(|name| state(name) != State::Live);
        let others: Vec<_> = others.map(|name| format!("{name} {:?}", state(name))).collect();
        format!("{} of {}: {}", others.len(), snapshot.nodes().count(), others.join(", "))
    };
    stage.observers.iter().map(of).collect::<Vec<_>>().join("; ")
}

/// The node whose server leads a bucket.
fn leader(stage: &Stage, bus: &Bus, bucket: Bucket) -> String {
    until(&format!("{bucket} has a leader"), SOON, || {
        let standing = stage.runtime.block_on(kv::standing(bus, LOOK)).ok()?;
        let found = standing.into_iter().find(|found| found.stream == bucket.stream())?;
        found.leader?.strip_prefix("main-").map(str::to_owned)
    })
}

/// Waits until every server has all of every stream: before that, a second death is not promised to be harmless.
fn whole(stage: &Stage, bus: &Bus) {
    until("all copies are whole", SOON, || {
        let standing = stage.runtime.block_on(kv::standing(bus, LOOK)).ok()?;
        let is_whole = |stream: &kv::Standing| {
            stream.leader.is_some() && stream.followers.len() == 2 && stream.behind().next().is_none()
        };
        (!standing.is_empty() && standing.iter().all(is_whole)).then_some(())
    });
}

/// Writers and callers, until the returned values are dropped.
fn under_way(stage: &Stage, size: usize, told: &Arc<Told>) -> Vec<task::Owned> {
    let (writer, runtime) = (stage.writer(), stage.runtime.handle());
    let writers = (0..WRITERS).map(|place| {
        let (bus, told) = (writer.clone(), told.clone());
        task::Owned::spawn_on(runtime, "writer", async move { write(&bus, place, &told).await })
    });
    let callers = (0..CALLERS.min(size)).map(|place| {
        let (client, told) = (Client::new(stage.looker()), told.clone());
        let node = fleet::name(place * size / CALLERS.min(size));
        task::Owned::spawn_on(runtime, "caller", async move { call(&client, &node, &told).await })
    });
    writers.chain(callers).collect()
}

/// Writes one record again and again, each time over what was acknowledged last.
async fn write(bus: &Bus, place: usize, told: &Told) {
    let key = format!("load.scale-{place}.alpha");
    let mut revision = 0;
    loop {
        let begun = Instant::now();
        let value = format!("{revision}").into();
        match kv::put(bus, Bucket::Records, &key, value, Expect::Revision(revision), PATIENCE).await {
            Ok(newer) => {
                revision = newer;
                let mut wrote = lock(&told.wrote);
                *wrote = (*wrote).max(begun);
            }
            // What was sent before may have been written: its acknowledgement was lost.
            Err(kv::Error::WrongRevision { .. }) => {
                if let Ok(Some(entry)) = kv::get(bus, Bucket::Records, &key, PATIENCE).await {
                    revision = entry.revision;
                }
            }
            Err(error) => lock(&told.failures).push(error.to_string()),
        }
        {
            let mut longest = lock(&told.longest);
            *longest = (*longest).max(begun.elapsed());
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// Asks a node how it is, again and again.
async fn call(client: &Client, node: &str, told: &Told) {
    let target = || -> Option<Target> {
        Some(Target {
            server: NodeName::parse(node).ok()?.user(),
            ci: Name::parse(node).ok()?,
            path: SkillPath::parse("status").ok()?,
            timeout: None,
        })
    };
    let target = target().unwrap_or_else(|| panic!("no target {node}"));
    loop {
        let meta = Meta { timeout: Some(PATIENCE), ..Meta::default() };
        let called = client.call(&target, Request { meta, ..Request::default() }).await;
        told.calls.fetch_add(1, Ordering::Relaxed);
        if let Err(error) = called {
            lock(&told.failures).push(format!("{node}: {error:?}"));
        }
        tokio::time::sleep(PAUSE).await;
    }
}
