//! The core hosts of a node: usually one, in which all its core plugins are loaded; one that dies is started again with all
//! that it held.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    path::PathBuf,
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use aigis_proxy::{Code, Error, Grant, sync::lock, task};
use futures::{
    FutureExt as _,
    future::{BoxFuture, join_all},
};
use tokio::sync::Mutex as Turn;

use super::{
    away,
    core_host::CoreHost,
    line::{Generation, Line, Sink},
    means::Means,
    plugin::{Exposed, Plugin, Seat},
    prepare::Prepared,
    standing::State,
    ways::Ways,
};
use crate::plugins::{Told, interpreter::Interpreter, users};

mod moving;

use moving::{Companion, packages};

/// The first pause before a host that died is started again, and the longest.
const BACK_OFF: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(60));
/// A plugin in whose code so many hosts died within that time is taken out.
const DEADLY: (usize, Duration) = (3, Duration::from_secs(10 * 60));
/// How long calls in flight have when what they run is replaced.
const REPLACED: Duration = Duration::from_secs(30);

/// All of them.
pub(crate) struct Cores {
    means: Arc<Means>,
    slots: Mutex<Vec<Arc<Slot>>>,
    generations: AtomicU64,
    /// What any of the plugins may call: one process cannot be parted.
    grants: Mutex<BTreeSet<Grant>>,
    /// One plugin is loaded, or one host started, at a time.
    turn: Turn<()>,
}

/// The place of one host, also while none runs there.
struct Slot {
    interpreter: Interpreter,
    host: Mutex<Option<Arc<CoreHost>>>,
    /// Its plugins, in the order in which they were loaded.
    members: Mutex<Vec<Member>>,
    lines: Arc<Lines>,
    keeper: Mutex<Option<task::Owned>>,
}

#[derive(Clone)]
struct Member {
    plugin: Arc<Plugin>,
    generation: Generation,
    /// Where its packages lie, from which the process has imported.
    packages: Option<PathBuf>,
    /// When the last hosts died in its code.
    deaths: VecDeque<Instant>,
}

/// A plugin that was loaded and is not called yet.
pub(crate) struct Loaded {
    slot: Arc<Slot>,
    host: Arc<CoreHost>,
    generation: Generation,
    /// Those that were loaded with it, where the host is a new one that takes the place of another.
    companions: Option<Vec<Companion>>,
    packages: Option<PathBuf>,
    /// What it offers.
    pub(crate) exposed: Arc<Exposed>,
}

/// Gives what is said in a host to the plugins that said it.
#[derive(Default)]
struct Lines(Mutex<BTreeMap<Generation, Arc<Plugin>>>);

impl Sink for Lines {
    fn line(&self, line: Line<'_>) {
        let plugin = line.generation.and_then(|generation| lock(&self.0).get(&generation).cloned());
        match plugin {
            Some(plugin) => plugin.journal.take(line),
            // What a library prints past Python belongs to nobody.
            None => tracing::info!(pid = line.pid, "core host: {}", line.text),
        }
    }
}

impl Slot {
    fn new(interpreter: Interpreter) -> Arc<Self> {
        let (host, members, lines, keeper) = Default::default();
        Arc::new(Self { interpreter, host, members, lines, keeper })
    }

    /// Whether nothing is loaded there, nor has calls that are under way.
    fn is_empty(&self) -> bool {
        self.members().is_empty() && lock(&self.lines.0).is_empty()
    }

    fn members(&self) -> MutexGuard<'_, Vec<Member>> {
        lock(&self.members)
    }

    fn host(&self) -> Option<Arc<CoreHost>> {
        lock(&self.host).clone()
    }
}

impl Cores {
    /// None yet.
    pub(crate) fn new(means: Arc<Means>) -> Arc<Self> {
        let (slots, generations, grants, turn) = Default::default();
        Arc::new(Self { means, slots, generations, grants, turn })
    }

