//! Bad values that a node writes under its own keys, and call ids that are used again.

use std::{sync::Arc, time::Duration};

use aigis_proxy::{
    Address, Bus, Code, Effect, Error, Meta, Name, NodeName, Request, Role, SkillPath, UserName,
    client::{self, Target},
    dispatch::{Directory, Dispatcher},
    kv::{self, Bucket, Expect},
    serve::Server,
    skill::{Answer, Call, Ci, Input, SkillInfo, Table},
    subject::HandTarget,
};
use aigis_registry::{Cache, CiRecord, Resolved, audit::AuditJournal};
use futures::{FutureExt, future::BoxFuture};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::{
    bus_server::{BusServer, until},
    records::{container, registry},
};

const SOON: Duration = Duration::from_secs(60);

fn sealed(content: &Value) -> Vec<u8> {
    let content = content.to_string();
    let digest = aigis_registry::record::digest(content.as_bytes());
    format!("{{\"digest\":\"{digest}\",\"content\":{content}}}").into_bytes()
}

#[tokio::test]
async fn bad_05_readers_skip_and_count_bad_values_and_keep_the_former() {
    let server = BusServer::start().await;
    let (bus, beta) = registry(&server, "beta").await;
    for name in ["web", "db"] {
        beta.put_ci(CiRecord { description: "sound".to_owned(), ..container(name, "beta") }).await.unwrap();
    }
    let vera = server.user("vera", Role::Viewer).await;
    let cache = Cache::open(&vera, None, SOON).await.unwrap();
    let address = Address::parse("web").unwrap();
    let good = kv::get(&bus, Bucket::Records, "ci.web.beta", SOON).await.unwrap().unwrap().value;
    let text = String::from_utf8(good.to_vec()).unwrap();
    let record: Value = serde_json::from_str::<Value>(&text).unwrap()["content"].clone();
    let other = |key: &str, value: Value| {
        let mut record = record.clone();
        record[key] = value;
        sealed(&record)
    };
    for (what, value) in [
        ("no JSON", b"\x1b[2J no json".to_vec()),
        ("no UTF-8", b"\xff\xfe".to_vec()),
        ("nothing", Vec::new()),
        ("too deep", "[".repeat(100_000).into_bytes()),
        ("other version", sealed(&json!({"v": 2, "who": "web"}))),
        ("a kind of the future", other("kind", json!("robot\u{1b}[2J"))),
        ("digest wrong", text.replace("sound", "wrong").into_bytes()),
        ("no digest", record.to_string().into_bytes()),
        ("the record of another", other("name", json!("db"))),
    ] {
        kv::put(&bus, Bucket::Records, "ci.web.beta", value.into(), Expect::Anything, SOON).await.unwrap();
        let reason = until(what, async || {
            let snapshot = cache.snapshot();
            snapshot.damaged().find(|(key, _)| *key == "ci.web.beta").map(|(_, reason)| reason.to_owned())
        })
        .await;
        assert!(!reason.chars().any(char::is_control), "{what}: {reason:?}");
        let snapshot = cache.snapshot();
        assert_eq!(snapshot.damaged().count(), 1, "{what}");
        assert_eq!(snapshot.rows().len(), 2, "{what}: others are read as ever");
        let Ok(Resolved::One(found)) = snapshot.resolve(&address) else { panic!("{what}: the former is kept") };
        assert_eq!(found.record.description, "sound", "{what}");
        // Who has no former says that it is damaged, and which record of which node.
        let cold = Cache::open(&vera, None, SOON).await.unwrap();
        let error = cold.snapshot().resolve(&address).unwrap_err();
        assert_eq!(error.code, Code::DataLoss, "{what}");
        assert!(error.message.contains("ci.web.beta") && !error.message.chars().any(char::is_control), "{error}");
        assert!(cold.snapshot().resolve(&Address::parse("db").unwrap()).is_ok(), "{what}");
        kv::put(&bus, Bucket::Records, "ci.web.beta", good.clone(), Expect::Anything, SOON).await.unwrap();
        until("the repair", async || (cache.snapshot().damaged().count() == 0).then_some(())).await;
    }
}

