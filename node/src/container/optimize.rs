//! `optimize` measures and proposes; `optimize.apply` does one proposal, named by its id.

mod apply;
mod ledger;
mod observe;
mod proposals;
mod text;
mod words;

use std::{sync::Arc, time::Duration};

use aigis_proxy::{
    Effect, Error,
    skill::{Call, Input, Table},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::{Container, stamp};
use crate::naming::Action;
pub use ledger::{Error as LedgerError, Ledger};
use ledger::{Entry, PROPOSAL};
use observe::{Eyes, Observed, observe};
use proposals::{Measures, Proposal};
pub(super) use text::{applied as applied_text, proposed as proposed_text};

const MOST_WINDOW_S: u64 = 300;
const LEAST_WINDOW_S: u64 = 5;
/// How long it is measured again before a proposal is applied.
const APPLY_WINDOW: Duration = Duration::from_secs(5);
/// The grace of a restart that is proposed.
const RESTART_GRACE: Duration = Duration::from_secs(10);
/// Beside the window: the engine's requests.
const BESIDE: Duration = Duration::from_secs(30);
/// The longest action, the measuring before it and the engine's requests.
const APPLY: Duration = Duration::from_secs(Action::MOST_S + 60);

#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Window {
    /// How long to measure, in seconds.
    #[serde(default = "default_window")]
    #[schemars(range(min = 5, max = 300))]
    window_s: u64,
}

fn default_window() -> u64 {
    10
}

impl Input for Window {
    const POSITIONAL: &'static [&'static str] = &["window_s"];
}

#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Apply {
    /// The id of a proposal, as `optimize` or an undo gave it.
    id: String,
}

impl Input for Apply {
    const POSITIONAL: &'static [&'static str] = &["id"];
}
