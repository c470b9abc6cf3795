//! A core host: one Python process for core plugins, each a numbered generation that is loaded, served and unloaded.

use std::{
    collections::{BTreeSet, HashMap},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use aigis_proxy::{
    Error,
    bridge::{Answered, Invocation, Invocations, Mode, Ready, Status, Way},
    task,
};
use tokio::{
    sync::{RwLock, watch},
    time::Instant,
};

use super::{
    line::{Generation, Sink},
    process::{Ended, Process},
    socket::{Door, Host, Socket, Standing},
    start::{Python, Start},
};
use crate::plugins::Told;

/// How long the interpreter may take until it has said hello.
const HELLO: Duration = Duration::from_secs(30);
/// How long a process that has lost its host may take to clean up and end.
const ALONE: Duration = Duration::from_secs(8);
/// How long a process may take to end after it was told to, beside the grace of its calls.
const CLEANING_UP: Duration = Duration::from_secs(8);
/// How long the last that a process has said may take to be read.
pub(super) const LAST_WORDS: Duration = Duration::from_secs(1);
/// How long it may take to end after a signal.
const TERM: Duration = Duration::from_secs(5);
/// For how long all threads of a plugin may hold calls that were given up, or nothing may be answered at all.
const EXHAUSTED: Duration = Duration::from_secs(60);
/// How often that is looked at.
const LOOK: Duration = Duration::from_secs(10);

/// A core host that runs. Dropping this kills it.
#[derive(Debug)]
pub(crate) struct CoreHost {
    process: Arc<Process>,
    invocations: Invocations,
    /// Whether each generation is called.
    gates: Mutex<HashMap<Generation, Gate>>,
    _door: Door,
    _ending: task::Owned,
}

/// Held for reading by whoever sends a call to a generation; what it holds is whether it may.
type Gate = Arc<RwLock<bool>>;

impl CoreHost {
    /// Starts one, and returns once it has said hello.
    ///
    /// # Errors
    ///
    /// It does not start, or ends before.
    pub(crate) async fn start(
        start: &Start,
        python: &Python,
        way: Arc<impl Way>,
        sink: Arc<dyn Sink>,
    ) -> Result<Self, Error> {
        let socket = Socket::make(&start.socket)?;
        let process = Process::spawn(&start.spec(python.arguments("core"), Some(&python.sdk)), sink.clone())?;
        let process = Arc::new(process);
        let host = Host { way, main: Some((Mode::Core, start.welcome())), client: start.welcome(), sink };
        let mut door = socket.open(process.pid(), host);
        let joined = tokio::select! {
            joined = door.standing.wait_for(|standing| standing.invocations.is_some() || standing.failure.is_some()) => {
                joined.map(|standing| standing.clone()).unwrap_or_default()
            }
            ended = process.ended() => {
                return Err(Error::unavailable(format!("the core host {ended} before it said hello"))
                    .hint("its last lines are in the log"));
            }
            () = tokio::time::sleep(HELLO) => {
                return Err(Error::unavailable(format!("the core host did not say hello within {} s", HELLO.as_secs())));
            }
        };
        let invocations = joined.invocations.ok_or_else(|| {
            joined.failure.unwrap_or_else(|| Error::unavailable("the core host closed its connection at once"))
        })?;
        let ending = task::Owned::spawn("core-host-end", end_together(door.standing.clone(), process.clone()));
        Ok(Self { process, invocations, gates: Mutex::default(), _door: door, _ending: ending })
    }

    /// Its process.
    pub(crate) fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// Loads a plugin as that generation, a new one. Nothing calls it before [`CoreHost::serve`]. Loads run one at a time.
    ///
    /// # Errors
    ///
    /// What is wrong with the plugin: all is as before. `data.clash` says that it needs a core host of its own;
    /// `deadline_exceeded` with `data.stuck` that this one is of no use any more.
    pub(crate) async fn load(&self, generation: Generation, plugin: &Told, within: Duration) -> Result<Ready, Error> {
        let told = serde_json::to_vec(plugin)
            .map_err(|error| Error::internal(format!("{} cannot be described: {error}", plugin.name)))?;
        let ready = self.invocations.load(generation.0, told.into(), within).await?;
        self.gates().insert(generation, Gate::default());
        Ok(ready)
    }

    /// Has a loaded generation called from now on, by others in the process in place of a former one of its plugin.
    ///
    /// # Errors
    ///
    /// There is no such generation, or the process has ended.
    pub(crate) async fn serve(&self, generation: Generation) -> Result<(), Error> {
        self.invocations.serve(generation.0).await?;
        if let Some(gate) = self.gate(generation) {
            *gate.write().await = true;
        }
        Ok(())
    }

    /// Ends a generation: once its last call has ended, at most after `grace`, and it has cleaned up. From the first
    /// moment on nothing more is sent to it.
    ///
    /// # Errors
    ///
    /// There is no such generation, or the process has ended or does not answer.
    pub(crate) async fn unload(&self, generation: Generation, grace: Duration) -> Result<(), Error> {
        let gate = self.gates().remove(&generation);
        if let Some(gate) = gate {
            *gate.write().await = false;
        }
        self.invocations.unload(generation.0, grace).await
    }

    /// What the process says of handles and threads.
    ///
    /// # Errors
    ///
    /// It has ended or does not answer.
    pub(crate) async fn status(&self) -> Result<Status, Error> {
        self.invocations.status().await
    }

    /// Runs a skill of a generation that is served, or uses a handle.
    ///
    /// # Errors
    ///
    /// What it answers; `unavailable` with `data.sent` if the process ends, or the generation is not served.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future, or the items that it gives, cancels the call.
    pub(crate) async fn invoke(&self, invocation: Invocation) -> Result<Answered, Error> {
        let Some(generation) = invocation.generation.map(Generation) else {
            return self.invocations.invoke(invocation, ()).await;
        };
        let resting = || Error::unavailable("the plugin is not served at the moment").sent(false);
        let gate = self.gate(generation).ok_or_else(resting)?;
        let held = gate.read_owned().await;
        if !*held {
            return Err(resting());
        }
        self.invocations.invoke(invocation, held).await
    }

    /// How many calls are under way, with those that were cancelled and have not returned.
    #[cfg(test)]
    pub(crate) fn under_way(&self) -> usize {
        self.invocations.under_way()
    }

    /// Resolves once a plugin has had no thread left for too long, or the process does not answer any more; says so.
    pub(crate) async fn exhausted(&self) -> String {
        let mut heard = Instant::now();
        loop {
            tokio::time::sleep(LOOK).await;
            // Of a process that has ended others learn.
            let Ok(status) = self.status().await else {
                if heard.elapsed() >= EXHAUSTED {
                    return format!("it has not answered for {} s", heard.elapsed().as_secs());
                }
                continue;
            };
            heard = Instant::now();
            let limit = EXHAUSTED.as_secs_f64();
            if let Some((name, _)) = status.plugins.iter().find(|(_, threads)| threads.exhausted_s >= limit) {
                return format!(
                    "calls that were given up have held all threads of {name} for {} s",
                    EXHAUSTED.as_secs()
                );
            }
        }
    }

    /// Ends the process at once, as if it had died of what it runs.
    pub(crate) async fn kill(&self) -> Ended {
        self.process.stop(Duration::ZERO).await
    }

    /// Resolves when the process has ended.
    pub(crate) async fn ended(&self) -> Ended {
        self.process.ended().await
    }

    /// The generations whose code ran when the process ended.
    pub(crate) fn ran_at_the_end(&self) -> BTreeSet<Generation> {
        self.invocations.ran_at_the_end().into_iter().map(Generation).collect()
    }

    /// Ends the process in order: what runs has `grace`, then each plugin cleans up, the last one first.
    pub(crate) async fn stop(&self, grace: Duration) -> Ended {
        self.invocations.stop(grace).await;
        match tokio::time::timeout(grace + CLEANING_UP, self.ended()).await {
            Ok(ended) => ended,
            Err(_) => self.process.stop(TERM).await,
        }
    }

    fn gate(&self, generation: Generation) -> Option<Gate> {
        self.gates().get(&generation).cloned()
    }

    fn gates(&self) -> std::sync::MutexGuard<'_, HashMap<Generation, Gate>> {
        self.gates.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Ends what is left when either is gone: a process that has lost its connection and does not end by itself, or a
/// connection that somebody holds open whose process has ended.
pub(super) async fn end_together(mut standing: watch::Receiver<Standing>, process: Arc<Process>) {
    let mut heard = standing.clone();
    let lost = async move { heard.wait_for(|standing| standing.is_lost).await.is_ok() };
    tokio::select! {
        is_lost = lost => {
            if is_lost && tokio::time::timeout(ALONE, process.ended()).await.is_err() {
                process.stop(TERM).await;
            }
        }
        _ = process.ended() => {
            let _ = tokio::time::timeout(LAST_WORDS, standing.wait_for(|standing| standing.is_lost)).await;
            let invocations = standing.borrow().invocations.clone();
            if let Some(invocations) = invocations {
                invocations.end();
            }
        }
    }
}
