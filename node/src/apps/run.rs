//! One instance from its start to its end.

use std::{
    net::IpAddr,
    sync::{Arc, Mutex, Weak},
    time::{Duration, Instant},
};

use aigis_proxy::{
    Code, Error, Name,
    blob::{Life, Store},
    rpc,
    services::{
        chains::{CHAINS, ChainsClient, InstanceId, Report, Reported, Restart},
        instances::{Output, Signal, Written},
    },
    sync::lock,
};
use aigis_registry::shared::Instance;
use futures::StreamExt as _;
use tarpc::context;
use tokio::{
    net::TcpStream,
    sync::watch,
    time::{sleep, timeout},
};

use super::{Apps, Parts, note::Note, spool::Spool, start};
use crate::{
    engine::{self, ContainerId, Inspection, LogQuery, Source, State},
    hosting::restart::{Next, Restarts},
    plugins::manifest,
    shelf::Shelf,
};

/// How often it is tried whether the ports accept, at first and after the app has had its time.
const TRY: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(1));
/// How long a port may take to accept.
const ACCEPT: Duration = Duration::from_secs(1);
/// How long an app may take to end in order.
const GRACE: Duration = Duration::from_secs(10);
/// How long the other instance of an app serves already before this one is ended.
const SWITCH: Duration = Duration::from_secs(1);
/// How long what an app wrote last may take to be read.
const REST: Duration = Duration::from_secs(5);
/// How soon what failed for a passing reason is tried again, and for how long a start is.
const AGAIN: Duration = Duration::from_secs(2);
const STARTING: Duration = Duration::from_secs(60);
/// The waits between two attempts to tell a coordinator something.
const TELL: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(10));

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
                Err(error) if error.code == Code::Unavailable && begun.elapsed() < STARTING => {
                    tracing::info!(app = %self.app, %error, "an app is not started yet");
                    sleep(AGAIN).await;
                    continue;
                }
                Err(error) => return self.over(Reported::Failed { error }),
            };
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

    /// Stays with a container until it has ended, and nobody starts it again.
    async fn attend(&self, id: &ContainerId) -> Exit {
        let (mut log, mut tries) = (Box::pin(self.follow(id)), Box::pin(self.see_ready(id)));
        let mut exit = Box::pin(self.exit(id));
        let (mut read, mut seen) = (false, false);
        let exit = loop {
            tokio::select! {
                exit = &mut exit => break exit,
                () = &mut log, if !read => read = true,
                () = &mut tries, if !seen => seen = true,
            }
        };
        if !read {
            let _ = timeout(REST, log).await;
        }
        exit
    }

    /// Waits until the container has ended.
    async fn exit(&self, id: &ContainerId) -> Exit {
        let mut observed = self.parts.host.watch.observation();
        loop {
            let (listed, is_known) = {
                let now = observed.borrow_and_update();
                (now.containers.get(id).map(|container| container.state), now.engine.is_reachable())
            };
            let has_ended = matches!(listed, Some(State::Exited | State::Dead));
            // What is not listed yet may just have been made.
            if has_ended || (listed.is_none() && is_known) {
                match self.parts.host.engine.inspect(id).await {
                    Ok(seen) if matches!(seen.state, State::Exited | State::Dead) => {
                        return Exit::of(&seen);
                    }
                    Err(engine::Error::NotFound { .. }) => {
                        return Exit { code: 137, out_of_memory: false, ran: Duration::ZERO };
                    }
                    Ok(_) => {}
                    Err(error) => tracing::debug!(app = %self.app, %error, "the engine does not say how an app is"),
                }
            }
            // Now and then it is looked at, whatever the engine tells.
            let _ = timeout(AGAIN, observed.changed()).await;
        }
    }

    /// Waits until a container that was stopped by hand runs again, or is no longer held.
    async fn released(&self, id: &ContainerId) {
        let (mut observed, mut changed) = (self.parts.host.watch.observation(), self.note.changed());
        loop {
            drop((observed.borrow_and_update(), changed.borrow_and_update()));
            if !self.is_held() || self.runs(id).await {
                return;
            }
            tokio::select! {
                _ = observed.changed() => {}
                _ = changed.changed() => {}
                () = sleep(AGAIN) => {}
            }
        }
    }

    /// Reads what it writes, until it has ended.
    async fn follow(&self, id: &ContainerId) {
        let engine = &self.parts.host.engine;
        // The engine may end what it follows a moment before the last words are in it: then the rest is read once more.
        let mut follow = true;
        loop {
            let since = self.spool.last().map(|last| last + time::Duration::nanoseconds(1));
            let wanted = LogQuery { tail: None, since, follow, ..LogQuery::default() };
            match engine.logs(id, false, &wanted).await {
                Ok(mut log) => {
                    let mut whole = true;
                    while let Some(entry) = log.next().await {
                        let Ok(entry) = entry else {
                            whole = false;
                            break;
                        };
                        let output = match entry.source {
                            Source::Stdout => Output::Stdout,
                            Source::Stderr => Output::Stderr,
                        };
                        self.spool.push(output, entry.bytes, entry.at);
                    }
                    let runs = self.runs(id).await;
                    if whole && !runs && !std::mem::replace(&mut follow, runs) {
                        return;
                    }
                }
                Err(engine::Error::NotFound { .. } | engine::Error::Refused { .. }) => return,
                Err(error) => tracing::debug!(app = %self.app, %error, "the output of an app cannot be read now"),
            }
            sleep(TRY.1).await;
        }
    }

    async fn runs(&self, id: &ContainerId) -> bool {
        self.parts.host.engine.inspect(id).await.is_ok_and(|seen| seen.state.has_processes())
    }

    /// Tries its ports until they all accept, and notes what it finds.
    async fn see_ready(&self, id: &ContainerId) {
        let network = start::network(&self.parts, &self.app);
        let begun = Instant::now();
        let patience = Duration::from_secs(self.instance.ready_timeout_s);
        loop {
            let address = match self.parts.host.engine.inspect(id).await {
                Ok(seen) if seen.state == State::Running => address(&seen, &network),
                _ => None,
            };
            self.view.send_modify(|view| view.address = address);
            let silent = match address {
                Some(address) => silent(address, &self.instance.ports).await,
                None => self.instance.ports.clone(),
            };
            // One without ports serves from its start, however short that is.
            if silent.is_empty() && (address.is_some() || self.instance.ports.is_empty()) {
                self.view.send_modify(|view| (view.ready, view.silent) = (true, Vec::new()));
                if !self.note.get().ready {
                    self.note.change(|note| {
                        note.ready = true;
                        note.untold.push(Reported::Ready);
                    });
                }
                return;
            }
            let is_late = begun.elapsed() >= patience;
            if is_late && self.view.borrow().silent != silent {
                self.view.send_modify(|view| view.silent.clone_from(&silent));
                if !self.note.get().ready {
                    self.note.change(|note| note.untold.push(Reported::Silent { ports: silent }));
                }
            }
            sleep(if is_late { TRY.1 } else { TRY.0 }).await;
        }
    }

    /// It has ended by itself: stores what it wrote, and notes what is to be told.
    async fn ended(&self, id: &ContainerId, exit: Exit) {
        self.spool.end(exit.code);
        let written = self.spool.all();
        let log = match written.is_empty() {
            true => None,
            false => loop {
                match Store::new(&self.parts.bus).put(Life::Kept, &written[..]).await {
                    Ok(stored) => break Some(stored.blob),
                    Err(error) => tracing::info!(app = %self.app, %error, "the log of an app is not stored yet"),
                }
                sleep(AGAIN).await;
            },
        };
        let by = self.note.get().by;
        self.over(Reported::Ended { exit_code: exit.code, out_of_memory: exit.out_of_memory, log, by });
        if let Err(error) = self.parts.host.engine.remove(id).await {
            tracing::info!(app = %self.app, %error, "the container of an app that ended is not removed yet");
        }
        self.leave_network().await;
    }

    /// Removes the app's network, of which an engine has few, unless another instance is in it.
    async fn leave_network(&self) {
        let network = start::network(&self.parts, &self.app);
        if let Err(error) = self.parts.host.engine.remove_network(&network).await {
            tracing::debug!(app = %self.app, %error, "the network of an app stays");
        }
    }

    fn over(&self, what: Reported) {
        if let Reported::Failed { error } = &what {
            tracing::warn!(app = %self.app, %error, "an app is not started");
            self.spool.end(1);
        }
        self.note.change(|note| {
            note.ended = true;
            note.untold.push(what);
        });
    }

    /// Tells the coordinators what there is to tell, each thing until one of them has taken it.
    async fn tell(&self) {
        let client = ChainsClient::from(rpc::Asker::new(&self.parts.bus, rpc::SHARED, CHAINS));
        let mut changed = self.note.changed();
        let mut wait = TELL.0;
        loop {
            drop(changed.borrow_and_update());
            let Some(what) = self.note.get().untold.first().cloned() else {
                if changed.changed().await.is_err() {
                    return;
                }
                continue;
            };
            let report = Report { app: self.app.clone(), instance: self.id().clone(), what };
            match rpc::answered(client.report(context::current(), report).await) {
                Ok(()) => {
                    wait = TELL.0;
                    self.note.change(|note| drop(note.untold.remove(0)));
                }
                Err(error) => {
                    tracing::debug!(app = %self.app, %error, "no coordinator takes what is told of an app; trying again");
                    sleep(wait).await;
                    wait = (wait * 2).min(TELL.1);
                }
            }
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

impl Exit {
    fn of(seen: &Inspection) -> Self {
        let ran = seen.started_at.zip(seen.finished_at).map(|(from, to)| to - from);
        Self {
            code: seen.exit_code.unwrap_or(137),
            out_of_memory: seen.oom_killed,
            ran: ran.and_then(|ran| ran.try_into().ok()).unwrap_or_default(),
        }
    }
}

/// Where the container is in its network.
fn address(seen: &Inspection, network: &str) -> Option<IpAddr> {
    let own = seen.networks.iter().find(|one| one.name == network)?;
    own.ip_address.as_ref().or(own.ipv6_address.as_ref())?.parse().ok()
}

/// Which of the ports do not accept.
async fn silent(address: IpAddr, ports: &[u16]) -> Vec<u16> {
    let tries = ports.iter().map(|port| async move {
        let accepted = timeout(ACCEPT, TcpStream::connect((address, *port))).await;
        (!matches!(accepted, Ok(Ok(_)))).then_some(*port)
    });
    futures::future::join_all(tries).await.into_iter().flatten().collect()
}
