//! The task behind a stream of log frames. It reads no faster than its frames are taken, and ends with the stream.

use std::{sync::Arc, time::Duration};

use aigis_proxy::{Error, task::Owned};
use futures::{Stream, StreamExt, stream};
use time::OffsetDateTime;
use tokio::sync::mpsc;

use super::{
    super::{Bound, Container},
    Cutter, Frame, Opened, open,
};
use crate::engine::{self, ContainerId, LogQuery, State};

/// Frames that wait to be taken.
const WAITING: usize = 16;
/// How long the beginning of a line may wait for its end.
const LINE: Duration = Duration::from_millis(200);
/// How often a container that does not run is looked at, beside every change that is seen.
const LOOK: Duration = Duration::from_secs(5);
/// How long a container that is gone may take to come back.
const BACK: Duration = Duration::from_secs(10);
/// Least time between two openings of the log of one run.
const REOPEN: Duration = Duration::from_secs(1);

/// The frames of a log that was opened.
pub(super) fn frames(
    ci: Arc<Container>,
    opened: Opened,
    query: LogQuery,
    timestamps: bool,
) -> impl Stream<Item = Result<Frame, Error>> + Send + 'static {
    let (give, take) = mpsc::channel(WAITING);
    let cutter = Cutter::new(timestamps, &ci.host().masks);
    let follower = Follower { ci, query, give, cutter, last: None };
    let task = Owned::spawn("container-logs", follower.run(opened));
    stream::unfold((take, task), |(mut take, task)| async move {
        let frame = take.recv().await?;
        Some((frame, (take, task)))
    })
}

struct Follower {
    ci: Arc<Container>,
    query: LogQuery,
    give: mpsc::Sender<Result<Frame, Error>>,
    cutter: Cutter,
    /// The newest entry that was read.
    last: Option<OffsetDateTime>,
}

/// The run whose log has ended.
struct Before {
    bound: Arc<Bound>,
    started_at: Option<OffsetDateTime>,
}

/// Why following ends.
struct End;

impl Follower {
    async fn run(mut self, mut opened: Opened) {
        loop {
            if self.copy(&mut opened).await.is_err() || !self.query.follow || self.is_over() {
                return;
            }
            let before = Before { bound: opened.bound, started_at: opened.inspection.started_at };
            let Ok(next) = self.next(before).await else { return };
            opened = next;
        }
    }

    fn is_over(&self) -> bool {
        self.query.until.is_some_and(|until| OffsetDateTime::now_utc() >= until)
    }

    /// Passes on a log to its end.
    async fn copy(&mut self, opened: &mut Opened) -> Result<(), End> {
        let after = self.last;
        loop {
            let next = if self.cutter.is_empty() {
                opened.stream.next().await
            } else {
                match tokio::time::timeout(LINE, opened.stream.next()).await {
                    Ok(next) => next,
                    Err(_) if self.query.follow => {
                        self.flush().await?;
                        continue;
                    }
                    Err(_) => opened.stream.next().await,
                }
            };
            match next {
                // What was read before the log was opened again comes once more with the same instants.
                Some(Ok(entry)) if after.is_some() && entry.at <= after => {}
                Some(Ok(entry)) => {
                    self.last = entry.at.or(self.last);
                    for frame in self.cutter.push(&entry) {
                        self.give(Ok(frame)).await?;
                    }
                }
                Some(Err(error)) => {
                    self.finish().await?;
                    return self.give(Err(error.into())).await.and(Err(End));
                }
                None => return self.finish().await,
            }
        }
    }

    async fn flush(&mut self) -> Result<(), End> {
        for frame in self.cutter.flush() {
            self.give(Ok(frame)).await?;
        }
        Ok(())
    }

    async fn finish(&mut self) -> Result<(), End> {
        for frame in self.cutter.finish() {
            self.give(Ok(frame)).await?;
        }
        Ok(())
    }

    async fn give(&self, frame: Result<Frame, Error>) -> Result<(), End> {
        self.give.send(frame).await.map_err(|_| End)
    }

    async fn event(&self, event: &str, id: &ContainerId) -> Result<(), End> {
        self.give(Ok(Frame::Event { event: event.to_owned(), container_id: id.to_string() })).await
    }

    /// Waits until the container runs again, or another has its name, and opens that log.
    async fn next(&mut self, before: Before) -> Result<Opened, End> {
        let engine = self.ci.host().engine.clone();
        let mut changes = self.ci.host().watch.observation();
        let mut query = LogQuery { tail: None, since: self.last, ..self.query.clone() };
        let mut said_stopped = false;
        let mut gone_since = None;
        loop {
            if self.is_over() {
                return Err(End);
            }
            let found = match self.ci.successor(&engine, before.bound.id()).await {
                Ok(Some(successor)) => {
                    (query.since, self.last) = (self.query.since, None);
                    open(&engine, &successor, &query).await
                }
                Ok(None) => open(&engine, &before.bound, &query).await,
                Err(error) => return self.give(Err(error)).await.and(Err(End)),
            };
            match found {
                Ok(Ok(opened)) => {
                    let other = opened.bound.id() != before.bound.id();
                    let again = opened.inspection.started_at != before.started_at;
                    let runs = matches!(opened.inspection.state, State::Running | State::Paused);
                    if other || again {
                        self.event(if other { "recreated" } else { "started" }, opened.bound.id()).await?;
                        return Ok(opened);
                    }
                    if runs {
                        // The engine ended the stream of a container that runs on: its log was rotated away, say.
                        tokio::time::sleep(REOPEN).await;
                        return Ok(opened);
                    }
                    gone_since = None;
                    if !std::mem::replace(&mut said_stopped, true) {
                        self.event("stopped", before.bound.id()).await?;
                    }
                }
                Ok(Err(unreadable)) => {
                    if let Err(error) = super::readable(Err(unreadable)) {
                        self.give(Err(error)).await?;
                    }
                    return Err(End);
                }
                // A container that is being removed refuses before it is gone.
                Err(engine::Error::NotFound { .. } | engine::Error::Conflict { .. }) => {
                    let since = *gone_since.get_or_insert_with(tokio::time::Instant::now);
                    if since.elapsed() > BACK {
                        return self.give(Err(self.ci.removed())).await.and(Err(End));
                    }
                }
                Err(error) => return self.give(Err(error.into())).await.and(Err(End)),
            }
            // Either a change is seen or the time has come: both mean to look again. A watcher that is gone must not
            // make this spin.
            let limit = if gone_since.is_some() { REOPEN } else { LOOK };
            if let Ok(Err(_)) = tokio::time::timeout(limit, changes.changed()).await {
                tokio::time::sleep(limit).await;
            }
        }
    }
}
