//! Buckets: expectations, leases over their own marks, and what nobody can do to them.

use std::time::Duration;

use aigis_proxy::{
    Role,
    bus::HeaderMap,
    kv::{self, Bucket, Error, Expect, Operation},
};
use bytes::Bytes;

use crate::bus_server::{BusServer, until};

const SOON: Duration = Duration::from_secs(60);

#[tokio::test]
async fn a_store_is_made_once_and_keeps_its_id() {
    let mut server = BusServer::start().await;
    let id = server.create_store().await;
    assert_eq!(server.create_store().await, id);
    server.kill();
    server.run().await;
    assert_eq!(server.create_store().await, id);
    let vera = server.user("vera", Role::Viewer).await;
    assert_eq!(kv::store_id(&vera, SOON).await.unwrap(), id);
    assert_ne!(BusServer::start().await.create_store().await, id);
}

#[tokio::test]
async fn a_write_expects_what_it_follows() {
    let server = BusServer::start().await;
    let bus = server.user("alpha", Role::Node).await;
    let put = async |value: &'static str, expect: Expect<'_>| {
        kv::put(&bus, Bucket::Records, "ci.web.alpha", Bytes::from(value), expect, SOON).await
    };
    let first = put("one", Expect::Revision(0)).await.unwrap();
    let second = put("two", Expect::Revision(first)).await.unwrap();
    assert!(
        matches!(put("three", Expect::Revision(first)).await, Err(Error::WrongRevision { newest: Some(n), .. }) if n == second)
    );
    let newest = Expect::Newest { filter: "ci.web.*", revision: 0 };
    assert!(matches!(put("three", newest).await, Err(Error::WrongRevision { .. })));
    let entry = kv::get(&bus, Bucket::Records, "ci.web.alpha", SOON).await.unwrap().unwrap();
    assert_eq!((&entry.value[..], entry.revision, entry.operation), (&b"two"[..], second, Operation::Put));
    let third = kv::delete(&bus, Bucket::Records, "ci.web.alpha", Expect::Revision(second), SOON).await.unwrap();
    let entry = kv::newest(&bus, Bucket::Records, "ci.web.*", SOON).await.unwrap().unwrap();
    assert_eq!((entry.revision, entry.operation), (third, Operation::Delete));
    assert_eq!(kv::get(&bus, Bucket::Records, "ci.db.alpha", SOON).await.unwrap(), None);
    let newest = Expect::Newest { filter: "ci.web.*", revision: third };
    assert!(put("four", newest).await.is_ok());
}

#[tokio::test]
async fn r_05_records_are_neither_purged_nor_rolled_up_nor_written_by_others() {
    let server = BusServer::start().await;
    let alpha = server.user("alpha", Role::Node).await;
    for name in ["a", "b"] {
        let key = format!("ci.{name}.alpha");
        kv::put(&alpha, Bucket::Records, &key, "x".into(), Expect::Anything, SOON).await.unwrap();
    }
    let mut headers = HeaderMap::new();
    headers.insert("Nats-Rollup", "all");
    let reply = alpha.request("$KV.records.ci.a.alpha".to_owned(), Some(headers), "y".into(), SOON).await.unwrap();
    assert!(String::from_utf8_lossy(&reply.payload).contains("10111"), "{reply:?}");
    let vera = server.user("vera", Role::Viewer).await;
    for (bus, key) in [(&vera, "ci.a.vera"), (&alpha, "ci.a.beta")] {
        let begun = std::time::Instant::now();
        let denied = kv::put(bus, Bucket::Records, key, "x".into(), Expect::Anything, SOON).await;
        assert!(matches!(denied, Err(Error::Denied { .. })), "{denied:?}");
        assert!(begun.elapsed() < Duration::from_secs(4));
    }
    assert_eq!(kv::list(&vera, Bucket::Records, &[">"], SOON).await.unwrap().len(), 2);
    let large = vec![0_u8; kv::MAX_VALUE];
    assert!(kv::put(&alpha, Bucket::Records, "ci.a.alpha", large.into(), Expect::Anything, SOON).await.is_ok());
}

