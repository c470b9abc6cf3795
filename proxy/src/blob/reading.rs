//! Reading a blob: some chunks ahead, each checked, and the whole checked at its end.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use bytes::Bytes;
use futures::{FutureExt, StreamExt, future::BoxFuture, stream::FuturesOrdered};

use super::{Blob, Digest, Index, Life, Part, Store, WITHIN, digest::Hasher, index, window::Window};
use crate::{
    error::{Code, Error},
    kv::{self, Bucket, Operation},
};

/// The milliseconds before something that is not there is looked for again: a replica may be a moment behind.
const AGAIN: [u64; 4] = [50, 100, 200, 400];

/// A blob that is being read.
pub struct Reading {
    store: Store,
    life: Life,
    blob: Blob,
    lists: VecDeque<Part>,
    parts: VecDeque<Part>,
    ahead: FuturesOrdered<BoxFuture<'static, Result<(Bytes, Duration), Error>>>,
    /// What was read so far; gone once the end was checked, and where the reader does that.
    whole: Option<Hasher>,
    left: u64,
    window: Window,
    /// Whether each chunk is stored anew as it is read, so that a sweep under way lets it stand.
    renews: bool,
}

impl std::fmt::Debug for Reading {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reading").field("blob", &self.blob).field("left", &self.left).finish_non_exhaustive()
    }
}

impl Reading {
    /// The blob of that digest, by its index.
    pub(super) async fn find(store: &Store, life: Life, digest: &Digest) -> Result<Option<Blob>, Error> {
        let Some(value) = value(store, &life.index(digest)).await? else { return Ok(None) };
        let index = Index::read(&value).map_err(|reason| {
            damaged(&Blob { digest: *digest, size: 0 }, &format!("its index is unusable: {reason}"))
        })?;
        Ok(Some(Blob { digest: *digest, size: index.size }))
    }

    pub(super) async fn open(store: Store, life: Life, blob: Blob) -> Result<Self, Error> {
        let Some(value) = value(&store, &life.index(&blob.digest)).await? else {
            return Err(Error::new(Code::NotFound, format!("the mesh has no {life} blob {blob}"))
                .hint("what a call carries is kept for 10 minutes; send it again"));
        };
        let index =
            Index::read(&value).map_err(|reason| damaged(&blob, &format!("its index is unusable: {reason}")))?;
        Self::of(store, life, blob, index)
    }

    /// Reads by that index.
    pub(super) fn of(store: Store, life: Life, blob: Blob, index: Index) -> Result<Self, Error> {
        if index.size != blob.size {
            return Err(damaged(&blob, &format!("it has {} bytes, not {}", index.size, blob.size)));
        }
        let parts = VecDeque::from(index.parts);
        let (lists, parts) = if index.lists { (parts, VecDeque::new()) } else { (VecDeque::new(), parts) };
        let left = blob.size;
        Ok(Self {
            store,
            life,
            blob,
            lists,
            parts,
            ahead: FuturesOrdered::new(),
            whole: Some(Hasher::new()),
            left,
            window: Window::default(),
            renews: false,
        })
    }

    /// Stores each chunk anew as it is read.
    pub(super) fn renewing(self, renews: bool) -> Self {
        Self { renews, ..self }
    }

    /// Leaves it to the reader to prove that the chunks make the whole.
    pub(super) fn unhashed(self) -> Self {
        Self { whole: None, ..self }
    }

    /// The next piece of the content; `None` once all of it came and proved to be what it is called. Until then nothing
    /// of it may be relied on.
    ///
    /// # Errors
    ///
    /// `data_loss` for a chunk that is missing or damaged, or content of another digest; `unavailable` if the store is
    /// away. Nothing comes after an error.
    pub async fn next(&mut self) -> Result<Option<Bytes>, Error> {
        loop {
            while self.window.has_room(self.ahead.len())
                && let Some(part) = self.parts.pop_front()
            {
                let (begun, fetching) =
                    (Instant::now(), fetch(self.store.clone(), self.life, self.blob, part, self.renews));
                self.ahead.push_back(async move { fetching.await.map(|chunk| (chunk, begun.elapsed())) }.boxed());
            }
            if let Some(chunk) = self.ahead.next().await {
                let (chunk, took) = chunk?;
                self.window.heard(took);
                let Some(left) = self.left.checked_sub(chunk.len() as u64) else {
                    return Err(damaged(&self.blob, "its lists name more than it has"));
                };
                self.left = left;
                if let Some(whole) = &mut self.whole {
                    whole.add(&chunk);
                }
                return Ok(Some(chunk));
            }
            let Some(list) = self.lists.pop_front() else { break };
            let list = fetch(self.store.clone(), self.life, self.blob, list, self.renews).await?;
            let parts = index::read_list(&list);
            self.parts =
                parts.map_err(|reason| damaged(&self.blob, &format!("a list of it is unusable: {reason}")))?.into();
        }
        let digest = self.whole.take().map_or(self.blob.digest, Hasher::end);
        if self.left > 0 || digest != self.blob.digest {
            return Err(damaged(&self.blob, "its index is that of other content"));
        }
        Ok(None)
    }
}

async fn fetch(store: Store, life: Life, blob: Blob, part: Part, renews: bool) -> Result<Bytes, Error> {
    let Some(chunk) = value(&store, &life.chunk(&part.0)).await? else {
        return Err(damaged(&blob, &format!("its chunk {} is not there", part.0)));
    };
    if Digest::of(&chunk) != part.0 {
        store.remove_damaged(life, part).await;
        return Err(damaged(&blob, &format!("its chunk {} is not what it is called", part.0)));
    }
    if chunk.len() != part.size() {
        return Err(damaged(&blob, &format!("its chunk {} has {} bytes, not {}", part.0, chunk.len(), part.size())));
    }
    if renews {
        store.put_chunk(life, part, chunk.clone()).await?;
    }
    Ok(chunk)
}

/// The value under a key, looked for more than once.
async fn value(store: &Store, key: &str) -> Result<Option<Bytes>, Error> {
    let mut again = AGAIN.into_iter();
    loop {
        let entry = kv::get(store.bus(), Bucket::Blobs, key, WITHIN).await?;
        if let Some(entry) = entry.filter(|entry| entry.operation == Operation::Put) {
            return Ok(Some(entry.value));
        }
        let Some(wait) = again.next() else { return Ok(None) };
        tokio::time::sleep(Duration::from_millis(wait)).await;
    }
}

fn damaged(blob: &Blob, reason: &str) -> Error {
    Error::new(Code::DataLoss, format!("the blob {blob} is damaged: {reason}")).hint("store it again")
}
