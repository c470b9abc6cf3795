//! `builtin:python`: builds a Python app that has no Dockerfile.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use aigis_proxy::{
    Error,
    chain::Tree,
    services::steps::{Ask, BuildWork, Question, confirmed},
};
use futures::future::BoxFuture;

use super::{
    Builtin, Context, Outcome,
    app::{App, blocking, json, lacks},
    dockerfile::tag,
};

mod imports;
mod requirements;

pub(super) const NAME: &str = "python";
/// The file that says what an app needs.
const REQUIREMENTS: &str = "requirements.txt";
/// What is run.
const MAIN: &str = "__main__.py";
/// What an app is built on, if the node does not say.
const BASE: &str = "python:3.12-slim";
/// The port of an app that does not say.
const PORT: u16 = 5000;

/// Builds a Python app with the packages that it needs.
#[derive(Debug)]
pub(super) struct Python;

impl Builtin for Python {
    fn name(&self) -> &'static str {
        NAME
    }

    fn description(&self) -> &'static str {
        "Builds a Python app from its requirements.txt, which it can derive from the imports."
    }

    fn run<'a>(&'a self, context: &'a mut Context) -> BoxFuture<'a, Result<Outcome, Error>> {
        Box::pin(build(context))
    }
}

async fn build(context: &Context) -> Result<Outcome, Error> {
    let directory = context.app_dir.clone();
    let (requirements, has_main) = blocking(move || {
        let app = App::new(&directory);
        Ok((app.text(REQUIREMENTS), app.has(MAIN)))
    })
    .await?;
    if requirements.is_none() && !has_main {
        return Err(lacks(NAME, "requirements.txt or __main__.py in the app"));
    }
    if !has_main {
        context.means.warn("the app has no __main__.py, which is what runs unless a later assistant sets cmd");
    }
    let (requirements, app_tree) = match requirements {
        Some(requirements) => (requirements, None),
        None => derive(context).await.map(|(text, tree)| (text, Some(tree)))?,
    };

    let base = context.means.python_image();
    let dockerfile = dockerfile(base.as_deref().unwrap_or(BASE), &requirements);
    context.means.log("the Dockerfile in use:");
    for line in dockerfile.lines() {
        context.means.log(&format!("  {line}"));
    }
    let work =
        BuildWork { context: app_tree.unwrap_or(context.app_tree), dockerfile: Some(dockerfile), tag: tag(context) };
    let image = context.means.build(work).await?;

    let mut state = context.state.clone();
    state.set("image", image.id.as_str());
    state.set("cmd", json(&["python", MAIN]));
    state.set("workingdir", "/app");
    if state.ports()?.is_empty() {
        state.set("ports", format!("[{PORT}]"));
    }
    Ok(Outcome { app_tree, state, next: Some("builtin:exec".to_owned()), ..Outcome::default() })
}

/// The Dockerfile of an app with these requirements. Nothing of them stands in it.
fn dockerfile(base: &str, requirements: &str) -> String {
    let mut lines = vec![format!("FROM {base}"), "ENV PYTHONUNBUFFERED=True".to_owned(), "WORKDIR /app".to_owned()];
    let packages = requirements::apt(requirements);
    if !packages.is_empty() {
        let packages = packages.join(" ");
        lines.push(format!(
            "RUN apt-get update && apt-get install -y --no-install-recommends {packages} && rm -rf /var/lib/apt/lists/*"
        ));
    }
    // Packages are installed before the app is there, so that a change of it does not install them anew.
    let needs_app = requirements::names_files(requirements);
    lines.push(if needs_app { "COPY . ." } else { "COPY requirements.txt ./" }.to_owned());
    lines.push("RUN --mount=type=cache,target=/root/.cache/pip pip install -r requirements.txt".to_owned());
    if !needs_app {
        lines.push("COPY . .".to_owned());
    }
    lines.push(format!("CMD {}", json(&["python", MAIN])));
    lines.join("\n") + "\n"
}

/// Asks whether the imports may say what the app needs, and makes that a file of the app.
async fn derive(context: &Context) -> Result<(String, Tree), Error> {
    let directory = context.app_dir.clone();
    let (text, found) = blocking(move || {
        let packages = imports::packages(App::new(&directory))
            .map_err(|error| Error::internal(format!("the app's imports cannot be read: {error}")))?;
        let text: String = packages.iter().map(|package| format!("{package}\n")).collect();
        Ok((text, packages.join(", ")))
    })
    .await?;
    let found = if found.is_empty() { "nothing beyond the standard library".to_owned() } else { found };
    let question = Question {
        id: "requirements".to_owned(),
        ask: format!("The app has no requirements.txt. Derive one from its imports ({found})?"),
        kind: Ask::Confirm,
        choices: Vec::new(),
        // A package that nobody asked for by its name is installed only if somebody agrees.
        default: None,
        until: String::new(),
    };
    let answer = context.means.ask(question).await?;
    if confirmed(&answer) != Some(true) {
        return Err(Error::precondition("the app has no requirements.txt: provide requirements.txt")
            .hint("an empty one will do for an app that needs no packages"));
    }
    context.means.log(&format!("requirements.txt derived from the imports: {found}"));

    let (app, content) = (context.app_dir.clone(), text.clone());
    let copy = blocking(move || {
        copy(&app, &content).map_err(|error| Error::internal(format!("the app cannot be copied: {error}")))
    })
    .await?;
    let tree = context.means.keep(copy.path().to_owned()).await?;
    Ok((text, tree))
}

/// The app with its requirements, beside the app: what is in it is the same files as there, and no copies.
fn copy(app: &Path, requirements: &str) -> io::Result<tempfile::TempDir> {
    let above = app.parent().ok_or_else(|| io::Error::other("the app's directory has none above it"))?;
    let copy = tempfile::Builder::new().prefix(".app-").tempdir_in(above)?;
    link(app, copy.path())?;
    fs::write(copy.path().join(REQUIREMENTS), requirements)?;
    Ok(copy)
}

fn link(from: &Path, to: &Path) -> io::Result<()> {
    let mut waiting: Vec<(PathBuf, PathBuf)> = vec![(from.to_owned(), to.to_owned())];
    while let Some((from, to)) = waiting.pop() {
        for entry in fs::read_dir(&from)? {
            let entry = entry?;
            let (from, to) = (entry.path(), to.join(entry.file_name()));
            let kind = entry.file_type()?;
            if kind.is_dir() {
                fs::create_dir(&to)?;
                waiting.push((from, to));
            } else if kind.is_symlink() {
                std::os::unix::fs::symlink(fs::read_link(&from)?, &to)?;
            } else {
                fs::hard_link(&from, &to).or_else(|_| fs::copy(&from, &to).map(|_| ()))?;
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
