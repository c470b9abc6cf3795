//! Hostile callees and hostile readers: replies, frames and credit that keep no rule.

use std::time::Duration;

use aigis_proxy::{
    Bus, Code, Error, Name, Request, Role, SkillPath, UserName,
    bus::HeaderMap,
    client::{self, Frames, Response, Target},
    task,
};
use async_nats::{Client, Message};
use bytes::Bytes;
use data_encoding::BASE64URL_NOPAD;
use futures::StreamExt;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::callee::{ByHand, SOON, connect};

/// One message of a reply: a header, if any, and the body.
type Part = (Option<(&'static str, &'static str)>, Bytes);

/// A plain client on the node `beta` that answers every call with what it is told, and our client `olga`.
struct Hostile {
    mesh: ByHand,
    olga: Bus,
    beta: Client,
    calls: async_nats::Subscriber,
}

impl Hostile {
    async fn start() -> Self {
        let mesh = ByHand::start().await;
        let olga = connect(&mesh.bus, "paul", Role::Operator).await;
        let (beta, _) = mesh.bus.user("beta", Role::Node).await;
        let calls = beta.subscribe("aigis.v1.main.to.beta.>").await.unwrap();
        // A flush is no proof that a subscription holds; an own message that comes back after it is.
        let inbox = beta.new_inbox();
        let mut own = beta.subscribe(inbox.clone()).await.unwrap();
        beta.publish(inbox, "".into()).await.unwrap();
        tokio::time::timeout(SOON, own.next()).await.unwrap().unwrap();
        Self { mesh, olga, beta, calls }
    }

    async fn next(&mut self) -> Message {
        tokio::time::timeout(SOON, self.calls.next()).await.unwrap().unwrap()
    }

    /// Our client's view of a call that is answered so.
    async fn answered(&mut self, parts: Vec<Part>) -> Result<Response, Error> {
        let target = Target {
            server: UserName::parse("beta").unwrap(),
            ci: Name::parse("evil").unwrap(),
            path: SkillPath::parse("reply").unwrap(),
            timeout: None,
        };
        let olga = self.olga.clone();
        let call = task::spawn("call", async move { client::open(&olga, &target, Request::default()).await });
        let reply = self.next().await.reply.unwrap();
        for (header, body) in parts {
            let mut headers = HeaderMap::new();
            if let Some((name, value)) = header {
                headers.insert(name, value);
            }
            self.beta.publish_with_headers(reply.clone(), headers, body).await.unwrap();
        }
        self.beta.flush().await.unwrap();
        // Whatever was answered has come in when this has come back.
        self.olga.echo().await.unwrap();
        tokio::time::timeout(SOON, call).await.unwrap().unwrap()
    }
}

