//! `aish manifests`: what a project is made of, checked, shown, or made.

use std::{
    io::{ErrorKind, Read as _},
    path::{Path, PathBuf},
};

use aigis_deploy::{
    json,
    manifest::{self, Checked, Directory},
};
use aigis_proxy::{Code, Error, text_file};

use crate::{context::Context, exit::Failure};

mod check;
pub(super) mod init;
mod show;

/// Manage manifests: what a project is made of, and how it is packaged
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  aish manifests init shop\n  aish manifests check shop\n  aish manifests show shop --json"
)]
pub(crate) struct Manifests {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
#[command(defer = true)]
enum Command {
    Init(init::Init),
    Check(check::Check),
    Show(show::Show),
}

impl Manifests {
    pub(crate) async fn run(self, context: &Context) -> Result<(), Failure> {
        // Files alone are looked at, and nothing waits for anything else but a model that is asked.
        match self.command {
            Command::Init(init) => init.run(context).await,
            Command::Check(check) => check.run(context),
            Command::Show(show) => show.run(context),
        }
    }
}

/// A manifest that was looked at, and what it is called in what is said of it.
struct Looked {
    name: String,
    checked: Checked,
}

/// Checks the manifest at a path: a project's directory, a file, or `-` for standard input, whose project is the directory
/// at hand.
fn look(path: &Path) -> Result<Looked, Failure> {
    if path == Path::new("-") {
        let mut bytes = Vec::new();
        std::io::stdin()
            .take(json::MAX_BYTES as u64 + 1)
            .read_to_end(&mut bytes)
            .map_err(|error| Error::precondition(format!("standard input cannot be read: {error}")))?;
        let checked = manifest::check(&bytes, &Directory(PathBuf::from(".")));
        return Ok(Looked { name: "standard input".to_owned(), checked });
    }
    let file = if path.is_dir() { path.join(manifest::FILE) } else { path.to_owned() };
    let shown = text_file::shown(&file);
    let unreadable = |error: std::io::Error| Error::precondition(format!("{shown} cannot be read: {error}"));
    let there = match std::fs::metadata(&file) {
        Ok(there) => Some(there),
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => None,
        Err(error) => return Err(unreadable(error).into()),
    };
    if !there.as_ref().is_some_and(std::fs::Metadata::is_file) {
        let what = if there.is_some() { "is no file" } else { "does not exist" };
        let hint = "make one of what the project holds: aish manifests init PATH";
        return Err(Error::new(Code::NotFound, format!("{shown} {what}")).hint(hint).into());
    }
    let mut bytes = Vec::new();
    let read =
        std::fs::File::open(&file).and_then(|file| file.take(json::MAX_BYTES as u64 + 1).read_to_end(&mut bytes));
    read.map_err(unreadable)?;
    let root = match file.parent() {
        Some(parent) if parent != Path::new("") => parent.to_owned(),
        _ => PathBuf::from("."),
    };
    Ok(Looked { name: shown, checked: manifest::check(&bytes, &Directory(root)) })
}

impl Looked {
    /// Problems, then warnings, a line each.
    fn lines(&self) -> Vec<String> {
        let line = |level: &str, problem: &manifest::Problem| {
            let manifest::Problem { pointer, code, message, line, column, hint } = problem;
            let hint = hint.as_ref().map(|hint| format!(" ({hint})")).unwrap_or_default();
            let pointer = if pointer.is_empty() { "the document" } else { pointer };
            format!("{}:{line}:{column}: {level}: {code}: {pointer}: {message}{hint}", self.name)
        };
        let problems = self.checked.problems.iter().map(|problem| line("error", problem));
        problems.chain(self.checked.warnings.iter().map(|warning| line("warning", warning))).collect()
    }
}
