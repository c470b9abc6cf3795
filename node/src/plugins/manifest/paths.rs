//! Paths in an `AIGIS.config`: `{root}` is the runtime copy, and nothing leads out of that.

use std::path::{Component, Path, PathBuf};

use aigis_proxy::{quoted, text_file};

/// Where a plugin lies now, and where it will run.
#[derive(Debug, Clone, Copy)]
pub(super) struct Paths<'a> {
    tree: &'a Path,
    root: &'a Path,
}

/// A path of a plugin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    /// Where it will be.
    pub(super) path: PathBuf,
    /// Where it can be looked at now.
    pub(super) now: PathBuf,
}

impl<'a> Paths<'a> {
    pub(super) fn new(tree: &'a Path, root: &'a Path) -> Self {
        Self { tree, root }
    }

    /// Where it will run.
    pub(super) fn root(self) -> &'a Path {
        self.root
    }

    /// Whether the plugin has that file.
    pub(super) fn has(self, file: &str) -> bool {
        self.tree.join(file).is_file()
    }

    /// The text with the runtime copy in the place of `{root}`, and whether it names that.
    pub(super) fn rendered(self, text: &str) -> Result<(String, bool), String> {
        let mut out = String::new();
        let mut names_root = false;
        let mut rest = text;
        while let Some(at) = rest.find(['{', '}']) {
            let (before, brace) = rest.split_at(at);
            out.push_str(before);
            rest = if let Some(rest) = brace.strip_prefix("{{") {
                out.push('{');
                rest
            } else if let Some(rest) = brace.strip_prefix("}}") {
                out.push('}');
                rest
            } else if let Some(rest) = brace.strip_prefix("{root}") {
                out.push_str(&self.root.to_string_lossy());
                names_root = true;
                rest
            } else if brace.starts_with('}') {
                return Err("a single } stands there; write }} for a brace".to_owned());
            } else {
                let placeholder = brace.find('}').and_then(|end| brace.get(..=end)).unwrap_or(brace);
                let shown = quoted(placeholder);
                return Err(format!("unknown placeholder {shown}; there is {{root}}, and {{{{ for a brace"));
            };
        }
        out.push_str(rest);
        Ok((out, names_root))
    }

    /// A path, from `base` on if it is relative.
    pub(super) fn place(self, text: &str, base: &Path, may_leave: bool) -> Result<Place, String> {
        let (rendered, _) = self.rendered(text)?;
        if rendered.is_empty() || rendered.contains('\0') {
            return Err("it is no path".to_owned());
        }
        let path = normal(&base.join(rendered));
        let inner = path.strip_prefix(self.root).map(|inner| self.tree.join(inner));
        let outside =
            || format!("{} leads out of the plugin's copy; write a path below {{root}}", text_file::shown(&path));
        match inner {
            Ok(now) if self.stays(&now) => Ok(Place { path, now }),
            _ if may_leave => Ok(Place { now: path.clone(), path }),
            _ => Err(outside()),
        }
    }

    /// Whether links on the way lead out.
    fn stays(self, now: &Path) -> bool {
        let Ok(tree) = self.tree.canonicalize() else { return false };
        // What is not there yet is judged by what holds it.
        let real =
            now.ancestors().take_while(|path| path.starts_with(self.tree)).find_map(|path| path.canonicalize().ok());
        real.is_some_and(|real| real.starts_with(tree))
    }

    /// Whether an argument that begins at the runtime copy ends in it.
    pub(super) fn keeps(self, argument: &str) -> bool {
        let path = Path::new(argument);
        !path.starts_with(self.root) || normal(path).starts_with(self.root)
    }
}

/// The path without `.` and `..`, as its words have it.
fn normal(path: &Path) -> PathBuf {
    let mut out = PathBuf::new();
    for part in path.components() {
        match part {
            Component::CurDir => {}
            Component::ParentDir => {
                out.pop();
            }
            part => out.push(part),
        }
    }
    out
}
