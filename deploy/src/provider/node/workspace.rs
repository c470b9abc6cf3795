//! Workspaces of npm, pnpm, yarn and bun.

use globset::{GlobBuilder, GlobMatcher};

use super::package::Package;
use crate::{document::Node, tree::Tree};

/// A workspace: its directory, and which directories below it are members.
#[derive(Debug)]
pub(super) struct Workspace {
    pub(super) root: String,
    taken: Vec<GlobMatcher>,
    left: Vec<GlobMatcher>,
}

/// The workspaces of a tree.
pub(super) fn all(tree: &Tree) -> Vec<Workspace> {
    let one = |directory: &str| {
        let pnpm = tree.yaml(&crate::tree::path(directory, "pnpm-workspace.yaml"));
        let package = Package::of(tree, directory);
        let own =
            package.and_then(|package| package.at(&["workspaces"]).or_else(|| package.at(&["bolt", "workspaces"])));
        let lerna = tree.json(&crate::tree::path(directory, "lerna.json"));
        let lists = [
            pnpm.and_then(|file| file.get("packages")),
            own.map(|node| node.get("packages").unwrap_or(node)),
            lerna.and_then(|file| file.get("packages")),
        ];
        let patterns: Vec<&str> = lists.into_iter().flatten().flat_map(Node::items).filter_map(Node::text).collect();
        let (left, taken): (Vec<&str>, Vec<&str>) = patterns.into_iter().partition(|pattern| pattern.starts_with('!'));
        let compiled = |patterns: Vec<&str>| patterns.into_iter().filter_map(compiled).collect::<Vec<_>>();
        let workspace = Workspace { root: directory.to_owned(), taken: compiled(taken), left: compiled(left) };
        (!workspace.taken.is_empty()).then_some(workspace)
    };
    tree.directories().filter_map(one).collect()
}

fn compiled(pattern: &str) -> Option<GlobMatcher> {
    let pattern = pattern.trim_start_matches('!').trim_start_matches("./").trim_end_matches('/');
    GlobBuilder::new(pattern).literal_separator(true).build().ok().map(|glob| glob.compile_matcher())
}

impl Workspace {
    /// Whether a directory is a member, or the workspace itself.
    pub(super) fn holds(&self, directory: &str) -> bool {
        if directory == self.root {
            return true;
        }
        let within = if self.root == "." {
            directory
        } else {
            match directory.strip_prefix(&self.root).and_then(|rest| rest.strip_prefix('/')) {
                Some(within) => within,
                None => return false,
            }
        };
        self.taken.iter().any(|glob| glob.is_match(within)) && !self.left.iter().any(|glob| glob.is_match(within))
    }
}

/// The directory of the workspace that a directory is of: its own, else the nearest above.
pub(super) fn of<'w>(workspaces: &'w [Workspace], directory: &str) -> Option<&'w str> {
    let own = workspaces.iter().filter(|workspace| workspace.holds(directory));
    own.max_by_key(|workspace| workspace.root.len()).map(|workspace| workspace.root.as_str())
}