    /// Loads a plugin into the host of its interpreter; into one of its own where it does not get on with the others; into a
    /// new one, with all others of its host, where its requirements are others than when it was loaded there.
    ///
    /// # Errors
    ///
    /// What is wrong with the plugin. A former copy of it goes on serving.
    pub(crate) async fn load(self: &Arc<Self>, plugin: &Arc<Plugin>, prepared: &Prepared) -> Result<Loaded, Error> {
        let _turn = self.turn.lock().await;
        let python = prepared.python.as_ref().ok_or_else(|| Error::internal("no interpreter was chosen"))?;
        self.grant(plugin).await?;
        let slots: Vec<Arc<Slot>> = lock(&self.slots).clone();
        // A plugin stays where it is, if it can.
        let (own, others): (Vec<_>, Vec<_>) =
            slots.into_iter().partition(|slot| slot.members().iter().any(|member| member.plugin.name == plugin.name));
        let mut clash = None;
        for slot in own.into_iter().chain(others) {
            if slot.interpreter.path != python.interpreter.path {
                continue;
            }
            let loaded = match slot.had_other_packages(plugin, prepared) {
                true => self.load_anew(&slot, plugin, prepared).await,
                false => self.load_into(&slot, plugin, prepared).await,
            };
            match loaded {
                Err(error) if error.detail("clash").is_some() => clash = Some(error),
                loaded => return loaded,
            }
        }
        if let Some(clash) = clash {
            let text = format!("it gets a core host of its own: {}", clash.message);
            plugin.journal.note("warning", &text);
            plugin.change(|standing| standing.warnings.push(text));
        }
        let slot = Slot::new(python.interpreter.clone());
        self.begin(&slot).await?;
        let loaded = self.load_into(&slot, plugin, prepared).await;
        match &loaded {
            Ok(_) => lock(&self.slots).push(slot),
            Err(_) => self.end(&slot, Duration::ZERO).await,
        }
        loaded
    }

    /// Has the core hosts do what the plugin may.
    async fn grant(&self, plugin: &Plugin) -> Result<(), Error> {
        let asked = Ways::grants(plugin.entry().grants.as_ref())?;
        let (all, is_more) = {
            let mut known = lock(&self.grants);
            let before = known.len();
            known.extend(asked);
            (known.iter().cloned().collect(), known.len() > before)
        };
        if is_more && !lock(&self.slots).is_empty() {
            // Who is called judges by what the issuer wrote, whichever connection a call comes by.
            self.means.ways.of(&users::of_core(self.means.node())?, all).await?;
        }
        Ok(())
    }

    async fn load_into(&self, slot: &Arc<Slot>, plugin: &Arc<Plugin>, prepared: &Prepared) -> Result<Loaded, Error> {
        let away = || away::blamed(Error::unavailable("the core host is being started again").sent(false));
        let host = slot.host().ok_or_else(away)?;
        let generation = Generation(self.generations.fetch_add(1, Ordering::Relaxed) + 1);
        lock(&slot.lines.0).insert(generation, plugin.clone());
        let within = prepared.manifest.start_timeout;
        match host.load(generation, &plugin.told(prepared), within).await {
            Ok(ready) => {
                let exposed = Arc::new(Exposed::of(ready.skills, ready.warnings));
                let (companions, packages) = (None, packages(prepared));
                Ok(Loaded { slot: slot.clone(), host, generation, companions, packages, exposed })
            }
            Err(error) => {
                lock(&slot.lines.0).remove(&generation);
                Err(error)
            }
        }
    }

    /// Has a loaded plugin called from now on; a former copy of it ends with its last call.
    ///
    /// # Errors
    ///
    /// Its host has died meanwhile.
    pub(crate) async fn serve(self: &Arc<Self>, plugin: &Arc<Plugin>, loaded: Loaded) -> Result<(), Error> {
        let Loaded { slot, host, generation, companions, packages, .. } = loaded;
        let seat = Seat { core: host.clone(), generation: generation.0 };
        if let Some(companions) = companions {
            return self.switch(plugin, seat, slot, companions).await;
        }
        host.serve(generation).await?;
        let member = Member { plugin: plugin.clone(), generation, packages, deaths: VecDeque::new() };
        {
            let mut members = slot.members();
            match members.iter_mut().find(|known| known.plugin.name == plugin.name) {
                Some(known) => *known = member,
                None => members.push(member),
            }
        }
        self.sit(plugin, &slot, seat);
        Ok(())
    }

