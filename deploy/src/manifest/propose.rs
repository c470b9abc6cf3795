//! A manifest for a project that has none: what the analysis found, and how its plans make images of it.

use std::collections::BTreeMap;

use aigis_proxy::Name;

use super::{
    Application, Command, Container, Copied, EnvironmentSecret, EnvironmentWord, FILE, FormVersion, Health, LOCK_FILE,
    Later, Manifest, OneOrMany, Packaging, Project, Secret, Site, kinds,
};
use crate::{
    Analysis, Tree,
    fact::{self, ProviderName},
    plan::{
        self, Bases, Plan, Stage, Step,
        draft::{APT, BUILD, HOME, OWN, WITHIN},
        site::WRITE,
    },
    words,
};

/// What the packager itself sets where phases and containers run.
const SET: [&str; 7] = ["HOME", "PORT", "CI", "TZ", "LC_ALL", "PYTHONHASHSEED", "SOURCE_DATE_EPOCH"];
/// Longest name, in bytes.
const MOST: usize = 63;
/// Puts something where it is to stand.
const PLACE: &str = "mkdir -p \"$(dirname \"$1\")\" && cp -a \"$0\" \"$1\"";

/// Why there is no manifest.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{application}: no manifest can be made")]
pub struct NoManifest {
    /// The application that is the reason.
    pub application: String,
    /// Why no image can be made of it.
    #[source]
    pub why: plan::Error,
}

/// The tree without the files that a manifest is made for: the same before and after it is written.
#[must_use]
pub fn source_of(tree: Tree) -> Tree {
    tree.without(|path| path == FILE || path == LOCK_FILE)
}

/// The manifest of a project: one application and one container for each that was found, and an application for each
/// further toolchain that one of them is built with.
///
/// # Errors
///
/// No image can be made of one of them.
pub fn propose(analysis: &Analysis, tree: &Tree, bases: &Bases) -> Result<Manifest, NoManifest> {
    let mut applications = BTreeMap::new();
    let mut containers = BTreeMap::new();
    for app in &analysis.applications {
        let refused = |why| NoManifest { application: app.name.clone(), why };
        let made = match &app.dockerfile.value {
            Some(dockerfile) => by_dockerfile(app, dockerfile).map_err(refused)?,
            None => by_plan(app, &plan::of(app, bases).map_err(refused)?, tree, bases).map_err(refused)?,
        };
        applications.extend(made.applications);
        containers.insert(name(&app.name).map_err(refused)?, made.container);
    }
    let refused = |why| NoManifest { application: analysis.primary.clone(), why };
    let own = name(&analysis.primary).map_err(refused)?;
    Ok(Manifest {
        manifest_version: FormVersion::One,
        project: Project { name: own, repository: None, description: None, version: None },
        applications,
        containers,
        packaging: Packaging::default(),
        lifecycle: Later::default(),
        federation: Later::default(),
    })
}

impl Manifest {
    /// The manifest as a file holds it: keys in the order of their table, only what differs from what counts anyway.
    #[must_use]
    pub fn text(&self) -> String {
        // It is of texts and numbers alone, which always have a form.
        serde_json::to_string_pretty(self).unwrap_or_default() + "\n"
    }
}

/// What is made of one application.
struct Made {
    applications: BTreeMap<Name, Application>,
    container: Container,
}

/// The image is made by the Dockerfile that is there.
fn by_dockerfile(app: &fact::Application, dockerfile: &str) -> Result<Made, plan::Error> {
    let own = name(&app.name)?;
    let container = Container { dockerfile: Some(dockerfile.to_owned()), ..container(app, &own)? };
    let application = Application { root: app.root.clone(), ..application(kind(app)) };
    Ok(Made { applications: [(own, application)].into(), container })
}

