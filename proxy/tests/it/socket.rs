//! Calls over the node's socket: the same answers as over the bus, without the bus.

use std::{
    fs,
    os::unix::fs::{FileTypeExt, PermissionsExt},
    path::PathBuf,
    sync::{Arc, Mutex, atomic::Ordering},
    time::Duration,
};

use aigis_proxy::{
    Bus, Code, Error, Role, UserName,
    client::{Client, Response, Target},
    dispatch::{Begun, Deed, Dispatcher, Journal, Outcome},
    identity::Revocations,
    serve::Server,
    socket::{self, Gate, Limits, Listening, Local, Offers},
    subject::Caller,
    task,
};
use futures::{FutureExt, future::BoxFuture};
use serde_json::json;
use tokio::{net::UnixListener, sync::watch};

use crate::{
    bus_server::BusServer,
    calls::{Echo, connect, request, target, until},
    serving::One,
};

mod hostile;
mod introduction;
mod offers;

use introduction::Wire;

/// Lets everything run, and keeps who was refused what.
#[derive(Default)]
struct Refusals(Mutex<Vec<String>>);

impl Journal for Refusals {
    fn begin<'a>(&'a self, _: Deed<'a>) -> BoxFuture<'a, Result<Begun, Error>> {
        std::future::ready(Ok(Begun::Run)).boxed()
    }
    fn end<'a>(&'a self, _: Deed<'a>, _: Outcome<'a>) -> BoxFuture<'a, ()> {
        std::future::ready(()).boxed()
    }
    fn refused<'a>(&'a self, caller: &'a Caller, what: &'a str, _: &'a str) -> BoxFuture<'a, ()> {
        self.0.lock().unwrap().push(format!("{caller} {what}"));
        std::future::ready(()).boxed()
    }
}

/// A node whose echo is served over its socket, and over the bus.
struct Host {
    bus: BusServer,
    echo: Arc<Echo>,
    server: Server,
    refusals: Arc<Refusals>,
    revoked: watch::Sender<Revocations>,
    listening: Option<Listening>,
    limits: Limits,
    offers: Option<Arc<dyn Offers>>,
    directory: tempfile::TempDir,
    _serving: task::Owned,
}

impl Host {
    async fn up(limits: Limits) -> Self {
        let bus = BusServer::start().await;
        let node = connect(&bus, "alpha", Role::Node).await;
        let (echo, refusals) = (Echo::new(), Arc::new(Refusals::default()));
        let server = Server::new(node.clone(), Dispatcher::new(Arc::new(One(echo.clone())), refusals.clone()));
        let serving = server.listen(&node.subjects().served_by(node.user())).await.unwrap();
        let (revoked, _) = watch::channel(bus.keys.revocations());
        let directory = tempfile::tempdir().unwrap();
        let (listening, offers) = (None, None);
        let mut host =
            Self { bus, echo, server, refusals, revoked, listening, limits, offers, directory, _serving: serving };
        host.listen();
        host
    }

    /// A node that takes what is offered to it.
    async fn with_offers(offers: Arc<dyn Offers>) -> Self {
        let mut host = Self::up(Limits::default()).await;
        host.offers = Some(offers);
        // The former one takes its socket away when it is dropped.
        host.listening = None;
        host.listen();
        host
    }

    fn listen(&mut self) {
        let gate = Gate {
            issuer: watch::channel(self.bus.keys.issuer()).1,
            revoked: self.revoked.subscribe(),
            offers: self.offers.clone(),
        };
        self.listening = Some(socket::listen(&self.path(), self.server.clone(), gate, self.limits).unwrap());
    }

    fn path(&self) -> PathBuf {
        self.directory.path().join("node.sock")
    }

    async fn caller(&self, name: &str, role: Role) -> (Bus, Client) {
        let bus = connect(&self.bus, name, role).await;
        let client = self.client(&bus, name, role);
        (bus, client)
    }

    fn client(&self, bus: &Bus, name: &str, role: Role) -> Client {
        let credential = Arc::new(self.bus.credential(name, role));
        let local = Local::new(self.path(), UserName::parse("alpha").unwrap(), credential);
        Client::new(bus.clone()).with_local(local)
    }

    fn running(&self) -> usize {
        self.echo.running.load(Ordering::SeqCst)
    }
}

