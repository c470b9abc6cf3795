//! What the analysis cannot decide, as questions whose answers can be checked.

use serde_json::json;

use crate::{
    code::Syntax,
    fact::{Application, Evidence, Gap, GapKind, ProviderName},
    tree::Tree,
};

/// Most files that are offered as an entry.
const CHOICES: usize = 20;

/// Adds the gaps of an application whose other facts are known.
pub(super) fn add(tree: &Tree, application: &mut Application) {
    let mut gaps = Vec::new();
    let evidence = || application.provider.evidence.clone();
    if application.ambiguous && !application.alternatives.is_empty() {
        let name = |provider: ProviderName| provider.to_string();
        let near = application.alternatives.iter().filter(|other| other.role == crate::fact::Role::App);
        let mut choices: Vec<String> =
            application.provider.value.into_iter().chain(near.map(|other| other.provider)).map(name).collect();
        choices.dedup();
        if choices.len() > 1 {
            gaps.push(gap("provider", GapKind::Choice, json!({"enum": choices}), choices.clone(), evidence()));
        }
    }
    let is_only_built = application.dockerfile.is_known();
    if !application.start.is_known() && !is_only_built {
        let near = tree.within(&application.root).filter(|path| Syntax::of(path).is_some());
        let choices: Vec<String> = near.take(CHOICES).map(str::to_owned).collect();
        gaps.push(gap("start", GapKind::Entry, json!({"type": "string"}), choices, evidence()));
    }
    if application.framework.is_known() && !application.port.is_known() && application.start.is_known() {
        let schema = json!({"type": "integer", "minimum": 1, "maximum": 65535});
        gaps.push(gap("port", GapKind::Port, schema, Vec::new(), application.framework.evidence.clone()));
    }
    application.gaps.extend(gaps);
}

fn gap(id: &str, kind: GapKind, schema: serde_json::Value, choices: Vec<String>, evidence: Vec<Evidence>) -> Gap {
    Gap { id: id.to_owned(), kind, schema, choices, evidence }
}
