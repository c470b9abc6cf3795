//! `start`, `stop` and `restart`: idempotent, and honest about what became of the container.

mod deed;

use std::{sync::Arc, time::Duration};

use aigis_proxy::{
    Effect, Error,
    skill::{Call, Input, Nothing, Table},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::time::Instant;

use super::Container;

pub(super) use deed::{Deed, Done, Target, perform};

/// The longest time that a container may be given to end.
const MOST_GRACE_S: u64 = 300;
/// What the engine gets beside the grace.
const BESIDE: Duration = Duration::from_secs(30);

#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Grace {
    /// The seconds between the stop signal and the kill.
    #[serde(default = "default_grace")]
    #[schemars(range(min = 0, max = 300))]
    grace_s: u64,
}

fn default_grace() -> u64 {
    10
}

impl Input for Grace {
    const POSITIONAL: &'static [&'static str] = &["grace_s"];
}

impl Grace {
    fn check(self) -> Result<Duration, Error> {
        if self.grace_s > MOST_GRACE_S {
            let message = format!("argument \"grace_s\" is {}; 0 to {MOST_GRACE_S} are allowed", self.grace_s);
            return Err(Error::invalid(message));
        }
        Ok(Duration::from_secs(self.grace_s))
    }
}

/// How a container was.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub(super) struct Before {
    /// The engine's word.
    state: String,
    /// When it was last started.
    started_at: Option<String>,
}

/// How a container is, read at least a second later.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub(super) struct After {
    /// The engine's word.
    state: String,
    /// When it was last started.
    started_at: Option<String>,
    /// How it ended; `null` while it runs.
    exit_code: Option<i64>,
}
