use std::fmt::Write as _;

use aigis_deploy::package::{self, Build, Check, Differences, Known, QUESTIONS, Record, Reproducible};
use clap_complete::ArgValueCompleter;
use serde_json::json;

use crate::{completion, context::Context, exit::Failure, quantity};

/// The exit code of a report that found differences.
const DIFFERS: u8 = 1;

/// How many characters of a digest are shown where it is not what was asked for: 12 of its digits.
const SHOWN: usize = 19;

/// Show a package, or in what it differs from another
#[derive(Debug, clap::Args)]
pub(super) struct Show {
    /// The package
    #[arg(value_name = "ID", add = ArgValueCompleter::new(completion::packages))]
    id: String,
    /// In what it differs from this one; exits 1 if it does
    #[arg(long, value_name = "ID", add = ArgValueCompleter::new(completion::packages))]
    against: Option<String>,
    #[command(flatten)]
    whose: super::Whose,
}

impl Show {
    pub(super) async fn run(self, context: &Context) -> Result<(), Failure> {
        let kept = self.whose.kept(context)?;
        if let Some(other) = self.against {
            let (a, b, differences) = kept
                .on_store(context, move |store| {
                    let (a, b) = (store.find(&self.id)?.record, store.find(&other)?.record);
                    let differences = Differences::of(store, &a, &b)?;
                    Ok((a, b, differences))
                })
                .await?;
            return report(context, &a, &b, &differences);
        }
        let (known, builds, checks) = kept
            .on_store(context, move |store| {
                let known = store.find(&self.id)?;
                let builds = store.builds(&known.record.inputs)?;
                let checks = package::checks(store, &known, &QUESTIONS.map(|(_, question)| question))?;
                Ok((known, builds, checks))
            })
            .await?;
        let reproducible = Reproducible::of(&builds);
        if context.output.is_json() {
            let mut row = super::row(&known);
            row["builds"] = json!(builds);
            row["reproducible"] = json!(reproducible);
            row["checks"] = json!(checks);
            return context.output.json(&row);
        }
        context.output.text(&text(&known, &builds, &checks, reproducible))
    }
}

fn report(context: &Context, a: &Record, b: &Record, differences: &Differences) -> Result<(), Failure> {
    if context.output.is_json() {
        let mut report = serde_json::to_value(differences).unwrap_or_default();
        report["a"] = json!(a.id);
        report["b"] = json!(b.id);
        context.output.json(&report)?;
    } else {
        context.output.text(&told(differences))?;
    }
    if differences.is_empty() { Ok(()) } else { Err(Failure::Said(DIFFERS)) }
}

/// A line for each difference.
fn told(differences: &Differences) -> String {
    let Differences { spec, files, locks, bases, layers } = differences;
    let mut out = String::new();
    for pointer in spec {
        let _ = writeln!(out, "manifest {pointer}");
    }
    for file in files {
        let _ = writeln!(out, "file {} {} ({})", file.application, file.path, crate::command::word(&file.kind));
    }
    for lock in locks {
        let _ = writeln!(out, "lock {}", lock.file);
    }
    for (what, all) in [("base", bases), ("layer", layers)] {
        for one in all {
            let digest = |digest: &Option<_>| digest.as_ref().map_or_else(|| "none".to_owned(), ToString::to_string);
            let _ = writeln!(
                out,
                "{what} {} {} {}: {} against {}",
                one.container,
                one.platform,
                one.what,
                digest(&one.a),
                digest(&one.b)
            );
        }
    }
    if out.is_empty() { "no difference".to_owned() } else { out }
}

/// A build: when and for whom, where a node vouches for it, and what it gave.
fn of_build(build: &Build) -> String {
    let place = build.node.as_ref().filter(|_| build.measured).map(|node| format!(", measured on {node}"));
    let Build { id, ended_at, by, package, .. } = build;
    let gave: String = package.to_string().chars().take(SHOWN).collect();
    format!("{id} {ended_at} by {by}{}: {gave}", place.unwrap_or_default())
}

fn text(known: &Known, builds: &[Build], checks: &[Check], reproducible: Reproducible) -> String {
    let Known { record, state } = known;
    let mut lines: Vec<(&str, String)> = vec![("id", record.id.to_string()), ("project", record.project.clone())];
    let listed = |items: Vec<String>| Some(items.join(", ")).filter(|text| !text.is_empty());
    let digests = |items: &[aigis_deploy::Digest]| listed(items.iter().map(ToString::to_string).collect());
    lines.extend(record.version.clone().map(|version| ("version", version)));
    lines.extend(state.description.clone().map(|text| ("description", text)));
    lines.extend(listed(state.tags.iter().cloned().collect()).map(|tags| ("tags", tags)));
    let labels = state.labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
    lines.extend(listed(labels).map(|labels| ("labels", labels)));
    lines.push(("spec", record.spec.to_string()));
    lines.push(("inputs", record.inputs.to_string()));
    lines.extend(digests(&record.parents).map(|parents| ("parents", parents)));
    lines.extend(digests(&state.children.iter().copied().collect::<Vec<_>>()).map(|children| ("children", children)));
    lines.push(("created", format!("{} by {}", record.created_at, record.created_by)));
    for image in &record.images {
        let bytes = quantity::bytes(image.layers.iter().map(|layer| layer.size_bytes).sum());
        let layers = if image.layers.len() == 1 { "layer" } else { "layers" };
        let count = image.layers.len();
        let about = format!(
            "{} {} {}, tier {}, {count} {layers} of {bytes}",
            image.container, image.platform, image.output, image.tier
        );
        lines.push(("image", about));
    }
    lines.extend(builds.iter().map(|build| ("build", of_build(build))));
    let word = serde_json::to_value(reproducible).unwrap_or_default();
    lines.push(("reproducible", word.as_str().unwrap_or_default().to_owned()));
    let names = checks.iter().map(|check| check.name.to_string().len()).max().unwrap_or_default();
    lines.extend(checks.iter().map(|check| {
        let (name, outcome) = (check.name.to_string(), crate::command::word(&check.outcome));
        let first = check.evidence.first().map(String::as_str).unwrap_or_default();
        ("check", format!("{name:names$}  {outcome:7}  {first}").trim_end().to_owned())
    }));
    let places = state.places.iter().map(|place| ("place", format!("{}@{}", place.reference, place.digest)));
    lines.extend(places);
    let width = lines.iter().map(|(key, _)| key.len()).max().unwrap_or_default();
    lines.iter().map(|(key, value)| format!("{key:width$}  {value}\n")).collect()
}
