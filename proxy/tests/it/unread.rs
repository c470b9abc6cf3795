//! A skill that takes bodies gets its envelope as it was written, and what it answers goes out as it is, whichever the way.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use aigis_proxy::{
    Bus, Code, Effect, Error, Name, NodeName, Role, SkillPath, UserName, blob,
    client::{Client, Response, Target},
    dispatch::{Begun, Deed, Dispatcher, Journal, NoJournal, Outcome},
    envelope::Passing,
    serve::Server,
    skill::{self, Answer, Bodies, Call, Ci, SkillInfo},
    socket::{self, Gate, Limits, Local},
    subject::Caller,
};
use bytes::Bytes;
use futures::{FutureExt, StreamExt, future::BoxFuture, stream};
use serde_json::json;
use tokio::sync::watch;

use crate::{bus_server::BusServer, serving::One};

/// What the strict writer of values would write in another way, or refuse.
const ODD: &str =
    r#"[{"b":1.50,"a":1e5,"\u0061b":-0.0},{"$ref":{"id":"r00","lease_s":60}},{"$map":[[{"$set":[]},2]]},{"$later":1}]"#;

/// Answers with what it was sent.
struct Raw(Name, NodeName);

impl Raw {
    fn info(path: &str) -> Option<Arc<SkillInfo>> {
        let effect = match path {
            "echo" | "each" => Effect::Read,
            "write" => Effect::Write,
            _ => return None,
        };
        let (path, doc) = (SkillPath::parse(path).unwrap(), String::new());
        let (stream, input, output) = (path.as_str() == "each", json!({}), json!({}));
        Some(Arc::new(SkillInfo { path, effect, stream, doc, input, output, timeout: None }))
    }
}

impl Ci for Raw {
    fn name(&self) -> &Name {
        &self.0
    }
    fn node(&self) -> &NodeName {
        &self.1
    }
    fn skills(&self) -> Vec<Arc<SkillInfo>> {
        ["echo", "each", "write"].into_iter().filter_map(Self::info).collect()
    }
    fn skill(&self, path: &str) -> Option<Arc<SkillInfo>> {
        Self::info(path)
    }
    fn takes_bodies(&self, _: &str) -> bool {
        true
    }
    fn run(self: Arc<Self>, path: SkillPath, call: Call) -> BoxFuture<'static, Result<Answer, Error>> {
        assert!(call.request.args.is_empty(), "nobody has read them");
        let answer = match path.as_str() {
            "each" => Answer::Bodies(Bodies::new(stream::iter((0..100).map(move |_| Ok(call.body.clone()))).boxed())),
            _ => Answer::Body(call.body),
        };
        std::future::ready(Ok(answer)).boxed()
    }
}

/// Keeps what it was told of deeds.
#[derive(Clone, Default)]
struct Told(Arc<Mutex<Vec<String>>>);

impl Journal for Told {
    fn begin<'a>(&'a self, deed: Deed<'a>) -> BoxFuture<'a, Result<Begun, Error>> {
        self.0.lock().unwrap().push(String::from_utf8(deed.body.unwrap().to_vec()).unwrap());
        std::future::ready(Ok(Begun::Run)).boxed()
    }
    fn end<'a>(&'a self, _: Deed<'a>, outcome: Outcome<'a>) -> BoxFuture<'a, ()> {
        assert!(matches!(outcome, Outcome::Body(_)), "{outcome:?}");
        std::future::ready(()).boxed()
    }
    fn refused<'a>(&'a self, _: &'a Caller, _: &'a str, _: &'a str) -> BoxFuture<'a, ()> {
        std::future::ready(()).boxed()
    }
}

