//! Which of several programs of one application is meant.

use crate::fact::Evidence;

/// Names of programs that serve, the likeliest first.
const NAMES: [&str; 5] = ["server", "web", "api", "app", "main"];

/// A program that could be started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    /// What it is called.
    pub(crate) name: String,
    /// Its main file, or the directory of its sources, relative to the application.
    pub(crate) path: String,
    /// Where its code listens, or uses a server framework.
    pub(crate) serves: Option<Evidence>,
    /// Where it is declared, or begins.
    pub(crate) evidence: Evidence,
}

/// The program that is meant: one that serves, then by its name, then the project's own, then by bytes.
pub(crate) fn choose(entries: &[Entry], project: &str) -> Option<Entry> {
    let rank = |entry: &&Entry| {
        let named = NAMES.iter().position(|name| *name == entry.name).unwrap_or(NAMES.len());
        (entry.serves.is_none(), named, entry.name != project, entry.name.clone(), entry.path.clone())
    };
    entries.iter().min_by_key(rank).cloned()
}

/// The program of which that file is the main one, relative to the tree's root.
pub(crate) fn of_file(entries: &[Entry], file: &str) -> Option<Entry> {
    entries.iter().find(|entry| entry.evidence.file == file).cloned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pkg_12_what_serves_comes_before_names_and_names_before_bytes() {
        let entry = |name: &str, serves: bool| {
            let evidence = Evidence::new(format!("{name}.go"), 1);
            Entry { name: name.to_owned(), path: name.to_owned(), serves: serves.then(|| evidence.clone()), evidence }
        };
        let chosen = |entries: &[Entry]| choose(entries, "shop").map(|entry| entry.name);
        assert_eq!(chosen(&[entry("server", false), entry("zoo", true)]).as_deref(), Some("zoo"));
        assert_eq!(chosen(&[entry("admin", false), entry("server", false)]).as_deref(), Some("server"));
        assert_eq!(chosen(&[entry("admin", true), entry("shop", true)]).as_deref(), Some("shop"));
        assert_eq!(chosen(&[entry("b", false), entry("a", false)]).as_deref(), Some("a"));
        assert_eq!(chosen(&[]), None);
    }
}
