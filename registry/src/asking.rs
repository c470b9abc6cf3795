//! Asking a CI: who is meant, which of its servers, for how long, and until when there is hope.

use std::{sync::Arc, time::Duration};

use aigis_proxy::{
    Address, Bus, Code, Effect, Error, Grant, Granted, Name, NodeName, Request, SkillPath, UserName,
    client::{Client, Response, Target},
    envelope::Passing,
    services::chains::skills,
    subject::Token,
};
use bytes::Bytes;
use serde_json::Value;
use tokio::sync::watch;

use crate::{
    cache::Cache,
    record::{Kind, SkillNote, State},
    resolve::{Resolved, Service},
    shared::Shared,
    snapshot::{self, Snapshot},
};

mod way;

/// How many nodes are asked at most for what any of them can answer.
const MOST_ASKED: usize = 4;

/// What calls, and what it knows of whom it can call; cheap to clone.
#[derive(Debug, Clone)]
pub struct Asking {
    client: Client,
    cache: Cache,
    /// What the user may do that calls, where that is a plugin's.
    grants: Option<Arc<[Grant]>>,
}

/// A CI that can be asked.
#[derive(Debug, Clone)]
pub struct Addressee {
    /// How it is named to people: `NAME@NODE`, or the service's name.
    pub address: Address,
    /// How it is named to its servers.
    pub name: Name,
    /// What it is.
    pub kind: Kind,
    /// Whether it is there.
    pub state: State,
    resolved: Resolved,
}

impl Asking {
    /// Asks by what that cache knows, which has to be one of the whole registry. A node's plugins share one, each with a
    /// client of its own user.
    #[must_use]
    pub fn new(client: Client, cache: Cache) -> Self {
        Self { client, cache, grants: None }
    }

    /// Asks for a plugin that may do what the grants say. Nodes judge that themselves; a plugin that serves itself knows of
    /// no grants, so what it is asked is judged here.
    #[must_use]
    pub fn granted(self, grants: &[Grant]) -> Self {
        Self { grants: Some(grants.into()), ..self }
    }

    /// Fills a cache of its own, within that time; records of users and tokens count where the issuer is known.
    ///
    /// # Errors
    ///
    /// `unavailable` if the registry does not answer in time.
    pub async fn open(client: Client, issuer: Option<NodeName>, within: Duration) -> Result<Self, Error> {
        let cache = Cache::open(client.bus(), issuer, within).await?;
        Ok(Self::new(client, cache))
    }

    /// The bus.
    #[must_use]
    pub fn bus(&self) -> &Bus {
        self.client.bus()
    }

