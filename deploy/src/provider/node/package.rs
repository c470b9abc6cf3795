//! What a `package.json` says, with its lines.

use crate::{
    document::{Node, Value},
    fact::Evidence,
    tree::{self, Tree},
};

/// By these names, the first that is there.
const NAMES: [&str; 2] = ["package.json", "package.json5"];
/// Where dependencies stand. What others have to bring is not one's own.
const DEPENDENCIES: [&str; 3] = ["dependencies", "devDependencies", "optionalDependencies"];
/// What a manifest that its parser refused says.
const NOTHING: Node = Node { line: 1, value: Value::Null };

/// A package: a directory with its manifest.
#[derive(Debug, Clone, Copy)]
pub(super) struct Package<'t> {
    pub(super) tree: &'t Tree,
    /// Its directory.
    pub(super) root: &'t str,
    /// Its manifest, relative to the tree's root.
    pub(super) file: &'t str,
    manifest: &'t Node,
}

impl<'t> Package<'t> {
    /// The package of a directory.
    pub(super) fn of(tree: &'t Tree, root: &'t str) -> Option<Self> {
        let file = tree.within(root).find(|path| NAMES.contains(&tree::file_name(path)))?;
        Some(Self { tree, root, file, manifest: tree.json(file).unwrap_or(&NOTHING) })
    }

    /// All packages of a tree, by their directories.
    pub(super) fn all(tree: &'t Tree) -> impl Iterator<Item = Self> {
        tree.directories().filter_map(|root| Self::of(tree, root))
    }

    /// A value of the manifest.
    pub(super) fn at(&self, path: &[&str]) -> Option<&'t Node> {
        self.manifest.at(path)
    }

    /// A text of the manifest, and where it stands.
    pub(super) fn text(&self, path: &[&str]) -> Option<(&'t str, Evidence)> {
        let (text, line) = self.manifest.text_at(path)?;
        Some((text, self.line(line)))
    }

    /// A line of the manifest.
    pub(super) fn line(&self, line: u64) -> Evidence {
        Evidence::new(self.file, line)
    }

    /// The path of a file of it.
    pub(super) fn path(&self, name: &str) -> String {
        tree::path(self.root, name)
    }

    /// Whether it has a file of that path, relative to its directory.
    pub(super) fn has(&self, name: &str) -> bool {
        tree::joined(self.root, name).is_some_and(|path| self.tree.has(&path))
    }

    /// Its scripts: name, command, line.
    pub(super) fn scripts(&self) -> impl Iterator<Item = (&'t str, &'t str, u64)> {
        let scripts = self.manifest.get("scripts").map(Node::entries).unwrap_or_default();
        scripts.iter().filter_map(|entry| Some((entry.key.as_str(), entry.node.text()?, entry.line)))
    }

    /// A script that does something.
    pub(super) fn script(&self, name: &str) -> Option<(&'t str, Evidence)> {
        let (_, body, line) = self.scripts().find(|(key, body, _)| *key == name && !body.trim().is_empty())?;
        Some((body, self.line(line)))
    }

    /// Where it depends on that package.
    pub(super) fn dependency(&self, name: &str) -> Option<Evidence> {
        DEPENDENCIES.iter().find_map(|kind| Some(self.line(self.manifest.at(&[kind])?.entry(name)?.line)))
    }

    /// Where it needs that package to run.
    pub(super) fn run_dependency(&self, name: &str) -> Option<Evidence> {
        Some(self.line(self.manifest.get("dependencies")?.entry(name)?.line))
    }

    /// The names of all that it depends on, and where.
    pub(super) fn dependencies(&self) -> impl Iterator<Item = (&'t str, Evidence)> {
        let file = self.file;
        let manifest = self.manifest;
        DEPENDENCIES
            .iter()
            .filter_map(move |kind| manifest.get(kind))
            .flat_map(Node::entries)
            .map(move |entry| (entry.key.as_str(), Evidence::new(file, entry.line)))
    }

    /// Whether it needs something where it runs.
    pub(super) fn has_run_dependencies(&self) -> bool {
        self.manifest.get("dependencies").is_some_and(|table| !table.entries().is_empty())
    }

    /// Its main file, if it has that one: as it is named, with an extension, or as a directory's index.
    pub(super) fn main(&self) -> Option<(String, Evidence)> {
        let (named, at) = self.text(&["main"])?;
        let named = tree::joined(".", named)?;
        let spelled = ["", ".js", ".mjs", ".cjs", ".ts", "/index.js"].map(|end| format!("{named}{end}"));
        spelled.into_iter().find(|file| self.has(file)).map(|file| (file, at))
    }
}
