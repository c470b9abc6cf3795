//! What goes to the process: messages in a bounded queue, written many at a time; one that is alone, past the queue.

use std::{io, sync::Arc};

use bytes::{BufMut, Bytes, BytesMut};
use tokio::{
    io::{AsyncWrite, AsyncWriteExt},
    sync::mpsc,
};

use super::{
    direct::{Direct, Waiting},
    frame::{Header, Kind},
};
use crate::Error;

/// How many frames may wait for a process that does not read; whoever has more waits too.
const ROOM: usize = 64;
/// Larger bodies go in parts of this size, so that one does not hold up the small ones for long.
pub(super) const PART: usize = 4 * 1024 * 1024;
/// What is smaller is written together with what is there besides.
const SMALL: usize = 16 * 1024;

/// The connection is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the process has closed its connection")]
pub struct Closed;

/// A frame that is to be written.
#[derive(Debug)]
pub struct Outgoing {
    /// None where the body is the rest of what was begun.
    header: Option<Header>,
    body: Bytes,
    _waiting: Option<Waiting>,
}

/// Where messages to the process are put.
#[derive(Debug, Clone)]
pub struct Outbox {
    queue: mpsc::Sender<Outgoing>,
    direct: Option<Arc<Direct>>,
}

/// A queue of messages, and the end that [`write()`] takes.
#[must_use]
pub fn outbox() -> (Outbox, mpsc::Receiver<Outgoing>) {
    let (sender, receiver) = mpsc::channel(ROOM);
    (Outbox { queue: sender, direct: None }, receiver)
}

impl Outbox {
    /// Writes what is sent alone to `stream` by itself while nothing waits: another handle of what [`write()`] writes to,
    /// which does not block.
    #[must_use]
    pub fn with_direct(self, stream: std::os::unix::net::UnixStream) -> Self {
        Self { direct: Some(Direct::new(stream)), ..self }
    }

    /// As [`Outbox::send`], of a message that nothing is likely to follow at once: no task is woken to write it.
    ///
    /// # Errors
    ///
    /// As [`Outbox::send`].
    ///
    /// # Cancel safety
    ///
    /// As [`Outbox::send`].
    pub(super) async fn send_alone(&self, header: Header, body: Bytes) -> Result<(), Closed> {
        self.send_noting(header, body, true, &mut || {}).await
    }

    /// As [`Outbox::send`], or [`Outbox::send_alone`]; `going` is called right before the process can have the whole message.
    ///
    /// # Errors
    ///
    /// As [`Outbox::send`].
    ///
    /// # Cancel safety
    ///
    /// As [`Outbox::send`]; between `going` and the message nothing is awaited.
    pub(super) async fn send_noting(
        &self,
        header: Header,
        body: Bytes,
        is_alone: bool,
        going: &mut (dyn FnMut() + Send),
    ) -> Result<(), Closed> {
        let direct = self.direct.as_ref().filter(|_| is_alone && body.len() <= SMALL);
        if let Some(direct) = direct {
            let mut frame = BytesMut::new();
            begin(&header, body.len(), &mut frame);
            frame.put_slice(&body);
            let mut frame = frame.freeze();
            match direct.write(&mut frame, going) {
                Some(None) => return Ok(()),
                // Nothing waits, so there is room.
                Some(waiting @ Some(_)) => {
                    return self
                        .queue
                        .try_send(Outgoing { header: None, body: frame, _waiting: waiting })
                        .map_err(|_| Closed);
                }
                None => {}
            }
        }
        self.in_parts(header, body, going).await
    }

    /// Sends a message, in as many parts as it takes.
    ///
    /// # Errors
    ///
    /// The connection is gone.
    ///
    /// # Cancel safety
    ///
    /// A message of one part is sent or not; of several, the connection must end if this is dropped.
    pub async fn send(&self, header: Header, body: Bytes) -> Result<(), Closed> {
        self.in_parts(header, body, &mut || {}).await
    }

    async fn in_parts(&self, header: Header, body: Bytes, going: &mut (dyn FnMut() + Send)) -> Result<(), Closed> {
        let further = Header::new(header.t, header.id);
        let (mut header, mut rest) = (header, body);
        while rest.len() > PART {
            let body = rest.split_to(PART);
            self.put(Header { more: true, ..header }, body, &mut || {}).await?;
            header = further.clone();
        }
        self.put(header, rest, going).await
    }

