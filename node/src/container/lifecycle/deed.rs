//! Starting, stopping and restarting one container, without anything of CIs.

use std::time::Duration;

use aigis_proxy::{Code, Error};
use futures::StreamExt;
use serde_json::json;
use time::OffsetDateTime;

use super::After;
use crate::engine::{self, ContainerId, Engine, Inspection, LogQuery, State};

/// The least time between a deed and the look at what became of it.
const SETTLE: Duration = Duration::from_millis(1050);
const LAST_LINES: u64 = 20;
/// Most bytes of one log line that an error carries.
const LINE: usize = 1000;

/// What is done to a container.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::container) enum Deed {
    /// Makes it run; one that is paused goes on.
    Start,
    /// Ends it.
    Stop {
        /// The time between its stop signal and the kill.
        grace: Duration,
    },
    /// Ends it, if it runs, and starts it.
    Restart {
        /// As of a stop.
        grace: Duration,
    },
}

impl Deed {
    fn verb(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Stop { .. } => "stop",
            Self::Restart { .. } => "restart",
        }
    }

    /// The time between the stop signal and the kill.
    pub(super) fn grace(self) -> Duration {
        match self {
            Self::Start => Duration::ZERO,
            Self::Stop { grace } | Self::Restart { grace } => grace,
        }
    }
}

/// What a deed did.
#[derive(Debug, Clone)]
pub(in crate::container) struct Done {
    pub(in crate::container) changed: bool,
    pub(in crate::container) before: Inspection,
    pub(in crate::container) after: Inspection,
    /// When `after` was read.
    pub(in crate::container) observed_at: OffsetDateTime,
}

/// A container, and how it is called in messages.
#[derive(Debug, Clone, Copy)]
pub(in crate::container) struct Target<'a> {
    pub(in crate::container) engine: &'a Engine,
    pub(in crate::container) id: &'a ContainerId,
    /// `web@alpha`.
    pub(in crate::container) address: &'a str,
}

impl Target<'_> {
    /// Reads the container; one that is gone is `unavailable`.
    pub(in crate::container) async fn inspect(&self) -> Result<Inspection, Error> {
        self.engine.inspect(self.id).await.map_err(|error| self.gone(error))
    }

    /// An engine's failure as a caller is told it; that there is no such container means that it was removed.
    pub(in crate::container) fn gone(&self, error: engine::Error) -> Error {
        if matches!(error, engine::Error::NotFound { .. }) { removed(self.address) } else { error.into() }
    }

    /// A refusal to do something: "not found" may also be a network or a mount that is missing.
    pub(in crate::container) async fn refused(&self, verb: &str, error: engine::Error) -> Error {
        let (code, words) = (error.code(), error.words().map(str::to_owned));
        let (Code::NotFound | Code::FailedPrecondition, Some(words)) = (code, words) else { return error.into() };
        if code == Code::NotFound && matches!(self.engine.inspect(self.id).await, Err(engine::Error::NotFound { .. })) {
            return removed(self.address);
        }
        Error::precondition(format!("the engine refused to {verb} {}: {words}", self.address))
    }
}

/// The error of a container that is gone.
pub(in crate::container) fn removed(address: &str) -> Error {
    Error::unavailable(format!("{address} was removed: its container no longer exists"))
        .hint("see when: aish list --state gone")
}

