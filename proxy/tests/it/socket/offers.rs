//! CIs that a peer offers: served by the node, answered by the peer, and gone with it.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, atomic::Ordering},
    time::Duration,
};

use aigis_proxy::{
    Code, Error, Meta, Name, NodeName, Request, Role, SkillPath, UserName,
    skill::{Answer, Call, Ci},
    socket::{Host as Way, Offer, OfferKind, OfferedCi, OfferedSkill, Offering, Offers, Peer, ProcessGroup},
    subject::Caller,
};
use futures::{FutureExt, StreamExt, future::BoxFuture};
use serde_json::{Value, json};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::{Host, Wire};
use crate::calls::{Echo, until};

/// Who offered, what answers, and what stands behind it.
type Stands = (Peer, Arc<OfferedCi>, Option<ProcessGroup>);

/// A room that takes what it is offered, but for a name that is held.
#[derive(Debug, Default)]
struct Room {
    standing: Mutex<BTreeMap<Name, Stands>>,
    withdrawn: Mutex<Vec<String>>,
    left: Mutex<Vec<u64>>,
}

impl Room {
    fn ci(&self) -> Option<Arc<OfferedCi>> {
        self.standing.lock().unwrap().values().next().map(|(_, ci, _)| ci.clone())
    }

    fn process(&self) -> Option<ProcessGroup> {
        self.standing.lock().unwrap().values().next().and_then(|(_, _, process)| *process)
    }
}

static ALPHA: std::sync::LazyLock<NodeName> = std::sync::LazyLock::new(|| NodeName::parse("alpha").unwrap());

impl Offers for Room {
    fn node(&self) -> &NodeName {
        &ALPHA
    }

    fn take<'a>(&'a self, peer: &'a Peer, offer: Offer, ci: Arc<OfferedCi>) -> BoxFuture<'a, Result<(), Error>> {
        let taken = if offer.name.as_str() == "held" {
            Err(Error::new(Code::AlreadyExists, "the name held is held").with("holder", "held@beta"))
        } else {
            self.standing.lock().unwrap().insert(offer.name, (peer.clone(), ci, offer.process));
            Ok(())
        };
        std::future::ready(taken).boxed()
    }

    fn withdraw<'a>(&'a self, _: &'a Peer, name: &'a Name) -> BoxFuture<'a, ()> {
        self.standing.lock().unwrap().remove(name);
        self.withdrawn.lock().unwrap().push(name.to_string());
        std::future::ready(()).boxed()
    }

    fn hung_up<'a>(&'a self, peer: &'a Peer) -> BoxFuture<'a, ()> {
        self.standing.lock().unwrap().retain(|_, (by, ..)| by.connection != peer.connection);
        self.left.lock().unwrap().push(peer.connection);
        std::future::ready(()).boxed()
    }
}

fn offer(name: &str, ci: &dyn Ci) -> Offer {
    Offer {
        name: Name::parse(name).unwrap(),
        kind: OfferKind::Wrapped,
        description: String::new(),
        labels: BTreeMap::new(),
        skills: ci.skills().iter().map(|skill| OfferedSkill::from(&**skill)).collect(),
        replace: false,
        process: None,
        secrets: Default::default(),
    }
}

fn way(host: &Host, name: &str, role: Role) -> Way {
    let credential = host.bus.credential(name, role);
    let text = credential.clone();
    Way { path: host.path(), server: UserName::parse("alpha").unwrap(), credential: Box::new(move || Ok(text.clone())) }
}

struct Offered {
    host: Host,
    room: Arc<Room>,
    echo: Arc<Echo>,
    offering: Offering,
}

async fn offered() -> Offered {
    let room = Arc::new(Room::default());
    let host = Host::with_offers(room.clone()).await;
    let echo = Echo::new();
    let offering = Offering::begin(way(&host, "olga", Role::Operator), offer("echo", &*echo), echo.clone()).await;
    Offered { offering: offering.unwrap(), host, room, echo }
}

