//! One end of a connection: frames in, frames out, each written by whoever has it as far as the socket takes it.
//!
//! A frame is written at once where nothing waits before it, so a call costs no other task a turn. What the socket does
//! not take is written by the task that reads. That task holds frames back while it works through what came in together,
//! so that their answers leave together.

use std::{
    io,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use bytes::{Buf, BytesMut};
use tokio::{net::unix::OwnedWriteHalf, sync::Notify, time::Instant};

use super::{
    frame::{self, Frame, Kind},
    reader::{End, Reader},
};

/// What may wait to be written before writers wait and nothing more is read.
const HIGH_WATER: usize = 1024 * 1024;

/// The writing end, shared by all who have something to say.
#[derive(Debug)]
pub(super) struct Link {
    half: OwnedWriteHalf,
    out: Mutex<Out>,
    wake: Notify,
    room: Notify,
}

#[derive(Debug)]
struct Out {
    buffer: BytesMut,
    queued: u64,
    written: u64,
    moved: Instant,
    held: bool,
    closed: bool,
}

impl Link {
    /// Makes the writing end.
    pub(super) fn new(half: OwnedWriteHalf) -> Arc<Self> {
        let out =
            Out { buffer: BytesMut::new(), queued: 0, written: 0, moved: Instant::now(), held: false, closed: false };
        Arc::new(Self { half, out: Mutex::new(out), wake: Notify::new(), room: Notify::new() })
    }

    /// Queues a frame and writes what can be written, without waiting. The number tells by [`Link::written`] whether the
    /// frame has left; `None` if it never will, as the connection is closed or the frame too large.
    pub(super) fn push(&self, kind: Kind, id: u32, body: &[&[u8]]) -> Option<u64> {
        let mut out = self.lock();
        let before = out.buffer.len();
        if out.closed || !frame::write(&mut out.buffer, kind, id, body) {
            return None;
        }
        out.queued += (out.buffer.len() - before) as u64;
        if before == 0 {
            out.moved = Instant::now();
            if !out.held {
                self.flush(&mut out);
                if out.closed || !out.buffer.is_empty() {
                    self.wake.notify_one();
                }
            }
        }
        Some(out.queued)
    }

    /// Waits until less than the high-water mark waits to be written.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    pub(super) async fn room(&self) {
        loop {
            let room = self.room.notified();
            if self.has_room() {
                return;
            }
            room.await;
        }
    }

    /// Waits until all that was queued is written, or never will be.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    pub(super) async fn flushed(&self) {
        loop {
            let room = self.room.notified();
            let done = {
                let out = self.lock();
                out.closed || out.buffer.is_empty()
            };
            if done {
                return;
            }
            room.await;
        }
    }

    fn has_room(&self) -> bool {
        let out = self.lock();
        out.closed || out.buffer.len() < HIGH_WATER
    }

    /// How many bytes have left in all.
    pub(super) fn written(&self) -> u64 {
        self.lock().written
    }

    /// Whether nothing can be sent any more.
    pub(super) fn is_closed(&self) -> bool {
        self.lock().closed
    }

    /// Reads, hands each frame to `take`, and writes what waits, until the connection ends.
    pub(super) async fn run(
        &self,
        reader: &mut Reader,
        patience: Duration,
        mut take: impl FnMut(Frame) -> Result<(), End>,
    ) -> End {
        let end = loop {
            if let Err(end) = self.turn(reader, patience, &mut take).await {
                break end;
            }
        };
        self.close();
        end
    }

    async fn turn(
        &self,
        reader: &mut Reader,
        patience: Duration,
        take: &mut impl FnMut(Frame) -> Result<(), End>,
    ) -> Result<(), End> {
        self.lock().held = true;
        let taken = Self::drain(reader, take);
        let (waiting, full, moved) = {
            let mut out = self.lock();
            out.held = false;
            self.flush(&mut out);
            if out.closed {
                return Err(End::Closed);
            }
            (!out.buffer.is_empty(), out.buffer.len() >= HIGH_WATER, out.moved)
        };
        taken?;
        if full {
            // What is not read because of us is no fault of theirs.
            reader.forgive();
        }
        let stall = [waiting.then_some(moved), reader.half_since().filter(|_| !full)];
        let stall = stall.into_iter().flatten().min().map(|since| since + patience);
        tokio::select! {
            came = reader.fill(), if !full => came,
            writable = self.half.writable(), if waiting => Ok(writable?),
            () = self.wake.notified() => Ok(()),
            () = async { tokio::time::sleep_until(stall.unwrap_or(moved)).await }, if stall.is_some() => Err(End::Stalled),
        }
    }

    fn drain(reader: &mut Reader, take: &mut impl FnMut(Frame) -> Result<(), End>) -> Result<(), End> {
        while let Some(bytes) = reader.next()? {
            take(Frame::read(bytes).ok_or(End::Violation)?)?;
        }
        Ok(())
    }

    fn flush(&self, out: &mut Out) {
        while !out.closed && !out.buffer.is_empty() {
            match self.half.try_write(&out.buffer) {
                Ok(count) => {
                    out.buffer.advance(count);
                    out.written += count as u64;
                    out.moved = Instant::now();
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => out.closed = true,
            }
        }
        if out.buffer.is_empty() && out.buffer.capacity() > HIGH_WATER {
            out.buffer = BytesMut::new();
        }
        if out.closed || out.buffer.len() < HIGH_WATER {
            self.room.notify_waiters();
        }
    }

    /// Ends it: what is not written never will be.
    pub(super) fn close(&self) {
        self.lock().closed = true;
        self.room.notify_waiters();
        self.wake.notify_one();
    }

    fn lock(&self) -> MutexGuard<'_, Out> {
        self.out.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
