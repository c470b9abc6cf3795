//! The logs of steps that run, as followers read them.

use std::{collections::VecDeque, sync::Mutex, time::Duration};

use aigis_proxy::{blob::Content, chain::ChainId, services::chains::LogPiece, sync::lock};
use tokio::{sync::watch, time::Instant};

/// How much of a log's beginning is kept, and how much of its end.
const HEAD: usize = 5 * 1024 * 1024;
const TAIL: usize = 5 * 1024 * 1024;
/// How much goes into one answer.
const PIECE: usize = 256 * 1024;
/// How long more is waited for.
const NEWS: Duration = Duration::from_secs(10);
/// How many logs of steps that have ended are kept for who reads late.
const ENDED: usize = 32;
/// How many bytes they may have together.
const ENDED_BYTES: usize = 32 * 1024 * 1024;

/// The log of a step while it runs.
#[derive(Debug)]
pub(crate) struct StepLog {
    text: Mutex<Text>,
    grown: watch::Sender<u64>,
    /// Since when a question is open, and for how long others were.
    asked: Mutex<(Option<Instant>, Duration)>,
}

#[derive(Debug, Default)]
struct Text {
    head: Vec<u8>,
    tail: VecDeque<u8>,
    /// How many bytes stood between the two, and were dropped.
    dropped: u64,
    progress: Option<(u32, String)>,
    is_ended: bool,
}

impl Text {
    fn write(&mut self, bytes: &[u8]) {
        let (first, rest) = bytes.split_at(bytes.len().min(HEAD - self.head.len()));
        self.head.extend_from_slice(first);
        self.tail.extend(rest);
        let surplus = self.tail.len().saturating_sub(TAIL);
        self.tail.drain(..surplus);
        self.dropped += surplus as u64;
    }

    fn len(&self) -> usize {
        self.head.len() + self.tail.len()
    }

    /// Bytes from that one on, or from the next that was not dropped; and from where they are.
    fn read(&self, from: u64) -> (Vec<u8>, u64) {
        let head = self.head.len() as u64;
        let at = |place: u64| usize::try_from(place).unwrap_or(usize::MAX);
        if from < head {
            return (self.head.iter().skip(at(from)).take(PIECE).copied().collect(), from);
        }
        let from = from.clamp(head + self.dropped, self.dropped + self.len() as u64);
        (self.tail.iter().skip(at(from - head - self.dropped)).take(PIECE).copied().collect(), from)
    }
}

impl StepLog {
    pub(crate) fn new() -> Self {
        Self { text: Mutex::default(), grown: watch::Sender::new(0), asked: Mutex::default() }
    }

    fn touch(&self) {
        self.grown.send_modify(|grown| *grown += 1);
    }

    pub(crate) fn write(&self, bytes: &[u8]) {
        lock(&self.text).write(bytes);
        self.touch();
    }

    pub(crate) fn line(&self, line: &str) {
        self.write(format!("{}\n", line.trim_end_matches('\n')).as_bytes());
    }

    pub(crate) fn progress(&self, part: f64, words: String) {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it is within 0 and 1000")]
        let thousandths = (part.clamp(0.0, 1.0) * 1_000.0) as u32;
        lock(&self.text).progress = Some((thousandths, words));
        self.touch();
    }

    /// Notes whether a question is open.
    pub(crate) fn asks(&self, is_open: bool) {
        let mut asked = lock(&self.asked);
        match asked.0 {
            None if is_open => asked.0 = Some(Instant::now()),
            Some(since) if !is_open => *asked = (None, asked.1 + since.elapsed()),
            _ => {}
        }
    }

    /// For how many seconds questions were open.
    pub(crate) fn asked_s(&self) -> u64 {
        let (open, before) = *lock(&self.asked);
        (before + open.map(|since| since.elapsed()).unwrap_or_default()).as_secs()
    }

    pub(crate) fn finish(&self) {
        lock(&self.text).is_ended = true;
        self.touch();
    }