async fn call(room: &Room, path: &str, args: Vec<Value>, within: Duration) -> Result<Answer, Error> {
    let cancelled = CancellationToken::new();
    let request = Request { args, meta: Meta { timeout: Some(within), ..Meta::default() }, ..Request::default() };
    let caller = Caller { role: Role::Operator, name: UserName::parse("olga").unwrap() };
    let addressed = Name::parse("echo").unwrap();
    let call =
        Call { caller, addressed, request, body: bytes::Bytes::new(), deadline: Instant::now() + within, cancelled };
    room.ci().unwrap().run(SkillPath::parse(path).unwrap(), call).await
}

const MINUTE: Duration = Duration::from_secs(60);

async fn value(room: &Room, path: &str, args: Vec<Value>) -> Result<Value, Error> {
    call(room, path, args, MINUTE).await.map(|answer| match answer {
        Answer::Value(value) => value,
        other => panic!("{other:?}"),
    })
}

#[tokio::test]
async fn a_call_to_an_offered_ci_is_answered_by_its_peer() {
    let offered = offered().await;
    let (room, echo) = (&*offered.room, &offered.echo);
    assert_eq!(value(room, "echo", vec![json!("hi")]).await.unwrap(), json!("hi"));
    assert_eq!(value(room, "write", vec![]).await.unwrap(), json!(1));
    assert_eq!(echo.writes.load(Ordering::SeqCst), 1);
    let error = value(room, "echo", vec![]).await.unwrap_err();
    assert_eq!((error.code, error.message.contains("text")), (Code::InvalidArgument, true));
    let error = value(room, "nosuch", vec![]).await.unwrap_err();
    assert_eq!(error.code, Code::NotFound);
    let large = "x".repeat(60 * 1024 * 1024);
    assert!(value(room, "echo", vec![json!(large)]).await.unwrap() == json!(large));
    let error = value(room, "echo", vec![json!("x".repeat(70 * 1024 * 1024))]).await.unwrap_err();
    assert_eq!(error.detail("sent"), Some(&json!(false)), "more than a frame holds");
}

#[tokio::test]
async fn many_calls_run_side_by_side() {
    let offered = offered().await;
    let room = &*offered.room;
    let calls = (0..500)
        .map(|n| async move { value(room, "echo", vec![json!(n.to_string())]).await.unwrap() == json!(n.to_string()) });
    assert!(futures::future::join_all(calls).await.into_iter().all(|own| own));
}

#[tokio::test]
async fn a_dropped_call_and_a_late_one_end_at_the_peer() {
    let offered = offered().await;
    let (room, echo) = (&*offered.room, &offered.echo);
    let running = || echo.running.load(Ordering::SeqCst);
    let dropped = tokio::time::timeout(Duration::from_millis(300), value(room, "hang", vec![])).await;
    assert!(dropped.is_err());
    until("the dropped call ended", || running() == 0).await;
    let error = call(room, "hang", vec![], Duration::from_millis(100)).await.unwrap_err();
    assert_eq!(error.code, Code::DeadlineExceeded);
    until("the late call ended", || running() == 0).await;
}

#[tokio::test]
async fn a_stream_of_an_offered_ci_has_credit_and_ends_with_its_reader() {
    let offered = offered().await;
    let (room, echo) = (&*offered.room, &offered.echo);
    let Answer::Stream(mut frames) = call(room, "three", vec![], MINUTE).await.unwrap() else { panic!("no stream") };
    let mut seen = Vec::new();
    while let Some(frame) = frames.next().await {
        seen.push(frame.unwrap());
    }
    assert_eq!(seen, [json!(1), json!(2), json!(3)]);
    let Answer::Stream(mut frames) = call(room, "count", vec![], MINUTE).await.unwrap() else { panic!("no stream") };
    for n in 1..=2_000_u64 {
        assert_eq!(frames.next().await.unwrap().unwrap(), json!(n));
    }
    drop(frames);
    until("the stream ended at the peer", || echo.running.load(Ordering::SeqCst) == 0).await;
}