/// The image is made as its plan says.
fn by_plan(app: &fact::Application, plan: &Plan, tree: &Tree, bases: &Bases) -> Result<Made, plan::Error> {
    let own = name(&app.name)?;
    let root = app.workspace.clone().unwrap_or_else(|| app.root.clone());
    let last = &plan.image.from;
    let base = bases.reference(&last.base)?;
    let mut made = Application { root: root.clone(), ..application(kind(app)) };
    let mut applications = BTreeMap::new();
    if let Some(build) = plan.stages.iter().find(|stage| stage.name == BUILD) {
        phases(&mut made, build, tree);
        for helper in plan.stages.iter().filter(|stage| stage.name != BUILD) {
            let helper_name = name(&cut(&app.name, &helper.name))?;
            let copied = copied(build, &helper.name, &helper_name);
            applications.insert(helper_name, second(helper, &copied, &root, tree, bases)?);
            made.copy.extend(copied);
        }
        let image = bases.reference(&build.base)?;
        made.build_image = (image != base).then_some(image);
    }
    let is_own_stage = made.build_image.is_some();
    finish(&mut made, app, plan, is_own_stage);
    let mut container = Container { base_image: Some(base), ..container(app, &own)? };
    container.ports.clone_from(&plan.image.ports);
    let given = plan.image.env.iter().filter(|(name, value)| !is_set(name) && made.env.get(*name) != Some(*value));
    container.env = given.map(|(name, value)| (name.clone(), value.clone())).collect();
    applications.insert(own, made);
    Ok(Made { applications, container })
}

/// What a stage installs and builds.
fn phases(made: &mut Application, stage: &Stage, tree: &Tree) {
    let mut is_whole = false;
    let mut dependencies = Vec::new();
    for step in &stage.steps {
        match step {
            Step::Copy { from: None, sources, .. } if sources.iter().any(|source| source == ".") => is_whole = true,
            Step::Copy { from: None, sources, .. } => dependencies.extend(sources.iter().cloned()),
            Step::Copy { .. } => {}
            Step::Run { argv, .. } => match packages(argv) {
                Some(packages) => made.system_packages.build.extend(packages.iter().cloned()),
                None if is_whole => made.build_commands.push(command(argv)),
                None => made.install_commands.push(command(argv)),
            },
        }
    }
    dependencies.retain(|path| tree.has(&crate::tree::joined(&made.root, path).unwrap_or_default()));
    made.dependencies = OneOrMany::Many(dependencies);
    made.env =
        stage.env.iter().filter(|(name, _)| !is_set(name)).map(|(name, value)| (name.clone(), value.clone())).collect();
}

/// A second toolchain, of which files are taken.
fn second(
    stage: &Stage,
    copied: &[Copied],
    root: &str,
    tree: &Tree,
    bases: &Bases,
) -> Result<Application, plan::Error> {
    let builds = stage.steps.iter().any(|step| matches!(step, Step::Run { .. }));
    let word = if builds { stage.base.logical.as_str() } else { "files" };
    let word = if kinds::is_kind(word) { word } else { "node" };
    let mut made = Application { root: root.to_owned(), ..application(word.to_owned()) };
    phases(&mut made, stage, tree);
    if !builds {
        // Only what its image holds is wanted of it.
        made.exclude = vec!["*".to_owned()];
        made.build_commands = vec![Command::Line("true".to_owned())];
    }
    made.build_image = Some(bases.reference(&stage.base)?);
    made.outputs = Some(copied.iter().map(|copied| copied.path.clone()).collect());
    Ok(made)
}

/// What a stage takes from another.
fn copied(stage: &Stage, from: &str, name: &Name) -> Vec<Copied> {
    let mut found = Vec::new();
    for step in &stage.steps {
        if let Step::Copy { from: Some(other), sources, dest, .. } = step
            && other == from
        {
            found.extend(sources.iter().map(|path| Copied { from: name.clone(), path: short(path), to: short(dest) }));
        }
    }
    found
}

/// What the image takes of the build, and how it is started.
fn finish(made: &mut Application, app: &fact::Application, plan: &Plan, is_own_stage: bool) {
    let steps = &plan.image.from.steps;
    let is_site = steps.iter().any(|step| matches!(step, Step::Run { argv, .. } if script(argv) == Some(WRITE)));
    let mut outputs = Vec::new();
    for step in steps {
        match step {
            Step::Copy { sources, .. } if is_site => {
                let root = sources.first().map(|source| short(source)).unwrap_or_default();
                let fallback = app.details.single_page.then(|| "index.html".to_owned());
                outputs.push(root.clone());
                made.site = Some(Site { root, fallback });
            }
            Step::Copy { sources, dest, .. } => {
                let is_directory = dest.ends_with('/') || sources.len() > 1;
                for source in sources {
                    let (source, dest) = (short(source), short(dest));
                    let inside = crate::tree::path(&dest, crate::tree::file_name(&source));
                    let dest = if is_directory && source != dest { inside } else { dest };
                    if source != dest && is_own_stage {
                        let words = ["/bin/sh", "-c", PLACE, &source, &dest].map(str::to_owned);
                        made.build_commands.push(Command::Words(words.into()));
                    }
                    outputs.push(dest);
                }
            }
            Step::Run { argv, .. } if script(argv) == Some(OWN) || script(argv) == Some(WRITE) => {}
            Step::Run { argv, .. } => match packages(argv) {
                Some(packages) => made.system_packages.run.extend(packages.iter().cloned()),
                None => made.build_commands.push(command(argv)),
            },
        }
    }
    made.outputs = is_own_stage.then_some(outputs);
    made.writable = plan.image.writable.iter().map(|path| short(path)).collect();
    let always: Vec<&str> = crate::dockerfile::always_ignored().collect();
    let own = plan.ignore.iter().filter(|line| !always.contains(&line.as_str()));
    // A line of .dockerignore is of the root, unless it says otherwise.
    made.exclude = own.map(|line| if line.starts_with("**/") { line.clone() } else { format!("/{line}") }).collect();
    made.release_command = app.release.value.clone().map(Command::Line);
    if !is_site {
        made.run_command = Some(started(app, plan));
    }
}

