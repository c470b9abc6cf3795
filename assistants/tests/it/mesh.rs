//! A mesh of one bus: an issuer, an operator, and nodes with coordinators and places.

use std::{sync::Arc, time::Duration};

use aigis_assistants::coordinator::{Coordinator, Parts, keeping::Kept};
use aigis_proxy::{
    Bus, Error, Name, NodeName, Role,
    chain::ChainId,
    dispatch::{Begun, Deed, Journal, Outcome},
    identity::{Credential, Mandate, Purpose},
    rpc::{self, Asker, SHARED},
    services::chains::{
        CHAINS, ChainsClient, ChainsRequest, ChainsResponse, Control, NewAssistant, Push, PushOptions, Wish,
    },
    subject::Caller,
    task,
};
use aigis_registry::{
    Cache, LeaseKeeper, Registry, Shared, Timestamp,
    record::{Capacity, Engine, NodeRecord, UserRecord},
    shared::{AppRecord, ChainRecord, Key, StepRecord, Version},
};
use futures::{FutureExt, future::BoxFuture};

use crate::{
    bus_server::{BusServer, PATIENCE},
    place::Place,
};

/// A journal that lets everything be done.
#[derive(Debug)]
struct Anything;

impl Journal for Anything {
    fn begin<'a>(&'a self, _: Deed<'a>) -> BoxFuture<'a, Result<Begun, Error>> {
        std::future::ready(Ok(Begun::Run)).boxed()
    }

    fn end<'a>(&'a self, _: Deed<'a>, _: Outcome<'a>) -> BoxFuture<'a, ()> {
        std::future::ready(()).boxed()
    }

    fn refused<'a>(&'a self, _: &'a Caller, _: &'a str, _: &'a str) -> BoxFuture<'a, ()> {
        std::future::ready(()).boxed()
    }
}

pub(crate) struct Mesh {
    pub(crate) server: BusServer,
    issuer: Registry,
    person: Arc<Credential>,
    bus: Bus,
    shared: Shared,
}

pub(crate) struct Host {
    pub(crate) node: NodeName,
    pub(crate) bus: Bus,
    credential: Arc<Credential>,
    cache: Cache,
    lease: Option<LeaseKeeper>,
    pub(crate) place: Arc<Place>,
    /// How long its coordinator keeps chains.
    pub(crate) kept: Kept,
    _serving: task::Owned,
    scratch: tempfile::TempDir,
}

fn user(credential: &Credential) -> UserRecord {
    let now = Timestamp::now();
    UserRecord {
        name: credential.name().clone(),
        role: credential.role(),
        public_key: credential.public().to_owned(),
        signer: credential.signer(),
        issued_at: now,
        expires_at: now,
        revoked_at: None,
        is_removed: false,
        grants: Vec::new(),
    }
}

pub(crate) fn node(name: &str) -> NodeName {
    NodeName::parse(name).unwrap()
}

impl Mesh {
    pub(crate) async fn start() -> Self {
        let server = BusServer::start().await;
        let credential = server.credential("alpha", Role::Node);
        let bus = Bus::connect(server.options(credential.clone())).await.unwrap();
        let issuer = Registry::new(bus, node("alpha"));
        issuer.note_birth().await.unwrap();
        let person = server.credential("olga", Role::Operator);
        issuer.change_user(person.name(), |_| Ok(user(&person))).await.unwrap();
        let bus = Bus::connect(server.options(person.clone())).await.unwrap();
        let cache = Cache::open(&bus, Some(node("alpha")), PATIENCE).await.unwrap();
        let shared = Shared::new(&bus, &cache);
        Self { server, issuer, person, bus, shared }
    }

    /// A node with a place; its coordinator is started by whoever wants one.
    pub(crate) async fn host(&self, name: &str) -> Host {
        let credential = self.server.credential(name, Role::Node);
        self.issuer.change_user(credential.name(), |_| Ok(user(&credential))).await.unwrap();
        let options = || self.server.options(credential.clone());
        let bus = Bus::connect(options()).await.unwrap();
        let cache = Cache::open(&bus, Some(node("alpha")), PATIENCE).await.unwrap();
        let now = Timestamp::now();
        let record = NodeRecord {
            name: node(name),
            id: credential.public().to_owned(),
            version: "0".to_owned(),
            labels: [("zone".to_owned(), name.to_owned())].into(),
            cordoned: false,
            draining: false,
            engine: Some(Engine { reachable: true, version: None, api_version: None }),
            engine_since_at: None,
            capacity: Capacity::default(),
            sealing: None,
            gateway: None,
            started_at: now,
            updated_at: now,
        };
        Registry::new(bus.clone(), node(name)).put_node(record).await.unwrap();
        let lease = LeaseKeeper::start(options(), &node(name)).unwrap();
        lease.ready(PATIENCE).await.unwrap();
        let (place, serving) = Place::serve(&bus, &node(name)).await;
        let scratch = tempfile::tempdir().unwrap();
        let kept = Kept::default();
        Host { node: node(name), bus, credential, cache, lease: Some(lease), place, kept, _serving: serving, scratch }
    }

