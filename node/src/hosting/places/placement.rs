//! The home of a plugin that runs elsewhere: finds a place, puts the plugin there, and follows what becomes of it.

use std::{
    sync::{Arc, Weak},
    time::{Duration, Instant},
};

use aigis_proxy::{
    Bus, Code, Error, MeshName, Name, NodeName,
    blob::{Content, Digest},
    bridge::{Answered, Invocation},
    rpc::{self, Asker},
    secret::SecretName,
    subject::Caller,
    sync::lock,
    task,
};
use aigis_registry::State as Sighted;
use serde::{Deserialize, Serialize};
use tokio::sync::Mutex as Turn;

use super::{
    super::{Hosting, journal, plugin::Plugin, prepare::Prepared, serving, standing::State, ways::Ways},
    Known, News, PLACES, PlacesClient, PlacesRequest, PlacesResponse, Using,
    choice::{self, Host},
};
use crate::plugins::secret_files::Stored;

/// How long a place may take for what is quickly done.
pub(super) const SHORT: Duration = Duration::from_secs(20);
/// How soon what failed for want of the bus is tried again.
const AGAIN: Duration = Duration::from_secs(1);
/// After which time a plugin that may run elsewhere does.
const MOVE: Duration = Duration::from_secs(60);

/// What asks a place.
pub(super) type Client = PlacesClient<Asker<PlacesRequest, PlacesResponse>>;

/// What it is made of.
pub(crate) struct Parts {
    pub(crate) mesh: MeshName,
    /// The node's own connection.
    pub(crate) bus: Bus,
    /// Who signs for the users of plugins.
    pub(crate) issuer: NodeName,
    /// Through which all of the mesh is known.
    pub(crate) ways: Arc<Ways>,
    /// Where programs that serve by themselves are made known.
    pub(crate) hosting: Weak<Hosting>,
}

impl Parts {
    /// What asks a place.
    pub(super) fn asker(&self, place: &NodeName) -> Client {
        PlacesClient::from(Asker::new(&self.bus, place.as_str(), PLACES))
    }
}

/// A plugin on its way to a place, or there. Dropping this leaves it there.
#[derive(Debug)]
pub(crate) struct Placement {
    inner: Arc<Inner>,
    /// Ends when it is dropped.
    task: std::sync::Mutex<Option<task::Owned>>,
}

pub(super) struct Inner {
    pub(super) parts: Arc<Parts>,
    pub(super) plugin: Arc<Plugin>,
    host: Host,
    /// What is to run, and its secrets; held while it is being put somewhere.
    wanted: Turn<Wanted>,
    /// Where it is, as far as is known.
    place: std::sync::Mutex<Option<NodeName>>,
}

impl std::fmt::Debug for Inner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Inner").field("plugin", &self.plugin).field("host", &self.host).finish_non_exhaustive()
    }
}

/// What is to run at a place.
pub(crate) struct Wanted {
    pub(crate) prepared: Arc<Prepared>,
    pub(crate) secrets: Stored,
}

/// What is kept over a start of the home: where the plugin is, and up to where its log was read.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Ledger {
    place: NodeName,
    read: journal::Place,
}

/// Why a place is followed no more.
enum Lost {
    /// It does not know the plugin.
    Unknown,
    /// It is away for too long.
    Away,
}

/// Why a plugin waits.
fn offline(place: &NodeName) -> Error {
    Error::unavailable(format!("it waits for the host {place}, which is offline")).sent(false)
}

/// The name to which a plugin's secret is bound on its way to a place.
///
/// # Errors
///
/// The two make no name.
pub(super) fn sealed_as(plugin: &Name, key: &SecretName) -> Result<SecretName, Error> {
    SecretName::parse(&format!("plugin/{plugin}/{}", key.as_str())).map_err(|error| Error::invalid(error.to_string()))
}

impl Placement {
    /// Begins to run a plugin that was made ready at the `host` that it asks for.
    ///
    /// # Errors
    ///
    /// What it asks for is no host.
    pub(crate) fn start(parts: Arc<Parts>, plugin: Arc<Plugin>, host: &str, wanted: Wanted) -> Result<Self, Error> {
        let host = Host::read(host)?;
        let inner = Arc::new(Inner { parts, plugin, host, wanted: Turn::new(wanted), place: Default::default() });
        let kept = inner.clone();
        let task = task::Owned::spawn("placement", async move { kept.keep().await });
        Ok(Self { inner, task: std::sync::Mutex::new(Some(task)) })
    }

