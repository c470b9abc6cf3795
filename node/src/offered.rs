//! The CIs that processes of this host offer over the node's socket: their names, their records, and what is ended when
//! the process behind one dies.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use aigis_proxy::{
    Code, Error, Name, NodeName, Role,
    secret::SecretName,
    serve::Server,
    socket::{Offer, OfferKind, OfferedCi, Offers, Peer},
    task,
};
use aigis_registry::{Cache, CiRecord, Kind, Registry, SkillNote, State};
use futures::{FutureExt, future::BoxFuture};
use tokio::{
    sync::Notify,
    time::{MissedTickBehavior, interval},
};

use crate::{
    directory::{Directory, Names},
    duties::Duties,
    naming,
    process::{Group, Process},
    secrets::{Value, Vault},
    shelf,
};

mod secrets;

/// How long the name of a process that lost its connection, or whose node began anew, is kept for it.
const KEPT: Duration = Duration::from_secs(15);
/// How long a process may take to be seen dead after its connection ended: the kernel closes its files first.
const DYING: Duration = Duration::from_millis(300);
/// How long a node that lost the bus looks for what others took meanwhile.
const RETURNING: Duration = Duration::from_secs(120);
/// How often it looks.
const LOOK: Duration = Duration::from_secs(1);
/// How soon a record that could not be written is tried again.
const RETRY: Duration = Duration::from_secs(1);

/// What the room is made of.
#[derive(Debug)]
pub(crate) struct Parts {
    /// The node.
    pub(crate) node: NodeName,
    /// Its hand on the records.
    pub(crate) registry: Registry,
    /// What the mesh knows.
    pub(crate) cache: Cache,
    /// Where its CIs are found.
    pub(crate) directory: Arc<Directory>,
    /// What serves them.
    pub(crate) server: Server,
    /// What admins have asked of the node.
    pub(crate) duties: Arc<Duties>,
    /// The secrets that it may open.
    pub(crate) vault: Vault,
}

/// The offered CIs of a node.
pub(crate) struct Room {
    parts: Parts,
    seats: Mutex<BTreeMap<Name, Seat>>,
    /// Set when somebody has sat down who waits for secrets.
    hungry: Notify,
}

/// A name that an offered CI holds.
#[derive(Debug, Default)]
struct Seat {
    /// The connection that serves it; none while its process is awaited back.
    connection: Option<u64>,
    ci: Option<Arc<OfferedCi>>,
    peer: Option<Arc<Process>>,
    group: Option<Arc<Group>>,
    by_hand: Vec<task::Owned>,
    /// The secrets that it asked for, and those that it was given last.
    secrets: BTreeSet<SecretName>,
    given: Option<BTreeMap<SecretName, Value>>,
}

/// How an offer finds its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Found {
    /// Held by nobody here.
    Free,
    /// Kept for a process that comes back.
    Kept,
    /// Held on this very connection.
    Own,
}

impl fmt::Debug for Room {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Room").field("node", &self.parts.node).finish_non_exhaustive()
    }
}

impl Room {
    /// An empty room.
    #[must_use]
    pub(crate) fn new(parts: Parts) -> Self {
        Self { parts, seats: Mutex::default(), hungry: Notify::new() }
    }

    /// Keeps the names that the node's records say were offered here before it started.
    pub(crate) fn expect(&self, known: &[CiRecord]) {
        let mut seats = self.seats();
        for record in known.iter().filter(|record| record.kind == Kind::Wrapped && !record.is_gone()) {
            self.parts.directory.names(|names| names.chosen.insert(record.name.clone()));
            seats.insert(record.name.clone(), Seat::default());
        }
    }

