//! Which files of a pushed directory go: built-in rules, the `.gitignore`s of the tree, its `.aigisignore`s. The last rule
//! that matches counts, and `!` takes back.

use std::{
    collections::HashMap,
    fs,
    io::Read as _,
    path::{Path, PathBuf},
};

use ignore::{
    Match,
    gitignore::{Gitignore, GitignoreBuilder},
};

/// What stays at home unless something takes it back.
const BUILT_IN: [&str; 13] = [
    ".git",
    ".hg",
    ".svn",
    ".aigis",
    ".ayup",
    ".aigis-env",
    ".ayup-env",
    ".env",
    ".env.*",
    "node_modules",
    "__pycache__",
    ".venv",
    ".aigis-part-*",
];
/// Which files hold rules, those of the later name after all of the earlier.
const FILES: [&str; 2] = [".gitignore", ".aigisignore"];
/// Most bytes of a file of rules that are read.
const MOST: u64 = 1024 * 1024;

/// The rules of a tree; those of a directory are read when something in it is first asked for.
#[derive(Debug)]
pub struct Rules {
    root: PathBuf,
    built_in: Gitignore,
    /// By the directory's path: what it says, by [`FILES`].
    known: HashMap<String, [Option<Gitignore>; 2]>,
}

impl Rules {
    /// The rules of the tree at `root`.
    #[must_use]
    pub fn of(root: &Path) -> Self {
        let built_in = compiled(BUILT_IN.into_iter()).unwrap_or_else(Gitignore::empty);
        Self { root: root.to_owned(), built_in, known: HashMap::new() }
    }

    /// Whether what stands at that path goes, if the directory that holds it does.
    pub fn keeps(&mut self, path: &str, is_directory: bool) -> bool {
        let mut keeps = true;
        judge(&mut keeps, &self.built_in, path, is_directory);
        let above = ancestors(path);
        for directory in &above {
            if !self.known.contains_key(*directory) {
                let read = FILES.map(|file| self.read(directory, file));
                self.known.insert((*directory).to_owned(), read);
            }
        }
        for file in 0..FILES.len() {
            for directory in &above {
                if let Some(rules) = self.known.get(*directory).and_then(|known| known.get(file)?.as_ref()) {
                    let within = path.strip_prefix(directory).unwrap_or(path).trim_start_matches('/');
                    judge(&mut keeps, rules, within, is_directory);
                }
            }
        }
        keeps
    }

    fn read(&self, directory: &str, file: &str) -> Option<Gitignore> {
        let path = self.root.join(directory).join(file);
        // A link, or a FIFO, says nothing.
        if !fs::symlink_metadata(&path).ok()?.is_file() {
            return None;
        }
        let mut bytes = Vec::new();
        fs::File::open(&path).ok()?.take(MOST).read_to_end(&mut bytes).ok()?;
        compiled(String::from_utf8_lossy(&bytes).trim_start_matches('\u{feff}').lines())
    }
}

/// Whether a file's name is one of those that hold secrets for a program.
#[must_use]
pub fn is_environment(path: &str) -> bool {
    let name = path.rsplit('/').next().unwrap_or(path);
    name == ".env" || name.starts_with(".env.")
}

fn judge(keeps: &mut bool, rules: &Gitignore, path: &str, is_directory: bool) {
    match rules.matched(path, is_directory) {
        Match::Ignore(_) => *keeps = false,
        Match::Whitelist(_) => *keeps = true,
        Match::None => {}
    }
}

/// A line that is no rule says nothing, as with git.
fn compiled<'a>(lines: impl Iterator<Item = &'a str>) -> Option<Gitignore> {
    let mut builder = GitignoreBuilder::new("");
    for line in lines {
        let _ = builder.add_line(None, line);
    }
    builder.build().ok()
}

/// The directories above a path, the top first.
fn ancestors(path: &str) -> Vec<&str> {
    let below = path.match_indices('/').map(|(end, _)| path.get(..end).unwrap_or_default());
    std::iter::once("").chain(below).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(files: &[(&str, &str)]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for (path, content) in files {
            let path = dir.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, content).unwrap();
        }
        dir
    }

    #[test]
    fn chn_30_the_last_rule_that_matches_counts() {
        let dir = tree(&[
            (".gitignore", "dist/\n*.log\n!keep.log\n/only-here\n"),
            (".aigisignore", "!dist/\n!.env.example\nbig/\n"),
            ("sub/.gitignore", "!x.log\nown\n"),
        ]);
        let mut rules = Rules::of(dir.path());
        for (path, is_directory, keeps) in [
            ("dist", true, true),
            ("dist/app.js", false, true),
            (".env", false, false),
            (".env.local", false, false),
            (".env.example", false, true),
            ("node_modules", true, false),
            ("sub/node_modules", true, false),
            (".git", true, false),
            (".aigis", true, false),
            (".hidden", false, true),
            ("a.log", false, false),
            ("keep.log", false, true),
            ("sub/x.log", false, true),
            ("sub/y.log", false, false),
            ("sub/own", false, false),
            ("own", false, true),
            ("only-here", false, false),
            ("sub/only-here", false, true),
            ("big", true, false),
            ("big", false, true),
        ] {
            assert_eq!(rules.keeps(path, is_directory), keeps, "{path}");
        }
    }

    #[test]
    fn chn_30_aigisignore_comes_after_every_gitignore() {
        let dir = tree(&[(".aigisignore", "!sub/kept\n"), ("sub/.gitignore", "kept\n")]);
        assert!(Rules::of(dir.path()).keeps("sub/kept", false), "though its .gitignore is nearer");
    }

    #[test]
    fn files_of_secrets_are_told_apart() {
        assert!(is_environment(".env") && is_environment("a/.env.local"));
        assert!(!is_environment(".envrc") && !is_environment("a.env"));
    }
}
