//! A way past the queue of an outbox, for as long as nothing is in it.

use std::{
    io::{self, Write as _},
    os::unix::net::UnixStream,
    sync::{Arc, Mutex},
};

use bytes::{Buf as _, Bytes};

use crate::sync::lock;

/// The stream, and how many frames of the queue are not yet written to it.
#[derive(Debug)]
pub(super) struct Direct {
    stream: UnixStream,
    waiting: Mutex<usize>,
}

/// A frame that is in the queue, or on its way there or from there to the stream; dropping this says that it is not.
#[derive(Debug)]
pub(super) struct Waiting(Arc<Direct>);

impl Direct {
    /// Writes to that stream, which does not block.
    pub(super) fn new(stream: UnixStream) -> Arc<Self> {
        Arc::new(Self { stream, waiting: Mutex::new(0) })
    }

    /// Notes that a frame goes into the queue.
    pub(super) fn wait(self: &Arc<Self>) -> Waiting {
        *lock(&self.waiting) += 1;
        Waiting(self.clone())
    }

    /// Writes of a frame what the stream takes, if no other one waits, and calls `going` before. What is left then has its turn
    /// before all others.
    pub(super) fn write(self: &Arc<Self>, frame: &mut Bytes, going: &mut dyn FnMut()) -> Option<Option<Waiting>> {
        let mut waiting = lock(&self.waiting);
        if *waiting > 0 {
            return None;
        }
        going();
        while !frame.is_empty() {
            match (&self.stream).write(frame) {
                Ok(count) => frame.advance(count),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // Whoever writes what is left learns of a stream that is broken.
                Err(_) => {
                    *waiting += 1;
                    drop(waiting);
                    return Some(Some(Waiting(self.clone())));
                }
            }
        }
        Some(None)
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        *lock(&self.0.waiting) -= 1;
    }
}

#[cfg(test)]
mod tests {
    use std::{io::Read as _, thread};

    use super::super::{Header, Kind, Outgoing, outbox, write};
    use super::*;

    /// The id of each frame, in the order in which they were written.
    fn ids(mut peer: UnixStream) -> Vec<u64> {
        let (mut bytes, mut cutter) = (Vec::new(), super::super::Cutter::default());
        peer.read_to_end(&mut bytes).unwrap();
        cutter.input().extend_from_slice(&bytes);
        std::iter::from_fn(|| cutter.next().unwrap()).map(|message| message.header.id.unwrap()).collect()
    }

    #[tokio::test]
    async fn what_is_written_is_noted_before_anybody_can_read_it() {
        let (stream, mut peer) = UnixStream::pair().unwrap();
        peer.set_nonblocking(true).unwrap();
        let (outbox, _queue) = outbox();
        let outbox = outbox.with_direct(stream);
        let mut byte = [0];
        let mut noted = false;
        let header = Header::new(Kind::Invoke, Some(1));
        outbox
            .send_noting(header, Bytes::from_static(b"{}"), true, &mut || {
                assert_eq!(peer.read(&mut byte).unwrap_err().kind(), io::ErrorKind::WouldBlock);
                noted = true;
            })
            .await
            .unwrap();
        assert!(noted && peer.read(&mut byte).unwrap() == 1);
    }

    #[tokio::test]
    async fn frames_come_whole_and_in_order_whichever_way_they_go() {
        let (ours, peer) = UnixStream::pair().unwrap();
        ours.set_nonblocking(true).unwrap();
        let (outbox, queue) = outbox();
        let outbox = outbox.with_direct(ours.try_clone().unwrap());
        let queue: tokio::sync::mpsc::Receiver<Outgoing> = queue;
        let stream = tokio::net::UnixStream::from_std(ours).unwrap();
        let reading = thread::spawn(move || ids(peer));
        let sending = async move {
            for id in 1..=2_000_u64 {
                let (header, body) = (Header::new(Kind::Reply, Some(id)), Bytes::from(vec![b'x'; 8_000]));
                if id % 3 == 0 {
                    outbox.send(header, body).await.unwrap();
                } else {
                    outbox.send_alone(header, body).await.unwrap();
                }
            }
        };
        let (written, ()) = tokio::join!(write(stream, queue), sending);
        written.unwrap();
        assert_eq!(reading.join().unwrap(), (1..=2_000).collect::<Vec<_>>());
    }
}