    /// What is kept of it: all, or its two ends with a line between them that says how much is missing; and how much that is.
    pub(crate) fn all(&self) -> (Vec<u8>, u64) {
        let text = lock(&self.text);
        let mut bytes = text.head.clone();
        if text.dropped > 0 {
            bytes.extend_from_slice(format!("\n{{dropped: {}}}\n", text.dropped).as_bytes());
        }
        bytes.extend(&text.tail);
        (bytes, text.dropped)
    }

    fn piece(&self, from: u64) -> LogPiece {
        let text = lock(&self.text);
        let (log, from) = text.read(from);
        let is_last = text.is_ended && from + log.len() as u64 == text.dropped + text.len() as u64;
        LogPiece { log: Content(log.into()), from, progress: text.progress.clone(), is_last }
    }

    /// Waits for more than what is known, or some seconds.
    pub(crate) async fn follow(&self, from: u64) -> LogPiece {
        let mut grown = self.grown.subscribe();
        let until = Instant::now() + NEWS;
        let before = self.piece(from).progress;
        loop {
            grown.borrow_and_update();
            let piece = self.piece(from);
            if !piece.log.0.is_empty() || piece.is_last || piece.progress != before || Instant::now() >= until {
                return piece;
            }
            // The sender lives as long as this.
            let _ = tokio::time::timeout_at(until, grown.changed()).await;
        }
    }
}

/// A step, and its log.
type Entry = ((ChainId, u32), std::sync::Arc<StepLog>);

/// The logs of the steps that run here, and of some that did.
#[derive(Debug, Default)]
pub(crate) struct Logs {
    logs: Mutex<VecDeque<Entry>>,
}

impl Logs {
    /// A new log of a step, in place of what there was of it.
    pub(crate) fn begin(&self, chain: &ChainId, step: u32) -> std::sync::Arc<StepLog> {
        let log = std::sync::Arc::new(StepLog::new());
        let key = (chain.clone(), step);
        let mut logs = lock(&self.logs);
        logs.retain(|(known, _)| *known != key);
        logs.push_back((key, log.clone()));
        let ended = logs.iter().map(|(_, log)| lock(&log.text)).filter(|text| text.is_ended).map(|text| text.len());
        let (mut count, mut bytes) = ended.fold((0, 0), |(count, bytes), length| (count + 1, bytes + length));
        while (count > ENDED || bytes > ENDED_BYTES)
            && let Some(oldest) = logs.iter().position(|(_, log)| lock(&log.text).is_ended)
            && let Some((_, gone)) = logs.remove(oldest)
        {
            (count, bytes) = (count - 1, bytes - lock(&gone.text).len());
        }
        log
    }

    pub(crate) fn find(&self, chain: &ChainId, step: u32) -> Option<std::sync::Arc<StepLog>> {
        let logs = lock(&self.logs);
        logs.iter().find(|((id, n), _)| id == chain && *n == step).map(|(_, log)| log.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_log_is_read_in_pieces_and_ends() {
        let (logs, chain) = (Logs::default(), ChainId::new());
        let log = logs.begin(&chain, 1);
        log.line("one");
        let found = logs.find(&chain, 1).unwrap();
        let piece = found.follow(0).await;
        assert_eq!((&piece.log.0[..], piece.from, piece.is_last), (&b"one\n"[..], 0, false));
        log.write(&vec![b'x'; HEAD + TAIL]);
        assert_eq!(found.follow(4).await.log.0.len(), PIECE);
        let piece = found.follow(HEAD as u64).await;
        assert_eq!((piece.from, piece.log.0.len()), (HEAD as u64 + 4, PIECE), "what was dropped is gone");
        log.line("last");
        log.finish();
        let (all, dropped) = log.all();
        assert_eq!(dropped, 9);
        assert!(all.starts_with(b"one\nxx") && all.ends_with(b"xxlast\n"));
        let between = b"x\n{dropped: 9}\nx";
        assert_eq!(&all[HEAD - 1..HEAD - 1 + between.len()], between);
        let end = (HEAD + TAIL) as u64 + dropped;
        assert!(found.follow(end).await.is_last && found.follow(end + 9).await.is_last);
    }
}
