//! Which blobs stay, on a real bus.

use std::time::Duration;

use aigis_proxy::{
    Code, Role,
    blob::{Life, Pace, Store, Sweeper},
    kv::{self, Bucket, Expect},
};
use aigis_registry::blobs::named;

use crate::bus_server::BusServer;

const WITHIN: Duration = Duration::from_secs(60);

#[tokio::test]
async fn what_any_record_names_stays() {
    let server = BusServer::start().await;
    server.create_store().await;
    let node = server.user("alpha", Role::Node).await;
    let store = Store::new(&node);
    let tree = store.put(Life::Kept, &b"a tree"[..]).await.unwrap().blob;
    let orphan = store.put(Life::Kept, &b"an orphan"[..]).await.unwrap().blob;
    // A kind of record that this version does not know.
    let record = format!(r#"{{"digest":"00","content":{{"steps":[{{"in":"{tree}"}}]}}}}"#);
    let key = "later.kind.alpha";
    kv::put(&node, Bucket::Records, key, record.into(), Expect::Anything, WITHIN).await.unwrap();
    let pace = Pace { grace: Duration::ZERO, rest: Duration::ZERO, ..Pace::USUAL };
    let mut sweeper = Sweeper::new(&node, pace);
    let swept = sweeper.sweep(|| named(&node)).await.unwrap().unwrap();
    assert_eq!((swept.blobs, swept.chunks), (1, 1));
    assert_eq!(store.read(Life::Kept, &orphan).await.unwrap_err().code, Code::NotFound);
    assert_eq!(store.read(Life::Kept, &tree).await.unwrap(), b"a tree");
    kv::delete(&node, Bucket::Records, key, Expect::Anything, WITHIN).await.unwrap();
    assert_eq!(sweeper.sweep(|| named(&node)).await.unwrap().unwrap().blobs, 1);
    assert_eq!(store.read(Life::Kept, &tree).await.unwrap_err().code, Code::NotFound);
}