/// Does the deed and looks at what became of it.
///
/// # Errors
///
/// `failed_precondition` with the engine's words, or of a container that ended again with its exit code, its last log
/// lines and `data.after`.
pub(in crate::container) async fn perform(target: Target<'_>, deed: Deed) -> Result<Done, Error> {
    let before = target.inspect().await?;
    let idle = match deed {
        Deed::Start => before.state == State::Running,
        Deed::Stop { .. } => matches!(before.state, State::Created | State::Exited | State::Dead),
        Deed::Restart { .. } => false,
    };
    if idle {
        let after = before.clone();
        return Ok(Done { changed: false, before, after, observed_at: OffsetDateTime::now_utc() });
    }
    act(target, deed, &before).await?;
    tokio::time::sleep(SETTLE).await;
    let after = target.inspect().await?;
    let observed_at = OffsetDateTime::now_utc();
    let good = match deed {
        Deed::Stop { .. } => !after.state.has_processes() && after.state != State::Restarting,
        // The engine may have started it anew already: then it ended all the same.
        Deed::Start | Deed::Restart { .. } => {
            after.state == State::Running && (before.state == State::Paused || after.restart_count == restarts(&before))
        }
    };
    if good {
        return Ok(Done { changed: true, before, after, observed_at });
    }
    if matches!(deed, Deed::Stop { .. }) {
        let address = target.address;
        let message = format!("{address} was stopped, and something started it again: it is {}", after.state);
        return Err(Error::precondition(message).with("after", after_value(&after)));
    }
    Err(ended_again(target, deed, &after).await)
}

/// A start by hand sets the engine's count back to none.
fn restarts(before: &Inspection) -> u64 {
    if before.state == State::Restarting { before.restart_count } else { 0 }
}

async fn act(target: Target<'_>, deed: Deed, before: &Inspection) -> Result<(), Error> {
    let Target { engine, id, address } = target;
    if before.state == State::Paused {
        // One that is frozen could use no grace.
        if let Err(error) = engine.unpause(id).await {
            return Err(target.refused("resume", error).await);
        }
    }
    let outcome = match deed {
        Deed::Start if before.state == State::Paused => Ok(()),
        Deed::Start => engine.start(id).await,
        Deed::Stop { grace } => engine.stop(id, grace).await,
        Deed::Restart { grace } => engine.restart(id, grace).await,
    };
    let Err(error) = outcome else { return Ok(()) };
    let away = error.is_engine_away();
    let refused = target.refused(deed.verb(), error).await;
    if !matches!(deed, Deed::Restart { .. }) || away || refused.code != Code::FailedPrecondition {
        return Err(refused);
    }
    match engine.inspect(id).await {
        Ok(after) if before.state.has_processes() && !after.state.has_processes() => {
            let message =
                format!("{address} was stopped and could not be started: it is now stopped ({})", refused.message);
            Err(Error::precondition(message)
                .hint(format!("when that is put right: aish call {address}.start"))
                .with("after", after_value(&after)))
        }
        _ => Err(refused),
    }
}

async fn ended_again(target: Target<'_>, deed: Deed, after: &Inspection) -> Error {
    let lines = last_lines(target.engine, after).await;
    let code = after.exit_code.map_or_else(|| "an unknown exit code".to_owned(), |code| format!("exit code {code}"));
    let done = if deed == Deed::Start { "started" } else { "restarted" };
    let mut message = format!("{} was {done} and ended again with {code}", target.address);
    if let Some(last) = lines.last() {
        message.push_str(&format!("; its log ends with \"{}\"", aigis_proxy::quoted(last)));
    }
    Error::precondition(message)
        .hint(format!("read its log: aish logs {}", target.address))
        .with("exit_code", after.exit_code)
        .with("log", lines)
        .with("after", after_value(after))
}

/// The last lines of a log; none if it cannot be read, since the failure itself is the news.
async fn last_lines(engine: &Engine, container: &Inspection) -> Vec<String> {
    let query = LogQuery { tail: Some(LAST_LINES), ..LogQuery::default() };
    let Ok(log) = engine.logs(&container.id, container.tty, &query).await else { return Vec::new() };
    // A line may come in pieces of 16 KiB; the bound keeps a log of nothing but long lines small.
    let entries: Vec<_> = log.take(LAST_LINES as usize * 8).collect().await;
    let text: Vec<u8> = entries.into_iter().flatten().flat_map(|entry| entry.bytes).collect();
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<String> = text.lines().map(|line| line.chars().take(LINE).collect()).collect();
    let from = lines.len().saturating_sub(LAST_LINES as usize);
    lines.into_iter().skip(from).collect()
}

fn after_value(after: &Inspection) -> serde_json::Value {
    json!(After::of(after))
}
