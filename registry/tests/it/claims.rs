//! Leaves of the mesh's namespace: each has one owner, and a plugin gets all that it wants or none.

use std::time::Duration;

use aigis_proxy::{
    Code, Effect, Name, Role, SkillPath,
    kv::{self, Bucket},
};
use aigis_registry::{Cache, CiRecord, Kind, Leaf, Registry, Resolved, SkillNote, Snapshot, State};

use crate::{
    bus_server::{BusServer, until},
    cache::keep,
    records::{node, registry},
};

const SOON: Duration = Duration::from_secs(60);

fn name(text: &str) -> Name {
    Name::parse(text).unwrap()
}

fn path(text: &str) -> SkillPath {
    SkillPath::parse(text).unwrap()
}

fn leaves(paths: &[&str]) -> Vec<Leaf> {
    paths.iter().map(|text| Leaf { path: path(text), open: false }).collect()
}

/// A plugin whose name is claimed.
async fn plugin(registry: &Registry, called: &str, on: &str) {
    let note = SkillNote { path: path("status"), effect: Effect::Read, stream: false, timeout_s: None };
    let record =
        CiRecord { skills: [note].into_iter().collect(), ..CiRecord::new(name(called), node(on), Kind::Plugin) };
    registry.claim(record, &Snapshot::default()).await.unwrap();
}

fn held(registry: &Registry, ci: &str) -> Vec<String> {
    let mut held: Vec<String> = registry.leaves(&name(ci)).iter().map(ToString::to_string).collect();
    held.sort();
    held
}

/// Who answers for a path.
fn owner(cache: &Cache, text: &str) -> Option<String> {
    match cache.snapshot().resolve_path(&path(text)) {
        Ok((Resolved::One(found), _)) => Some(found.record.name.to_string()),
        _ => None,
    }
}

async fn shown(cache: &Cache, text: &str, expected: Option<&str>) {
    until(&format!("{text} is {expected:?}"), async || (owner(cache, text).as_deref() == expected).then_some(())).await;
}

#[tokio::test]
async fn plg_23_a_leaf_has_one_owner_and_a_plugin_gets_all_or_none() {
    let server = BusServer::start().await;
    let (_, alpha) = registry(&server, "alpha").await;
    let (_, beta) = registry(&server, "beta").await;
    let vera = server.user("vera", Role::Viewer).await;
    let cache = Cache::open(&vera, None, SOON).await.unwrap();
    let seen = Snapshot::default();
    plugin(&alpha, "fx", "alpha").await;
    plugin(&alpha, "gx", "alpha").await;
    plugin(&beta, "hx", "beta").await;
    alpha.claim_leaves(&name("fx"), &leaves(&["cool.nolog", "cool.kw"]), &seen).await.unwrap();
    for (registry, ci) in [(&alpha, "gx"), (&beta, "hx")] {
        let wanted = leaves(&["cool.free", "cool.nolog", "cool.more"]);
        let error = registry.claim_leaves(&name(ci), &wanted, &seen).await.unwrap_err();
        assert_eq!((error.code, error.detail("holder").unwrap().as_str()), (Code::AlreadyExists, Some("fx@alpha")));
        assert!(error.message.contains(ci) && error.message.contains("cool.nolog"), "{error}");
        assert!(held(registry, ci).is_empty());
    }
    beta.claim_leaves(&name("hx"), &leaves(&["cool.other"]), &seen).await.unwrap();
    for (text, expected) in [("cool.nolog", "fx"), ("cool.other", "hx")] {
        shown(&cache, text, Some(expected)).await;
    }
    assert_eq!(owner(&cache, "cool.free"), None);
    beta.release_leaves(&name("hx")).await.unwrap();
    shown(&cache, "cool.other", None).await;
    alpha.release_leaves(&name("fx")).await.unwrap();
    beta.claim_leaves(&name("hx"), &leaves(&["cool.nolog"]), &seen).await.unwrap();
    shown(&cache, "cool.nolog", Some("hx")).await;
}

#[tokio::test]
async fn of_all_that_claim_a_leaf_at_once_one_gets_it() {
    let server = BusServer::start().await;
    let (_, alpha) = registry(&server, "alpha").await;
    let (_, beta) = registry(&server, "beta").await;
    let seen = Snapshot::default();
    plugin(&alpha, "fx", "alpha").await;
    plugin(&beta, "gx", "beta").await;
    let (fx, gx) = (name("fx"), name("gx"));
    for round in 0..10 {
        let wanted = leaves(&[&format!("a.r{round}"), &format!("b.r{round}"), &format!("c.r{round}")]);
        let both = tokio::join!(alpha.claim_leaves(&fx, &wanted, &seen), beta.claim_leaves(&gx, &wanted, &seen));
        // Each may have stood in the other's way, but no leaf has two owners, and nobody has a part of what it wanted.
        assert!(both.0.is_err() || both.1.is_err(), "{both:?}");
        for (outcome, count) in [(both.0, held(&alpha, "fx").len()), (both.1, held(&beta, "gx").len())] {
            assert_eq!(count, if outcome.is_ok() { 3 } else { 0 }, "{outcome:?}");
        }
        alpha.release_leaves(&fx).await.unwrap();
        beta.release_leaves(&gx).await.unwrap();
    }
}

