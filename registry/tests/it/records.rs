//! A node's own records: claims, changes, damage.

use std::time::Duration;

use aigis_proxy::{
    Address, Bus, Code, Name, NodeName, Role,
    kv::{self, Bucket, Expect, Operation},
};
use aigis_registry::{Cache, CiRecord, Kind, Registry, Resolved, Snapshot, State};

use crate::bus_server::{BusServer, until};

const SOON: Duration = Duration::from_secs(60);

pub(crate) fn node(name: &str) -> NodeName {
    NodeName::parse(name).unwrap()
}

pub(crate) fn container(name: &str, on: &str) -> CiRecord {
    CiRecord::new(Name::parse(name).unwrap(), node(on), Kind::Container)
}

fn wrapped(name: &str, on: &str) -> CiRecord {
    CiRecord::new(Name::parse(name).unwrap(), node(on), Kind::Wrapped)
}

pub(crate) async fn registry(server: &BusServer, name: &str) -> (Bus, Registry) {
    let bus = server.user(name, Role::Node).await;
    (bus.clone(), Registry::new(bus, node(name)))
}

#[tokio::test]
async fn ci_24_of_all_that_claim_a_name_at_once_one_gets_it() {
    let server = BusServer::start().await;
    let (_, alpha) = registry(&server, "alpha").await;
    let (_, beta) = registry(&server, "beta").await;
    let seen = Snapshot::default();
    for round in 0..20 {
        let name = format!("solo{round}");
        let claims =
            tokio::join!(alpha.claim(wrapped(&name, "alpha"), &seen), beta.claim(wrapped(&name, "beta"), &seen));
        let (winner, error) = match claims {
            (Ok(()), Err(error)) => ("alpha", error),
            (Err(error), Ok(())) => ("beta", error),
            both => panic!("{both:?}"),
        };
        assert_eq!(error.code, Code::AlreadyExists);
        assert_eq!(error.detail("holder").unwrap(), &format!("{name}@{winner}"));
    }
}

#[tokio::test]
async fn a_name_is_free_again_when_its_holder_is_gone_and_its_owner_may_claim_it_again() {
    let server = BusServer::start().await;
    let (_, alpha) = registry(&server, "alpha").await;
    let (_, beta) = registry(&server, "beta").await;
    let (seen, name) = (Snapshot::default(), Name::parse("solo").unwrap());
    alpha.claim(wrapped("solo", "alpha"), &seen).await.unwrap();
    alpha.claim(wrapped("solo", "alpha"), &seen).await.unwrap();
    let held = alpha.put_ci(container("solo", "alpha")).await.unwrap_err();
    assert_eq!(held.code, Code::AlreadyExists);
    assert!(alpha.mark_gone(&name).await.unwrap() && !alpha.mark_gone(&name).await.unwrap());
    beta.claim(wrapped("solo", "beta"), &seen).await.unwrap();
    assert_eq!(alpha.claim(wrapped("solo", "alpha"), &seen).await.unwrap_err().code, Code::AlreadyExists);
}

#[tokio::test]
async fn a_record_is_written_only_if_it_says_something_new_over_restarts_too() {
    let server = BusServer::start().await;
    let (bus, alpha) = registry(&server, "alpha").await;
    assert!(alpha.put_ci(container("web", "alpha")).await.unwrap());
    assert!(!alpha.put_ci(container("web", "alpha")).await.unwrap());
    let again = Registry::new(bus, node("alpha"));
    let loaded = again.load(SOON).await.unwrap();
    assert_eq!(loaded.len(), 1);
    assert!(!again.put_ci(container("web", "alpha")).await.unwrap());
    let changed = CiRecord { description: "a web server".to_owned(), ..container("web", "alpha") };
    assert!(again.put_ci(changed).await.unwrap());
    // The first hand knows nothing of that write, and finds out.
    let other = CiRecord { description: "another".to_owned(), ..container("web", "alpha") };
    assert!(alpha.put_ci(other).await.unwrap());
    let registered = again.load(SOON).await.unwrap().remove(0).registered_at;
    assert_eq!(registered, loaded[0].registered_at);
    assert!(alpha.put_ci(container("web", "beta")).await.is_err(), "not its own");
}

