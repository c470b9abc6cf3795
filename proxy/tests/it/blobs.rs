//! The blob store on a real bus: what is sent, what is believed, and who may put what there.

use std::{sync::Arc, time::Duration};

use aigis_proxy::{
    Bus, Code, Role,
    blob::{self, Blob, Content, Digest, Index, Life, Part, Store},
    dispatch::NoJournal,
    kv::{self, Bucket, Expect},
    rpc::{self, Asker, SHARED},
    services::{BLOBS, BlobsClient},
    task,
};
use bytes::Bytes;

use crate::bus_server::BusServer;

const WITHIN: Duration = Duration::from_secs(60);

/// Bytes without a pattern, the same at each run.
pub(crate) fn noise(length: usize) -> Vec<u8> {
    let mut state = 0x9E37_79B9_7F4A_7C15_u64;
    let mut step = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    };
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        bytes.extend_from_slice(&step());
    }
    bytes.truncate(length);
    bytes
}

struct Mesh {
    server: BusServer,
    node: Bus,
    _keeper: task::Owned,
}

async fn mesh() -> Mesh {
    let server = BusServer::start().await;
    server.create_store().await;
    let node = server.bus("alpha", Role::Node).await;
    let keeper = blob::serve(&node, Arc::new(NoJournal)).await.unwrap();
    Mesh { server, node, _keeper: keeper }
}

impl Mesh {
    /// Writes what no upload would write.
    async fn write(&self, key: &str, value: impl Into<Bytes>) {
        kv::put(&self.node, Bucket::Blobs, key, value.into(), Expect::Anything, WITHIN).await.unwrap();
    }

    async fn index(&self, blob: &Blob) -> Index {
        let key = format!("kept.index.{}", blob.digest.hex());
        let entry = kv::get(&self.node, Bucket::Blobs, &key, WITHIN).await.unwrap().unwrap();
        serde_json::from_slice(&entry.value).unwrap()
    }
}

#[tokio::test]
async fn an_upload_sends_only_what_the_mesh_lacks() {
    let mesh = mesh().await;
    let content = noise(5_000_000);
    let node = Store::new(&mesh.node);
    let first = node.put(Life::Kept, &content[..]).await.unwrap();
    assert_eq!(first.blob, Blob { digest: Digest::of(&content), size: 5_000_000 });
    assert_eq!(first.bytes_sent, 5_000_000);
    // The first byte of a pack of calls is no mark in what the store holds.
    let marked = node.put(Life::Kept, &b"\x01v"[..]).await.unwrap();
    assert_eq!(node.read(Life::Kept, &marked.blob).await.unwrap(), b"\x01v");
    let olga = Store::new(&mesh.server.bus("olga", Role::Operator).await);
    let second = olga.put(Life::Kept, &content[..]).await.unwrap();
    assert_eq!((second.blob, second.chunks_sent, second.bytes_sent), (first.blob, 0, 0));
    let mut changed = content.clone();
    changed.insert(2_500_000, 7);
    let third = olga.put(Life::Kept, &changed[..]).await.unwrap();
    assert!((1..=4).contains(&third.chunks_sent), "{third:?} after {first:?}");
    assert_eq!(olga.read(Life::Kept, &first.blob).await.unwrap(), content);
    let mut copied = Vec::new();
    let vera = Store::new(&mesh.server.bus("vera", Role::Viewer).await);
    vera.copy(Life::Kept, &third.blob, &mut copied).await.unwrap();
    assert!(copied == changed);
    let empty = olga.put(Life::Kept, &b""[..]).await.unwrap();
    assert_eq!((empty.blob.size, empty.chunks_sent), (0, 0));
    assert_eq!(vera.read(Life::Kept, &empty.blob).await.unwrap(), b"");
}

#[tokio::test]
async fn a_viewer_passes_blobs_on_and_keeps_none() {
    let mesh = mesh().await;
    let vera = Store::new(&mesh.server.bus("vera", Role::Viewer).await);
    let refused = vera.put(Life::Kept, &b"content"[..]).await.unwrap_err();
    assert_eq!(refused.code, Code::PermissionDenied);
    let content = noise(600_000);
    let passing = vera.put(Life::Passing, &content[..]).await.unwrap();
    assert_eq!(passing.bytes_sent, 600_000);
    assert_eq!(vera.read(Life::Passing, &passing.blob).await.unwrap(), content);
    assert_eq!(vera.read(Life::Kept, &passing.blob).await.unwrap_err().code, Code::NotFound);
    let asked = serde_json::json!({"last_by_subj": format!("$KV.blobs.passing.index.{}", passing.blob.digest.hex())});
    let subject = "$JS.API.DIRECT.GET.KV_blobs".to_owned();
    let found = mesh.node.request(subject, None, asked.to_string().into(), WITHIN).await.unwrap();
    assert_eq!(found.headers.unwrap().get("Nats-TTL").unwrap().as_str(), "600s");
}

