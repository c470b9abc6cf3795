//! What containers use of this host: a sampler over their cgroup files.
//!
//! A task takes one cheap sample a second of each container that has processes, of what only grows, so that a rate is
//! there at once when it is asked for; sizes are read at the moment of asking. What cannot be read is `None` with a
//! note, and no rate is ever not a number, negative, or more than the host has.

mod files;
mod rates;

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use aigis_proxy::task::Owned;
use futures::{StreamExt, stream};
use time::OffsetDateTime;
use tokio::{
    sync::watch,
    time::{Instant, MissedTickBehavior},
};

pub use files::Interface;

use crate::{
    engine::{ContainerId, Engine, State, watch::Observation},
    host::{self, cgroup::Place},
};
use files::Reading;
use rates::Sample;

/// How many samples of a container are kept: those of a rate, and a few more where one was late.
const KEPT: usize = 8;
const TICK: Duration = Duration::from_secs(1);
/// Least time between the two samples of a rate.
const APART: Duration = Duration::from_millis(500);
/// Most inspections at once when many containers were started.
const AT_ONCE: usize = 4;

/// Memory of a container in bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Memory {
    /// In use, without the file cache that can be taken back at once.
    pub used_bytes: Option<u64>,
    /// All file cache.
    pub cache_bytes: Option<u64>,
    /// The limit of its cgroup; `None` for none.
    pub limit_bytes: Option<u64>,
}

/// CPU time of a container.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Cpu {
    /// 100 is one full CPU.
    pub percent: Option<f64>,
    /// How many of its periods ended with it held back; `None` without a limit.
    pub throttled_percent: Option<f64>,
    /// How many CPUs the host has switched on.
    pub online_cpus: Option<u32>,
}

/// Processes of a container.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Pids {
    /// How many there are, threads counted too.
    pub current: Option<u64>,
    /// The limit of its cgroup; `None` for none.
    pub limit: Option<u64>,
}

/// Bytes between a container and block devices.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BlockIo {
    /// Bytes read.
    pub read_bytes: u64,
    /// Bytes written.
    pub write_bytes: u64,
}

/// What a container uses.
#[derive(Debug, Clone, PartialEq)]
pub struct Usage {
    /// When its files were read.
    pub at: OffsetDateTime,
    /// Its memory.
    pub memory: Memory,
    /// Its CPU time.
    pub cpu: Cpu,
    /// Its processes.
    pub pids: Pids,
    /// Its block devices.
    pub block_io: Option<BlockIo>,
    /// Its network interfaces, sorted by name. Those of the host for one on the host's network.
    pub network: Option<Vec<Interface>>,
    /// The seconds between the two samples of the rates.
    pub interval_s: Option<f64>,
    /// Why a value is `None`.
    pub notes: Vec<String>,
}

/// A handle on the sampler; the task ends with the last one.
#[derive(Debug, Clone)]
pub struct Sampler {
    series: Arc<Mutex<HashMap<ContainerId, Series>>>,
    _task: Arc<Owned>,
}

/// The samples of one container since it was last started.
#[derive(Debug, Clone)]
struct Series {
    pid: u32,
    place: Place,
    samples: VecDeque<Sample>,
}

impl Series {
    fn add(&mut self, sample: Sample) {
        // A counter that fell is another cgroup of the same name: what came before says nothing about it.
        if self.samples.back().is_some_and(|last| last.counters.cpu_nanos > sample.counters.cpu_nanos) {
            self.samples.clear();
        }
        if self.samples.len() == KEPT {
            self.samples.pop_front();
        }
        self.samples.push_back(sample);
    }
}

type Shared = Arc<Mutex<HashMap<ContainerId, Series>>>;

impl Sampler {
    /// Starts sampling the containers that `observed` says have processes.
    #[must_use]
    pub fn spawn(engine: Engine, observed: watch::Receiver<Observation>) -> Self {
        let series = Shared::default();
        let task = Owned::spawn("usage-sampler", run(engine, observed, Arc::clone(&series)));
        Self { series, _task: Arc::new(task) }
    }

