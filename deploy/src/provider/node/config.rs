//! What configuration that is code says, without running it: literals behind names.

use crate::{
    code::{Syntax, line_of, without_comments},
    fact::Evidence,
    tree::{Tree, file_name, parent},
};

/// A file of configuration, without its comments.
#[derive(Debug)]
pub(super) struct Config<'t> {
    pub(super) file: &'t str,
    code: std::borrow::Cow<'t, str>,
}

impl<'t> Config<'t> {
    /// The first file in a directory whose name begins so: `vite.config.`.
    pub(super) fn of(tree: &'t Tree, root: &'t str, start: &str) -> Option<Self> {
        let file = tree.within(root).find(|path| is_named(path, start))?;
        let text = tree.text(file).unwrap_or_default();
        Some(Self { file, code: without_comments(text, Syntax::Script) })
    }

    /// The text behind a name: `outDir: 'out'`.
    pub(super) fn text(&self, name: &str) -> Option<(&str, Evidence)> {
        self.after(name).find_map(|(at, rest)| {
            let quote = rest.chars().next().filter(|first| matches!(first, '"' | '\'' | '`'))?;
            let value = rest[1..].split(quote).next()?;
            (!value.is_empty() && !value.contains(['\n', '$'])).then(|| (value, self.at(at)))
        })
    }

    /// Where a name is given that word: `ssr: false`.
    pub(super) fn says(&self, name: &str, word: &str) -> Option<Evidence> {
        self.after(name).find_map(|(at, rest)| {
            let value = rest.trim_start_matches(['"', '\'']).strip_prefix(word)?;
            let ends = !value.starts_with(|c: char| c.is_alphanumeric() || c == '_');
            ends.then(|| self.at(at))
        })
    }

    /// Where a word stands.
    pub(super) fn word(&self, word: &str) -> Option<Evidence> {
        self.code.find(word).map(|at| self.at(at))
    }

    /// Each place where that name is a key, and what stands behind its colon.
    fn after(&self, name: &str) -> impl Iterator<Item = (usize, &str)> {
        let length = name.len();
        self.code.match_indices(name).filter_map(move |(at, _)| {
            let is_word = |c: char| c.is_alphanumeric() || matches!(c, '_' | '.');
            let starts = !self.code[..at].chars().next_back().is_some_and(is_word);
            let rest = self.code[at + length..].trim_start_matches(['"', '\'']).trim_start();
            let value = rest.strip_prefix([':', '='])?.trim_start();
            starts.then_some((at, value))
        })
    }

    fn at(&self, byte: usize) -> Evidence {
        Evidence::new(self.file, line_of(&self.code, byte))
    }
}

/// Whether a file's name is that, with whatever extension.
pub(super) fn is_named(path: &str, start: &str) -> bool {
    file_name(path).strip_prefix(start).is_some_and(|rest| !rest.is_empty() && !rest.contains(".example"))
}

/// The first file in a directory or below it, but in no other package, whose name begins so.
pub(super) fn somewhere<'t>(tree: &'t Tree, root: &str, packages: &[&str], start: &str) -> Option<&'t str> {
    tree.below(root).find(|path| {
        let other = |package: &&&str| {
            **package != root && (parent(path) == **package || parent(path).starts_with(&format!("{package}/")))
        };
        is_named(path, start) && !packages.iter().any(|package| other(&package))
    })
}
