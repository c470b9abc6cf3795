//! The skills `chain.…` of an app: what [`Chains`](super::Chains) does for `aish chains`, by the app's name.
//!
//! An app's place offers them with the app's others. They say nothing of the place, so any node answers them while it is away.

use std::sync::{Arc, LazyLock};

use futures::future::BoxFuture;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::Control;
use crate::{
    blob::Digest,
    error::Error,
    name::{Name, SkillPath},
    role::Effect,
    skill::{Answer, Call, Input, SkillInfo, Table},
    subject::Caller,
};

/// What all these skills begin with.
const PREFIX: &str = "chain.";

/// Whether a skill of an app is one of its chain.
#[must_use]
pub fn is_of_chain(path: &str) -> bool {
    path.starts_with(PREFIX)
}

/// Whoever holds chains on a node, as its apps ask it.
pub trait OfApps: Send + Sync + 'static {
    /// Whether there is an app of that name, wherever it runs.
    fn knows(&self, app: &Name) -> bool;

    /// A chain of an app with its steps, its last one if none is named.
    ///
    /// # Errors
    ///
    /// `invalid_argument` for a chain that is none of the app's; what the store says.
    fn show(&self, app: Name, chain: Option<String>) -> BoxFuture<'static, Result<Value, Error>>;

    /// Does something with a chain of an app, its last one if none is named. Whether the caller may is for whoever asks.
    ///
    /// # Errors
    ///
    /// As [`OfApps::show`]; `failed_precondition` where the chain's status does not allow it.
    fn control(
        &self,
        caller: Caller,
        app: Name,
        chain: Option<String>,
        control: Control,
    ) -> BoxFuture<'static, Result<Steered, Error>>;

    /// The tree that was pushed of an app last.
    ///
    /// # Errors
    ///
    /// `failed_precondition` where none is known yet; what the store says.
    fn pushed(&self, app: Name) -> BoxFuture<'static, Result<Digest, Error>>;

    /// Writes the state file `dockerfile` of an app; says whether it held something else.
    ///
    /// # Errors
    ///
    /// `failed_precondition` where another tree was pushed meanwhile, or a chain of the app is under way; `already_exists` for
    /// another content that is not to be replaced; what the store says.
    fn keep_dockerfile(&self, app: Name, kept: Dockerfile) -> BoxFuture<'static, Result<bool, Error>>;
}

/// The state file of an app that holds a Dockerfile.
pub const DOCKERFILE: &str = "dockerfile";

/// A Dockerfile that an app's state is to hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dockerfile {
    /// The tree for which it was proposed.
    pub tree: Digest,
    /// What it holds.
    pub content: String,
    /// Whether another content is written over.
    pub replace: bool,
}

/// What has become of a chain.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Steered {
    /// The chain.
    pub id: String,
    /// Its status then.
    pub status: String,
}

/// Which chain is meant.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Which {
    /// A chain of the app, in place of its last one.
    #[serde(default)]
    chain: Option<String>,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Hold {
    /// Why no step is to begin.
    why: String,
    /// Until when, in RFC 3339; until it is resumed if absent.
    #[serde(default)]
    until: Option<String>,
    /// Whether the running step is ended too, to run again later.
    #[serde(default)]
    now: bool,
    /// A chain of the app, in place of its last one.
    #[serde(default)]
    chain: Option<String>,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Retry {
    /// From the inputs of that step; those of the failed one if absent.
    #[serde(default)]
    from: Option<u32>,
    /// A chain of the app, in place of its last one.
    #[serde(default)]
    chain: Option<String>,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Reply {
    /// The answer.
    value: String,
    /// The question's id; the only open one if absent.
    #[serde(default)]
    id: Option<String>,
    /// A chain of the app, in place of its last one.
    #[serde(default)]
    chain: Option<String>,
}

impl Input for Which {
    const POSITIONAL: &'static [&'static str] = &["chain"];
}

impl Input for Hold {
    const POSITIONAL: &'static [&'static str] = &["why"];
}

impl Input for Retry {
    const POSITIONAL: &'static [&'static str] = &["from"];
}

impl Input for Reply {
    const POSITIONAL: &'static [&'static str] = &["value"];
}

/// An app, and who holds its chains.
struct Asked {
    app: Name,
    chains: Arc<dyn OfApps>,
}

impl Asked {
    async fn control(self: Arc<Self>, call: Call, chain: Option<String>, control: Control) -> Result<Steered, Error> {
        self.chains.control(call.caller, self.app.clone(), chain, control).await
    }
}

static TABLE: LazyLock<Table<Asked>> = LazyLock::new(|| {
    let mut table = Table::new();
    table
        .value(
            "chain.show",
            Effect::Read,
            "Shows the app's last chain with its steps: what the last push set in motion.",
            async |asked: Arc<Asked>, _: Call, which: Which| asked.chains.show(asked.app.clone(), which.chain).await,
        )
        .value(
            "chain.cancel",
            Effect::Write,
            "Ends the app's chain: its running step, and the app that it serves.",
            async |asked: Arc<Asked>, call, which: Which| asked.control(call, which.chain, Control::Cancel).await,
        )
        .value(
            "chain.hold",
            Effect::Write,
            "Lets no step of the app's chain begin, until it is resumed.",
            async |asked: Arc<Asked>, call, Hold { why, until, now, chain }: Hold| {
                asked.control(call, chain, Control::Hold { why, until, now }).await
            },
        )
        .value(
            "chain.resume",
            Effect::Write,
            "Lets the app's chain go on that was held.",
            async |asked: Arc<Asked>, call, which: Which| asked.control(call, which.chain, Control::Resume).await,
        )
        .value(
            "chain.retry",
            Effect::Write,
            "Goes on with the app's chain that failed or was cancelled.",
            async |asked: Arc<Asked>, call, Retry { from, chain }: Retry| {
                asked.control(call, chain, Control::Retry { from }).await
            },
        )
        .value(
            "chain.answer",
            Effect::Write,
            "Answers the question that a step of the app's chain asks.",
            async |asked: Arc<Asked>, call, Reply { value, id, chain }: Reply| {
                asked.control(call, chain, Control::Answer { id, value }).await
            },
        );
    table
});

/// Every skill of an app's chain, sorted by path.
#[must_use]
pub fn skills() -> Vec<Arc<SkillInfo>> {
    TABLE.skills()
}

/// Runs a skill of an app's chain, once the caller is known to be permitted to.
pub fn run(
    app: Name,
    chains: Arc<dyn OfApps>,
    path: &SkillPath,
    call: Call,
) -> BoxFuture<'static, Result<Answer, Error>> {
    TABLE.run(Arc::new(Asked { app, chains }), path, call)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_of_them_are_of_the_chain_and_only_show_reads() {
        let skills = skills();
        assert!(skills.iter().all(|skill| is_of_chain(skill.path.as_str())));
        let reading: Vec<&str> =
            skills.iter().filter(|skill| skill.effect == Effect::Read).map(|skill| skill.path.as_str()).collect();
        assert_eq!((reading, skills.len()), (vec!["chain.show"], 6));
    }
}