    /// Has a plugin called in that slot from now on, and in no other.
    fn sit(self: &Arc<Self>, plugin: &Arc<Plugin>, slot: &Arc<Slot>, seat: Seat) {
        for other in lock(&self.slots).iter().filter(|other| !Arc::ptr_eq(other, slot)) {
            other.members().retain(|member| member.plugin.name != plugin.name);
        }
        let former = plugin.sit(Some(seat));
        self.let_go(plugin, former);
    }

    /// Ends a loaded plugin that is not to be called after all.
    pub(crate) async fn discard(&self, loaded: Loaded) {
        let Loaded { slot, host, generation, companions, .. } = loaded;
        if companions.is_some() {
            return self.end(&slot, Duration::ZERO).await;
        }
        // A host that has died has unloaded it, too.
        let _ = host.unload(generation, Duration::ZERO).await;
        lock(&slot.lines.0).remove(&generation);
    }

    /// Ends the former copy of a plugin, beside all else, and the hosts that are empty then.
    fn let_go(self: &Arc<Self>, plugin: &Arc<Plugin>, former: Option<Seat>) {
        let Some(Seat { core, generation }) = former else { return };
        let (cores, plugin) = (self.clone(), plugin.clone());
        // It ends by itself: nobody waits for the last call of what was replaced.
        drop(task::spawn("unload", async move {
            if let Err(error) = core.unload(Generation(generation), REPLACED).await {
                tracing::debug!(%error, plugin = %plugin.name, "a former copy was not unloaded");
            }
            let slots: Vec<Arc<Slot>> = lock(&cores.slots).clone();
            for slot in slots {
                lock(&slot.lines.0).remove(&Generation(generation));
                cores.end_if_empty(&slot).await;
            }
        }));
    }

    /// Unloads a plugin: its calls have `grace`, then it cleans up.
    pub(crate) async fn unload(&self, plugin: &Plugin, grace: Duration) {
        let seat = plugin.sit(None);
        let slots: Vec<Arc<Slot>> = lock(&self.slots).clone();
        for slot in &slots {
            slot.members().retain(|member| member.plugin.name != plugin.name);
        }
        if let Some(Seat { core, generation }) = seat {
            let generation = Generation(generation);
            if let Err(error) = core.unload(generation, grace).await {
                tracing::debug!(%error, plugin = %plugin.name, "it was not unloaded");
            }
            slots.iter().for_each(|slot| drop(lock(&slot.lines.0).remove(&generation)));
        }
        for slot in slots {
            self.end_if_empty(&slot).await;
        }
    }

    async fn end_if_empty(&self, slot: &Arc<Slot>) {
        let _turn = self.turn.lock().await;
        if slot.is_empty() {
            lock(&self.slots).retain(|other| !Arc::ptr_eq(other, slot));
            self.end(slot, Duration::ZERO).await;
        }
    }

    /// The plugins that are loaded, as copies of them are loaded by others, in order.
    pub(crate) fn copies(&self) -> Vec<Told> {
        let slots = lock(&self.slots);
        let members: Vec<Member> = slots.iter().flat_map(|slot| slot.members().clone()).collect();
        let copy = |member: Member| {
            let told = member.plugin.told(&*member.plugin.prepared()?);
            let leaves = member.plugin.exposed().leaves.keys().map(ToString::to_string).collect();
            Some(Told { leaves, ..told })
        };
        members.into_iter().filter_map(copy).collect()
    }

    /// Starts the host of a slot. What keeps it does so again when it dies, so that the future names its own type.
    fn begin<'a>(self: &'a Arc<Self>, slot: &'a Arc<Slot>) -> BoxFuture<'a, Result<(), Error>> {
        self.begin_once(slot).boxed()
    }

    async fn begin_once(self: &Arc<Self>, slot: &Arc<Slot>) -> Result<(), Error> {
        let means = &self.means;
        let python = means.python(slot.interpreter.path.clone())?;
        let user = users::of_core(means.node())?;
        let grants: Vec<Grant> = lock(&self.grants).iter().cloned().collect();
        let way = means.ways.of(&user, grants).await?;
        let start = means.start(user, None);
        let host = Arc::new(CoreHost::start(&start, &python, way, slot.lines.clone()).await?);
        *lock(&slot.host) = Some(host.clone());
        let (cores, kept) = (Arc::downgrade(self), Arc::downgrade(slot));
        let keeper = task::Owned::spawn("core-host", async move {
            let ended = tokio::select! {
                ended = host.ended() => ended,
                why = host.exhausted() => {
                    tracing::warn!(%why, "a core host is ended");
                    host.kill().await
                }
            };
            let (Some(cores), Some(slot)) = (cores.upgrade(), kept.upgrade()) else { return };
            tracing::warn!(%ended, "a core host died");
            // Whoever keeps the next one must not be a task of this one's.
            drop(task::spawn("core-host-again", async move { cores.again(&slot, &host).await }));
        });
        *lock(&slot.keeper) = Some(keeper);
        Ok(())
    }

