//! A plugin as a CI: its own skills, which run where the plugin runs, and the standard ones, which the node answers.

use std::{
    fmt,
    sync::{Arc, LazyLock, Weak},
    time::Duration,
};

use aigis_proxy::{
    Code, Effect, Error, Name, NodeName, SkillPath,
    bridge::{Answered, Invocation},
    dispatch::Dispatcher,
    skill::{Answer, Bodies, Call, Ci, Input, Nothing, SkillInfo, Table},
};
use aigis_registry::Timestamp;
use futures::{FutureExt, StreamExt as _, future::BoxFuture};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    Hosting, logs,
    plugin::{InFlight, Plugin, Seat},
    standing::State,
    status::{Description, Health, Status},
};
use crate::{
    container::Said,
    message::{self, Answered as Told, Message},
};

/// The first name of a handle's path: what it may is known only where the object lives.
const HANDLE: &str = "_ref.";
/// How long bringing and installing a plugin may take.
const LONG: Duration = Duration::from_secs(30 * 60);
/// The skill that no skill of the plugin's own takes the place of.
const ALWAYS: &str = "describe";

/// A plugin of this node as a CI.
pub(crate) struct PluginCi {
    /// Its name; under its alias it has the standard skills alone.
    name: Name,
    node: NodeName,
    plugin: Arc<Plugin>,
    hosting: Weak<Hosting>,
    dispatcher: Dispatcher,
}

impl fmt::Debug for PluginCi {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PluginCi").field("name", &self.name).finish_non_exhaustive()
    }
}

/// What a path may mean besides the standard skills.
enum Own {
    /// An object of the plugin.
    Handle,
    /// One of its skills, by its whole name.
    Leaf(SkillPath, Arc<SkillInfo>),
}

/// What `reload` may be told.
#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Reload {
    /// Whether all is brought and installed anew, and what the plugin wrote is gone.
    #[serde(default)]
    fresh: bool,
}

impl Input for Reload {}

/// What a change answers.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
struct Changed {
    ci: String,
    node: String,
    observed_at: String,
    state: String,
    notes: Vec<String>,
}

/// What `message` answers.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
struct Replied {
    ci: String,
    node: String,
    text: String,
    answers: Vec<Told>,
}

static TABLE: LazyLock<Table<PluginCi>> = LazyLock::new(|| {
    let mut table = Table::new();
    table.value(
        "describe",
        Effect::Read,
        "Says what this plugin is, where it comes from, and what can be called.",
        async |ci: Arc<PluginCi>, _, _: Nothing| Ok(Description::of(&ci.plugin, &ci.node, &TABLE.skills())),
    );
    table.value("status", Effect::Read, "Says how the plugin stands.", async |ci: Arc<PluginCi>, _, _: Nothing| {
        Ok(Status::of(&ci.plugin, &ci.node).await)
    });
    table.value("health", Effect::Read, "Judges the plugin.", async |ci: Arc<PluginCi>, _, _: Nothing| {
        Ok(Health::of(&Status::of(&ci.plugin, &ci.node).await))
    });
    table.value(
        "message",
        Effect::Read,
        "Answers free text by the plugin's standard skills.",
        async |ci: Arc<PluginCi>, call: Call, said: Said| ci.message(call, said).await,
    );
    table.stream(
        "logs",
        Effect::Read,
        "Shows what the plugin said; with follow, also what it says next.",
        async |ci: Arc<PluginCi>, _, wanted: logs::Logs| logs::lines(ci.plugin.journal.clone(), wanted).await,
    );
    table.value("start", Effect::Write, "Starts the plugin.", async |ci: Arc<PluginCi>, _, _: Nothing| {
        ci.hosting()?.start(&ci.plugin.name).await?;
        Ok(ci.changed())
    });
    table.value("stop", Effect::Write, "Stops the plugin.", async |ci: Arc<PluginCi>, _, _: Nothing| {
        ci.hosting()?.stop(&ci.plugin.name).await?;
        Ok(ci.changed())
    });
    table.value(
        "restart",
        Effect::Write,
        "Stops the plugin and starts it again as it is.",
        async |ci: Arc<PluginCi>, _, _: Nothing| {
            let hosting = ci.hosting()?;
            hosting.stop(&ci.plugin.name).await?;
            hosting.start(&ci.plugin.name).await?;
            Ok(ci.changed())
        },
    );
    table.value(
        "reload",
        Effect::Write,
        "Brings what is new of the plugin, and runs that; what is wrong with it leaves the old one running.",
        async |ci: Arc<PluginCi>, _, Reload { fresh }: Reload| {
            ci.hosting()?.reload(&ci.plugin.name, fresh).await?;
            Ok(ci.changed())
        },
    );
    for path in ["start", "restart", "reload"] {
        table.timeout(path, LONG);
    }
    table
});

