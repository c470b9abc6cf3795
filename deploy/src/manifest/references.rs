//! Names that have to be those of something.

use std::collections::BTreeSet;

use aigis_proxy::{Name, quoted};

use super::{
    Base, ProblemCode as Code, kinds,
    problem::{At, Problems, did_you_mean},
};

/// Finds names of what is not there, and names that two have.
pub(super) fn check(document: &At<'_>, problems: &mut Problems<'_>) {
    let applications = names(document, "applications");
    let containers = names(document, "containers");
    for (_, application) in document.members_of("applications") {
        kind(&application, problems);
        for copied in application.get("copy").iter().flat_map(At::items) {
            known(copied.get("from"), "application", &applications, problems);
        }
    }
    for (_, container) in document.members_of("containers") {
        let own = container.items_of("applications");
        own.iter().for_each(|name| known(Some(name.clone()), "application", &applications, problems));
        started(&container, &own, problems);
        container
            .items_of("depends_on")
            .into_iter()
            .for_each(|name| known(Some(name), "container", &containers, problems));
        let base = container.get("base_image");
        if let Some((at, Base::Container(name))) = base.as_ref().and_then(|at| Some((at, Base::of(at.text()?)))) {
            unknown(at, name, "container", &containers, problems);
        }
    }
    for name in document.get("packaging").iter().flat_map(|packaging| packaging.items_of("build_order")) {
        known(Some(name), "container", &containers, problems);
    }
    ci_names(document, problems);
}

fn names<'a>(document: &At<'a>, key: &str) -> BTreeSet<&'a str> {
    document.members_of(key).into_iter().map(|(name, _)| name).collect()
}

fn known(at: Option<At<'_>>, what: &str, names: &BTreeSet<&str>, problems: &mut Problems<'_>) {
    if let Some(at) = at
        && let Some(name) = at.text()
    {
        unknown(&at, name, what, names, problems);
    }
}

fn unknown(at: &At<'_>, name: &str, what: &str, names: &BTreeSet<&str>, problems: &mut Problems<'_>) {
    if !names.contains(name) && !problems.is_full() {
        let hint = did_you_mean(name, names.iter().copied());
        problems.add(at, Code::UnknownReference, format!("there is no {what} \"{}\"", quoted(name)), hint);
    }
}

/// What is started is one of the container's own.
fn started(container: &At<'_>, own: &[At<'_>], problems: &mut Problems<'_>) {
    let own: Vec<&str> = own.iter().filter_map(At::text).collect();
    if let Some(start) = container.get("start")
        && let Some(name) = start.text()
        && !own.contains(&name)
    {
        let message = format!("this container has no application \"{}\"", quoted(name));
        problems.add(&start, Code::UnknownReference, message, did_you_mean(name, own.iter().copied()));
    }
}

/// The type is one that is known, and so is the language.
fn kind(application: &At<'_>, problems: &mut Problems<'_>) {
    if let Some(at) = application.get("type")
        && let Some(word) = at.text()
        && !kinds::is_kind(word)
    {
        let hint = did_you_mean(word, kinds::all().collect::<Vec<_>>());
        problems.add(&at, Code::UnknownReference, format!("there is no type \"{}\"", quoted(word)), hint);
    }
    if let Some(at) = application.get("language")
        && let Some(word) = at.text()
        && kinds::language(word).is_none()
    {
        let hint = did_you_mean(word, kinds::languages().collect::<Vec<_>>());
        problems.add(&at, Code::UnknownReference, format!("there is no language \"{}\"", quoted(word)), hint);
    }
}

/// The CIs of containers have names of their own, by which they can be called.
fn ci_names(document: &At<'_>, problems: &mut Problems<'_>) {
    let mut taken = BTreeSet::new();
    for (name, container) in document.members_of("containers") {
        let given = container.get("ci_name");
        let ci_name = given.as_ref().map_or(Some(name), At::text);
        let at = given.as_ref().unwrap_or(&container);
        let Some(ci_name) = ci_name else { continue };
        if !taken.insert(ci_name) {
            let message = format!("two containers have a CI that is called \"{}\"", quoted(ci_name));
            problems.add(at, Code::Duplicate, message, "give one of them another ci_name");
        }
        if Name::parse(ci_name).is_ok_and(|name| name.is_reserved()) {
            let message = format!("no CI can be called \"{ci_name}\": it is a command");
            problems.add(at, Code::Pattern, message, "give the container a ci_name");
        }
    }
}
