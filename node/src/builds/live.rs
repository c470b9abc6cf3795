//! A phase that runs: what it wrote, how it ended, and whether somebody follows it.

use std::{
    collections::VecDeque,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use aigis_proxy::{
    Error,
    blob::Blob,
    services::builds::{Phase, Told},
    task,
};
use tokio::{
    sync::Notify,
    time::{Instant, timeout_at},
};
use tokio_util::sync::CancellationToken;

use crate::steps::build::Words;

/// How long a phase runs on that nobody follows.
const LEFT: Duration = Duration::from_secs(30);
/// How long somebody waits for news at most.
const NEWS: Duration = Duration::from_secs(5);
/// Most lines that are kept, and the longest of them, in bytes.
const LINES: usize = 2_000;
const LONGEST: usize = 4_000;
/// How many lines travel at once.
const AT_ONCE: usize = 200;

impl Words for Live {
    fn say(&self, line: &str) {
        Self::say(self, line);
    }

    fn output(&self, bytes: &[u8]) {
        String::from_utf8_lossy(bytes).lines().for_each(|line| Self::say(self, line));
    }
}

#[derive(Debug)]
struct State {
    lines: VecDeque<String>,
    /// The number of the first line that is kept.
    first: u64,
    heard: Instant,
    ended: Option<(Instant, Result<Blob, Error>)>,
}

/// A phase, and what it is given here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Work {
    pub(super) phase: Phase,
    /// The volume with downloads of other phases, if it shares any.
    pub(super) volume: Option<String>,
}

/// A phase or a build of an image that runs, or has ended.
#[derive(Debug)]
pub(super) struct Live {
    /// Which phase it is; none if an image is built.
    work: Option<Work>,
    state: Mutex<State>,
    changed: Notify,
    end: CancellationToken,
    task: Mutex<Option<task::Owned>>,
}

impl Live {
    /// One that nobody has followed yet.
    pub(super) fn new(work: Option<Work>) -> Self {
        let state = State { lines: VecDeque::new(), first: 0, heard: Instant::now(), ended: None };
        let (state, changed, end) = (Mutex::new(state), Notify::new(), CancellationToken::new());
        Self { work, state, changed, end, task: Mutex::default() }
    }

    /// Whether a phase that is to begin may wait for this one, which is equal and runs.
    pub(super) fn is_as(&self, other: &Self) -> bool {
        let shared = other.work.as_ref().filter(|work| !work.phase.is_fresh);
        shared.is_some() && self.work.as_ref() == shared && !self.is_ended() && !self.end.is_cancelled()
    }

    /// Somebody is about to follow it.
    pub(super) fn joined(&self) {
        self.state().heard = Instant::now();
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn keep(&self, task: task::Owned) {
        *self.task.lock().unwrap_or_else(PoisonError::into_inner) = Some(task);
    }

    pub(super) fn say(&self, line: &str) {
        let mut state = self.state();
        if state.lines.len() == LINES {
            state.lines.pop_front();
            state.first += 1;
        }
        state.lines.push_back(line.get(..line.floor_char_boundary(LONGEST)).unwrap_or_default().to_owned());
        drop(state);
        self.changed.notify_waiters();
    }

    /// The last lines.
    pub(super) fn last(&self, count: usize) -> Vec<String> {
        let state = self.state();
        let from = state.lines.len().saturating_sub(count);
        state.lines.iter().skip(from).cloned().collect()
    }

    pub(super) fn ended(&self, how: Result<Blob, Error>) {
        self.state().ended = Some((Instant::now(), how));
        self.changed.notify_waiters();
    }

    pub(super) fn end(&self) {
        self.end.cancel();
    }

    /// Ends it if nobody has followed it for long.
    pub(super) fn end_if_left(&self) {
        if self.state().heard.elapsed() > LEFT {
            self.end();
        }
    }

    /// Resolves once it is to end.
    pub(super) async fn is_to_end(&self) {
        self.end.cancelled().await;
    }

    pub(super) fn is_ended(&self) -> bool {
        self.state().ended.is_some()
    }

    pub(super) fn is_ended_since(&self) -> Option<Duration> {
        self.state().ended.as_ref().map(|(at, _)| at.elapsed())
    }

    /// Waits until there is something that somebody does not know, or some seconds have passed.
    pub(super) async fn follow(&self, from: u64) -> Told {
        let until = Instant::now() + NEWS;
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            {
                let mut state = self.state();
                state.heard = Instant::now();
                let skipped = usize::try_from(from.saturating_sub(state.first)).unwrap_or(usize::MAX);
                let lines: Vec<String> = state.lines.iter().skip(skipped).take(AT_ONCE).cloned().collect();
                let next = from.max(state.first) + lines.len() as u64;
                let is_all = next >= state.first + state.lines.len() as u64;
                let ended = state.ended.as_ref().filter(|_| is_all).map(|(_, how)| how.clone());
                if !lines.is_empty() || ended.is_some() || Instant::now() >= until {
                    return Told { lines, next, ended };
                }
            }
            let _ = timeout_at(until, changed).await;
        }
    }
}
