//! `Cargo.toml`.

use crate::{
    document::Node,
    fact::Evidence,
    provider::{dir::Dir, tools::Asked},
    tree::joined,
};

const FILE: &str = "Cargo.toml";

/// The manifest of a package, or of a workspace.
#[derive(Debug)]
pub(crate) struct Manifest<'t> {
    pub(crate) dir: Dir<'t>,
    file: Option<&'t Node>,
    /// The name of the package.
    pub(crate) name: Option<String>,
}

impl<'t> Manifest<'t> {
    /// The manifest of a directory.
    pub(crate) fn read(dir: Dir<'t>) -> Self {
        let file = dir.toml(FILE);
        let name = file.and_then(|file| Some(file.text_at(&["package", "name"])?.0.to_owned()));
        Self { dir, file, name }
    }

    /// Where it stands.
    pub(crate) fn evidence(&self) -> Vec<Evidence> {
        self.dir.seen(FILE).into_iter().collect()
    }

    /// The programs of the package: their names, and the files they begin in.
    pub(crate) fn programs(&self) -> Vec<(String, String)> {
        let Some(name) = &self.name else { return Vec::new() };
        let mut found: Vec<(String, String)> = Vec::new();
        let declared = self.file.and_then(|file| file.get("bin")).map(|bins| bins.items()).unwrap_or_default();
        for bin in declared {
            let Some((bin_name, _)) = bin.text_at(&["name"]) else { continue };
            let path = match bin.text_at(&["path"]) {
                Some((path, _)) => joined(".", path),
                None => self.usual(bin_name, name),
            };
            found.extend(path.filter(|path| self.dir.has(path)).map(|path| (bin_name.to_owned(), path)));
        }
        let automatic = self.file.and_then(|file| file.at(&["package", "autobins"])).is_none_or(Node::is_true);
        if automatic {
            let main = self.dir.has("src/main.rs").then(|| (name.clone(), "src/main.rs".to_owned()));
            let others = self.dir.below().filter_map(|path| {
                let rest = path.strip_prefix("src/bin/")?;
                let bin = rest.strip_suffix("/main.rs").or_else(|| rest.strip_suffix(".rs"))?;
                (!bin.contains('/')).then(|| (bin.to_owned(), path.to_owned()))
            });
            for (bin, path) in main.into_iter().chain(others) {
                if !found.iter().any(|(known, at)| *known == bin || *at == path) {
                    found.push((bin, path));
                }
            }
        }
        found
    }

    /// Where a program is that says nothing of its path.
    fn usual(&self, bin: &str, package: &str) -> Option<String> {
        let places = [format!("src/bin/{bin}.rs"), format!("src/bin/{bin}/main.rs")];
        let main = (bin == package).then(|| "src/main.rs".to_owned());
        places.into_iter().chain(main).find(|path| self.dir.has(path)).or_else(|| Some("src/main.rs".to_owned()))
    }

    /// The files in which its targets begin, the library with them.
    pub(crate) fn targets(&self) -> Vec<String> {
        let library = self.file.and_then(|file| file.text_at(&["lib", "path"])).map_or("src/lib.rs", |(path, _)| path);
        let library = joined(".", library).filter(|path| self.dir.has(path));
        self.programs().into_iter().map(|(_, path)| path).chain(library).collect()
    }

    /// The program that is run where none is named, and where that stands.
    pub(crate) fn default_run(&self) -> Option<(String, Evidence)> {
        let (name, line) = self.file?.text_at(&["package", "default-run"])?;
        Some((name.to_owned(), self.dir.at(FILE, line)))
    }

    /// What it asks for: the names of packages, whatever they are called here.
    pub(crate) fn dependencies(&self) -> Vec<(String, Evidence)> {
        let tables = ["dependencies", "build-dependencies"];
        let entries = tables.iter().filter_map(|table| self.file?.get(table)).flat_map(|table| table.entries());
        let found = entries.map(|entry| {
            let name = entry.node.text_at(&["package"]).map_or(entry.key.as_str(), |(name, _)| name);
            (name.to_owned(), self.dir.at(FILE, entry.line))
        });
        found.collect()
    }