#[tokio::test]
async fn r_02_a_lease_made_anew_over_its_mark_ends_again() {
    let server = BusServer::start().await;
    let bus = server.user("alpha", Role::Node).await;
    let mut revision = 0;
    for round in 0..2 {
        let life = Duration::from_secs(1);
        let renewed = kv::put_lease(&bus, "live.alpha", "{}".into(), revision, life, SOON).await.unwrap();
        let lost = kv::put_lease(&bus, "live.alpha", "{}".into(), revision, life, SOON).await;
        assert!(matches!(lost, Err(Error::WrongRevision { .. })), "{lost:?}");
        revision = until("the end of the lease", async || {
            let entry = kv::get(&bus, Bucket::Leases, "live.alpha", SOON).await.unwrap()?;
            (entry.operation == Operation::Expire && entry.revision > renewed).then_some(entry.revision)
        })
        .await;
        assert!(revision > renewed, "round {round}");
    }
}

#[tokio::test]
async fn r_08_a_write_waits_for_a_store_that_is_not_there_yet_and_no_longer_than_it_may() {
    let server = BusServer::start().await;
    let bus = server.user("olga", Role::Operator).await;
    let begun = std::time::Instant::now();
    let error = kv::put(&bus, Bucket::Shared, "chain.x", "x".into(), Expect::Anything, SOON).await;
    assert!(matches!(error, Err(Error::Denied { .. })), "{error:?}");
    assert!(begun.elapsed() < Duration::from_secs(10));
}

/// What a guarded connection is told by each way into the store.
async fn refusals(bus: &aigis_proxy::Bus) -> Vec<Error> {
    let audit = || bus.subjects().event("audit", bus.user(), "x");
    let life = Duration::from_secs(60);
    let outcomes = [
        kv::put(bus, Bucket::Records, "ci.x.alpha", "x".into(), Expect::Anything, SOON).await.map(drop),
        kv::delete(bus, Bucket::Records, "ci.x.alpha", Expect::Anything, SOON).await.map(drop),
        kv::put_lease(bus, "live.alpha", "{}".into(), 0, life, SOON).await.map(drop),
        kv::append(bus, kv::Log::Audit, audit(), "id", "x".into(), SOON).await.map(drop),
        kv::get(bus, Bucket::Records, "ci.x.alpha", SOON).await.map(drop),
        kv::list(bus, Bucket::Records, &[">"], SOON).await.map(drop),
        kv::LogReader::open(bus, kv::Log::Audit, &[], kv::Since::Beginning, SOON).await.map(drop),
    ];
    outcomes.into_iter().filter_map(Result::err).collect()
}

#[tokio::test]
async fn flt_16_a_store_that_is_not_the_meshs_is_neither_read_nor_written() {
    let mut server = BusServer::start().await;
    let login = server.keys.store_credential(Duration::from_secs(60)).unwrap();
    let found = kv::find_store(&server.url(), None, &login).await.unwrap().unwrap();
    let former = kv::KnownStore { store: kv::Mark::fresh().id().clone(), generation: 3 };
    let guard = kv::StoreGuard::new(server.keys.issuer(), Some(former.clone()));
    let bus = server.user("alpha", Role::Node).await;
    bus.guard_store(guard.clone());
    let refused = refusals(&bus).await;
    let other = Error::OtherStore { known: former.store.clone(), found: Some(found.id().clone()) };
    assert_eq!(refused, vec![other.clone(); 7]);
    let told = aigis_proxy::Error::from(other);
    assert_eq!(told.code, aigis_proxy::Code::DataLoss);
    assert!([former.store.as_str(), found.id().as_str()].iter().all(|id| told.message.contains(id)), "{told}");
    let vera = server.user("vera", Role::Viewer).await;
    assert_eq!(kv::list(&vera, Bucket::Records, &[">"], SOON).await.unwrap(), vec![], "nothing was written");

    // Accepted meanwhile, as the bus itself tells; and whoever sets the store up anew leaves that as it is.
    let accepted = kv::KnownStore { store: found.id().clone(), generation: 4 };
    let mark = kv::Mark::accepted(&server.keys, &accepted);
    kv::mark_store(&server.url(), None, &login, 1, &mark).await.unwrap();
    until("the store is taken", async || refusals(&bus).await.is_empty().then_some(())).await;
    assert_eq!(guard.known(), Some(accepted));
    server.create_store().await;
    assert_eq!(kv::find_store(&server.url(), None, &login).await.unwrap(), Some(mark));

    // Looked at again after each start of the server, of which nobody here knows what it will hold.
    server.kill();
    server.empty();
    server.run().await;
    let mut link = bus.link();
    link.wait_for(|link| link.up).await.unwrap();
    until("the loss is noticed", async || {
        let refused = kv::get(&bus, Bucket::Records, "ci.x.alpha", SOON).await;
        matches!(refused, Err(Error::OtherStore { found: None, .. })).then_some(())
    })
    .await;
}
