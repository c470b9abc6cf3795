//! What the sources of a package hold.

use std::{
    collections::BTreeMap,
    io::{self, BufReader, Read as _},
};

use aigis_proxy::{Code, Error};
use aigis_registry::archive::{Members, What};

use super::{
    super::{Record, Store},
    Found, Outcome, all,
};
use crate::{
    Digest, Options, Tree, analyze,
    fact::Managed,
    manifest::{Application, Manifest},
};

/// More than so many bytes tell something.
const TELLING: u64 = 200;
/// Most bytes of a file that is read as text, and of all of them.
const MAX_TEXT: u64 = 1024 * 1024;
const MAX_TEXTS: u64 = 64 * 1024 * 1024;

/// How files of tests are named, by ends of names: what stands before, what behind, and in which directory they lie where the
/// name alone does not tell.
const TESTS: [(&str, &str, &str, &str); 24] = [
    (".py", "test_", "", ""),
    (".py", "", "_test", ""),
    (".py", "tests", "", ""),
    (".go", "", "_test", ""),
    (".rs", "", "", "tests"),
    (".rs", "tests", "", "src"),
    (".rb", "", "_spec", ""),
    (".rb", "", "_test", ""),
    (".rb", "test_", "", ""),
    (".php", "", "Test", ""),
    (".java", "", "Test", ""),
    (".java", "", "Tests", ""),
    (".java", "", "", "test"),
    (".kt", "", "Test", ""),
    (".cs", "", "Tests", ""),
    (".cs", "", "Test", ""),
    (".exs", "", "_test", ""),
    (".gleam", "", "_test", ""),
    (".c", "test_", "", ""),
    (".c", "", "_test", ""),
    (".cpp", "test_", "", ""),
    (".cpp", "", "_test", ""),
    (".bats", "", "", ""),
    (".sh", "test_", "", ""),
];
/// Ends of names of scripts, whose tests have a word before the end, or lie in `__tests__`.
const SCRIPTS: [&str; 8] = [".js", ".mjs", ".cjs", ".jsx", ".ts", ".mts", ".cts", ".tsx"];
const WORDS: [&str; 4] = [".test", ".spec", "_test", "-test"];

/// The sources of a package, by application.
pub(super) struct Sources {
    applications: BTreeMap<String, Option<Source>>,
}

/// A source tree.
struct Source {
    tree: Tree,
    sizes: BTreeMap<String, u64>,
}

impl Sources {
    /// Reads the stored trees: those that are not stored are not known.
    pub(super) fn read(store: &Store, record: &Record) -> Result<Self, Error> {
        store.bring(record, |digest| record.trees.values().any(|tree| tree == digest))?;
        let mut applications = BTreeMap::new();
        for (name, tree) in &record.trees {
            let source = match store.blobs().has(tree) {
                true => Some(Source::read(store, tree)?),
                false => None,
            };
            applications.insert(name.clone(), source);
        }
        Ok(Self { applications })
    }

    /// One README tells of all of it.
    pub(super) fn documented(&self) -> Found {
        self.any("README over 200 bytes", |source| {
            let is_readme = |path: &str| {
                let name = path.to_ascii_lowercase();
                name == "readme" || name.starts_with("readme.")
            };
            let found = source.sizes.iter().find(|(path, size)| is_readme(path) && **size > TELLING);
            found.map(|(path, size)| format!("{path}, {size} bytes"))
        })
    }

    pub(super) fn tested(&self) -> Found {
        self.any("file of tests", |source| {
            let found = source.sizes.iter().find(|(path, size)| **size > 0 && is_test(path));
            found.map(|(path, _)| path.clone())
        })
    }

    /// What one of the applications has, or none.
    fn any(&self, what: &str, find: impl Fn(&Source) -> Option<String>) -> Found {
        let known = || self.applications.iter().filter_map(|(name, source)| Some((name, source.as_ref()?)));
        let found: Vec<String> =
            known().filter_map(|(name, source)| Some(format!("{name}: {}", find(source)?))).collect();
        if !found.is_empty() {
            return (Outcome::Pass, found);
        }
        if known().count() < self.applications.len() {
            return (Outcome::Unknown, vec!["not all of its sources are stored here".to_owned()]);
        }
        (Outcome::Fail, self.applications.keys().map(|name| format!("{name}: no {what}")).collect())
    }

