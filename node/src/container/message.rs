//! `message`: free text by the grammar.

use std::{sync::Arc, time::Duration};

use aigis_proxy::{
    Effect, Error,
    skill::{Call, Ci, Input, Table},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Container, Reply, text};
use crate::message::{Answered, Message};

/// A text, and what came with it.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Said {
    /// What is said: `status`, `what is running?`, `services and health`.
    pub(crate) text: String,
    /// Input beside the text; containers take none.
    #[serde(default)]
    input: Option<Value>,
    /// Whether a skill that changes something may run.
    #[serde(default)]
    pub(crate) confirm: bool,
}

impl Input for Said {
    const POSITIONAL: &'static [&'static str] = &["text"];
}

/// What `message` answers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct Replied {
    /// The results as text.
    pub(crate) text: String,
    /// The results, in the order asked.
    pub(crate) answers: Vec<Answered>,
}

/// What a text can ask for runs with its defaults: 10 s of grace or measuring, and the engine's requests.
const WITHIN: Duration = Duration::from_secs(10 + 30);

pub(super) fn add(table: &mut Table<Container>) {
    table
        .value("message", Effect::Read, "Answers free text that asks for skills by their names.", message)
        .timeout("message", WITHIN);
}

async fn message(container: Arc<Container>, call: Call, said: Said) -> Result<Reply<Replied>, Error> {
    let look = container.look(&call, container.bound());
    let mut own_names = vec![container.name().as_str()];
    own_names.extend(container.alias().map(aigis_proxy::Name::as_str));
    let message = Message { text: &said.text, confirm: said.confirm, own_names: &own_names };
    let ci = container.face();
    let dispatcher = container.host().dispatcher();
    // Boxed: what it runs may be any skill of this table, this one not among them.
    let (text, answers) = Box::pin(crate::message::answer(ci, message, &call, dispatcher, text::render)).await?;
    let notes = match &said.input {
        None | Some(Value::Null) => Vec::new(),
        Some(Value::String(input)) => {
            vec![format!("{} bytes of input were not used: a container takes none", input.len())]
        }
        Some(_) => vec!["the input was not used: a container takes none".to_owned()],
    };
    Ok(container.reply(&call, &look, Replied { text, answers }, notes))
}
