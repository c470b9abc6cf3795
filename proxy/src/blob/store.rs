//! Putting blobs into the mesh: a node writes to the bucket, everyone else hands chunks to a node.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use bytes::Bytes;
use futures::{FutureExt, TryStreamExt, future::BoxFuture, stream::FuturesUnordered};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};

use super::{
    Blob, Content, Digest, Index, Life, MARKED, PASSING, Part, Reading, TAKEN, WITHIN, cutter::Cutter, digest::Hasher,
    index::Gathering, sweep::Mark, window::Window,
};
use crate::{
    bus::Bus,
    error::{Code, Error},
    kv::{self, Bucket, Expect, Operation},
    role::Role,
    rpc::{self, Asker, SHARED},
    services::{BLOBS, BlobsClient},
};

/// How much is held before it is sent on, in bytes.
const BATCH: usize = 4 * 1024 * 1024;
/// How often an index is tried again because a sweep began meanwhile.
const ROUNDS: usize = 5;
/// How long a node may take to read a kept blob before it stores its index.
const INDEX_WITHIN: Duration = Duration::from_secs(10 * 60);
/// How long a store that took no write may take to read.
const READ_WITHIN: Duration = Duration::from_secs(10);

/// What a put has done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stored {
    /// The blob.
    pub blob: Blob,
    /// How many chunks it has, with those that list the others.
    pub chunks: usize,
    /// How many chunks were sent, because the mesh lacked them.
    pub chunks_sent: usize,
    /// How many bytes those had.
    pub bytes_sent: u64,
}

/// The mesh's blobs, as one user reaches them. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Store {
    bus: Bus,
}

impl Store {
    /// The blobs of the mesh that this bus belongs to.
    #[must_use]
    pub fn new(bus: &Bus) -> Self {
        Self { bus: bus.clone() }
    }

    pub(super) fn bus(&self) -> &Bus {
        &self.bus
    }

    /// Stores content, holding a few MiB of it at a time, and returns once the mesh has all of it. What the mesh has
    /// already of a blob that is kept is not sent.
    ///
    /// # Errors
    ///
    /// The content cannot be read; the store is away, full, or does not permit it.
    pub async fn put(&self, life: Life, content: impl AsyncRead + Unpin) -> Result<Stored, Error> {
        self.put_cut(life, Cutter::new(content, life)).await
    }

    /// Stores what a call carries, as [`Store::put`] does.
    ///
    /// # Errors
    ///
    /// As [`Store::put`].
    pub(crate) async fn put_passing(&self, content: Vec<u8>) -> Result<Blob, Error> {
        let stored = self.put_cut(Life::Passing, Cutter::held(content, Life::Passing)).await?;
        Ok(stored.blob)
    }

    async fn put_cut<R: AsyncRead + Unpin>(&self, life: Life, mut cutter: Cutter<R>) -> Result<Stored, Error> {
        // Read before anything is asked: whatever a sweep does from here on shows by its mark.
        let mark = if life == Life::Kept { Some(Mark::read(&self.bus).await?) } else { None };
        let (mut whole, mut size, mut chunks) = (Hasher::new(), 0, 0);
        let mut gathering = Gathering::default();
        let mut sending = Sending {
            store: self,
            life,
            batch: HashMap::new(),
            held: 0,
            chunks: 0,
            bytes: 0,
            window: Window::default(),
            trusts: mark.is_some_and(|mark| !mark.running),
            under_way: FuturesUnordered::new(),
        };
        while let Some(chunk) = cutter.next().await? {
            whole.add(&chunk);
            size += chunk.len() as u64;
            let part = Part::of(&chunk);
            chunks += 1;
            if let Some(list) = gathering.add(part) {
                chunks += 1;
                sending.add(Part::of(&list), list).await?;
            }
            sending.add(part, chunk).await?;
            // Digests of much content take long, and others want the thread too.
            tokio::task::yield_now().await;
        }
        let Some((index, last)) = gathering.end(size) else {
            return Err(Error::new(Code::ResourceExhausted, format!("a blob of {size} bytes has too many chunks")));
        };
        if let Some(list) = last {
            chunks += 1;
            sending.add(Part::of(&list), list).await?;
        }
        sending.finish().await?;
        let (chunks_sent, bytes_sent) = (sending.chunks, sending.bytes);
        let blob = Blob { digest: whole.end(), size };
        self.put_index(life, &blob, index, mark).await?;
        Ok(Stored { blob, chunks, chunks_sent, bytes_sent })
    }

