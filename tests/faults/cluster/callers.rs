//! Callers that go on all the while, as a long-lived client does.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread::JoinHandle,
    time::Duration,
};

use aigis_proxy::{
    Bus, Meta, Name, NodeName, Request, SkillPath,
    client::{Client, Target},
};
use aigis_tests::inside;

use super::servers;
use crate::scene::{HOSTS, Scene};

/// How long a call may take.
const PATIENT: Duration = Duration::from_secs(15);
/// How often each calls.
const PAUSE: Duration = Duration::from_millis(100);

/// A caller on each host, which asks a container of the next.
pub(super) struct Callers {
    stop: Arc<AtomicBool>,
    made: Arc<AtomicUsize>,
    failed: Arc<Mutex<Vec<String>>>,
    threads: Vec<JoinHandle<()>>,
}

impl Callers {
    pub(super) fn start(scene: &Scene) -> Self {
        let mut callers =
            Self { stop: Arc::default(), made: Arc::default(), failed: Arc::default(), threads: Vec::new() };
        for (place, host) in HOSTS.into_iter().enumerate() {
            let options = servers::login(scene, host).unwrap_or_else(|| panic!("{host} has no credential"));
            let lab = scene.fleet.lab().host(host).unwrap_or_else(|error| panic!("{error}"));
            let namespace = lab.namespace().clone();
            let target = target(HOSTS[(place + 1) % HOSTS.len()]);
            let (stop, made, failed) = (callers.stop.clone(), callers.made.clone(), callers.failed.clone());
            callers.threads.push(std::thread::spawn(move || {
                inside(&namespace, || {
                    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
                    let runtime = runtime.unwrap_or_else(|error| panic!("{error}"));
                    runtime.block_on(async {
                        let bus = Bus::connect(options).await.unwrap_or_else(|error| panic!("{error}"));
                        let client = Client::new(bus);
                        while !stop.load(Ordering::Relaxed) {
                            let meta = Meta { timeout: Some(PATIENT), ..Meta::default() };
                            let called = client.call(&target, Request { meta, ..Request::default() }).await;
                            made.fetch_add(1, Ordering::Relaxed);
                            if let Err(error) = called {
                                failed
                                    .lock()
                                    .unwrap_or_else(PoisonError::into_inner)
                                    .push(format!("{host}: {error:?}"));
                            }
                            tokio::time::sleep(PAUSE).await;
                        }
                    });
                });
            }));
        }
        callers
    }

    /// Ends them, and gives what failed.
    pub(super) fn end(mut self) -> Vec<String> {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        }
        assert!(self.made.load(Ordering::Relaxed) > 10, "hardly a call was made");
        std::mem::take(&mut *self.failed.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Ends them, and asserts that every call was answered.
    pub(super) fn end_unharmed(self) {
        let made = self.made.clone();
        let failed = self.end();
        assert!(failed.is_empty(), "{} of {} calls failed: {failed:#?}", failed.len(), made.load(Ordering::Relaxed));
    }
}

impl Drop for Callers {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

fn target(host: &str) -> Target {
    let parsed = |what: &str| -> Option<Target> {
        Some(Target {
            server: NodeName::parse(what).ok()?.user(),
            ci: Name::parse(&format!("one-{what}")).ok()?,
            path: SkillPath::parse("status").ok()?,
            timeout: None,
        })
    };
    parsed(host).unwrap_or_else(|| panic!("no target on {host}"))
}
