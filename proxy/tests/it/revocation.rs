//! Users who are revoked or renewed while they are connected.

use std::{collections::HashSet, sync::Arc, sync::atomic::Ordering, time::Duration};

use aigis_proxy::{
    Bus, Code, Role, UserName,
    bus::{ConnectError, Options},
    client::{self, Response},
    identity::Credential,
    servers,
};

use super::{
    bus_server::BusServer,
    calls::{connect, mesh, request, target, until},
};

const SOON: Duration = Duration::from_secs(60);

#[tokio::test]
async fn a_revoked_user_loses_its_stream_and_its_way_in() {
    let mesh = mesh().await;
    let vera = Arc::new(mesh.bus.credential("vera", Role::Viewer));
    let options = Options { url: mesh.bus.url(), ca: None, credential: vera.clone(), label: "vera".to_owned() };
    let bus = Bus::connect(options.clone()).await.unwrap();
    let olga = connect(&mesh.bus, "olga", Role::Operator).await;
    let Response::Stream(mut frames) = client::open(&bus, &target("count"), request(&[])).await.unwrap() else {
        panic!("no stream");
    };
    assert!(frames.next().await.unwrap().is_ok());

    let token = mesh.bus.keys.revoke(vera.public()).unwrap();
    let login = mesh.bus.keys.system_credential(SOON).unwrap();
    assert_eq!(servers::update(&mesh.bus.url(), None, &login, &token, 1).await.unwrap(), ["alpha"]);
    let mut link = bus.link();
    tokio::time::timeout(SOON, link.wait_for(|link| !link.up)).await.unwrap().unwrap();
    let ended = tokio::time::timeout(SOON, async {
        while let Some(frame) = frames.next().await {
            if let Err(error) = frame {
                return Some(error.code);
            }
        }
        None
    });
    assert_eq!(ended.await.unwrap(), Some(Code::PermissionDenied));
    let over = tokio::time::timeout(SOON, bus.over()).await.unwrap();
    assert!(over.code == Code::PermissionDenied && over.message.contains("vera was revoked"), "{over}");
    assert!(matches!(Bus::connect(options).await, Err(ConnectError::Refused { .. })));
    assert!(olga.echo().await.is_ok());
}

#[tokio::test]
async fn a_callee_refuses_who_was_shut_out_even_if_the_bus_does_not() {
    let mesh = mesh().await;
    let vera = connect(&mesh.bus, "vera", Role::Viewer).await;
    let olga = connect(&mesh.bus, "olga", Role::Operator).await;
    let Response::Stream(mut frames) = client::open(&vera, &target("count"), request(&[])).await.unwrap() else {
        panic!("no stream");
    };
    assert!(frames.next().await.unwrap().is_ok());
    assert_eq!(mesh.echo.running.load(Ordering::SeqCst), 1);

    mesh.server.shut_out(HashSet::from([UserName::parse("vera").unwrap()]));
    until("the stream's end", || mesh.echo.running.load(Ordering::SeqCst) == 0).await;
    let refused = client::call(&vera, &target("echo"), request(&["x"])).await.unwrap_err();
    assert_eq!(refused.code, Code::PermissionDenied, "{refused}");
    assert!(client::call(&olga, &target("echo"), request(&["x"])).await.is_ok());
    mesh.server.shut_out(HashSet::new());
    assert!(client::call(&vera, &target("echo"), request(&["x"])).await.is_ok());
}

