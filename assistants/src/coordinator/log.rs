//! The logs of steps that run, as followers read them.

use std::{collections::VecDeque, sync::Mutex, time::Duration};

use aigis_proxy::{blob::Content, chain::ChainId, services::chains::LogPiece, sync::lock};
use tokio::{sync::watch, time::Instant};

/// How much of a log is kept in memory.
const KEPT: usize = 4 * 1024 * 1024;
/// How much goes into one answer.
const PIECE: usize = 256 * 1024;
/// How long more is waited for.
const NEWS: Duration = Duration::from_secs(10);
/// How many logs of steps that have ended are kept for who reads late.
const ENDED: usize = 32;

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
    /// How many bytes were dropped at its beginning.
    from: u64,
    bytes: VecDeque<u8>,
    progress: Option<(u32, String)>,
    is_ended: bool,
}

impl StepLog {
    pub(crate) fn new() -> Self {
        Self { text: Mutex::default(), grown: watch::Sender::new(0), asked: Mutex::default() }
    }

    fn touch(&self) {
        self.grown.send_modify(|grown| *grown += 1);
    }

    pub(crate) fn write(&self, bytes: &[u8]) {
        {
            let mut text = lock(&self.text);
            text.bytes.extend(bytes);
            let surplus = text.bytes.len().saturating_sub(KEPT);
            text.bytes.drain(..surplus);
            text.from += surplus as u64;
        }
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

    /// All that is kept of it, and how much was dropped before.
    pub(crate) fn all(&self) -> (Vec<u8>, u64) {
        let text = lock(&self.text);
        (text.bytes.iter().copied().collect(), text.from)
    }

    fn piece(&self, from: u64) -> LogPiece {
        let text = lock(&self.text);
        let end = text.from + text.bytes.len() as u64;
        let from = from.clamp(text.from, end);
        let skip = usize::try_from(from - text.from).unwrap_or_default();
        let log: Vec<u8> = text.bytes.iter().skip(skip).take(PIECE).copied().collect();
        let is_last = text.is_ended && from + log.len() as u64 == end;
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
        let ended = logs.iter().filter(|(_, log)| lock(&log.text).is_ended).count();
        if ended > ENDED
            && let Some(oldest) = logs.iter().position(|(_, log)| lock(&log.text).is_ended)
        {
            logs.remove(oldest);
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
        log.write(&vec![b'x'; KEPT]);
        assert_eq!(found.follow(4).await.log.0.len(), PIECE);
        assert_eq!(found.follow(0).await.from, 4, "what was dropped is gone");
        log.finish();
        let (all, dropped) = log.all();
        let end = all.len() as u64 + dropped;
        assert!(found.follow(end).await.is_last && found.follow(end + 9).await.is_last);
    }
}
