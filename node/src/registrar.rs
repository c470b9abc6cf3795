//! Keeps the node's container CIs what the engine says they are: served, heard by hand, and on record.

mod events;

use std::{collections::BTreeMap, sync::Arc, time::Instant};

use aigis_proxy::{Name, serve::Server, task};
use aigis_registry::{CiRecord, Kind, Registry, Reporter, SkillNote, record};
use futures::{StreamExt, stream};
use time::OffsetDateTime;
use tokio::sync::watch;

use crate::{
    container::{self, Bound, Container, Host},
    directory::Directory,
    engine::{self, watch::Observation},
    reconcile::{Action, Reconciler},
};
use events::Teller;

/// The task's parts. It owns every container CI of the node.
#[derive(Debug)]
pub(crate) struct Registrar {
    host: Arc<Host>,
    directory: Arc<Directory>,
    server: Server,
    registry: Registry,
    reconciler: Reconciler,
    served: BTreeMap<Name, Served>,
    teller: Teller,
    /// Records that could not be written yet.
    unwritten: BTreeMap<Name, Unwritten>,
}

#[derive(Debug)]
struct Served {
    ci: Arc<Container>,
    _by_hand: Vec<task::Owned>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Unwritten {
    Record,
    Gone,
}

/// How long to wait before a record that could not be written is tried again.
const RETRY: std::time::Duration = std::time::Duration::from_secs(1);
/// How many records are on their way at once: the store flushes each before it acknowledges it.
const AT_ONCE: usize = 16;

impl Registrar {
    /// Makes the registrar; it does nothing until [`Registrar::run`].
    #[must_use]
    pub(crate) fn new(
        host: Arc<Host>,
        directory: Arc<Directory>,
        server: Server,
        registry: Registry,
        reconciler: Reconciler,
        reporter: Reporter,
    ) -> Self {
        let (served, unwritten) = (BTreeMap::new(), BTreeMap::new());
        let teller = Teller::new(reporter, host.watch.events());
        Self { host, directory, server, registry, reconciler, served, teller, unwritten }
    }

    /// Brings everything up to date once, as far as the engine has been heard.
    pub(crate) async fn settle(&mut self) {
        let observed = self.host.watch.observation().borrow().clone();
        self.observe(&observed).await;
    }

    /// Follows the engine until dropped.
    pub(crate) async fn run(mut self) {
        let mut observed: watch::Receiver<Observation> = self.host.watch.observation();
        loop {
            let now = observed.borrow_and_update().clone();
            let wake = self.observe(&now).await;
            let mut wake = std::pin::pin!(until(wake));
            loop {
                tokio::select! {
                    changed = observed.changed() => match changed {
                        Ok(()) => break,
                        Err(_) => return,
                    },
                    event = self.teller.next() => self.teller.tell(event, |id| ci_of(&self.served, id)),
                    () = &mut wake => break,
                }
            }
        }
    }

    /// Does what an observation asks for; returns when to look again at the latest.
    async fn observe(&mut self, observed: &Observation) -> Option<Instant> {
        if !observed.engine.is_reachable() {
            return None;
        }
        let (actions, wake) = self.directory.names(|names| {
            self.reconciler.set_taken(names.chosen.clone());
            let observed = &observed.containers;
            let (actions, wake) = self.reconciler.observe(observed, Instant::now(), OffsetDateTime::now_utc());
            for action in &actions {
                match action {
                    Action::Bind(name, _) => names.containers.insert(name.clone()),
                    Action::Gone(name) => names.containers.remove(name),
                };
            }
            (actions, wake)
        });
        for action in actions {
            match action {
                Action::Bind(name, container) => self.bind(name, container).await,
                Action::Gone(name) => {
                    self.served.remove(&name);
                    self.directory.remove(&name);
                    self.teller.gone(&name);
                    self.unwritten.insert(name, Unwritten::Gone);
                }
            }
        }
        self.teller.catch_up(|id| ci_of(&self.served, id));
        self.write().await;
        if self.unwritten.is_empty() {
            return wake;
        }
        let retry = Instant::now() + RETRY;
        Some(wake.map_or(retry, |wake| wake.min(retry)))
    }

    async fn bind(&mut self, name: Name, container: Arc<engine::Container>) {
        let bound = Bound::new(container, OffsetDateTime::now_utc());
        let (service, running) = (bound.service().cloned(), bound.container.state == engine::State::Running);
        let ci = match self.served.get(&name) {
            Some(served) => {
                served.ci.bind(bound);
                served.ci.clone()
            }
            None => {
                let ci = Arc::new(Container::new(self.host.clone(), name.clone(), bound));
                let by_hand = self.directory.hear_by_hand(&self.server, &name).await;
                self.served.insert(name.clone(), Served { ci: ci.clone(), _by_hand: by_hand });
                ci
            }
        };
        self.directory.insert(ci, service, running);
        self.unwritten.insert(name, Unwritten::Record);
    }

    async fn write(&mut self) {
        let (registry, served) = (&self.registry, &self.served);
        let pending: Vec<(Name, Unwritten)> = self.unwritten.iter().map(|(name, what)| (name.clone(), *what)).collect();
        let writing = pending.into_iter().map(|(name, what)| async move {
            let written = match (what, served.get(&name)) {
                (Unwritten::Record, Some(served)) => registry.put_ci(record(&served.ci)).await.map(|_| ()),
                _ => registry.mark_gone(&name).await.map(|_| ()),
            };
            (name, written)
        });
        let mut writing = stream::iter(writing).buffer_unordered(AT_ONCE);
        while let Some((name, written)) = writing.next().await {
            match written {
                Ok(()) => {
                    self.unwritten.remove(&name);
                }
                Err(error) => {
                    // The bus is away, most likely: nothing else would fare better now.
                    tracing::warn!(%error, ci = %name, "a record was not written; trying again");
                    return;
                }
            }
        }
    }
}

/// The CI that stands for that container.
fn ci_of(served: &BTreeMap<Name, Served>, id: &engine::ContainerId) -> Option<Name> {
    let bound = served.iter().find(|(_, served)| served.ci.bound().container.id == *id);
    bound.map(|(name, _)| name.clone())
}

async fn until(wake: Option<Instant>) {
    match wake {
        Some(wake) => tokio::time::sleep_until(wake.into()).await,
        None => std::future::pending().await,
    }
}

/// What the mesh is told of a container CI.
fn record(ci: &Container) -> CiRecord {
    let bound = ci.bound();
    let name = aigis_proxy::skill::Ci::name(ci).clone();
    let listed = &bound.container;
    CiRecord {
        aliases: ci.alias().cloned().into_iter().collect(),
        labels: bound.labels.clone(),
        description: bound.declared.description.clone(),
        service: bound.service().cloned(),
        warnings: bound.warnings.clone(),
        skills: aigis_proxy::skill::Ci::skills(ci).iter().map(|skill| SkillNote::from(&**skill)).collect(),
        container: Some(record::Container {
            id: listed.id.to_string(),
            name: listed.name.clone(),
            state: listed.state.as_str().to_owned(),
            health: container::outward(listed.state, listed.health).map(|verdict| verdict.as_str().to_owned()),
            exit_code: listed.exit_code,
            image: listed.image.clone(),
            image_id: listed.image_id.clone().unwrap_or_default(),
            created_at: listed.created_at.map(Into::into),
        }),
        ..CiRecord::new(name, ci.host().node.clone(), Kind::Container)
    }
}
