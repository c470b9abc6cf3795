//! Many callers at once, and callees that die under them: everybody gets an answer, and nobody another's.

use std::{
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use aigis_proxy::{
    Code, Error, Role, UserName,
    client::{self, Response, Target},
    dispatch::Dispatcher,
    serve::Server,
};
use futures::{StreamExt, future::join_all, stream};
use serde_json::json;

use crate::{
    calls::{Echo, connect, mesh, request, target, until},
    serving::{One, Permissive},
};

/// Callers, and how many calls each has under way.
const CALLERS: usize = 20;
const EACH: usize = 50;

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_callers_at_once_each_get_their_own_reply() {
    let mesh = mesh().await;
    let callers = join_all((0..CALLERS).map(|n| {
        let bus = &mesh.bus;
        async move { connect(bus, &format!("olga{n}"), Role::Operator).await }
    }))
    .await;
    let calls = callers.iter().enumerate().flat_map(|(caller, bus)| {
        (0..EACH).map(move |call| async move {
            let nonce = format!("{caller} {call}");
            (client::call(bus, &target("echo"), request(&[&nonce])).await, nonce)
        })
    });
    for (reply, nonce) in join_all(calls).await {
        assert_eq!(reply, Ok(json!(nonce)));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_that_time_out_leave_nothing_behind() {
    let mesh = mesh().await;
    let olga = connect(&mesh.bus, "olga", Role::Operator).await;
    let asking = stream::iter(0..40_000).map(|_| async {
        let mut request = request(&[]);
        request.meta.timeout = Some(Duration::from_millis(1));
        client::call(&olga, &target("hang"), request).await.unwrap_err().code
    });
    let codes: Vec<Code> = asking.buffer_unordered(500).collect().await;
    assert!(codes.iter().all(|code| *code == Code::DeadlineExceeded), "{:?}", codes.first());
    assert_eq!(olga.waiting(), 0);
    until("nothing is in flight", || mesh.server.counters().in_flight.load(Ordering::SeqCst) == 0).await;
    assert_eq!(mesh.echo.running.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn flt_03_calls_and_streams_of_a_server_that_left_the_bus_end_within_a_second() {
    let mesh = mesh().await;
    let olga = connect(&mesh.bus, "olga", Role::Operator).await;
    let beta = connect(&mesh.bus, "beta", Role::Node).await;
    let server = Server::new(beta.clone(), Dispatcher::new(Arc::new(One(Echo::new())), Arc::new(Permissive)));
    let listening = server.listen(&beta.subjects().served_by(beta.user())).await.unwrap();
    let at_beta = |path: &str| Target { server: UserName::parse("beta").unwrap(), ..target(path) };
    let (hanging, staying) = (at_beta("hang"), target("hang"));
    let call = client::call(&olga, &hanging, request(&[]));
    let stays = client::call(&olga, &staying, request(&[]));
    tokio::pin!(call, stays);
    assert!(tokio::time::timeout(Duration::from_secs(2), &mut call).await.is_err(), "it waits while beta is there");
    let _ = tokio::time::timeout(Duration::from_millis(10), &mut stays).await.unwrap_err();
    let Ok(Response::Stream(mut count)) = client::open(&olga, &at_beta("count"), request(&[])).await else {
        panic!("no stream")
    };
    drop(listening);
    let left = Instant::now();
    let error = call.await.unwrap_err();
    assert_eq!((error.code, error.detail("sent")), (Code::Unavailable, Some(&json!(true))));
    assert!(left.elapsed() < Duration::from_secs(15), "{:?}", left.elapsed());
    let last = async {
        loop {
            match count.next().await {
                Some(Ok(_)) => {}
                other => return other,
            }
        }
    };
    let end: Option<Result<_, Error>> = tokio::time::timeout(Duration::from_secs(15), last).await.unwrap();
    assert_eq!(end.unwrap().unwrap_err().code, Code::Unavailable);
    assert!(tokio::time::timeout(Duration::from_millis(500), &mut stays).await.is_err(), "alpha is still there");
}

#[tokio::test]
async fn flt_04_a_server_that_ends_tells_everybody() {
    let mesh = mesh().await;
    let olga = connect(&mesh.bus, "olga", Role::Operator).await;
    let hanging = target("hang");
    let call = client::call(&olga, &hanging, request(&[]));
    tokio::pin!(call);
    let _ = tokio::time::timeout(Duration::from_millis(200), &mut call).await.unwrap_err();
    let Ok(Response::Stream(mut count)) = client::open(&olga, &target("count"), request(&[])).await else {
        panic!("no stream")
    };
    mesh.server.stop(Duration::from_millis(200)).await;
    let error = call.await.unwrap_err();
    assert_eq!((error.code, error.detail("sent")), (Code::Unavailable, Some(&json!(true))));
    let mut last = None;
    while let Some(frame) = count.next().await {
        last = Some(frame);
    }
    assert_eq!(last.unwrap().unwrap_err().code, Code::Unavailable);
    let error = client::call(&olga, &target("echo"), request(&["x"])).await.unwrap_err();
    assert_eq!((error.code, error.detail("sent")), (Code::Unavailable, Some(&json!(false))));
}
