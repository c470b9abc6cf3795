//! One text to many CIs: who is expected is known beforehand, so silence is reported.

use std::time::Duration;

use aigis_proxy::{
    Address, Code, Error, Name, NodeName, SkillPath, client::Response, envelope::DEFAULT_TIMEOUT, quoted,
};
use aigis_registry::{Asking, Kind, Row, State};
use futures::{StreamExt, stream};
use serde_json::{Value, json};
use tokio::time::Instant;

mod spoken;

use super::list::Filter;
use crate::{ask::ask, context::Context, exit::Failure, render, values::Arguments};

/// How many calls are under way at once.
const IN_FLIGHT: usize = 64;

/// Whom a text goes to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Selector {
    /// Everyone.
    Everyone,
    /// Whose purpose has this word.
    Purpose(String),
    /// Who has this label.
    Label(String, String),
}

impl Selector {
    /// Reads what stands behind `@`.
    ///
    /// # Errors
    ///
    /// A usage error for nothing at all.
    pub(super) fn parse(text: &str) -> Result<Self, Failure> {
        if let Some((key, value)) = text.split_once('=').filter(|(key, _)| !key.is_empty()) {
            return Ok(Self::Label(key.to_owned(), value.to_owned()));
        }
        if text.is_empty() || text.contains('=') {
            return Err(Failure::usage("the selector is empty", "write @WORD of a purpose, or @KEY=VALUE of a label"));
        }
        Ok(Self::Purpose(text.to_lowercase()))
    }

    fn selects(&self, row: &Row) -> bool {
        match self {
            Self::Everyone => true,
            Self::Purpose(word) => row
                .labels
                .get("aigis.purpose")
                .is_some_and(|purpose| purpose.split([',', ' ', '\t']).any(|own| own.to_lowercase() == *word)),
            Self::Label(key, value) => row.labels.get(key) == Some(value),
        }
    }
}

/// What came of one CI.
struct Outcome {
    name: Name,
    node: Option<NodeName>,
    address: String,
    result: Result<Value, Error>,
    elapsed: Duration,
}

/// Sends a text to all that are selected, and reports all of them.
///
/// # Errors
///
/// `not_found` when nobody is selected; a failure that was reported when anyone failed.
pub(super) async fn run(
    context: &Context,
    selector: &Selector,
    kinds: &[Kind],
    nodes: &[NodeName],
    text: &str,
) -> Result<(), Failure> {
    let session = context.session().await?;
    Filter { node: nodes.to_vec(), ..Filter::default() }.check(&session.snapshot())?;
    let expected: Vec<Row> = session
        .snapshot()
        .rows()
        .into_iter()
        .filter(|row| row.state != State::Gone && row.node.is_some() && selector.selects(row))
        .filter(|row| kinds.is_empty() || kinds.contains(&row.kind))
        .filter(|row| nodes.is_empty() || row.node.as_ref().is_some_and(|node| nodes.contains(node)))
        .collect();
    if expected.is_empty() {
        let narrowed = if kinds.is_empty() && nodes.is_empty() { "" } else { " of those kinds and nodes" };
        let (what, hint) = match selector {
            Selector::Everyone => ("is registered".to_owned(), "see what there is: aish list"),
            Selector::Purpose(word) => (
                format!("has the purpose \"{}\"", quoted(word)),
                "a purpose is a whole word of the label aigis.purpose; see: aish list --json",
            ),
            Selector::Label(key, value) => {
                (format!("has the label {}={}", quoted(key), quoted(value)), "see: aish list --json")
            }
        };
        return Err(Failure::Address(Error::new(Code::NotFound, format!("no CI{narrowed} {what}")).hint(hint)));
    }
    let budget = context.global.timeout.unwrap_or(DEFAULT_TIMEOUT);
    let deadline = Instant::now() + budget;
    let session = &session;
    let mut outcomes: Vec<Outcome> =
        stream::iter(expected).map(|row| one(session, row, text, deadline)).buffer_unordered(IN_FLIGHT).collect().await;
    outcomes.sort_by(|a, b| a.address.cmp(&b.address));
    report(context, &outcomes)
}

async fn one(session: &Asking, row: Row, text: &str, deadline: Instant) -> Outcome {
    let begun = Instant::now();
    let address = Address { name: row.name.clone(), node: row.node.clone() };
    let result = answer(session, &address, text, deadline).await;
    Outcome { name: row.name, node: row.node, address: address.to_string(), result, elapsed: begun.elapsed() }
}

async fn answer(session: &Asking, address: &Address, text: &str, deadline: Instant) -> Result<Value, Error> {
    let found = session.find(address)?;
    let path = SkillPath::parse("message")?;
    let left = deadline.saturating_duration_since(Instant::now());
    if left.is_zero() {
        return Err(Error::new(Code::DeadlineExceeded, "the deadline passed before it was asked").sent(false));
    }
    // To its program a text could be an order: it gets none from a broadcast.
    if found.takes_input() && !found.reads(&path) {
        return spoken::answer(session, &found, text, deadline).await;
    }
    let arguments = Arguments { args: vec![text.into()], ..Arguments::default() };
    match ask(session, &found, &path, arguments, Some(left).into()).await? {
        Response::Value(value) => Ok(value),
        Response::Stream(_) => Err(spoken::streams()),
    }
}

fn report(context: &Context, outcomes: &[Outcome]) -> Result<(), Failure> {
    let output = &context.output;
    let answered = outcomes.iter().filter(|outcome| outcome.result.is_ok()).count();
    let failed = outcomes.len() - answered;
    if output.is_json() {
        let results: Vec<Value> = outcomes.iter().map(as_json).collect();
        output.json(&json!({"results": results, "answered": answered, "failed": failed}))?;
    } else {
        let mut first = true;
        for outcome in outcomes {
            if let Ok(value) = &outcome.result {
                let gap = if std::mem::take(&mut first) { "" } else { "\n" };
                let address = Address { name: outcome.name.clone(), node: outcome.node.clone() };
                let text = render::reply_text(value, &address);
                output.text(&format!("{gap}[{address}]\n{}", text.trim_end_matches('\n')))?;
            }
        }
        for outcome in outcomes {
            if let Err(error) = &outcome.result {
                output.aside(&format!("[{}] {}: {}", outcome.address, error.code, error.message));
            }
        }
        output.aside(&format!("{answered} answered, {failed} failed"));
    }
    if failed == 0 { Ok(()) } else { Err(Failure::Said(1)) }
}

fn as_json(outcome: &Outcome) -> Value {
    let Outcome { name, node, address, result, elapsed } = outcome;
    let milliseconds = u32::try_from(elapsed.as_millis()).unwrap_or(u32::MAX);
    json!({
        "ci": name,
        "node": node,
        "address": address,
        "ok": result.is_ok(),
        "result": result.as_ref().ok().map(render::answers),
        "error": result.as_ref().err(),
        "elapsed_s": f64::from(milliseconds) / 1000.0,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ci_70_selectors() {
        assert_eq!(Selector::parse("Coding").unwrap(), Selector::Purpose("coding".to_owned()));
        assert_eq!(Selector::parse("a.b=c=d").unwrap(), Selector::Label("a.b".to_owned(), "c=d".to_owned()));
        assert_eq!(Selector::parse("k=").unwrap(), Selector::Label("k".to_owned(), String::new()));
        for bad in ["", "=", "=x"] {
            assert_eq!(Selector::parse(bad).unwrap_err().code(), 2, "{bad}");
        }
    }
}
