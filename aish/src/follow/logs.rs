//! The logs of a chain's steps, each to its end before the next: live from whoever holds the chain, then from what is kept.

use std::{collections::BTreeMap, time::Duration};

use aigis_proxy::{
    Bus, Code, Error, NodeName,
    blob::{Life, Store},
    chain::ChainId,
};
use aigis_registry::shared::{ChainRecord, LogNote, StepRecord, StepStatus};
use futures::{FutureExt as _, future::BoxFuture};
use serde_json::json;
use tokio::time::sleep;

use super::teller::Teller;
use crate::{coordinator::Coordinator, exit::Failure};

/// How long is waited after a question that could not be answered.
const PAUSE: Duration = Duration::from_secs(1);
/// How long is waited after an answer without anything in it.
const SHORT: Duration = Duration::from_millis(100);
/// How often a log that is kept is tried to be had.
const TRIES: u32 = 10;

/// Where the log of a step comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Wanted {
    /// The coordinator of that node, which holds the chain.
    Live { node: NodeName, step: u32, attempt: u32 },
    /// What is kept.
    Kept { step: u32, note: LogNote },
}

/// What was read of a log.
#[derive(Debug)]
pub(crate) struct Piece {
    wanted: Wanted,
    result: Result<Read, Error>,
}

#[derive(Debug)]
struct Read {
    bytes: Vec<u8>,
    /// Where the log goes on behind it.
    next: u64,
    /// How many bytes before it are not kept.
    dropped: u64,
    progress: Option<(u32, String)>,
    is_last: bool,
}

/// How far the logs were told.
pub(crate) struct Logs {
    bus: Bus,
    chain: ChainId,
    /// The step that is told, from 1.
    step: u32,
    attempt: u32,
    /// Up to which byte of its log.
    at: u64,
    /// A line that is not whole yet.
    line: Vec<u8>,
    /// Whether all of the live log was read.
    live_ended: bool,
    tries: u32,
    progress: Option<(u32, String)>,
    reading: Option<(Wanted, BoxFuture<'static, Piece>)>,
}

impl Logs {
    /// Begins with the first step.
    pub(crate) fn new(bus: &Bus, chain: &ChainId) -> Self {
        let (bus, chain) = (bus.clone(), chain.clone());
        let (line, progress, reading) = (Vec::new(), None, None);
        Self { bus, chain, step: 1, attempt: 0, at: 0, line, live_ended: false, tries: 0, progress, reading }
    }

    /// Whether all that has happened so far was told.
    pub(crate) fn is_told(&self, steps: &BTreeMap<u32, StepRecord>) -> bool {
        steps.keys().all(|step| *step < self.step)
    }

    /// Takes note of how the chain and its steps stand: tells what has begun or ended, and begins to read what is to be told.
    ///
    /// # Errors
    ///
    /// What keeps from writing.
    pub(crate) async fn update(
        &mut self,
        chain: &ChainRecord,
        steps: &BTreeMap<u32, StepRecord>,
        teller: &Teller,
    ) -> Result<(), Failure> {
        // Each round tells one step to its end.
        while let Some(step) = steps.get(&self.step) {
            if step.status == StepStatus::Superseded {
                self.go_on();
                continue;
            }
            if step.attempt != self.attempt {
                self.begin(step, teller).await?;
            }
            let wanted = match (step.status, step.log) {
                (StepStatus::Running, _) if self.live_ended => None,
                (StepStatus::Running, _) => chain.holder.as_ref().map(|holder| Wanted::Live {
                    node: holder.node.clone(),
                    step: step.n,
                    attempt: step.attempt,
                }),
                (_, Some(note)) if self.tries < TRIES && self.at < note.blob.size + note.dropped => {
                    Some(Wanted::Kept { step: step.n, note })
                }
                _ => {
                    self.end(step, teller).await?;
                    continue;
                }
            };
            if self.reading.as_ref().map(|(reading, _)| reading) != wanted.as_ref() {
                self.reading = wanted.map(|wanted| (wanted.clone(), self.read(wanted)));
            }
            return Ok(());
        }
        self.reading = None;
        Ok(())
    }

