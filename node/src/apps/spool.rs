//! What an instance wrote, the last of it, for whoever follows the app.

use std::{collections::VecDeque, sync::Mutex, time::Duration};

use aigis_proxy::{
    blob::Content,
    services::instances::{Output, Written},
    sync::lock,
};
use bytes::{Bytes, BytesMut};
use time::OffsetDateTime;
use tokio::{sync::watch, time::timeout};

/// How many bytes are kept.
const KEPT: usize = 10 * 1024 * 1024;
/// How many are given at once.
const PIECE: usize = 256 * 1024;

#[derive(Debug, Default)]
struct State {
    /// Where the oldest piece begins that is kept.
    from: u64,
    bytes: usize,
    pieces: VecDeque<(Output, Bytes)>,
    exit_code: Option<i64>,
    last: Option<OffsetDateTime>,
}

/// The output of an instance. Its bytes are counted from the first that it ever wrote.
#[derive(Debug)]
pub(super) struct Spool {
    state: Mutex<State>,
    news: watch::Sender<()>,
}

impl Spool {
    pub(super) fn new() -> Self {
        Self { state: Mutex::default(), news: watch::Sender::new(()) }
    }

    /// Adds what was written at that moment.
    pub(super) fn push(&self, output: Output, bytes: Bytes, at: Option<OffsetDateTime>) {
        let mut state = lock(&self.state);
        state.last = at.or(state.last);
        state.bytes += bytes.len();
        state.pieces.push_back((output, bytes));
        while state.bytes > KEPT
            && let Some((_, dropped)) = state.pieces.pop_front()
        {
            state.bytes -= dropped.len();
            state.from += dropped.len() as u64;
        }
        drop(state);
        self.news.send_replace(());
    }

    /// When the last of it was written.
    pub(super) fn last(&self) -> Option<OffsetDateTime> {
        lock(&self.state).last
    }

    /// Notes that no more comes.
    pub(super) fn end(&self, exit_code: i64) {
        lock(&self.state).exit_code = Some(exit_code);
        self.news.send_replace(());
    }

    /// All that is kept, both outputs in order.
    pub(super) fn all(&self) -> Bytes {
        let state = lock(&self.state);
        let mut all = BytesMut::with_capacity(state.bytes);
        state.pieces.iter().for_each(|(_, bytes)| all.extend_from_slice(bytes));
        all.freeze()
    }

    /// What was written from there on; waits for some at most for `patience`.
    pub(super) async fn read(&self, from: u64, patience: Duration) -> Written {
        let mut news = self.news.subscribe();
        let waiting = async {
            loop {
                drop(news.borrow_and_update());
                let written = self.written(from);
                if !written.pieces.is_empty() || written.exit_code.is_some() || news.changed().await.is_err() {
                    return written;
                }
            }
        };
        match timeout(patience, waiting).await {
            Ok(written) => written,
            Err(_) => self.written(from),
        }
    }

    fn written(&self, from: u64) -> Written {
        let state = lock(&self.state);
        let mut at = state.from;
        let mut next = from.max(state.from);
        let (mut pieces, mut room) = (Vec::<(Output, Content)>::new(), PIECE);
        for (output, bytes) in &state.pieces {
            let end = at + bytes.len() as u64;
            if end > next && room > 0 {
                let skipped = usize::try_from(next - at).unwrap_or(usize::MAX).min(bytes.len());
                let piece = bytes.slice(skipped..).split_to((bytes.len() - skipped).min(room));
                (room, next) = (room - piece.len(), next + piece.len() as u64);
                pieces.push((*output, Content(piece)));
            }
            at = end;
        }
        let exit_code = state.exit_code.filter(|_| next >= at);
        Written { pieces, next, exit_code }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(written: &Written) -> String {
        written.pieces.iter().map(|(_, Content(bytes))| String::from_utf8_lossy(bytes).into_owned()).collect()
    }

    #[tokio::test]
    async fn chn_23_output_is_read_on_from_where_it_was_read() {
        let spool = Spool::new();
        spool.push(Output::Stdout, Bytes::from_static(b"one\n"), None);
        spool.push(Output::Stderr, Bytes::from_static(b"two\n"), None);
        let written = spool.read(0, Duration::ZERO).await;
        assert_eq!((text(&written).as_str(), written.next, written.exit_code), ("one\ntwo\n", 8, None));
        assert_eq!(
            written.pieces.iter().map(|(output, _)| *output).collect::<Vec<_>>(),
            [Output::Stdout, Output::Stderr]
        );
        assert_eq!(text(&spool.read(2, Duration::ZERO).await), "e\ntwo\n");
        assert!(spool.read(8, Duration::from_millis(10)).await.pieces.is_empty());
        spool.end(7);
        let last = spool.read(8, Duration::from_secs(60)).await;
        assert_eq!((last.pieces.len(), last.exit_code), (0, Some(7)));
    }

    #[tokio::test]
    async fn the_last_of_a_long_output_is_kept_and_read_in_parts() {
        let spool = Spool::new();
        for n in 0..12_u8 {
            spool.push(Output::Stdout, Bytes::from(vec![n; 1024 * 1024]), None);
        }
        spool.end(0);
        assert_eq!(spool.all().len(), KEPT);
        let (mut from, mut bytes, mut reads) = (0, 0, 0);
        loop {
            let written = spool.read(from, Duration::ZERO).await;
            bytes += text(&written).len();
            assert!(text(&written).len() <= PIECE);
            (from, reads) = (written.next, reads + 1);
            if written.exit_code.is_some() {
                break;
            }
        }
        assert_eq!((from, bytes, reads), (12 * 1024 * 1024, KEPT, KEPT / PIECE));
    }
}
