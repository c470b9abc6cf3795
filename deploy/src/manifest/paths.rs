//! Paths of a manifest: those of files that have to exist, and those that have to stay where they are.

use std::{fs, path::PathBuf, sync::LazyLock};

use aigis_proxy::quoted;
use regex::Regex;

use super::{
    ProblemCode as Code,
    problem::{At, Problems},
};

/// What stands at a path of the project.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Found {
    /// A file.
    File,
    /// A directory.
    Directory,
    /// Nothing, or nothing that can be used.
    Missing,
    /// A link that leads out of the project.
    Outside,
    /// Whatever is wanted there: for a manifest without its project.
    Unseen,
}

/// What of the project exists.
pub trait Files {
    /// What stands at a path from the project root, with `/`, without `..`; `.` is the root itself.
    fn find(&self, path: &str) -> Found;
}

impl<F: Fn(&str) -> Found> Files for F {
    fn find(&self, path: &str) -> Found {
        self(path)
    }
}

/// A directory of this host that is a project root.
#[derive(Debug, Clone)]
pub struct Directory(pub PathBuf);

impl Files for Directory {
    fn find(&self, path: &str) -> Found {
        let Ok(root) = fs::canonicalize(&self.0) else { return Found::Missing };
        // A circle of links ends here as well.
        let Ok(real) = fs::canonicalize(root.join(path)) else { return Found::Missing };
        match fs::metadata(&real) {
            _ if !real.starts_with(&root) => Found::Outside,
            Ok(metadata) if metadata.is_file() => Found::File,
            Ok(metadata) if metadata.is_dir() => Found::Directory,
            Ok(_) | Err(_) => Found::Missing,
        }
    }
}

/// Where a path of the project leads from a directory of it; `None` where it leaves the project.
#[must_use]
pub fn joined(directory: &str, path: &str) -> Option<String> {
    if path.starts_with('/') { None } else { crate::tree::joined(directory, path) }
}

/// Finds paths that lead out, and files that are not there.
pub(super) fn check(document: &At<'_>, files: &dyn Files, problems: &mut Problems<'_>) {
    let project = Looked { files };
    for (_, application) in document.members_of("applications") {
        let root = match application.get("root") {
            Some(at) => project.find(&at, ".", Found::Directory, problems),
            None => Some(".".to_owned()),
        };
        // Of a directory that is not there, nothing more can be said.
        if let Some(root) = root {
            let entry = application.get("entrypoint").filter(|at| !at.text().is_some_and(is_object_path));
            for at in entry.into_iter().chain(application.items_of("dependencies")) {
                project.find(&at, &root, Found::File, problems);
            }
        }
        let site = application.get("site");
        let copied = application.get("copy");
        let inside = ["outputs", "writable"].iter().flat_map(|key| application.items_of(key));
        let of_copied = copied.iter().flat_map(At::items).flat_map(|item| [item.get("path"), item.get("to")]);
        let of_site = site.iter().flat_map(|site| [site.get("root"), site.get("fallback")]);
        inside.chain(of_copied.flatten()).chain(of_site.flatten()).for_each(|at| stays(&at, problems));
    }
    for (_, container) in document.members_of("containers") {
        if let Some(at) = container.get("dockerfile") {
            project.find(&at, ".", Found::File, problems);
        }
    }
}

struct Looked<'a> {
    files: &'a dyn Files,
}

impl Looked<'_> {
    /// The path from the project root, if the right thing is there.
    fn find(&self, at: &At<'_>, directory: &str, wanted: Found, problems: &mut Problems<'_>) -> Option<String> {
        let text = at.text()?;
        let shown = quoted(text);
        let Some(path) = joined(directory, text) else {
            let message = format!("\"{shown}\" leads out of the project");
            problems.add(at, Code::PathEscape, message, "write it relative to the project, without leaving it");
            return None;
        };
        let found = self.files.find(&path);
        let kind = if wanted == Found::Directory { "directory" } else { "file" };
        match found {
            found if found == wanted || found == Found::Unseen => return Some(path),
            Found::Outside => {
                problems.add(
                    at,
                    Code::PathEscape,
                    format!("\"{shown}\" is a link that leads out of the project"),
                    "put a copy in its place",
                );
            }
            _ => {
                let message = format!("there is no {kind} {}", quoted(&path));
                problems.add(at, Code::PathMissing, message, "paths are relative to the application's root");
            }
        }
        None
    }
}

/// Says if a path leaves the work directory; an absolute one may be anywhere in the image.
fn stays(at: &At<'_>, problems: &mut Problems<'_>) {
    if let Some(text) = at.text()
        && joined(".", text.trim_start_matches('/')).is_none()
    {
        let message = format!("\"{}\" leads out of where it begins", quoted(text));
        problems.add(at, Code::PathEscape, message, "write an absolute path, or one below the work directory");
    }
}

/// Whether it is `MODULE:NAME`.
fn is_object_path(text: &str) -> bool {
    static FORM: LazyLock<Option<Regex>> = LazyLock::new(|| {
        Regex::new(r"^[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)*:[A-Za-z_][A-Za-z0-9_.]*(\(\))?$").ok()
    });
    FORM.as_ref().is_some_and(|form| form.is_match(text))
}