/// The skills that every plugin has.
#[must_use]
pub(crate) fn standard() -> Vec<Arc<SkillInfo>> {
    TABLE.skills()
}

/// A path below a handle: its effect is judged where the object lives, by what the caller may.
static HANDLES: LazyLock<Option<Arc<SkillInfo>>> = LazyLock::new(|| {
    let path = SkillPath::parse("_ref").ok()?;
    Some(Arc::new(SkillInfo {
        path,
        effect: Effect::Read,
        stream: false,
        doc: "Uses an object that could not travel.".to_owned(),
        input: serde_json::Value::Bool(true),
        output: serde_json::Value::Bool(true),
        timeout: None,
    }))
});

impl PluginCi {
    /// The plugin under its own name, or under its alias.
    pub(crate) fn new(
        name: Name,
        node: NodeName,
        plugin: Arc<Plugin>,
        hosting: Weak<Hosting>,
        dispatcher: Dispatcher,
    ) -> Arc<Self> {
        Arc::new(Self { name, node, plugin, hosting, dispatcher })
    }

    fn hosting(&self) -> Result<Arc<Hosting>, Error> {
        self.hosting.upgrade().ok_or_else(|| Error::unavailable("the node ends").sent(false))
    }

    fn is_alias(&self) -> bool {
        self.name != self.plugin.name
    }

    fn changed(&self) -> Changed {
        let standing = self.plugin.standing();
        Changed {
            ci: self.plugin.name.to_string(),
            node: self.node.to_string(),
            observed_at: Timestamp::now().to_string(),
            state: standing.state.as_str().to_owned(),
            notes: Vec::new(),
        }
    }

    /// What of the plugin's own a path means; none where it is a standard skill, or nothing.
    fn own(&self, path: &str) -> Option<Own> {
        if self.is_alias() || path == ALWAYS {
            return None;
        }
        if path.starts_with(HANDLE) {
            return Some(Own::Handle);
        }
        let exposed = self.plugin.exposed();
        exposed.find(&self.plugin.name, path).map(|(path, leaf)| Own::Leaf(path, leaf.info.clone()))
    }

    async fn message(self: Arc<Self>, call: Call, said: Said) -> Result<Replied, Error> {
        let (ci, node) = (self.plugin.name.to_string(), self.node.to_string());
        let dispatcher = self.dispatcher.clone();
        let message = Message { text: &said.text, confirm: said.confirm, own_names: &[&ci] };
        let answered = message::answer(self, message, &call, Some(&dispatcher), super::text::render);
        let (text, answers) = Box::pin(answered).await?;
        Ok(Replied { ci, node, text, answers })
    }