    /// Lets go of the names that nobody came back for, and of those that were claimed elsewhere, until dropped.
    pub(crate) async fn keep(&self) {
        let expected: Vec<Name> = self.seats().keys().cloned().collect();
        let patience = tokio::time::sleep(KEPT);
        tokio::pin!(patience);
        let (mut waits, mut changed) = (!expected.is_empty(), self.parts.cache.changed());
        let mut cut = None;
        let mut look = interval(LOOK);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = &mut patience, if waits => {
                    waits = false;
                    for name in &expected {
                        self.release_if(name, |seat| seat.connection.is_none()).await;
                    }
                }
                alive = changed.changed() => {
                    if alive.is_err() {
                        return;
                    }
                    if !changed.borrow_and_update().is_connected() {
                        cut = Some(Instant::now());
                    }
                }
                _ = look.tick() => {
                    // From a node that was there all the while nobody can have taken anything.
                    let was_away = cut.is_some_and(|cut: Instant| cut.elapsed() < RETURNING);
                    self.yield_to_others(was_away).await;
                }
            }
        }
    }

    /// Lets go of the names that others took while this node could not be seen.
    async fn yield_to_others(&self, was_away: bool) {
        let held: Vec<(Name, Option<Arc<OfferedCi>>)> = {
            let seats = self.seats();
            let doubtful = seats.iter().filter(|(_, seat)| was_away || seat.connection.is_none());
            doubtful.map(|(name, seat)| (name.clone(), seat.ci.clone())).collect()
        };
        for (name, ci) in held {
            // While the bus is away nothing can be known of it, and the next look comes soon.
            let Ok(seen) = self.parts.cache.bearers(&name).await else { return };
            let Some(by) = seen.ci(&name, &self.parts.node).and_then(|record| seen.successor(record)) else { continue };
            if let Some(ci) = ci {
                let message = format!("the name {name} was taken by {name}@{} while this node was offline", by.node);
                ci.refuse(&Error::new(Code::AlreadyExists, message).hint("choose another name"));
            }
            self.release_if(&name, |_| true).await;
        }
    }

    fn seats(&self) -> MutexGuard<'_, BTreeMap<Name, Seat>> {
        self.seats.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn admit(&self, peer: &Peer, offer: Offer, ci: Arc<OfferedCi>) -> Result<(), Error> {
        self.permit(peer, &offer.name).await?;
        let group = offer.process.map(|group| Group::open(group, peer.pid)).transpose()?.flatten().map(Arc::new);
        let found = self.sit(peer, &offer.name)?;
        if let Err(error) = self.takes(found) {
            self.rise(&offer.name, found, &error).await;
            return Err(error);
        }
        if let Err(error) = self.audit_secrets(peer, &offer, found).await {
            self.rise(&offer.name, found, &error).await;
            return Err(error);
        }
        let record = self.record(&offer);
        let (name, replace, secrets) = (offer.name, offer.replace, offer.secrets);
        let written = match found {
            Found::Own => self.parts.registry.put_ci(record).await.map(|_| ()),
            Found::Free | Found::Kept => claim(&self.parts.registry, &self.parts.cache, &record, replace).await,
        };
        if let Err(error) = written {
            self.rise(&name, found, &error).await;
            return Err(error);
        }
        let Parts { directory, server, .. } = &self.parts;
        let by_hand = if found == Found::Own { Vec::new() } else { directory.hear_by_hand(server, &name).await };
        self.parts.directory.insert(ci.clone(), None, true);
        let mut seats = self.seats();
        if let Some(seat) = seats.get_mut(&name) {
            seat.ci = Some(ci);
            seat.group = group;
            seat.peer = peer.pid.and_then(Process::open).map(Arc::new);
            seat.by_hand.extend(by_hand);
            (seat.secrets, seat.given) = (secrets, None);
            self.hungry.notify_one();
        }
        Ok(())
    }

    /// Lets operators and admins offer.
    async fn permit(&self, peer: &Peer, name: &Name) -> Result<(), Error> {
        let role = peer.caller.role;
        if matches!(role, Role::Operator | Role::Admin) {
            return Ok(());
        }
        let message = format!("{name} cannot be offered by {}: the role {role} does not permit it", peer.caller.name);
        self.parts.server.journal().refused(&peer.caller, &format!("{name} offer"), &message).await;
        Err(Error::new(Code::PermissionDenied, message).hint("ask an admin for an operator's credential").sent(false))
    }

    /// Whether anything is taken in: on a cordoned node nothing new, on a drained one nothing at all.
    fn takes(&self, found: Found) -> Result<(), Error> {
        let (node, standing) = (&self.parts.node, self.parts.duties.standing());
        let refused = match found {
            Found::Own => false,
            Found::Kept => standing.draining,
            Found::Free => standing.cordoned,
        };
        if !refused {
            return Ok(());
        }
        let how = if standing.draining { "drained" } else { "cordoned" };
        Err(Error::precondition(format!("the node {node} is {how}: it takes nothing in"))
            .hint(format!("offer it on another node, or: aish nodes uncordon {node}"))
            .sent(false))
    }

    /// Ends all that is offered here: each peer is told why, and its name is free.
    pub(crate) async fn empty(&self) {
        let offered: Vec<(Name, Option<Arc<OfferedCi>>)> =
            self.seats().iter().map(|(name, seat)| (name.clone(), seat.ci.clone())).collect();
        for (name, ci) in offered {
            if let Some(ci) = ci {
                let message = format!("the node {} is drained: {name} ends", self.parts.node);
                ci.refuse(&Error::precondition(message).hint("offer it on another node"));
            }
            self.release_if(&name, |_| true).await;
        }
    }

    /// Takes the name here, before anyone else of this node can.
    fn sit(&self, peer: &Peer, name: &Name) -> Result<Found, Error> {
        let mut seats = self.seats();
        let found = match seats.get(name) {
            Some(seat) if seat.connection == Some(peer.connection) => Found::Own,
            Some(seat) if seat.connection.is_none() && seat.awaits(peer) => Found::Kept,
            Some(_) => return Err(self.held(name)),
            None => {
                let directory = &self.parts.directory;
                let free = |names: &mut Names| !names.containers.contains(name) && names.chosen.insert(name.clone());
                if !directory.names(free) {
                    return Err(self.held(name));
                }
                Found::Free
            }
        };
        seats.entry(name.clone()).or_default().connection = Some(peer.connection);
        Ok(found)
    }

    /// Undoes [`Room::sit`].
    async fn rise(&self, name: &Name, found: Found, error: &Error) {
        match found {
            Found::Own => {}
            Found::Free => {
                self.seats().remove(name);
                self.parts.directory.names(|names| names.chosen.remove(name));
            }
            // Whoever holds it now got it while this node was away.
            Found::Kept if error.code == Code::AlreadyExists => self.release_if(name, |_| true).await,
            Found::Kept => {
                if let Some(seat) = self.seats().get_mut(name) {
                    seat.connection = None;
                }
            }
        }
    }

    fn held(&self, name: &Name) -> Error {
        let node = &self.parts.node;
        let known = self.parts.registry.ci(name);
        let kind = known.map_or_else(|| "CI of this node".to_owned(), |record| format!("{} of this node", record.kind));
        Error::new(Code::AlreadyExists, format!("the name {name} is held by {name}@{node}, a {kind}, which is live"))
            .hint("choose another name")
            .with("holder", format!("{name}@{node}"))
            .with("node", node.as_str())
            .with("state", State::Live.as_str())
    }

    fn record(&self, offer: &Offer) -> CiRecord {
        let kind = match offer.kind {
            OfferKind::Wrapped => Kind::Wrapped,
        };
        let (labels, warnings) = naming::kept_labels(&offer.labels);
        let mut skills: Vec<SkillNote> = offer
            .skills
            .iter()
            .map(|skill| SkillNote {
                path: skill.info.path.clone(),
                effect: skill.info.effect,
                stream: skill.info.stream,
                timeout_s: skill.timeout_ms.map(|timeout| timeout.div_ceil(1000)),
            })
            .collect();
        skills.sort();
        let description = offer.description.clone();
        let record = CiRecord::new(offer.name.clone(), self.parts.node.clone(), kind);
        CiRecord { labels, warnings, skills: skills.into(), description, ..record }
    }

    /// Ends what a dead process left behind, and keeps the name of a living one for a while.
    async fn left(&self, connection: u64) {
        let left: Vec<(Name, Option<Arc<Process>>)> = {
            let mut seats = self.seats();
            let own = seats.iter_mut().filter(|(_, seat)| seat.connection == Some(connection));
            own.map(|(name, seat)| {
                seat.connection = None;
                seat.ci = None;
                (name.clone(), seat.peer.clone())
            })
            .collect()
        };
        for (name, _) in &left {
            self.parts.directory.remove(name);
        }
        let peer = left.iter().find_map(|(_, peer)| peer.clone());
        let died = match &peer {
            Some(peer) => tokio::time::timeout(DYING, peer.ended()).await.is_ok(),
            None => true,
        };
        if !died && let Some(peer) = &peer {
            // It lives, so it comes back, or lets go of its program by itself.
            let _ = tokio::time::timeout(KEPT, peer.ended()).await;
        }
        for (name, _) in left {
            let dead = peer.as_ref().is_none_or(|peer| peer.has_ended());
            self.end(&name, dead).await;
        }
    }

    /// Ends a CI that nobody came back for.
    async fn end(&self, name: &Name, dead: bool) {
        if dead {
            let group =
                self.seats().get(name).filter(|seat| seat.connection.is_none()).and_then(|seat| seat.group.clone());
            if let Some(group) = group {
                tracing::info!(ci = %name, group = group.id(), "the process that offered it is dead: its program is ended");
                group.kill();
            }
        }
        // What such a process had of secrets on this host, if it was this user's.
        shelf::sweep();
        self.release_if(name, |seat| seat.connection.is_none()).await;
    }

    /// Lets go of a name, on the record too, however long that takes.
    async fn release_if(&self, name: &Name, meant: impl Fn(&Seat) -> bool) {
        {
            let mut seats = self.seats();
            if !seats.get(name).is_some_and(meant) {
                return;
            }
            seats.remove(name);
        }
        self.parts.directory.remove(name);
        while let Err(error) = self.parts.registry.mark_gone(name).await {
            tracing::warn!(%error, ci = %name, "a record was not written; trying again");
            tokio::time::sleep(RETRY).await;
        }
        self.parts.directory.names(|names| names.chosen.remove(name));
    }
}