    /// Where it runs, or is to run.
    pub(crate) fn place(&self) -> Option<NodeName> {
        lock(&self.inner.place).clone()
    }

    /// Runs this in place of what runs of it now. What is wrong with it leaves that running.
    ///
    /// # Errors
    ///
    /// What the place says.
    pub(crate) async fn renew(&self, wanted: Wanted) -> Result<(), Error> {
        let place = self.place();
        let mut present = self.inner.wanted.lock().await;
        let former = std::mem::replace(&mut *present, wanted);
        let Some(place) = place else { return Ok(()) };
        self.inner.put(&place, &present).await.inspect_err(|_| *present = former)
    }

    /// Uses an object of its process.
    ///
    /// # Errors
    ///
    /// What the place answers; `unavailable` while there is none.
    pub(crate) async fn invoke(&self, invocation: Invocation) -> Result<Answered, Error> {
        let away = || Error::unavailable("the process of the plugin has no host now").sent(false);
        let place = self.place().ok_or_else(away)?;
        let Invocation { path, caller: Caller { role, name }, may, timeout, call, body, .. } = invocation;
        let plugin = self.inner.plugin.name.clone();
        let using = Using { plugin, path, role, caller: name, may, call, body: Content(body) };
        let answered = rpc::answered(self.inner.parts.asker(&place).invoke(rpc::within(timeout), using).await)?;
        Ok(Answered::Value(answered.0))
    }

    /// Ends it at its place.
    pub(crate) async fn stop(&self) {
        drop(lock(&self.task).take());
        let place = lock(&self.inner.place).take();
        if let Some(place) = place {
            self.inner.parts.end(&place, &self.inner.plugin.name, false).await;
        }
    }
}

impl Parts {
    /// Has a place end a plugin. A place that does not hear this asks, when it is back, whether the plugin is wanted there.
    async fn end(&self, place: &NodeName, plugin: &Name, remove: bool) {
        if let Err(error) = rpc::answered(self.asker(place).end(rpc::within(SHORT), plugin.clone(), remove).await) {
            tracing::warn!(%error, %place, %plugin, "a place was not told to end a plugin; it asks when it is back");
        }
    }

    /// Has the last place of a plugin remove what it has of it.
    pub(crate) async fn clear(&self, plugin: &Plugin) {
        if let Some(Ledger { place, .. }) = read(plugin) {
            self.end(&place, &plugin.name, true).await;
        }
    }
}

impl Inner {
    async fn keep(&self) {
        let mut avoided = None;
        loop {
            let place = self.choose(avoided.take()).await;
            *lock(&self.place) = Some(place.clone());
            self.plugin.change(|standing| standing.place = Some(place.clone()));
            let put = {
                let wanted = self.wanted.lock().await;
                self.put(&place, &wanted).await
            };
            match put {
                Ok(()) => {}
                Err(error) if matches!(error.code, Code::Unavailable | Code::DeadlineExceeded) => {
                    self.waits(error);
                    tokio::time::sleep(AGAIN).await;
                    continue;
                }
                Err(error) => return self.plugin.fail(State::Failed, error),
            }
            match self.follow(&place).await {
                Lost::Unknown => {}
                Lost::Away => avoided = Some(place),
            }
        }
    }

    /// Awaits a place, rather another one than that.
    async fn choose(&self, avoided: Option<NodeName>) -> NodeName {
        let Parts { ways, .. } = &*self.parts;
        loop {
            let chosen = async {
                let cache = ways.cache().await?;
                let mut changed = cache.changed();
                let candidates = self.host.candidates(&changed.borrow_and_update());
                Ok::<_, Error>((candidates, changed))
            };
            let error = match chosen.await {
                Ok((Ok(mut hosts), _)) => {
                    let former = lock(&self.place).clone().or_else(|| read(&self.plugin).map(|ledger| ledger.place));
                    if let Some(former) =
                        former.filter(|former| hosts.contains(former) && avoided.as_ref() != Some(former))
                    {
                        return former;
                    }
                    if hosts.len() > 1 {
                        hosts.retain(|host| avoided.as_ref() != Some(host));
                    }
                    let tree = self.wanted.lock().await.tree();
                    let best = match tree {
                        Ok(tree) => choice::roomiest(&self.parts, &self.plugin.name, tree, hosts).await,
                        Err(_) => hosts.into_iter().next(),
                    };
                    match best {
                        Some(best) => return best,
                        None => Error::unavailable("no host took it"),
                    }
                }
                Ok((Err(error), mut changed)) => {
                    self.waits(error);
                    // Who is there may also change with the time alone.
                    let _ = tokio::time::timeout(AGAIN, changed.changed()).await;
                    continue;
                }
                Err(error) => error,
            };
            self.waits(error);
            tokio::time::sleep(AGAIN).await;
        }
    }