    /// Where a package is asked for.
    pub(crate) fn dependency(&self, name: &str) -> Option<Evidence> {
        self.dependencies().into_iter().find(|(known, _)| known == name).map(|(_, at)| at)
    }

    /// The oldest version of Rust that it asks for, itself or its workspace.
    pub(crate) fn version(&self, context: Dir<'_>) -> Option<Asked> {
        let at = |dir: Dir<'_>, path: &[&str]| {
            let (version, line) = dir.toml(FILE)?.text_at(path)?;
            Some((format!(">={version}"), "rust.rust-version", dir.at(FILE, line)))
        };
        at(self.dir, &["package", "rust-version"]).or_else(|| at(context, &["workspace", "package", "rust-version"]))
    }
}

/// The root of the workspace that a package is the root or a member of.
pub(crate) fn workspace(dir: Dir<'_>) -> Option<Dir<'_>> {
    let mut here = Some(dir);
    while let Some(root) = here {
        if let Some(workspace) = root.toml(FILE).and_then(|file| file.get("workspace")) {
            let path = root.within(dir.root());
            let listed = |key: &str| {
                let items = workspace.get(key).map(|list| list.items()).unwrap_or_default();
                items.iter().filter_map(Node::text).any(|pattern| matches(pattern, path))
            };
            // A path dependency below the root is a member as well, whether it is listed or not.
            let is_member = root.root() == dir.root() || !listed("exclude");
            return is_member.then_some(root);
        }
        here = root.above();
    }
    None
}

/// Whether a path is what a pattern of members means: `crates/*`.
fn matches(pattern: &str, path: &str) -> bool {
    let (mut patterns, mut parts) =
        (pattern.trim_start_matches("./").trim_end_matches('/').split('/'), path.split('/'));
    loop {
        match (patterns.next(), parts.next()) {
            (None, None) => return true,
            (Some(pattern), Some(part)) if is_like(pattern, part) => {}
            _ => return false,
        }
    }
}

/// Whether a name is what a pattern with at most one `*` means.
fn is_like(pattern: &str, name: &str) -> bool {
    match pattern.split_once('*') {
        Some((before, after)) => {
            name.len() >= before.len() + after.len() && name.starts_with(before) && name.ends_with(after)
        }
        None => pattern == name,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::Tree;

    #[test]
    fn pkg_12_programs_are_those_that_cargo_sees() {
        let tree = Tree::of([
            (
                "Cargo.toml",
                "[package]\nname = \"a\"\n[[bin]]\nname = \"x\"\npath = \"tools/x.rs\"\n[[bin]]\nname = \"gone\"\npath = \"no.rs\"\n",
            ),
            ("src/main.rs", "fn main() {}"),
            ("src/bin/one.rs", "fn main() {}"),
            ("src/bin/two/main.rs", "fn main() {}"),
            ("src/bin/two/more.rs", ""),
            ("tools/x.rs", "fn main() {}"),
        ]);
        let manifest = Manifest::read(Dir::of(&tree, "."));
        let names: Vec<_> = manifest.programs().into_iter().map(|(name, _)| name).collect();
        assert_eq!(names, ["x", "a", "one", "two"]);
    }

    #[test]
    fn members_are_those_below_that_are_not_left_out() {
        let tree = Tree::of([
            ("Cargo.toml", "[workspace]\nmembers = [\"crates/*\"]\nexclude = [\"fuzz\"]\n"),
            ("crates/a/Cargo.toml", "[package]\nname = \"a\"\n"),
            ("fuzz/Cargo.toml", "[package]\nname = \"f\"\n"),
        ]);
        let root = |path| workspace(Dir::of(&tree, path)).map(|dir| dir.root().to_owned());
        assert_eq!((root("crates/a").as_deref(), root("fuzz"), root(".").as_deref()), (Some("."), None, Some(".")));
    }
}
