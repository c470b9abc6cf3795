//! The cache and the leases: who is seen as there, over deaths and returns of nodes and of the bus.

use std::time::{Duration, Instant};

use aigis_proxy::{Bus, Role};
use aigis_registry::{Cache, LeaseKeeper, State};

use crate::{
    bus_server::{BusServer, until},
    records::{container, node, registry},
};

const SOON: Duration = Duration::from_secs(60);

pub(crate) fn keep(server: &BusServer, name: &str) -> LeaseKeeper {
    LeaseKeeper::start(server.options(server.credential(name, Role::Node)), &node(name)).unwrap()
}

fn state(cache: &Cache, owner: &str) -> State {
    cache.snapshot().sight(owner).state
}

async fn is(cache: &Cache, owner: &str, expected: State) {
    until(&format!("{owner} {expected}"), async || (state(cache, owner) == expected).then_some(())).await;
}

#[tokio::test]
async fn ci_80_a_goodbye_is_offline_within_a_second_and_a_return_is_live() {
    let server = BusServer::start().await;
    let (bus, beta) = registry(&server, "beta").await;
    beta.note_birth().await.unwrap();
    beta.put_ci(container("web", "beta")).await.unwrap();
    let keeper = keep(&server, "beta");
    keeper.ready(SOON).await.unwrap();
    let vera = server.user("vera", Role::Viewer).await;
    let cache = Cache::open(&vera, None, SOON).await.unwrap();
    is(&cache, "beta", State::Live).await;
    let rows = cache.snapshot().rows();
    assert_eq!((rows.len(), rows[0].state), (1, State::Live));
    keeper.goodbye(SOON).await;
    let begun = Instant::now();
    is(&cache, "beta", State::Offline).await;
    assert!(begun.elapsed() < Duration::from_secs(4));
    let cold = Cache::open(&bus, None, SOON).await.unwrap();
    assert_eq!(state(&cold, "beta"), State::Offline, "a goodbye is no absence");
    let _back = keep(&server, "beta");
    is(&cache, "beta", State::Live).await;
    is(&cold, "beta", State::Live).await;
}

#[tokio::test]
async fn ci_71_a_dead_node_is_unknown_then_offline_and_never_sooner_unless_the_bus_is_young() {
    let server = BusServer::start().await;
    let (_, beta) = registry(&server, "beta").await;
    beta.put_ci(container("web", "beta")).await.unwrap();
    let keeper = keep(&server, "beta");
    keeper.ready(SOON).await.unwrap();
    let vera = server.user("vera", Role::Viewer).await;
    let cache = Cache::open(&vera, None, SOON).await.unwrap();
    is(&cache, "beta", State::Live).await;
    drop(keeper);
    let begun = Instant::now();
    is(&cache, "beta", State::Unknown).await;
    let after = begun.elapsed().as_secs_f64();
    assert!((4.5..30.0).contains(&after), "{after}");
    // No birth of this bus is on record, so its silence proves nothing, to a new process neither.
    let end = Instant::now() + Duration::from_secs(8);
    while Instant::now() < end {
        assert_eq!(state(&cache, "beta"), State::Unknown);
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    assert_eq!(state(&Cache::open(&vera, None, SOON).await.unwrap(), "beta"), State::Unknown);
}

#[tokio::test]
async fn ci_74_a_killed_bus_comes_back_with_every_record_and_nobody_turns_offline() {
    let mut server = BusServer::start().await;
    let (bus, beta) = registry(&server, "beta").await;
    beta.note_birth().await.unwrap();
    let names: Vec<String> = (0..100).map(|index| format!("web{index}")).collect();
    futures::future::try_join_all(names.iter().map(|name| beta.put_ci(container(name, "beta")))).await.unwrap();
    let _keeper = keep(&server, "beta");
    let vera = server.user("vera", Role::Viewer).await;
    let cache = Cache::open(&vera, None, SOON).await.unwrap();
    is(&cache, "beta", State::Live).await;
    let before: Vec<_> = cache.snapshot().rows().into_iter().map(|row| (row.address, row.labels)).collect();
    assert_eq!(before.len(), 100);

    let mut snapshots = cache.changed();
    server.kill();
    until("the loss", async || (!cache.snapshot().is_connected()).then_some(())).await;
    assert_eq!(state(&cache, "beta"), State::Unknown);
    assert!(Cache::open(&vera, None, Duration::from_millis(300)).await.is_err());
    server.run().await;
    server.create_store().await;
    until("the return", async || {
        assert_ne!(snapshots.borrow_and_update().sight("beta").state, State::Offline);
        (state(&cache, "beta") == State::Live).then_some(())
    })
    .await;
    let rows = cache.snapshot().rows();
    assert!(rows.iter().all(|row| row.state == State::Live));
    let after: Vec<_> = rows.into_iter().map(|row| (row.address, row.labels)).collect();
    assert_eq!(before, after);
    until("the node's own return", async || beta.note_birth().await.ok()).await;
    beta.put_ci(container("new", "beta")).await.unwrap();
    until("a change after the return", async || (cache.snapshot().rows().len() == 101).then_some(())).await;
    let cold = Cache::open(&bus, None, SOON).await.unwrap();
    // The leases were in memory alone: until its node has renewed, a new process says unknown.
    until("a new process to see it", async || {
        assert_eq!(cold.snapshot().rows().len(), 101);
        assert_ne!(state(&cold, "beta"), State::Offline);
        (state(&cold, "beta") == State::Live).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_cold_cache_reads_a_thousand_records_at_once() {
    let server = BusServer::start().await;
    let (_, beta) = registry(&server, "beta").await;
    for chunk in 0..10 {
        let puts = (0..100).map(|index| beta.put_ci(container(&format!("c{chunk}-{index}"), "beta")));
        futures::future::try_join_all(puts).await.unwrap();
    }
    let credential = server.credential("vera", Role::Viewer);
    let begun = Instant::now();
    let vera = Bus::connect(server.options(credential)).await.unwrap();
    let cache = Cache::open(&vera, None, SOON).await.unwrap();
    assert_eq!(cache.snapshot().rows().len(), 1000);
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
}
