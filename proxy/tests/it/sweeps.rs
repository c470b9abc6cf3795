//! The sweep of kept blobs on a real bus: what goes, what stays, and what an upload meets that races with it.

use std::{collections::HashSet, sync::Arc, time::Duration};

use aigis_proxy::{
    Bus, Code, Error, Role,
    blob::{self, Blob, Digest, Index, Life, Pace, Part, Store, Sweeper, Swept},
    dispatch::NoJournal,
    kv::{self, Bucket, Expect, Operation},
};

use crate::{blobs::noise, bus_server::BusServer};

const WITHIN: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);
/// Nothing is spared for being young.
const AT_ONCE: Pace = Pace { grace: Duration::ZERO, rest: Duration::ZERO, limit: HOUR };

async fn mesh() -> (BusServer, Bus, Store) {
    let server = BusServer::start().await;
    server.create_store().await;
    let node = server.bus("alpha", Role::Node).await;
    let store = Store::new(&node);
    (server, node, store)
}

async fn sweep(bus: &Bus, pace: Pace, named: &[Digest]) -> Option<Swept> {
    let named: HashSet<Digest> = named.iter().copied().collect();
    Sweeper::new(bus, pace).sweep(|| async { Ok(named) }).await.unwrap()
}

async fn is_there(store: &Store, blob: &Blob) -> bool {
    match store.read(Life::Kept, blob).await {
        Ok(_) => true,
        Err(error) => {
            assert_eq!(error.code, Code::NotFound, "{error}");
            false
        }
    }
}

async fn index(bus: &Bus, blob: &Blob) -> Index {
    let key = format!("kept.index.{}", blob.digest.hex());
    let entry = kv::get(bus, Bucket::Blobs, &key, WITHIN).await.unwrap().unwrap();
    serde_json::from_slice(&entry.value).unwrap()
}

async fn chunk_is_there(bus: &Bus, digest: &Digest) -> bool {
    let key = format!("kept.chunk.{}", digest.hex());
    let entry = kv::get(bus, Bucket::Blobs, &key, WITHIN).await.unwrap();
    entry.is_some_and(|entry| entry.operation == Operation::Put)
}

#[tokio::test]
async fn what_nothing_names_goes_after_its_grace() {
    let (_server, node, store) = mesh().await;
    let named = store.put(Life::Kept, &noise(600_000)[..]).await.unwrap().blob;
    let mut other = noise(600_000);
    other.truncate(500_000);
    other.extend_from_slice(&[7; 100_000]);
    let dead = store.put(Life::Kept, &other[..]).await.unwrap();
    let passing = store.put(Life::Passing, &noise(300_000)[..]).await.unwrap().blob;
    let (kept, gone) = (index(&node, &named).await.parts, index(&node, &dead.blob).await.parts);
    let (shared, own): (Vec<_>, Vec<_>) = gone.into_iter().partition(|part| kept.contains(part));
    assert!(!shared.is_empty() && own.len() == dead.chunks_sent);
    assert_eq!(sweep(&node, Pace { grace: HOUR, ..AT_ONCE }, &[named.digest]).await, Some(Swept::default()));
    assert!(is_there(&store, &dead.blob).await);
    // Nobody sweeps twice in a row.
    assert_eq!(sweep(&node, Pace { rest: HOUR, ..AT_ONCE }, &[]).await, None);
    let swept = sweep(&node, AT_ONCE, &[named.digest]).await.unwrap();
    assert_eq!((swept.blobs, swept.chunks, swept.bytes), (1, own.len(), dead.bytes_sent));
    assert!(is_there(&store, &named).await && !is_there(&store, &dead.blob).await);
    for part in &own {
        assert!(!chunk_is_there(&node, &part.0).await);
    }
    for part in &shared {
        assert!(chunk_is_there(&node, &part.0).await);
    }
    assert_eq!(store.read(Life::Passing, &passing).await.unwrap(), noise(300_000));
    // What was swept is sent again, and only that.
    let again = store.put(Life::Kept, &other[..]).await.unwrap();
    assert_eq!(again.chunks_sent, own.len());
    assert!(is_there(&store, &dead.blob).await);
}