    async fn begin(&mut self, step: &StepRecord, teller: &Teller) -> Result<(), Failure> {
        let StepRecord { n, attempt, assistant, node, .. } = step;
        let at = node.as_ref().map(|node| format!(" on {node}")).unwrap_or_default();
        let again = if *attempt > 1 { format!(", attempt {attempt}") } else { String::new() };
        let why = step.earlier.last().filter(|_| *attempt > 1).map(|why| format!(" ({why})")).unwrap_or_default();
        let fields = json!({"n": n, "attempt": attempt, "assistant": assistant, "node": node, "status": "running"});
        teller.event("step", fields, format!("step {n}: {assistant}{at}{again}{why}")).await?;
        (self.attempt, self.at, self.live_ended, self.tries) = (*attempt, 0, false, 0);
        self.line.clear();
        Ok(())
    }

    async fn end(&mut self, step: &StepRecord, teller: &Teller) -> Result<(), Failure> {
        let rest = std::mem::take(&mut self.line);
        if !rest.is_empty() {
            teller.log(step.n, &step.assistant, rest).await?;
        }
        for warning in &step.warnings {
            teller.note(format!("{}: {warning}", step.assistant)).await?;
        }
        let StepRecord { n, attempt, assistant, node, status, exit_code, error, next, .. } = step;
        let words = match status {
            // Why is told at the end, which this is.
            StepStatus::Failed => format!("step {n}: {assistant} failed{}", took(step, "after")),
            StepStatus::Cached => format!("step {n}: {assistant} is cached"),
            StepStatus::Cancelled => format!("step {n}: {assistant} was ended"),
            StepStatus::Done => format!("step {n}: {assistant} done{}", took(step, "in")),
            StepStatus::Running | StepStatus::Superseded => String::new(),
        };
        let fields = json!({
            "n": n, "attempt": attempt, "assistant": assistant, "node": node, "status": status, "exit_code": exit_code,
            "next": next, "error": error,
        });
        teller.event("step", fields, words).await?;
        self.go_on();
        Ok(())
    }

    fn go_on(&mut self) {
        self.step += 1;
        (self.attempt, self.at, self.live_ended, self.tries) = (0, 0, false, 0);
        self.line.clear();
        self.reading = None;
    }

    fn read(&self, wanted: Wanted) -> BoxFuture<'static, Piece> {
        let (bus, chain, at, tries) = (self.bus.clone(), self.chain.clone(), self.at, self.tries);
        async move {
            if tries > 0 {
                sleep(PAUSE).await;
            }
            let result = match &wanted {
                Wanted::Live { node, step, .. } => live(&bus, node, &chain, *step, at).await,
                Wanted::Kept { note, .. } => kept(&bus, note, at).await,
            };
            Piece { wanted, result }
        }
        .boxed()
    }

