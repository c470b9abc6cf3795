//! A plan under way: what the templates of all ecosystems have in common.

use std::collections::BTreeMap;

use super::{Base, Error, Image, Plan, Stage, Step, health::health};
use crate::{
    fact::{Application, Fact},
    words,
};

/// Where an application stands in its image.
pub(crate) const HOME: &str = "/app";
/// The stage that builds.
pub(crate) const BUILD: &str = "build";
/// Who runs an application: nobody that an image knows, and never root.
const USER: &str = "10001:10001";
/// Changes to a directory and runs the rest there.
pub(crate) const WITHIN: &str = "cd \"$0\" && exec \"$@\"";
/// Installs packages of Debian, and leaves neither lists nor archives behind: not every base has apt remove these by itself.
/// A base of one's own may have no package index: what it holds has to do then.
pub(crate) const APT: &str = "command -v apt-get > /dev/null || { echo \"no apt-get here: the base has to hold $*\" >&2; exit 0; }; \
    apt-get update && apt-get install -y --no-install-recommends \"$@\" && apt-get clean && rm -rf /var/lib/apt/lists/*";
/// As that, unless the base has the program already that is called first.
const HAS: &str = "command -v \"$0\" > /dev/null && exit 0; ";
/// Gives paths to the user that the application runs as.
pub(crate) const OWN: &str = "mkdir -p \"$@\" && chown -R 10001:10001 \"$@\"";

/// A command in a shell, its words behind it as `$1` and so on.
pub(super) fn shell(script: &str, words: impl IntoIterator<Item = String>) -> Vec<String> {
    let begin = ["/bin/sh", "-c", script, "sh"].map(str::to_owned);
    begin.into_iter().chain(words).collect()
}

/// The rule and the files of a fact, as a comment says them.
pub(super) fn because<T, More>(fact: &Fact<T, More>) -> Option<String> {
    let rule = fact.rule.as_ref()?;
    let mut files: Vec<&str> = fact.evidence.iter().map(|evidence| evidence.file.as_str()).collect();
    files.dedup();
    files.truncate(3);
    Some(if files.is_empty() { rule.clone() } else { format!("{rule} ({})", files.join(", ")) })
}

/// A base of the usual version, or that of a fact.
pub(super) fn base<More>(logical: &str, version: Option<&Fact<String, More>>) -> Base {
    let version = version.filter(|fact| fact.is_known());
    Base {
        logical: logical.to_owned(),
        version: version.and_then(|fact| fact.value.clone()),
        because: version.and_then(because),
    }
}

/// The base that has no version of its own.
pub(super) fn plain(logical: &str) -> Base {
    Base { logical: logical.to_owned(), version: None, because: None }
}

/// A plan under way.
#[derive(Debug)]
pub(super) struct Draft<'a> {
    pub(super) app: &'a Application,
    stages: Vec<Stage>,
    last: Stage,
    env: BTreeMap<String, String>,
    argv: Vec<String>,
    workdir: String,
    ignore: Vec<String>,
}

impl<'a> Draft<'a> {
    /// The plan of an application that is built on the one base and runs on the other.
    pub(super) fn new(app: &'a Application, build: Base, last: Base) -> Self {
        let mut draft = Self::bare(app, last);
        draft.stage(BUILD, build);
        draft.packages(BUILD, &app.system_packages.build);
        draft
    }

    /// The plan of an application that is not built.
    pub(super) fn bare(app: &'a Application, last: Base) -> Self {
        let mut draft = Self {
            app,
            stages: Vec::new(),
            last: stage("app", last),
            env: BTreeMap::from([("HOME".to_owned(), "/tmp".to_owned())]),
            argv: app.start.more.argv.clone(),
            workdir: within(HOME, &member(app)),
            ignore: Vec::new(),
        };
        draft.packages("app", &app.system_packages.run);
        draft
    }

    /// A further stage before those that there are, of which files are taken.
    pub(super) fn stage(&mut self, name: &str, base: Base) {
        self.stages.insert(0, stage(name, base));
    }

    fn of(&mut self, name: &str) -> &mut Stage {
        let found = self.stages.iter_mut().find(|stage| stage.name == name);
        found.unwrap_or(&mut self.last)
    }

    /// A variable of a stage.
    pub(super) fn stage_env(&mut self, stage: &str, name: &str, value: &str) {
        self.of(stage).env.insert(name.to_owned(), value.to_owned());
    }

    /// A variable of the image.
    pub(super) fn env(&mut self, name: &str, value: &str) {
        self.env.insert(name.to_owned(), value.to_owned());
    }

    /// Packages of Debian for a stage.
    pub(super) fn packages(&mut self, stage: &str, names: &[String]) {
        if !names.is_empty() {
            self.run(stage, shell(APT, names.iter().cloned()), None);
        }
    }

    /// Packages of Debian for the stage that builds, unless its base has the program for which they are.
    pub(super) fn tool(&mut self, program: &str, names: &[&str]) {
        let script = format!("{HAS}{APT}");
        let words = ["/bin/sh", "-c", &script, program].into_iter().chain(names.iter().copied());
        self.run(BUILD, words.map(str::to_owned).collect(), None);
    }

    /// A command of a stage.
    pub(super) fn run(&mut self, stage: &str, argv: Vec<String>, because: Option<String>) {
        self.of(stage).steps.push(Step::Run { argv, network: true, secrets: Vec::new(), because });
    }

