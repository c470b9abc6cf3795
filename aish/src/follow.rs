//! Following a chain: its steps, their logs, its questions and what its app writes, until it ends or the user has had enough.
//!
//! A follower reads the records as they change, and asks for what is in no record: the logs at whoever holds the chain, the
//! app's output at its place. It decides nothing: if it vanishes, the chain goes on.

use std::{collections::BTreeMap, time::Duration};

use aigis_proxy::{
    Address, Bus, Error, NodeName,
    services::{chains::Control, instances::Signal},
};
use aigis_registry::{
    Asking, Kind, Resolved, State,
    shared::{AppRecord, ChainRecord, Key, Seen, Status, StepRecord, Watch},
};
use futures::{FutureExt as _, StreamExt as _, future::BoxFuture, stream::FuturesUnordered};
use serde_json::json;
use tokio::{
    signal::unix::SignalKind,
    time::{Instant, sleep, sleep_until},
};

use self::{
    app::{At, Outputs},
    logs::Logs,
    ports::Ports,
    questions::Questions,
    teller::Teller,
};
use crate::{coordinator::Coordinator, exit::Failure, signals::Signals};

mod app;
mod logs;
pub(crate) mod ports;
mod questions;
pub(crate) mod teller;

/// How long a chain may take to end once it was told to.
const ENDING: Duration = Duration::from_secs(45);
/// How long is waited where the records cannot be watched now.
const PAUSE: Duration = Duration::from_millis(500);
/// How often what cannot be told by a record is looked at again.
const LOOK: Duration = Duration::from_secs(1);
/// How long a place may take to serve an app that is ready under its name.
const NAMED: Duration = Duration::from_secs(10);

/// How a chain is followed.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Wishes {
    /// Whether it is enough that the app serves.
    pub(crate) until_ready: bool,
    /// Whether Ctrl-C means the chain, and not only who follows it.
    pub(crate) steers: bool,
    /// Whether the chain is to be cancelled at once: the user has changed their mind already.
    pub(crate) cancels: bool,
}

/// How following ended.
#[derive(Debug)]
pub(crate) struct Followed {
    /// The chain, as it stood last.
    pub(crate) chain: ChainRecord,
    /// Whether the user ended it.
    pub(crate) interrupted: bool,
    /// Whether it was left because its app serves.
    pub(crate) ready: bool,
    /// Whether the app does not listen on all its ports, though it had its time.
    pub(crate) silent: bool,
}

/// Follows a chain to its end.
///
/// # Errors
///
/// What keeps from writing, or from reading on.
pub(crate) async fn follow(
    asking: &Asking,
    chain: ChainRecord,
    wishes: &Wishes,
    ports: &mut Ports,
    signals: Option<&mut Signals>,
    teller: &Teller,
) -> Result<Followed, Failure> {
    let shared = asking.shared();
    let (record, steps) = (format!("chain.{}", chain.id), Key::steps(&chain.id));
    let app = Key::App(chain.app.clone()).to_string();
    let watch = shared.watch(&[&record, &steps, &app]);
    let bus = asking.bus().clone();
    let follower = Follower {
        logs: Logs::new(&bus, &chain.id),
        outputs: Outputs::new(&bus, &chain.app),
        questions: Questions::new(&bus, &chain.id),
        ports,
        told: None,
        told_ready: false,
        ready_since: None,
        interrupts: 0,
        give_up: None,
        deeds: FuturesUnordered::new(),
        steps: BTreeMap::new(),
        app: None,
        asking: asking.clone(),
        bus,
        chain,
        wishes,
        teller,
    };
    Box::pin(follower.run(watch, signals)).await
}

struct Follower<'a> {
    asking: Asking,
    bus: Bus,
    chain: ChainRecord,
    steps: BTreeMap<u32, StepRecord>,
    app: Option<AppRecord>,
    logs: Logs,
    outputs: Outputs,
    questions: Questions,
    ports: &'a mut Ports,
    wishes: &'a Wishes,
    teller: &'a Teller,
    /// Which status was told last.
    told: Option<(Status, String)>,
    told_ready: bool,
    /// Since when only its name is waited for.
    ready_since: Option<Instant>,
    /// How often the user pressed Ctrl-C.
    interrupts: u32,
    /// When it is no longer waited for an end that was asked for.
    give_up: Option<Instant>,
    /// What was asked of others, and how it fared.
    deeds: FuturesUnordered<BoxFuture<'static, Result<(), Error>>>,
}

