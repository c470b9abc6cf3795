//! What the analysis cannot decide, as questions whose answers can be checked.

use serde_json::json;

use super::choice::{ASKED, NEAR};
use crate::{
    fact::{Application, Evidence, Gap, GapKind, ProviderName, Role},
    fill,
    provider::{self, dir::Dir},
    tree::Tree,
};

/// Most files that are offered as an entry.
const CHOICES: usize = 20;
/// What stands in the line of a file that starts something.
const TELLING: [&str; 9] =
    ["__main__", "listen(", "serve(", "serve_forever(", ".run(", "run(", ".start(", "createServer(", "main("];

/// Adds the gaps of an application whose other facts are known.
pub(super) fn add(tree: &Tree, application: &mut Application) {
    let mut gaps = Vec::new();
    let evidence = || application.provider.evidence.clone();
    // Who was asked for is not asked about.
    let is_asked = application.provider.is_chosen() || application.provider.more.score >= ASKED;
    if application.ambiguous && !is_asked {
        let score = application.provider.more.score;
        let near = application.alternatives.iter().filter(|other| {
            other.role == Role::App
                && other.provider != ProviderName::Dockerfile
                && score.saturating_sub(other.score) <= NEAR
        });
        let mut choices: Vec<ProviderName> = Vec::new();
        for provider in application.provider.value.into_iter().chain(near.clone().map(|other| other.provider)) {
            if !choices.contains(&provider) {
                choices.push(provider);
            }
        }
        if choices.len() > 1 {
            let evidence = evidence().into_iter().chain(near.flat_map(|other| other.evidence.clone()));
            let choices: Vec<String> = choices.into_iter().map(|provider| provider.to_string()).collect();
            gaps.push(gap("provider", GapKind::Choice, json!({"enum": choices}), choices.clone(), evidence.collect()));
        }
    }
    let is_only_built = application.dockerfile.is_known();
    if !application.start.is_known() && !is_only_built {
        let choices = startable(tree, application);
        let telling = choices.iter().filter_map(|file| telling(tree, file));
        let evidence = evidence().into_iter().chain(telling).collect();
        gaps.push(gap("start", GapKind::Entry, json!({"type": "string"}), choices, evidence));
    } else if application.details.programs.len() > 1 && !is_only_built {
        let programs = application.details.programs.clone();
        let choices: Vec<String> = programs.iter().take(CHOICES).map(|at| at.file.clone()).collect();
        gaps.push(gap("start", GapKind::Entry, json!({"enum": choices}), choices.clone(), programs));
    }
    if lacks_output(application) && !is_only_built {
        let evidence = application.build.evidence.clone();
        gaps.push(gap("output", GapKind::Output, json!({"type": "string"}), Vec::new(), evidence));
    }
    if lacks_port(application) {
        let schema = json!({"type": "integer", "minimum": 1, "maximum": 65535});
        gaps.push(gap("port", GapKind::Port, schema, Vec::new(), application.framework.evidence.clone()));
    }
    application.gaps.extend(gaps);
}

/// Whether nothing says on which port something listens that does.
pub(super) fn lacks_port(application: &Application) -> bool {
    application.framework.is_known() && !application.port.is_known() && application.start.is_known()
}

/// Whether something is built that nothing starts, and that could be a site.
pub(super) fn lacks_output(application: &Application) -> bool {
    application.provider.value == Some(ProviderName::Node)
        && application.build.is_known()
        && !application.start.is_known()
        && !application.output_dir.is_known()
}

/// The files that its provider could start, nearest first.
fn startable(tree: &Tree, application: &Application) -> Vec<String> {
    let provider = application.provider.value.and_then(provider::named);
    let ends = provider.map(provider::Provider::entries).unwrap_or_default();
    let dir = Dir::of(tree, &application.root);
    let files = dir.sources(ends).into_iter().map(|file| dir.path(file));
    files.filter(|file| fill::is_plain(file)).take(CHOICES).collect()
}

/// The line of a file that looks as if it started something.
fn telling(tree: &Tree, file: &str) -> Option<Evidence> {
    let mut lines = (1..).zip(tree.text(file)?.lines());
    let (line, _) = lines.find(|(_, line)| TELLING.iter().any(|part| line.contains(part)))?;
    Some(Evidence::new(file, line))
}

fn gap(id: &str, kind: GapKind, schema: serde_json::Value, choices: Vec<String>, mut evidence: Vec<Evidence>) -> Gap {
    evidence.sort();
    evidence.dedup();
    Gap { id: id.to_owned(), kind, schema, choices, evidence }
}
