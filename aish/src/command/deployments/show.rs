//! What is known of deployments, for who reads.

use std::{collections::BTreeSet, fmt::Write as _};

use aigis_deploy::deployment::{self, Deployment, Hold, Holds, Host, Release, Target};
use aigis_proxy::Name;
use aigis_registry::{Shared, Timestamp, shared::Key};
use serde_json::{Value, json};

use super::known;
use crate::{context::Context, exit::Failure};

const HEADER: [&str; 6] = ["PROJECT", "STATE", "RELEASE", "PACKAGE", "REPLICAS", "SINCE"];
const RELEASES: [&str; 6] = ["RELEASE", "OUTCOME", "PACKAGE", "AT", "BY", "REASON"];
/// The column of a state, in both.
const STATE: usize = 1;
/// How many digits of a package are shown.
const DIGITS: usize = 19;

pub(super) async fn list(context: &Context) -> Result<(), Failure> {
    let shared = context.session().await?.shared();
    let mut all: Vec<Deployment> =
        shared.list::<Deployment>(Key::DEPLOYMENTS).await?.into_iter().map(|(_, version)| version.content).collect();
    all.sort_by(|a, b| a.project.cmp(&b.project));
    let holds = holds(&shared).await?;
    if context.output.is_json() {
        let rows: Vec<Value> = all.iter().map(|record| row(record, &holds)).collect();
        return context.output.json(&rows);
    }
    for hold in &holds {
        let until = hold.until.map(|until| format!(" until {until}")).unwrap_or_default();
        context.output.note(&format!("{} is held by {}{until}: {}", hold.target, hold.by, hold.why));
    }
    let fields = |record: &Deployment| {
        let last = record.releases.last();
        vec![
            record.project.to_string(),
            state(record),
            last.map(|last| last.n.to_string()).unwrap_or_default(),
            last.map(short).unwrap_or_default(),
            record.placements.len().to_string(),
            last.map(|last| last.at.to_string()).unwrap_or_default(),
        ]
    };
    context.output.table(&HEADER, &all.iter().map(fields).collect::<Vec<_>>(), STATE)
}

pub(super) async fn show(context: &Context, project: &Name) -> Result<(), Failure> {
    let session = context.session().await?;
    let shared = session.shared();
    let (record, holds) = (known(&shared, project).await?, holds(&shared).await?);
    let hosts = deployment::hosts(session.bus(), &session.snapshot(), project, &BTreeSet::new()).await;
    let standing = standing(&record, &hosts);
    if context.output.is_json() {
        let mut shown = row(&record, &holds);
        shown["placements"] = placements(&record);
        shown["containers"] = standing.into();
        shown["events"] = json!(record.events);
        return context.output.json(&shown);
    }
    let mut out = format!("{project} is {}\n", state(&record));
    if let Some(last) = record.releases.last() {
        let _ = writeln!(out, "release {} of {} by {} at {}: {}", last.n, last.package, last.by, last.at, last.outcome);
        if let Some(reason) = &last.reason {
            let _ = writeln!(out, "  {reason}");
        }
    }
    for found in &standing {
        let runs = if found["is_running"] == true { "runs" } else { "does not run" };
        let text = |key: &str| found[key].as_str().unwrap_or_default().to_owned();
        let _ = writeln!(out, "{} on {} {runs}, of {}", text("name"), text("node"), text("package"));
    }
    for hold in holds.iter().filter(|hold| is_of(hold, &record)) {
        let _ = writeln!(out, "{} is held by {}: {}", hold.target, hold.by, hold.why);
    }
    context.output.text(&out)
}

pub(super) async fn history(context: &Context, project: &Name) -> Result<(), Failure> {
    let record = known(&context.session().await?.shared(), project).await?;
    if context.output.is_json() {
        return context.output.json(&record.releases.iter().map(release).collect::<Vec<_>>());
    }
    let fields = |release: &Release| {
        vec![
            release.n.to_string(),
            release.outcome.to_string(),
            short(release),
            release.at.to_string(),
            release.by.to_string(),
            release.reason.clone().unwrap_or_default(),
        ]
    };
    context.output.table(&RELEASES, &record.releases.iter().map(fields).collect::<Vec<_>>(), STATE)
}

/// Where each replica stands, and why there.
pub(in crate::command) fn placements(record: &Deployment) -> Value {
    let one = |(name, at): (&Name, &deployment::Placement)| {
        json!({
            "name": name, "container": at.container, "node": at.node, "reason": at.reason, "others": at.others,
            "unnamed": at.unnamed,
        })
    };
    record.placements.iter().map(one).collect()
}

fn release(release: &Release) -> Value {
    let containers: serde_json::Map<String, Value> =
        release.parts.iter().map(|(name, part)| (name.to_string(), json!(part.package))).collect();
    json!({
        "n": release.n, "package": release.package, "containers": containers, "at": release.at, "by": release.by,
        "outcome": release.outcome, "reason": release.reason,
    })
}

fn row(record: &Deployment, holds: &[Hold]) -> Value {
    let wanted: serde_json::Map<String, Value> =
        record.wanted.iter().map(|(name, part)| (name.to_string(), json!(part.package))).collect();
    let own: Vec<&Hold> = holds.iter().filter(|hold| is_of(hold, record)).collect();
    json!({
        "project": record.project, "state": state(record), "release": record.releases.last().map(release),
        "containers": wanted, "replicas": record.placements.len(), "holds": own, "trouble": record.trouble,
        "carried_by": record.task.as_ref().map(|task| &task.holder.node), "updated_at": record.updated_at,
    })
}

fn state(record: &Deployment) -> String {
    let last = record.releases.last().map(|last| last.outcome.to_string());
    match (&record.task, record.wanted.is_empty()) {
        (Some(_), _) => "running".to_owned(),
        (None, true) => "removed".to_owned(),
        (None, false) => last.unwrap_or_default(),
    }
}

fn short(release: &Release) -> String {
    release.package.to_string().chars().take(DIGITS).collect()
}

fn is_of(hold: &Hold, record: &Deployment) -> bool {
    match &hold.target {
        Target::All => true,
        Target::Node(node) => record.placements.values().any(|at| at.node == *node),
        Target::Project(project) | Target::Container(project, _) => *project == record.project,
    }
}

async fn holds(shared: &Shared) -> Result<Vec<Hold>, Failure> {
    let holds = shared.get::<Holds>(&Key::DeploymentHolds).await?;
    let holds = holds.map(|version| version.content).unwrap_or_default();
    let mut live: Vec<Hold> = holds.live(Timestamp::now()).cloned().collect();
    live.sort_by_key(|hold| hold.target.to_string());
    Ok(live)
}

/// What nodes have of it; of a node that says nothing, why.
fn standing(record: &Deployment, hosts: &[Host]) -> Vec<Value> {
    let mut all = Vec::new();
    for host in hosts {
        match &host.survey {
            Ok(survey) => all.extend(survey.containers.iter().map(|found| {
                json!({
                    "name": found.name, "container": found.container, "node": host.name, "id": found.id,
                    "package": found.package, "image": found.image, "is_running": found.is_running,
                })
            })),
            Err(why) => {
                let lost = record.placements.iter().filter(|(_, at)| at.node == host.name);
                all.extend(lost.map(|(name, at)| {
                    json!({"name": name, "container": at.container, "node": host.name, "is_running": null, "unknown": why})
                }));
            }
        }
    }
    all.sort_by_key(|found| found["name"].as_str().unwrap_or_default().to_owned());
    all
}
