//! A wrapped program as a CI: its skills.

use std::{collections::BTreeMap, sync::Arc};

use aigis_proxy::{
    Effect, Error, Name, NodeName, SkillPath,
    skill::{Answer, Call, Ci, Input, Nothing, SkillInfo, Table},
};
use aigis_registry::Timestamp;
use futures::future::BoxFuture;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{
    logs::Logs,
    program::{Handle, Status},
};

/// A message, and what came beside it.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Said {
    /// The text.
    message: String,
    /// What came beside it: text, or bytes as `$bytes`.
    #[serde(default)]
    input: Option<Value>,
    /// Taken from whoever says it, and of no use: the program's effect is declared.
    #[serde(default)]
    #[expect(dead_code, reason = "callers may say it to any CI")]
    confirm: bool,
}

impl Input for Said {
    const POSITIONAL: &'static [&'static str] = &["message"];
}

/// Which lines are wanted.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Wanted {
    /// How many of the last lines.
    #[serde(default = "usual_tail")]
    tail: u32,
    /// Whether to go on with what is said from now on.
    #[serde(default)]
    follow: bool,
}

impl Input for Wanted {
    const POSITIONAL: &'static [&'static str] = &["tail"];
}

fn usual_tail() -> u32 {
    100
}

/// What `message` answers.
#[derive(Debug, Serialize, JsonSchema)]
struct Replied {
    ci: String,
    node: String,
    /// The reply, or bytes that are no text.
    text: Value,
    #[serde(flatten)]
    more: Map<String, Value>,
}

/// What `status` answers.
#[derive(Debug, Serialize, JsonSchema)]
struct StatusView {
    ci: String,
    node: String,
    observed_at: String,
    state: String,
    pid: Option<i32>,
    started_at: Option<String>,
    /// How many messages it got.
    requests: u64,
    /// How many it works on.
    in_flight: usize,
    /// How many wait for their turn.
    queued: usize,
    /// How it ended last.
    exit_code: Option<i32>,
    /// How often it was started again.
    restarts: u64,
    notes: Vec<String>,
}

/// What `health` answers.
#[derive(Debug, Serialize, JsonSchema)]
struct Health {
    ci: String,
    node: String,
    observed_at: String,
    verdict: String,
    checks: Vec<Check>,
    notes: Vec<String>,
}

#[derive(Debug, Serialize, JsonSchema)]
struct Check {
    name: String,
    outcome: String,
    detail: String,
}

/// What `restart` and `stop` answer.
#[derive(Debug, Serialize, JsonSchema)]
struct Done {
    ci: String,
    node: String,
    observed_at: String,
    changed: bool,
    notes: Vec<String>,
}

/// What `describe` answers.
#[derive(Debug, Serialize, JsonSchema)]
struct Description {
    name: String,
    address: String,
    node: String,
    kind: String,
    state: String,
    labels: BTreeMap<String, String>,
    skills: Vec<Value>,
}

/// The program behind the skills.
#[derive(Debug)]
pub(crate) struct Wrapped {
    /// Its name.
    pub(crate) name: Name,
    /// The node that serves it.
    pub(crate) node: NodeName,
    /// Its labels.
    pub(crate) labels: BTreeMap<String, String>,
    /// The way to it.
    pub(crate) handle: Handle,
    /// What it said beside its replies.
    pub(crate) logs: Arc<Logs>,
}

impl Wrapped {
    async fn message(&self, call: Call, said: Said) -> Result<Replied, Error> {
        let input = said.input.filter(|input| !input.is_null());
        // What stands under a tag was checked when the request came in.
        if input.as_ref().is_some_and(|input| !input.is_string() && input.get("$bytes").is_none()) {
            return Err(Error::invalid("argument \"input\" is neither text nor $bytes"));
        }
        let reply = self.handle.ask(said.message, input, call.deadline.into_std()).await?;
        // What the program says does not stand for who it is.
        let more = reply.more.into_iter().filter(|(key, _)| !matches!(key.as_str(), "ci" | "node" | "text"));
        let (ci, node) = self.names();
        Ok(Replied { ci, node, text: reply.text, more: more.collect() })
    }

    fn names(&self) -> (String, String) {
        (self.name.to_string(), self.node.to_string())
    }

    fn status(&self) -> StatusView {
        let (ci, node) = self.names();
        let Status { state, pid, started_at, requests, in_flight, queued, exit_code, restarts } = self.handle.status();
        let (observed_at, state, notes) = (Timestamp::now().to_string(), state.to_owned(), Vec::new());
        StatusView {
            ci,
            node,
            observed_at,
            state,
            pid,
            started_at,
            requests,
            in_flight,
            queued,
            exit_code,
            restarts,
            notes,
        }
    }

