//! Skills: typed functions of a CI, with their schema, effect and words, run by one piece of code wherever the call
//! comes from.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use futures::future::BoxFuture;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::{
    envelope::{DEFAULT_TIMEOUT, Meta, Request},
    error::{Code, Error},
    name::{Name, NodeName, SkillPath},
    role::Effect,
    subject::Caller,
};

mod answer;
mod arguments;
mod table;

pub(crate) use answer::Granting;
pub use answer::{Answer, Bodies, value_of};
pub(crate) use arguments::named_arguments;
pub use arguments::{Input, Nothing, arguments};
pub use table::Table;
pub(crate) use table::{frames, schema};

/// What is known of a skill without running it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SkillInfo {
    /// Its path within the CI.
    pub path: SkillPath,
    /// What it does to the world.
    pub effect: Effect,
    /// Whether it answers with a stream of frames.
    pub stream: bool,
    /// What it does, in a sentence.
    pub doc: String,
    /// JSON Schema of the arguments, as an object by name.
    pub input: Value,
    /// JSON Schema of the result, or of each frame.
    pub output: Value,
    /// The deadline of a call that names none.
    #[serde(skip)]
    pub timeout: Option<Duration>,
}

impl SkillInfo {
    /// Whether a call needs at least one argument.
    #[must_use]
    pub fn requires_input(&self) -> bool {
        self.input.get("required").and_then(Value::as_array).is_some_and(|required| !required.is_empty())
    }
}

/// A call as its callee sees it.
#[derive(Debug, Clone)]
pub struct Call {
    /// Who calls, as the bus vouches for it.
    pub caller: Caller,
    /// The CI's name as the caller said it: the name itself, an alias, or a service.
    pub addressed: Name,
    /// The arguments; for a skill that [takes bodies](Ci::takes_bodies) only what stands around them.
    pub request: Request,
    /// The whole envelope as it came, for a skill that [takes bodies](Ci::takes_bodies); else nothing.
    pub body: Bytes,
    /// When the answer is no longer awaited.
    pub deadline: Instant,
    /// Set when the caller gives up.
    pub cancelled: CancellationToken,
}

impl Call {
    /// What is left until the deadline.
    #[must_use]
    pub fn remaining(&self) -> Duration {
        self.deadline.saturating_duration_since(Instant::now())
    }

    /// The metadata.
    #[must_use]
    pub fn meta(&self) -> &Meta {
        &self.request.meta
    }

    /// The call of another skill within this one: by the same caller, with its time and its cancel.
    #[must_use]
    pub fn within(&self, ci: &dyn Ci, path: &str, request: Request) -> Self {
        let (request, body) = if ci.takes_bodies(path) {
            (Request { meta: request.meta.clone(), ..Request::default() }, request.to_bytes())
        } else {
            (request, Bytes::new())
        };
        Self { request, body, ..self.clone() }
    }
}

/// Something with a name that answers.
pub trait Ci: Send + Sync + 'static {
    /// Its name.
    fn name(&self) -> &Name;
    /// The node it is served on.
    fn node(&self) -> &NodeName;
    /// What can be called.
    fn skills(&self) -> Vec<Arc<SkillInfo>>;
    /// The skill of that path.
    fn skill(&self, path: &str) -> Option<Arc<SkillInfo>>;
    /// Whether calls of that skill come with their envelope as it was sent, checked as JSON and not decoded: the order of
    /// its keys, the text of its numbers and its tagged values are the skill's own to read.
    fn takes_bodies(&self, path: &str) -> bool {
        let _ = path;
        false
    }
    /// The path of a skill at the user of the CI's own that serves it at the bus: calls by hand are handed on there, for as
    /// long as there is a [passage](crate::serve::Passage).
    fn handed_on(&self, path: &str) -> Option<SkillPath> {
        let _ = path;
        None
    }
    /// Runs a skill that [`Ci::skill`] has found. Dropping the future abandons the call.
    fn run(self: Arc<Self>, path: SkillPath, call: Call) -> BoxFuture<'static, Result<Answer, Error>>;
}

/// The error of a path that is not offered, with what is.
#[must_use]
pub fn unknown(path: &SkillPath, skills: &[Arc<SkillInfo>]) -> Error {
    let paths: Vec<&str> = skills.iter().map(|skill| skill.path.as_str()).collect();
    Error::new(Code::NotFound, format!("there is no skill \"{path}\" here"))
        .hint(format!("its skills are {}", paths.join(", ")))
        .with("skills", paths)
}

/// The deadline of a call: what its metadata says, else what the skill declares, else the default.
#[must_use]
pub fn budget(info: &SkillInfo, meta: &Meta) -> Duration {
    meta.budget(info.timeout.unwrap_or(DEFAULT_TIMEOUT))
}