#[tokio::test]
async fn a_blob_of_many_chunks_keeps_its_lists_and_what_they_name() {
    let (_server, node, store) = mesh().await;
    let chunk = noise(1_000);
    let list = serde_json::to_vec(&vec![Part::of(&chunk); 1_500]).unwrap();
    let content = chunk.repeat(3_000);
    let blob = Blob { digest: Digest::of(&content), size: 3_000_000 };
    let index = Index { size: blob.size, lists: true, parts: vec![Part::of(&list); 2] };
    for (kind, digest, bytes) in [
        ("chunk", Digest::of(&chunk), chunk.clone()),
        ("chunk", Digest::of(&list), list.clone()),
        ("index", blob.digest, serde_json::to_vec(&index).unwrap()),
    ] {
        let key = format!("kept.{kind}.{}", digest.hex());
        kv::put(&node, Bucket::Blobs, &key, bytes.into(), Expect::Anything, WITHIN).await.unwrap();
    }
    assert_eq!(sweep(&node, AT_ONCE, &[blob.digest]).await, Some(Swept::default()));
    assert!(is_there(&store, &blob).await);
    let swept = sweep(&node, AT_ONCE, &[]).await.unwrap();
    assert_eq!((swept.blobs, swept.chunks, swept.bytes), (1, 2, 1_000 + list.len() as u64));
    assert!(!is_there(&store, &blob).await);
}

#[tokio::test]
async fn atk_55_a_chunk_of_another_size_is_not_kept_alive() {
    let (_server, node, store) = mesh().await;
    let content = noise(600_000);
    let blob = store.put(Life::Kept, &content[..]).await.unwrap().blob;
    let parts = index(&node, &blob).await.parts;
    let key = format!("kept.chunk.{}", parts[1].0.hex());
    kv::put(&node, Bucket::Blobs, &key, "half".into(), Expect::Anything, WITHIN).await.unwrap();
    let swept = sweep(&node, Pace { grace: HOUR, ..AT_ONCE }, &[blob.digest]).await.unwrap();
    assert_eq!((swept.blobs, swept.chunks, swept.bytes), (0, 1, 4));
    assert_eq!(store.read(Life::Kept, &blob).await.unwrap_err().code, Code::DataLoss);
    assert_eq!(store.put(Life::Kept, &content[..]).await.unwrap().chunks_sent, 1);
    assert!(is_there(&store, &blob).await);
}

#[tokio::test]
async fn an_upload_that_a_sweep_overtakes_keeps_its_chunks() {
    let (server, node, store) = mesh().await;
    let _keeper = blob::serve(&node, Arc::new(NoJournal)).await.unwrap();
    let olga = Store::new(&server.bus("olga", Role::Operator).await);
    let content = noise(600_000);
    let blob = store.put(Life::Kept, &content[..]).await.unwrap().blob;
    for uploader in [&store, &olga] {
        // The sweep has begun, and has not looked yet, when the same content is stored again.
        let mut sweeper = Sweeper::new(&node, AT_ONCE);
        let mut stored = None;
        let swept = sweeper.sweep(|| async {
            stored = Some(uploader.put(Life::Kept, &content[..]).await?);
            Ok(HashSet::from([blob.digest]))
        });
        swept.await.unwrap().unwrap();
        // While a sweep is under way nothing counts as there.
        assert_eq!(stored.unwrap().bytes_sent, 600_000);
        assert!(is_there(&store, &blob).await);
    }
}

/// Content that runs a sweep of everything once a part of it was read.
struct Racing<'a> {
    content: &'a [u8],
    ask: Option<tokio::sync::oneshot::Sender<()>>,
    go: tokio::sync::oneshot::Receiver<()>,
}

impl tokio::io::AsyncRead for Racing<'_> {
    fn poll_read(
        mut self: std::pin::Pin<&mut Self>,
        context: &mut std::task::Context<'_>,
        into: &mut tokio::io::ReadBuf<'_>,
    ) -> std::task::Poll<std::io::Result<()>> {
        // The last bytes come once the sweep is over: what was asked for before has been swept since.
        if self.content.len() < 300_000
            && let Some(ask) = self.ask.take()
        {
            ask.send(()).unwrap();
        }
        if self.ask.is_none() && !self.go.is_terminated() {
            std::task::ready!(std::future::Future::poll(std::pin::Pin::new(&mut self.go), context)).unwrap();
        }
        let count = into.remaining().min(self.content.len()).min(65_536);
        into.put_slice(&self.content[..count]);
        self.content = &self.content[count..];
        std::task::Poll::Ready(Ok(()))
    }
}

