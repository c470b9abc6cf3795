//! Reading a stream: its frames in order, credit for more, and a cancel when it is dropped.

use std::{collections::VecDeque, convert::Infallible, time::Duration};

use bytes::Bytes;
use futures::FutureExt;
use serde_json::Value;
use tokio::time::{Instant, Interval, interval};

use super::{
    Content, FIRST_CREDIT, Frame, Running, WIDE,
    way::{Replies, Reply},
};
use crate::{
    blob::PASSING,
    body,
    error::{Code, Error},
    name::UserName,
    subject::Control,
};

/// What frames may have on the average, in bytes, to count as small.
const SMALL: usize = 4 * 1024;
/// How many frames are held for a reader who stands still: what there was credit for, and the one that each beat is
/// worth at least, for some hours.
const HELD: usize = 1_024;
/// Longest silence of a stream, in which at least a beat is due.
const SILENCE: Duration = Duration::from_secs(30);
/// How often credit is repeated, as a sign that the reader lives.
const CREDIT_BEAT: Duration = Duration::from_secs(10);

/// The frames of a stream, in order, each once. Reading gives the callee credit for more; dropping cancels it.
#[derive(Debug)]
pub struct Frames<C = Value> {
    running: Running,
    replies: Replies,
    /// What has come and was not asked for yet.
    held: VecDeque<Result<C, Error>>,
    next: u64,
    /// Whether credit is given by [`Frames::grant`] alone.
    paced: bool,
    unpaid: u32,
    window: u32,
    bytes: usize,
    beat: Interval,
    /// When the next beat is due.
    beat_due: Instant,
    silent_since: Instant,
    deadline: Option<Instant>,
    /// A frame that came and is being fetched, as long as none is held: it may be large.
    opening: Option<body::Opening>,
}

impl<C: Content> Frames<C> {
    pub(super) fn new(running: Running, replies: Replies, deadline: Option<Instant>) -> Self {
        let beat = interval(CREDIT_BEAT);
        let silent_since = Instant::now();
        Self {
            running,
            replies,
            held: VecDeque::new(),
            opening: None,
            next: 1,
            paced: false,
            unpaid: 0,
            window: FIRST_CREDIT,
            bytes: 0,
            beat,
            beat_due: silent_since,
            silent_since,
            deadline,
        }
    }

    /// The user that serves it.
    #[must_use]
    pub fn server(&self) -> &UserName {
        &self.running.server
    }

    /// Has reading give no credit: somebody behind the reader does, by [`Frames::grant`].
    #[must_use]
    pub fn paced(self) -> Self {
        Self { paced: true, ..self }
    }

    /// Lets the callee send so many further frames.
    pub fn grant(&mut self, frames: u32) {
        if !self.running.ended {
            self.unpaid = frames;
            self.pay();
        }
    }

    /// The next frame's data; `None` after the end.
    ///
    /// # Errors
    ///
    /// The callee's error, a broken stream, or the deadline; nothing comes after it.
    ///
    /// # Cancel safety
    ///
    /// No frame is lost when the future is dropped.
    pub async fn next(&mut self) -> Option<Result<C, Error>> {
        let frame = match self.held.pop_front() {
            Some(frame) => frame,
            None => self.receive().await?,
        };
        if frame.is_ok() && !self.running.ended && !self.paced {
            self.unpaid += 1;
            if self.unpaid >= self.window / 2 {
                self.settle();
            }
        }
        Some(frame)
    }

    /// Goes on telling the callee that somebody is there, for as long as its caller cannot take the next frame.
    ///
    /// # Cancel safety
    ///
    /// It never ends but by being dropped, and no frame is lost by that.
    pub async fn hold(&mut self) -> Infallible {
        loop {
            match self.receive().await {
                Some(frame) => self.held.push_back(frame),
                None => std::future::pending().await,
            }
        }
    }