    /// Reads a container's files now. Its rates are over the time since a sample that is at least 500 ms old; where
    /// there is none yet, this waits for that long. `pid` is its first process ([`crate::engine::Inspection::pid`]).
    ///
    /// # Cancel safety
    ///
    /// Dropping it loses nothing.
    pub async fn measure(&self, id: &ContainerId, pid: u32) -> Usage {
        let of = id.clone();
        let taken = host::aside(move || Measurement::take(pid, Place::of(pid, &of)?)).await.flatten();
        self.measure_from(id, pid, taken).await
    }

    /// As [`Sampler::measure`], where the files were read already.
    pub(crate) async fn measure_from(&self, id: &ContainerId, pid: u32, first: Option<Measurement>) -> Usage {
        let Some(first) = first else {
            let note =
                "memory, CPU and processes are not known: its cgroup files are not on this host or may not be read";
            return nothing(OffsetDateTime::now_utc(), vec![note.to_owned()]);
        };
        let known = {
            let series = lock(&self.series);
            let samples = series.get(id).filter(|known| known.pid == pid).map(|known| &known.samples);
            samples.and_then(|samples| rates::before(samples.iter(), first.sample.moment, APART).copied())
        };
        let known = known.filter(|before| before.counters.cpu_nanos <= first.sample.counters.cpu_nanos);
        let (before, now) = match known {
            Some(before) => (before, first),
            None => {
                // A little more than the least time, so that the clock's grain cannot fall short of it.
                tokio::time::sleep(APART + Duration::from_millis(5)).await;
                let (before, of) = (first.sample, id.clone());
                match host::aside(move || Measurement::again(pid, first.place, &of)).await.flatten() {
                    Some(second) => (before, second),
                    None => {
                        let note = "the container ended while it was measured".to_owned();
                        return nothing(OffsetDateTime::now_utc(), vec![note]);
                    }
                }
            }
        };
        usage(now, &before)
    }
}

/// What a container uses that has no processes, or cannot be measured.
#[must_use]
pub fn nothing(at: OffsetDateTime, notes: Vec<String>) -> Usage {
    Usage {
        at,
        memory: Memory::default(),
        cpu: Cpu::default(),
        pids: Pids::default(),
        block_io: None,
        network: None,
        interval_s: None,
        notes,
    }
}

fn missing(usage: &Usage) -> Vec<String> {
    [
        (usage.memory.used_bytes.is_none(), "memory in use"),
        (usage.cpu.percent.is_none(), "CPU use"),
        (usage.pids.current.is_none(), "the number of processes"),
        (usage.block_io.is_none(), "block device traffic"),
        (usage.network.is_none(), "network traffic"),
    ]
    .into_iter()
    .filter(|(missing, _)| *missing)
    .map(|(_, what)| format!("{what} is not known: this host's files do not say it"))
    .collect()
}

fn usage(now: Measurement, before: &Sample) -> Usage {
    let Measurement { at, sample, reading, network, .. } = now;
    let online_cpus = files::online_cpus();
    let mut usage = Usage {
        at,
        memory: Memory {
            used_bytes: reading.memory_used(),
            cache_bytes: reading.cache,
            limit_bytes: reading.memory_limit,
        },
        cpu: Cpu {
            percent: rates::cpu_percent(before, &sample, online_cpus),
            throttled_percent: rates::throttled_percent(before, &sample),
            online_cpus,
        },
        pids: Pids { current: reading.pids, limit: reading.pids_limit },
        block_io: reading
            .read_bytes
            .zip(reading.write_bytes)
            .map(|(read_bytes, write_bytes)| BlockIo { read_bytes, write_bytes }),
        network,
        interval_s: Some(sample.moment.duration_since(before.moment).as_secs_f64()),
        notes: Vec::new(),
    };
    usage.notes = missing(&usage);
    usage
}