#[tokio::test]
async fn an_upload_whose_chunks_were_swept_is_told_to_send_them_again() {
    let (server, node, store) = mesh().await;
    let _keeper = blob::serve(&node, Arc::new(NoJournal)).await.unwrap();
    let olga = Store::new(&server.bus("olga", Role::Operator).await);
    let content = noise(6_000_000);
    for uploader in [&store, &olga] {
        store.put(Life::Kept, &content[..]).await.unwrap();
        let (ask, asked) = tokio::sync::oneshot::channel();
        let (let_go, go) = tokio::sync::oneshot::channel();
        let racing = Racing { content: &content, ask: Some(ask), go };
        let sweeping = async {
            asked.await.unwrap();
            assert_eq!(sweep(&node, AT_ONCE, &[]).await.unwrap().blobs, 1);
            let_go.send(()).unwrap();
        };
        let (stored, ()) = tokio::join!(uploader.put(Life::Kept, racing), sweeping);
        let error = stored.unwrap_err();
        assert!(error.code == Code::DataLoss && error.hint.as_deref() == Some("store it again"), "{error:?}");
        let blob = store.put(Life::Kept, &content[..]).await.unwrap().blob;
        assert!(is_there(&store, &blob).await);
    }
}

#[tokio::test]
async fn a_full_bucket_says_so_and_takes_again_what_fits() {
    let (server, node, store) = mesh().await;
    server.limit_blobs(1_500_000).await;
    let kept = store.put(Life::Kept, &noise(1_000_000)[..]).await.unwrap().blob;
    let error = store.put(Life::Passing, &noise(900_000)[..]).await.unwrap_err();
    assert!(error.code == Code::ResourceExhausted && error.message.contains("full"), "{error}");
    assert!(is_there(&store, &kept).await);
    // The limit is the bucket's own: everything else goes on.
    kv::put(&node, Bucket::Records, "node.alpha", "x".into(), Expect::Anything, WITHIN).await.unwrap();
    assert_eq!(sweep(&node, AT_ONCE, &[]).await.unwrap().blobs, 1);
    store.put(Life::Passing, &noise(900_000)[..]).await.unwrap();
}

#[tokio::test]
async fn two_nodes_do_not_sweep_at_once_and_a_killed_sweep_is_taken_over() {
    let (server, alpha, store) = mesh().await;
    let beta = server.bus("beta", Role::Node).await;
    let dead = store.put(Life::Kept, &noise(200_000)[..]).await.unwrap().blob;
    let pace = Pace { limit: Duration::from_millis(100), ..AT_ONCE };
    let mut other = Sweeper::new(&beta, pace);
    // The sweep is dropped half-way, as if its process had been killed.
    let (begun, hears) = tokio::sync::oneshot::channel();
    let mut killed = Sweeper::new(&alpha, pace);
    let half = killed.sweep(|| async {
        begun.send(()).unwrap();
        std::future::pending::<Result<HashSet<Digest>, Error>>().await
    });
    tokio::select! {
        _ = half => panic!("it has no end"),
        heard = hears => heard.unwrap(),
    }
    assert_eq!(other.sweep(|| async { Ok(HashSet::new()) }).await.unwrap(), None);
    assert!(is_there(&store, &dead).await);
    let fresh = store.put(Life::Kept, &noise(300_000)[..]).await.unwrap().blob;
    assert!(is_there(&store, &fresh).await, "a killed sweep holds up no upload");
    let end = std::time::Instant::now() + WITHIN;
    let swept = loop {
        match other.sweep(|| async { Ok(HashSet::from([fresh.digest])) }).await.unwrap() {
            Some(swept) => break swept,
            None => assert!(std::time::Instant::now() < end, "nobody takes over"),
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    assert_eq!(swept.blobs, 1);
    assert!(is_there(&store, &fresh).await && !is_there(&store, &dead).await);
}

#[tokio::test]
async fn what_cannot_be_asked_for_sweeps_nothing() {
    let (_server, node, store) = mesh().await;
    let blob = store.put(Life::Kept, &noise(200_000)[..]).await.unwrap().blob;
    let mut sweeper = Sweeper::new(&node, AT_ONCE);
    let failed = sweeper.sweep(|| async { Err(Error::unavailable("no records")) }).await;
    assert_eq!(failed.unwrap_err().message, "no records");
    assert!(is_there(&store, &blob).await);
    assert_eq!(sweep(&node, AT_ONCE, &[]).await.unwrap().blobs, 1);
}

#[tokio::test]
async fn flt_14_a_store_that_was_promised_more_than_there_is_left_opens_as_it_is() {
    let mut server = BusServer::start().await;
    server.create_store().await;
    server.limit_blobs(server.options.max_file_store / 3).await;
    server.stop();
    server.options.max_file_store /= 2;
    server.run_again().await;
    server.create_store().await;
}