    /// Sends an error: instead of an answer, or without an id as the reason why the connection ends.
    ///
    /// # Errors
    ///
    /// As [`Outbox::send`].
    pub async fn refuse(&self, id: Option<u64>, ci: Option<String>, error: &Error) -> Result<(), Closed> {
        let header = Header { code: Some(error.code), ci, ..Header::new(Kind::Error, id) };
        self.send(header, serde_json::to_vec(error).unwrap_or_default().into()).await
    }

    /// As [`Outbox::refuse`], where there is room for it at once.
    pub(super) fn try_refuse(&self, id: u64, error: &Error) -> bool {
        let header = Header { code: Some(error.code), ..Header::new(Kind::Error, Some(id)) };
        let body = serde_json::to_vec(error).unwrap_or_default().into();
        self.queue.try_send(self.outgoing(header, body)).is_ok()
    }

    async fn put(&self, header: Header, body: Bytes, going: &mut (dyn FnMut() + Send)) -> Result<(), Closed> {
        // From now on nothing goes past it.
        let outgoing = self.outgoing(header, body);
        let room = self.queue.reserve().await.map_err(|_| Closed)?;
        going();
        room.send(outgoing);
        Ok(())
    }

    fn outgoing(&self, header: Header, body: Bytes) -> Outgoing {
        Outgoing { header: Some(header), body, _waiting: self.direct.as_ref().map(Direct::wait) }
    }
}

/// Writes what is put into the outbox, until all its holders are gone.
///
/// # Errors
///
/// What the operating system says; the outbox is closed then.
pub async fn write(mut stream: impl AsyncWrite + Unpin, mut queue: mpsc::Receiver<Outgoing>) -> io::Result<()> {
    let (mut frames, mut together) = (Vec::with_capacity(ROOM), BytesMut::new());
    while queue.recv_many(&mut frames, ROOM).await > 0 {
        for frame in &frames {
            if let Some(header) = &frame.header {
                begin(header, frame.body.len(), &mut together);
            }
            if frame.body.len() <= SMALL {
                together.put_slice(&frame.body);
            } else {
                stream.write_all(&together).await?;
                together.clear();
                stream.write_all(&frame.body).await?;
            }
        }
        stream.write_all(&together).await?;
        stream.flush().await?;
        together.clear();
        // From here on nothing of them waits.
        frames.clear();
    }
    Ok(())
}

/// Writes the lengths and the header of a frame.
fn begin(header: &Header, body: usize, out: &mut BytesMut) {
    // Numbers and texts always have a JSON form, and memory takes it.
    let header = serde_json::to_vec(header).unwrap_or_default();
    for length in [header.len(), body] {
        out.put_u32(u32::try_from(length).unwrap_or(u32::MAX));
    }
    out.put_slice(&header);
}

/// A frame as it travels.
#[cfg(test)]
pub(super) fn encoded(header: &Header, body: &[u8]) -> Vec<u8> {
    let mut out = BytesMut::new();
    begin(header, body.len(), &mut out);
    out.put_slice(body);
    out.to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bridge::Cutter;

    #[tokio::test]
    async fn a_large_body_goes_in_parts_and_comes_whole() {
        let (outbox, queue) = outbox();
        let body = Bytes::from(vec![b'x'; 2 * PART + 1]);
        let large = Header { ci: Some("web@beta".into()), ..Header::new(Kind::Reply, Some(3)) };
        outbox.send(large.clone(), body.clone()).await.unwrap();
        outbox.send(Header::new(Kind::End, Some(4)), Bytes::new()).await.unwrap();
        drop(outbox);
        let mut cutter = Cutter::default();
        let mut written = Vec::new();
        write(&mut written, queue).await.unwrap();
        cutter.input().extend_from_slice(&written);
        let first = cutter.next().unwrap().unwrap();
        assert_eq!((first.header, first.body), (large, Some(body)));
        assert_eq!(cutter.next().unwrap().unwrap().header, Header::new(Kind::End, Some(4)));
        assert!(written.len() > 2 * PART && cutter.next().unwrap().is_none());
    }
}
