//! Requests, replies and frames that are too large for a message travel as blobs, unseen.

use std::{
    sync::{Arc, LazyLock},
    time::Duration,
};

use aigis_proxy::{
    Bus, Code, Effect, Error, Name, NodeName, Request, Role, SkillPath, UserName,
    blob::{self, Digest, Life, Store},
    body::MAX_BODY,
    bus::Options,
    client::{self, Response, Target},
    dispatch::{Dispatcher, NoJournal},
    kv::{self, Bucket},
    serve::Server,
    skill::{Answer, Call, Ci, Input, SkillInfo, Table},
    task,
};
use data_encoding::BASE64URL_NOPAD;
use futures::future::BoxFuture;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};

use crate::{blobs::noise, bus_server::BusServer, serving::One};

const MIB: usize = 1024 * 1024;
const WITHIN: Duration = Duration::from_secs(30);
const CALL: &str = "aigis.v1.main.call.viewer.vera.echo";

struct Echo(Name, NodeName);

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Text {
    text: String,
}

impl Input for Text {
    const POSITIONAL: &'static [&'static str] = &["text"];
}

static TABLE: LazyLock<Table<Echo>> = LazyLock::new(|| {
    let mut table = Table::new();
    table.value("echo", Effect::Read, "Says it again.", async |_: Arc<Echo>, _, input: Text| Ok(input.text));
    table
        .value("size", Effect::Read, "Says how long it is.", async |_: Arc<Echo>, _, input: Text| Ok(input.text.len()));
    table.value("make", Effect::Read, "Says something long.", async |_: Arc<Echo>, _, input: Text| {
        Ok("x".repeat(input.text.parse().unwrap_or_default()))
    });
    table.stream("frames", Effect::Read, "Says it 40 times.", async |_: Arc<Echo>, _, input: Text| {
        Ok(futures::stream::iter((0..40).map(move |n| Ok(format!("{n} {}", input.text)))))
    });
    table
});

