//! What only the issuer writes: it counts under the issuer's name alone, and each change is one of its own.

use std::{collections::BTreeMap, time::Duration};

use aigis_proxy::{
    Code, Error, Role, UserName,
    blob::{Blob, Digest},
    kv::{self, Bucket},
    secret::SecretName,
};
use aigis_registry::{
    Cache, Kind, Registry, Snapshot, State, Timestamp,
    record::{NodeRecord, RemovalRecord, SecretRecord, TokenRecord},
};

use crate::{
    bus_server::{BusServer, until},
    records::{container, node, registry},
};

const SOON: Duration = Duration::from_secs(60);

fn user(name: &str) -> UserName {
    UserName::parse(name).unwrap()
}

fn token(uses: u32) -> TokenRecord {
    let now = Timestamp::now();
    TokenRecord {
        id: user("t1"),
        role: Role::Node,
        name: None,
        made_by: user("adam"),
        made_at: now,
        expires_at: Timestamp::from(now.time() + time::Duration::HOUR),
        uses,
        used: 0,
        revoked_at: None,
    }
}

async fn take(registry: &Registry) -> Result<TokenRecord, Error> {
    let used = |record: Option<&TokenRecord>| {
        let record = record.ok_or_else(|| Error::internal("there is no such token"))?;
        match record.spent(Timestamp::now()) {
            Some(why) => Err(Error::new(Code::PermissionDenied, why)),
            None => Ok(TokenRecord { used: record.used + 1, ..record.clone() }),
        }
    };
    registry.change_token(&user("t1"), used).await
}

#[tokio::test]
async fn a_token_gives_as_often_as_it_says_however_many_use_it_at_once() {
    let server = BusServer::start().await;
    let (bus, alpha) = registry(&server, "alpha").await;
    // A second hand of the same node, as after a restart: what it remembers is nobody's business.
    let again = Registry::new(bus, node("alpha"));
    alpha.change_token(&user("t1"), |_| Ok(token(3))).await.unwrap();
    let (a, b, c, d, e) = tokio::join!(take(&alpha), take(&again), take(&alpha), take(&again), take(&alpha));
    let (good, bad): (Vec<_>, Vec<_>) = [a, b, c, d, e].into_iter().partition(Result::is_ok);
    assert_eq!((good.len(), bad.len()), (3, 2), "{bad:?}");
    assert!(bad.into_iter().all(|refused| refused.unwrap_err().message == "used up"));
}

#[tokio::test]
async fn only_the_issuers_word_counts() {
    let server = BusServer::start().await;
    let (_, alpha) = registry(&server, "alpha").await;
    let (_, mallory) = registry(&server, "mallory").await;
    let vera = server.user("vera", Role::Viewer).await;
    let cache = Cache::open(&vera, Some(node("alpha")), SOON).await.unwrap();
    mallory.change_token(&user("t1"), |_| Ok(token(1000))).await.unwrap();
    let removal = RemovalRecord { node: node("alpha"), by: user("mallory"), at: Timestamp::now() };
    mallory.remove_node(removal).await.unwrap();
    alpha.change_token(&user("t1"), |_| Ok(token(1))).await.unwrap();
    let seen = until("the token is seen", async || cache.snapshot().tokens().next().cloned()).await;
    assert_eq!(seen.uses, 1);
    assert!(cache.snapshot().removal(&node("alpha")).is_none());
}

#[tokio::test]
async fn flt_02_what_a_removed_node_wrote_is_gone_until_it_joins_again() {
    let server = BusServer::start().await;
    let (_, alpha) = registry(&server, "alpha").await;
    let (_, beta) = registry(&server, "beta").await;
    let vera = server.user("vera", Role::Viewer).await;
    let now = Timestamp::now();
    let record = NodeRecord {
        name: node("beta"),
        id: "U".to_owned(),
        version: "0".to_owned(),
        labels: Default::default(),
        cordoned: false,
        draining: false,
        engine: None,
        engine_since_at: None,
        capacity: Default::default(),
        sealing: None,
        gateway: None,
        started_at: now,
        updated_at: now,
    };
    beta.put_node(record).await.unwrap();
    beta.put_ci(container("web", "beta")).await.unwrap();
    let solo = aigis_registry::CiRecord::new("solo".parse().unwrap(), node("beta"), Kind::Wrapped);
    beta.claim(solo.clone(), &Snapshot::default()).await.unwrap();

    let cache = Cache::open(&vera, Some(node("alpha")), SOON).await.unwrap();
    let ours = aigis_registry::CiRecord { node: node("alpha"), server: node("alpha").user(), ..solo };
    let held = alpha.claim(ours.clone(), &cache.snapshot()).await.unwrap_err();
    assert_eq!(held.code, Code::AlreadyExists);
    let removal = RemovalRecord { node: node("beta"), by: user("adam"), at: Timestamp::now() };
    alpha.remove_node(removal).await.unwrap();
    let web = || cache.snapshot().ci(&"web".parse().unwrap(), &node("beta")).cloned();
    until("it is gone", async || web().filter(|web| web.is_gone())).await;
    assert!(cache.snapshot().node(&node("beta")).is_none());
    assert_eq!(cache.snapshot().state(&web().unwrap()), State::Gone);
    alpha.claim(ours, &cache.snapshot()).await.unwrap();
    // Whoever comes later sees the same.
    let cold = Cache::open(&vera, Some(node("alpha")), SOON).await.unwrap();
    assert!(cold.snapshot().node(&node("beta")).is_none());
    assert!(cold.snapshot().ci(&"web".parse().unwrap(), &node("beta")).unwrap().is_gone());

    assert!(alpha.readmit_node(&node("beta")).await.unwrap());
    assert!(!alpha.readmit_node(&node("beta")).await.unwrap());
    until("it is back", async || web().filter(|web| !web.is_gone())).await;
    assert!(cache.snapshot().node(&node("beta")).is_some());
    // But for a name that another holds by now.
    let snapshot = cache.snapshot();
    let former = snapshot.ci(&"solo".parse().unwrap(), &node("beta")).unwrap();
    assert_eq!(snapshot.successor(former).map(|by| by.node.clone()), Some(node("alpha")));
}

#[tokio::test]
async fn a_removed_secret_leaves_no_version_behind() {
    let server = BusServer::start().await;
    let (bus, alpha) = registry(&server, "alpha").await;
    let name = SecretName::parse("db").unwrap();
    let secret = |_: Option<&SecretRecord>| {
        Ok(SecretRecord {
            name: name.clone(),
            version: 1,
            set_by: user("adam"),
            set_at: Timestamp::now(),
            selectors: Vec::new(),
            content: Blob { digest: Digest::of(b""), size: 0 },
            copies: BTreeMap::new(),
        })
    };
    alpha.change_secret(&name, secret).await.unwrap();
    let written = kv::get(&bus, Bucket::Records, "secret.db.alpha", SOON).await.unwrap().unwrap().revision;
    let status = async || {
        let body = format!("{{\"seq\":{written}}}");
        let found = bus.request("$JS.API.DIRECT.GET.KV_records".to_owned(), None, body.into(), SOON).await.unwrap();
        found.status.map(|status| status.as_u16())
    };
    assert_eq!(status().await, None, "it is there");
    assert!(alpha.remove_secret(&name).await.unwrap());
    assert_eq!(status().await, Some(404));
    assert!(!alpha.remove_secret(&name).await.unwrap());
}
