//! Keys that go together, or do not.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    Base, ProblemCode as Code, kinds,
    problem::{At, Problems},
};
use aigis_proxy::quoted;

/// What of an application makes its image, and has no part in one that a Dockerfile makes.
const MAKING: [&str; 3] = ["install_commands", "build_commands", "site"];

/// Finds keys that cannot stand together, and those that lack another.
pub(super) fn check(document: &At<'_>, problems: &mut Problems<'_>) {
    let applications = document.members_of("applications");
    let containers = document.members_of("containers");
    if applications.is_empty()
        && document.get("applications").is_none_or(|at| is_object(&at))
        && !containers.iter().all(|(_, container)| container.has("dockerfile"))
    {
        problems.add_key(document, "applications", Code::Missing, "at least one application is required", "");
    }
    if document.get("containers").is_some_and(|at| is_object(&at)) && containers.is_empty() {
        problems.add_key(document, "containers", Code::Missing, "at least one container is required", "");
    }
    applications.iter().for_each(|(_, application)| of_application(application, problems));
    let bases: BTreeSet<&str> = containers
        .iter()
        .filter_map(|(_, container)| match Base::of(container.text_of("base_image")?) {
            Base::Container(name) => Some(name),
            Base::Scratch | Base::Image(_) => None,
        })
        .collect();
    let known: BTreeMap<&str, At<'_>> = applications.into_iter().collect();
    by_dockerfiles(&known, &containers, problems);
    for (name, container) in &containers {
        of_container(container, bases.contains(name), &known, problems);
    }
    let packaging = document.get("packaging");
    let tagging = packaging.as_ref().and_then(|packaging| packaging.get("tagging"));
    let version = document.get("project").is_some_and(|project| project.has("version"));
    if let Some(at) = tagging.filter(|at| at.text() == Some("version") && !version) {
        problems.add(&at, Code::Conflict, "the project has no version to tag by", "add project.version");
    }
}

/// What would make an image runs nowhere, where an application is in images of Dockerfiles alone and none copies of it.
fn by_dockerfiles(known: &BTreeMap<&str, At<'_>>, containers: &[(&str, At<'_>)], problems: &mut Problems<'_>) {
    let copied: BTreeSet<&str> = known
        .values()
        .flat_map(|application| application.items_of("copy"))
        .filter_map(|copy| copy.text_of("from"))
        .collect();
    for (name, application) in known {
        let mut of = containers
            .iter()
            .filter(|(_, container)| container.items_of("applications").iter().any(|item| item.text() == Some(name)))
            .peekable();
        if of.peek().is_none() || copied.contains(name) || !of.all(|(_, container)| container.has("dockerfile")) {
            continue;
        }
        for key in MAKING {
            let Some(at) = application.get(key) else { continue };
            let message = format!("{} is in the image of a Dockerfile, which has no use for {key}", quoted(name));
            problems.add(&at, Code::Conflict, message, "write it into the Dockerfile, or take the dockerfile away");
        }
    }
}

fn is_object(at: &At<'_>) -> bool {
    matches!(at.node.kind, crate::json::Kind::Object(_))
}

fn of_application(application: &At<'_>, problems: &mut Problems<'_>) {
    if let (Some(at), Some(kind)) = (application.get("language"), application.text_of("type"))
        && let Some(language) = at.text().and_then(kinds::language)
        && kinds::is_kind(kind)
    {
        let known = kinds::providers(kind);
        if let Some(usual) = known.first().filter(|_| !known.contains(&language)) {
            let message = format!("{kind} is of {usual}, not of {language}");
            problems.add(&at, Code::Conflict, message, format!("write {usual}, or leave the language out"));
        }
    }
    if let Some(at) = application.get("build_image")
        && application.items_of("outputs").is_empty()
    {
        let message = "with a build image of its own, it has to be said what is kept of it";
        problems.add(&at, Code::Conflict, message, "add outputs");
    }
    if let Some(at) = application.get("site")
        && application.has("run_command")
    {
        problems.add(&at, Code::Conflict, "a site is its own run command", "take site or run_command away");
    }
}

