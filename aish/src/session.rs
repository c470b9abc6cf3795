//! The mesh as one command sees it: the bus, and a cache of the registry.

use std::time::Duration;

use aigis_proxy::{Address, Bus, Effect, Error, Name, NodeName, SkillPath, UserName, client::Client, subject::Token};
use aigis_registry::{Cache, Kind, Resolved, Service, SkillNote, Snapshot, State};

use crate::exit::Failure;

/// A connection and what it has learned of the mesh.
#[derive(Debug)]
pub(crate) struct Session {
    client: Client,
    cache: Cache,
}

/// A CI that can be asked.
#[derive(Debug, Clone)]
pub(crate) struct Found {
    /// How it is named to people: `NAME@NODE`, or the service's name.
    pub(crate) address: Address,
    /// How it is named to its servers.
    pub(crate) name: Name,
    /// What it is.
    pub(crate) kind: Kind,
    /// Whether it is there.
    pub(crate) state: State,
    resolved: Resolved,
}

impl Session {
    /// Fills the cache, within that time; records of users and tokens count where the issuer is known.
    ///
    /// # Errors
    ///
    /// `unavailable` if the registry does not answer in time.
    pub(crate) async fn open(client: Client, issuer: Option<NodeName>, within: Duration) -> Result<Self, Error> {
        let cache = Cache::open(client.bus(), issuer, within).await?;
        Ok(Self { client, cache })
    }

    /// The bus.
    pub(crate) fn bus(&self) -> &Bus {
        self.client.bus()
    }

    /// What calls: over the socket of this host's node where that serves the CI.
    pub(crate) fn client(&self) -> &Client {
        &self.client
    }

    /// The registry, as it is seen now.
    pub(crate) fn snapshot(&self) -> std::sync::Arc<Snapshot> {
        self.cache.snapshot()
    }

    /// The registry, as it changes.
    pub(crate) fn changed(&self) -> tokio::sync::watch::Receiver<std::sync::Arc<Snapshot>> {
        self.cache.changed()
    }

    /// Finds what an address names.
    ///
    /// # Errors
    ///
    /// None, several, or one that is gone.
    pub(crate) fn find(&self, address: &Address) -> Result<Found, Failure> {
        let resolved = self.snapshot().resolve(address).map_err(Failure::Address)?;
        Ok(Found::of(resolved))
    }

    /// The servers to ask for a skill, the first one first.
    ///
    /// # Errors
    ///
    /// `unavailable` for a CI that is known to be away, and a service without a running replica;
    /// `failed_precondition` for a skill of a service that changes something.
    pub(crate) fn servers(&self, found: &Found, path: &SkillPath) -> Result<Vec<UserName>, Error> {
        match &found.resolved {
            Resolved::One(one) if found.state == State::Offline => {
                Err(away(&found.address).with("node", one.record.node.as_str()))
            }
            Resolved::One(one) => Ok(vec![one.record.server.clone()]),
            Resolved::Service(service) => balanced(service, path),
        }
    }

    /// Whether the record says of a skill that it only reads.
    pub(crate) fn reads(&self, found: &Found, path: &SkillPath) -> bool {
        let Resolved::One(one) = &found.resolved else { return true };
        one.record.skills.iter().any(|skill| skill.path == *path && skill.effect == Effect::Read)
    }

    /// How long the CI's record says that a skill may take, where that is not the usual.
    pub(crate) fn declared_timeout(&self, found: &Found, path: &SkillPath) -> Option<Duration> {
        let replicas = match &found.resolved {
            Resolved::One(one) => std::slice::from_ref(one),
            Resolved::Service(service) => service.replicas.as_slice(),
        };
        let notes = replicas.iter().flat_map(|replica| replica.record.skills.iter()).filter(|note| note.path == *path);
        notes.filter_map(|note| note.timeout_s).max().map(Duration::from_secs)
    }

    /// Resolves once the CI, or the replica of it that was asked, is known to be away, which may be never.
    pub(crate) async fn lost(&self, found: &Found, server: &UserName) -> Error {
        let mut changed = self.changed();
        loop {
            let snapshot = changed.borrow_and_update().clone();
            let state = match snapshot.resolve(&found.address) {
                Ok(Resolved::One(now)) => Some(now.state),
                Ok(Resolved::Service(service)) => {
                    let mut asked = service.replicas.iter().filter(|replica| replica.record.server == *server);
                    asked.next().map(|replica| replica.state)
                }
                Err(_) => None,
            };
            // A server that said goodbye still answers what it has taken; if it does not, the connection tells.
            if state == Some(State::Offline) && !snapshot.said_goodbye(server) {
                return away(&found.address);
            }
            if changed.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }
}

impl Found {
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

    /// What the registry resolved the address to.
    pub(crate) fn resolved(&self) -> &Resolved {
        &self.resolved
    }

    /// The skills that its record names; a service's are those of its replicas.
    pub(crate) fn skills(&self) -> &[SkillNote] {
        match &self.resolved {
            Resolved::One(one) => &one.record.skills,
            Resolved::Service(service) => service.replicas.first().map_or(&[], |replica| &replica.record.skills),
        }
    }

    /// Whether input beside a message is of use to it.
    pub(crate) fn takes_input(&self) -> bool {
        matches!(self.kind, Kind::Plugin | Kind::App | Kind::Aip | Kind::Wrapped)
    }
}

fn away(address: &Address) -> Error {
    Error::unavailable(format!("{address} is offline: its node does not answer")).hint("see: aish nodes").sent(false)
}

/// The servers of a service's running replicas, beginning with one by chance.
fn balanced(service: &Service, path: &SkillPath) -> Result<Vec<UserName>, Error> {
    let changes = |replica: &aigis_registry::Found| {
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
