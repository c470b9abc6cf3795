//! Beginning a change of a deployment, and following it by its record. Whoever follows decides nothing: it goes on without.

use std::time::Duration;

use aigis_deploy::{
    Digest,
    deployment::{Carrier, Deployment, Event, Order, Outcome, Release, What},
};
use aigis_proxy::{
    Code, Error, Name,
    identity::{Mandate, Purpose},
};
use aigis_registry::{
    Shared,
    shared::{Key, Seen},
};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep, timeout_at};

use crate::{context::Context, exit::Failure};

/// How long is waited for the end unless the user says otherwise.
const LONGEST: Duration = Duration::from_secs(24 * 60 * 60);
/// How long is waited where the records cannot be watched now.
const PAUSE: Duration = Duration::from_millis(500);

/// Signs and begins a change, and follows it to its end.
///
/// # Errors
///
/// What keeps it from beginning; `failed_precondition` with what a node told where it failed; `deadline_exceeded` once
/// `--timeout` is over.
pub(in crate::command) async fn begin(
    context: &Context,
    project: Name,
    what: What,
    package: Option<Digest>,
) -> Result<(), Failure> {
    let session = context.session().await?;
    let until = Instant::now() + context.global.timeout.unwrap_or(LONGEST);
    let mandate = Mandate::sign(&context.credential()?, Purpose::Deployment, project.clone(), package);
    let is_removal = matches!(what, What::Remove { .. });
    let order = Order { project: project.clone(), what, mandate };
    context.leaves(format!("it may have begun all the same: aish deployments show {project}"));
    let begun = Carrier::any(session.bus()).begin(order).await?;
    let shared = session.shared();
    if !begun.changes {
        context.output.note("all of it runs as it is wanted: nothing was changed");
        let record = super::known(&shared, &project).await?;
        return report(context, &project, record.running(), Some(&record), &[]);
    }
    let wanted = if is_removal { None } else { Some(begun.release) };
    let what = if is_removal { "removal" } else { "deployment" };
    context.leaves(format!(
        "the {what} of {project} goes on, carried by a node; how far it is: aish deployments show {project}; \
         to stop it before its next replica: aish deployments hold {project} --why TEXT"
    ));
    let following = Box::pin(follow(context, &shared, &project, wanted, begun.epoch));
    let Ok(followed) = timeout_at(until, following).await else {
        let message = format!("the deployment of {project} is not at its end");
        return Err(Error::new(Code::DeadlineExceeded, message)
            .hint(format!("it goes on; see: aish deployments show {project}"))
            .into());
    };
    tell(context, &project, followed?, wanted)
}

/// Waits for the end of a release, or of a removal; `None` once nothing is known of the project any more.
async fn follow(
    context: &Context,
    shared: &Shared,
    project: &Name,
    release: Option<u32>,
    epoch: u64,
) -> Result<Option<Deployment>, Failure> {
    let key = Key::Deployment(project.clone()).to_string();
    let mut watch = shared.watch(&[&key]);
    let mut told = 0;
    loop {
        let record = match watch.next().await {
            Ok(Seen::Record(_, None)) if release.is_none() => return Ok(None),
            Ok(Seen::Record(_, Some(raw))) => raw.read::<Deployment>()?.content,
            Ok(Seen::Damaged(_, error)) => return Err(error.into()),
            Ok(_) => continue,
            Err(error) => {
                tracing::debug!(%error, "the deployment cannot be watched now");
                sleep(PAUSE).await;
                continue;
            }
        };
        // A server of the bus that is behind may tell of what was before.
        if record.epoch < epoch {
            continue;
        }
        for event in record.events.iter().filter(|event| event.n > told) {
            if !context.output.is_json() && !context.output.is_quiet() {
                context.output.aside(&line(event));
            }
        }
        told = record.events.last().map_or(told, |last| last.n);
        let is_over = match release.and_then(|n| record.kept(n)) {
            Some(release) => release.outcome != Outcome::Running,
            None => record.task.is_none(),
        };
        if is_over {
            return Ok(Some(record));
        }
    }
}

fn line(event: &Event) -> String {
    let mut words = vec![event.what.to_string()];
    words.extend(event.name.as_ref().map(ToString::to_string));
    words.extend(event.node.as_ref().map(|node| format!("on {node}")));
    format!("{}: {}", words.join(" "), event.text)
}

fn tell(context: &Context, project: &Name, record: Option<Deployment>, release: Option<u32>) -> Result<(), Failure> {
    let released = record.as_ref().and_then(|record| record.kept(release?));
    let trouble = match released {
        // Of one that another has followed already, only the words are kept.
        Some(release) if release.outcome != Outcome::Deployed => {
            release.error.clone().or_else(|| release.reason.clone().map(Error::precondition))
        }
        Some(_) => None,
        None => record.as_ref().and_then(|record| record.trouble.clone()),
    };
    if let Some(error) = trouble {
        if !context.output.is_json() {
            for text in error.detail("lines").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str)
            {
                context.output.aside(&format!("  | {text}"));
            }
        }
        let outcome = released.map(|release| release.outcome.to_string());
        let error = Error { code: Code::FailedPrecondition, ..error };
        return Err(error.with("outcome", outcome).with("release", release).into());
    }
    let events = record.as_ref().map(|record| record.events.as_slice()).unwrap_or_default();
    report(context, project, released, record.as_ref(), events)
}

/// Tells how it stands after all went well; without a release, nothing of it runs.
fn report(
    context: &Context,
    project: &Name,
    release: Option<&Release>,
    record: Option<&Deployment>,
    events: &[Event],
) -> Result<(), Failure> {
    let outcome = release.map_or_else(|| "removed".to_owned(), |release| release.outcome.to_string());
    if context.output.is_json() {
        return context.output.json(&json!({
            "project": project, "release": release.map(|release| release.n), "outcome": outcome,
            "package": release.map(|release| release.package),
            "placements": record.map(super::show::placements).unwrap_or_default(), "events": events,
        }));
    }
    match release {
        Some(release) => context.output.text(&format!("{project} release {}: {outcome}", release.n)),
        None => context.output.text(&format!("{project} is removed")),
    }
}