/// Claims a name, or takes it from a holder that is offline. Whether a holder is there is asked only where there is one.
///
/// # Errors
///
/// As [`Registry::claim`].
pub(crate) async fn claim(registry: &Registry, cache: &Cache, record: &CiRecord, replace: bool) -> Result<(), Error> {
    match registry.claim(record.clone(), &cache.snapshot()).await {
        Err(error) if error.code == Code::AlreadyExists => {}
        claimed => return claimed,
    }
    let seen = cache.holders(&record.name).await?;
    match replace {
        true => registry.replace(record.clone(), &seen).await,
        false => registry.claim(record.clone(), &seen).await,
    }
}

impl Seat {
    /// Whether that peer is who the name is kept for: the same process, or anyone after a start of the node.
    fn awaits(&self, peer: &Peer) -> bool {
        self.peer.as_ref().is_none_or(|process| peer.pid == Some(process.id()))
    }
}

impl Offers for Room {
    fn node(&self) -> &NodeName {
        &self.parts.node
    }

    fn take<'a>(&'a self, peer: &'a Peer, offer: Offer, ci: Arc<OfferedCi>) -> BoxFuture<'a, Result<(), Error>> {
        self.admit(peer, offer, ci).boxed()
    }

    fn withdraw<'a>(&'a self, peer: &'a Peer, name: &'a Name) -> BoxFuture<'a, ()> {
        let own = |seat: &Seat| seat.connection == Some(peer.connection);
        self.release_if(name, own).boxed()
    }

    fn hung_up<'a>(&'a self, peer: &'a Peer) -> BoxFuture<'a, ()> {
        self.left(peer.connection).boxed()
    }
}