/// A reading of all of a container's files on behalf of a call.
#[derive(Debug)]
pub(crate) struct Measurement {
    place: Place,
    at: OffsetDateTime,
    sample: Sample,
    reading: Reading,
    network: Option<Vec<Interface>>,
}

impl Measurement {
    /// Reads the files of a container by a process that is known to be its own.
    pub(crate) fn take(pid: u32, place: Place) -> Option<Self> {
        let reading = files::read(&place)?;
        let sample = Sample { moment: Instant::now(), counters: reading.counters };
        let (at, network) = (OffsetDateTime::now_utc(), files::interfaces(pid));
        Some(Self { place, at, sample, reading, network })
    }

    /// Reads them once more, by a process whose number may be another's by now.
    fn again(pid: u32, place: Place, id: &ContainerId) -> Option<Self> {
        let read = Self::take(pid, place)?;
        Some(if host::belongs(pid, id) { read } else { Self { network: None, ..read } })
    }
}

fn lock(series: &Shared) -> MutexGuard<'_, HashMap<ContainerId, Series>> {
    series.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Samples once a second until the watcher is gone.
async fn run(engine: Engine, observed: watch::Receiver<Observation>, series: Shared) {
    let mut tick = tokio::time::interval(TICK);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    // When a container was last looked for in vain: remote ones would else be inspected each second.
    let mut vain: HashMap<ContainerId, Instant> = HashMap::new();
    loop {
        tick.tick().await;
        if observed.has_changed().is_err() {
            return;
        }
        let live = live(&observed.borrow());
        let new: Vec<ContainerId> = {
            let mut known = lock(&series);
            known.retain(|id, _| live.contains(id));
            vain.retain(|id, at| live.contains(id) && at.elapsed() < TICK * 30);
            live.into_iter().filter(|id| !known.contains_key(id) && !vain.contains_key(id)).collect()
        };
        let found: Vec<(ContainerId, Option<(u32, Place)>)> =
            stream::iter(new).map(|id| find(&engine, id)).buffer_unordered(AT_ONCE).collect().await;
        for (id, found) in found {
            match found {
                Some((pid, place)) => {
                    lock(&series).insert(id, Series { pid, place, samples: VecDeque::new() });
                }
                None => {
                    vain.insert(id, Instant::now());
                }
            }
        }
        take_all(&series).await;
    }
}

fn live(observation: &Observation) -> std::collections::HashSet<ContainerId> {
    let containers = observation.containers.values();
    containers
        .filter(|container| matches!(container.state, State::Running | State::Paused))
        .map(|one| one.id.clone())
        .collect()
}

async fn find(engine: &Engine, id: ContainerId) -> (ContainerId, Option<(u32, Place)>) {
    let Some(pid) = engine.inspect(&id).await.ok().and_then(|container| container.pid) else { return (id, None) };
    let of = id.clone();
    let place = host::aside(move || Place::of(pid, &of)).await.flatten();
    (id, place.map(|place| (pid, place)))
}

/// Takes one sample of each known container; one whose files are gone is looked for again.
async fn take_all(series: &Shared) {
    let places: Vec<(ContainerId, u32, Place)> =
        lock(series).iter().map(|(id, known)| (id.clone(), known.pid, known.place.clone())).collect();
    let taken = host::aside(move || -> Vec<(ContainerId, Option<Sample>)> {
        // A restarted container has the old path and a new first process: its files count only with the old one.
        let same = |pid: u32, id: &ContainerId| host::belongs(pid, id);
        places
            .into_iter()
            .map(|(id, pid, place)| {
                let taken = if same(pid, &id) { Sample::take(&place) } else { None };
                (id, taken)
            })
            .collect()
    })
    .await
    .unwrap_or_default();
    let mut series = lock(series);
    for (id, sample) in taken {
        match sample {
            Some(sample) => {
                if let Some(known) = series.get_mut(&id) {
                    known.add(sample);
                }
            }
            None => {
                series.remove(&id);
            }
        }
    }
}
