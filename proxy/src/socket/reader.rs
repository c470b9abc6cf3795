//! What comes in, cut into frames, and why nothing comes any more.

use std::io;

use bytes::{Bytes, BytesMut};
use tokio::{io::AsyncReadExt, net::unix::OwnedReadHalf, time::Instant};
use tokio_util::codec::{Decoder, LengthDelimitedCodec};

use super::{
    MAX_FRAME,
    frame::{self, LENGTH},
};

/// How much is read at once where no frame says more.
const READ: usize = 16 * 1024;

/// Why a connection ended.
#[derive(Debug, thiserror::Error)]
pub(super) enum End {
    /// The other end closed it.
    #[error("the other end closed it")]
    Closed,
    /// The socket broke, or a length was beyond the limit.
    #[error("{0}")]
    Broken(#[from] io::Error),
    /// Something came that is no frame, or that was not due.
    #[error("something came that was not due")]
    Violation,
    /// Half a frame stayed half, or nothing was taken, for too long.
    #[error("the other end stood still in the midst of a frame")]
    Stalled,
    /// This end closed it.
    #[error("{0}")]
    Dismissed(&'static str),
}

/// The bytes that come in, cut into frames.
#[derive(Debug)]
pub(super) struct Reader {
    half: OwnedReadHalf,
    input: BytesMut,
    codec: LengthDelimitedCodec,
    came: u64,
    taken: u64,
    since: Instant,
}

impl Reader {
    /// Reads frames of at most `limit` bytes.
    pub(super) fn new(half: OwnedReadHalf, limit: usize) -> Self {
        let codec = frame::codec(limit);
        Self { half, input: BytesMut::new(), codec, came: 0, taken: 0, since: Instant::now() }
    }

    /// Reads larger frames from now on.
    pub(super) fn widen(&mut self) {
        self.codec.set_max_frame_length(MAX_FRAME);
    }

    /// The next frame of what has come in.
    pub(super) fn next(&mut self) -> Result<Option<Bytes>, End> {
        let next = self.codec.decode(&mut self.input)?;
        if let Some(frame) = &next {
            self.taken += (LENGTH + frame.len()) as u64;
            self.since = Instant::now();
        }
        Ok(next.map(BytesMut::freeze))
    }

    /// Awaits the next frame.
    pub(super) async fn frame(&mut self) -> Result<Bytes, End> {
        loop {
            if let Some(frame) = self.next()? {
                return Ok(frame);
            }
            self.fill().await?;
        }
    }

    /// Reads once more.
    ///
    /// # Cancel safety
    ///
    /// Nothing that came is lost.
    pub(super) async fn fill(&mut self) -> Result<(), End> {
        self.input.reserve(READ);
        let count = self.half.read_buf(&mut self.input).await?;
        if !self.is_half() {
            self.since = Instant::now();
        }
        self.came += count as u64;
        if count == 0 { Err(End::Closed) } else { Ok(()) }
    }

    /// Since when part of a frame has been here, if it has.
    pub(super) fn half_since(&self) -> Option<Instant> {
        self.is_half().then_some(self.since)
    }

    /// Begins to count anew how long a frame has been half.
    pub(super) fn forgive(&mut self) {
        self.since = Instant::now();
    }

    fn is_half(&self) -> bool {
        self.came > self.taken
    }
}
