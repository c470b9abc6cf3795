//! Writers under load, each with its own list of what was acknowledged.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use aigis_proxy::{
    Bus,
    kv::{self, Bucket, Expect},
};
use aigis_tests::{inside, until};

use super::servers;
use crate::scene::Scene;

/// How long one write may take.
const PATIENT: Duration = Duration::from_secs(25);

/// What the writers have been told.
#[derive(Debug, Default)]
struct Told {
    /// The newest value that was acknowledged, and its revision, by key.
    kept: Mutex<BTreeMap<String, (String, u64)>>,
    last: Mutex<Option<Instant>>,
    longest: Mutex<Duration>,
    refused: Mutex<Vec<String>>,
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Writers, as beta's node, of records of its own that nobody reads as anything.
pub(super) struct Writers {
    told: Arc<Told>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Writers {
    /// Starts so many, over one connection from beta.
    pub(super) fn start(scene: &Scene, count: usize) -> Self {
        let (told, stop) = (Arc::<Told>::default(), Arc::<AtomicBool>::default());
        let options = servers::login(scene, "beta").unwrap_or_else(|| panic!("beta has no credential"));
        let namespace = scene.fleet.lab().host("beta").unwrap_or_else(|error| panic!("{error}")).namespace().clone();
        let (seen, ended) = (told.clone(), stop.clone());
        let thread = std::thread::spawn(move || {
            inside(&namespace, || {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
                let runtime = runtime.unwrap_or_else(|error| panic!("{error}"));
                runtime.block_on(async {
                    let bus = Bus::connect(options).await.unwrap_or_else(|error| panic!("{error}"));
                    let writing = (0..count).map(|writer| write(&bus, writer, &seen, &ended));
                    futures::future::join_all(writing).await;
                });
            });
        });
        let writers = Self { told, stop, thread: Some(thread) };
        let begun = Instant::now();
        until("the writers write", PATIENT, || writers.wrote_since(begun).then_some(()));
        writers
    }

    /// Whether a write that began after that was acknowledged.
    pub(super) fn wrote_since(&self, since: Instant) -> bool {
        lock(&self.told.last).is_some_and(|last| last > since)
    }

    /// Ends them, asserts that all that was acknowledged is there and that no writer waited longer than `longest`, and
    /// gives the longest wait.
    pub(super) fn end_unlost(mut self, scene: &Scene, longest: Duration) -> Duration {
        let waited = self.end();
        let refused = lock(&self.told.refused).clone();
        assert!(refused.is_empty(), "writes failed: {refused:?}");
        assert!(waited <= longest, "a write waited {waited:?}");
        self.lost_nothing(scene);
        waited
    }

    /// Ends them, and gives the longest wait.
    pub(super) fn end(&mut self) -> Duration {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        }
        *lock(&self.told.longest)
    }

    /// Asserts that all that was acknowledged is there, or something newer.
    pub(super) fn lost_nothing(&self, scene: &Scene) {
        let kept = lock(&self.told.kept).clone();
        assert!(!kept.is_empty(), "nothing was acknowledged");
        let there: BTreeMap<String, u64> = until("the records are read", PATIENT, || {
            servers::on_bus(scene, "beta", async |bus| {
                let entries = kv::list(&bus, Bucket::Records, &["load.*.beta"], PATIENT).await.ok()?;
                Some(entries.into_iter().map(|entry| (entry.key, entry.revision)).collect())
            })
        });
        for (key, (value, revision)) in kept {
            let found = there.get(&key).copied().unwrap_or_default();
            assert!(found >= revision, "{key}: acknowledged {value} at {revision}, there is {found}");
        }
    }
}

impl Drop for Writers {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

/// Writes one key again and again, each time over what was acknowledged last.
async fn write(bus: &Bus, writer: usize, told: &Told, stop: &AtomicBool) {
    let key = format!("load.{}-{writer}.beta", aigis_tests::nonce());
    let mut revision = 0;
    for round in 0_u64.. {
        if stop.load(Ordering::Relaxed) {
            return;
        }
        let begun = Instant::now();
        let value = format!("{round}");
        match kv::put(bus, Bucket::Records, &key, value.clone().into(), Expect::Revision(revision), PATIENT).await {
            Ok(newer) => {
                revision = newer;
                lock(&told.kept).insert(key.clone(), (value, newer));
                *lock(&told.last) = Some(begun);
            }
            // What was sent before may have been written: its acknowledgement was lost.
            Err(kv::Error::WrongRevision { .. }) => {
                if let Ok(Some(entry)) = kv::get(bus, Bucket::Records, &key, PATIENT).await {
                    revision = entry.revision;
                }
            }
            Err(error) => lock(&told.refused).push(error.to_string()),
        }
        {
            let mut longest = lock(&told.longest);
            *longest = (*longest).max(begun.elapsed());
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