    /// The blob of that digest, if the mesh has it.
    ///
    /// # Errors
    ///
    /// `data_loss` for one that is damaged; `unavailable` if the store is away.
    pub async fn find(&self, life: Life, digest: &Digest) -> Result<Option<Blob>, Error> {
        Reading::find(self, life, digest).await
    }

    /// Begins to read a blob.
    ///
    /// # Errors
    ///
    /// `not_found` for one that the mesh does not have, `data_loss` for one that is damaged or of another size.
    pub async fn open(&self, life: Life, blob: &Blob) -> Result<Reading, Error> {
        Reading::open(self.clone(), life, *blob).await
    }

    /// Reads a whole blob into memory; its size is what the caller has agreed to.
    ///
    /// # Errors
    ///
    /// As [`Store::open`] and [`Reading::next`].
    pub async fn read(&self, life: Life, blob: &Blob) -> Result<Vec<u8>, Error> {
        gathered(self.open(life, blob).await?, blob).await
    }

    /// Reads a whole passing blob of which more is known than its digest: each chunk is checked, and the whole is left to
    /// the tag of what is sealed in it.
    ///
    /// # Errors
    ///
    /// As [`Store::read`].
    pub(crate) async fn read_sealed(&self, blob: &Blob) -> Result<Vec<u8>, Error> {
        gathered(self.open(Life::Passing, blob).await?.unhashed(), blob).await
    }

    /// Copies a blob, a few chunks at a time. What was written is to be thrown away unless this succeeds.
    ///
    /// # Errors
    ///
    /// As [`Store::read`]; `internal` if it cannot be written.
    pub async fn copy(&self, life: Life, blob: &Blob, mut out: impl AsyncWrite + Unpin) -> Result<(), Error> {
        let failed =
            |error: std::io::Error| Error::internal(format!("the content of {blob} cannot be written: {error}"));
        let mut reading = self.open(life, blob).await?;
        while let Some(chunk) = reading.next().await? {
            out.write_all(&chunk).await.map_err(failed)?;
        }
        out.flush().await.map_err(failed)
    }

    /// Stores one chunk, whether it is there or not.
    pub(super) async fn put_chunk(&self, life: Life, part: Part, chunk: Bytes) -> Result<(), Error> {
        if self.bus.role() != Role::Node {
            return self
                .hand(|node| async move { node.put_chunk(rpc::within(WITHIN), life, part.0, Content(chunk)).await })
                .await;
        }
        let (key, begun) = (life.chunk(&part.0), Instant::now());
        let written = match life {
            Life::Kept => kv::put(&self.bus, Bucket::Blobs, &key, chunk, Expect::Anything, TAKEN).await,
            Life::Passing => self.write_passing(&key, chunk, Expect::Anything).await,
        };
        match written {
            Ok(_) => Ok(()),
            Err(error) => Err(self.untaken(&key, begun, error).await),
        }
    }