#[tokio::test]
async fn atk_55_a_flipped_chunk_is_data_loss_until_the_next_upload() {
    let mesh = mesh().await;
    let content = noise(1_000_000);
    let vera = Store::new(&mesh.server.bus("vera", Role::Viewer).await);
    let olga = Store::new(&mesh.server.bus("olga", Role::Operator).await);
    let blob = olga.put(Life::Kept, &content[..]).await.unwrap().blob;
    let parts = mesh.index(&blob).await.parts;
    let (Part(digest, size), key) = (parts[3], format!("kept.chunk.{}", parts[3].0.hex()));
    let mut flipped = kv::get(&mesh.node, Bucket::Blobs, &key, WITHIN).await.unwrap().unwrap().value.to_vec();
    flipped[17] ^= 1;
    mesh.write(&key, flipped).await;
    let error = vera.read(Life::Kept, &blob).await.unwrap_err();
    assert!(error.code == Code::DataLoss && error.message.contains(&digest.to_string()), "{error}");
    let healed = olga.put(Life::Kept, &content[..]).await.unwrap();
    assert_eq!((healed.chunks_sent, healed.bytes_sent), (1, size.into()));
    assert_eq!(vera.read(Life::Kept, &blob).await.unwrap(), content);
    // Half a chunk is seen by its size, before anyone has read it.
    mesh.write(&key, &b"half"[..]).await;
    assert_eq!(olga.put(Life::Kept, &content[..]).await.unwrap().chunks_sent, 1);
    assert_eq!(vera.read(Life::Kept, &blob).await.unwrap(), content);
}

#[tokio::test]
async fn bad_14_blobs_that_lead_nowhere_or_elsewhere() {
    let mesh = mesh().await;
    let node = Store::new(&mesh.node);
    let content = noise(400_000);
    let blob = node.put(Life::Kept, &content[..]).await.unwrap().blob;
    let other = node.put(Life::Kept, &noise(300_000)[..]).await.unwrap().blob;
    let unknown = Blob { digest: Digest::of(b"unknown"), size: 7 };
    assert_eq!(node.read(Life::Kept, &unknown).await.unwrap_err().code, Code::NotFound);
    for size in [0, 399_999, 400_001, u64::MAX] {
        let wrong = Blob { size, ..blob };
        assert_eq!(node.read(Life::Kept, &wrong).await.unwrap_err().code, Code::DataLoss);
    }
    let (good, foreign) = (mesh.index(&blob).await, mesh.index(&other).await);
    let key = format!("kept.index.{}", blob.digest.hex());
    let bomb = Index { size: u64::MAX, lists: true, parts: vec![good.parts[0]; 2_000] };
    let missing = Index { parts: vec![Part(Digest::of(b"missing"), 100_000); 4], ..good.clone() };
    for index in [foreign, bomb, missing] {
        mesh.write(&key, serde_json::to_vec(&index).unwrap()).await;
        let claimed = Blob { size: index.size, ..blob };
        assert_eq!(node.read(Life::Kept, &claimed).await.unwrap_err().code, Code::DataLoss, "{index:?}");
    }
    mesh.write(&key, &b"{}"[..]).await;
    assert_eq!(node.read(Life::Kept, &blob).await.unwrap_err().code, Code::DataLoss);
    assert_eq!(node.put(Life::Kept, &content[..]).await.unwrap().chunks_sent, 0);
    assert_eq!(node.read(Life::Kept, &blob).await.unwrap(), content);
}

#[tokio::test]
async fn atk_55_a_node_believes_nobody_who_hands_it_chunks() {
    let mesh = mesh().await;
    let content = noise(400_000);
    let bus = mesh.server.bus("olga", Role::Operator).await;
    let olga = Store::new(&bus);
    let blob = olga.put(Life::Kept, &content[..]).await.unwrap().blob;
    let other = olga.put(Life::Kept, &noise(300_000)[..]).await.unwrap().blob;
    let client = || BlobsClient::from(Asker::new(&bus, SHARED, BLOBS));
    let now = tarpc::context::current;
    let chunk = Content(Bytes::from_static(b"other bytes"));
    let refused = client().put_chunk(now(), Life::Kept, blob.digest, chunk).await;
    assert_eq!(refused.map_err(|error| rpc::error(&error)).unwrap().unwrap_err().code, Code::InvalidArgument);
    let foreign = mesh.index(&other).await;
    let refused = client().put_index(now(), Life::Kept, blob.digest, foreign).await;
    assert_eq!(refused.map_err(|error| rpc::error(&error)).unwrap().unwrap_err().code, Code::DataLoss);
    let part = mesh.index(&blob).await.parts[0];
    client().doubt(now(), Life::Kept, part).await.unwrap().unwrap();
    assert_eq!(olga.read(Life::Kept, &blob).await.unwrap(), content);
    let passing = olga.put(Life::Passing, &content[..]).await.unwrap().blob;
    let index = Index { size: 0, lists: false, parts: Vec::new() };
    client().put_index(now(), Life::Passing, passing.digest, index).await.unwrap().unwrap_err();
    assert_eq!(olga.read(Life::Passing, &passing).await.unwrap(), content);
}

#[tokio::test]
async fn a_blob_of_many_chunks_is_read_by_its_lists() {
    let mesh = mesh().await;
    let chunk = noise(1_000);
    let list = serde_json::to_vec(&vec![Part::of(&chunk); 1_500]).unwrap();
    for bytes in [&chunk, &list] {
        mesh.write(&format!("kept.chunk.{}", Digest::of(bytes).hex()), bytes.clone()).await;
    }
    let content = chunk.repeat(3_000);
    let blob = Blob { digest: Digest::of(&content), size: 3_000_000 };
    let index = Index { size: blob.size, lists: true, parts: vec![Part::of(&list); 2] };
    mesh.write(&format!("kept.index.{}", blob.digest.hex()), serde_json::to_vec(&index).unwrap()).await;
    assert_eq!(Store::new(&mesh.node).read(Life::Kept, &blob).await.unwrap(), content);
}
