//! A callee of our own and an asker by hand: a plain NATS client that knows the envelope and nothing of our code.

use std::{
    sync::{
        Arc, LazyLock,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use aigis_proxy::{
    Bus, Code, Effect, Error, Name, NodeName, Role, SkillPath,
    bus::{HeaderMap, Options},
    dispatch::Dispatcher,
    serve::Server,
    skill::{Answer, Call, Ci, Input, Nothing, SkillInfo, Table},
    task,
};
use async_nats::{Client, Request};
use futures::future::BoxFuture;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::{
    bus_server::{BusServer, Events},
    serving::{One, Permissive},
};

/// Longest wait for an answer: it only ends a test that would fail.
pub(crate) const SOON: Duration = Duration::from_secs(60);

/// The CI `web`, which counts what ran.
pub(crate) struct Callee {
    name: Name,
    node: NodeName,
    runs: AtomicUsize,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Stop {
    grace_s: u32,
    #[serde(default)]
    why: Option<String>,
}

impl Input for Stop {
    const POSITIONAL: &'static [&'static str] = &["grace_s"];
}

/// What a skill sees of a request's metadata.
#[derive(Debug, Serialize, JsonSchema)]
struct Seen {
    remaining_s: u64,
    traceparent: Option<String>,
}

static TABLE: LazyLock<Table<Callee>> = LazyLock::new(|| {
    let mut table = Table::new();
    table.value("stop", Effect::Write, "Takes arguments.", async |callee: Arc<Callee>, _, stop: Stop| {
        callee.runs.fetch_add(1, Ordering::SeqCst);
        Ok(format!("{} {}", stop.grace_s, stop.why.unwrap_or_default()))
    });
    table.value("count", Effect::Write, "Counts.", async |callee: Arc<Callee>, _, _: Nothing| {
        Ok(callee.runs.fetch_add(1, Ordering::SeqCst) + 1)
    });
    table.value("seen", Effect::Read, "Tells what it saw.", async |_: Arc<Callee>, call: Call, _: Nothing| {
        let remaining_s = call.remaining().as_secs();
        Ok(Seen { remaining_s, traceparent: call.meta().traceparent.clone() })
    });
    table.stream("sixty_four", Effect::Read, "Counts to 64.", async |_: Arc<Callee>, _, _: Nothing| {
        Ok(futures::stream::iter((1..=64_u64).map(Ok)))
    });
    table.stream("numbers", Effect::Read, "Counts for ever.", async |_: Arc<Callee>, _, _: Nothing| {
        Ok(futures::stream::iter((1..=u64::MAX).map(Ok)))
    });
    table
});

impl Ci for Callee {
    fn name(&self) -> &Name {
        &self.name
    }
    fn node(&self) -> &NodeName {
        &self.node
    }
    fn skills(&self) -> Vec<Arc<SkillInfo>> {
        TABLE.skills()
    }
    fn skill(&self, path: &str) -> Option<Arc<SkillInfo>> {
        TABLE.skill(path)
    }
    fn run(self: Arc<Self>, path: SkillPath, call: Call) -> BoxFuture<'static, Result<Answer, Error>> {
        TABLE.run(self, &path, call)
    }
}

/// A real bus, the callee on the node `alpha`, and the operator `olga`, who asks by hand.
pub(crate) struct ByHand {
    pub(crate) bus: BusServer,
    pub(crate) node: Bus,
    pub(crate) olga: Client,
    pub(crate) events: Events,
    callee: Arc<Callee>,
    _tasks: Vec<task::Owned>,
}

pub(crate) async fn connect(server: &BusServer, name: &str, role: Role) -> Bus {
    let credential = Arc::new(server.credential(name, role));
    Bus::connect(Options { url: server.url(), ca: None, credential, label: name.to_owned() }).await.unwrap()
}

/// What came back to a request by hand.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) code: Option<String>,
    pub(crate) body: Value,
}

impl ByHand {
    pub(crate) async fn start() -> Self {
        let bus = BusServer::start().await;
        let node = connect(&bus, "alpha", Role::Node).await;
        let (name, at) = (Name::parse("web").unwrap(), NodeName::parse("alpha").unwrap());
        let callee = Arc::new(Callee { name, node: at, runs: AtomicUsize::new(0) });
        let server = Server::new(node.clone(), Dispatcher::new(Arc::new(One(callee.clone())), Arc::new(Permissive)));
        let mut tasks = Vec::new();
        let subjects = node.subjects();
        for subject in [subjects.served_by(node.user()), subjects.by_hand("web"), subjects.by_hand_control()] {
            tasks.push(server.listen(&subject).await.unwrap());
        }
        let (olga, events) = bus.user("olga", Role::Operator).await;
        Self { bus, node, olga, events, callee, _tasks: tasks }
    }

    /// How often a skill with an effect ran.
    pub(crate) fn runs(&self) -> usize {
        self.callee.runs.load(Ordering::SeqCst)
    }

    /// Asks below `aigis.v1.main.`, `OLGA` standing for the caller's part.
    pub(crate) async fn ask(&self, subject: &str, headers: HeaderMap, body: impl Into<bytes::Bytes>) -> Reply {
        let subject = format!("aigis.v1.main.{}", subject.replace("OLGA", "operator.olga"));
        let request = Request::new().payload(body.into()).headers(headers).timeout(Some(SOON));
        let message = self.olga.send_request(subject.clone(), request).await;
        let message = message.unwrap_or_else(|error| panic!("{subject}: {error}"));
        let code = message.headers.as_ref().and_then(|headers| headers.get("Aigis-Error")).map(ToString::to_string);
        Reply { code, body: serde_json::from_slice(&message.payload).unwrap() }
    }

    /// Calls a skill of `web` with that body, and takes its result.
    pub(crate) async fn call(&self, skill: &str, body: impl Into<bytes::Bytes>) -> Value {
        let reply = self.ask(&format!("call.OLGA.web.{skill}"), HeaderMap::new(), body).await;
        assert_eq!(reply.code, None, "{:?}", reply.body);
        reply.body
    }

    /// Calls a skill of `web` with that body, which is refused with that code; gives the message.
    pub(crate) async fn refused(&self, skill: &str, body: impl Into<bytes::Bytes>, code: Code) -> String {
        let reply = self.ask(&format!("call.OLGA.web.{skill}"), HeaderMap::new(), body).await;
        reply.refusal(code)
    }

    /// Nothing ran, the callee's connection never broke, and it answers a good call.
    pub(crate) async fn is_unharmed(&self) {
        assert_eq!(self.runs(), 0);
        assert!(!self.node.link().borrow().broken_before, "nobody else's connection ends");
        assert!(self.call("seen", "").await["remaining_s"].as_u64().is_some());
    }
}

impl Reply {
    /// The message of an error of that code, after what holds for every message: no control character, and bounded.
    pub(crate) fn refusal(&self, code: Code) -> String {
        assert_eq!(self.code.as_deref(), Some(code.as_str()), "{:?}", self.body);
        assert_eq!(self.body["code"], json!(code.as_str()));
        let texts = ["message", "hint"].map(|part| self.body[part].as_str().unwrap_or_default());
        for text in texts {
            assert!(!text.chars().any(char::is_control) && text.len() < 4_000, "{text:?}");
            assert!(!text.contains(&"x".repeat(65)), "input is cut at 64 characters: {text}");
        }
        texts[0].to_owned()
    }
}
