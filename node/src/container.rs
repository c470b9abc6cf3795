//! A container as a CI: bound to a name, answering through one table of skills.
//!
//! `read` skills ask the engine and this host's files at the moment of the call; nothing is ever run in the container
//! by them, and no answer is cached.

mod answer;
mod arguments;
mod debug;
mod deployed;
mod describe;
mod examination;
mod exec;
mod health;
mod instant;
mod inventory;
mod lifecycle;
mod logs;
mod manifest;
mod message;
mod monitor;
mod notes;
pub mod optimize;
mod probe;
mod stats;
mod status;
pub(crate) mod text;

use std::{
    collections::BTreeMap,
    fmt,
    path::PathBuf,
    sync::{Arc, LazyLock, Mutex, OnceLock, PoisonError, Weak},
};

use aigis_proxy::{
    Address, Error, Name, NodeName, SkillPath,
    dispatch::Dispatcher,
    skill::{self, Answer, Call, Ci, SkillInfo, Table},
};
use futures::{FutureExt as _, future::BoxFuture};
use time::OffsetDateTime;

pub(crate) use answer::{Fault, Look, Reply};
pub(crate) use arguments::Whole;
pub use deployed::Deployed;
pub(crate) use examination::examine;
pub use health::Verdict;
pub(crate) use health::outward;
pub(crate) use instant::{Instant, Moment};
pub(crate) use logs::{Frame, Line};
pub(crate) use message::Said;
pub use notes::{Note, Notes};

use crate::{
    engine::{Container as Listed, ContainerId, Engine, watch::Watch},
    mask::Masks,
    naming::{self, Declared},
    usage::Sampler,
};

/// What all container CIs of a node share.
#[derive(Debug)]
pub struct Host {
    /// The node's name.
    pub node: NodeName,
    /// Its engine.
    pub engine: Engine,
    /// What is known of the engine's containers.
    pub watch: Watch,
    /// What they use.
    pub sampler: Sampler,
    /// Where the node keeps its files.
    pub data: PathBuf,
    /// The proposals that were issued.
    pub proposals: optimize::Ledger,
    /// What is masked in what containers print.
    pub masks: Masks,
    /// Where containers come from that a later package kept.
    pub notes: Notes,
    dispatcher: OnceLock<Dispatcher>,
}

impl Host {
    /// Makes what container CIs share.
    #[must_use]
    pub fn new(node: NodeName, engine: Engine, watch: Watch, sampler: Sampler, data: PathBuf) -> Self {
        let proposals = optimize::Ledger::open(&data);
        let (masks, notes) = (Masks::default(), Notes::of(&data));
        Self { node, engine, watch, sampler, data, proposals, masks, notes, dispatcher: OnceLock::new() }
    }

    /// Sets the way by which a message runs what changes something, so that permission, journal and deadline are the
    /// usual ones. Only the first call counts.
    pub fn set_dispatcher(&self, dispatcher: Dispatcher) {
        // A second one would be a second directory of the same node: the first stays.
        let _ = self.dispatcher.set(dispatcher);
    }

    /// The way by which a message runs what changes something.
    #[must_use]
    pub fn dispatcher(&self) -> Option<&Dispatcher> {
        self.dispatcher.get()
    }
}

/// The container that a CI stands for at the moment.
#[derive(Debug, Clone, PartialEq)]
pub struct Bound {
    /// What the engine lists of it.
    pub container: Arc<Listed>,
    /// What its labels declare.
    pub declared: Declared,
    /// What a deployment left on it, if one has set it up.
    pub deployed: Deployed,
    /// The labels that its record keeps.
    pub labels: BTreeMap<String, String>,
    /// What could not be followed in its name and labels.
    pub warnings: Vec<String>,
    /// Since when its CI is `live`.
    pub live_since: OffsetDateTime,
}

impl Bound {
    /// Reads what a listed container's labels say.
    #[must_use]
    pub fn new(container: Arc<Listed>, live_since: OffsetDateTime) -> Self {
        let mut declared = naming::declared(&container.labels);
        let deployed = Deployed::read(&container.labels);
        declared.services.extend(deployed.services());
        let (labels, mut warnings) = naming::kept_labels(&container.labels);
        warnings.extend(naming::ci_name(&container.name, &container.labels).warnings);
        warnings.extend(declared.warnings.iter().cloned());
        Self { container, declared, deployed, labels, warnings, live_since }
    }

