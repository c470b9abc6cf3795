//! Cuts content into chunks: by what it holds, so that a change in the middle leaves most chunks as they were, or into
//! equal pieces where nothing will ever be found again.

use bytes::{Bytes, BytesMut};
use fastcdc::v2020::FastCDC;
use tokio::io::{AsyncRead, AsyncReadExt, Empty};

use super::{Life, MAX_CHUNK};
use crate::error::Error;

/// Smallest chunk that is cut by content, in bytes; the last one may be smaller.
const MIN_CHUNK: usize = 16 * 1024;
/// Size of a chunk that is cut by content, on average.
const AVERAGE_CHUNK: usize = 64 * 1024;

pub(super) struct Cutter<R> {
    source: R,
    life: Life,
    buffer: BytesMut,
    ended: bool,
}

impl Cutter<Empty> {
    /// Cuts what is in memory already, and copies none of it.
    pub(super) fn held(content: Vec<u8>, life: Life) -> Self {
        Self { source: tokio::io::empty(), life, buffer: Bytes::from(content).into(), ended: true }
    }
}

impl<R: AsyncRead + Unpin> Cutter<R> {
    pub(super) fn new(source: R, life: Life) -> Self {
        Self { source, life, buffer: BytesMut::new(), ended: false }
    }

    /// The next chunk; `None` at the end.
    pub(super) async fn next(&mut self) -> Result<Option<Bytes>, Error> {
        while !self.ended && self.buffer.len() < MAX_CHUNK {
            self.buffer.reserve(2 * MAX_CHUNK);
            let read = self.source.read_buf(&mut self.buffer).await;
            let count = read.map_err(|error| Error::internal(format!("the content cannot be read: {error}")))?;
            self.ended = count == 0;
        }
        if self.buffer.is_empty() {
            return Ok(None);
        }
        let length = self.buffer.len().min(MAX_CHUNK);
        let end = match self.life {
            Life::Kept => FastCDC::new(&self.buffer[..length], MIN_CHUNK, AVERAGE_CHUNK, MAX_CHUNK).cut(0, length).1,
            Life::Passing => length,
        };
        Ok(Some(self.buffer.split_to(end).freeze()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::blob::Digest;

    /// Bytes without a pattern, the same at each run.
    fn noise(length: usize) -> Vec<u8> {
        let mut state = 0x9E37_79B9_7F4A_7C15_u64;
        let mut step = || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state.to_le_bytes()[3]
        };
        (0..length).map(|_| step()).collect()
    }

    async fn cut(content: &[u8], life: Life) -> Vec<Bytes> {
        let mut cutter = Cutter::new(content, life);
        let mut chunks = Vec::new();
        while let Some(chunk) = cutter.next().await.unwrap() {
            chunks.push(chunk);
        }
        assert_eq!(chunks.concat(), content);
        chunks
    }

    #[tokio::test]
    async fn chunks_are_bounded_and_near_their_average() {
        let content = noise(8 * 1024 * 1024);
        let chunks = cut(&content, Life::Kept).await;
        let (last, others) = chunks.split_last().unwrap();
        assert!(others.iter().all(|chunk| (MIN_CHUNK..=MAX_CHUNK).contains(&chunk.len())));
        assert!(last.len() <= MAX_CHUNK);
        assert!((70..=220).contains(&chunks.len()), "{}", chunks.len());
        assert_eq!(cut(&vec![0; 4 * MAX_CHUNK], Life::Kept).await.len(), 4);
        let passing = cut(&content, Life::Passing).await;
        assert_eq!(passing.len(), 33);
        let mut held = Cutter::held(content, Life::Passing);
        for chunk in passing {
            assert_eq!(held.next().await.unwrap(), Some(chunk));
        }
        assert_eq!(held.next().await.unwrap(), None);
        assert_eq!(cut(b"", Life::Kept).await.len(), 0);
    }

    #[tokio::test]
    async fn a_byte_in_the_middle_leaves_most_chunks_as_they_were() {
        let content = noise(4 * 1024 * 1024);
        let mut changed = content.clone();
        changed.insert(2 * 1024 * 1024, 7);
        let known: std::collections::HashSet<_> =
            cut(&content, Life::Kept).await.iter().map(|chunk| Digest::of(chunk)).collect();
        let chunks = cut(&changed, Life::Kept).await;
        let new = chunks.iter().filter(|chunk| !known.contains(&Digest::of(chunk))).count();
        assert!((1..=4).contains(&new), "{new} of {}", chunks.len());
    }
}
