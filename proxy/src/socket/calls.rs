//! Calls that leave over a connection, whichever end makes them, and what waits for their replies.

use std::{
    collections::HashMap,
    fmt,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering},
    },
};

use bytes::Bytes;
use tokio::sync::mpsc;

use super::{
    frame::{Frame, Kind},
    link::Link,
    reader::End,
};
use crate::{Error, subject::Control, sync::lock};

/// What waits for the replies to one call.
#[derive(Debug)]
struct Pending {
    sender: mpsc::Sender<Result<Frame, Error>>,
    /// How many bytes have left when the request has.
    end: u64,
}

/// The calls that this end makes over one connection.
#[derive(Debug)]
pub(super) struct Calls {
    link: Arc<Link>,
    pending: Mutex<HashMap<u32, Pending>>,
    next: AtomicU32,
}

impl Calls {
    /// No calls yet.
    pub(super) fn new(link: Arc<Link>) -> Arc<Self> {
        Arc::new(Self { link, pending: Mutex::default(), next: AtomicU32::new(0) })
    }

    /// The connection's writing end.
    pub(super) fn link(&self) -> &Arc<Link> {
        &self.link
    }

    /// Whether anything was ever asked over it.
    pub(super) fn has_begun(&self) -> bool {
        self.next.load(Ordering::Relaxed) > 0
    }

    /// Sends a request; `None` if it surely did not leave, as the connection is closed or the body too large.
    pub(super) fn begin(self: &Arc<Self>, head: &str, body: &[u8], room: usize) -> Option<(Ongoing, Replies)> {
        self.send(Kind::Request, &[head.as_bytes(), body], room)
    }

    /// Sends a frame that is answered.
    pub(super) fn send(self: &Arc<Self>, kind: Kind, body: &[&[u8]], room: usize) -> Option<(Ongoing, Replies)> {
        let (sender, receiver) = mpsc::channel(room);
        let id = {
            let mut pending = lock(&self.pending);
            let mut id = self.next.fetch_add(1, Ordering::Relaxed);
            while pending.contains_key(&id) {
                id = self.next.fetch_add(1, Ordering::Relaxed);
            }
            // Until more is known it counts as sent: a call must not be made twice.
            pending.insert(id, Pending { sender, end: 0 });
            id
        };
        let ongoing = Ongoing { calls: self.clone(), id };
        let end = self.link.push(kind, id, body)?;
        if let Some(entry) = lock(&self.pending).get_mut(&id) {
            entry.end = end;
        }
        Some((ongoing, Replies { receiver }))
    }

    /// Hands a reply to whoever waits for it; one that nobody waits for is dropped. Says whether anybody does.
    pub(super) fn take(&self, frame: Frame) -> bool {
        let mut pending = lock(&self.pending);
        let Some(entry) = pending.get(&frame.id) else { return false };
        let id = frame.id;
        // The room is the credit that was given, so only a callee that overdraws it can fill the channel.
        if entry.sender.try_send(Ok(frame)).is_err() {
            pending.remove(&id);
        }
        true
    }

    /// Tells all who wait why the node ends the connection.
    pub(super) fn dismissed(&self, body: &[u8]) {
        let Ok(error) = serde_json::from_slice::<Error>(body) else { return };
        let written = self.link.written();
        for (_, entry) in lock(&self.pending).drain() {
            let _ = entry.sender.try_send(Err(error.clone().sent(entry.end <= written)));
        }
    }

    /// Tells all who wait that the connection has ended.
    pub(super) fn end(&self, end: &End) {
        let written = self.link.written();
        for (_, entry) in lock(&self.pending).drain() {
            let error = Error::unavailable(format!("the connection over the node's socket broke: {end}"));
            let _ = entry.sender.try_send(Err(error.sent(entry.end <= written)));
        }
    }
}

/// A call that was sent; dropping this forgets its replies.
pub(crate) struct Ongoing {
    calls: Arc<Calls>,
    id: u32,
}

impl fmt::Debug for Ongoing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ongoing").field("id", &self.id).finish_non_exhaustive()
    }
}

impl Ongoing {
    /// Cancels it, or gives its stream credit.
    pub(crate) fn tell(&self, verb: Control, body: &[u8]) {
        let kind = match verb {
            Control::Cancel => Kind::Cancel,
            Control::Credit => Kind::Credit,
        };
        // On a connection that ended there is nothing left to cancel.
        let _ = self.calls.link.push(kind, self.id, &[body]);
    }
}

impl Drop for Ongoing {
    fn drop(&mut self) {
        lock(&self.calls.pending).remove(&self.id);
    }
}

/// The replies to one call.
#[derive(Debug)]
pub(crate) struct Replies {
    receiver: mpsc::Receiver<Result<Frame, Error>>,
}

impl Replies {
    /// The next reply, or why none comes any more.
    pub(crate) async fn next(&mut self) -> Option<Result<(Kind, Bytes), Error>> {
        let frame = self.receiver.recv().await?;
        Some(frame.map(|Frame { kind, body, .. }| (kind, body)))
    }
}
