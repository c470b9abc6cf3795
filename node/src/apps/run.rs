//! One instance from its start to its end.

mod attend;
mod tell;

use std::{
    net::IpAddr,
    sync::{Arc, Mutex, Weak},
    time::{Duration, Instant},
};

use aigis_proxy::{
    Code, Error, Name,
    fault::{self, Point},
    services::{
        chains::{InstanceId, Reported, Restart},
        instances::{Signal, Written},
    },
    sync::lock,
};
use aigis_registry::shared::Instance;
use tokio::{
    sync::watch,
    time::{sleep, timeout},
};

use super::{Apps, Parts, note::Note, spool::Spool, start};
use crate::{
    engine::{self, ContainerId, Inspection},
    hosting::restart::{Next, Restarts},
    plugins::manifest,
    shelf::Shelf,
};

/// How long an app may take to end in order.
const GRACE: Duration = Duration::from_secs(10);
/// How long the other instance of an app serves already before this one is ended.
const SWITCH: Duration = Duration::from_secs(1);
/// How long what an app wrote last may take to be read.
const REST: Duration = Duration::from_secs(5);
/// How soon what failed for a passing reason is tried again, and for how long a start is.
const AGAIN: Duration = Duration::from_secs(2);
const STARTING: Duration = Duration::from_secs(60);

/// What can be seen of an instance.
#[derive(Debug, Clone, Default)]
pub(super) struct View {
    pub(super) container: Option<ContainerId>,
    pub(super) address: Option<IpAddr>,
    /// Whether its ports accept.
    pub(super) ready: bool,
    /// Ports that do not, though it had its time.
    pub(super) silent: Vec<u16>,
    /// Whether it ends again and again.
    pub(super) looping: bool,
}

/// An instance.
#[derive(Debug)]
pub(super) struct Run {
    pub(super) app: Name,
    pub(super) instance: Instance,
    parts: Arc<Parts>,
    note: Note,
    spool: Spool,
    view: watch::Sender<View>,
    /// Whether it is to end.
    ending: watch::Sender<bool>,
    restarts: Mutex<Restarts>,
    /// Where its container finds its secrets.
    shelf: Mutex<Option<Shelf>>,
    apps: Weak<Apps>,
}

/// How a container ended.
#[derive(Debug, Clone, Copy)]
struct Exit {
    code: i64,
    out_of_memory: bool,
    ran: Duration,
}

impl Run {
    pub(super) fn new(parts: Arc<Parts>, app: Name, instance: Instance, apps: Weak<Apps>) -> Self {
        let note = Note::open(&parts.directory, &start::container_name(&app, &instance), &app, &instance);
        let on = match instance.restart {
            Restart::Always => manifest::RestartOn::Exit,
            Restart::OnFailure | Restart::No => manifest::RestartOn::Failure,
        };
        let restarts = Mutex::new(Restarts::new(manifest::Restart::Always, on));
        let (view, ending) = (watch::Sender::default(), watch::Sender::new(false));
        let (spool, shelf) = (Spool::new(), Mutex::default());
        Self { app, instance, parts, note, spool, view, ending, restarts, shelf, apps }
    }

    pub(super) fn id(&self) -> &InstanceId {
        &self.instance.id
    }

    /// Where its ports are, while it runs.
    pub(super) fn address(&self) -> Option<IpAddr> {
        self.view.borrow().address
    }

    /// Whether it has ended, and that instance of its id was named later.
    pub(super) fn is_past(&self, instance: &Instance) -> bool {
        self.instance.since != instance.since && self.note.get().ended
    }

    /// What can be seen of it now.
    pub(super) fn view(&self) -> View {
        self.view.borrow().clone()
    }

    /// How often it was started again.
    pub(super) fn restarts(&self) -> u32 {
        self.note.get().restarts
    }

    /// Says whether its container was stopped by hand: then it is neither started again, nor has it ended.
    pub(super) fn hold(&self, held: bool) {
        if self.is_held() != held {
            self.note.change(|note| note.held = held);
        }
    }

    /// Whether it was.
    pub(super) fn is_held(&self) -> bool {
        self.note.get().held
    }

    /// Has it end, whatever it does.
    pub(super) fn end(&self) {
        self.ending.send_replace(true);
    }

    /// Whether it is about to end.
    pub(super) fn is_ending(&self) -> bool {
        *self.ending.borrow()
    }

    /// What it wrote from there on.
    pub(super) async fn output(&self, from: u64, patience: Duration) -> Written {
        self.spool.read(from, patience).await
    }

    /// Sends it a signal, and has it not started again.
    pub(super) async fn signal(&self, signal: Signal, by: &str) -> Result<(), Error> {
        let container = self.view.borrow().container.clone();
        let gone = || Error::precondition(format!("the app {} does not run", self.app)).sent(false);
        let container = container.ok_or_else(gone)?;
        self.note.change(|note| note.by = Some(by.to_owned()));
        let word = match signal {
            Signal::Interrupt => "SIGINT",
            Signal::Terminate => "SIGTERM",
            Signal::Kill => "SIGKILL",
        };
        match self.parts.host.engine.signal(&container, word).await {
            // It has just ended.
            Err(engine::Error::NotFound { .. } | engine::Error::Conflict { .. }) => Ok(()),
            sent => sent.map_err(Error::from),
        }
    }

    /// Keeps it running until it is to end, and clears it away then.
    pub(super) async fn keep(&self) {
        let mut ending = self.ending.subscribe();
        // Boxed: it holds all that happens in the life of an app.
        let living = Box::pin(async { tokio::join!(self.live(), self.tell()) });
        tokio::select! {
            _ = living => {}
            _ = ending.wait_for(|ending| *ending) => {}
        }
        self.clear().await;
    }