#[tokio::test]
async fn a_former_process_hands_its_leaves_on_and_a_reload_swaps_them() {
    let server = BusServer::start().await;
    let (bus, alpha) = registry(&server, "alpha").await;
    let vera = server.user("vera", Role::Viewer).await;
    let cache = Cache::open(&vera, None, SOON).await.unwrap();
    let (seen, fx) = (Snapshot::default(), name("fx"));
    plugin(&alpha, "fx", "alpha").await;
    alpha.claim_leaves(&fx, &leaves(&["ns.a", "ns.b"]), &seen).await.unwrap();
    let revision = kv::get(&bus, Bucket::Records, "claim.ns/a.alpha", SOON).await.unwrap().unwrap().revision;

    // One that has looked, and one that has not.
    let again = Registry::new(bus.clone(), node("alpha"));
    again.load(SOON).await.unwrap();
    again.claim_leaves(&fx, &leaves(&["ns.a", "ns.b"]), &seen).await.unwrap();
    assert_eq!(kv::get(&bus, Bucket::Records, "claim.ns/a.alpha", SOON).await.unwrap().unwrap().revision, revision);
    let unread = Registry::new(bus, node("alpha"));
    unread.claim_leaves(&fx, &leaves(&["ns.a"]), &seen).await.unwrap();

    let mut wanted = leaves(&["ns.b", "ns.c"]);
    wanted[0].open = true;
    again.swap_leaves(&fx, &wanted, &seen).await.unwrap();
    assert_eq!(held(&again, "fx"), ["ns.b", "ns.c"]);
    for (text, expected) in [("ns.a", None), ("ns.b.any", Some("fx")), ("ns.c", Some("fx"))] {
        shown(&cache, text, expected).await;
    }
    plugin(&again, "gx", "alpha").await;
    again.claim_leaves(&name("gx"), &leaves(&["ns.d"]), &seen).await.unwrap();
    assert_eq!(again.swap_leaves(&fx, &leaves(&["ns.c", "ns.d"]), &seen).await.unwrap_err().code, Code::AlreadyExists);
    assert_eq!(held(&again, "fx"), ["ns.b", "ns.c"]);
    // What a plugin that is gone left behind is nobody's.
    again.mark_gone(&name("gx")).await.unwrap();
    again.swap_leaves(&fx, &leaves(&["ns.c", "ns.d"]), &seen).await.unwrap();
    shown(&cache, "ns.d", Some("fx")).await;
}

#[tokio::test]
async fn a_leaf_of_an_offline_plugin_is_kept_until_it_is_replaced() {
    let server = BusServer::start().await;
    let (_, alpha) = registry(&server, "alpha").await;
    let (_, beta) = registry(&server, "beta").await;
    let vera = server.user("vera", Role::Viewer).await;
    let cache = Cache::open(&vera, None, SOON).await.unwrap();
    plugin(&alpha, "fx", "alpha").await;
    plugin(&beta, "gx", "beta").await;
    alpha.claim_leaves(&name("fx"), &leaves(&["ns.a"]), &cache.snapshot()).await.unwrap();
    // Nobody ever heard of a lease of it: it is not known whether it lives.
    let gx = name("gx");
    let error = beta.replace_leaves(&gx, &leaves(&["ns.a"]), &cache.snapshot()).await.unwrap_err();
    assert_eq!(error.detail("state").unwrap(), "unknown", "{error}");
    let lease = keep(&server, "alpha");
    lease.ready(SOON).await.unwrap();
    lease.goodbye(SOON).await;
    until("alpha is offline", async || (cache.snapshot().sight("alpha").state == State::Offline).then_some(())).await;
    let error = beta.claim_leaves(&gx, &leaves(&["ns.a"]), &cache.snapshot()).await.unwrap_err();
    assert!(error.detail("state").unwrap() == "offline" && error.hint.unwrap().contains("--replace"));
    beta.replace_leaves(&gx, &leaves(&["ns.a"]), &cache.snapshot()).await.unwrap();
    shown(&cache, "ns.a", Some("gx")).await;
}