    /// Waits for what is next; never ends while nothing is read.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    pub(crate) async fn next(&mut self) -> Piece {
        match &mut self.reading {
            Some((_, reading)) => {
                let piece = reading.await;
                self.reading = None;
                piece
            }
            None => std::future::pending().await,
        }
    }

    /// Tells what was read. Then [`Logs::update`] is due.
    ///
    /// # Errors
    ///
    /// What keeps from writing.
    pub(crate) async fn take(
        &mut self,
        piece: Piece,
        steps: &BTreeMap<u32, StepRecord>,
        teller: &Teller,
    ) -> Result<(), Failure> {
        let Some(step) = steps.get(&self.step) else { return Ok(()) };
        let (at, is_kept) = match &piece.wanted {
            Wanted::Live { step, attempt, .. } => ((*step, *attempt), false),
            Wanted::Kept { step, .. } => ((*step, self.attempt), true),
        };
        if at != (self.step, self.attempt) {
            return Ok(());
        }
        let read = match piece.result {
            Ok(read) => read,
            Err(error) => {
                tracing::debug!(%error, step = self.step, "the log of a step cannot be read now");
                // What is lost for good is not waited for.
                let lost = is_kept && matches!(error.code, Code::NotFound | Code::DataLoss);
                self.tries = if lost { TRIES } else { self.tries.saturating_add(1) };
                if is_kept && self.tries >= TRIES {
                    teller
                        .note(format!("the rest of the log of step {} cannot be had: {}", self.step, error.message))
                        .await?;
                }
                return Ok(());
            }
        };
        self.tries = 0;
        if read.dropped > 0 {
            teller.note(format!("{} bytes of the log were not kept", read.dropped)).await?;
        }
        self.at = read.next;
        self.live_ended |= read.is_last;
        self.line.extend_from_slice(&read.bytes);
        if let Some(end) = self.line.iter().rposition(|byte| *byte == b'\n') {
            let rest = self.line.split_off(end + 1);
            let lines = std::mem::replace(&mut self.line, rest);
            teller.log(step.n, &step.assistant, lines).await?;
        }
        if let Some((of_thousand, text)) = read.progress.clone().filter(|_| read.progress != self.progress) {
            let percent = of_thousand / 10;
            let fields =
                json!({"n": step.n, "status": "running", "progress": f64::from(of_thousand) / 1000.0, "text": text});
            teller.event("step", fields, format!("[{}] {percent} % {text}", step.assistant)).await?;
        }
        self.progress = read.progress;
        Ok(())
    }
}

async fn live(bus: &Bus, node: &NodeName, chain: &ChainId, step: u32, at: u64) -> Result<Read, Error> {
    let piece = Coordinator::of(bus, node).log(chain, step, at).await?;
    let bytes = piece.log.0.to_vec();
    if bytes.is_empty() && !piece.is_last {
        sleep(SHORT).await;
    }
    let next = piece.from + bytes.len() as u64;
    let dropped = if bytes.is_empty() { 0 } else { piece.from.saturating_sub(at) };
    Ok(Read { bytes, next: next.max(at), dropped, progress: piece.progress, is_last: piece.is_last })
}

async fn kept(bus: &Bus, note: &LogNote, at: u64) -> Result<Read, Error> {
    let mut whole = Store::new(bus).read(Life::Kept, &note.blob).await?;
    let (from, dropped) = place(note, at);
    let bytes = whole.split_off(usize::try_from(from).unwrap_or(usize::MAX).min(whole.len()));
    Ok(Read { bytes, next: note.blob.size + note.dropped, dropped, progress: None, is_last: true })
}

/// Where in what is kept of a log the byte `at` of the whole stands, and how many before the next are not kept. What was
/// left out stood in the middle.
fn place(note: &LogNote, at: u64) -> (u64, u64) {
    let half = note.blob.size / 2;
    if note.dropped == 0 || at <= half {
        (at, note.dropped)
    } else if at >= half + note.dropped {
        (at - note.dropped, 0)
    } else {
        (half, half + note.dropped - at)
    }
}

/// How long a step took, without what it waited for an answer; nothing for one that was over at once.
fn took(step: &StepRecord, word: &str) -> String {
    let Some(ended) = step.ended_at else { return String::new() };
    let asked = i64::try_from(step.asked_s).unwrap_or(i64::MAX);
    let tenths = (ended.time() - step.started_at.time()).whole_milliseconds() / 100 - i128::from(asked) * 10;
    match tenths {
        ..1 => String::new(),
        1..600 => format!(" {word} {}.{} s", tenths / 10, tenths % 10),
        _ => format!(" {word} {} min {} s", tenths / 600, tenths / 10 % 60),
    }
}

#[cfg(test)]
mod tests {
    use aigis_proxy::blob::{Blob, Digest};

    use super::*;

    #[test]
    fn a_long_log_lacks_its_middle() {
        let note = |dropped| LogNote { blob: Blob { digest: Digest::of(b""), size: 10 }, dropped };
        assert_eq!(place(&note(0), 7), (7, 0));
        assert_eq!(place(&note(90), 2), (2, 90));
        assert_eq!(place(&note(90), 50), (5, 45));
        assert_eq!(place(&note(90), 97), (7, 0));
    }
}