#[tokio::test]
async fn bad_21_hostile_replies_are_internal_and_name_the_callee() {
    let mut hostile = Hostile::start().await;
    let error = |code| Some(("Aigis-Error", code));
    let deep = "[".repeat(100_000);
    for (header, body) in [
        (error("no_such_code"), r#"{"code":"internal","message":"x"}"#),
        (error("\u{85}"), r#"{"code":"internal","message":"x"}"#),
        (error(""), r#"{"code":"internal","message":"x"}"#),
        (error("internal"), ""),
        (error("not_found"), "no json"),
        (error("not_found"), "{}"),
        (error("not_found"), r#"{"code":"no_such_code","message":"x"}"#),
        (error("not_found"), &deep),
        (None, "no json"),
        (None, ""),
        (None, "{\"a\":1,\"a\":2}"),
        (None, &deep),
    ] {
        let answered = hostile.answered(vec![(header, Bytes::from(body.to_owned()))]).await;
        let error = answered.unwrap_err();
        assert_eq!((error.code, error.detail("exception")), (Code::Internal, None), "{header:?}: {error}");
        assert!(error.message.contains("evil") && error.message.contains("beta"), "{header:?}: {error}");
        assert!(!error.message.chars().any(char::is_control), "{error}");
    }
    let honest = (error("not_found"), Bytes::from_static(br#"{"code":"internal","message":"no such thing"}"#));
    assert_eq!(hostile.answered(vec![honest]).await.unwrap_err().code, Code::NotFound, "the header decides");
}

fn frame(value: &Value) -> Part {
    (None, value.to_string().into())
}

#[tokio::test]
async fn bad_22_frames_out_of_order_close_the_stream() {
    let mut hostile = Hostile::start().await;
    let (one, two, three) = (json!({"seq": 1, "data": 1}), json!({"seq": 2, "data": 2}), json!({"seq": 3, "data": 3}));
    let end = |seq: u64| json!({"seq": seq, "end": true});
    for (what, frames, read, named) in [
        ("doubled", vec![&one, &one, &two], 1, "frame 1 came where frame 2 was due"),
        ("missing", vec![&one, &three], 1, "frame 3 came where frame 2 was due"),
        ("first missing", vec![&two], 0, "frame 2 came where frame 1 was due"),
        ("back", vec![&one, &two, &one], 2, "frame 1 came where frame 3 was due"),
        ("after the end", vec![&one, &end(2), &three], 1, "after its end, frame 2"),
        ("ended twice", vec![&one, &end(2), &end(2)], 1, "after its end, frame 2"),
        ("no number", vec![&one, &json!({"data": 2})], 1, "frame 2 is unreadable"),
        ("number below 0", vec![&json!({"seq": -1})], 0, "frame 1 is unreadable"),
        ("number over 64 bits", vec![&json!({"seq": 1e20})], 0, "frame 1 is unreadable"),
        ("no frame", vec![&one, &json!([])], 1, "frame 2 "),
        ("zero", vec![&json!({"seq": 0, "data": 1})], 0, "frame 0 came where frame 1 was due"),
    ] {
        let opening = (Some(("Aigis-Stream", "1")), Bytes::from_static(b"{}"));
        let parts = std::iter::once(opening).chain(frames.into_iter().map(frame)).collect();
        let Ok(Response::Stream(mut stream)) = hostile.answered(parts).await else { panic!("{what}: no stream") };
        for n in 1..=read {
            assert_eq!(next(&mut stream).await.unwrap().unwrap(), json!(n), "{what}");
        }
        let error = next(&mut stream).await.unwrap().unwrap_err();
        assert_eq!(error.code, Code::Internal, "{what}: {error}");
        assert!(error.message.contains(named) && error.message.contains("beta"), "{what}: {error}");
        assert!(next(&mut stream).await.is_none(), "{what}: closed");
        let cancelled = async { while !hostile.next().await.subject.contains("._.cancel.") {} };
        tokio::time::timeout(SOON, cancelled).await.unwrap_or_else(|_| panic!("{what}: the callee is told"));
    }
    hostile.mesh.is_unharmed().await;
}

async fn next(stream: &mut Frames) -> Option<Result<Value, Error>> {
    tokio::time::timeout(SOON, stream.next()).await.unwrap()
}

/// A reader by hand, whose credit is written as it likes.
#[tokio::test]
async fn bad_22_credit_is_held_in_1_to_1024() {
    let mesh = ByHand::start().await;
    for (credit, granted) in [
        ("-1", 1),
        ("0", 1),
        ("", 1),
        ("many", 1),
        ("\u{1b}", 1),
        ("5", 5),
        ("18446744073709551616", 1_024),
        ("1000000", 1_024),
    ] {
        let inbox = mesh.olga.new_inbox();
        let token = aigis_proxy::subject::Token::random().as_str().to_owned();
        let reply = format!("{inbox}.{token}");
        let mut frames = mesh.olga.subscribe(reply.clone()).await.unwrap();
        mesh.olga.publish_with_reply("aigis.v1.main.call.operator.olga.web.numbers", reply, "".into()).await.unwrap();
        let opening = tokio::time::timeout(SOON, frames.next()).await.unwrap().unwrap();
        assert!(opening.headers.unwrap().get("Aigis-Stream").is_some());
        let control = |verb: &str| format!("aigis.v1.main.call.operator.olga._.{verb}.{token}");
        for due in 1..=64_u64 {
            let message = tokio::time::timeout(SOON, frames.next()).await.unwrap().unwrap();
            assert_eq!(serde_json::from_slice::<Value>(&message.payload).unwrap()["seq"], json!(due));
        }
        mesh.olga.publish(control("credit"), credit.to_owned().into()).await.unwrap();
        for due in 65..65 + granted {
            let message = tokio::time::timeout(SOON, frames.next()).await.unwrap().unwrap();
            assert_eq!(serde_json::from_slice::<Value>(&message.payload).unwrap()["seq"], json!(due), "{credit:?}");
        }
        let more = tokio::time::timeout(Duration::from_millis(300), frames.next()).await;
        assert!(more.is_err(), "{credit:?} grants no more than {granted}: {more:?}");
        mesh.olga.publish(control("cancel"), "".into()).await.unwrap();
        mesh.olga.flush().await.unwrap();
    }
    mesh.is_unharmed().await;
}

#[tokio::test]
async fn an_end_needs_no_credit() {
    let mesh = ByHand::start().await;
    let reply = format!("{}.{}", mesh.olga.new_inbox(), aigis_proxy::subject::Token::random().as_str());
    let mut frames = mesh.olga.subscribe(reply.clone()).await.unwrap();
    mesh.olga.publish_with_reply("aigis.v1.main.call.operator.olga.web.sixty_four", reply, "".into()).await.unwrap();
    let opening = tokio::time::timeout(SOON, frames.next()).await.unwrap().unwrap();
    assert!(opening.headers.unwrap().get("Aigis-Stream").is_some());
    let mut last = Value::Null;
    for due in 1..=65_u64 {
        let message = tokio::time::timeout(SOON, frames.next()).await.unwrap().unwrap();
        last = serde_json::from_slice(&message.payload).unwrap();
        assert_eq!(last["seq"], json!(due));
    }
    assert_eq!(last, json!({"seq": 65, "end": true}));
}

/// The part of a row that the client library leaves open: it takes a header block that it cannot read for a broken
/// connection. The callee is back at once, and nothing ran.
#[tokio::test]
async fn bad_20_unreadable_headers_run_nothing_and_the_callee_is_back() {
    let mesh = ByHand::start().await;
    let (vera, _) = mesh.bus.user("vera", Role::Viewer).await;
    for block in [&b"NATS/1.0\r\nbad: \xff\r\n\r\n"[..], b"NATS/1.0\r\nno colon\r\n\r\n", b"NATS/1.0 x\r\n\r\n"] {
        let mut link = mesh.node.link();
        link.mark_unchanged();
        by_hand(&mesh, block).await;
        tokio::time::timeout(SOON, link.wait_for(|link| link.up)).await.unwrap().unwrap();
        let seen = async {
            loop {
                // What is sent while the callee is away is lost, and not answered.
                let request = async_nats::Request::new().timeout(Some(Duration::from_secs(1)));
                let subject = "aigis.v1.main.call.operator.olga.web.seen";
                match mesh.olga.send_request(subject, request).await {
                    Ok(_) => return,
                    Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
                }
            }
        };
        tokio::time::timeout(SOON, seen).await.expect("the callee answers again");
        assert_eq!(mesh.runs(), 0);
    }
    vera.flush().await.unwrap();
    assert_eq!(vera.statistics().connects.load(std::sync::atomic::Ordering::SeqCst), 1, "no one else is cut off");
}

/// Logs in over plain TCP and asks for `count` with that block of headers, as no client library would.
async fn by_hand(mesh: &ByHand, block: &[u8]) {
    let credential = mesh.bus.credential("mallory", Role::Operator);
    let mut socket = TcpStream::connect(mesh.bus.url().strip_prefix("nats://").unwrap()).await.unwrap();
    let info = line(&mut socket).await;
    let info: Value = serde_json::from_str(info.strip_prefix("INFO ").unwrap()).unwrap();
    let signature = BASE64URL_NOPAD.encode(&credential.sign(info["nonce"].as_str().unwrap().as_bytes()));
    let connect = json!({
        "verbose": false, "pedantic": false, "headers": true, "no_responders": true, "lang": "hand", "version": "0",
        "jwt": credential.jwt(), "sig": signature, "protocol": 1,
    });
    socket.write_all(format!("CONNECT {connect}\r\nPING\r\n").as_bytes()).await.unwrap();
    while line(&mut socket).await != "PONG" {}
    let subject = "aigis.v1.main.call.operator.mallory.web.count";
    let publish = format!("HPUB {subject} _INBOX.mallory.a.b {0} {0}\r\n", block.len());
    let bytes = [publish.as_bytes(), block, b"\r\nPING\r\n"].concat();
    socket.write_all(&bytes).await.unwrap();
    while line(&mut socket).await != "PONG" {}
}

async fn line(socket: &mut TcpStream) -> String {
    let mut text = Vec::new();
    while !text.ends_with(b"\r\n") {
        text.push(tokio::time::timeout(SOON, socket.read_u8()).await.unwrap().unwrap());
    }
    String::from_utf8(text).unwrap().trim_end().to_owned()
}