    /// Starts a host that died again, with all that it held but what killed it too often.
    async fn again(self: &Arc<Self>, slot: &Arc<Slot>, dead: &Arc<CoreHost>) {
        let _turn = self.turn.lock().await;
        let is_same = slot.host().is_some_and(|host| Arc::ptr_eq(&host, dead));
        if !is_same || !lock(&self.slots).iter().any(|known| Arc::ptr_eq(known, slot)) {
            return;
        }
        *lock(&slot.host) = None;
        let now = Instant::now();
        let culprits = dead.ran_at_the_end();
        let mut members = std::mem::take(&mut *slot.members());
        let mut deaths = 0;
        for member in &mut members {
            member.plugin.sit(None);
            member.plugin.change(|standing| standing.restarts += 1);
            if culprits.contains(&member.generation) {
                member.deaths.push_back(now);
            }
            member.deaths.retain(|death| now.saturating_duration_since(*death) < DEADLY.1);
            deaths = deaths.max(member.deaths.len());
            if member.deaths.len() < DEADLY.0 {
                member.plugin.enter(State::BackingOff);
            }
        }
        lock(&slot.lines.0).clear();
        members.retain(|member| {
            let stays = member.deaths.len() < DEADLY.0;
            if !stays {
                let message = format!("{} core hosts died within 10 min while its code ran", member.deaths.len());
                let hint = format!("mend it, then: aish plugins reload {}", member.plugin.name);
                member.plugin.fail(State::CrashLooping, Error::new(Code::FailedPrecondition, message).hint(hint));
            }
            stays
        });
        if members.is_empty() {
            // All that it held was taken out, or has gone elsewhere.
            lock(&self.slots).retain(|known| !Arc::ptr_eq(known, slot));
            return;
        }
        let mut pause = BACK_OFF.0 * u32::try_from(deaths.max(1)).unwrap_or(1);
        loop {
            tokio::time::sleep(pause).await;
            match self.begin(slot).await {
                Ok(()) => break,
                Err(error) => tracing::warn!(%error, "a core host cannot be started; trying again"),
            }
            pause = (pause * 2).min(BACK_OFF.1);
        }
        for mut member in members {
            let plugin = member.plugin.clone();
            match self.load_again(slot, &plugin).await {
                Ok(seat) => {
                    member.generation = Generation(seat.generation);
                    plugin.sit(Some(seat));
                    slot.members().push(member);
                    // What has a program of its own goes by that.
                    if plugin.standing().state == State::BackingOff {
                        plugin.enter(State::Running);
                    }
                }
                Err(error) => plugin.fail(State::Failed, error),
            }
        }
    }

    async fn load_again(&self, slot: &Arc<Slot>, plugin: &Arc<Plugin>) -> Result<Seat, Error> {
        let prepared = plugin.prepared().ok_or_else(|| Error::internal("it was never made ready"))?;
        let Loaded { host, generation, exposed, .. } = self.load_into(slot, plugin, &prepared).await?;
        host.serve(generation).await?;
        plugin.expose(exposed);
        Ok(Seat { core: host, generation: generation.0 })
    }

    async fn end(&self, slot: &Arc<Slot>, grace: Duration) {
        drop(lock(&slot.keeper).take());
        let host = lock(&slot.host).take();
        if let Some(host) = host {
            host.stop(grace).await;
        }
    }

    /// Ends all hosts: what runs has `grace`, then each plugin cleans up, the last one first.
    pub(crate) async fn stop(&self, grace: Duration) {
        let slots = std::mem::take(&mut *lock(&self.slots));
        join_all(slots.iter().map(|slot| self.end(slot, grace))).await;
    }
}
