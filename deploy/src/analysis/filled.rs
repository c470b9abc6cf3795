//! What a model chose, put where it belongs: what follows from it is worked out by the rules that there are.

use super::gaps;
use crate::{
    fact::{Application, Fact, MODEL},
    fill::{Filled, Value},
    provider::{dir::Dir, site},
    tree::Tree,
};

/// By what the application of a directory is to be started, relative to it.
pub(super) fn entry(tree: &Tree, root: &str, chosen: &[&Filled]) -> Option<String> {
    chosen.iter().find_map(|filled| match &filled.value {
        Value::Entry(entry) => Some(Dir::of(tree, root).within(entry).to_owned()),
        _ => None,
    })
}

/// Makes a site of an application that is built and not started, where the directory of its files was chosen.
pub(super) fn site(application: &mut Application, chosen: &[&Filled]) {
    if !gaps::lacks_output(application) {
        return;
    }
    for filled in chosen {
        if let Value::Output(output) = &filled.value {
            let fact = Fact::known(output.clone(), MODEL, filled.evidence.clone());
            application.output_dir = Fact { model: Some(filled.model.clone()), ..fact };
            application.start = Fact::command(site::SERVE, MODEL, filled.evidence.clone());
            application.port = Fact::known(site::PORT, MODEL, filled.evidence.clone());
        }
    }
}

/// Sets the port where it was chosen, and names the model in each fact that it chose.
pub(super) fn name(application: &mut Application, chosen: &[&Filled]) {
    for filled in chosen {
        match &filled.value {
            Value::Port(port) if gaps::lacks_port(application) => {
                application.port = Fact::known(*port, MODEL, filled.evidence.clone());
            }
            Value::Entry(_) if application.start.is_chosen() => {
                application.start.evidence.clone_from(&filled.evidence);
            }
            _ => {}
        }
    }
    let Some(model) = chosen.first().map(|filled| filled.model.clone()) else { return };
    fn one<T, More>(fact: &mut Fact<T, More>, model: &str) {
        if fact.is_chosen() {
            fact.model = Some(model.to_owned());
        }
    }
    one(&mut application.provider, &model);
    one(&mut application.start, &model);
    one(&mut application.port, &model);
}
