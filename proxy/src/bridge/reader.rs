//! Messages as they come from the process.

use std::io;

use tokio::io::{AsyncRead, AsyncReadExt};

use super::{
    cut::Cutter,
    frame::{Message, Violation},
};

/// How much is read at once where no frame says more, and how much room one that does gets at a time.
const READ: usize = 16 * 1024;
const STEP: usize = 1024 * 1024;

/// Why nothing comes any more.
#[derive(Debug, thiserror::Error)]
pub enum End {
    /// Something came that is no frame, or was not due.
    #[error(transparent)]
    Violation(#[from] Violation),
    /// The stream broke.
    #[error("the connection to the process broke")]
    Broken(#[from] io::Error),
}

/// The messages of a stream.
#[derive(Debug)]
pub struct Reader<S> {
    stream: S,
    cutter: Cutter,
}

impl<S: AsyncRead + Unpin> Reader<S> {
    /// Reads from that stream.
    pub fn new(stream: S) -> Self {
        Self { stream, cutter: Cutter::default() }
    }

    /// The next message; `None` once the process has closed its end, even in the midst of one.
    ///
    /// # Errors
    ///
    /// What came is none, or the stream broke.
    ///
    /// # Cancel safety
    ///
    /// Nothing that came is lost.
    pub async fn next(&mut self) -> Result<Option<Message>, End> {
        loop {
            if let Some(message) = self.cutter.next()? {
                return Ok(Some(message));
            }
            // Only what has come gets much room: a length is quickly written.
            let room = self.cutter.lacks().clamp(READ, STEP);
            let input = self.cutter.input();
            input.reserve(room);
            if self.stream.read_buf(input).await? == 0 {
                return Ok(None);
            }
        }
    }
}