#[tokio::test]
async fn an_offer_is_amended_withdrawn_and_gone_with_its_peer() {
    let Offered { host, room, offering, echo: _echo } = offered().await;
    let group = ProcessGroup { pid: 4_711, started: 7 };
    offering.stands_on(Some(group)).await.unwrap();
    until("the node knows the process", || room.process() == Some(group)).await;
    offering.withdraw().await;
    assert_eq!(*room.withdrawn.lock().unwrap(), ["echo"]);
    drop(offering);
    let echo = Echo::new();
    let again = Offering::begin(way(&host, "olga", Role::Operator), offer("echo", &*echo), echo.clone()).await;
    assert_eq!(value(&room, "echo", vec![json!("x")]).await.unwrap(), json!("x"));
    assert!(room.left.lock().unwrap().is_empty(), "who withdrew leaves nothing");
    drop(again);
    until("the node hears of the end", || room.left.lock().unwrap().len() == 1).await;
    assert!(room.ci().is_none());
}

#[tokio::test]
async fn an_offer_is_made_again_when_the_node_is_back() {
    let Offered { mut host, room, offering, echo: _echo } = offered().await;
    host.listening = None;
    assert!(room.left.lock().unwrap().is_empty(), "a node that ends lets nobody go");
    room.standing.lock().unwrap().clear();
    let group = ProcessGroup { pid: 4_711, started: 8 };
    offering.stands_on(Some(group)).await.unwrap();
    host.listen();
    until("it is offered again", || room.process() == Some(group)).await;
    assert_eq!(value(&room, "echo", vec![json!("x")]).await.unwrap(), json!("x"));
}

#[tokio::test]
async fn an_offer_that_is_refused_says_why_at_once_and_later() {
    let room = Arc::new(Room::default());
    let host = Host::with_offers(room.clone()).await;
    let echo = Echo::new();
    let begin = |name: &str| Offering::begin(way(&host, "olga", Role::Operator), offer(name, &*echo), echo.clone());
    let error = begin("held").await.unwrap_err();
    assert_eq!((error.code, error.detail("holder")), (Code::AlreadyExists, Some(&json!("held@beta"))));
    let error = begin("list").await.unwrap_err();
    assert_eq!(error.code, Code::InvalidArgument);
    let offering = begin("echo").await.unwrap();
    room.ci().unwrap().refuse(&Error::new(Code::AlreadyExists, "it is another's now"));
    let over = tokio::time::timeout(MINUTE, offering.watch().over()).await.unwrap();
    assert_eq!(over.message, "it is another's now");
    let nobody = Host::up(aigis_proxy::socket::Limits::default()).await;
    let refused = Offering::begin(way(&nobody, "olga", Role::Operator), offer("echo", &*echo), echo.clone()).await;
    assert_eq!(refused.unwrap_err().code, Code::Unimplemented);
}

/// A frame by hand.
fn frame(kind: u8, id: u32, body: &str) -> Vec<u8> {
    [&[kind][..], &id.to_be_bytes(), body.as_bytes()].concat()
}