    pub(crate) fn coordinators(&self) -> ChainsClient<Asker<ChainsRequest, ChainsResponse>> {
        ChainsClient::from(Asker::new(&self.bus, SHARED, CHAINS))
    }

    pub(crate) async fn keep(&self, names: &[&str]) {
        for name in names {
            let settings = serde_json::json!({});
            let assistant = NewAssistant { name: (*name).to_owned(), folder: None, settings };
            let kept = self.coordinators().keep_assistant(tarpc::context::current(), assistant).await;
            rpc::answered(kept).unwrap();
        }
    }

    pub(crate) fn a_push(&self, app: &str, first: &str) -> Push {
        let app = Name::parse(app).unwrap();
        Push {
            mandate: Mandate::sign(&self.person, Purpose::App, app.clone(), None),
            wish: Wish { app, project: Some("p1".to_owned()), replace: false, queue: false, on: None },
            tree: None,
            from: "alpha:/app".to_owned(),
            state_tree: None,
            first: first.to_owned(),
            reason: "said".to_owned(),
            options: PushOptions::default(),
        }
    }

    pub(crate) async fn try_push(&self, push: Push) -> Result<ChainId, Error> {
        rpc::answered(self.coordinators().push(tarpc::context::current(), push).await)
    }

    pub(crate) async fn push(&self, app: &str, first: &str) -> ChainId {
        self.try_push(self.a_push(app, first)).await.unwrap()
    }

    pub(crate) async fn control(&self, chain: &ChainId, control: Control) -> Result<String, Error> {
        rpc::answered(self.coordinators().control(tarpc::context::current(), chain.clone(), control).await)
    }

    pub(crate) async fn chain(&self, id: &ChainId) -> ChainRecord {
        let found: Option<Version<ChainRecord>> = self.shared.get(&Key::Chain(id.clone())).await.unwrap();
        found.unwrap().content
    }

    /// What a reader of a chain meets.
    pub(crate) async fn read(&self, id: &ChainId) -> Result<Option<ChainRecord>, Error> {
        let found: Option<Version<ChainRecord>> = self.shared.get(&Key::Chain(id.clone())).await?;
        Ok(found.map(|chain| chain.content))
    }

    pub(crate) async fn step(&self, id: &ChainId, step: u32) -> Option<StepRecord> {
        let found: Option<Version<StepRecord>> = self.shared.get(&Key::Step(id.clone(), step)).await.unwrap();
        found.map(|step| step.content)
    }

    pub(crate) async fn app(&self, name: &str) -> Option<AppRecord> {
        let key = Key::App(Name::parse(name).unwrap());
        let found: Option<Version<AppRecord>> = self.shared.get(&key).await.unwrap();
        found.map(|app| app.content)
    }

    /// Waits until the chain is as wanted.
    pub(crate) async fn until(&self, id: &ChainId, what: &str, is: impl Fn(&ChainRecord) -> bool) -> ChainRecord {
        let mut last = None;
        let deadline = std::time::Instant::now() + Duration::from_secs(60);
        while std::time::Instant::now() < deadline {
            let record = self.chain(id).await;
            if is(&record) {
                return record;
            }
            last = Some(record);
            tokio::time::sleep(Duration::from_millis(30)).await;
        }
        panic!("not in time: {what}: {last:#?}");
    }

    pub(crate) async fn over(&self, id: &ChainId) -> ChainRecord {
        self.until(id, "its end", |record| record.status.is_over()).await
    }

    /// Revokes the person, as the issuer does.
    pub(crate) async fn revoke(&self) {
        let revoked = UserRecord { revoked_at: Some(Timestamp::now()), ..user(&self.person) };
        self.issuer.change_user(self.person.name(), |_| Ok(revoked.clone())).await.unwrap();
    }
}

impl Host {
    pub(crate) async fn coordinator(&self) -> Coordinator {
        let parts = Parts {
            bus: self.bus.clone(),
            node: self.node.clone(),
            issuer: node("alpha"),
            credential: (*self.credential).clone(),
            cache: self.cache.clone(),
            journal: Arc::new(Anything),
            scratch: self.scratch.path().join("scratch"),
            assistants: None,
            python_image: None,
            packages: None,
            kept: self.kept,
        };
        Coordinator::start(parts).await.unwrap()
    }

    /// Ends its lease in order.
    pub(crate) async fn goodbye(&mut self) {
        if let Some(lease) = self.lease.take() {
            lease.goodbye(Duration::from_secs(2)).await;
        }
    }
}