fn of_container<'a>(container: &At<'a>, is_base: bool, known: &BTreeMap<&'a str, At<'a>>, problems: &mut Problems<'_>) {
    health(container, problems);
    if let Some(at) = container.get("place")
        && is_object(&at)
        && at.has("node") == at.has("label")
    {
        problems.add(&at, Code::Conflict, "a place is one of node and label", "keep one of them");
    }
    if let Some(at) = container.get("dockerfile") {
        for key in ["base_image", "start"] {
            if container.has(key) {
                let message = format!("a container is made by a Dockerfile, or has {key}");
                problems.add(&at, Code::Conflict, message, "keep one of them");
            }
        }
        return;
    }
    for key in ["base_image", "applications"] {
        if !container.has(key) {
            problems.add_key(
                container,
                key,
                Code::Missing,
                format!("{key} is required unless there is a dockerfile"),
                "",
            );
        }
    }
    let own: Vec<(&str, &At<'_>)> = container
        .items_of("applications")
        .iter()
        .filter_map(|name| known.get_key_value(name.text()?))
        .map(|(name, application)| (*name, application))
        .collect();
    started(container, &own, is_base, problems);
    for (name, application) in &own {
        let has_phases = ["install_commands", "build_commands"].iter().any(|key| !application.items_of(key).is_empty());
        if has_phases && container.text_of("base_image") == Some("scratch") && !application.has("build_image") {
            let message = format!("no command of {} can run on scratch", quoted(name));
            problems.add_key(
                container,
                "base_image",
                Code::Conflict,
                message,
                format!("give {} a build_image and outputs", quoted(name)),
            );
        }
    }
}

/// One application is started, and it says how.
fn started(container: &At<'_>, own: &[(&str, &At<'_>)], is_base: bool, problems: &mut Problems<'_>) {
    let can_run = |application: &At<'_>| application.has("run_command") || application.has("site");
    let runnable: Vec<_> = own.iter().filter(|(_, application)| can_run(application)).collect();
    let runs = match (container.text_of("start"), runnable.as_slice()) {
        (Some(start), _) => own.iter().find(|(name, _)| *name == start).copied(),
        (None, [only]) => Some(**only),
        (None, []) => own.first().copied().filter(|_| !is_base),
        (None, [(one, _), (two, _), ..]) => {
            let message = format!("{} and {} both have a run command", quoted(one), quoted(two));
            let hint = format!("say which one runs: \"start\": \"{}\"", quoted(one));
            let at = container.get("applications");
            return problems.add(at.as_ref().unwrap_or(container), Code::Conflict, message, hint);
        }
    };
    let Some((name, application)) = runs else { return };
    if !can_run(application) {
        let message = format!("{} is started and says not how", quoted(name));
        problems.add_key(application, "run_command", Code::Missing, message, "add run_command");
    }
    if application.has("site") && container.get("ports").is_none_or(|at| at.node.items().is_empty()) {
        problems.add_key(
            container,
            "ports",
            Code::Missing,
            format!("the site of {} needs a port", quoted(name)),
            "add ports",
        );
    }
}

/// Health is looked at in one way, for which there is a port.
fn health(container: &At<'_>, problems: &mut Problems<'_>) {
    let Some(at) = container.get("health").filter(is_object) else { return };
    let ways: Vec<&str> = ["http", "tcp", "command"].into_iter().filter(|way| at.has(way)).collect();
    let has_ports = container.get("ports").is_some_and(|ports| !ports.node.items().is_empty());
    match ways.as_slice() {
        [] | ["http"] if !has_ports => {
            problems.add(&at, Code::Conflict, "without a port there is nothing to look at", "add ports, or a command");
        }
        [_, _, ..] => {
            problems.add(
                &at,
                Code::Conflict,
                format!("health is looked at by one of {}", ways.join(", ")),
                "keep one of them",
            );
        }
        _ => {}
    }
}