    /// Says why it has no place, once for each reason.
    fn waits(&self, error: Error) {
        let standing = self.plugin.standing();
        let is_known = standing.error.as_ref().is_some_and(|known| known.message == error.message);
        if standing.state != State::Waiting || !is_known {
            self.plugin.fail(State::Waiting, error);
        }
    }

    /// Takes over what the place tells, until it is lost.
    async fn follow(&self, place: &NodeName) -> Lost {
        let (plugin, asker) = (&self.plugin, self.parts.asker(place));
        let read = read(plugin).filter(|ledger| ledger.place == *place).map(|ledger| ledger.read);
        let mut known = Known { told: None, read: read.unwrap_or_default() };
        let (mut away_since, mut offered) = (None, None);
        loop {
            match rpc::answered(asker.follow(rpc::within(SHORT), plugin.name.clone(), known.clone()).await) {
                Ok(News { told, memory_bytes, lines, read }) => {
                    away_since = None;
                    for line in &lines {
                        plugin.journal.adopt(line);
                    }
                    if told.state == State::Running && told.pid != offered {
                        if let Err(error) = self.offer().await {
                            // It is asked again with the next news.
                            self.waits(error);
                            known = Known { told: None, read };
                            tokio::time::sleep(AGAIN).await;
                            continue;
                        }
                        offered = told.pid;
                    }
                    plugin.change(|standing| standing.mirror(place, &told, memory_bytes));
                    if !lines.is_empty() || known.told.is_none() {
                        write(plugin, &Ledger { place: place.clone(), read });
                    }
                    known = Known { told: Some(told), read };
                }
                Err(error) if error.code == Code::NotFound => return Lost::Unknown,
                Err(error) => {
                    known.told = None;
                    let since = *away_since.get_or_insert_with(Instant::now);
                    if self.is_offline(place).await {
                        self.waits(Error { cause: Some(Box::new(error)), ..offline(place) });
                        if self.host.may_move() && since.elapsed() >= MOVE {
                            return Lost::Away;
                        }
                    }
                    tokio::time::sleep(AGAIN).await;
                }
            }
        }
    }

    /// Makes known what a program serves by itself there.
    async fn offer(&self) -> Result<(), Error> {
        let manifest = self.wanted.lock().await.prepared.manifest.clone();
        if !manifest.serves {
            return Ok(());
        }
        let exposed = serving::ask(&self.parts.bus, &self.plugin.name, manifest.start_timeout).await?;
        let ends = || Error::unavailable("the node ends").sent(false);
        self.parts.hosting.upgrade().ok_or_else(ends)?.offer(&self.plugin, exposed).await
    }

    /// Brings the plugin to a place, and has it run there; gives up when the place goes offline, which nobody there could tell.
    async fn put(&self, place: &NodeName, wanted: &Wanted) -> Result<(), Error> {
        tokio::select! {
            done = self.bring(place, wanted) => done,
            () = self.gone(place) => Err(offline(place)),
        }
    }

    /// Returns when a place is offline.
    async fn gone(&self, place: &NodeName) {
        loop {
            tokio::time::sleep(AGAIN).await;
            if self.is_offline(place).await {
                return;
            }
        }
    }

    async fn is_offline(&self, place: &NodeName) -> bool {
        let cache = self.parts.ways.cache().await;
        cache.is_ok_and(|cache| cache.snapshot().sight(place.as_str()).state == Sighted::Offline)
    }
}

impl Wanted {
    /// The digest of the tree.
    pub(super) fn tree(&self) -> Result<Digest, Error> {
        let digest = self.prepared.present.as_ref().map(|present| present.digest.as_str()).unwrap_or_default();
        digest.parse().map_err(|_| {
            Error::precondition("it is not known what was delivered of the plugin")
                .hint("reload it: aish plugins reload")
        })
    }
}

fn read(plugin: &Plugin) -> Option<Ledger> {
    serde_json::from_slice(&std::fs::read(plugin.folder.place()).ok()?).ok()
}

/// Without the ledger the plugin is placed anew, and some of its log read twice.
fn write(plugin: &Plugin, ledger: &Ledger) {
    let written = serde_json::to_vec(ledger).map(|text| crate::home::replace(&plugin.folder.place(), &text));
    if !matches!(written, Ok(Ok(()))) {
        tracing::debug!(plugin = %plugin.name, "where a plugin is was not written down");
    }
}
