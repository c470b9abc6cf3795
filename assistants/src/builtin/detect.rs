//! `builtin:detect`: says what an app is, by its files, and proposes a Dockerfile: the analysis and the text of
//! `aish dockerfile`.

use std::path::Path;

use aigis_deploy::{
    Tree,
    dockerfile::{self, Proposal, Refusal, Wanted},
    plan::Bases,
};
use aigis_proxy::{Code, Error};
use futures::future::BoxFuture;

use super::{
    Builtin, Context, Outcome,
    app::{App, blocking},
};

pub(super) const NAME: &str = "detect";
/// By which an app says itself how it is built.
const OWN: &str = "Dockerfile";
/// What is proposed for the analysis of a directory, and is no news for who pushed it: how Docker would be called.
const FOR_DOCKER: &str = "context";

/// Says what an app is.
#[derive(Debug)]
pub(super) struct Detect;

impl Builtin for Detect {
    fn name(&self) -> &'static str {
        NAME
    }

    fn description(&self) -> &'static str {
        "Analyses the app, and proposes a Dockerfile if it has none."
    }

    fn run<'a>(&'a self, context: &'a mut Context) -> BoxFuture<'a, Result<Outcome, Error>> {
        Box::pin(detect(context))
    }
}

async fn detect(context: &Context) -> Result<Outcome, Error> {
    let bases = context.means.bases().await?;
    let directory = context.app_dir.clone();
    let found = blocking(move || found(&directory, bases)).await?;
    let mut state = context.state.clone();
    let means = &context.means;
    match found {
        None => means.log("Dockerfile: the app says by itself how it is built"),
        Some(found) => {
            found.findings.lines().for_each(|line| means.log(line));
            found.warnings.iter().for_each(|warning| means.warn(warning));
            found.notes.iter().for_each(|note| means.log(note));
            means.log("the Dockerfile that is proposed:");
            found.dockerfile.lines().for_each(|line| means.log(&format!("  {line}")));
            state.set("dockerfile", found.dockerfile);
            if found.ports.is_empty() {
                state.clear("ports");
            } else {
                state.set("ports", serde_json::json!(found.ports).to_string());
            }
        }
    }
    Ok(Outcome { state, next: Some("builtin:dockerfile".to_owned()), ..Outcome::default() })
}

/// What was found of an app.
#[derive(Debug)]
struct Found {
    /// What it is, a line for each fact, with its rule and its places.
    findings: String,
    /// What is odd about it.
    warnings: Vec<String>,
    /// What its owner should know of the proposal.
    notes: Vec<String>,
    /// The Dockerfile, for the whole app as the context.
    dockerfile: String,
    /// The ports on which it listens.
    ports: Vec<u16>,
}

/// What is found of the app in a directory; nothing if it has a Dockerfile.
fn found(directory: &Path, bases: Bases) -> Result<Option<Found>, Error> {
    if App::new(directory).has(OWN) {
        return Ok(None);
    }
    let tree = Tree::read(directory).map_err(|error| Error::internal(format!("the app cannot be read: {error}")))?;
    let wanted = Wanted { bases, ..Wanted::default() };
    // The proposal is for a file that is not there.
    let (proposal, analysis) = dockerfile::propose(tree, &wanted, |_| None).map_err(refused)?;
    let dockerfile = proposal.in_whole_tree(&wanted.bases).map_err(|why| {
        let (application, warnings) = (proposal.plan.application.clone(), analysis.warnings.clone());
        refused(Refusal::NoPlan { application, why, warnings })
    })?;
    let Proposal { plan, notes, .. } = proposal;
    let mut notes: Vec<String> =
        notes.into_iter().filter(|note| note.code != FOR_DOCKER).map(|note| note.message).collect();
    if analysis.applications.len() > 1 {
        notes.push(format!("{} is taken: the others run when their directories are pushed", analysis.primary));
    }
    let warnings = analysis.warnings.iter().map(ToString::to_string).collect();
    Ok(Some(Found { findings: analysis.to_string(), warnings, notes, dockerfile, ports: plan.image.ports }))
}

fn refused(refusal: Refusal) -> Error {
    let hint = "write a Dockerfile, or name an assistant: aish push --assistant NAME";
    match refusal {
        Refusal::Nothing(nothing) => {
            let looked_for: Vec<String> = std::iter::once(OWN.to_owned()).chain(nothing.looked_for).collect();
            let text = format!("nothing says what the app is. Looked for: {}", looked_for.join("; "));
            Error::precondition(text).hint(hint).with("looked_for", looked_for)
        }
        other => {
            let code = match &other {
                Refusal::NoPlan { why, .. } => why.code(),
                _ => Code::FailedPrecondition,
            };
            Error::new(code, other.to_string()).hint(hint)
        }
    }
}

#[cfg(test)]
mod tests;
