//! What manages the packages of a project of Python, and how they are installed.

use crate::{
    fact::{Application, Evidence, Managed},
    provider::{
        dir::{Dir, known},
        python::{project::Project, requirement::normalised},
    },
    tree::{Warning, parent},
    words::quoted,
};

/// Derives what pip installs from a lock file, on the interpreter of the base.
const SCRIPT: &str = include_str!("../../../data/requirements.py");
/// Where what it derives stands during a build.
const DERIVED: &str = "/tmp/requirements.txt";

/// Lock files, with whose they are, the best first.
const LOCKS: [(&str, &str); 4] =
    [("uv.lock", "uv"), ("poetry.lock", "poetry"), ("pdm.lock", "pdm"), ("Pipfile.lock", "pipenv")];

/// Which package manager, how it locks, and where that stands.
struct Manager<'t> {
    name: &'static str,
    rule: &'static str,
    evidence: Evidence,
    /// The lock file, and the directory it is in.
    lock: Option<(Dir<'t>, &'static str)>,
}

/// Says what manages the packages of an application, and how it installs them, with these distributions as well.
pub(crate) fn add(app: &mut Application, project: &Project<'_>, servers: &[&str]) {
    let Some(manager) = manager(project) else { return };
    warn_of_two(app, project);
    let hashed = manager.name == "pip" && project.is_hashed();
    let lock = manager.lock.map(|(dir, file)| dir.path(file));
    let lock = lock.or_else(|| project.list.filter(|_| hashed).map(|list| project.dir.path(list)));
    let managed = Managed { version: None, locked: lock.is_some(), lock };
    app.package_manager = known(manager.name.to_owned(), manager.rule, vec![manager.evidence.clone()]).with(managed);
    if let Some((dir, _)) = manager.lock.filter(|(dir, _)| dir.root() != project.dir.root()) {
        app.workspace = Some(dir.root().to_owned());
    }
    let mut install = commands(project, &manager, hashed);
    install.extend((!servers.is_empty()).then(|| format!("pip install {}", servers.join(" "))));
    app.install = known(install, "python.install", vec![manager.evidence]);
    app.details.dependency_files = files(project, manager.lock);
}

/// uv before poetry before pdm before pipenv before pip; none where nothing is asked for.
fn manager<'t>(project: &Project<'t>) -> Option<Manager<'t>> {
    let dir = project.dir;
    let at = |file: &str, key: &str| dir.where_is(file, key);
    for (file, name) in LOCKS {
        // A workspace of uv has one lock file at its root.
        let found = if name == "uv" { dir.upwards(&[file]).map(|(dir, _)| dir) } else { dir.has(file).then_some(dir) };
        if let Some(lock) = found {
            let evidence = lock.seen(file).or_else(|| dir.seen("pyproject.toml"))?;
            return Some(Manager { name, rule: "python.lock", evidence, lock: Some((lock, file)) });
        }
        let tool = dir.toml("pyproject.toml").and_then(|manifest| manifest.at(&["tool", name])).is_some();
        let evidence = match name {
            "poetry" | "pdm" if tool => at("pyproject.toml", &format!("[tool.{name}")),
            "pipenv" => dir.seen("Pipfile"),
            _ => None,
        };
        if let Some(evidence) = evidence {
            return Some(Manager { name, rule: "python.manifest", evidence, lock: None });
        }
    }
    let listed = project.list.map(|list| dir.seen(list).or_else(|| dir.below().find_map(|file| dir.seen(file))));
    let evidence = listed.or_else(|| {
        let first = project.dependencies().into_iter().next().map(|(_, evidence)| evidence);
        first.or_else(|| dir.seen("setup.py")).map(Some)
    })??;
    Some(Manager { name: "pip", rule: "python.requirements", evidence, lock: None })
}