#[tokio::test]
async fn a_renewed_credential_logs_in_again_where_the_old_one_ends() {
    let server = BusServer::start().await;
    let key = Credential::generate().unwrap();
    let name = UserName::parse("vera").unwrap();
    let issue = |role, life| server.keys.issue(&name, role, key.public(), Duration::from_secs(life)).unwrap();
    let issuer = server.keys.issuer();
    let short = issue(Role::Viewer, 3);
    let credential = Arc::new(Credential::new(&short, key.clone(), Some(&issuer)).unwrap());
    assert!(credential.due().unwrap() <= credential.issued() + Duration::from_secs(1));
    let options = Options { url: server.url(), ca: None, credential: credential.clone(), label: "vera".to_owned() };
    let bus = Bus::connect(options).await.unwrap();

    assert!(credential.renew(&issue(Role::Admin, 600), Some(&issuer)).is_err(), "not with another role");
    assert_eq!(credential.jwt(), short);
    credential.renew(&issue(Role::Viewer, 600), Some(&issuer)).unwrap();
    let mut link = bus.link();
    tokio::time::timeout(SOON, link.wait_for(|link| link.broken_before && link.up)).await.unwrap().unwrap();
    bus.echo().await.unwrap();
}

#[tokio::test]
async fn what_runs_outlives_the_token_that_it_began_with() {
    let mesh = mesh().await;
    let key = Credential::generate().unwrap();
    let name = UserName::parse("vera").unwrap();
    let issue = |life| mesh.bus.keys.issue(&name, Role::Viewer, key.public(), Duration::from_secs(life)).unwrap();
    let credential = Arc::new(Credential::new(&issue(4), key.clone(), None).unwrap());
    let options = Options { url: mesh.bus.url(), ca: None, credential: credential.clone(), label: "vera".to_owned() };
    let bus = Bus::connect(options).await.unwrap();
    let Response::Stream(mut frames) = client::open(&bus, &target("count"), request(&[])).await.unwrap() else {
        panic!("no stream");
    };
    assert!(frames.next().await.unwrap().is_ok());
    credential.renew(&issue(600), None).unwrap();
    // Calls go on all the while, over the one connection and the other.
    let calls = async {
        for round in 0..200 {
            let answer = client::call(&bus, &target("echo"), request(&["x"])).await;
            assert!(answer.is_ok(), "round {round}: {answer:?}");
        }
    };
    let (moved, ()) = tokio::join!(bus.log_in_again(), calls);
    moved.unwrap();
    let mut link = bus.link();
    tokio::time::timeout(SOON, link.wait_for(|link| link.broken_before && link.up)).await.unwrap().unwrap();
    for frame in 0..100 {
        let came = tokio::time::timeout(SOON, frames.next()).await.unwrap();
        assert!(matches!(came, Some(Ok(_))), "frame {frame}: {came:?}");
    }
    assert!(client::call(&bus, &target("echo"), request(&["x"])).await.is_ok());

    // Once more, from the second connection to a third; and one that is not renewed ends.
    bus.log_in_again().await.unwrap();
    assert!(client::call(&bus, &target("echo"), request(&["x"])).await.is_ok());
    assert!(matches!(frames.next().await, Some(Ok(_))));
}

#[tokio::test]
async fn flt_44_a_credential_that_is_not_renewed_ends_what_runs_as_denied() {
    let mesh = mesh().await;
    let key = Credential::generate().unwrap();
    let name = UserName::parse("vera").unwrap();
    let token = mesh.bus.keys.issue(&name, Role::Viewer, key.public(), Duration::from_secs(6)).unwrap();
    let credential = Arc::new(Credential::new(&token, key, None).unwrap());
    let options = Options { url: mesh.bus.url(), ca: None, credential, label: "vera".to_owned() };
    let bus = Bus::connect(options).await.unwrap();
    let Response::Stream(mut frames) = client::open(&bus, &target("count"), request(&[])).await.unwrap() else {
        panic!("no stream");
    };
    let error = tokio::time::timeout(SOON, async {
        loop {
            if let Some(Err(error)) = frames.next().await {
                return error;
            }
        }
    });
    let error = error.await.unwrap();
    assert!(error.code == Code::PermissionDenied && error.message.contains("not renewed"), "{error}");
    assert_eq!(tokio::time::timeout(SOON, bus.over()).await.unwrap(), error);
}