    /// What calls: over the socket of this host's node where that serves the CI.
    #[must_use]
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// The registry, as it is seen now.
    #[must_use]
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.cache.snapshot()
    }

    /// The records that change hands, to be read.
    #[must_use]
    pub fn shared(&self) -> Shared {
        Shared::new(self.client.bus(), &self.cache)
    }

    /// The registry, as it changes.
    #[must_use]
    pub fn changed(&self) -> watch::Receiver<Arc<Snapshot>> {
        self.cache.changed()
    }

    /// Finds what an address names.
    ///
    /// # Errors
    ///
    /// As [`Snapshot::resolve`].
    pub fn find(&self, address: &Address) -> Result<Addressee, Error> {
        self.snapshot().resolve(address).map(|resolved| Addressee::of(resolved).called(&address.name))
    }

    /// Finds whose skill a path of the mesh's namespace is, and its path within that CI.
    ///
    /// # Errors
    ///
    /// As [`Snapshot::resolve_path`].
    pub fn find_path(&self, path: &SkillPath) -> Result<(Addressee, SkillPath), Error> {
        let (resolved, within) = self.snapshot().resolve_path(path)?;
        let whom = Addressee::of(resolved);
        let first = path.as_str().split('.').next().and_then(|first| Name::parse(first).ok());
        Ok((first.map_or_else(|| whom.clone(), |first| whom.clone().called(&first)), within))
    }

    /// The servers to ask for a skill, the first one first, and the skill's path there.
    ///
    /// # Errors
    ///
    /// `unavailable` for a CI that is known to be away, and a service without a running replica;
    /// `failed_precondition` for a skill of a service that changes something.
    fn servers(&self, whom: &Addressee, path: &SkillPath) -> Result<(Vec<UserName>, SkillPath), Error> {
        match &whom.resolved {
            Resolved::One(one) if self.is_answered_anywhere(one, path) => {
                Ok((self.holders_of_chains(one), path.clone()))
            }
            Resolved::One(one) if whom.state == State::Offline => {
                Err(away(&whom.address).with("node", one.record.node.as_str()))
            }
            Resolved::One(one) => {
                let (server, within) = one.record.server_of(&whom.name, path);
                if server != one.record.node.user() {
                    self.may(one, path)?;
                }
                Ok((vec![server], within))
            }
            Resolved::Service(service) => Ok((balanced(service, path)?, path.clone())),
        }
    }

    /// Whether any node may be asked in place of the CI's own: what becomes of an app's chain is no matter of its place.
    fn is_answered_anywhere(&self, one: &snapshot::Found, path: &SkillPath) -> bool {
        one.record.kind == Kind::App && skills::is_of_chain(path.as_str()) && self.is_away(&one.record.server)
    }

    fn is_away(&self, server: &UserName) -> bool {
        self.snapshot().sight(server.as_str()).state != State::Live
    }

    /// The nodes that may know of an app's chain: its own if that is only late, then those that live, by chance.
    fn holders_of_chains(&self, one: &snapshot::Found) -> Vec<UserName> {
        let snapshot = self.snapshot();
        let mut nodes: Vec<UserName> = snapshot
            .cis()
            .filter(|ci| ci.kind == Kind::Node && ci.server != one.record.server && snapshot.state(ci) == State::Live)
            .map(|ci| ci.server.clone())
            .collect();
        nodes.sort();
        if !nodes.is_empty() {
            let first = chance() % nodes.len();
            nodes.rotate_left(first);
        }
        let own = (one.state != State::Offline).then(|| one.record.server.clone());
        nodes.into_iter().chain(own).take(MOST_ASKED).collect()
    }

    fn may(&self, one: &snapshot::Found, path: &SkillPath) -> Result<(), Error> {
        let Some(grants) = &self.grants else { return Ok(()) };
        let record = &one.record;
        let whole = format!("{}.{path}", record.name);
        let note = record.skills.iter().find(|note| note.path == *path || note.path.as_str() == whole);
        let effect = note.map_or(Effect::Write, |note| note.effect);
        let granted = Granted { ci: &record.name, kind: record.kind.as_str(), labels: &record.labels };
        if grants.iter().any(|grant| grant.covers(granted, effect)) {
            return Ok(());
        }
        let user = self.client.bus().user();
        let message = format!("{path} on {} has the effect {effect}, which no grant of {user} covers", record.name);
        tracing::warn!(caller = %user, ci = %record.name, %path, "refused: no grant covers it");
        Err(Error::new(Code::PermissionDenied, message).hint("ask an operator or admin of this mesh").sent(false))
    }

    /// Calls a skill on one of the servers of a CI, for as long as the skill declares where the request names no time. A
    /// request without an id is given one.
    ///
    /// # Errors
    ///
    /// `unavailable` without asking, where the CI is known to be away; else what the call meets.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future, or the stream that it gives, cancels the call at the callee.
    pub async fn ask(&self, whom: &Addressee, path: &SkillPath, mut request: Request) -> Result<Response, Error> {
        request.meta.call.get_or_insert_with(id);
        let open = |target: Target| {
            let request = request.clone();
            async move { self.client.open(&target, request).await }
        };
        self.of_servers(whom, path, open).await
    }

    /// As [`Asking::ask`], with what came as bytes, for bytes.
    ///
    /// # Errors
    ///
    /// As [`Asking::ask`].
    ///
    /// # Cancel safety
    ///
    /// As [`Asking::ask`].
    pub async fn pass(
        &self,
        whom: &Addressee,
        path: &SkillPath,
        mut request: Passing,
    ) -> Result<Response<Bytes>, Error> {
        request.meta.call.get_or_insert_with(id);
        let open = |target: Target| {
            let request = request.clone();
            async move { self.client.pass(&target, request).await }
        };
        self.of_servers(whom, path, open).await
    }

    /// Asks one server after the other, until one may have got it.
    async fn of_servers<R, F: Future<Output = Result<R, Error>>>(
        &self,
        whom: &Addressee,
        path: &SkillPath,
        open: impl Fn(Target) -> F,
    ) -> Result<R, Error> {
        let timeout = whom.declared_timeout(path);
        let mut last = None;
        // A server that surely got nothing costs no more than the next one's turn.
        let (servers, path) = self.servers(whom, path)?;
        for server in servers {
            let target = Target { server: server.clone(), ci: whom.name.clone(), path: path.clone(), timeout };
            let opened = tokio::select! {
                opened = open(target) => opened,
                error = self.lost(whom, &server), if whom.answers_by(&server) => Err(error.sent(true)),
            };
            match opened {
                Err(error) if whom.may_ask_another(&error) => last = Some(error),
                other => return other,
            }
        }
        Err(last.unwrap_or_else(|| Error::unavailable(format!("nothing serves {}", whom.address)).sent(false)))
    }

    /// Resolves once the CI, or the replica of it that was asked, is known to be away, which may be never.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    pub async fn lost(&self, whom: &Addressee, server: &UserName) -> Error {
        let mut changed = self.changed();
        loop {
            let snapshot = changed.borrow_and_update().clone();
            let state = match snapshot.resolve(&whom.address) {
                Ok(Resolved::One(now)) => Some(now.state),
                Ok(Resolved::Service(service)) => {
                    let mut asked = service.replicas.iter().filter(|replica| replica.record.server == *server);
                    asked.next().map(|replica| replica.state)
                }
                Err(_) => None,
            };
            // A server that said goodbye still answers what it has taken; if it does not, the connection tells.
            if state == Some(State::Offline) && !snapshot.said_goodbye(server) {
                return away(&whom.address);
            }
            if changed.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }
}