fn warn_of_two(app: &mut Application, project: &Project<'_>) {
    let found: Vec<&str> = LOCKS.iter().map(|(file, _)| *file).filter(|file| project.dir.has(file)).collect();
    if let [first, second, ..] = found.as_slice()
        && let Some(at) = project.dir.seen(second)
    {
        let message = format!("{first} and {second} both lock the dependencies; {first} counts: remove the other");
        app.details.warnings.push(Warning::new("lock.two", at, message));
    }
}

fn commands(project: &Project<'_>, manager: &Manager<'_>, hashed: bool) -> Vec<String> {
    let derive = |file: &str| format!("python -c {} {file} {DERIVED}", quoted(SCRIPT));
    match (manager.lock, project.list) {
        (Some((dir, file)), _) => {
            // A member of a workspace has the lock file above it.
            let within = dir.within(project.dir.root());
            let up = if within == "." { String::new() } else { "../".repeat(within.split('/').count()) };
            vec![derive(&format!("{up}{file}")), format!("pip install --no-deps --require-hashes -r {DERIVED}")]
        }
        (None, Some(list)) if manager.name == "pip" && hashed => {
            vec![format!("pip install --require-hashes -r {list}")]
        }
        (None, Some(list)) if manager.name == "pip" => vec![format!("pip install -r {list}")],
        (None, _) if manager.name == "pipenv" => vec![derive("Pipfile"), format!("pip install -r {DERIVED}")],
        (None, _) if project.dir.has("pyproject.toml") => {
            vec![derive("pyproject.toml"), format!("pip install -r {DERIVED}")]
        }
        _ => vec!["pip install .".to_owned()],
    }
}

/// The commands that install what a project takes from the tree itself: `workspace = true`, or a path.
pub(crate) fn own_packages(project: &Project<'_>) -> Vec<String> {
    let dir = project.dir;
    let Some(sources) = dir.toml("pyproject.toml").and_then(|file| file.at(&["tool", "uv", "sources"])) else {
        return Vec::new();
    };
    let context = dir.upwards(&["uv.lock"]).map_or(dir, |(dir, _)| dir);
    let named = |name: &str| {
        let manifests = context.below().filter(|path| path.ends_with("/pyproject.toml"));
        manifests.map(parent).find(|root| {
            let file = context.toml(&format!("{root}/pyproject.toml"));
            let is_built = file.is_some_and(|file| file.get("build-system").is_some());
            let known = file.and_then(|file| file.text_at(&["project", "name"])).map(|(known, _)| normalised(known));
            is_built && known.as_deref() == Some(normalised(name).as_str())
        })
    };
    let within = context.within(dir.root());
    let up = if within == "." { String::new() } else { "../".repeat(within.split('/').count()) };
    let paths = sources.entries().iter().filter_map(|source| {
        let is_member = source.node.get("workspace").is_some_and(|told| told.is_true());
        let path = source.node.text_at(&["path"]).map(|(path, _)| path.to_owned());
        if is_member { named(&source.key).map(|root| format!("{up}{root}")) } else { path }
    });
    let is_plain = |path: &String| path.chars().all(|c| c.is_ascii_alphanumeric() || "._-/".contains(c));
    paths.filter(is_plain).map(|path| format!("pip install --no-deps ./{path}")).collect()
}

/// What an install needs, relative to the build's context.
fn files(project: &Project<'_>, lock: Option<(Dir<'_>, &str)>) -> Vec<String> {
    let context = lock.map_or(project.dir, |(dir, _)| dir);
    let own = ["pyproject.toml", "Pipfile", "setup.py", "setup.cfg"].into_iter().filter(|file| project.dir.has(file));
    let mut files: Vec<String> = own.chain(project.list).map(|file| project.dir.path(file)).collect();
    files.extend(project.further.iter().map(|file| project.dir.path(file)));
    files.extend(lock.map(|(dir, file)| dir.path(file)));
    files.extend(lock.map(|(dir, _)| dir.path("pyproject.toml")).filter(|path| context.tree().has(path)));
    let mut files: Vec<String> = files.iter().map(|file| context.within(file).to_owned()).collect();
    files.sort();
    files.dedup();
    files
}