impl Follower<'_> {
    async fn run(mut self, mut watch: Watch, mut signals: Option<&mut Signals>) -> Result<Followed, Failure> {
        let (mut link, mut names) = (self.bus.link(), self.asking.changed());
        let (mut up, mut whole) = (true, false);
        if self.wishes.cancels {
            self.interrupt(SignalKind::interrupt()).await?;
        }
        loop {
            if whole && let Some(ready) = self.update().await? {
                let interrupted = self.interrupts > 0;
                let silent = self.serving().is_some_and(|one| !one.silent.is_empty());
                return Ok(Followed { chain: self.chain, interrupted, ready, silent });
            }
            let late = self.give_up.unwrap_or_else(|| Instant::now() + LOOK);
            tokio::select! {
                seen = watch.next() => match seen {
                    Ok(Seen::All) => whole = true,
                    Ok(seen) => self.see(seen)?,
                    Err(error) => {
                        tracing::debug!(%error, "the records cannot be watched now");
                        sleep(PAUSE).await;
                    }
                },
                piece = self.logs.next() => self.logs.take(piece, &self.steps, self.teller).await?,
                read = self.outputs.next() => {
                    let over = self.chain.status.is_over();
                    self.outputs.take(read, self.app.as_ref(), over, self.teller).await?;
                }
                answered = self.questions.next() => self.questions.take(answered, self.teller).await?,
                Some(done) = self.deeds.next() => if let Err(error) = done {
                    self.teller.note(error.message).await?;
                },
                kind = signal(&mut signals) => {
                    if self.interrupt(kind).await? {
                        return Ok(Followed { chain: self.chain, interrupted: true, ready: false, silent: false });
                    }
                }
                changed = link.changed() => {
                    if changed.is_err() {
                        return Err(Error::unavailable("the connection to the bus was closed").into());
                    }
                    let now = link.borrow_and_update().up;
                    if now != up {
                        up = now;
                        let words = if up { "bus back" } else { "bus lost; the chain goes on, and so does this when it is back" };
                        self.teller.note(words).await?;
                    }
                }
                _ = names.changed(), if self.ready_since.is_some() => {}
                () = sleep_until(late) => if self.give_up.is_some_and(|late| late <= Instant::now()) {
                    let id = &self.chain.id;
                    self.teller.note(format!("{id} does not end; see: aish chains show {id}")).await?;
                    return Ok(Followed { chain: self.chain, interrupted: true, ready: false, silent: false });
                }
            }
        }
    }

    /// Takes a record over.
    fn see(&mut self, seen: Seen) -> Result<(), Failure> {
        match seen {
            Seen::Record(Key::Chain(id), Some(raw)) if id == self.chain.id => self.chain = raw.read()?.content,
            Seen::Record(Key::Chain(id), None) if id == self.chain.id => {
                return Err(Error::new(aigis_proxy::Code::NotFound, format!("{id} is no longer known")).into());
            }
            Seen::Record(Key::Step(_, n), Some(raw)) => drop(self.steps.insert(n, raw.read()?.content)),
            Seen::Record(Key::Step(_, n), None) => drop(self.steps.remove(&n)),
            Seen::Record(Key::App(_), raw) => {
                self.app = raw.map(|raw| raw.read()).transpose()?.map(|version| version.content);
                // Each is noted as it comes: a later version may no longer name it.
                let instances = self.app.iter().flat_map(|app| app.instance.iter().chain(&app.candidate));
                instances.filter(|one| one.id.chain == self.chain.id).for_each(|one| self.outputs.add(one));
            }
            Seen::Damaged(Key::Chain(id), error) if id == self.chain.id => return Err(error.into()),
            Seen::Damaged(key, error) => tracing::warn!(%key, %error, "a record is damaged"),
            Seen::Record(..) | Seen::Anew | Seen::All => {}
        }
        Ok(())
    }

    /// Tells what is new; answers, if there is no more to wait for, whether that is because the app serves.
    async fn update(&mut self) -> Result<Option<bool>, Failure> {
        self.tell_status().await?;
        self.logs.update(&self.chain, &self.steps, self.teller).await?;
        let asked = self.chain.question.as_ref().filter(|_| self.chain.status == Status::Asking);
        self.questions.update(asked, self.teller).await?;
        let serving = self.serving().cloned();
        self.ports.update(serving.as_ref(), self.teller).await?;
        if let Some(instance) = serving
            && self.chain.status == Status::Serving
        {
            if !instance.silent.is_empty() && !self.told_ready {
                let ports = instance.silent.iter().map(u16::to_string).collect::<Vec<_>>().join(", ");
                self.told_ready = true;
                self.teller.note(format!("{} does not listen on {ports}", self.chain.app)).await?;
            }
            if self.wishes.until_ready && self.interrupts == 0 && (instance.ready || !instance.silent.is_empty()) {
                let since = *self.ready_since.get_or_insert_with(Instant::now);
                // What comes next will speak of it by its name.
                if self.is_named(&instance.node) || since.elapsed() > NAMED {
                    return Ok(Some(true));
                }
            }
        }
        // An app may outlive its chain, where the record of that was lost.
        let is_told = self.outputs.is_told() || self.serving().is_some();
        let over = self.chain.status.is_over() && self.logs.is_told(&self.steps) && is_told;
        Ok(over.then_some(false))
    }

    /// The instance in force, if this chain made it and it has not ended.
    fn serving(&self) -> Option<&aigis_registry::shared::Instance> {
        let instance = self.app.as_ref()?.instance.as_ref();
        instance.filter(|one| one.id.chain == self.chain.id && one.exit_code.is_none() && one.end.is_none())
    }

    /// Whether the app is known by its name, at that place.
    fn is_named(&self, place: &NodeName) -> bool {
        let address = Address { name: self.chain.app.clone(), node: None };
        match self.asking.snapshot().resolve(&address) {
            Ok(Resolved::One(one)) => {
                one.state == State::Live && one.record.kind == Kind::App && one.record.node == *place
            }
            _ => false,
        }
    }

    async fn tell_status(&mut self) -> Result<(), Failure> {
        let now = (self.chain.status, self.chain.status_reason.clone());
        if self.told.as_ref() == Some(&now) {
            return Ok(());
        }
        let (app, reason) = (&self.chain.app, &self.chain.status_reason);
        let words = match self.chain.status {
            Status::Held => {
                let hold = self.chain.hold.as_ref().map(|hold| format!(" by {}: {}", hold.by, hold.why));
                format!("held{}", hold.unwrap_or_default())
            }
            Status::Queued if self.chain.queued_behind.is_some() => format!("queued: {reason}"),
            Status::Serving => {
                let node = self.serving().map(|one| format!(" on {}", one.node)).unwrap_or_default();
                format!("{app} serves{node}")
            }
            _ => String::new(),
        };
        if self.chain.status == Status::Serving {
            let one = self.serving();
            let fields = json!({
                "status": "serving", "node": one.map(|one| &one.node), "ports": one.map(|one| &one.ports),
            });
            self.teller.event("app", fields, words).await?;
        } else if !words.is_empty() && !self.teller.output().is_json() {
            self.teller.aside(words).await?;
        }
        self.told = Some(now);
        Ok(())
    }

    /// Does what a signal means; says whether following ends by it.
    async fn interrupt(&mut self, kind: SignalKind) -> Result<bool, Failure> {
        // Who is told to go, or has lost the terminal, leaves the chain alone.
        if !self.wishes.steers || kind != SignalKind::interrupt() {
            return Ok(true);
        }
        self.interrupts += 1;
        let running = self.serving().filter(|_| self.chain.status == Status::Serving).map(At::from);
        if let Some(at) = running.filter(|_| self.interrupts <= 3) {
            let (signal, name) = match self.interrupts {
                1 => (Signal::Interrupt, "SIGINT"),
                2 => (Signal::Terminate, "SIGTERM"),
                _ => (Signal::Kill, "SIGKILL"),
            };
            self.teller.aside(format!("{name} to {}", self.chain.app)).await?;
            if self.interrupts == 3 {
                self.give_up = Some(Instant::now() + ENDING);
            }
            self.deeds.push(app::signal(self.bus.clone(), self.chain.app.clone(), at, signal).boxed());
            return Ok(false);
        }
        if self.give_up.is_some() {
            return Ok(true);
        }
        self.give_up = Some(Instant::now() + ENDING);
        if !self.chain.status.is_over() {
            self.teller.aside(format!("cancelling {}", self.chain.id)).await?;
            let (coordinator, id) = (Coordinator::any(&self.bus), self.chain.id.clone());
            let cancel = async move { coordinator.control(&id, Control::Cancel).await.map(drop) };
            self.deeds.push(cancel.boxed());
        }
        Ok(false)
    }
}

async fn signal(signals: &mut Option<&mut Signals>) -> SignalKind {
    match signals {
        Some(signals) => signals.next().await,
        None => std::future::pending().await,
    }
}