impl Addressee {
    fn of(resolved: Resolved) -> Self {
        match &resolved {
            Resolved::One(one) => {
                let record = &one.record;
                Self {
                    address: Address { name: record.name.clone(), node: Some(record.node.clone()) },
                    name: record.name.clone(),
                    kind: record.kind,
                    state: one.state,
                    resolved,
                }
            }
            Resolved::Service(service) => Self {
                address: Address { name: service.name.clone(), node: None },
                name: service.name.clone(),
                kind: Kind::Container,
                state: service.state(),
                resolved,
            },
        }
    }

    /// A plugin answers to its alias with standard skills alone: whoever says it means these.
    fn called(self, name: &Name) -> Self {
        match &self.resolved {
            Resolved::One(one) if one.record.kind == Kind::Plugin && one.record.aliases.contains(name) => {
                Self { name: name.clone(), ..self }
            }
            _ => self,
        }
    }

    /// Whether another server may be asked after that error: this one surely got nothing, or its replica of a service is gone,
    /// as while it is replaced.
    fn may_ask_another(&self, error: &Error) -> bool {
        let is_gone = || {
            let is_ci = error.detail("kind").is_some_and(|kind| kind == "ci");
            matches!(self.resolved, Resolved::Service(_)) && error.code == Code::NotFound && is_ci
        };
        error.detail("sent") == Some(&Value::Bool(false)) && (error.code == Code::Unavailable || is_gone())
    }

    /// Whether it is that server's own: its end is the CI's, unless another node answers for it.
    fn answers_by(&self, server: &UserName) -> bool {
        match &self.resolved {
            Resolved::One(one) if one.record.kind == Kind::App => one.record.server == *server,
            _ => true,
        }
    }

    /// What the registry resolved the address to.
    #[must_use]
    pub fn resolved(&self) -> &Resolved {
        &self.resolved
    }

    /// The skills that its record names; a service's are those of its replicas.
    #[must_use]
    pub fn skills(&self) -> &[SkillNote] {
        self.resolved.skills()
    }

    /// Whether its record says of a skill that it only reads.
    #[must_use]
    pub fn reads(&self, path: &SkillPath) -> bool {
        let Resolved::One(one) = &self.resolved else { return true };
        one.record.skills.iter().any(|skill| skill.path == *path && skill.effect == Effect::Read)
    }

    /// How long its record says that a skill may take, where that is not the usual.
    #[must_use]
    pub fn declared_timeout(&self, path: &SkillPath) -> Option<Duration> {
        let replicas = match &self.resolved {
            Resolved::One(one) => std::slice::from_ref(one),
            Resolved::Service(service) => service.replicas.as_slice(),
        };
        let notes = replicas.iter().flat_map(|replica| replica.record.skills.iter()).filter(|note| note.path == *path);
        notes.filter_map(|note| note.timeout_s).max().map(Duration::from_secs)
    }

    /// Whether input beside a message is of use to it.
    #[must_use]
    pub fn takes_input(&self) -> bool {
        matches!(self.kind, Kind::Plugin | Kind::App | Kind::Aip | Kind::Wrapped)
    }
}

/// The id of a call.
fn id() -> String {
    Token::random().as_str().to_owned()
}

fn away(address: &Address) -> Error {
    Error::unavailable(format!("{address} is offline: its node does not answer")).hint("see: aish nodes").sent(false)
}

/// The servers of a service's running replicas, beginning with one by chance.
fn balanced(service: &Service, path: &SkillPath) -> Result<Vec<UserName>, Error> {
    let changes = |replica: &snapshot::Found| {
        replica.record.skills.iter().any(|skill| skill.path == *path && skill.effect != Effect::Read)
    };
    if service.replicas.iter().any(changes) {
        return Err(service.must_name_one().sent(false));
    }
    let turn = chance();
    let mut servers = Vec::new();
    for step in 0..service.running().count() {
        let server = service.pick(turn.wrapping_add(step))?.record.server.clone();
        if !servers.contains(&server) {
            servers.push(server);
        }
    }
    match servers.is_empty() {
        true => service.pick(turn).map(|one| vec![one.record.server.clone()]),
        false => Ok(servers),
    }
}

/// A number by chance.
fn chance() -> usize {
    Token::random().as_str().bytes().fold(0, |sum, byte| sum.wrapping_mul(31).wrapping_add(usize::from(byte)))
}