impl Ci for Echo {
    fn name(&self) -> &Name {
        &self.0
    }
    fn node(&self) -> &NodeName {
        &self.1
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

struct Mesh {
    server: BusServer,
    node: Bus,
    _tasks: Vec<task::Owned>,
}

async fn mesh() -> Mesh {
    let server = BusServer::start().await;
    server.create_store().await;
    let node = server.bus("alpha", Role::Node).await;
    let echo = Arc::new(Echo(Name::parse("echo").unwrap(), NodeName::parse("alpha").unwrap()));
    let serving = Server::new(node.clone(), Dispatcher::new(Arc::new(One(echo)), Arc::new(NoJournal)));
    let subjects = node.subjects();
    let tasks = vec![
        serving.listen(&subjects.served_by(node.user())).await.unwrap(),
        serving.listen(&subjects.by_hand("echo")).await.unwrap(),
        blob::serve(&node, Arc::new(NoJournal)).await.unwrap(),
    ];
    Mesh { server, node, _tasks: tasks }
}

impl Mesh {
    /// How many writes the bucket of blobs has taken.
    async fn writes(&self) -> u64 {
        let subject = "$JS.API.STREAM.INFO.KV_blobs".to_owned();
        let info = self.node.request(subject, None, bytes::Bytes::new(), WITHIN).await.unwrap();
        serde_json::from_slice::<Value>(&info.payload).unwrap()["state"]["last_seq"].as_u64().unwrap()
    }
}

async fn call(bus: &Bus, path: &str, text: &str) -> Result<Value, Error> {
    client::call(bus, &target(path), request(text)).await
}

fn target(path: &str) -> Target {
    Target {
        server: UserName::parse("alpha").unwrap(),
        ci: Name::parse("echo").unwrap(),
        path: SkillPath::parse(path).unwrap(),
        timeout: None,
    }
}

fn request(text: &str) -> Request {
    let mut request = Request { args: vec![json!(text)], ..Request::default() };
    request.meta.timeout = Some(Duration::from_secs(120));
    request
}

#[tokio::test]
async fn bad_13_bodies_around_the_limits_travel_both_ways() {
    let mesh = mesh().await;
    assert_eq!(mesh.node.max_payload(), MIB);
    let vera = mesh.server.bus("vera", Role::Viewer).await;
    let around = request("").to_bytes().len();
    for (body, is_blob) in
        [(MIB / 2 - 1, false), (MIB / 2, true), (MIB - 100, true), (MIB - 1, true), (MIB, true), (MIB + 1, true)]
    {
        let text = "x".repeat(body - around);
        let before = mesh.writes().await;
        assert_eq!(call(&vera, "size", &text).await.unwrap(), json!(text.len()));
        assert_eq!(mesh.writes().await > before, is_blob, "a request of {body} bytes");
        // The reply is the text in quotes.
        let before = mesh.writes().await;
        let made = call(&mesh.node, "make", &(body - 2).to_string()).await.unwrap();
        assert_eq!(made.as_str().map(str::len), Some(body - 2));
        assert_eq!(mesh.writes().await > before, is_blob, "a reply of {body} bytes");
    }
}

#[tokio::test]
async fn ci_63_fifty_megabytes_travel_both_ways() {
    let mesh = mesh().await;
    let olga = mesh.server.bus("olga", Role::Operator).await;
    let text = BASE64URL_NOPAD.encode(&noise(37_500_000));
    assert_eq!(text.len(), 50_000_000);
    let echoed = call(&olga, "echo", &text).await.unwrap();
    assert_eq!(Digest::of(echoed.as_str().unwrap().as_bytes()), Digest::of(text.as_bytes()));
}

#[tokio::test]
async fn a_body_over_the_limit_is_refused_before_it_is_sent() {
    let mesh = mesh().await;
    let before = mesh.writes().await;
    let error = call(&mesh.node, "size", &"x".repeat(MAX_BODY)).await.unwrap_err();
    assert_eq!((error.code, error.detail("sent")), (Code::ResourceExhausted, Some(&json!(false))));
    assert!(error.message.contains(&MAX_BODY.to_string()), "{error}");
    let error = call(&mesh.node, "make", &MAX_BODY.to_string()).await.unwrap_err();
    assert!(error.code == Code::ResourceExhausted && error.message.contains(&MAX_BODY.to_string()), "{error}");
    assert_eq!(mesh.writes().await, before);
}

#[tokio::test]
async fn frames_over_the_limit_travel_in_order() {
    let mesh = mesh().await;
    let vera = mesh.server.bus("vera", Role::Viewer).await;
    let text = "y".repeat(600 * 1024);
    let Response::Stream(mut frames) = client::open(&vera, &target("frames"), request(&text)).await.unwrap() else {
        panic!("no stream")
    };
    for n in 0..40 {
        let frame = frames.next().await.unwrap().unwrap();
        assert!(frame.as_str() == Some(&format!("{n} {text}")), "frame {n}");
    }
    assert!(frames.next().await.is_none());
}

#[tokio::test]
async fn what_a_call_carries_is_sealed() {
    let mesh = mesh().await;
    let olga = mesh.server.bus("olga", Role::Operator).await;
    let text = "very secret ".repeat(60_000);
    assert_eq!(call(&olga, "echo", &text).await.unwrap(), json!(text));
    let vera = mesh.server.bus("vera", Role::Viewer).await;
    let entries = kv::list(&vera, Bucket::Blobs, &[">"], WITHIN).await.unwrap();
    assert!(entries.iter().map(|entry| entry.value.len()).sum::<usize>() > 2 * text.len());
    let shows = |bytes: &[u8]| bytes.windows(11).any(|window| window == b"very secret");
    assert!(shows(text.as_bytes()) && !entries.iter().any(|entry| shows(&entry.value)));
}

#[tokio::test]
async fn bad_13_by_hand_a_reference_comes_back_and_can_be_sent() {
    let mesh = mesh().await;
    let (vera, _events) = mesh.server.user("vera", Role::Viewer).await;
    let ask = async |path: &str, body: String| vera.request(format!("{CALL}.{path}"), body.into()).await.unwrap();
    let reply = ask("make", format!(r#"{{"args":["{MIB}"]}}"#)).await;
    let reference: Value = serde_json::from_slice(&reply.payload).unwrap();
    assert_eq!(reference["$blob"]["size"], MIB + 2 + 16);
    // Whoever gets a reference can pass it on: here a string, which is no request.
    let reply = ask("make", reference.to_string()).await;
    assert_eq!(reply.headers.unwrap().get("Aigis-Error").unwrap().as_str(), "invalid_argument");
    let body = json!({"args": ["x".repeat(2 * MIB)]}).to_string();
    for life in Life::ALL {
        let stored = Store::new(&mesh.node).put(life, body.as_bytes()).await.unwrap();
        let reply = ask("size", json!({"$blob": stored.blob}).to_string()).await;
        assert_eq!(reply.payload, (2 * MIB).to_string());
    }
}

#[tokio::test]
async fn bad_14_references_by_hand_that_lead_nowhere_or_elsewhere() {
    let mesh = mesh().await;
    let (vera, _events) = mesh.server.user("vera", Role::Viewer).await;
    let store = Store::new(&mesh.node);
    let body = json!({"args": ["x"]}).to_string();
    let good = store.put(Life::Kept, body.as_bytes()).await.unwrap().blob;
    let sealed = vera.request(format!("{CALL}.make"), format!(r#"{{"args":["{MIB}"]}}"#).into()).await.unwrap();
    let sealed: Value = serde_json::from_slice(&sealed.payload).unwrap();
    let mut foreign_key = sealed.clone();
    foreign_key["$blob"]["key"] = BASE64URL_NOPAD.encode(&[7; 32]).into();
    let unknown = Digest::of(b"unknown");
    for (code, reference) in [
        ("not_found", json!({"$blob": {"digest": unknown, "size": 5}})),
        ("data_loss", json!({"$blob": {"digest": good.digest, "size": good.size + 1}})),
        ("data_loss", foreign_key),
        ("invalid_argument", json!({"$blob": {"digest": "sha256:../../records.ci.web", "size": 5}})),
        ("invalid_argument", json!({"$blob": {"digest": "../", "size": 5}})),
        ("resource_exhausted", json!({"$blob": {"digest": unknown, "size": 1_u64 << 40}})),
    ] {
        let reply = vera.request(format!("{CALL}.size"), reference.to_string().into()).await.unwrap();
        let found = reply.headers.as_ref().and_then(|headers| headers.get("Aigis-Error")).map(|code| code.to_string());
        assert_eq!(found.as_deref(), Some(code), "{reference}: {reply:?}");
    }
    let reply = vera.request(format!("{CALL}.size"), json!({"$blob": good}).to_string().into()).await.unwrap();
    assert_eq!(reply.payload, "1");
}

/// Passes one connection on, each way at 1 Mbit/s.
async fn thin_link(server: &BusServer) -> (String, task::Owned) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("nats://{}", listener.local_addr().unwrap());
    let address = server.url().strip_prefix("nats://").unwrap().to_owned();
    let link = task::Owned::spawn("thin link", async move {
        let (near, _) = listener.accept().await.unwrap();
        let far = tokio::net::TcpStream::connect(address).await.unwrap();
        let ((near_in, near_out), (far_in, far_out)) = (near.into_split(), far.into_split());
        tokio::join!(trickle(near_in, far_out), trickle(far_in, near_out));
    });
    (url, link)
}

async fn trickle(mut from: impl tokio::io::AsyncRead + Unpin, mut to: impl tokio::io::AsyncWrite + Unpin) {
    let mut some = [0; 1_250];
    let mut tick = tokio::time::interval(Duration::from_millis(10));
    while let Ok(count @ 1..) = from.read(&mut some).await {
        tick.tick().await;
        if to.write_all(&some[..count]).await.is_err() {
            return;
        }
    }
}

#[tokio::test]
async fn flt_31_a_thin_link_carries_a_large_body_and_calls_beside_it() {
    let mesh = mesh().await;
    let (url, _link) = thin_link(&mesh.server).await;
    let credential = Arc::new(mesh.server.credential("vera", Role::Viewer));
    let vera = Bus::connect(Options { url, ca: None, credential, label: "vera".to_owned() }).await.unwrap();
    let text = BASE64URL_NOPAD.encode(&noise(1_200_000));
    let target = target("echo");
    let small = async {
        loop {
            // 30 s is the default of a call.
            let said = client::call(&vera, &target, Request { args: vec![json!("hi")], ..Request::default() }).await;
            assert_eq!(said.unwrap(), json!("hi"));
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
    };
    tokio::select! {
        echoed = call(&vera, "echo", &text) => assert!(echoed.unwrap() == json!(text)),
        () = small => unreachable!(),
    }
    assert!(!vera.link().borrow().broken_before);
}

/// Where the client by hand hears its answers.
const INBOX: &str = "_INBOX.vera.x";

/// A client by hand that is logged in as `vera` and hears its own inbox.
async fn by_hand(mesh: &Mesh) -> BufReader<tokio::net::TcpStream> {
    let credential = mesh.server.credential("vera", Role::Viewer);
    let login = credential.login();
    let stream = tokio::net::TcpStream::connect(mesh.server.url().strip_prefix("nats://").unwrap()).await.unwrap();
    let mut stream = BufReader::new(stream);
    let mut line = String::new();
    stream.read_line(&mut line).await.unwrap();
    let info: Value = serde_json::from_str(line.strip_prefix("INFO ").unwrap()).unwrap();
    let signature = BASE64URL_NOPAD.encode(&login.sign(info["nonce"].as_str().unwrap().as_bytes()));
    let connect = json!({"jwt": login.jwt(), "sig": signature, "verbose": false, "headers": true, "lang": "by hand", "version": "1"});
    stream.write_all(format!("CONNECT {connect}\r\nSUB {INBOX} 1\r\n").as_bytes()).await.unwrap();
    stream
}

/// The next message in the inbox.
async fn heard(stream: &mut BufReader<tokio::net::TcpStream>) -> String {
    let answered = async {
        let mut line = String::new();
        loop {
            line.clear();
            assert!(stream.read_line(&mut line).await.unwrap() > 0, "the connection ended");
            if line.starts_with("MSG ") {
                line.clear();
                stream.read_line(&mut line).await.unwrap();
                return line.trim().to_owned();
            }
        }
    };
    tokio::time::timeout(WITHIN, answered).await.unwrap()
}

#[tokio::test]
async fn bad_13_by_hand_a_byte_too_much_ends_that_connection_alone() {
    let mesh = mesh().await;
    let olga = mesh.server.bus("olga", Role::Operator).await;
    let fits = "x".repeat(MIB - 14);
    let body = format!("{{\"args\":[\"{fits}\"]}}");
    assert_eq!(body.len(), MIB - 1);
    let headers = "NATS/1.0\r\nwhy: none\r\n\r\n";
    let less = format!("{{\"args\":[\"{}\"]}}", "x".repeat(MIB - 13 - headers.len()));
    assert_eq!(headers.len() + less.len(), MIB);
    // What fits, and the same with a byte more: in the body, and where only the headers push it over.
    for (good, size, bad) in [
        (
            format!("PUB {CALL}.size {INBOX} {MIB}\r\n {body}\r\n"),
            fits.len(),
            format!("PUB {CALL}.size {INBOX} {}\r\n  {body}\r\n", MIB + 1),
        ),
        (
            format!("HPUB {CALL}.size {INBOX} {} {MIB}\r\n{headers}{less}\r\n", headers.len()),
            less.len() - 13,
            format!("HPUB {CALL}.size {INBOX} {} {}\r\n{headers} {less}\r\n", headers.len(), MIB + 1),
        ),
    ] {
        let mut stream = by_hand(&mesh).await;
        stream.write_all(good.as_bytes()).await.unwrap();
        assert_eq!(heard(&mut stream).await, size.to_string());
        // The server may have ended the connection before it has taken all of it.
        let _ = stream.write_all(bad.as_bytes()).await;
        let mut rest = Vec::new();
        let ended = tokio::time::timeout(WITHIN, stream.read_to_end(&mut rest)).await.unwrap();
        let rest = String::from_utf8_lossy(&rest);
        assert!(ended.is_err() || rest.contains("Maximum Payload Violation"), "{rest}");
        assert!(olga.link().borrow().up && !olga.link().borrow().broken_before);
    }
    assert_eq!(call(&olga, "echo", "hi").await.unwrap(), json!("hi"));
}