async fn called(client: &Client, path: &str, args: &str) -> Result<Response<Bytes>, Error> {
    let body = format!(r#"{{"args":{args},"meta":{{"timeout_ms":60000}}}}"#);
    let target = Target {
        server: UserName::parse("alpha").unwrap(),
        ci: Name::parse("raw").unwrap(),
        path: SkillPath::parse(path).unwrap(),
        timeout: None,
    };
    client.pass(&target, Passing::read(body.into()).unwrap()).await
}

/// The arguments of an envelope.
fn args(body: &Bytes) -> &str {
    let text = std::str::from_utf8(body).unwrap();
    text.strip_prefix("{\"args\":").unwrap().split(",\"meta\":").next().unwrap()
}

async fn echoed(client: &Client, path: &str, sent: &str) {
    let Response::Value(body) = called(client, path, sent).await.unwrap() else { panic!("a stream") };
    assert!(args(&body) == sent, "{path}: {} bytes came of {}", args(&body).len(), sent.len());
}

#[tokio::test]
async fn plg_38_bodies_pass_to_the_byte_over_the_bus_and_the_socket() {
    let server = BusServer::start().await;
    server.create_store().await;
    let node: Bus = server.bus("alpha", Role::Node).await;
    let raw = Arc::new(Raw(Name::parse("raw").unwrap(), NodeName::parse("alpha").unwrap()));
    let told = Told::default();
    let serving = Server::new(node.clone(), Dispatcher::new(Arc::new(One(raw.clone())), Arc::new(told.clone())));
    let _tasks = [
        serving.listen(&node.subjects().served_by(node.user())).await.unwrap(),
        blob::serve(&node, Arc::new(NoJournal)).await.unwrap(),
    ];
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("node.sock");
    let gate = Gate {
        issuer: watch::channel(server.keys.issuer()).1,
        revoked: watch::channel(server.keys.revocations()).1,
        offers: None,
    };
    let _listening = socket::listen(&path, serving, gate, Limits::default()).unwrap();
    let olga = server.bus("olga", Role::Operator).await;
    let credential = Arc::new(server.credential("olga", Role::Operator));
    let over_bus = Client::new(olga.clone());
    let over_socket = Client::new(olga).with_local(Local::new(path, UserName::parse("alpha").unwrap(), credential));
    let large = format!(r#"["{}",1e5]"#, "x".repeat(3 * 1024 * 1024));
    for client in [over_bus, over_socket] {
        for path in ["echo", "write"] {
            echoed(&client, path, ODD).await;
        }
        echoed(&client, "echo", &large).await;
        let Response::Stream(mut frames) = called(&client, "each", ODD).await.unwrap() else { panic!("no stream") };
        for _ in 0..100 {
            let frame = tokio::time::timeout(Duration::from_secs(60), frames.next()).await.unwrap().unwrap().unwrap();
            assert_eq!(args(&frame), ODD);
        }
        assert!(frames.next().await.is_none());
        for bad in [r#"[{"a":1,"a":2}]"#, "[18446744073709551616]", &format!("{}{}", "[".repeat(200), "]".repeat(200))]
        {
            let error = called(&client, "write", bad).await.unwrap_err();
            assert_eq!(error.code, Code::InvalidArgument, "{bad}: {error}");
        }
    }
    let told = told.0.lock().unwrap();
    assert!(told.len() == 2 && told.iter().all(|body| body.contains(ODD)), "{told:?}");
}

#[tokio::test]
async fn a_call_within_a_call_has_the_form_that_its_skill_takes() {
    let raw = Raw(Name::parse("raw").unwrap(), NodeName::parse("alpha").unwrap());
    let call = Call {
        caller: Caller { role: Role::Operator, name: UserName::parse("olga").unwrap() },
        addressed: raw.0.clone(),
        request: aigis_proxy::Request::default(),
        body: Bytes::new(),
        deadline: tokio::time::Instant::now(),
        cancelled: tokio_util::sync::CancellationToken::new(),
    };
    let request = aigis_proxy::Request { args: vec![json!(1)], ..aigis_proxy::Request::default() };
    let within = call.within(&raw, "echo", request);
    assert_eq!((within.request.args.len(), &within.body[..]), (0, &br#"{"args":[1],"meta":{}}"#[..]));
    assert_eq!(skill::value_of(&within.body).unwrap()["args"], json!([1]));
    assert_eq!(skill::value_of(b"[1").unwrap_err().code, Code::Internal);
}
