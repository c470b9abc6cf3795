//! One side of a tunnel, as bytes to read and to write.

use std::{
    collections::VecDeque,
    fmt, io,
    pin::Pin,
    sync::{Arc, Mutex},
    task::{Context, Poll, Waker},
    time::Duration,
};

use bytes::{Buf, Bytes};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
    sync::Notify,
    time::{Instant, MissedTickBehavior, interval},
};

use super::{
    flow::{FRAME, Flow},
    frame::Frame,
};
use crate::{bus::Bus, sync::lock};

/// How often a side says that it is there.
const ALIVE: Duration = Duration::from_secs(5);
/// How long the other side may say nothing.
const SILENCE: Duration = Duration::from_secs(20);
/// How long the other side may go on after nobody reads any more.
const LINGER: Duration = Duration::from_secs(30);

/// What both the tunnel and who sends for it know.
#[derive(Debug)]
pub(super) struct Line {
    state: Mutex<State>,
    /// Told when there is something to send, or nothing more ever.
    work: Notify,
}

#[derive(Debug)]
struct State {
    flow: Flow,
    /// What came and was not read, each with its size when it came.
    incoming: VecDeque<(Bytes, usize)>,
    outgoing: VecDeque<Frame>,
    /// Whether the other side, and this one, has said that no more bytes follow.
    ended_in: bool,
    ended_out: bool,
    broken: Option<String>,
    /// When nobody held it any more.
    left: Option<Instant>,
    heard: Instant,
    reader: Option<Waker>,
    writer: Option<Waker>,
}

impl Default for Line {
    fn default() -> Self {
        Self::new()
    }
}

impl Line {
    pub(super) fn new() -> Self {
        let state = State {
            flow: Flow::new(),
            incoming: VecDeque::new(),
            outgoing: VecDeque::new(),
            ended_in: false,
            ended_out: false,
            broken: None,
            left: None,
            heard: Instant::now(),
            reader: None,
            writer: None,
        };
        Self { state: Mutex::new(state), work: Notify::new() }
    }

    /// Takes a frame of the other side.
    pub(super) fn take(&self, frame: Frame) {
        let mut state = lock(&self.state);
        state.heard = Instant::now();
        if state.broken.is_some() {
            return;
        }
        let fault = match frame {
            Frame::Data(number, bytes) => match state.flow.receive(number, bytes.len()) {
                Err(fault) => Some(fault.to_string()),
                Ok(()) if state.ended_in => Some("bytes came after the end".to_owned()),
                Ok(()) if state.left.is_some() => Some("nobody reads any more".to_owned()),
                Ok(()) => {
                    let size = bytes.len();
                    state.incoming.push_back((bytes, size));
                    None
                }
            },
            Frame::End(number) => {
                state.ended_in = true;
                state.flow.due(number).err().map(|fault| fault.to_string())
            }
            Frame::Credit(limit) => {
                state.allow(limit);
                None
            }
            Frame::Alive(number, limit) => {
                state.allow(limit);
                // After the end no number is due.
                let fault = (!state.ended_in).then(|| state.flow.due(number).err()).flatten();
                fault.map(|fault| fault.to_string())
            }
            Frame::Reset(words) => {
                state.shatter(words);
                None
            }
        };
        if let Some(words) = fault {
            state.break_off(&words);
        }
        if let Some(reader) = state.reader.take() {
            reader.wake();
        }
        drop(state);
        self.work.notify_one();
    }

    /// Breaks it, and tells the other side.
    pub(super) fn break_off(&self, words: &str) {
        lock(&self.state).break_off(words);
        self.work.notify_one();
    }

    /// Sends what there is to send, until all is over.
    pub(super) async fn send(&self, bus: &Bus, subject: &str) {
        let mut alive = interval(ALIVE);
        alive.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            loop {
                let next = lock(&self.state).outgoing.pop_front();
                let Some(frame) = next else { break };
                if let Err(error) = bus.publish(subject.to_owned(), None, frame.write()).await {
                    lock(&self.state).shatter(error.message);
                }
            }
            if lock(&self.state).is_over() {
                return;
            }
            tokio::select! {
                () = self.work.notified() => {}
                _ = alive.tick() => lock(&self.state).tick(),
            }
        }
    }
}

impl State {
    fn allow(&mut self, limit: u64) {
        if self.flow.allow(limit)
            && let Some(writer) = self.writer.take()
        {
            writer.wake();
        }
    }

    /// Breaks it on this side.
    fn shatter(&mut self, words: String) {
        self.broken.get_or_insert(words);
        self.incoming.clear();
        self.outgoing.clear();
        self.reader.take().into_iter().chain(self.writer.take()).for_each(Waker::wake);
    }

