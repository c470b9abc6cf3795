//! `builtin:detect`: says what an app is, by its files, and proposes a Dockerfile.

use aigis_proxy::{Code, Error};
use futures::future::BoxFuture;

use super::{
    Builtin, Context, Outcome,
    app::{App, blocking, json},
    python::BASE,
};

mod compiled;
mod node;
mod scripts;

pub(super) const NAME: &str = "detect";

/// What is proposed for an app.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Plan {
    /// What was found, each by the file that proves it.
    findings: Vec<(String, String)>,
    /// The instructions, up to the command.
    instructions: Vec<String>,
    /// The port on which the app listens, if it does not choose another by `PORT`.
    port: u16,
    /// The command.
    cmd: Vec<String>,
}

impl Plan {
    fn new(file: &str, what: impl Into<String>, port: u16) -> Self {
        let findings = vec![(file.to_owned(), what.into())];
        Self { findings, instructions: Vec::new(), port, cmd: Vec::new() }
    }

    fn found(&mut self, file: &str, what: impl Into<String>) {
        self.findings.push((file.to_owned(), what.into()));
    }

    fn instruct(&mut self, instructions: &[&str]) {
        self.instructions.extend(instructions.iter().map(|&line| line.to_owned()));
    }

    fn command(&mut self, words: &[&str]) {
        self.cmd = words.iter().map(|&word| word.to_owned()).collect();
    }

    /// Has what would be built on one image be built on another.
    fn base(&mut self, usual: &str, own: &str) {
        let usual = format!("FROM {usual}");
        self.instructions.iter_mut().filter(|line| **line == usual).for_each(|line| *line = format!("FROM {own}"));
    }

    fn dockerfile(&self) -> String {
        let end = [format!("EXPOSE {}", self.port), format!("CMD {}", json(&self.cmd))];
        self.instructions.iter().chain(&end).map(|line| format!("{line}\n")).collect()
    }
}

/// How a kind of app shows.
struct Rule {
    /// What it is.
    what: &'static str,
    /// Files of which it has one.
    files: &'static [&'static str],
    /// What is proposed, or what is missing for that.
    plan: fn(App<'_>, &str) -> Result<Plan, String>,
}

/// The rules. The first that fits is taken: what often is there beside something else stands later.
const RULES: &[Rule] = &[
    Rule { what: "Ruby", files: &["Gemfile"], plan: scripts::ruby },
    Rule { what: "PHP", files: &["composer.json", "index.php"], plan: scripts::php },
    Rule { what: "Java with Maven", files: &["pom.xml"], plan: compiled::maven },
    Rule { what: "Java with Gradle", files: &["build.gradle", "build.gradle.kts"], plan: compiled::gradle },
    Rule { what: "Go", files: &["go.mod"], plan: compiled::go },
    Rule { what: "Rust", files: &["Cargo.toml"], plan: compiled::rust },
    Rule {
        what: "Python",
        files: &["requirements.txt", "pyproject.toml", "__main__.py", "manage.py", "app.py", "main.py"],
        plan: scripts::python,
    },
    Rule { what: "Deno", files: &["deno.json", "deno.jsonc"], plan: node::deno },
    Rule { what: "Node", files: &["package.json"], plan: node::node },
    Rule { what: "a static site", files: &["index.html", "public/index.html", "dist/index.html"], plan: node::site },
];

/// Says what an app is.
#[derive(Debug)]
pub(super) struct Detect;

impl Builtin for Detect {
    fn name(&self) -> &'static str {
        NAME
    }

    fn description(&self) -> &'static str {
        "Analyses the app, and proposes a Dockerfile if it has none."
    }

    fn run<'a>(&'a self, context: &'a mut Context) -> BoxFuture<'a, Result<Outcome, Error>> {
        Box::pin(detect(context))
    }
}

async fn detect(context: &Context) -> Result<Outcome, Error> {
    let directory = context.app_dir.clone();
    let python = context.means.python_image();
    let analysis = blocking(move || Ok(analyse(App::new(&directory), python.as_deref().unwrap_or(BASE)))).await?;
    let mut state = context.state.clone();
    match analysis {
        Analysis::HasDockerfile => context.means.log("Dockerfile: the app says by itself how it is built"),
        Analysis::Found(plan) => {
            for (file, what) in &plan.findings {
                context.means.log(&format!("{file}: {what}"));
            }
            let dockerfile = plan.dockerfile();
            context.means.log("the Dockerfile that is proposed:");
            for line in dockerfile.lines() {
                context.means.log(&format!("  {line}"));
            }
            state.set("dockerfile", dockerfile);
            state.set("ports", format!("[{}]", plan.port));
        }
        Analysis::Nothing { reasons } => return Err(nothing(&reasons)),
    }
    Ok(Outcome { state, next: Some("builtin:dockerfile".to_owned()), ..Outcome::default() })
}

#[derive(Debug)]
enum Analysis {
    HasDockerfile,
    Found(Plan),
    Nothing { reasons: Vec<String> },
}

fn analyse(app: App<'_>, python: &str) -> Analysis {
    if app.has("Dockerfile") {
        return Analysis::HasDockerfile;
    }
    let mut reasons = Vec::new();
    for rule in RULES {
        let Some(file) = app.first(rule.files) else { continue };
        match (rule.plan)(app, file) {
            Ok(mut plan) => {
                plan.base(BASE, python);
                if let Some(line) = web(app) {
                    plan.found("Procfile", format!("its web: line is the command: {line}"));
                    // A line of a Procfile is for a shell.
                    plan.command(&["/bin/sh", "-c", &line]);
                }
                return Analysis::Found(plan);
            }
            Err(reason) => reasons.push(format!("{file} says that it is {}, but {reason}", rule.what)),
        }
    }
    Analysis::Nothing { reasons }
}

/// The line of a Procfile that serves.
fn web(app: App<'_>) -> Option<String> {
    let text = app.text("Procfile")?;
    let mut lines = text.lines().filter_map(|line| line.trim().strip_prefix("web")?.trim_start().strip_prefix(':'));
    lines.next().map(|line| line.trim().to_owned()).filter(|line| !line.is_empty())
}

fn nothing(reasons: &[String]) -> Error {
    let files: Vec<&str> = RULES.iter().flat_map(|rule| rule.files).copied().collect();
    let why = if reasons.is_empty() { String::new() } else { format!("{}. ", reasons.join("; ")) };
    let text = format!("nothing says what the app is. {why}Looked for: Dockerfile, {}", files.join(", "));
    Error::new(Code::FailedPrecondition, text)
        .hint("write a Dockerfile, or name an assistant: aish push --assistant NAME")
        .with("looked_for", files)
}

#[cfg(test)]
mod tests;
