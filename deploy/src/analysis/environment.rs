//! Which variables of the environment an application reads: what example files name, and what its code asks for.

use std::{collections::BTreeMap, sync::LazyLock};

use aho_corasick::{AhoCorasick, MatchKind};

use crate::{
    code::{Lines, Syntax, without_comments},
    fact::{Evidence, Variable},
    secret::is_secret,
    tree::{Tree, path},
};

/// Files that name what an application reads.
const EXAMPLES: [&str; 4] = [".env.example", ".env.sample", ".env.template", ".env.dist"];
/// What asks for a variable; those that end with `.` have the name behind them, all others a string.
const READS: [&str; 32] = [
    "process.env.",
    "process.env?.",
    "process.env[",
    "import.meta.env.",
    "Bun.env.",
    "Bun.env[",
    "Deno.env.get(",
    "os.environ[",
    "os.environ.get(",
    "os.environ.setdefault(",
    "environ[",
    "environ.get(",
    "os.getenv(",
    "getenv(",
    "ENV[",
    "ENV.fetch(",
    "env::var(",
    "env::var_os(",
    "env!(",
    "os.Getenv(",
    "os.LookupEnv(",
    "System.getenv(",
    "System.getenv().getOrDefault(",
    "GetEnvironmentVariable(",
    "System.get_env(",
    "System.fetch_env!(",
    "System.fetch_env(",
    "$_ENV[",
    "env(",
    "env.str(",
    "env.int(",
    "env.bool(",
];
/// What the runtime of a language or its build says, and no user.
const NOT_ASKED: [&str; 6] = ["MODE", "DEV", "PROD", "SSR", "BASE_URL", "CARGO_PKG_VERSION"];

static FINDER: LazyLock<Option<AhoCorasick>> =
    LazyLock::new(|| AhoCorasick::builder().match_kind(MatchKind::LeftmostLongest).build(READS).ok());

/// A place in code that asks for a variable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Read<'a> {
    /// The variable.
    pub(super) name: &'a str,
    /// The line, from 1.
    pub(super) line: u64,
    /// What stands behind it on its line and the next few.
    pub(super) after: &'a str,
}

/// Every place in code, without its comments, that asks for a variable.
pub(super) fn reads(code: &str) -> Vec<Read<'_>> {
    let Some(finder) = FINDER.as_ref() else { return Vec::new() };
    let mut lines = Lines::of(code);
    let read = |found: aho_corasick::Match| {
        let pattern = READS[found.pattern().as_usize()];
        let before = code[..found.start()].chars().next_back();
        if before.is_some_and(|before| before.is_alphanumeric() || before == '_')
            || pattern.starts_with("env") && before == Some('.')
        {
            return None;
        }
        let rest = &code[found.end()..];
        let rest = if pattern.ends_with('.') {
            rest
        } else {
            let rest = rest.trim_start();
            rest.strip_prefix(['"', '\'', '`'])?
        };
        let length = rest.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).unwrap_or(rest.len());
        let (name, after) = rest.split_at(length);
        let is_name = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
            && (!pattern.ends_with('.') || name.chars().all(|c| !c.is_ascii_lowercase()))
            && !NOT_ASKED.contains(&name);
        // A string goes on: it is put together, so this is not all of the name.
        let is_whole = pattern.ends_with('.') || after.starts_with(['"', '\'', '`']);
        (is_name && is_whole).then(|| Read { name, line: lines.of_next(found.start()), after })
    };
    finder.find_iter(code).filter_map(read).collect()
}

/// The variables of an application, by their names, from its example files and its code.
pub(super) fn variables(tree: &Tree, root: &str, sources: &[&str]) -> Vec<Variable> {
    let mut found: BTreeMap<String, Vec<Evidence>> = BTreeMap::new();
    for file in EXAMPLES.into_iter().map(|name| path(root, name)) {
        for (number, line) in tree.text(&file).unwrap_or_default().lines().enumerate() {
            let line = line.trim();
            let line = line.strip_prefix("export ").unwrap_or(line);
            let Some((name, _)) = line.split_once('=') else { continue };
            let name = name.trim();
            if is_variable(name) {
                found.entry(name.to_owned()).or_default().push(Evidence::new(file.clone(), number as u64 + 1));
            }
        }
    }
    for file in sources {
        let (Some(text), Some(syntax)) = (tree.text(file), Syntax::of(file)) else { continue };
        // Comments are looked for only where there is something to find.
        if FINDER.as_ref().is_none_or(|finder| !finder.is_match(text)) {
            continue;
        }
        for read in reads(&without_comments(text, syntax)) {
            found.entry(read.name.to_owned()).or_default().push(Evidence::new(*file, read.line));
        }
    }
    let variable = |(name, mut evidence): (String, Vec<Evidence>)| {
        evidence.sort();
        evidence.dedup();
        Variable { secret: is_secret(&name), name, evidence }
    };
    found.into_iter().map(variable).collect()
}

fn is_variable(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pkg_14_code_is_asked_for_what_it_reads() {
        let code = "process.env.A_B; os.environ['C']; ENV.fetch( \"D\", 1); env::var(\"E\"); x.env.F; getenv('G' . $h);\n\
            os.Getenv(\"H\"); process.env[`I${x}`]; myprocess.env.J; import.meta.env.MODE; process.env.lower";
        let names: Vec<_> = reads(code).into_iter().map(|read| (read.name.to_owned(), read.line)).collect();
        let expected = [("A_B", 1), ("C", 1), ("D", 1), ("E", 1), ("G", 1), ("H", 2)];
        assert_eq!(names, expected.map(|(name, line)| (name.to_owned(), line)));
    }

    #[test]
    fn pkg_14_values_of_examples_are_not_read() {
        let tree = Tree::of([
            (".env.example", "# c\nAPI_KEY=NONCE\nexport NAME = x\nnot a line\n"),
            ("a.py", "import os\n# os.environ['NO']\nx = os.environ[\"OTHER\"]\n"),
        ]);
        let variables = variables(&tree, ".", &["a.py"]);
        let shown: Vec<_> = variables.iter().map(|one| (one.name.as_str(), one.secret, one.evidence[0].line)).collect();
        assert_eq!(shown, [("API_KEY", true, 2), ("NAME", false, 3), ("OTHER", false, 3)]);
        assert!(!format!("{variables:?}").contains("NONCE"));
    }
}
