//! Streams as they are served: numbered frames under the credit that their reader gives.

use std::{
    sync::{
        OnceLock,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use futures::{FutureExt, StreamExt, stream::BoxStream};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::Head;
use crate::{
    client::{Data, FIRST_CREDIT, Frame},
    error::Error,
    skill::{Bodies, Granting},
};

/// How long a stream goes on without a sign of its reader.
const READER_SILENCE: Duration = Duration::from_secs(30);
/// How often a silent stream says that it lives.
const BEAT: Duration = Duration::from_secs(10);
/// How many frames leave in one go. Of 1 KiB each they make less than 32 KiB: larger messages cost a bus server much more,
/// and its readers wait for them.
const TOGETHER: usize = 24;
/// The least and the most room that a frame is given before it is written, in bytes.
const LEAST: usize = 128;
const MOST: usize = 64 * 1024;
/// Most frames that credit can be worth.
const CREDIT_LIMIT: u32 = 1_024;

/// Where the parts of a stream go.
pub(crate) trait Sink {
    /// What is to be sent for a part.
    ///
    /// # Errors
    ///
    /// What forbids sending it.
    fn fit(&self, body: Bytes) -> impl Future<Output = Result<Bytes, Error>> + Send;
    /// Sends a part.
    ///
    /// # Errors
    ///
    /// The way is closed.
    fn send(&self, head: Head, body: Bytes) -> impl Future<Output = Result<(), Error>> + Send;
    /// Sends frames that are there at once.
    ///
    /// # Errors
    ///
    /// The way is closed.
    fn send_frames(&self, bodies: Vec<Bytes>) -> impl Future<Output = Result<(), Error>> + Send;
}

/// A call that its caller can cancel, or give credit to.
#[derive(Debug, Default)]
pub(crate) struct Running {
    /// Set when the caller gives up.
    pub(crate) cancelled: CancellationToken,
    credit: AtomicUsize,
    heard: Notify,
    heard_count: AtomicU64,
    /// Who makes the frames and keeps to the reader's credit himself.
    granting: OnceLock<Granting>,
}

/// As [`send`], of frames whose maker may be told of credit.
pub(crate) async fn send_bodies(
    sink: &impl Sink,
    bodies: Bodies,
    running: &Running,
    down: impl Future<Output = Option<Error>>,
) {
    let (frames, granting) = bodies.into_parts();
    if let Some(granting) = granting {
        // No reader grants anything before he has heard of the stream.
        let _ = running.granting.set(granting);
    }
    send(sink, frames, running, down).await;
}

/// Sends a stream until it ends, its reader is gone, or the way is `down`, which gives what its reader is still to be told.
pub(crate) async fn send<D: Data>(
    sink: &impl Sink,
    mut stream: BoxStream<'static, Item<D>>,
    running: &Running,
    down: impl Future<Output = Option<Error>>,
) {
    running.credit.store(FIRST_CREDIT as usize, Ordering::Release);
    if sink.send(Head::Stream, Bytes::from_static(b"{}")).await.is_err() {
        return;
    }
    let over = async {
        tokio::select! {
            // First, since a server that ends cancels what runs.
            biased;
            last = down => last,
            () = running.cancelled.cancelled() => None,
            () = running.reader_gone() => None,
        }
    };
    tokio::pin!(over);
    let mut frames = Numbered::default();
    let (mut held, mut ready, mut size) = (None, Vec::new(), 0);
    while !frames.ended {
        ready.push(tokio::select! {
            biased;
            last = &mut over => match last {
                Some(error) => frames.of(Some(Err(error))),
                None => return,
            },
            next = running.paid(&mut stream, &mut held) => frames.of(next),
            () = tokio::time::sleep(BEAT) => frames.number(Frame { beat: true, ..Frame::default() }),
        });
        // What is there already leaves in one go: for each by itself, the connection's thread would be woken.
        while held.is_none() && !frames.ended && ready.len() < TOGETHER && running.has_credit() {
            let Some(next) = stream.next().now_or_never() else { break };
            running.spend();
            ready.push(frames.of(next));
        }
        let mut bodies = Vec::with_capacity(ready.len());
        let mut fits = true;
        for frame in ready.drain(..) {
            // It is taken to be about as large as the one before it.
            let body = frame.to_bytes(size.clamp(LEAST, MOST) + 8);
            size = body.len();
            // One that may have to be stored first holds up none of those before it.
            if size > MOST && sink.send_frames(std::mem::take(&mut bodies)).await.is_err() {
                return;
            }
            match sink.fit(body).await {
                Ok(body) => bodies.push(body),
                Err(error) => {
                    let last = Frame::<D> { seq: frame.seq, error: Some(error), ..Frame::default() };
                    bodies.push(last.to_bytes(LEAST));
                    fits = false;
                    break;
                }
            }
        }
        if sink.send_frames(bodies).await.is_err() || !fits {
            return;
        }
    }
}

/// What a stream gives before its end.
type Item<D> = Result<D, Error>;

/// Numbers the frames of a stream.
#[derive(Default)]
struct Numbered {
    last: u64,
    ended: bool,
}

impl Numbered {
    fn of<D: Data>(&mut self, next: Option<Item<D>>) -> Frame<D> {
        self.number(match next {
            Some(Ok(data)) => Frame { data: Some(data), ..Frame::default() },
            Some(Err(error)) => Frame { error: Some(error), ..Frame::default() },
            None => Frame { end: true, ..Frame::default() },
        })
    }

    fn number<D: Data>(&mut self, frame: Frame<D>) -> Frame<D> {
        self.last += 1;
        self.ended = frame.end || frame.error.is_some();
        Frame { seq: self.last, ..frame }
    }
}

impl Running {
    /// A call that runs until `cancelled`.
    pub(crate) fn until(cancelled: CancellationToken) -> Self {
        Self { cancelled, ..Self::default() }
    }

    /// Adds credit. Whatever a caller writes, it is held between 1 and 1,024.
    pub(crate) fn credit(&self, body: &[u8]) {
        let text = std::str::from_utf8(body).unwrap_or_default().trim();
        let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        let asked = if digits { text.parse().unwrap_or(CREDIT_LIMIT) } else { 0 };
        let limit = CREDIT_LIMIT as usize;
        let more = asked.min(CREDIT_LIMIT) as usize;
        let add = |credit: usize| Some((credit + more).clamp(1, limit));
        // The closure always gives a value, so the update cannot fail.
        let _ = self.credit.fetch_update(Ordering::AcqRel, Ordering::Acquire, add);
        if let Some(granting) = self.granting.get() {
            granting.grant(asked.min(CREDIT_LIMIT));
        }
        self.heard_count.fetch_add(1, Ordering::AcqRel);
        self.heard.notify_waiters();
    }

    /// Awaits what comes next, and credit for it if it is no end: that is told without. What came stays in `held` until
    /// then, so that nothing is lost when the future is dropped.
    async fn paid<D: Data>(
        &self,
        stream: &mut BoxStream<'static, Item<D>>,
        held: &mut Option<Option<Item<D>>>,
    ) -> Option<Item<D>> {
        let ends = match held {
            Some(next) => !matches!(next, Some(Ok(_))),
            None => !matches!(held.insert(stream.next().await), Some(Ok(_))),
        };
        if !ends {
            self.credited().await;
        }
        held.take().flatten()
    }

    /// Awaits credit for one frame, and spends it.
    async fn credited(&self) {
        loop {
            let heard = self.heard.notified();
            if self.has_credit() {
                return self.spend();
            }
            heard.await;
        }
    }

    fn has_credit(&self) -> bool {
        self.credit.load(Ordering::Acquire) > 0
    }

    fn spend(&self) {
        let spend = |credit: usize| Some(credit.saturating_sub(1));
        // The closure always gives a value, so the update cannot fail.
        let _ = self.credit.fetch_update(Ordering::AcqRel, Ordering::Acquire, spend);
    }

    /// Completes when the reader has given no sign for too long.
    async fn reader_gone(&self) {
        loop {
            let before = self.heard_count.load(Ordering::Acquire);
            tokio::time::sleep(READER_SILENCE).await;
            if self.heard_count.load(Ordering::Acquire) == before {
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bad_22_credit_is_held_within_bounds() {
        for (before, body, after) in [
            (0, "-1", 1),
            (0, "0", 1),
            (5, "0", 5),
            (0, "32", 32),
            (64, "1000", 1_024),
            (0, "18446744073709551616", 1_024),
            (0, "many", 1),
            (3, "", 3),
        ] {
            let running = Running::default();
            running.credit.store(before, Ordering::Release);
            running.credit(body.as_bytes());
            assert_eq!(running.credit.load(Ordering::Acquire), after, "{before} and {body}");
        }
    }

    #[tokio::test]
    async fn whoever_makes_the_frames_is_told_of_each_credit() {
        struct Nowhere;
        impl Sink for Nowhere {
            async fn fit(&self, body: Bytes) -> Result<Bytes, Error> {
                Ok(body)
            }
            async fn send(&self, _: Head, _: Bytes) -> Result<(), Error> {
                Ok(())
            }
            async fn send_frames(&self, _: Vec<Bytes>) -> Result<(), Error> {
                Ok(())
            }
        }
        let (granted, mut told) = tokio::sync::mpsc::unbounded_channel();
        let paced = || {
            let granted = granted.clone();
            let frames = futures::stream::iter([Ok(Bytes::from_static(b"1")), Ok(Bytes::from_static(b"2"))]);
            Bodies::paced(frames.boxed(), move |frames| granted.send(frames).unwrap())
        };
        let running = Running::default();
        send_bodies(&Nowhere, paced(), &running, std::future::pending()).await;
        for credit in ["8", "0", "5000"] {
            running.credit(credit.as_bytes());
        }
        assert_eq!(paced().unpaced().count().await, 2);
        drop((running, granted));
        let mut all = Vec::new();
        while let Some(frames) = told.recv().await {
            all.push(frames);
        }
        assert_eq!(all, [8, 0, 1_024, 1, 1]);
    }

    proptest::proptest! {
        #[test]
        fn bad_22_any_credit_is_held_within_bounds(
            before in 0..=1_024_usize,
            body in proptest::collection::vec(proptest::num::u8::ANY, 0..40),
        ) {
            let running = Running::default();
            running.credit.store(before, Ordering::Release);
            running.credit(&body);
            proptest::prop_assert!((1..=1_024).contains(&running.credit.load(Ordering::Acquire)));
        }
    }
}