    /// Runs it until it has ended for good.
    async fn live(&self) {
        if self.note.get().ended {
            return;
        }
        let begun = Instant::now();
        loop {
            let id = match Box::pin(self.begin()).await {
                Ok(id) => id,
                // An image that nobody gives is tried again by the chain, elsewhere perhaps.
                Err(error)
                    if error.code == Code::Unavailable
                        && error.detail("image").is_none()
                        && begun.elapsed() < STARTING =>
                {
                    tracing::info!(app = %self.app, %error, "an app is not started yet");
                    sleep(AGAIN).await;
                    continue;
                }
                Err(error) => return self.over(Reported::Failed { error }),
            };
            fault::point(Point::AppStarted);
            self.note.change(|note| note.started = true);
            self.view.send_modify(|view| view.container = Some(id.clone()));
            let exit = self.attend(&id).await;
            self.view.send_modify(|view| {
                (view.address, view.ready) = (None, false);
                view.silent.clear();
            });
            if self.is_held() {
                self.released(&id).await;
                continue;
            }
            let Some(wait) = self.again(exit) else { return self.ended(&id, exit).await };
            tracing::info!(app = %self.app, code = exit.code, wait_s = wait.as_secs_f64(), "an app ended, and is started again");
            sleep(wait).await;
            self.note.change(|note| note.restarts += 1);
            if let Err(error) = self.parts.host.engine.start(&id).await {
                tracing::info!(app = %self.app, %error, "the container of an app is made anew");
                // What it needs of this host may be gone; another one gets it again.
                let _ = self.parts.host.engine.remove(&id).await;
            }
        }
    }

    /// Finds its container, or makes it.
    async fn begin(&self) -> Result<ContainerId, Error> {
        let (parts, app, instance) = (&self.parts, &self.app, &self.instance);
        if let Some(id) = start::find(parts, app, instance, self.note.get().started).await? {
            return Ok(id);
        }
        fault::point(Point::AppNamed);
        let image = start::prepare(parts, app, instance).await?;
        if !image.volumes.is_empty()
            && let Some(apps) = self.apps.upgrade()
        {
            // Two that write to the same files would spoil them.
            apps.pause_others(self).await;
        }
        let (id, shelf) = start::make(parts, app, instance, image).await?;
        *lock(&self.shelf) = shelf;
        Ok(id)
    }

    /// Stops it for another instance of its app, until that has ended or taken its place.
    pub(super) async fn pause(&self) {
        let Some(id) = self.view().container else { return };
        self.hold(true);
        if let Err(error) = self.parts.host.engine.stop(&id, GRACE).await {
            tracing::warn!(app = %self.app, %error, "the former instance of an app was not stopped");
        }
    }

    /// Lets it go on after a pause.
    pub(super) async fn go_on(&self) {
        let Some(id) = self.view().container.filter(|_| self.is_held()) else { return };
        if let Err(error) = self.parts.host.engine.start(&id).await {
            tracing::warn!(app = %self.app, %error, "the former instance of an app was not started again");
        }
        self.hold(false);
    }

    /// Whether it is started again, and after which wait.
    fn again(&self, exit: Exit) -> Option<Duration> {
        let note = self.note.get();
        let is_success = exit.code == 0;
        let wanted = match self.instance.restart {
            Restart::No => false,
            // One that never listened has not become what was pushed.
            Restart::OnFailure => !is_success && (note.ready || self.instance.ports.is_empty()),
            Restart::Always => true,
        };
        if !wanted || note.by.is_some() {
            return None;
        }
        let next = lock(&self.restarts).ended(exit.ran, is_success, Instant::now());
        self.view.send_modify(|view| view.looping = matches!(next, Next::Looping(_)));
        match next {
            Next::Again(wait) | Next::Looping(wait) => Some(wait),
            Next::Done | Next::Failed => None,
        }
    }

    /// Removes the app's network, of which an engine has few, unless another instance is in it.
    async fn leave_network(&self) {
        let network = start::network(&self.parts, &self.app);
        if let Err(error) = self.parts.host.engine.remove_network(&network).await {
            tracing::debug!(app = %self.app, %error, "the network of an app stays");
        }
    }

    /// Ends what runs, and leaves nothing behind but what it wrote.
    async fn clear(&self) {
        let engine = &self.parts.host.engine;
        let name = start::container_name(&self.app, &self.instance);
        if self.view.borrow().ready {
            sleep(SWITCH).await;
        }
        loop {
            let done = async {
                let Some(Inspection { id, .. }) = engine.find(&name).await? else { return Ok(()) };
                let (stopped, _) = tokio::join!(engine.stop(&id, GRACE), timeout(GRACE + REST, self.follow(&id)));
                stopped?;
                if let Ok(seen) = engine.inspect(&id).await {
                    self.spool.end(seen.exit_code.unwrap_or(137));
                }
                engine.remove(&id).await
            };
            match done.await {
                Ok::<(), engine::Error>(()) | Err(engine::Error::NotFound { .. }) => break,
                Err(error) => tracing::warn!(app = %self.app, %error, "an app is not ended yet"),
            }
            sleep(AGAIN).await;
        }
        self.leave_network().await;
        self.note.remove();
        // There is one only where it had secrets.
        let _ = tokio::fs::remove_dir_all(start::input(&self.parts, &name)).await;
        drop(lock(&self.shelf).take());
        if let Some(apps) = self.apps.upgrade() {
            apps.resume_others(self).await;
        }
    }
}
