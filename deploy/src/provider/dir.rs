//! A directory of a tree, as a provider looks at it.

use std::collections::BTreeMap;

use crate::{
    code::line_of,
    document::{Element, Node},
    fact::{Application, Evidence, Fact, Managed, Requested},
    provider::{Candidate, tools::Asked, version},
    tree::{self, Tree, Warning},
};

/// Directories whose code starts nothing: tests, samples, documents, and what others made.
const ASIDE: [&str; 18] = [
    "__pycache__",
    "alembic",
    "benches",
    "benchmark",
    "benchmarks",
    "docs",
    "doc",
    "e2e",
    "example",
    "examples",
    "fixtures",
    "migrations",
    "node_modules",
    "sample",
    "samples",
    "spec",
    "test",
    "tests",
];
/// Most directories below another in which code is looked for.
const DEPTH: usize = 6;

/// A directory of a tree; paths in it are relative to it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Dir<'t> {
    tree: &'t Tree,
    /// Relative to the tree's root, `.` for that.
    root: &'t str,
}

impl<'t> Dir<'t> {
    /// The directory of that path, `.` for the tree's root.
    pub(crate) fn of(tree: &'t Tree, root: &'t str) -> Self {
        Self { tree, root }
    }

    /// The tree.
    pub(crate) fn tree(&self) -> &'t Tree {
        self.tree
    }

    /// A path in it, relative to the tree's root.
    pub(crate) fn path(&self, name: &str) -> String {
        tree::path(self.root, name)
    }

    /// Whether it has that file.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.tree.has(&self.path(name))
    }

    /// What that file holds, without the mark at its begin.
    pub(crate) fn text(&self, name: &str) -> Option<&'t str> {
        self.tree.text(&self.path(name)).map(|text| text.trim_start_matches('\u{feff}'))
    }

    /// All files in and below it, relative to it, by their bytes.
    pub(crate) fn below(&self) -> impl Iterator<Item = &'t str> + 't {
        let cut = if self.root == "." { 0 } else { self.root.len() + 1 };
        self.tree.below(self.root).filter_map(move |path| path.get(cut..))
    }

    /// The names of the files in it, by their bytes.
    pub(crate) fn names(&self) -> impl Iterator<Item = &'t str> + 't {
        self.below().filter(|path| !path.contains('/'))
    }

    /// Source files with one of those ends in and below it that could start something, nearest first.
    pub(crate) fn sources(&self, ends: &[&str]) -> Vec<&'t str> {
        let counts = |path: &&str| {
            let mut above = path.split('/');
            above.next_back();
            ends.iter().any(|end| path.ends_with(end))
                && path.matches('/').count() <= DEPTH
                && !above.any(|name| ASIDE.contains(&name) || name.starts_with('.'))
        };
        let mut found: Vec<&str> = self.below().filter(counts).collect();
        found.sort_by_key(|path| (path.matches('/').count(), *path));
        found
    }

    /// Whether a file in it belongs to another project below it: one that has one of those manifests.
    pub(crate) fn is_of_another(&self, file: &str, manifests: &[&str]) -> bool {
        let above = file.match_indices('/').filter_map(|(end, _)| file.get(..end));
        above.into_iter().any(|directory| {
            manifests.iter().any(|manifest| self.tree.has(&self.path(&format!("{directory}/{manifest}"))))
        })
    }

    /// That line of that file.
    pub(crate) fn at(&self, name: &str, line: u64) -> Evidence {
        Evidence::new(self.path(name), line)
    }

    /// What a lock file in it says of what manages packages: each is pinned where there is one.
    pub(crate) fn locked_by(self, file: &str) -> Managed {
        let lock = self.has(file).then(|| self.path(file));
        Managed { version: None, locked: lock.is_some(), lock }
    }

    /// The first line of that file, if it has one.
    pub(crate) fn seen(&self, name: &str) -> Option<Evidence> {
        (!self.text(name)?.is_empty()).then(|| self.at(name, 1))
    }

    /// The line of that file in which a text first stands, else its first.
    pub(crate) fn where_is(&self, name: &str, text: &str) -> Option<Evidence> {
        let whole = self.text(name)?;
        match whole.find(text) {
            Some(at) => Some(self.at(name, line_of(whole, at))),
            None => self.seen(name),
        }
    }

    /// The first of those files that it has.
    pub(crate) fn first<'n>(&self, names: &[&'n str]) -> Option<&'n str> {
        names.iter().copied().find(|name| self.has(name))
    }

    /// The directory above it, unless it is the tree's root.
    pub(crate) fn above(&self) -> Option<Self> {
        (self.root != ".").then(|| Self { tree: self.tree, root: tree::parent(self.root) })
    }

    /// Itself, or the nearest directory above, that has one of those files, and which.
    pub(crate) fn upwards<'n>(&self, names: &[&'n str]) -> Option<(Self, &'n str)> {
        let mut here = Some(*self);
        while let Some(dir) = here {
            if let Some(name) = dir.first(names) {
                return Some((dir, name));
            }
            here = dir.above();
        }
        None
    }

    /// A file of it as TOML.
    pub(crate) fn toml(&self, name: &str) -> Option<&'t Node> {
        self.tree.toml(&self.path(name))
    }

    /// A file of it as JSON.
    pub(crate) fn json(&self, name: &str) -> Option<&'t Node> {
        self.tree.json(&self.path(name))
    }

    /// A file of it as XML.
    pub(crate) fn xml(&self, name: &str) -> Option<&'t Element> {
        self.tree.xml(&self.path(name))
    }

    /// A path of the tree, relative to it.
    pub(crate) fn within<'p>(&self, path: &'p str) -> &'p str {
        match path.strip_prefix(self.root) {
            Some("") => ".",
            Some(rest) if self.root != "." => rest.strip_prefix('/').unwrap_or(path),
            _ => path,
        }
    }

    /// Its path relative to the tree's root, `.` for that.
    pub(crate) fn root(&self) -> &'t str {
        self.root
    }
}

/// Directories that hold one of those files, by their bytes, each with the files found.
pub(crate) fn holding(tree: &Tree, wanted: impl Fn(&str) -> bool) -> BTreeMap<&str, Vec<&str>> {
    let mut found: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for path in tree.paths().filter(|path| wanted(tree::file_name(path))) {
        found.entry(tree::parent(path)).or_default().push(path);
    }
    found
}

/// A known fact, or an unknown one where nothing proves it.
pub(crate) fn known<T, More: Default>(value: T, rule: &str, evidence: Vec<Evidence>) -> Fact<T, More> {
    if evidence.is_empty() { Fact::default() } else { Fact::known(value, rule, evidence) }
}

/// Says which version of a runtime answers what the project asks for, or the default of that runtime. A version that no
/// table has gets a warning.
pub(crate) fn runtime(app: &mut Application, name: &str, asked: Option<Asked>, chosen: &Candidate) {
    let Some((asked, rule, evidence)) = asked else {
        if let Some(version) = version::default(name) {
            app.runtime = known(version.to_owned(), &format!("{name}.default"), chosen.evidence.clone());
        }
        return;
    };
    let found = version::choose(name, &asked);
    if !found.supported {
        let message = format!("{name} {asked} is no version that is known here; it is taken as it stands");
        app.details.warnings.push(Warning::new("version.unsupported", evidence.clone(), message));
    }
    app.runtime = known(found.version, rule, vec![evidence]).with(Requested { requested: Some(asked) });
}
