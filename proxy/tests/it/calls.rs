//! Calls between two connections: results, errors, streams with credit, cancel, and what the bus refuses.

use std::{
    sync::{
        Arc, LazyLock,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use aigis_proxy::{
    Bus, Code, Effect, Error, Name, NodeName, Request, Role, SkillPath, UserName,
    bus::{HeaderMap, Options},
    client::{self, Response, Target},
    dispatch::Dispatcher,
    serve::Server,
    skill::{Answer, Call, Ci, Input, Nothing, SkillInfo, Table},
    task,
};
use futures::{StreamExt, future::BoxFuture};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::{
    bus_server::BusServer,
    serving::{One, Permissive},
};

pub(crate) struct Echo {
    name: Name,
    node: NodeName,
    pub(crate) writes: AtomicUsize,
    pub(crate) running: AtomicUsize,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Text {
    text: String,
}

impl Input for Text {
    const POSITIONAL: &'static [&'static str] = &["text"];
}

struct Counted(Arc<Echo>);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.running.fetch_sub(1, Ordering::SeqCst);
    }
}

static TABLE: LazyLock<Table<Echo>> = LazyLock::new(|| {
    let mut table = Table::new();
    table.value("echo", Effect::Read, "Says it again.", async |_: Arc<Echo>, _, input: Text| Ok(input.text));
    table.value("write", Effect::Write, "Counts.", async |echo: Arc<Echo>, _, _: Nothing| {
        Ok(echo.writes.fetch_add(1, Ordering::SeqCst) + 1)
    });
    table.value("hang", Effect::Read, "Never answers.", async |echo: Arc<Echo>, _, _: Nothing| -> Result<(), Error> {
        echo.running.fetch_add(1, Ordering::SeqCst);
        let _counted = Counted(echo);
        std::future::pending().await
    });
    table.stream("count", Effect::Read, "Counts for ever.", async |echo: Arc<Echo>, _, _: Nothing| {
        echo.running.fetch_add(1, Ordering::SeqCst);
        let counted = Counted(echo);
        Ok(futures::stream::iter(1_u64..).map(move |n| {
            let _ = &counted;
            Ok(n)
        }))
    });
    table.stream("three", Effect::Read, "Counts to three.", async |_: Arc<Echo>, _, _: Nothing| {
        Ok(futures::stream::iter((1..=3_u64).map(Ok)))
    });
    table
});

impl Echo {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self {
            name: Name::parse("echo").unwrap(),
            node: NodeName::parse("alpha").unwrap(),
            writes: AtomicUsize::new(0),
            running: AtomicUsize::new(0),
        })
    }
}

