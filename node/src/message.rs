//! Free text to a CI: what the grammar decides is run, and nothing else.

use std::{sync::Arc, time::Duration};

use aigis_proxy::{
    Address, Code, Effect, Error, Meta, Request,
    dispatch::{Dispatcher, Incoming},
    skill::{self, Answer, Call, Ci, SkillInfo},
    subject::HandTarget,
};
use futures::StreamExt;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::time::Instant;

use crate::grammar::{self, Decision, Offered};

/// Most frames of a stream that a message collects.
const FRAMES: usize = 1000;
/// Most bytes of frames that a message collects.
const BYTES: usize = 512 * 1024;
/// How long a message collects a stream that has no end of its own.
const COLLECT: Duration = Duration::from_secs(5);

/// A skill that a message ran, and what it answered: for a stream, an array of its frames.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct Answered {
    /// The skill.
    pub(crate) skill: String,
    /// Its result.
    pub(crate) result: Value,
}

/// Writes a skill's result as text: skill, result, address.
pub(crate) type Render = fn(&str, &Value, &str) -> Option<String>;

/// A text to a CI.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Message<'a> {
    /// What is said.
    pub(crate) text: &'a str,
    /// Whether a skill that changes something may run.
    pub(crate) confirm: bool,
    /// The names under which the CI itself is called; the text may say them.
    pub(crate) own_names: &'a [&'a str],
}

/// Runs what `message` asks of `ci`, and answers with the text of all results and the results themselves.
///
/// What changes something is run by `dispatcher`, with the usual permission, journal and deadline.
///
/// # Errors
///
/// `invalid_argument` with `data.reason`, `data.could_ask` and `data.hint_call` where nothing is run; else the failure
/// of what was run.
pub(crate) async fn answer(
    ci: Arc<dyn Ci>,
    message: Message<'_>,
    call: &Call,
    dispatcher: Option<&Dispatcher>,
    render: Render,
) -> Result<(String, Vec<Answered>), Error> {
    let address = Address { name: ci.name().clone(), node: Some(ci.node().clone()) };
    let shown = address.to_string();
    let skills = ci.skills();
    let offered: Vec<Offered<'_>> = skills.iter().map(|info| offer(info)).collect();
    let decision = grammar::decide(message.text, message.own_names, &offered);
    let (paths, changing) = match &decision {
        Decision::Run(paths) => (paths.clone(), false),
        Decision::NeedsYes(path) if message.confirm => (vec![path.clone()], true),
        _ => return Err(refused(&decision, message.text, &shown, &skills)),
    };
    let mut answered = Vec::new();
    for path in paths {
        let info = ci.skill(&path).ok_or_else(|| Error::internal(format!("the skill {path} is not there any more")))?;
        let answer = if changing {
            change(&*ci, &address, &info, call, message.own_names, dispatcher).await?
        } else {
            let call = call.within(&*ci, &path, request(call));
            Arc::clone(&ci).run(info.path.clone(), call).await?
        };
        let result = match answer {
            Answer::Value(value) => value,
            Answer::Body(body) => skill::value_of(&body)?,
            Answer::Stream(frames) => Value::Array(collect(frames, call.deadline).await?),
            Answer::Bodies(bodies) => {
                let values = bodies.unpaced().map(|frame| skill::value_of(&frame?));
                Value::Array(collect(values.boxed(), call.deadline).await?)
            }
        };
        answered.push(Answered { skill: path, result });
    }
    let texts: Vec<String> = answered.iter().map(|one| text(one, &shown, render)).collect();
    Ok((texts.join("\n"), answered))
}

fn offer(info: &SkillInfo) -> Offered<'_> {
    Offered {
        path: info.path.as_str(),
        effect: info.effect,
        stream: info.stream,
        required_input: info.requires_input(),
    }
}

fn refused(decision: &Decision, text: &str, address: &str, skills: &[Arc<SkillInfo>]) -> Error {
    let reads: Vec<&str> =
        skills.iter().filter(|info| info.effect == Effect::Read).map(|info| info.path.as_str()).collect();
    let (message, data) = grammar::refusal(decision, text, address, &reads);
    let mut error = Error::invalid(message);
    if let Some(hint) = data.get("hint_call").and_then(Value::as_str) {
        error = error.hint(hint);
    }
    error.data = Some(data);
    error
}

/// The request of what a message runs: no arguments, and the rest of the message's own budget.
fn request(call: &Call) -> Request {
    let timeout = call.deadline.saturating_duration_since(Instant::now());
    Request { meta: Meta { timeout: Some(timeout), ..call.meta().clone() }, ..Request::default() }
}

async fn change(
    ci: &dyn Ci,
    address: &Address,
    info: &SkillInfo,
    call: &Call,
    own_names: &[&str],
    dispatcher: Option<&Dispatcher>,
) -> Result<Answer, Error> {
    // By its service's name a CI only answers what reads: which of the replicas is meant, the caller has to say.
    if !own_names.contains(&call.addressed.as_str()) {
        let message = format!("{} is a service, and {} changes one container", call.addressed, info.path);
        return Err(Error::precondition(message).hint("name a replica").with("candidates", vec![address.to_string()]));
    }
    let Some(dispatcher) = dispatcher else {
        return Err(
            Error::new(Code::Unavailable, format!("{address} cannot run what changes something yet")).sent(false)
        );
    };
    let mut request = request(call);
    if call.meta().timeout.is_none() {
        // The caller named no budget: what runs has its own, which may be longer than a message's.
        request.meta.timeout = None;
    }
    let incoming = Incoming {
        caller: call.caller.clone(),
        target: HandTarget { name: ci.name().clone(), node: Some(ci.node().clone()) },
        path: info.path.clone(),
        by_hand: false,
        body: request.to_bytes(),
        traceparent: None,
        since: Instant::now(),
        cancelled: call.cancelled.clone(),
    };
    dispatcher.answer(incoming).await
}

/// Collects a stream: to its end, or as much as a message can hold.
async fn collect(
    mut frames: futures::stream::BoxStream<'static, Result<Value, Error>>,
    deadline: Instant,
) -> Result<Vec<Value>, Error> {
    let end = deadline.min(Instant::now() + COLLECT);
    let (mut found, mut bytes) = (Vec::new(), 0);
    while found.len() < FRAMES && bytes < BYTES {
        match tokio::time::timeout_at(end, frames.next()).await {
            Ok(Some(frame)) => {
                let frame = frame?;
                bytes += frame.to_string().len();
                found.push(frame);
            }
            Ok(None) | Err(_) => break,
        }
    }
    Ok(found)
}

/// The text of one answer, ending in a newline.
fn text(answered: &Answered, address: &str, render: Render) -> String {
    let plain = |value: &Value| serde_json::to_string_pretty(value).unwrap_or_default() + "\n";
    let whole = |value: &Value| render(&answered.skill, value, address).unwrap_or_else(|| plain(value));
    match &answered.result {
        Value::Array(frames) => frames.iter().map(whole).collect(),
        result => whole(result),
    }
}