#[tokio::test]
async fn a_same_host_call_needs_no_bus() {
    let mut host = Host::up(Limits::default()).await;
    let (bus, olga) = host.caller("olga", Role::Operator).await;
    host.bus.stop();
    until("the bus is away", || !bus.link().borrow().up).await;
    assert_eq!(olga.call(&target("echo"), request(&["hi"])).await.unwrap(), json!("hi"));
    assert_eq!(olga.call(&target("write"), request(&[])).await.unwrap(), json!(1));
    let error = olga.call(&target("nosuch"), request(&[])).await.unwrap_err();
    assert_eq!((error.code, error.detail("skills").is_some()), (Code::NotFound, true));
    let error = olga.call(&target("echo"), request(&[])).await.unwrap_err();
    assert_eq!((error.code, error.message.contains("text")), (Code::InvalidArgument, true));
    let error = olga.call(&target("three"), request(&[])).await.unwrap_err();
    assert_eq!(error.code, Code::Unimplemented);
    let large = "x".repeat(5 * 1024 * 1024);
    assert_eq!(olga.call(&target("echo"), request(&[&large])).await.unwrap(), json!(large));
    let elsewhere = Target { server: UserName::parse("beta").unwrap(), ..target("echo") };
    let error = olga.call(&elsewhere, request(&["hi"])).await.unwrap_err();
    assert_eq!((error.code, error.detail("sent")), (Code::Unavailable, Some(&json!(false))));
}

#[tokio::test]
async fn many_calls_share_a_connection() {
    let host = Host::up(Limits { connections: 1, ..Limits::default() }).await;
    let (_bus, olga) = host.caller("olga", Role::Operator).await;
    let calls = (0..500_u32).map(|n| {
        let olga = olga.clone();
        async move { olga.call(&target("echo"), request(&[&n.to_string()])).await.unwrap() == json!(n.to_string()) }
    });
    assert!(futures::future::join_all(calls).await.into_iter().all(|own| own));
}

#[tokio::test]
async fn a_viewer_writes_nothing_over_the_socket() {
    let host = Host::up(Limits::default()).await;
    let (_bus, vera) = host.caller("vera", Role::Viewer).await;
    let error = vera.call(&target("write"), request(&[])).await.unwrap_err();
    assert_eq!(error.code, Code::PermissionDenied);
    assert_eq!(host.echo.writes.load(Ordering::SeqCst), 0);
    assert_eq!(*host.refusals.0.lock().unwrap(), ["viewer.vera echo@alpha write"]);
}

#[tokio::test]
async fn a_stream_has_credit_and_ends_with_its_reader() {
    let mut host = Host::up(Limits::default()).await;
    let (_bus, olga) = host.caller("olga", Role::Operator).await;
    host.bus.stop();
    let open = async |path: &str| match olga.open(&target(path), request(&[])).await.unwrap() {
        Response::Stream(frames) => frames,
        Response::Value(value) => panic!("no stream: {value}"),
    };
    let mut three = open("three").await;
    let mut seen = Vec::new();
    while let Some(frame) = three.next().await {
        seen.push(frame.unwrap());
    }
    assert_eq!(seen, [json!(1), json!(2), json!(3)]);
    let mut count = open("count").await;
    for n in 1..=1_000_u64 {
        assert_eq!(count.next().await.unwrap().unwrap(), json!(n));
    }
    drop(count);
    until("the stream ended at the callee", || host.running() == 0).await;
}

#[tokio::test]
async fn a_dropped_call_is_cancelled_at_the_callee() {
    let host = Host::up(Limits::default()).await;
    let (_bus, olga) = host.caller("olga", Role::Operator).await;
    let call = task::spawn("call", async move {
        let outcome = olga.call(&target("hang"), request(&[])).await;
        drop(olga);
        outcome
    });
    until("the call runs", || host.running() == 1).await;
    call.abort();
    until("the call ended", || host.running() == 0).await;
    until("nothing is in flight", || host.server.counters().in_flight.load(Ordering::SeqCst) == 0).await;
}

#[tokio::test]
async fn a_deadline_is_the_callees_too() {
    let host = Host::up(Limits::default()).await;
    let (_bus, olga) = host.caller("olga", Role::Operator).await;
    let mut request = request(&[]);
    request.meta.timeout = Some(Duration::from_millis(100));
    let error = olga.call(&target("hang"), request).await.unwrap_err();
    assert_eq!(error.code, Code::DeadlineExceeded);
    until("the callee let go", || host.running() == 0).await;
}

#[tokio::test]
async fn r_33_a_caller_has_so_many_calls_in_flight_and_no_more() {
    let host = Host::up(Limits::default()).await;
    let (_bus, olga) = host.caller("olga", Role::Operator).await;
    let hang = |n: usize| {
        let olga = olga.clone();
        task::Owned::spawn("call", async move {
            let outcome = olga.call(&target("hang"), request(&[])).await;
            panic!("call {n} ended: {outcome:?}");
        })
    };
    let hanging: Vec<_> = (0..aigis_proxy::serve::CALLER_LIMIT).map(hang).collect();
    until("all run", || host.running() == hanging.len()).await;
    let error = olga.call(&target("echo"), request(&["x"])).await.unwrap_err();
    assert_eq!(error.code, Code::ResourceExhausted);
    assert_eq!(hanging.iter().filter(|call| call.is_finished()).count(), 0);
    drop(hanging);
    until("all ended", || host.running() == 0).await;
    until("nothing is in flight", || host.server.counters().in_flight.load(Ordering::SeqCst) == 0).await;
    assert_eq!(olga.call(&target("echo"), request(&["x"])).await.unwrap(), json!("x"));
}

