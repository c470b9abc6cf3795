use std::collections::BTreeSet;

use aigis_deploy::{
    Digest,
    package::{self, Known, Outcome, Question, Record, Reproducible},
};
use clap_complete::ArgValueCompleter;

use crate::{completion, context::Context, exit::Failure};

const HEADER: [&str; 5] = ["PROJECT", "ID", "VERSION", "TAGS", "CREATED"];
/// No field of theirs is a state.
const NO_STATE: usize = usize::MAX;

/// List the packages
#[derive(Debug, clap::Args)]
pub(super) struct List {
    /// Only of this project
    #[arg(long, value_name = "P", add = ArgValueCompleter::new(completion::packages))]
    project: Option<String>,
    /// Only with this tag
    #[arg(long, value_name = "T")]
    tag: Option<String>,
    /// Only with this label
    #[arg(long, value_name = "K=V")]
    label: Option<String>,
    /// Only those of which this is the spec, the inputs, the output, a configuration or a base
    #[arg(long, value_name = "D")]
    digest: Option<Digest>,
    /// Only those of which this check says so: NAME=pass, NAME=fail, NAME=unknown
    #[arg(long, value_name = "NAME=OUTCOME", value_parser = check)]
    check: Option<(Question, Outcome)>,
    /// Only those of which independent builds agreed, differed, or too few were made: yes, no, unchecked
    #[arg(long, value_name = "V")]
    reproducible: Option<Reproducible>,
    /// Only those whose project, version, description, tags or labels hold this text
    #[arg(long, value_name = "T")]
    text: Option<String>,
    /// At most so many
    #[arg(long, value_name = "N")]
    limit: Option<usize>,
    /// Only those that come after this one in the list
    #[arg(long, value_name = "ID")]
    after: Option<String>,
    #[command(flatten)]
    whose: super::Whose,
}

impl List {
    pub(super) async fn run(self, context: &Context) -> Result<(), Failure> {
        let kept = self.whose.kept(context)?;
        let listed = kept
            .on_store(context, move |store| {
                let after = self.after.as_ref().map(|id| store.find(id)).transpose()?;
                let mut chosen = self.chosen(store.list()?, after.map(|known| known.record));
                if let Some(wanted) = self.reproducible {
                    let mut measured = Vec::new();
                    for known in chosen {
                        let is_it = Reproducible::of(&store.builds(&known.record.inputs)?) == wanted;
                        measured.extend(is_it.then_some(known));
                    }
                    chosen = measured;
                }
                if let Some((question, outcome)) = self.check {
                    // What it is asked of may be much: no more is looked at than is shown.
                    let limit = self.limit.unwrap_or(usize::MAX);
                    let mut checked = Vec::new();
                    for known in chosen {
                        if checked.len() >= limit {
                            break;
                        }
                        let told = package::checks(store, &known, &[question])?;
                        checked.extend(told.iter().any(|check| check.outcome == outcome).then_some(known));
                    }
                    chosen = checked;
                }
                chosen.truncate(self.limit.unwrap_or(usize::MAX));
                Ok(chosen)
            })
            .await?;
        if context.output.is_json() {
            return context.output.json(&listed.iter().map(super::row).collect::<Vec<_>>());
        }
        let rows: Vec<Vec<String>> = listed.iter().map(fields).collect();
        context.output.table(&HEADER, &rows, NO_STATE)
    }

    fn chosen(&self, all: Vec<Known>, after: Option<Record>) -> Vec<Known> {
        let behind = match &after {
            None => 0,
            Some(after) => all.iter().position(|known| known.record.id == after.id).map_or(all.len(), |at| at + 1),
        };
        all.into_iter().skip(behind).filter(|known| self.wants(known)).collect()
    }

    fn wants(&self, known: &Known) -> bool {
        let Known { record, state } = known;
        let label = |wanted: &String| match wanted.split_once('=') {
            Some((key, value)) => state.labels.get(key).is_some_and(|known| known == value),
            None => state.labels.contains_key(wanted),
        };
        self.project.as_ref().is_none_or(|project| record.project == *project)
            && self.tag.as_ref().is_none_or(|tag| state.tags.contains(tag))
            && self.label.as_ref().is_none_or(label)
            && self.digest.is_none_or(|digest| digests(record).contains(&digest))
            && self.text.as_ref().is_none_or(|text| texts(known).any(|known| known.contains(text.as_str())))
    }
}

/// All by which a package can be looked for.
fn digests(record: &Record) -> BTreeSet<Digest> {
    let mut all = BTreeSet::from([record.spec, record.inputs, record.output]);
    for image in &record.images {
        all.extend([image.spec, image.inputs, image.output, image.config]);
        all.extend(image.bases.values());
    }
    all
}

fn texts(known: &Known) -> impl Iterator<Item = &String> {
    let Known { record, state } = known;
    let named = [Some(&record.project), record.version.as_ref(), state.description.as_ref()];
    let labels = state.labels.iter().flat_map(|(key, value)| [key, value]);
    named.into_iter().flatten().chain(&state.tags).chain(labels)
}

fn fields(known: &Known) -> Vec<String> {
    let Known { record, state } = known;
    let tags: Vec<&str> = state.tags.iter().map(String::as_str).collect();
    vec![
        record.project.clone(),
        format!("sha256:{}", record.short()),
        record.version.clone().unwrap_or_default(),
        tags.join(", "),
        record.created_at.to_string(),
    ]
}

fn check(text: &str) -> Result<(Question, Outcome), String> {
    let (name, outcome) = text.split_once('=').ok_or("a check is NAME=pass, NAME=fail or NAME=unknown")?;
    Ok((name.parse()?, outcome.parse()?))
}