    fn health(&self) -> Health {
        let status = self.status();
        let runs = status.state == "running";
        let detail = match status.pid {
            Some(pid) => format!("{} as process {pid}", status.state),
            None => status.state,
        };
        let check =
            Check { name: "process".to_owned(), outcome: if runs { "pass" } else { "fail" }.to_owned(), detail };
        let verdict = if runs { "healthy" } else { "unhealthy" }.to_owned();
        Health {
            ci: status.ci,
            node: status.node,
            observed_at: status.observed_at,
            verdict,
            checks: vec![check],
            notes: Vec::new(),
        }
    }

    fn done(&self) -> Done {
        let (ci, node) = self.names();
        Done { ci, node, observed_at: Timestamp::now().to_string(), changed: true, notes: Vec::new() }
    }
}

/// The CI: the program and its skills.
#[derive(Debug)]
pub(crate) struct WrappedCi {
    wrapped: Arc<Wrapped>,
    table: Table<Wrapped>,
}

impl WrappedCi {
    /// Makes the CI; `effect` is what a message to the program does.
    pub(crate) fn new(wrapped: Wrapped, effect: Effect) -> Self {
        let mut table = Table::new();
        table.value(
            "message",
            effect,
            "Passes a message to the program.",
            async |wrapped: Arc<Wrapped>, call, said| wrapped.message(call, said).await,
        );
        table.value(
            "status",
            Effect::Read,
            "Says what the program is up to.",
            async |wrapped: Arc<Wrapped>, _, _: Nothing| Ok(wrapped.status()),
        );
        table.value(
            "health",
            Effect::Read,
            "Says whether the program runs.",
            async |wrapped: Arc<Wrapped>, _, _: Nothing| Ok(wrapped.health()),
        );
        table.stream(
            "logs",
            Effect::Read,
            "What the program wrote to standard error, and what answered nobody.",
            async |wrapped: Arc<Wrapped>, _, wanted: Wanted| {
                let tail = usize::try_from(wanted.tail).unwrap_or(usize::MAX);
                Ok::<_, Error>(wrapped.logs.clone().read(tail, wanted.follow))
            },
        );
        table.value(
            "restart",
            Effect::Write,
            "Ends the program and starts it again.",
            async |wrapped: Arc<Wrapped>, _, _: Nothing| wrapped.handle.restart().await.map(|()| wrapped.done()),
        );
        table.value(
            "stop",
            Effect::Write,
            "Ends the program, and its name with it.",
            async |wrapped: Arc<Wrapped>, _, _: Nothing| wrapped.handle.stop().await.map(|()| wrapped.done()),
        );
        let mut ci = Self { wrapped: Arc::new(wrapped), table };
        ci.describe();
        ci
    }

    /// Adds the skill that names them all, itself among them.
    fn describe(&mut self) {
        self.table.value("describe", Effect::Read, "Says what this is and what can be called.", describe(Vec::new()));
        let skills = self.table.skills().iter().filter_map(|skill| serde_json::to_value(&**skill).ok()).collect();
        self.table.value("describe", Effect::Read, "Says what this is and what can be called.", describe(skills));
    }

    /// What can be called.
    pub(crate) fn table(&self) -> &Table<Wrapped> {
        &self.table
    }
}

fn describe(
    skills: Vec<Value>,
) -> impl Fn(Arc<Wrapped>, Call, Nothing) -> std::future::Ready<Result<Description, Error>> + Send + Sync {
    move |wrapped, _, _| {
        let (name, node) = wrapped.names();
        std::future::ready(Ok(Description {
            address: format!("{name}@{node}"),
            name,
            node,
            kind: "wrapped".to_owned(),
            state: "live".to_owned(),
            labels: wrapped.labels.clone(),
            skills: skills.clone(),
        }))
    }
}

impl Ci for WrappedCi {
    fn name(&self) -> &Name {
        &self.wrapped.name
    }

    fn node(&self) -> &NodeName {
        &self.wrapped.node
    }

    fn skills(&self) -> Vec<Arc<SkillInfo>> {
        self.table.skills()
    }

    fn skill(&self, path: &str) -> Option<Arc<SkillInfo>> {
        self.table.skill(path)
    }

    fn run(self: Arc<Self>, path: SkillPath, call: Call) -> BoxFuture<'static, Result<Answer, Error>> {
        self.table.run(self.wrapped.clone(), &path, call)
    }
}