    pub(super) fn locked(&self, record: &Record, manifest: &Manifest) -> Found {
        all(self.applications.iter().map(|(name, source)| {
            let Some(source) = source else {
                return (Outcome::Unknown, vec![format!("{name}: its sources are not stored here")]);
            };
            let about = manifest.applications.get(name.as_str());
            let installs = |about: &&Application| {
                let has_commands = !about.install_commands.is_empty() || !about.build_commands.is_empty();
                about.kind != "files" || has_commands || !about.dependencies.all().is_empty()
            };
            if about.is_some() && about.filter(installs).is_none() {
                return (Outcome::Pass, vec![format!("{name}: nothing is installed")]);
            }
            let root = about.map_or(".", |about| about.root.as_str());
            let beyond = record.locked.get(name).into_iter().flatten().map(|(path, _)| path);
            // Those of its own directory the analysis sees.
            let workspace = beyond.filter(|path| !source.tree.has(within(path, root))).collect::<Vec<_>>();
            all(managed(&source.tree).into_iter().map(|(manager, found)| match (found.locked, &found.lock) {
                (true, Some(lock)) => (Outcome::Pass, vec![format!("{name}: {manager} by {lock}")]),
                (true, None) => (Outcome::Pass, vec![format!("{name}: {manager} by hashes")]),
                (false, _) if !workspace.is_empty() => {
                    (Outcome::Pass, workspace.iter().map(|path| format!("{name}: {manager} by {path}")).collect())
                }
                (false, _) => (Outcome::Fail, vec![format!("{name}: nothing locks what {manager} installs")]),
            }))
        }))
    }
}

/// A path of the project as one below a directory of it.
fn within<'a>(path: &'a str, root: &str) -> &'a str {
    path.strip_prefix(root).and_then(|rest| rest.strip_prefix('/')).unwrap_or(path)
}

/// What manages packages in a tree, and how.
fn managed(tree: &Tree) -> Vec<(String, Managed)> {
    let Ok(analysis) = analyze(tree, &Options::default()) else { return Vec::new() };
    let mut all = Vec::new();
    for application in analysis.applications {
        let assets = application.assets.map(|assets| assets.package_manager);
        for fact in std::iter::once(application.package_manager).chain(assets) {
            if let Some(manager) = fact.value {
                all.push((manager, fact.more));
            }
        }
    }
    all
}

impl Source {
    fn read(store: &Store, digest: &Digest) -> Result<Self, Error> {
        let (file, _) = store.blobs().open_blob(digest)?;
        let lost =
            |error: io::Error| Error::new(Code::DataLoss, format!("the source tree {digest} cannot be read: {error}"));
        let mut members = Members::new(BufReader::new(file));
        let (mut texts, mut sizes, mut left) = (BTreeMap::new(), BTreeMap::new(), MAX_TEXTS);
        while let Some(member) = members.next().map_err(lost)? {
            if member.what != What::File {
                continue;
            }
            let mut text = String::new();
            if member.size <= MAX_TEXT.min(left) {
                let mut bytes = Vec::new();
                members.read_to_end(&mut bytes).map_err(lost)?;
                left -= member.size;
                text = String::from_utf8(bytes).unwrap_or_default();
            }
            sizes.insert(member.path.clone(), member.size);
            texts.insert(member.path, text);
        }
        Ok(Self { tree: Tree::of(texts.iter().map(|(path, text)| (path.as_str(), text.as_str()))), sizes })
    }
}

/// Whether a file is one of tests, by its ecosystem's convention.
fn is_test(path: &str) -> bool {
    let (directory, name) = path.rsplit_once('/').unwrap_or(("", path));
    let lies_in = |wanted: &str| directory.split('/').any(|part| part == wanted);
    let by_table = TESTS.iter().any(|(end, before, behind, place)| {
        let stem = name.strip_suffix(end).and_then(|stem| stem.strip_prefix(before));
        stem.is_some_and(|stem| {
            let whole = !before.is_empty() && !before.ends_with('_');
            stem.ends_with(behind) && (!whole || stem.is_empty()) && (place.is_empty() || lies_in(place))
        })
    });
    let script = SCRIPTS.iter().find_map(|end| name.strip_suffix(end));
    by_table || script.is_some_and(|stem| lies_in("__tests__") || WORDS.iter().any(|word| stem.ends_with(word)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pkg_57_files_of_tests_are_told_by_their_ecosystems() {
        for path in [
            "test_a.py",
            "tests/unit/a_test.py",
            "shop/tests.py",
            "a_test.go",
            "tests/it.rs",
            "src/tests.rs",
            "spec/a_spec.rb",
            "tests/ATest.php",
            "src/test/java/A.java",
            "src/ATest.java",
            "A.Tests/ATests.cs",
            "test/a_test.exs",
            "src/a.test.ts",
            "a.spec.jsx",
            "src/__tests__/a.js",
            "a_test.ts",
            "t.bats",
            "test_a.sh",
        ] {
            assert!(is_test(path), "{path}");
        }
        for path in
            ["tests.txt", "latest.py", "mytests.py", "contest.js", "src/a.rs", "tests/data.json", "test", "a.spec"]
        {
            assert!(!is_test(path), "{path}");
        }
    }
}
