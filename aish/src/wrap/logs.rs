//! What a program said beside its replies: its standard error, and output that answers nobody; the last of it is kept, and
//! no secret in it.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use aigis_node::mask::{Masking, Masks};
use aigis_proxy::Error;
use aigis_registry::Timestamp;
use futures::Stream;
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;
use tokio::sync::watch;

use crate::frames;

/// How many lines are kept, and how many bytes of them.
const KEPT: (usize, usize) = (10_000, 4 * 1024 * 1024);
/// The longest line; a longer one is cut in several.
const LONGEST: usize = 64 * 1024;

/// Where a line came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Source {
    /// Output that is no reply.
    Stdout,
    /// Its standard error.
    Stderr,
    /// What happened to the program.
    Wrap,
}

/// A line of the log.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub(crate) struct Line {
    /// The line, or bytes that are no text.
    line: Value,
    source: Source,
    at: String,
    /// Whether it goes on in the next one.
    partial: bool,
}

/// The last lines of a program, and those to come.
#[derive(Debug)]
pub(crate) struct Logs {
    ring: Mutex<Ring>,
    /// How many lines there have been.
    count: watch::Sender<u64>,
}

#[derive(Debug)]
struct Ring {
    /// What hides secrets in standard error, and in output.
    masking: [Masking; 2],
    lines: VecDeque<(usize, Line)>,
    bytes: usize,
    /// What stands before the line break that is still to come.
    half: Vec<u8>,
    first: u64,
}

impl Logs {
    /// Nothing has been said yet.
    pub(crate) fn new(masks: &Masks) -> Arc<Self> {
        let masking = [masks.stream(), masks.stream()];
        let ring = Ring { masking, lines: VecDeque::new(), bytes: 0, half: Vec::new(), first: 0 };
        Arc::new(Self { ring: Mutex::new(ring), count: watch::Sender::new(0) })
    }

    fn ring(&self) -> MutexGuard<'_, Ring> {
        self.ring.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes what the program wrote to standard error, cut anywhere.
    pub(crate) fn stderr(&self, bytes: &[u8]) {
        let mut ring = self.ring();
        let [masking, _] = &mut ring.masking;
        let shown = masking.push(bytes);
        ring.cut(&shown);
        self.publish(&ring);
    }

    /// Ends a line that the program left half.
    pub(crate) fn end(&self) {
        let mut ring = self.ring();
        let [masking, _] = &mut ring.masking;
        let rest = masking.finish();
        ring.cut(&rest);
        if !ring.half.is_empty() {
            let half = std::mem::take(&mut ring.half);
            ring.push(half, Source::Stderr, false);
        }
        self.publish(&ring);
    }

    /// Takes output that is no reply, cut anywhere.
    pub(crate) fn stray(&self, bytes: &[u8]) {
        let mut ring = self.ring();
        let [_, masking] = &mut ring.masking;
        let shown = masking.push(bytes);
        if !shown.is_empty() {
            ring.lines_of(&shown, Source::Stdout);
        }
        self.publish(&ring);
    }

    /// Gives out what was held back of output that is no reply: no more of it comes.
    pub(crate) fn stray_end(&self) {
        let mut ring = self.ring();
        let [_, masking] = &mut ring.masking;
        let rest = masking.finish();
        if !rest.is_empty() {
            ring.lines_of(&rest, Source::Stdout);
        }
        self.publish(&ring);
    }

    /// Takes lines of another source.
    pub(crate) fn say(&self, source: Source, bytes: &[u8]) {
        let mut ring = self.ring();
        ring.lines_of(bytes, source);
        self.publish(&ring);
    }

    fn publish(&self, ring: &Ring) {
        self.count.send_replace(ring.first + ring.lines.len() as u64);
    }

    /// The last `tail` lines, and those to come if `follow` says so.
    pub(crate) fn read(
        self: Arc<Self>,
        tail: usize,
        follow: bool,
    ) -> impl Stream<Item = Result<Line, Error>> + Send + use<> {
        let mut counted = self.count.subscribe();
        let last = *counted.borrow_and_update();
        let from = last.saturating_sub(tail as u64);
        futures::stream::unfold((self, counted, from), move |(logs, mut counted, at)| async move {
            loop {
                let found = logs.ring().at(at);
                if let Some((line, next)) = found {
                    return Some((Ok(line), (logs, counted, next)));
                }
                if !follow || counted.changed().await.is_err() {
                    return None;
                }
            }
        })
    }
}