#[tokio::test]
async fn bad_05_a_value_over_256_kib_is_refused_by_us_and_by_the_bus() {
    let server = BusServer::start().await;
    let (bus, beta) = registry(&server, "beta").await;
    beta.put_ci(container("web", "beta")).await.unwrap();
    let before = kv::get(&bus, Bucket::Records, "ci.web.beta", SOON).await.unwrap().unwrap();
    let large = vec![b'x'; 256 * 1024 + 1];
    let error =
        kv::put(&bus, Bucket::Records, "ci.web.beta", large.clone().into(), Expect::Anything, SOON).await.unwrap_err();
    let message = error.to_string();
    assert!(message.contains("ci.web.beta") && message.contains(&kv::MAX_VALUE.to_string()), "{message}");
    assert_eq!(Error::from(error).code, Code::ResourceExhausted);
    // A client by hand asks nobody but the bus.
    for (size, refused) in [(256 * 1024 + 1, true), (256 * 1024 - 1024, false)] {
        let body = bytes::Bytes::from(vec![b'x'; size]);
        let reply = bus.request("$KV.records.ci.other.beta".to_owned(), None, body, SOON).await.unwrap();
        let reply: Value = serde_json::from_slice(&reply.payload).unwrap();
        assert_eq!(reply["error"]["err_code"].as_u64().is_some(), refused, "{size}: {reply}");
    }
    assert_eq!(kv::get(&bus, Bucket::Records, "ci.web.beta", SOON).await.unwrap().unwrap(), before);
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Amount {
    amount: u64,
}

impl Input for Amount {
    const POSITIONAL: &'static [&'static str] = &["amount"];
}

/// A sum that calls add to.
struct Sum {
    name: Name,
    node: NodeName,
    sum: std::sync::atomic::AtomicU64,
    table: Table<Self>,
}

impl Ci for Sum {
    fn name(&self) -> &Name {
        &self.name
    }
    fn node(&self) -> &NodeName {
        &self.node
    }
    fn skills(&self) -> Vec<Arc<SkillInfo>> {
        self.table.skills()
    }
    fn skill(&self, path: &str) -> Option<Arc<SkillInfo>> {
        self.table.skill(path)
    }
    fn run(self: Arc<Self>, path: SkillPath, call: Call) -> BoxFuture<'static, Result<Answer, Error>> {
        let state = self.clone();
        self.table.run(state, &path, call).boxed()
    }
}

struct Only(Arc<Sum>);

impl Directory for Only {
    fn find(&self, _: &HandTarget) -> Result<Arc<dyn Ci>, Error> {
        Ok(self.0.clone())
    }
}

#[tokio::test]
async fn bad_18_a_call_id_used_with_other_arguments_is_refused_and_says_when_it_was_used() {
    let server = BusServer::start().await;
    let credential = server.credential("alpha", Role::Node);
    let bus = Bus::connect(server.options(credential.clone())).await.unwrap();
    let directory = tempfile::tempdir().unwrap();
    let journal = Arc::new(AuditJournal::open(directory.path(), credential).unwrap());
    let mut table = Table::<Sum>::new();
    table.value("add", Effect::Write, "Adds.", async |sum: Arc<Sum>, _, input: Amount| {
        Ok(sum.sum.fetch_add(input.amount, std::sync::atomic::Ordering::SeqCst) + input.amount)
    });
    let (name, node) = (Name::parse("sum").unwrap(), NodeName::parse("alpha").unwrap());
    let sum = Arc::new(Sum { name, node, sum: 0.into(), table });
    let serving = Server::new(bus.clone(), Dispatcher::new(Arc::new(Only(sum)), journal));
    let _task = serving.listen(&bus.subjects().served_by(bus.user())).await.unwrap();
    let olga = server.user("olga", Role::Operator).await;
    let paul = server.user("paul", Role::Operator).await;
    let add = async |bus: &Bus, id: &str, amount: u64| {
        let target = Target {
            server: UserName::parse("alpha").unwrap(),
            ci: Name::parse("sum").unwrap(),
            path: SkillPath::parse("add").unwrap(),
            timeout: None,
        };
        let meta = Meta { call: Some(id.to_owned()), ..Meta::default() };
        client::call(bus, &target, Request { args: vec![amount.into()], meta, ..Request::default() }).await
    };
    assert_eq!(add(&olga, "one", 5).await.unwrap(), json!(5));
    assert_eq!(add(&olga, "one", 5).await.unwrap(), json!(5), "one effect, one reply");
    let error = add(&olga, "one", 6).await.unwrap_err();
    assert_eq!((error.code, error.detail("call")), (Code::AlreadyExists, Some(&json!("one"))));
    let at = error.detail("at").and_then(Value::as_str).unwrap();
    assert!(error.message.contains("\"one\"") && error.message.contains(at), "{error}");
    assert_eq!(add(&olga, "two", 6).await.unwrap(), json!(11), "the refused one added nothing");
    assert_eq!(add(&paul, "one", 7).await.unwrap(), json!(18), "another's id is another's");
}