    /// Takes the next frame off the wire.
    async fn receive(&mut self) -> Option<Result<C, Error>> {
        if self.running.ended || self.held.len() >= HELD {
            return None;
        }
        loop {
            let message = match self.ready() {
                Some(message) => message,
                None => tokio::select! {
                    message = self.replies.next(), if self.opening.is_none() => message,
                    body = opened(&mut self.opening), if self.held.is_empty() => {
                        self.opening = None;
                        self.silent_since = Instant::now();
                        match self.read(body) {
                            Some(frame) => return frame,
                            None => continue,
                        }
                    }
                    _ = self.beat.tick() => {
                        self.beat_due = Instant::now() + CREDIT_BEAT;
                        self.pay();
                        if self.opening.is_none() && self.silent_since.elapsed() > SILENCE {
                            return Some(Err(self.broken("nothing came for 30 s")));
                        }
                        continue;
                    }
                    () = until(self.deadline) => {
                        self.finish_cancelled();
                        return Some(Err(Error::new(Code::DeadlineExceeded, "the stream did not end before the deadline").sent(true)));
                    }
                },
            };
            self.silent_since = Instant::now();
            match message {
                None => return Some(Err(self.broken("the connection was closed"))),
                Some(Err(error)) => {
                    self.running.ended = true;
                    return Some(Err(error));
                }
                Some(Ok(message)) => {
                    self.bytes = self.bytes.saturating_add(message.body.len());
                    let deadline = self.deadline.unwrap_or_else(|| Instant::now() + PASSING);
                    let bus = self.running.way.bus();
                    self.opening = bus.and_then(|bus| body::opening(bus, &message.body, deadline));
                    if self.opening.is_none()
                        && let Some(frame) = self.read(Ok(message.body))
                    {
                        return frame;
                    }
                }
            }
        }
    }

    /// What is there already, unless something else is due: most frames come many at once, and need no timer.
    fn ready(&mut self) -> Option<Option<Result<Reply, Error>>> {
        let now = Instant::now();
        let due = now >= self.beat_due || self.deadline.is_some_and(|deadline| now >= deadline);
        if due || self.opening.is_some() { None } else { self.replies.next().now_or_never() }
    }

    /// What a frame brings to the reader; `None` for one that brings nothing.
    fn read(&mut self, body: Result<Bytes, Error>) -> Option<Option<Result<C, Error>>> {
        let read = body.as_ref().map(|body| Frame::<C::Part<'_>>::read(body, self.next).map(|frame| (frame, body)));
        let (frame, body) = match read {
            Ok(Ok(read)) => read,
            Ok(Err(reason)) => return Some(Some(Err(self.broken(&reason)))),
            Err(error) if error.code == Code::InvalidArgument => return Some(Some(Err(self.broken(&error.message)))),
            Err(error) => {
                self.finish_cancelled();
                return Some(Some(Err(error.clone())));
            }
        };
        self.next += 1;
        // What came with the end is seen; what comes after it finds nobody who waits.
        if (frame.end || frame.error.is_some()) && matches!(self.replies.next().now_or_never(), Some(Some(Ok(_)))) {
            let reason = format!("something came after its end, frame {}", frame.seq);
            return Some(Some(Err(self.broken(&reason))));
        }
        if let Some(error) = frame.error {
            self.running.ended = true;
            return Some(Some(Err(error.heard())));
        }
        if frame.end {
            self.running.ended = true;
            return Some(None);
        }
        if frame.beat {
            return None;
        }
        Some(Some(Ok(C::part(frame.data, body))))
    }

    /// Gives credit for what was read, and for more or less to be under way, as large as the last frames were.
    fn settle(&mut self) {
        let frames = usize::try_from(self.unpaid.max(1)).unwrap_or(usize::MAX);
        let wanted = if self.bytes / frames <= SMALL { WIDE } else { FIRST_CREDIT };
        let credit = (self.unpaid + wanted).saturating_sub(self.window);
        self.window = self.window + credit - self.unpaid;
        self.unpaid = credit;
        self.pay();
    }

    fn pay(&mut self) {
        let credit = std::mem::take(&mut self.unpaid);
        self.bytes = 0;
        self.running.tell(Control::Credit, credit.to_string().into());
    }

    fn finish_cancelled(&mut self) {
        self.running.tell(Control::Cancel, Bytes::new());
        self.running.ended = true;
    }

    fn broken(&mut self, reason: &str) -> Error {
        self.finish_cancelled();
        Error::internal(format!("the stream of \"{}\" broke: {reason}", self.running.server))
    }
}

async fn opened(opening: &mut Option<body::Opening>) -> Result<Bytes, Error> {
    match opening {
        Some(opening) => opening.await,
        None => std::future::pending().await,
    }
}

async fn until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}
