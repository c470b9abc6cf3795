//! A text to a CI whose own `message` may change something: it is read here, by the grammar, and only asks for skills.

use aigis_node::grammar::{Decision, Offered, decide, refusal};
use aigis_proxy::{Effect, Error, SkillPath, client::Response};
use aigis_registry::{Addressee, Asking};
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::{ask::ask, render, values::Arguments};

/// Runs the read skills that a text asks for, and answers as a `message` skill would.
///
/// # Errors
///
/// `invalid_argument` where nothing is run; else the failure of what was run.
pub(super) async fn answer(session: &Asking, found: &Addressee, text: &str, deadline: Instant) -> Result<Value, Error> {
    let (mut texts, mut answers) = (Vec::new(), Vec::new());
    for path in asked(found, text)? {
        let left = deadline.saturating_duration_since(Instant::now());
        let skill = SkillPath::parse(&path)?;
        match ask(session, found, &skill, Arguments::default(), Some(left).into()).await? {
            Response::Value(result) => {
                texts.push(render::text(&path, &result, &found.address));
                answers.push(json!({"skill": path, "result": result}));
            }
            Response::Stream(_) => return Err(streams()),
        }
    }
    Ok(json!({"text": texts.join("\n"), "answers": answers}))
}

/// What answers with a stream.
pub(super) fn streams() -> Error {
    Error::invalid("a stream cannot be asked of many").hint("ask one CI for it")
}

/// The read skills that a text asks for.
fn asked(found: &Addressee, text: &str) -> Result<Vec<String>, Error> {
    let notes = found.skills();
    // What needs arguments refuses a call without them by itself.
    let offered: Vec<Offered<'_>> = notes
        .iter()
        .map(|note| Offered {
            path: note.path.as_str(),
            effect: note.effect,
            stream: note.stream,
            required_input: false,
        })
        .collect();
    let decision = decide(text, &[found.name.as_str()], &offered);
    if let Decision::Run(paths) = decision {
        return Ok(paths);
    }
    let reads: Vec<&str> =
        offered.iter().filter(|skill| skill.effect == Effect::Read).map(|skill| skill.path).collect();
    let (message, data) = refusal(&decision, text, &found.address.to_string(), &reads);
    Err(Error { data: Some(data), ..Error::invalid(message) })
}