    fn break_off(&mut self, words: &str) {
        if self.broken.is_none() {
            self.shatter(words.to_owned());
            self.outgoing.push_back(Frame::Reset(words.to_owned()));
        }
    }

    fn tick(&mut self) {
        if self.heard.elapsed() > SILENCE {
            self.break_off("the other side of the tunnel says nothing any more");
        } else if self.left.is_some_and(|left| left.elapsed() > LINGER) {
            self.break_off("nobody reads any more");
        } else if self.broken.is_none() {
            self.outgoing.push_back(Frame::Alive(self.flow.next_out(), self.flow.granted()));
        }
    }

    fn end(&mut self) {
        if self.broken.is_none() && !self.ended_out {
            self.ended_out = true;
            let number = self.flow.next_out();
            self.outgoing.push_back(Frame::End(number));
        }
    }

    fn is_over(&self) -> bool {
        self.outgoing.is_empty() && (self.broken.is_some() || (self.ended_in && self.ended_out))
    }

    fn error(&self) -> Option<io::Error> {
        self.broken.as_ref().map(|words| io::Error::new(io::ErrorKind::ConnectionReset, words.clone()))
    }
}

/// One side of a tunnel: what is written comes out at the other side, as of a TCP connection. Its end is told by
/// `shutdown`; dropped with bytes unread it is reset, else it ends.
pub struct Tunnel {
    line: Arc<Line>,
}

impl fmt::Debug for Tunnel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tunnel").finish_non_exhaustive()
    }
}

impl Tunnel {
    pub(super) fn over(line: Arc<Line>) -> Self {
        Self { line }
    }

    /// Breaks the connection, on both sides.
    pub fn reset(self) {
        self.line.break_off("the connection was reset");
    }

    /// Joins it with a TCP connection, and returns when both directions have ended. The end of one direction, and a reset, are
    /// told on.
    pub async fn join(mut self, mut tcp: TcpStream) {
        let copied = tokio::io::copy_bidirectional_with_sizes(&mut self, &mut tcp, FRAME, FRAME).await;
        if let Err(error) = copied {
            tracing::debug!(%error, "a connection through a tunnel broke");
            // Whoever is at its other end learns that it broke, and did not end.
            let _ = tcp.set_zero_linger();
            self.reset();
        }
    }
}

impl AsyncRead for Tunnel {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let mut state = lock(&self.line.state);
        if let Some(error) = state.error() {
            return Poll::Ready(Err(error));
        }
        // What stood in the buffer before is no answer to this.
        let (before, mut told) = (buffer.filled().len(), None);
        while buffer.remaining() > 0
            && let Some((bytes, size)) = state.incoming.front_mut()
        {
            let taken = bytes.len().min(buffer.remaining());
            buffer.put_slice(bytes.get(..taken).unwrap_or_default());
            bytes.advance(taken);
            if bytes.is_empty() {
                let size = *size;
                state.incoming.pop_front();
                told = state.flow.consume(size).or(told);
            }
        }
        if let Some(limit) = told {
            state.outgoing.push_back(Frame::Credit(limit));
            self.line.work.notify_one();
        }
        if buffer.filled().len() == before && buffer.remaining() > 0 && !state.ended_in {
            state.reader = Some(cx.waker().clone());
            return Poll::Pending;
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Tunnel {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let mut state = lock(&self.line.state);
        if let Some(error) = state.error() {
            return Poll::Ready(Err(error));
        }
        if state.ended_out {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        let room = state.flow.room().min(bytes.len());
        if room == 0 && !bytes.is_empty() {
            state.writer = Some(cx.waker().clone());
            return Poll::Pending;
        }
        let Some(bytes) = bytes.get(..room).filter(|bytes| !bytes.is_empty()) else { return Poll::Ready(Ok(0)) };
        let number = state.flow.send(room);
        state.outgoing.push_back(Frame::Data(number, Bytes::copy_from_slice(bytes)));
        drop(state);
        self.line.work.notify_one();
        Poll::Ready(Ok(room))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        lock(&self.line.state).end();
        self.line.work.notify_one();
        Poll::Ready(Ok(()))
    }
}

impl Drop for Tunnel {
    fn drop(&mut self) {
        let mut state = lock(&self.line.state);
        state.left = Some(Instant::now());
        if state.incoming.is_empty() {
            state.end();
        } else {
            state.break_off("bytes were left unread");
        }
        drop(state);
        self.line.work.notify_one();
    }
}