    /// The container's id.
    #[must_use]
    pub fn id(&self) -> &ContainerId {
        &self.container.id
    }

    /// The container's own name.
    #[must_use]
    pub fn container_name(&self) -> &str {
        &self.container.name
    }

    /// The service of which it is a replica.
    #[must_use]
    pub fn service(&self) -> Option<&Name> {
        self.declared.service.as_ref()
    }
}

/// The CI of the container of one name.
pub struct Container {
    host: Arc<Host>,
    name: Name,
    alias: Option<Name>,
    bound: Mutex<Arc<Bound>>,
    applying: tokio::sync::Mutex<()>,
    /// The CI that people meet, where that is not this one: of an app, whose container this is.
    face: OnceLock<Weak<dyn Ci>>,
}

impl fmt::Debug for Container {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Container").field("name", &self.name).field("id", self.bound().id()).finish_non_exhaustive()
    }
}

impl Container {
    /// Makes the CI of that name.
    #[must_use]
    pub fn new(host: Arc<Host>, name: Name, bound: Bound) -> Self {
        let alias = naming::alias(&name);
        let (bound, face) = (Mutex::new(Arc::new(bound)), OnceLock::new());
        Self { host, name, alias, bound, applying: tokio::sync::Mutex::new(()), face }
    }

    /// Has what people say to it go by the skills of that CI, which it stands behind.
    pub(crate) fn stand_behind(&self, face: Weak<dyn Ci>) {
        // The first one stays: a container belongs to one app.
        let _ = self.face.set(face);
    }

    /// The CI that people meet.
    pub(crate) fn face(self: &Arc<Self>) -> Arc<dyn Ci> {
        self.face.get().and_then(Weak::upgrade).unwrap_or_else(|| Arc::clone(self) as Arc<dyn Ci>)
    }

    /// Binds it to another container of its name, or to what has become of the same one.
    pub fn bind(&self, bound: Bound) {
        *self.bound.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(bound);
    }

    /// The container that it stands for.
    #[must_use]
    pub fn bound(&self) -> Arc<Bound> {
        Arc::clone(&self.bound.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Its other name.
    #[must_use]
    pub fn alias(&self) -> Option<&Name> {
        self.alias.as_ref()
    }

    /// What it shares with the node's other containers.
    #[must_use]
    pub fn host(&self) -> &Arc<Host> {
        &self.host
    }

    /// `NAME@NODE`.
    #[must_use]
    pub fn address(&self) -> Address {
        Address { name: self.name.clone(), node: Some(self.host.node.clone()) }
    }

    /// Held while a proposal is applied: one at a time on a CI.
    pub(crate) fn applying(&self) -> &tokio::sync::Mutex<()> {
        &self.applying
    }
}

static TABLE: LazyLock<Table<Container>> = LazyLock::new(|| {
    let mut table = Table::new();
    describe::add(&mut table);
    message::add(&mut table);
    status::add(&mut table);
    health::add(&mut table);
    inventory::add(&mut table);
    stats::add(&mut table);
    logs::add(&mut table);
    monitor::add(&mut table);
    debug::add(&mut table);
    lifecycle::add(&mut table);
    exec::add(&mut table);
    optimize::add(&mut table);
    manifest::add(&mut table);
    table
});

/// The skills that container CIs have; those of one may be fewer.
#[must_use]
pub fn table() -> &'static Table<Container> {
    &TABLE
}

impl Ci for Container {
    fn name(&self) -> &Name {
        &self.name
    }

    fn node(&self) -> &NodeName {
        &self.host.node
    }

    fn skills(&self) -> Vec<Arc<SkillInfo>> {
        let bound = self.bound();
        table().skills().into_iter().filter(|info| bound.deployed.has(info.path.as_str())).collect()
    }

    fn skill(&self, path: &str) -> Option<Arc<SkillInfo>> {
        table().skill(path).filter(|_| self.bound().deployed.has(path))
    }

    fn run(self: Arc<Self>, path: SkillPath, call: Call) -> BoxFuture<'static, Result<Answer, Error>> {
        if self.skill(path.as_str()).is_none() {
            return std::future::ready(Err(skill::unknown(&path, &self.skills()))).boxed();
        }
        table().run(self, &path, call)
    }
}
