//! `go.mod` and `go.work`.

use crate::{
    fact::Evidence,
    provider::{dir::Dir, tools::Asked},
    tree::joined,
};

/// What a `go.mod` says.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Module {
    /// The path of the module.
    pub(crate) name: String,
    /// The version of the language, and its line.
    go: Option<(String, u64)>,
    /// The tool chain, and its line.
    toolchain: Option<(String, u64)>,
    /// Modules that are required directly, with their lines.
    required: Vec<(String, u64)>,
    /// The line of the module's path.
    line: u64,
}

impl Module {
    /// The module of a directory.
    pub(crate) fn read(dir: Dir<'_>) -> Option<Self> {
        dir.text("go.mod").map(Self::parse)
    }

    fn parse(text: &str) -> Self {
        let mut module = Self { line: 1, ..Self::default() };
        for (verb, words, line, indirect) in directives(text) {
            match (verb, words.as_slice()) {
                ("module", [name, ..]) => (module.name, module.line) = (unquoted(name).to_owned(), line),
                ("go", [version, ..]) => module.go = Some(((*version).to_owned(), line)),
                ("toolchain", [version, ..]) => module.toolchain = Some(((*version).to_owned(), line)),
                ("require", [name, ..]) if !indirect => module.required.push((normalised(unquoted(name)), line)),
                _ => {}
            }
        }
        module
    }

    /// The last part of its path that is no major version.
    pub(crate) fn short(&self) -> &str {
        let path = without_major(&self.name);
        path.rsplit('/').next().filter(|name| !name.is_empty()).unwrap_or("app")
    }

    /// Where it says what it is.
    pub(crate) fn evidence(&self, dir: Dir<'_>) -> Vec<Evidence> {
        dir.seen("go.mod").map(|at| Evidence { line: self.line, ..at }).into_iter().collect()
    }

    /// The version of Go that it asks for.
    pub(crate) fn version(&self, dir: Dir<'_>) -> Option<Asked> {
        let toolchain = self.toolchain.as_ref().filter(|(version, _)| version != "default");
        let (version, line) = toolchain.or(self.go.as_ref())?;
        Some((version.clone(), "go.mod", dir.at("go.mod", *line)))
    }

    /// Where a module is required, by its path without its major version.
    pub(crate) fn dependency(&self, dir: Dir<'_>, path: &str) -> Option<Evidence> {
        let (_, line) = self.required.iter().find(|(name, _)| name == path)?;
        Some(dir.at("go.mod", *line))
    }

    /// All that it requires.
    pub(crate) fn dependencies(&self, dir: Dir<'_>) -> Vec<(String, Evidence)> {
        self.required.iter().map(|(name, line)| (name.clone(), dir.at("go.mod", *line))).collect()
    }
}

/// The directories of the modules that a workspace uses, relative to the tree's root.
pub(crate) fn uses(work: Dir<'_>) -> Vec<String> {
    let Some(text) = work.text("go.work") else { return Vec::new() };
    let used = directives(text).filter(|(verb, ..)| *verb == "use");
    used.filter_map(|(_, words, ..)| joined(work.root(), unquoted(words.first()?))).collect()
}

/// The version of Go that a workspace asks for.
pub(crate) fn work_version(work: Dir<'_>) -> Option<Asked> {
    let (_, words, line, _) = directives(work.text("go.work")?).find(|(verb, ..)| *verb == "go")?;
    Some(((*words.first()?).to_owned(), "go.work", work.at("go.work", line)))
}

/// The directives of a file, those in brackets one by one: verb, words, line, and whether it is marked as indirect.
fn directives(text: &str) -> impl Iterator<Item = (&str, Vec<&str>, u64, bool)> {
    let mut block: Option<&str> = None;
    (1..).zip(text.lines()).filter_map(move |(number, line)| {
        let (line, comment) = line.split_once("//").unwrap_or((line, ""));
        let mut words: Vec<&str> = line.split_whitespace().collect();
        if words.first() == Some(&")") {
            block = None;
            return None;
        }
        let verb = match block {
            Some(verb) => verb,
            None if words.is_empty() => return None,
            None => words.remove(0),
        };
        // `require(` is written as well.
        if words.first() == Some(&"(") || verb.ends_with('(') {
            block = Some(verb.trim_end_matches('('));
            return None;
        }
        (!words.is_empty()).then(|| (verb, words, number, comment.trim().starts_with("indirect")))
    })
}

fn unquoted(word: &str) -> &str {
    word.trim_matches(['"', '`'])
}

/// A module's path without its major version, in small letters.
fn normalised(path: &str) -> String {
    without_major(path).to_ascii_lowercase()
}

fn without_major(path: &str) -> &str {
    match path.rsplit_once("/v") {
        Some((before, major)) if !major.is_empty() && major.bytes().all(|byte| byte.is_ascii_digit()) => before,
        _ => path,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pkg_09_what_is_required_directly_counts() {
        let module = Module::parse(
            "// module no\nmodule \"github.com/a/Shop/v2\"\ngo 1.22\ntoolchain go1.23.1\nrequire github.com/labstack/echo/v4 v4.1.0\n\
             require (\n\tgithub.com/X/y v1 // indirect\n\tgithub.com/Lib/pq v1 // why\n)\nreplace github.com/q/z => ../z\n",
        );
        assert_eq!((module.short(), module.line), ("Shop", 2));
        assert_eq!(module.required, [("github.com/labstack/echo".to_owned(), 5), ("github.com/lib/pq".to_owned(), 8)]);
        assert_eq!((module.go, module.toolchain), (Some(("1.22".into(), 3)), Some(("go1.23.1".into(), 4))));
    }

    proptest::proptest! {
        #[test]
        fn every_text_is_read(text in "(module |require \\(|\\)|\n|//|go |\\PC){0,40}") {
            let _ = Module::parse(&text);
        }
    }
}