#[tokio::test]
async fn bad_24_offers_beyond_the_limits_are_refused_and_the_rest_stands() {
    let room = Arc::new(Room::default());
    let host = Host::with_offers(room.clone()).await;
    let mut wire = Wire::admitted(&host, "mallory", Role::Operator).await;
    let offer = |name: &str| format!("{{\"name\":\"{name}\",\"kind\":\"wrapped\",\"skills\":[]}}");
    for n in 0..16 {
        wire.send(frame(4, n, &offer(&format!("ci{n}")))).await;
        assert_eq!(wire.next().await.unwrap()[0], 16);
    }
    let large = format!("{{\"name\":\"ci1\",\"description\":\"{}\"}}", "x".repeat(300 * 1024));
    for (bad, code) in [
        (offer("beyond"), "resource_exhausted"),
        (large, "resource_exhausted"),
        (offer("list"), "invalid_argument"),
        ("{".repeat(10_000), "invalid_argument"),
        (String::new(), "invalid_argument"),
        ("null".to_owned(), "invalid_argument"),
    ] {
        wire.send(frame(4, 99, &bad)).await;
        let answer = wire.next().await.unwrap();
        let error: Value = serde_json::from_slice(&answer[5..]).unwrap();
        assert_eq!((answer[0], error["code"].as_str()), (17, Some(code)), "{}", &bad[..bad.len().min(60)]);
    }
    wire.send(frame(5, 99, "nosuch")).await;
    assert_eq!(wire.next().await.unwrap()[0], 17, "it withdraws what it never offered");
    assert_eq!(room.standing.lock().unwrap().len(), 16);
    wire.send(frame(5, 99, "ci3")).await;
    assert_eq!(wire.next().await.unwrap()[0], 16);
    drop(wire);
    until("all are gone with the connection", || room.standing.lock().unwrap().is_empty()).await;
}

#[tokio::test]
async fn bad_24_answers_of_a_hostile_peer() {
    let room = Arc::new(Room::default());
    let host = Host::with_offers(room.clone()).await;
    // Who was never asked has nothing to answer.
    for kind in 16..=19 {
        let mut wire = Wire::admitted(&host, "mallory", Role::Operator).await;
        wire.send(frame(kind, 0, "{}")).await;
        assert!(wire.next().await.is_none(), "{kind}: closed");
    }
    let skills = json!([
        {"path": "echo", "effect": "read", "stream": false, "doc": "", "input": {}, "output": {}},
        {"path": "count", "effect": "read", "stream": true, "doc": "", "input": {}, "output": {}},
    ]);
    let offer = json!({"name": "evil", "kind": "wrapped", "skills": skills}).to_string();
    for (path, kinds, code) in [
        ("echo", vec![(16, "not json")], Code::Internal),
        ("echo", vec![(17, "not json")], Code::Internal),
        ("echo", vec![(16, "{\"a\":1,\"a\":2}")], Code::Internal),
        ("echo", vec![(17, "{\"code\":\"permission_denied\",\"message\":\"no\"}")], Code::PermissionDenied),
        ("count", vec![(18, "{}"), (19, "{\"seq\":2,\"data\":1}")], Code::Internal),
    ] {
        let mut wire = Wire::admitted(&host, "mallory", Role::Operator).await;
        wire.send(frame(4, 0, &offer)).await;
        assert_eq!(wire.next().await.unwrap()[0], 16);
        let asked = async {
            match call(&room, path, vec![], MINUTE).await {
                Ok(Answer::Stream(mut frames)) => frames.next().await.unwrap().unwrap_err(),
                Ok(other) => panic!("{other:?}"),
                Err(error) => error,
            }
        };
        let answered = async {
            let request = wire.next().await.unwrap();
            let id = u32::from_be_bytes(request[1..5].try_into().unwrap());
            assert!(request[5..].starts_with(format!("operator.olga.evil.{path}\n").as_bytes()));
            wire.send(frame(16, 4_000_000, "{}")).await;
            for (kind, body) in &kinds {
                wire.send(frame(*kind, id, body)).await;
            }
            wire
        };
        let (error, wire) = tokio::join!(asked, answered);
        assert_eq!(error.code, code, "{kinds:?}: {error}");
        drop(wire);
        until("it is gone", || room.ci().is_none()).await;
    }
    // A peer that dies in the midst of a call is no silence.
    let mut wire = Wire::admitted(&host, "mallory", Role::Operator).await;
    wire.send(frame(4, 0, &offer)).await;
    assert_eq!(wire.next().await.unwrap()[0], 16);
    let (error, ()) = tokio::join!(async { value(&room, "echo", vec![]).await.unwrap_err() }, async {
        wire.next().await.unwrap();
        drop(wire);
    });
    assert_eq!((error.code, error.detail("sent")), (Code::Unavailable, Some(&json!(true))));
}