impl Ring {
    /// Takes bytes of standard error in, and makes lines of what is complete.
    fn cut(&mut self, bytes: &[u8]) {
        self.half.extend_from_slice(bytes);
        loop {
            let end = self.half.iter().take(LONGEST).position(|byte| *byte == b'\n');
            let partial = end.is_none();
            let end = match end {
                Some(end) => end,
                None if self.half.len() > LONGEST => LONGEST,
                None => break,
            };
            let rest = self.half.split_off(if partial { end } else { end + 1 });
            let mut line = std::mem::replace(&mut self.half, rest);
            line.truncate(end);
            self.push(line, Source::Stderr, partial);
        }
    }

    fn lines_of(&mut self, bytes: &[u8], source: Source) {
        let bytes = bytes.strip_suffix(b"\n").unwrap_or(bytes);
        for line in bytes.split(|byte| *byte == b'\n') {
            let count = line.len().div_ceil(LONGEST).max(1);
            for (index, part) in line.chunks(LONGEST).chain(line.is_empty().then_some(&[][..])).enumerate() {
                self.push(part.to_vec(), source, index + 1 < count);
            }
        }
    }

    fn push(&mut self, line: Vec<u8>, source: Source, partial: bool) {
        let size = line.len();
        self.bytes += size;
        let line = Line { line: frames::field(line), source, at: Timestamp::now().to_string(), partial };
        self.lines.push_back((size, line));
        while self.lines.len() > KEPT.0 || self.bytes > KEPT.1 {
            let Some((size, _)) = self.lines.pop_front() else { break };
            self.bytes -= size;
            self.first += 1;
        }
    }

    /// The line of that number, or the oldest after it; and the next one's number.
    fn at(&self, number: u64) -> Option<(Line, u64)> {
        let number = number.max(self.first);
        let index = usize::try_from(number - self.first).ok()?;
        self.lines.get(index).map(|(_, line)| (line.clone(), number + 1))
    }
}

#[cfg(test)]
mod tests {
    use futures::{FutureExt, StreamExt};

    use super::*;

    async fn lines(logs: &Arc<Logs>, tail: usize) -> Vec<(Value, bool)> {
        logs.clone().read(tail, false).map(|line| line.map(|line| (line.line, line.partial)).unwrap()).collect().await
    }

    #[tokio::test]
    async fn the_last_lines_are_kept_whole() {
        let logs = Logs::new(&Masks::default());
        logs.stderr(b"one\ntw");
        logs.stderr(b"o\nhalf");
        logs.stray(b"stray\n");
        assert_eq!(lines(&logs, 2).await, [("two".into(), false), ("stray".into(), false)]);
        logs.end();
        assert_eq!(lines(&logs, 1).await, [("half".into(), false)]);
        for n in 0..20_000 {
            logs.stderr(format!("{n}\n").as_bytes());
        }
        assert_eq!(lines(&logs, 100_000).await.len(), KEPT.0);
        assert_eq!(lines(&logs, 1).await, [("19999".into(), false)]);
    }

    #[tokio::test]
    async fn secrets_are_masked_wherever_the_pieces_end() {
        let masks = Masks::default();
        masks.set(aigis_node::mask::Mask::of([&b"hunter2-hunter2"[..]]));
        let logs = Logs::new(&masks);
        logs.stderr(b"one hunter2-");
        logs.stderr(b"hunter2\ntwo hunter2-hun");
        logs.end();
        logs.stray(b"three hunter2-hunter2\n");
        logs.stray(b"hunter2-");
        logs.stray_end();
        let told: Vec<Value> = lines(&logs, 10).await.into_iter().map(|(line, _)| line).collect();
        assert_eq!(told, ["one ***", "two hunter2-hun", "three ***", "hunter2-"]);
    }

    #[tokio::test]
    async fn a_line_without_end_is_cut_and_nothing_grows() {
        let logs = Logs::new(&Masks::default());
        for _ in 0..1_000 {
            logs.stderr(&[b'x'; 50_000]);
        }
        assert!(logs.ring().bytes <= KEPT.1 && logs.ring().half.len() <= LONGEST);
        assert!(lines(&logs, 1).await.iter().all(|(_, partial)| *partial));
    }

    #[tokio::test]
    async fn a_follower_gets_what_is_still_to_come() {
        let logs = Logs::new(&Masks::default());
        logs.stderr(b"old\n");
        let mut following = Box::pin(logs.clone().read(1, true));
        assert_eq!(following.next().await.unwrap().unwrap().line, "old");
        assert!(following.next().now_or_never().is_none());
        logs.stderr(b"new\n");
        assert_eq!(following.next().await.unwrap().unwrap().line, "new");
    }
}
