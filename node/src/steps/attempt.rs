//! An attempt as this place knows it: what it does, what it asks, how it ended.

use std::{
    future::Future,
    io,
    sync::{Arc, Mutex, OnceLock, PoisonError},
    time::Duration,
};

use aigis_proxy::{
    Code, Error,
    blob::Content,
    chain::Attempt,
    services::steps::{Ended, Known, News, Question},
    task,
};
use tokio::{
    sync::watch,
    time::{Instant, sleep_until},
};
use tokio_util::sync::CancellationToken;

use super::{folder::Folder, log::Log, user::Answers};

/// How long somebody waits for news at most.
const NEWS: Duration = Duration::from_secs(10);
/// Most bytes of a log that travel at once.
const PIECE: usize = 256 * 1024;

/// What changes of an attempt, besides its log.
#[derive(Debug, Clone, Default)]
pub(super) struct State {
    version: u64,
    pub(super) questions: Vec<Question>,
    pub(super) progress: Option<(f64, String)>,
    pub(super) ended: Option<Box<Ended>>,
    /// Whether nothing is left of what it ran in.
    pub(super) is_cleared: bool,
}

/// An attempt that this place knows.
#[derive(Debug)]
pub(super) struct Live {
    pub(super) attempt: Attempt,
    pub(super) folder: Folder,
    pub(super) log: Log,
    pub(super) answers: Answers,
    state: watch::Sender<State>,
    end: CancellationToken,
    why: OnceLock<Error>,
    task: Mutex<Option<task::Owned>>,
}

impl Live {
    /// Opens what is on the disk of it.
    pub(super) fn open(attempt: Attempt, folder: Folder) -> io::Result<Arc<Self>> {
        let log = Log::open(folder.path())?;
        let ended = folder.ended().map(Box::new);
        // A version of a former life says nothing of this one: it must not look as if nothing were new.
        let version = u64::try_from(time::OffsetDateTime::now_utc().unix_timestamp_nanos() / 1_000_000).unwrap_or(1);
        let state = watch::Sender::new(State { version, is_cleared: ended.is_some(), ended, ..State::default() });
        let (answers, end, task) = (Answers::default(), CancellationToken::new(), Mutex::default());
        Ok(Arc::new(Self { attempt, folder, log, answers, state, end, why: OnceLock::new(), task }))
    }

    /// Has a task do its work; it ends with this.
    pub(super) fn keep(&self, task: task::Owned) {
        *self.task.lock().unwrap_or_else(PoisonError::into_inner) = Some(task);
    }

    /// Leaves its work as it is, to be taken up by another life of this process.
    pub(super) fn leave(&self) {
        *self.task.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// Changes what is known of it.
    pub(super) fn change(&self, change: impl FnOnce(&mut State)) {
        self.state.send_modify(|state| {
            change(state);
            state.version += 1;
        });
    }

    /// What is known of it, as it changes.
    pub(super) fn state(&self) -> watch::Receiver<State> {
        self.state.subscribe()
    }

    pub(super) fn is_ended(&self) -> bool {
        self.state.borrow().ended.is_some()
    }

    pub(super) fn is_asking(&self) -> bool {
        !self.state.borrow().questions.is_empty()
    }

    /// Asks it to end.
    pub(super) fn end(&self) {
        self.end_for(cancelled());
    }

    /// Asks it to end, and says why; the first reason counts.
    pub(super) fn end_for(&self, why: Error) {
        let _ = self.why.set(why);
        self.end.cancel();
    }

    /// Why it is to end.
    pub(super) fn why(&self) -> Error {
        self.why.get().cloned().unwrap_or_else(cancelled)
    }

    /// Resolves once it is to end.
    pub(super) async fn is_to_end(&self) {
        self.end.cancelled().await;
    }

    /// Does a part of the work, unless it is to end first.
    pub(super) async fn unless_ended<T>(&self, work: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
        tokio::select! {
            biased;
            () = self.end.cancelled() => Err(self.why()),
            done = work => done,
        }
    }

    /// Waits until it has ended and nothing is left of what it ran in, at most for that time.
    pub(super) async fn is_cleared(&self, within: Duration) -> bool {
        let mut state = self.state();
        let cleared = state.wait_for(|state| state.is_cleared);
        matches!(tokio::time::timeout(within, cleared).await, Ok(Ok(_)))
    }

    /// Waits until there is something that somebody does not know, or some seconds have passed.
    pub(super) async fn news(&self, known: Known) -> Result<News, Error> {
        let (mut state, mut grown) = (self.state(), self.log.grown());
        let until = Instant::now() + NEWS;
        loop {
            // The end is looked at before the log: whoever ended has written all of it.
            let State { version, questions, progress, ended, is_cleared: _ } = state.borrow_and_update().clone();
            let total = *grown.borrow_and_update();
            let is_new = version != known.version || total > known.log || ended.is_some();
            if is_new || Instant::now() >= until {
                let read = self.log.read(known.log, PIECE);
                let (bytes, log_from) =
                    read.map_err(|error| Error::internal(format!("the log cannot be read: {error}")))?;
                let is_all = log_from + bytes.len() as u64 >= total;
                let log = Content(bytes.into());
                return Ok(News { version, log, log_from, questions, progress, ended: ended.filter(|_| is_all) });
            }
            let gone = || Error::internal("the attempt is gone");
            tokio::select! {
                changed = state.changed() => changed.map_err(|_| gone())?,
                changed = grown.changed() => changed.map_err(|_| gone())?,
                () = sleep_until(until) => {}
            }
        }
    }
}

/// How an attempt ends that somebody ended.
pub(super) fn cancelled() -> Error {
    Error::new(Code::Cancelled, "the step was ended")
}