    /// Files of the context, or of another stage, for a stage.
    pub(super) fn copy(&mut self, stage: &str, from: Option<&str>, sources: &[&str], dest: &str) {
        let sources = sources.iter().map(|source| (*source).to_owned()).collect();
        let step =
            Step::Copy { from: from.map(str::to_owned), sources, dest: dest.to_owned(), owner: None, because: None };
        self.of(stage).steps.push(step);
    }

    /// Commands of a fact in a directory below the application's home, `.` for that itself.
    pub(super) fn commands(&mut self, stage: &str, directory: &str, fact: &Fact<Vec<String>>) {
        for command in fact.value.iter().flatten() {
            let argv = words::argv(command);
            let argv = match directory {
                "" | "." => argv,
                directory => {
                    let begin = ["/bin/sh", "-c", WITHIN, directory].map(str::to_owned);
                    begin.into_iter().chain(argv).collect()
                }
            };
            self.run(stage, argv, because(fact));
        }
    }

    /// The files that an install needs go in and are installed; then all else.
    pub(super) fn install_first(&mut self, stage: &str, files: &[String], directory: &str, fact: &Fact<Vec<String>>) {
        // A name that a pattern or a variable could be made of goes with all the others.
        let is_plain = |path: &&String| path.chars().all(|c| c.is_ascii_alphanumeric() || "._@+-/ ".contains(c));
        if !fact.value.as_ref().is_none_or(Vec::is_empty)
            && !files.is_empty()
            && files.iter().all(|path| is_plain(&path))
        {
            let mut by_directory: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
            for path in files {
                by_directory.entry(path.rsplit_once('/').map_or("", |(above, _)| above)).or_default().push(path);
            }
            for (above, files) in by_directory {
                let dest = if above.is_empty() { "./".to_owned() } else { format!("./{above}/") };
                self.copy(stage, None, &files, &dest);
            }
            self.commands(stage, directory, fact);
            self.copy(stage, None, &["."], "./");
        } else {
            self.copy(stage, None, &["."], "./");
            self.commands(stage, directory, fact);
        }
    }

    /// The directory of the application below the context, `` for that itself.
    pub(super) fn member(&self) -> String {
        member(self.app)
    }

    /// What runs when a container starts.
    pub(super) fn start(&mut self, argv: &[&str], workdir: &str) {
        self.argv = argv.iter().map(|word| (*word).to_owned()).collect();
        workdir.clone_into(&mut self.workdir);
    }

    /// Where what runs begins.
    pub(super) fn workdir(&mut self, workdir: &str) {
        workdir.clone_into(&mut self.workdir);
    }

    /// The words of what runs when a container starts.
    pub(super) fn argv(&self) -> &[String] {
        &self.argv
    }

    /// Lines of `.dockerignore` beside those that every plan has.
    pub(super) fn ignore(&mut self, lines: &[&str]) {
        self.ignore.extend(lines.iter().map(|line| (*line).to_owned()));
    }

    /// The plan.
    ///
    /// # Errors
    ///
    /// Nothing says how it is started.
    pub(super) fn done(mut self) -> Result<Plan, Error> {
        let app = self.app;
        if self.argv.is_empty() {
            let hint = "say it in a Procfile: web: COMMAND".to_owned();
            return Err(Error::Unknown { what: "how it is started", hint });
        }
        let writable: Vec<String> = app.writable.iter().map(|path| within(&self.workdir, path)).collect();
        if !writable.is_empty() {
            self.run("app", shell(OWN, writable.iter().cloned()), None);
        }
        let port = app.port.value;
        self.env.extend(port.map(|port| ("PORT".to_owned(), port.to_string())));
        let path = app.details.health_path.as_deref();
        let mut why = BTreeMap::new();
        why.extend(because(&app.port).map(|because| ("ports".to_owned(), because)));
        why.extend(because(&app.start).map(|because| ("argv".to_owned(), because)));
        let mut ignore: Vec<String> = crate::dockerfile::always_ignored().map(str::to_owned).collect();
        ignore.extend(self.ignore);
        Ok(Plan {
            plan_version: 1,
            application: app.name.clone(),
            stages: self.stages,
            image: Image {
                env: self.env,
                workdir: self.workdir,
                user: USER.to_owned(),
                ports: port.into_iter().collect(),
                health: port.map(|port| health(&self.last.base.logical, port, path)),
                argv: self.argv,
                writable,
                because: why,
                from: self.last,
            },
            ignore,
        })
    }
}

fn stage(name: &str, base: Base) -> Stage {
    Stage { name: name.to_owned(), base, workdir: HOME.to_owned(), env: BTreeMap::new(), steps: Vec::new() }
}

/// The directory of an application below its context.
fn member(app: &Application) -> String {
    let root = if app.root == "." { "" } else { app.root.as_str() };
    match app.workspace.as_deref() {
        None => String::new(),
        Some("." | "") => root.to_owned(),
        Some(workspace) => root.strip_prefix(workspace).map_or(root, |rest| rest.trim_start_matches('/')).to_owned(),
    }
}

/// A path below another, as it is if it is absolute.
fn within(above: &str, path: &str) -> String {
    let path = path.trim_start_matches("./").trim_end_matches('/');
    match path {
        "" | "." => above.to_owned(),
        path if path.starts_with('/') => path.to_owned(),
        path => format!("{above}/{path}"),
    }
}