    /// Stores the index of a blob whose chunks are stored. One that is kept takes the place of what is there; of a
    /// passing one there can be only one.
    ///
    /// `mark` is what the sweep's mark was before the chunks were looked for; without it, and wherever a sweep began
    /// since, the blob is read first, and must be whole.
    pub(super) async fn put_index(
        &self,
        life: Life,
        blob: &Blob,
        index: Index,
        mut mark: Option<Mark>,
    ) -> Result<(), Error> {
        let digest = blob.digest;
        if self.bus.role() != Role::Node {
            return self
                .hand(|node| async move { node.put_index(rpc::within(INDEX_WITHIN), life, digest, index).await })
                .await;
        }
        let (key, value) = (life.index(&digest), index.to_bytes());
        if life == Life::Passing {
            let begun = Instant::now();
            return match self.write_passing(&key, value, Expect::Revision(0)).await {
                Ok(_) => Ok(()),
                Err(error) => Err(self.untaken(&key, begun, error).await),
            };
        }
        for _ in 0..ROUNDS {
            let mark = match mark.take() {
                Some(mark) => mark,
                None => {
                    let mark = Mark::read(&self.bus).await?;
                    self.prove(blob, &index, mark.running).await?;
                    mark
                }
            };
            let begun = Instant::now();
            match kv::put(&self.bus, Bucket::Blobs, &key, value.clone(), mark.expect(), TAKEN).await {
                Ok(_) => return Ok(()),
                Err(kv::Error::WrongRevision { .. }) => {}
                Err(error) => return Err(self.untaken(&key, begun, error).await),
            }
        }
        Err(Error::unavailable(format!("sweeps of blobs came between each attempt to keep {blob}"))
            .hint("store it again"))
    }

    /// Reads a kept blob by an index that is not stored yet, and checks that it is what it is called. While a sweep is
    /// under way its chunks are stored anew, so that they stand.
    async fn prove(&self, blob: &Blob, index: &Index, renews: bool) -> Result<(), Error> {
        let mut reading = Reading::of(self.clone(), Life::Kept, *blob, index.clone())?.renewing(renews);
        while reading.next().await?.is_some() {}
        Ok(())
    }

    async fn write_passing(&self, key: &str, value: Bytes, expect: Expect<'_>) -> Result<u64, kv::Error> {
        kv::put_passing(&self.bus, Bucket::Blobs, key, value, expect, PASSING, TAKEN).await
    }

    /// What it is that nothing was written since `begun`: a store whose disk is full says nothing to writes, and reads all the same.
    async fn untaken(&self, key: &str, begun: Instant, error: kv::Error) -> Error {
        let silent = begun.elapsed();
        // A shorter silence is that of a connection, or of a server, that ended.
        let is_silent = matches!(error, kv::Error::Unavailable { sent: true, .. }) && silent > TAKEN / 2;
        if !is_silent || kv::get(&self.bus, Bucket::Blobs, key, READ_WITHIN).await.is_err() {
            return error.into();
        }
        let seconds = silent.as_secs();
        let message =
            format!("the store reads, and acknowledged no write for {seconds} s: its disk is full, or far too slow");
        Error::new(Code::ResourceExhausted, message)
            .hint("free some room on the disk of the bus, and try again")
            .sent(true)
    }

    /// Takes a chunk that proved damaged out of the store, so that the next upload sends it again. Whatever hinders
    /// that, the reader has its error.
    pub(super) async fn remove_damaged(&self, life: Life, part: Part) {
        let removed = if self.bus.role() == Role::Node {
            self.remove_if_damaged(life, part).await
        } else {
            self.hand(|node| async move { node.doubt(rpc::within(WITHIN), life, part).await }).await
        };
        if let Err(error) = removed {
            tracing::warn!(%error, chunk = %part.0, "a damaged chunk stays where it is");
        }
    }

    /// Looks at a chunk, and removes it if it is not what it is called.
    pub(super) async fn remove_if_damaged(&self, life: Life, part: Part) -> Result<(), Error> {
        let key = life.chunk(&part.0);
        let Some(entry) = kv::get(&self.bus, Bucket::Blobs, &key, WITHIN).await? else { return Ok(()) };
        if entry.operation == Operation::Put && Part::of(&entry.value).0 != part.0 {
            tracing::warn!(chunk = %part.0, "a damaged chunk was removed");
            // If another write came first, that one is not what was looked at.
            kv::erase(&self.bus, Bucket::Blobs, &key, entry.revision, MARKED, WITHIN).await?;
        }
        Ok(())
    }