/// How it is started, in the directory where it is.
fn started(app: &fact::Application, plan: &Plan) -> Command {
    let argv = &plan.image.argv;
    let member = short(&plan.image.workdir);
    if member != "." {
        let begin = ["/bin/sh", "-c", WITHIN, &member].map(str::to_owned);
        return Command::Words(begin.into_iter().chain(argv.iter().cloned()).collect());
    }
    match &app.start.value {
        Some(line) if *argv == words::argv(line) => Command::Line(line.clone()),
        _ => command(argv),
    }
}

/// What every container of an application has.
fn container(app: &fact::Application, own: &Name) -> Result<Container, plan::Error> {
    let secrets = app.env.iter().filter(|variable| variable.secret).map(|variable| {
        Secret::Environment(EnvironmentSecret { key: variable.name.clone(), given_as: EnvironmentWord::Env })
    });
    let health = app.details.health_path.clone().filter(|_| app.port.is_known()).map(Health::http);
    let ci_name = own.is_reserved().then(|| name(&cut(own.as_str(), "ci"))).transpose()?;
    Ok(Container {
        applications: vec![own.clone()],
        ports: app.port.value.into_iter().collect(),
        health,
        ci_name,
        secrets: secrets.collect(),
        ..Container::default()
    })
}

fn application(kind: String) -> Application {
    Application { kind, ..Application::default() }
}

/// The framework, or else the provider.
fn kind(app: &fact::Application) -> String {
    let provider = app.provider.value.unwrap_or(ProviderName::Dockerfile);
    let framework = app.framework.value.as_deref().filter(|word| kinds::providers(word).contains(&provider));
    framework.map_or_else(|| provider.to_string(), str::to_owned)
}

/// The command of some words: a line, where that says the same.
fn command(argv: &[String]) -> Command {
    let line = match argv {
        [shell, flag, line] if shell == "/bin/sh" && flag == "-c" => line.clone(),
        words => words.join(" "),
    };
    if words::argv(&line) == argv { Command::Line(line) } else { Command::Words(argv.to_vec()) }
}

/// The packages of Debian that a command installs.
fn packages(argv: &[String]) -> Option<&[String]> {
    argv.get(4..).filter(|_| script(argv) == Some(APT))
}

fn script(argv: &[String]) -> Option<&str> {
    argv.get(2).map(String::as_str).filter(|_| argv.first().is_some_and(|shell| shell == "/bin/sh"))
}

/// A path relative to the work directory, where it is below that.
fn short(path: &str) -> String {
    let path = path
        .strip_prefix(HOME)
        .filter(|rest| rest.is_empty() || rest.starts_with('/'))
        .map_or(path, |rest| rest.trim_start_matches('/'));
    let path = path.trim_start_matches("./");
    let path = if path.len() > 1 { path.trim_end_matches('/') } else { path };
    if path.is_empty() { ".".to_owned() } else { path.to_owned() }
}

fn is_set(name: &str) -> bool {
    SET.contains(&name)
}

/// A name with something behind it, cut so that both fit.
fn cut(name: &str, end: &str) -> String {
    let room = MOST.saturating_sub(end.len() + 1).min(name.len());
    format!("{}-{end}", name.get(..room).unwrap_or(name))
}

/// A name of the analysis, which is a CI's.
fn name(text: &str) -> Result<Name, plan::Error> {
    Name::parse(text).map_err(|error| plan::Error::Unknown { what: "what it is called", hint: error.to_string() })
}

#[cfg(test)]
mod tests;