#[tokio::test]
async fn what_did_not_leave_goes_over_the_bus_and_what_may_have_run_is_not_repeated() {
    let mut host = Host::up(Limits::default()).await;
    let (_bus, olga) = host.caller("olga", Role::Operator).await;
    let waiting = {
        let olga = olga.clone();
        task::spawn("call", async move { olga.call(&target("hang"), request(&[])).await })
    };
    until("the call runs", || host.running() == 1).await;
    host.listening = None;
    let error = tokio::time::timeout(Duration::from_secs(20), waiting).await.unwrap().unwrap().unwrap_err();
    assert_eq!((error.code, error.detail("sent")), (Code::Unavailable, Some(&json!(true))));
    until("the callee let go", || host.running() == 0).await;
    // The socket is gone, the bus is there.
    for n in 1..=3 {
        assert_eq!(olga.call(&target("write"), request(&[])).await.unwrap(), json!(n));
    }
    host.listen();
    host.bus.stop();
    let back = async {
        while olga.call(&target("echo"), request(&["x"])).await.is_err() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), back).await.unwrap();
}

#[tokio::test]
async fn a_request_that_was_cut_off_goes_over_the_bus_and_one_that_left_whole_does_not() {
    let mut host = Host::up(Limits::default()).await;
    let (_bus, olga) = host.caller("olga", Role::Operator).await;
    host.listening = None;
    let listener = UnixListener::bind(host.path()).unwrap();
    // More than the operating system holds between the two ends, and less than what travels as a blob.
    let text = "x".repeat(500 * 1024);
    let call = {
        let (olga, text) = (olga.clone(), text.clone());
        task::spawn("call", async move { olga.call(&target("echo"), request(&[&text])).await })
    };
    let wire = Wire::accept(&listener, "olga", Role::Operator).await;
    wire.0.get_ref().readable().await.unwrap();
    drop(wire);
    assert_eq!(call.await.unwrap().unwrap(), json!(text), "answered by the node, over the bus");
    let call = task::spawn("call", async move { olga.call(&target("write"), request(&[])).await });
    let mut wire = Wire::accept(&listener, "olga", Role::Operator).await;
    assert!(wire.next().await.unwrap().ends_with(b"}"), "the request, whole");
    drop(wire);
    let error = call.await.unwrap().unwrap_err();
    assert_eq!((error.code, error.detail("sent")), (Code::Unavailable, Some(&json!(true))));
    assert_eq!(host.echo.writes.load(Ordering::SeqCst), 0, "not made again");
}

#[tokio::test]
async fn a_large_body_is_no_blob_on_the_socket() {
    let host = Host::up(Limits::default()).await;
    let (_bus, olga) = host.caller("olga", Role::Operator).await;
    // There is no store that could hold a blob.
    let text = "x".repeat(3 * 1024 * 1024);
    assert!(olga.call(&target("echo"), request(&[&text])).await.unwrap() == json!(text));
    assert_eq!(host.server.counters().local.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn atk_09_the_socket_is_its_owners_alone_and_replaces_a_stale_one() {
    let mut host = Host::up(Limits::default()).await;
    let kind = fs::metadata(host.path()).unwrap();
    assert!(kind.file_type().is_socket());
    assert_eq!(kind.permissions().mode() & 0o7777, 0o600);
    host.listening = None;
    assert!(!host.path().exists(), "removed at the end");
    drop(std::os::unix::net::UnixListener::bind(host.path()).unwrap());
    assert!(host.path().exists(), "a stale one");
    host.listen();
    let (_bus, olga) = host.caller("olga", Role::Operator).await;
    host.bus.stop();
    assert_eq!(olga.call(&target("echo"), request(&["x"])).await.unwrap(), json!("x"));
    host.listening = None;
    fs::set_permissions(host.directory.path(), fs::Permissions::from_mode(0o777)).unwrap();
    let gate =
        Gate { issuer: watch::channel(host.bus.keys.issuer()).1, revoked: host.revoked.subscribe(), offers: None };
    let refused = socket::listen(&host.path(), host.server.clone(), gate, Limits::default());
    assert!(refused.unwrap_err().to_string().contains("0777"), "a directory that anyone may write to");
}

#[tokio::test]
async fn a_socket_that_is_shut_ends_what_runs_in_its_own_time() {
    let host = Host::up(Limits::default()).await;
    let (_bus, olga) = host.caller("olga", Role::Operator).await;
    assert_eq!(olga.call(&target("echo"), request(&["x"])).await.unwrap(), json!("x"));
    host.listening.as_ref().unwrap().shut();
    assert!(!host.path().exists());
    assert_eq!(olga.call(&target("echo"), request(&["y"])).await.unwrap(), json!("y"));
    host.server.stop(Duration::from_millis(10)).await;
    let error = olga.call(&target("echo"), request(&["z"])).await.unwrap_err();
    assert_eq!((error.code, error.detail("sent")), (Code::Unavailable, Some(&json!(false))));
}
