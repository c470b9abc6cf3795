//! The skills by which admins ask something of a node: `cordon`, `uncordon`, `drain` and `label`.

use std::{collections::BTreeMap, sync::Arc, sync::atomic::Ordering, time::Duration};

use aigis_proxy::{
    Effect, Error,
    skill::{Call, Input, Nothing, Table},
};
use aigis_registry::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::time::Instant;

use super::OwnCi;
use crate::{container::Whole, duties::Change};

/// Longest grace of a drain.
const MOST_GRACE_S: u64 = 600;
/// What a drain gets beside the grace.
const BESIDE: Duration = Duration::from_secs(30);
/// How often a drain looks whether calls have ended.
const LOOK: Duration = Duration::from_millis(50);
/// How long a skill waits until the mesh can read what it changed.
const TOLD_WITHIN: Duration = Duration::from_secs(5);

/// How long running calls may take to end.
#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Grace {
    /// The seconds that calls in flight get.
    #[serde(default = "default_grace")]
    grace_s: Whole<0, MOST_GRACE_S>,
}

fn default_grace() -> Whole<0, MOST_GRACE_S> {
    Whole::clamped(10)
}

impl Input for Grace {
    const POSITIONAL: &'static [&'static str] = &["grace_s"];
}

/// Which labels are set and removed.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Labels {
    /// Labels to set, by key.
    #[serde(default)]
    set: BTreeMap<String, String>,
    /// Keys of labels to remove.
    #[serde(default)]
    remove: Vec<String>,
}

impl Input for Labels {
    const POSITIONAL: &'static [&'static str] = &["set", "remove"];
}

/// What holds for a node after it was asked for something.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub(crate) struct Asked {
    ci: String,
    node: String,
    observed_at: String,
    /// Whether it did not hold before.
    pub(crate) changed: bool,
    pub(crate) cordoned: bool,
    pub(crate) draining: bool,
    pub(crate) labels: BTreeMap<String, String>,
    /// Calls and streams that are still under way, but for the one that asks.
    pub(crate) calls_in_flight: usize,
    notes: Vec<String>,
}

/// Adds the skills.
pub(super) fn add(table: &mut Table<OwnCi>) {
    table
        .value(
            "cordon",
            Effect::Admin,
            "Takes in nothing new from now on.",
            async |own: Arc<OwnCi>, call, _: Nothing| own.ask(&call, Change::Cordon, "cordoned").await,
        )
        .value(
            "uncordon",
            Effect::Admin,
            "Takes things in again; ends a drain.",
            async |own: Arc<OwnCi>, call, _: Nothing| own.ask(&call, Change::Uncordon, "uncordoned").await,
        )
        .value(
            "drain",
            Effect::Admin,
            "Takes in nothing new, ends in order what is hosted for others, and waits for calls in flight.",
            async |own: Arc<OwnCi>, call, grace: Grace| own.drain(call, grace).await,
        )
        .value("label", Effect::Admin, "Sets and removes labels of the node.", async |own: Arc<OwnCi>, call, labels| {
            let Labels { set, remove } = labels;
            own.ask(&call, Change::Label(set, remove), "labelled").await
        })
        .timeout("drain", Duration::from_secs(MOST_GRACE_S) + BESIDE);
}

impl OwnCi {
    /// Makes a change, tells of it, and says what holds.
    async fn ask(&self, call: &Call, change: Change, what: &str) -> Result<Asked, Error> {
        let changed = self.duties.change(change)?;
        let asked = self.asked(call, changed).await;
        if changed {
            self.reporter.node_event(what, detail(&asked, what));
        }
        Ok(asked)
    }

    async fn drain(self: Arc<Self>, call: Call, grace: Grace) -> Result<Asked, Error> {
        let cordoned = self.duties.standing().cordoned;
        let changed = self.duties.change(Change::Drain)?;
        if changed && !cordoned {
            self.reporter.node_event("cordoned", Value::Null);
        }
        let end = Instant::now() + Duration::from_secs(grace.grace_s.get()).min(call.remaining() / 10 * 9);
        while self.others_in_flight() > 0 && Instant::now() < end {
            tokio::time::sleep(LOOK).await;
        }
        self.room.empty().await;
        let mut asked = self.asked(&call, changed).await;
        if asked.calls_in_flight > 0 {
            asked.notes.push(format!("{} calls or streams go on beyond the grace", asked.calls_in_flight));
        }
        if changed {
            self.reporter.node_event("drained", detail(&asked, "drained"));
        }
        Ok(asked)
    }

    /// Calls under way, but for the one that asks.
    fn others_in_flight(&self) -> usize {
        self.server.counters().in_flight.load(Ordering::Relaxed).saturating_sub(1)
    }

    async fn asked(&self, call: &Call, changed: bool) -> Asked {
        let mut notes = Vec::new();
        if !self.duties.told(call.remaining().min(TOLD_WITHIN)).await {
            notes.push("the mesh hears of it when the bus is back".to_owned());
        }
        let standing = self.duties.standing();
        Asked {
            ci: self.name.to_string(),
            node: self.host.node.to_string(),
            observed_at: Timestamp::now().to_string(),
            changed,
            cordoned: standing.cordoned,
            draining: standing.draining,
            labels: standing.labels,
            calls_in_flight: self.others_in_flight(),
            notes,
        }
    }
}

/// What an event says of what was asked.
fn detail(asked: &Asked, what: &str) -> Value {
    match what {
        "labelled" => json!({ "labels": asked.labels }),
        "drained" => json!({ "calls_in_flight": asked.calls_in_flight }),
        _ => Value::Null,
    }
}