    /// Asks whichever node takes it.
    async fn hand<F, Fut>(&self, ask: F) -> Result<(), Error>
    where
        F: FnOnce(BlobsClient<Asker<crate::services::BlobsRequest, crate::services::BlobsResponse>>) -> Fut,
        Fut: Future<Output = Result<Result<(), Error>, tarpc::client::RpcError>>,
    {
        let node = BlobsClient::from(Asker::new(&self.bus, SHARED, BLOBS));
        ask(node).await.map_err(|error| match rpc::error(&error) {
            // Where the own link is down, that is what it says.
            error
                if error.code == Code::Unavailable
                    && error.detail("sent") == Some(&false.into())
                    && self.bus.link().borrow().up =>
            {
                Error::unavailable("no node is on the bus that takes chunks of blobs")
                    .hint("see: aish nodes")
                    .sent(false)
            }
            error => error,
        })?
    }
}

async fn gathered(mut reading: Reading, blob: &Blob) -> Result<Vec<u8>, Error> {
    // Index and reference may agree on a size that nothing will fill.
    let mut content = Vec::with_capacity(usize::try_from(blob.size).unwrap_or(BATCH).min(BATCH));
    while let Some(chunk) = reading.next().await? {
        content.extend_from_slice(&chunk);
    }
    Ok(content)
}

/// Chunks on their way to the store. What the mesh has already is asked for a batch at a time; chunks of the next batch are
/// made while those of the last one are under way.
struct Sending<'a> {
    store: &'a Store,
    life: Life,
    batch: HashMap<Part, Bytes>,
    held: usize,
    chunks: usize,
    bytes: u64,
    window: Window,
    /// Whether a chunk that is there stays there: not while a sweep is under way.
    trusts: bool,
    under_way: FuturesUnordered<BoxFuture<'a, Result<Duration, Error>>>,
}

impl Sending<'_> {
    async fn add(&mut self, part: Part, chunk: Bytes) -> Result<(), Error> {
        if !self.trusts {
            // Each is stored anew, so there is nothing to ask.
            return self.send(part, chunk).await;
        }
        self.held += chunk.len();
        if self.batch.insert(part, chunk).is_some() {
            self.held -= part.size();
        }
        if self.held >= BATCH { self.send_batch().await } else { Ok(()) }
    }

    /// Sends what is still here, and waits until all has arrived.
    async fn finish(&mut self) -> Result<(), Error> {
        self.send_batch().await?;
        self.settle().await
    }

    /// Waits until all that is under way has arrived.
    async fn settle(&mut self) -> Result<(), Error> {
        while let Some(took) = self.under_way.try_next().await? {
            self.window.heard(took);
        }
        Ok(())
    }

    /// Sends what the mesh lacks of the batch.
    async fn send_batch(&mut self) -> Result<(), Error> {
        let mut batch = std::mem::take(&mut self.batch);
        self.held = 0;
        if batch.is_empty() {
            return Ok(());
        }
        // What is on its way would be taken to be lacking.
        self.settle().await?;
        let keys: Vec<String> = batch.keys().map(|part| self.life.chunk(&part.0)).collect();
        let there = kv::sizes(&self.store.bus, Bucket::Blobs, &keys, WITHIN).await?;
        // One of another size is damaged, and is put right.
        batch.retain(|part, _| there.get(&self.life.chunk(&part.0)) != Some(&part.size()));
        for (part, chunk) in batch {
            self.send(part, chunk).await?;
        }
        Ok(())
    }

    /// Sends a chunk as soon as it may be under way beside the others.
    async fn send(&mut self, part: Part, chunk: Bytes) -> Result<(), Error> {
        while !self.window.has_room(self.under_way.len())
            && let Some(took) = self.under_way.try_next().await?
        {
            self.window.heard(took);
        }
        self.chunks += 1;
        self.bytes += u64::from(part.1);
        let (life, store, begun) = (self.life, self.store, Instant::now());
        let storing = async move { store.put_chunk(life, part, chunk).await.map(|()| begun.elapsed()) };
        self.under_way.push(storing.boxed());
        // It leaves now, not when the next one is waited for.
        while let Some(Some(took)) = self.under_way.try_next().now_or_never().transpose()? {
            self.window.heard(took);
        }
        Ok(())
    }
}