    /// Runs a skill of the plugin itself, or uses one of its objects.
    async fn invoke(self: Arc<Self>, path: SkillPath, is_handle: bool, call: Call) -> Result<Answer, Error> {
        let in_flight = self.plugin.begin();
        if is_handle {
            let invocation = self.invocation(path.clone(), None, &call);
            match self.hosting()?.use_object(&self.plugin.name, invocation).await {
                None => {}
                // It may be one of what the core host loaded of the same plugin.
                Some(Err(error)) if error.code == Code::FailedPrecondition && self.plugin.seat().is_some() => {}
                Some(answered) => return answered.map(|answered| answer(answered, in_flight)),
            }
        }
        if self.plugin.server().is_some() {
            return Err(self.elsewhere(&path));
        }
        let mut seat = self.plugin.seated(call.remaining()).await?;
        let invoke = async |seat: &Seat| {
            let generation = (!is_handle).then_some(seat.generation);
            seat.core.invoke(self.invocation(path.clone(), generation, &call)).await
        };
        let mut invoked = invoke(&seat).await;
        // A reload may come between finding the seat and using it: what was not sent is sent to where the plugin is now.
        while let Err(error) = &invoked
            && error.code == Code::Unavailable
            && error.detail("sent") == Some(&false.into())
            && let Some(now) = self.plugin.seat().filter(|now| now.generation != seat.generation)
        {
            seat = now;
            invoked = invoke(&seat).await;
        }
        match invoked {
            Ok(answered) => Ok(answer(answered, in_flight)),
            Err(error) if error.detail("exception").is_some() && error.hint.is_none() => {
                Err(error.hint(format!("where it happened: aish plugins logs {}", self.plugin.name)))
            }
            Err(error) => Err(error),
        }
    }

    /// The error of a call here of a skill that the plugin serves at the bus by itself.
    fn elsewhere(&self, path: &SkillPath) -> Error {
        if self.plugin.standing().state != State::Running {
            return self.plugin.absence();
        }
        let message = format!("the plugin {} serves {path} at the bus by itself, and not over its node", self.name);
        Error::unavailable(message).hint(format!("aish call {path}")).sent(false)
    }

    fn invocation(&self, path: SkillPath, generation: Option<u64>, call: &Call) -> Invocation {
        let effects = [Effect::Admin, Effect::Write];
        let largest = effects.into_iter().find(|effect| self.dispatcher.may(&call.caller, &self.plugin.name, *effect));
        Invocation::of(call.clone(), generation, path, largest.unwrap_or(Effect::Read))
    }
}

/// What a process answered, which counts as under way until it is whole.
fn answer(answered: Answered, in_flight: InFlight) -> Answer {
    match answered {
        Answered::Value(body) => Answer::Body(body),
        Answered::Items(items) => {
            let pace = items.pace();
            let held = items.map(move |item| {
                let _ = &in_flight;
                item
            });
            Answer::Bodies(Bodies::paced(held.boxed(), move |frames| pace.grant(frames)))
        }
    }
}

impl Ci for PluginCi {
    fn name(&self) -> &Name {
        &self.name
    }

    fn node(&self) -> &NodeName {
        &self.node
    }

    fn skills(&self) -> Vec<Arc<SkillInfo>> {
        let mut skills = TABLE.skills();
        if !self.is_alias() {
            let exposed = self.plugin.exposed();
            skills.extend(exposed.leaves.values().map(|leaf| leaf.info.clone()));
        }
        skills
    }

    fn skill(&self, path: &str) -> Option<Arc<SkillInfo>> {
        match self.own(path) {
            Some(Own::Handle) => HANDLES.clone(),
            Some(Own::Leaf(_, info)) => Some(info),
            None => TABLE.skill(path),
        }
    }

    fn takes_bodies(&self, path: &str) -> bool {
        self.own(path).is_some()
    }

    fn handed_on(&self, path: &str) -> Option<SkillPath> {
        let Some(Own::Leaf(leaf, _)) = self.plugin.server().and_then(|_| self.own(path)) else { return None };
        SkillPath::parse(leaf.as_str().strip_prefix(self.name.as_str())?.strip_prefix('.')?).ok()
    }

    fn run(self: Arc<Self>, path: SkillPath, call: Call) -> BoxFuture<'static, Result<Answer, Error>> {
        match self.own(path.as_str()) {
            Some(Own::Handle) => self.invoke(path, true, call).boxed(),
            Some(Own::Leaf(leaf, _)) => self.invoke(leaf, false, call).boxed(),
            None => TABLE.run(self, &path, call),
        }
    }
}
