//! What others write over the records of chains, and how long these are kept.

use std::time::Duration;

use aigis_assistants::coordinator::keeping::Kept;
use aigis_proxy::{
    Bus, Code,
    chain::ChainId,
    kv::{self, Bucket, Expect},
    services::chains::Control,
};
use aigis_registry::shared::Status;

use crate::{
    bus_server::{PATIENCE, until},
    mesh::Mesh,
};

async fn stored(bus: &Bus, id: &ChainId) -> kv::Entry {
    kv::get(bus, Bucket::Shared, &format!("chain.{id}"), PATIENCE).await.unwrap().unwrap()
}

async fn overwrite(bus: &Bus, id: &ChainId, value: &[u8], expect: Expect<'_>) {
    kv::put(bus, Bucket::Shared, &format!("chain.{id}"), value.to_vec().into(), expect, PATIENCE).await.unwrap();
}

#[tokio::test]
async fn atk_60_what_does_not_follow_is_passed_over() {
    let mesh = Mesh::start().await;
    let alpha = mesh.host("alpha").await;
    // A node that keeps to no rule.
    let beta = mesh.host("beta").await;
    let _coordinator = alpha.coordinator().await;
    mesh.keep(&["slow"]).await;
    let mut push = mesh.a_push("web", "slow");
    push.wish.on = Some(vec!["alpha".to_owned()]);
    let id = mesh.try_push(push).await.unwrap();
    let early = stored(&beta.bus, &id).await;
    until("the step runs", async || (alpha.place.begun() == [(1, 1)]).then_some(())).await;
    let before = mesh.chain(&id).await;
    assert_eq!(before.status, Status::Running);

    overwrite(&beta.bus, &id, b"{}", Expect::Anything).await;
    assert_eq!(mesh.chain(&id).await, before, "what nobody signed");
    overwrite(&beta.bus, &id, &early.value, Expect::Anything).await;
    assert_eq!(mesh.chain(&id).await, before, "an older version, written past the check");
    let newest = stored(&beta.bus, &id).await.revision;
    overwrite(&beta.bus, &id, &early.value, Expect::Revision(newest)).await;
    assert_eq!(mesh.chain(&id).await, before, "an older version, checked against another one than it names");
    let key = format!("chain.{id}");
    kv::delete(&beta.bus, Bucket::Shared, &key, Expect::Anything, PATIENCE).await.unwrap();
    assert_eq!(mesh.chain(&id).await, before, "a deletion that nobody signed");

    // Who may change it still can, and its holder hears of it.
    let hold = Control::Hold { why: "look".to_owned(), until: None, now: false };
    assert_eq!(mesh.control(&id, hold).await.unwrap(), "held");
    mesh.control(&id, Control::Resume).await.unwrap();
    alpha.place.release();
    assert_eq!(mesh.over(&id).await.status, Status::Done);
    assert_eq!(alpha.place.begun(), [(1, 1)], "it ran once");
}

#[tokio::test]
async fn atk_60_a_flood_ends_its_chain_and_no_other() {
    let mesh = Mesh::start().await;
    let alpha = mesh.host("alpha").await;
    let beta = mesh.host("beta").await;
    let _coordinator = alpha.coordinator().await;
    mesh.keep(&["slow", "cp"]).await;
    let mut push = mesh.a_push("web", "slow");
    push.wish.on = Some(vec!["alpha".to_owned()]);
    let id = mesh.try_push(push).await.unwrap();
    until("the step runs", async || (alpha.place.begun() == [(1, 1)]).then_some(())).await;
    for round in 0..kv::SHARED_VERSIONS {
        overwrite(&beta.bus, &id, format!("{{\"flood\":{round}}}").as_bytes(), Expect::Anything).await;
    }
    let record = until("its end", async || match mesh.read(&id).await {
        Ok(found) => found.filter(|record| record.status.is_over()),
        Err(error) => {
            assert_eq!(error.code, Code::DataLoss, "{error}");
            None
        }
    })
    .await;
    assert_eq!((record.status, record.error.unwrap().code), (Status::Failed, Code::DataLoss));
    let other = mesh.push("other", "cp").await;
    assert_eq!(mesh.over(&other).await.status, Status::Done);
}

#[tokio::test]
async fn old_chains_go_with_their_steps_and_leave_nothing() {
    let mesh = Mesh::start().await;
    let mut alpha = mesh.host("alpha").await;
    alpha.kept = Kept { age: Duration::ZERO, last: 2, most: 10, every: Duration::from_millis(200) };
    let _coordinator = alpha.coordinator().await;
    mesh.keep(&["cp"]).await;
    let mut pushed = Vec::new();
    for _ in 0..3 {
        let id = mesh.push("web", "cp").await;
        assert_eq!(mesh.over(&id).await.status, Status::Done);
        pushed.push(id);
    }
    let first = &pushed[0];
    until("the oldest is gone", async || mesh.read(first).await.unwrap().is_none().then_some(())).await;
    until("its journal is gone", async || mesh.step(first, 1).await.is_none().then_some(())).await;
    for kept in &pushed[1..] {
        assert!(mesh.read(kept).await.unwrap().is_some() && mesh.step(kept, 1).await.is_some());
    }
    // No version of it is left, only marks, which end by themselves.
    let key = format!("chain.{first}");
    until("all versions are gone", async || {
        let versions = kv::history(&alpha.bus, Bucket::Shared, &key, PATIENCE).await.unwrap();
        versions.iter().all(|version| version.operation == kv::Operation::Delete).then_some(())
    })
    .await;
}