impl Ci for Echo {
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

pub(crate) struct Mesh {
    pub(crate) bus: BusServer,
    pub(crate) echo: Arc<Echo>,
    pub(crate) server: Server,
    node: Bus,
    pub(crate) tasks: Vec<task::Owned>,
}

pub(crate) async fn connect(server: &BusServer, name: &str, role: Role) -> Bus {
    let credential = Arc::new(server.credential(name, role));
    Bus::connect(Options { url: server.url(), ca: None, credential, label: name.to_owned() }).await.unwrap()
}

pub(crate) async fn mesh() -> Mesh {
    let bus = BusServer::start().await;
    let node = connect(&bus, "alpha", Role::Node).await;
    let echo = Echo::new();
    let server = Server::new(node.clone(), Dispatcher::new(Arc::new(One(echo.clone())), Arc::new(Permissive)));
    let subjects = node.subjects();
    let tasks = vec![
        server.listen(&subjects.served_by(node.user())).await.unwrap(),
        server.listen(&subjects.by_hand("echo")).await.unwrap(),
        server.listen(&subjects.by_hand_control()).await.unwrap(),
        aigis_proxy::service_info::answer(&node, &server, "0.1.0").await.unwrap(),
    ];
    Mesh { bus, echo, server, node, tasks }
}

pub(crate) fn target(path: &str) -> Target {
    Target {
        server: UserName::parse("alpha").unwrap(),
        ci: Name::parse("echo").unwrap(),
        path: SkillPath::parse(path).unwrap(),
        timeout: None,
    }
}

pub(crate) fn request(args: &[&str]) -> Request {
    Request { args: args.iter().map(|text| json!(text)).collect(), ..Request::default() }
}

pub(crate) async fn until(what: &str, condition: impl Fn() -> bool) {
    for _ in 0..2_000 {
        if condition() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("{what} did not come true within 20 s");
}

#[tokio::test]
async fn a_call_answers_and_errors_travel() {
    let mesh = mesh().await;
    let olga = connect(&mesh.bus, "olga", Role::Operator).await;
    assert_eq!(client::call(&olga, &target("echo"), request(&["hi"])).await.unwrap(), json!("hi"));
    let error = client::call(&olga, &target("nosuch"), request(&[])).await.unwrap_err();
    assert_eq!(error.code, Code::NotFound);
    assert!(error.detail("skills").is_some());
    let error = client::call(&olga, &target("echo"), request(&[])).await.unwrap_err();
    assert_eq!((error.code, error.message.contains("text")), (Code::InvalidArgument, true));
    let absent = Target { server: UserName::parse("beta").unwrap(), ..target("echo") };
    let error = client::call(&olga, &absent, request(&["hi"])).await.unwrap_err();
    assert_eq!((error.code, error.detail("sent")), (Code::Unavailable, Some(&json!(false))));
}

#[tokio::test]
async fn roles_decide_at_the_callee_and_at_the_bus() {
    let mesh = mesh().await;
    let vera = connect(&mesh.bus, "vera", Role::Viewer).await;
    let error = client::call(&vera, &target("write"), request(&[])).await.unwrap_err();
    assert_eq!(error.code, Code::PermissionDenied);
    assert_eq!(mesh.echo.writes.load(Ordering::SeqCst), 0);
    let olga = connect(&mesh.bus, "olga", Role::Operator).await;
    assert_eq!(client::call(&olga, &target("write"), request(&[])).await.unwrap(), json!(1));
    let forged = "aigis.v1.main.to.alpha.admin.adam.echo.write".to_owned();
    let started = std::time::Instant::now();
    let error = vera.request(forged, None, bytes::Bytes::new(), Duration::from_secs(60)).await.unwrap_err();
    assert_eq!(error.code, Code::PermissionDenied);
    assert!(started.elapsed() < Duration::from_secs(30), "by the violation, not by time-out");
    assert!(vera.subscribe("_INBOX.olga.>").await.is_err());
}

#[tokio::test]
async fn a_caller_waits_for_as_long_as_the_skill_declares() {
    let mesh = mesh().await;
    let olga = connect(&mesh.bus, "olga", Role::Operator).await;
    let patient = Target { timeout: Some(Duration::from_millis(300)), ..target("hang") };
    let error = client::call(&olga, &patient, request(&[])).await.unwrap_err();
    assert_eq!((error.code, error.detail("sent")), (Code::DeadlineExceeded, Some(&json!(true))));
    until("the call ended", || mesh.echo.running.load(Ordering::SeqCst) == 0).await;
}

#[tokio::test]
async fn a_dropped_call_is_cancelled_at_the_callee() {
    let mesh = mesh().await;
    let olga = connect(&mesh.bus, "olga", Role::Operator).await;
    let call = task::spawn("call", async move { client::call(&olga, &target("hang"), request(&[])).await });
    until("the call runs", || mesh.echo.running.load(Ordering::SeqCst) == 1).await;
    call.abort();
    until("the call ended", || mesh.echo.running.load(Ordering::SeqCst) == 0).await;
    until("nothing is in flight", || mesh.server.counters().in_flight.load(Ordering::SeqCst) == 0).await;
}

#[tokio::test]
async fn a_deadline_is_the_callees_too() {
    let mesh = mesh().await;
    let olga = connect(&mesh.bus, "olga", Role::Operator).await;
    let mut request = request(&[]);
    request.meta.timeout = Some(Duration::from_millis(100));
    let error = client::call(&olga, &target("hang"), request).await.unwrap_err();
    assert_eq!(error.code, Code::DeadlineExceeded);
    until("the callee let go", || mesh.echo.running.load(Ordering::SeqCst) == 0).await;
}

#[tokio::test]
async fn a_stream_ends_and_a_slow_reader_slows_the_writer() {
    let mesh = mesh().await;
    let olga = connect(&mesh.bus, "olga", Role::Operator).await;
    let Response::Stream(mut three) = client::open(&olga, &target("three"), request(&[])).await.unwrap() else {
        panic!("no stream")
    };
    let mut seen = Vec::new();
    while let Some(frame) = three.next().await {
        seen.push(frame.unwrap());
    }
    assert_eq!(seen, [json!(1), json!(2), json!(3)]);
    let Response::Stream(mut count) = client::open(&olga, &target("count"), request(&[])).await.unwrap() else {
        panic!("no stream")
    };
    for n in 1..=1_000_u64 {
        assert_eq!(count.next().await.unwrap().unwrap(), json!(n));
    }
    // Who holds a stream loses nothing of it, and neither its end.
    let _ = tokio::time::timeout(Duration::from_millis(300), count.hold()).await.unwrap_err();
    for n in 1_001..=1_200_u64 {
        assert_eq!(count.next().await.unwrap().unwrap(), json!(n));
    }
    let Response::Stream(mut three) = client::open(&olga, &target("three"), request(&[])).await.unwrap() else {
        panic!("no stream")
    };
    let _ = tokio::time::timeout(Duration::from_millis(300), three.hold()).await.unwrap_err();
    for n in 1..=3_u64 {
        assert_eq!(three.next().await.unwrap().unwrap(), json!(n));
    }
    assert!(three.next().await.is_none());
    drop(count);
    until("the stream ended at the callee", || mesh.echo.running.load(Ordering::SeqCst) == 0).await;
}

#[tokio::test]
async fn bad_04_unknown_cis_by_hand_have_no_responders() {
    let mesh = mesh().await;
    let olga = connect(&mesh.bus, "olga", Role::Operator).await;
    let ask = async |subject: &str| {
        olga.request(subject.to_owned(), None, bytes::Bytes::new(), Duration::from_secs(60)).await
    };
    for absent in ["aigis.v1.main.call.operator.olga.nosuch.status", "aigis.v1.main.call.operator.olga.ECHO.echo"] {
        assert_eq!(ask(absent).await.unwrap_err().code, Code::Unavailable, "{absent}");
    }
    let reply = ask("aigis.v1.main.call.operator.olga.echo.nosuch").await.unwrap();
    assert_eq!(reply.headers.unwrap().get("Aigis-Error").unwrap().as_str(), "not_found");
}

#[tokio::test]
async fn a_foreign_reply_subject_runs_nothing() {
    let mesh = mesh().await;
    let (olga, _events) = mesh.bus.user("olga", Role::Operator).await;
    for reply in ["_INBOX.adam.x", "aigis.v1.main.to.alpha.admin.adam.echo.write", "$KV.records.ci.echo.alpha"] {
        olga.publish_with_reply("aigis.v1.main.to.alpha.operator.olga.echo.write", reply, "{}".into()).await.unwrap();
    }
    olga.flush().await.unwrap();
    until("all were dropped", || mesh.server.counters().dropped.load(Ordering::SeqCst) == 3).await;
    assert_eq!(mesh.echo.writes.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn the_service_protocol_is_answered() {
    let mesh = mesh().await;
    let vera = connect(&mesh.bus, "vera", Role::Viewer).await;
    for (verb, kind) in [("PING", "ping"), ("INFO", "info"), ("STATS", "stats")] {
        let subject = format!("$SRV.{verb}");
        let reply = vera.request(subject, None, bytes::Bytes::new(), Duration::from_secs(60)).await.unwrap();
        let body: Value = serde_json::from_slice(&reply.payload).unwrap();
        assert_eq!(body["type"], format!("io.nats.micro.v1.{kind}_response"));
    }
}

#[tokio::test]
async fn bad_21_hostile_replies_are_internal_and_name_the_server() {
    let mesh = mesh().await;
    let olga = connect(&mesh.bus, "olga", Role::Operator).await;
    let beta = connect(&mesh.bus, "beta", Role::Node).await;
    let mut asked = beta.subscribe(&beta.subjects().served_by(beta.user())).await.unwrap();
    let answering = task::Owned::spawn("hostile", async move {
        let mut turn = 0;
        while let Some(message) = asked.next().await {
            let mut headers = HeaderMap::new();
            if turn < 2 {
                headers.insert("Aigis-Error", ["no_such_code", "internal"][turn]);
            }
            turn += 1;
            beta.publish(message.reply.unwrap().into_string(), Some(headers), "no json".into()).await.unwrap();
        }
    });
    let at_beta = Target { server: UserName::parse("beta").unwrap(), ..target("echo") };
    for _ in 0..3 {
        let error = client::call(&olga, &at_beta, request(&[])).await.unwrap_err();
        assert_eq!(error.code, Code::Internal);
        assert!(error.message.contains("beta"), "{error}");
    }
    drop(answering);
}

#[tokio::test]
async fn a_killed_bus_ends_waiting_calls_and_calls_resume() {
    let mut mesh = mesh().await;
    let olga = connect(&mesh.bus, "olga", Role::Operator).await;
    let waiting = {
        let olga = olga.clone();
        task::spawn("call", async move { client::call(&olga, &target("hang"), request(&[])).await })
    };
    until("the call runs", || mesh.echo.running.load(Ordering::SeqCst) == 1).await;
    mesh.bus.stop();
    let error = tokio::time::timeout(Duration::from_secs(60), waiting).await.unwrap().unwrap().unwrap_err();
    assert_eq!((error.code, error.detail("sent")), (Code::Unavailable, Some(&json!(true))));
    let error = client::call(&olga, &target("echo"), request(&["x"])).await.unwrap_err();
    assert_eq!((error.code, error.detail("sent")), (Code::Unavailable, Some(&json!(false))));
    mesh.bus.run_again().await;
    let resumed = async {
        while client::call(&olga, &target("echo"), request(&["x"])).await.is_err() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), resumed).await.unwrap();
    assert!(mesh.node.link().borrow().broken_before);
}
