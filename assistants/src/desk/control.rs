//! What may be done with a chain.

use aigis_proxy::{
    Error,
    chain::{Attempt, ChainId},
    rpc::{self, Asker},
    services::{
        chains::Control,
        steps::{STEPS, StepsClient},
    },
};
use aigis_registry::shared::{AppRecord, ChainRecord, Key, StepRecord, Version};
use serde_json::{Value, json};

use super::Desk;
use crate::{
    coordinator::records::{now, patiently},
    machine,
};

/// How long a place may take to take an answer.
const ANSWER: std::time::Duration = std::time::Duration::from_secs(15);

/// A request's verb, and what is put on record of it: never an answer, which may be a secret.
pub(super) fn described(chain: &ChainId, control: &Control) -> (&'static str, Value) {
    match control {
        Control::Cancel => ("cancel", json!({"chain": chain})),
        Control::Hold { why, until, now } => ("hold", json!({"chain": chain, "why": why, "until": until, "now": now})),
        Control::Resume => ("resume", json!({"chain": chain})),
        Control::Retry { from } => ("retry", json!({"chain": chain, "from": from})),
        Control::Answer { id, .. } => ("answer", json!({"chain": chain, "id": id})),
    }
}

impl Desk {
    /// Does something with a chain; answers with its status then.
    pub(super) async fn take_control(&self, chain: &ChainId, asked: Control) -> Result<String, Error> {
        if let Control::Answer { id, value } = asked {
            return self.answer(chain, id, value).await;
        }
        let records = &self.core.records;
        let steps = records.steps(chain).await?;
        if let Control::Retry { from } = asked {
            let known = records.chain(chain).await?.content;
            // What would be refused must not change the journals.
            if machine::control(&known, &steps, &asked, &self.caller.name, now())?.is_some() {
                self.take_back(&known).await?;
                for step in machine::rewound(&steps, from.unwrap_or(known.step)) {
                    patiently(|| records.journal(chain, &step, None)).await?;
                }
            }
        }
        let change = |record: &ChainRecord| machine::control(record, &steps, &asked, &self.caller.name, now());
        let version = patiently(|| records.change_chain(chain, change)).await?;
        self.core.board.note_chain(&version);
        Ok(word(&version.content))
    }

    /// Makes a chain that goes on again the one of its app, unless another one goes on: an app has one that does.
    async fn take_back(&self, chain: &ChainRecord) -> Result<(), Error> {
        let records = &self.core.records;
        let Some(app) = patiently(|| records.app(&chain.app)).await? else { return Ok(()) };
        let newer = app.content.chain;
        if newer == chain.id {
            return Ok(());
        }
        let key = Key::Chain(newer.clone());
        let other: Option<Version<ChainRecord>> = patiently(|| records.get(&key)).await?;
        if let Some(other) = other.filter(|other| other.content.status.is_under_way()) {
            let message = format!(
                "the chain {newer} of {} is {}: {} waits for its end",
                chain.app, other.content.status, chain.id
            );
            return Err(Error::precondition(message)
                .with("status", chain.status.as_str())
                .hint(format!("follow it: aish chains follow {newer}, or end it: aish chains cancel {newer}")));
        }
        let change =
            |app: &AppRecord| Ok((app.chain == newer).then(|| AppRecord { chain: chain.id.clone(), ..app.clone() }));
        patiently(|| records.change_app(&chain.app, change)).await.map(drop)
    }

    /// Gives an answer to whoever asks: a container's goes to its place and stands in no record.
    async fn answer(&self, chain: &ChainId, id: Option<String>, value: String) -> Result<String, Error> {
        let records = &self.core.records;
        let record = records.chain(chain).await?.content;
        let question = record.question.clone().filter(|question| id.as_ref().is_none_or(|id| *id == question.id));
        let Some(question) = question.or_else(|| unknown(id.as_deref())) else {
            let message = format!("the chain {chain} is {}: no step of it asks anything", record.status);
            return Err(Error::precondition(message).with("status", record.status.as_str()));
        };
        let journal: Option<Version<StepRecord>> = records.get(&Key::Step(chain.clone(), record.step)).await?;
        let journal = journal.map(|journal| journal.content).filter(|journal| journal.n == record.step);
        match journal.and_then(|journal| Some((journal.node?, journal.assistant, journal.attempt))) {
            Some((place, assistant, attempt)) if !assistant.starts_with("builtin:") => {
                let client = StepsClient::from(Asker::new(&self.core.parts.bus, place.as_str(), STEPS));
                let attempt = Attempt { chain: chain.clone(), step: record.step, attempt };
                rpc::answered(client.answer(rpc::within(ANSWER), attempt, question.id, value).await)?;
                Ok(word(&record))
            }
            _ => {
                question.check(&value)?;
                let change = |record: &ChainRecord| {
                    let mut becomes = record.clone();
                    becomes.answers.insert(question.id.clone(), value.clone());
                    Ok(Some(becomes))
                };
                let version = patiently(|| records.change_chain(chain, change)).await?;
                self.core.board.note_chain(&version);
                Ok(word(&version.content))
            }
        }
    }
}

/// A question that the record does not tell, for several may be open at a place.
fn unknown(id: Option<&str>) -> Option<aigis_proxy::services::steps::Question> {
    let id = id?.to_owned();
    Some(aigis_proxy::services::steps::Question {
        id,
        ask: String::new(),
        kind: aigis_proxy::services::steps::Ask::Text,
        choices: Vec::new(),
        default: None,
        until: String::new(),
    })
}

/// The status, which is on its way where somebody asked for its end.
fn word(record: &ChainRecord) -> String {
    let is_ending = record.cancelled_by.is_some() && !record.status.is_over();
    if is_ending { "cancelled".to_owned() } else { record.status.to_string() }
}
