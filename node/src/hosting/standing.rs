//! How a plugin stands: its state, how it got there, and what is said of it.

use std::time::Instant;

use aigis_proxy::{Error, NodeName};
use aigis_registry::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::places::Told;

/// What a plugin is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum State {
    /// There is no place for it yet.
    Waiting,
    /// Its source is being brought.
    Fetching,
    /// Its requirements are being installed.
    Installing,
    /// It has begun, and is not ready yet.
    Starting,
    /// It is ready.
    Running,
    /// It ended, and is started again soon.
    BackingOff,
    /// It ends again and again.
    CrashLooping,
    /// It ended well, and is not started again.
    Done,
    /// It is not started again by itself.
    Failed,
    /// Somebody stopped it.
    Stopped,
}

impl State {
    /// Its word.
    #[must_use]
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Fetching => "fetching",
            Self::Installing => "installing",
            Self::Starting => "starting",
            Self::Running => "running",
            Self::BackingOff => "backing_off",
            Self::CrashLooping => "crash_looping",
            Self::Done => "done",
            Self::Failed => "failed",
            Self::Stopped => "stopped",
        }
    }

    /// Whether the next plugin may not start yet.
    #[must_use]
    pub(crate) fn is_on_the_way(self) -> bool {
        matches!(self, Self::Fetching | Self::Installing | Self::Starting)
    }

    /// The verdict on its health, unless its calls say otherwise.
    #[must_use]
    pub(crate) fn verdict(self) -> &'static str {
        match self {
            Self::Running => "healthy",
            Self::BackingOff | Self::CrashLooping | Self::Failed => "unhealthy",
            Self::Waiting | Self::Fetching | Self::Installing | Self::Starting => "starting",
            Self::Done | Self::Stopped => "stopped",
        }
    }
}

/// How a program ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct LastExit {
    /// Its exit code, where it had one.
    pub(crate) code: Option<i32>,
    /// The signal that ended it, where one did.
    pub(crate) signal: Option<i32>,
    pub(crate) at: String,
}

/// What a runtime copy was made of.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct Origin {
    /// The source as the config file names it, without a password.
    pub(crate) url: String,
    /// The branch, tag or commit that is asked for.
    #[serde(rename = "ref")]
    pub(crate) reference: Option<String>,
    /// The commit in use.
    pub(crate) revision: Option<String>,
    /// The digest of what was delivered.
    pub(crate) digest: Option<String>,
    /// Whether the source is another by now.
    pub(crate) changed: bool,
}

/// How it stands.
#[derive(Debug, Clone)]
pub(crate) struct Standing {
    pub(crate) state: State,
    pub(crate) since: Timestamp,
    /// The process that is its own.
    pub(crate) pid: Option<u32>,
    /// Since when that runs.
    pub(crate) started: Option<(Timestamp, Instant)>,
    pub(crate) restarts: u32,
    pub(crate) last_exit: Option<LastExit>,
    pub(crate) origin: Origin,
    /// The version of its interpreter.
    pub(crate) python: Option<String>,
    pub(crate) warnings: Vec<String>,
    /// Why it is not running.
    pub(crate) error: Option<Error>,
    /// The host that runs its process, where that is not its home.
    pub(crate) place: Option<NodeName>,
    /// How many bytes that process has in memory, as the place says.
    pub(crate) memory_bytes: Option<u64>,
}

impl Standing {
    /// That of a plugin with which nothing has been done yet.
    #[must_use]
    pub(crate) fn new(origin: Origin) -> Self {
        Self {
            state: State::Fetching,
            since: Timestamp::now(),
            pid: None,
            started: None,
            restarts: 0,
            last_exit: None,
            origin,
            python: None,
            warnings: Vec::new(),
            error: None,
            place: None,
            memory_bytes: None,
        }
    }

    /// Stands as a place tells.
    pub(crate) fn mirror(&mut self, place: &NodeName, told: &Told, memory_bytes: Option<u64>) {
        let Told { state, since, pid, started_at, restarts, last_exit, python, warnings, error } = told.clone();
        let is_known = self.pid == pid && self.started.map(|(at, _)| at) == started_at;
        if !is_known {
            // The clocks of two hosts may differ: how long it runs is told by this one's.
            (self.pid, self.started) = (pid, started_at.map(|at| (at, Instant::now())));
        }
        (self.state, self.since, self.restarts, self.last_exit) = (state, since, restarts, last_exit);
        (self.python, self.warnings, self.error) = (python, warnings, error);
        (self.place, self.memory_bytes) = (Some(place.clone()), memory_bytes);
    }

    /// Goes to another state.
    pub(crate) fn enter(&mut self, state: State) {
        if self.state != state {
            (self.state, self.since) = (state, Timestamp::now());
        }
        if !matches!(state, State::Failed | State::CrashLooping | State::BackingOff | State::Waiting) {
            self.error = None;
        }
        if state != State::Running && state != State::Starting {
            (self.pid, self.started) = (None, None);
        }
    }

    /// Notes its process.
    pub(crate) fn runs(&mut self, pid: u32) {
        self.pid = Some(pid);
        self.started = Some((Timestamp::now(), Instant::now()));
    }
}