#[tokio::test]
async fn r_16_a_damaged_record_is_refused_and_put_back_by_its_owner() {
    let server = BusServer::start().await;
    let (bus, alpha) = registry(&server, "alpha").await;
    for name in ["web", "db"] {
        alpha.put_ci(container(name, "alpha")).await.unwrap();
    }
    let vera = server.user("vera", Role::Viewer).await;
    let cache = Cache::open(&vera, None, SOON).await.unwrap();
    let stored = kv::get(&bus, Bucket::Records, "ci.web.alpha", SOON).await.unwrap().unwrap();
    let damaged =
        String::from_utf8(stored.value.to_vec()).unwrap().replace("\"description\":\"\"", "\"description\":\"x\"");
    kv::put(&bus, Bucket::Records, "ci.web.alpha", damaged.into(), Expect::Anything, SOON).await.unwrap();
    let resolve = |name: &str| cache.snapshot().resolve(&Address::parse(name).unwrap());
    until("the damage", async || cache.snapshot().damaged().next().is_some().then_some(())).await;
    assert!(matches!(resolve("web"), Ok(Resolved::One(found)) if found.record.description.is_empty()), "the former");
    let cold = Cache::open(&vera, None, SOON).await.unwrap();
    let anew = |name: &str| cold.snapshot().resolve(&Address::parse(name).unwrap());
    assert_eq!(anew("web").unwrap_err().code, Code::DataLoss);
    assert!(matches!(anew("db"), Ok(Resolved::One(_))));
    let done = alpha.reconcile(SOON).await.unwrap();
    assert_eq!((done.sound, done.restored), (1, 1));
    until("the repair", async || anew("web").ok()).await;
    until("its end", async || cache.snapshot().damaged().next().is_none().then_some(())).await;
    assert_eq!(alpha.reconcile(SOON).await.unwrap().restored, 0);
}

#[tokio::test]
async fn ci_13_a_removed_ci_is_remembered_as_gone() {
    let server = BusServer::start().await;
    let (bus, alpha) = registry(&server, "alpha").await;
    alpha.put_ci(container("web", "alpha")).await.unwrap();
    alpha.mark_gone(&Name::parse("web").unwrap()).await.unwrap();
    let cache = Cache::open(&bus, None, SOON).await.unwrap();
    let error = cache.snapshot().resolve(&Address::parse("web").unwrap()).unwrap_err();
    assert_eq!(error.code, Code::Unavailable);
    assert_eq!(cache.snapshot().rows()[0].state, State::Gone);
    assert_eq!(alpha.sweep().await.unwrap(), 0, "kept for a day");
    alpha.put_ci(container("web", "alpha")).await.unwrap();
    until("its return", async || cache.snapshot().resolve(&Address::parse("web").unwrap()).ok()).await;
}

/// The bus starts on record, each with whether it still stands.
async fn births(bus: &Bus) -> Vec<(String, bool)> {
    let entries = kv::list(bus, Bucket::Records, &["bus.*.*"], SOON).await.unwrap();
    entries.into_iter().map(|entry| (entry.key, entry.operation == Operation::Put)).collect()
}

#[tokio::test]
async fn a_node_takes_away_the_starts_of_former_bus_servers_that_it_noted_and_no_others() {
    let mut server = BusServer::start().await;
    let (bus, alpha) = registry(&server, "alpha").await;
    let (_, beta) = registry(&server, "beta").await;
    let first = format!("bus.{}.alpha", kv::server_id(&bus));
    alpha.note_birth().await.unwrap();
    beta.note_birth().await.unwrap();
    assert_eq!(alpha.sweep().await.unwrap(), 0, "it is in use");
    assert_eq!(births(&bus).await, [(first.clone(), true)], "one node notes it for all");
    server.kill();
    server.run().await;
    let second = until("the new server", async || {
        let second = format!("bus.{}.alpha", kv::server_id(&bus));
        (second != first && alpha.note_birth().await.is_ok()).then_some(second)
    })
    .await;
    // A new process of the node finds what the former one noted, and clears it away.
    let again = Registry::new(bus.clone(), node("alpha"));
    again.load(SOON).await.unwrap();
    until("beta's return", async || (beta.sweep().await.ok() == Some(0)).then_some(())).await;
    assert_eq!(again.sweep().await.unwrap(), 1);
    assert_eq!(again.sweep().await.unwrap(), 0);
    assert_eq!(alpha.reconcile(SOON).await.unwrap().restored, 1, "who does not know of it puts it back");
    assert_eq!(alpha.sweep().await.unwrap(), 1);
    let mut left = births(&bus).await;
    left.retain(|(_, stands)| *stands);
    assert_eq!(left, [(second, true)]);
}

#[tokio::test]
async fn the_start_of_a_bus_server_is_noted_anew_when_its_record_was_taken_away() {
    let server = BusServer::start().await;
    let (bus, alpha) = registry(&server, "alpha").await;
    let (_, beta) = registry(&server, "beta").await;
    alpha.note_birth().await.unwrap();
    let key = format!("bus.{}.alpha", kv::server_id(&bus));
    // As a node does that has gone over to another server of a cluster.
    kv::delete(&bus, Bucket::Records, &key, Expect::Anything, SOON).await.unwrap();
    beta.note_birth().await.unwrap();
    let mut left = births(&bus).await;
    left.retain(|(_, stands)| *stands);
    assert_eq!(left, [(format!("bus.{}.beta", kv::server_id(&bus)), true)]);
}
