//! `describe`: what the CI is, and what can be called.

use std::{collections::BTreeMap, sync::Arc};

use aigis_proxy::{
    Effect, Error,
    skill::{Call, Ci, Nothing, SkillInfo, Table},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Container, Instant, Reply, Verdict, examination::examine};
use crate::engine::State;

/// What `describe` answers: the row of the list, then skills, actions and members.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct Description {
    /// The CI's name.
    pub(crate) name: String,
    /// `NAME@NODE`.
    pub(crate) address: String,
    /// `container`.
    pub(crate) kind: String,
    /// `live`, since it answers.
    pub(crate) state: String,
    /// When the state was entered.
    pub(crate) state_since_at: Instant,
    /// Its other names.
    pub(crate) aliases: Vec<String>,
    /// The labels that its record keeps.
    pub(crate) labels: BTreeMap<String, String>,
    /// The owner's words.
    pub(crate) description: String,
    /// The service of which it is a replica.
    pub(crate) service: Option<String>,
    /// Null: it is no service.
    pub(crate) replicas: Option<Value>,
    /// What could not be followed in its name and labels.
    pub(crate) warnings: Vec<String>,
    pub(crate) container: ContainerRow,
    /// What can be called, sorted by path.
    pub(crate) skills: Vec<SkillRow>,
    /// What the owner declared, sorted by id.
    pub(crate) actions: Vec<ActionRow>,
    /// Null: it is no service.
    pub(crate) members: Option<Vec<String>>,
    /// Where it comes from, if a deployment has set it up: project, package, digests, applications, ports.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) manifest: Option<Value>,
}

/// The container in short.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct ContainerRow {
    pub(crate) id: String,
    pub(crate) name: String,
    #[schemars(with = "String")]
    pub(crate) state: State,
    pub(crate) health: Verdict,
    pub(crate) image: Option<String>,
    pub(crate) image_id: Option<String>,
    pub(crate) created_at: Option<Instant>,
}

/// A skill.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct SkillRow {
    pub(crate) path: String,
    pub(crate) effect: Effect,
    /// Whether it answers with frames.
    pub(crate) stream: bool,
    pub(crate) doc: String,
    /// JSON Schema of its arguments.
    pub(crate) input: Value,
    /// JSON Schema of its result, or of each frame.
    pub(crate) output: Value,
}

impl From<&SkillInfo> for SkillRow {
    fn from(info: &SkillInfo) -> Self {
        Self {
            path: info.path.to_string(),
            effect: info.effect,
            stream: info.stream,
            doc: info.doc.clone(),
            input: info.input.clone(),
            output: info.output.clone(),
        }
    }
}

/// An action of the owner.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct ActionRow {
    pub(crate) id: String,
    pub(crate) description: String,
}

pub(super) fn add(table: &mut Table<Container>) {
    table.value("describe", Effect::Read, "Says what the CI is and what can be called, with schemas.", describe);
}

async fn describe(container: Arc<Container>, call: Call, _: Nothing) -> Result<Reply<Description>, Error> {
    let read = |look: super::Look| async move {
        let seen = examine(&look).await?;
        let (ci, bound) = (&look.ci, &look.bound);
        let inspection = &seen.inspection;
        let description = Description {
            name: ci.name().to_string(),
            address: ci.address().to_string(),
            kind: "container".to_owned(),
            state: "live".to_owned(),
            state_since_at: bound.live_since.into(),
            aliases: ci.alias().map(ToString::to_string).into_iter().collect(),
            labels: bound.labels.clone(),
            description: bound.declared.description.clone(),
            service: bound.service().map(ToString::to_string),
            replicas: None,
            warnings: bound.warnings.clone(),
            container: ContainerRow {
                id: inspection.id.to_string(),
                name: inspection.name.clone(),
                state: inspection.state,
                health: seen.judgement.verdict,
                image: inspection.image.clone(),
                image_id: inspection.image_id.clone(),
                created_at: inspection.created_at.map(Instant),
            },
            skills: ci.face().skills().iter().map(|info| SkillRow::from(&**info)).collect(),
            actions: bound
                .declared
                .actions
                .iter()
                .map(|action| ActionRow { id: action.id.to_string(), description: action.description.clone() })
                .collect(),
            members: None,
            manifest: bound.deployed.now(ci.host(), bound.id()).about,
        };
        Ok((description, seen.notes))
    };
    container.read(&call, read).await
}
