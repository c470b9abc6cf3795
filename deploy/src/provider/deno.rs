//! Deno.

use super::{
    Candidate, Provider,
    dir::{Dir, runtime},
    tools,
};
use crate::{
    analysis::port::command_port,
    code::{Syntax, line_of, without_comments},
    document::Node,
    fact::{Application, Argv, Evidence, Fact, MODEL, Managed, ProviderName},
    tree::{self, Tree},
    words::quoted,
};

/// Its manifests.
const MANIFESTS: [&str; 2] = ["deno.json", "deno.jsonc"];
/// Files that are started where no task says how.
const ENTRIES: [&str; 12] = [
    "main.ts",
    "main.tsx",
    "main.js",
    "server.ts",
    "index.ts",
    "mod.ts",
    "app.ts",
    "src/main.ts",
    "src/server.ts",
    "src/index.ts",
    "src/mod.ts",
    "index.js",
];
/// How the names of files end that can be run.
const ENDS: [&str; 4] = [".ts", ".tsx", ".js", ".mjs"];
/// What an import of this ecosystem begins with.
const SPECIFIERS: [&str; 6] = ["\"https://", "'https://", "\"jsr:", "'jsr:", "\"npm:", "'npm:"];
/// Where it serves, unless it is told another.
const PORT: u16 = 8000;
/// A framework: its name, and what its imports begin with.
const FRAMEWORKS: [(&str, &[&str]); 5] = [
    ("fresh", &["$fresh/", "fresh", "@fresh/core", "jsr:@fresh/core", "https://deno.land/x/fresh"]),
    ("oak", &["@oak/oak", "jsr:@oak/oak", "https://deno.land/x/oak", "oak"]),
    ("hono", &["hono", "@hono/hono", "jsr:@hono/hono", "npm:hono", "https://deno.land/x/hono"]),
    ("lume", &["lume/", "https://deno.land/x/lume"]),
    ("aleph", &["aleph/", "https://deno.land/x/aleph"]),
];

/// What fetches all that code imports.
pub(crate) const CACHE: &str = "deno cache";

/// The provider of Deno.
pub(super) struct Deno;

impl Provider for Deno {
    fn name(&self) -> ProviderName {
        ProviderName::Deno
    }

    fn entries(&self) -> &'static [&'static str] {
        &ENDS
    }

    #[cfg(test)]
    fn frameworks(&self) -> Vec<&'static str> {
        FRAMEWORKS.iter().map(|(name, ..)| *name).collect()
    }

    fn looks_for(&self) -> &'static str {
        "deno.json, deno.jsonc, code that imports by address"
    }

    fn candidates(&self, tree: &Tree) -> Vec<Candidate> {
        tree.directories().filter_map(|root| candidate(tree, root)).collect()
    }

    fn application(&self, tree: &Tree, chosen: &Candidate) -> Application {
        let mut application = Application::of(self.name(), chosen);
        let evidence = || chosen.evidence.clone();
        if let Some((name, at)) = framework(tree, &chosen.root) {
            application.framework = Fact::known(name.to_owned(), &format!("deno.framework.{name}"), at);
        }
        runtime(&mut application, "deno", asked(tree, &chosen.root), chosen);
        let lock = chosen.path("deno.lock");
        let lock = tree.has(&lock).then_some(lock);
        let managed = Managed { version: None, locked: lock.is_some(), lock };
        // What is fetched ahead is what the code asks for, so all of it has to be there: it is part of the build.
        let (mut commands, mut proof, mut rule) = (Vec::new(), Vec::new(), "deno.task");
        application.start = start(tree, &chosen.root);
        let wanted = || {
            let file = chosen.path(chosen.wanted.as_deref()?);
            tree.named(&file).filter(|file| ENDS.iter().any(|end| file.ends_with(end)))
        };
        let chosen_file = if application.start.is_known() { None } else { wanted() };
        if let Some(file) = chosen_file {
            application.start = run(&chosen.root, file, MODEL);
        }
        if let Some(file) = entry(tree, &chosen.root).or(chosen_file) {
            let frozen = if managed.locked { "--frozen " } else { "" };
            let below = file.strip_prefix(&format!("{}/", chosen.root)).unwrap_or(file);
            commands.push(format!("{CACHE} {frozen}{below}"));
            proof.push(Evidence::new(file, 1));
            rule = "deno.cache";
        }
        if let Some((name, _, at)) = task(tree, &chosen.root, &["build"]) {
            commands.push(format!("deno task {name}"));
            proof.push(at);
        }
        if !commands.is_empty() {
            application.build = Fact::known(commands, rule, proof);
        }
        application.package_manager = Fact::known("deno".to_owned(), "deno.itself", evidence()).with(managed);
        application.port = port(tree, &chosen.root, &application);
        application.details.project_name =
            manifest(tree, &chosen.root).and_then(|(_, node)| Some(node.text_at(&["name"])?.0.to_owned()));
        application
    }
}

fn candidate(tree: &Tree, root: &str) -> Option<Candidate> {
    let file = entry(tree, root);
    let task = task(tree, root, &["start"]);
    let entry = file.is_some() || task.is_some();
    let Some((manifest, _)) = manifest(tree, root) else {
        let (path, line) = by_address(tree, root)?;
        let evidence = vec![Evidence::new(path, line)];
        return Some(Candidate::new(root, 45, "deno.import", evidence).with_entry(true));
    };
    let mut evidence = vec![Evidence::new(manifest, 1)];
    let found = framework(tree, root);
    let score = if found.is_some() && entry {
        80
    } else if entry {
        70
    } else {
        60
    };
    evidence.extend(found.map(|(_, at)| at).unwrap_or_default());
    evidence.extend(file.map(|file| Evidence::new(file, 1)));
    evidence.extend(task.map(|(_, _, at)| at));
    Some(Candidate::new(root, score, "deno.manifest", evidence).with_entry(entry))
}

/// The manifest of a directory. One that its parser refused is there all the same.
fn manifest<'t>(tree: &'t Tree, root: &str) -> Option<(String, &'t Node)> {
    const NOTHING: &Node = &Node { line: 1, value: crate::document::Value::Null };
    let file = MANIFESTS.into_iter().map(|name| tree::path(root, name)).find(|file| tree.has(file))?;
    let node = tree.json(&file).unwrap_or(NOTHING);
    Some((file, node))
}

/// The first of those tasks that there is: its name, its command, where.
fn task<'n>(tree: &Tree, root: &str, names: &[&'n str]) -> Option<(&'n str, String, Evidence)> {
    let (file, node) = manifest(tree, root)?;
    names.iter().find_map(|name| {
        let entry = node.get("tasks")?.entry(name)?;
        let body = entry.node.text().or_else(|| entry.node.get("command")?.text())?;
        (!body.trim().is_empty()).then(|| (*name, body.to_owned(), Evidence::new(file.clone(), entry.line)))
    })
}

/// The file that is started, relative to the tree's root.
fn entry<'t>(tree: &'t Tree, root: &str) -> Option<&'t str> {
    ENTRIES.into_iter().find_map(|name| tree.named(&tree::path(root, name)))
}

/// A file of a usual name that imports by address, where there is no manifest.
fn by_address<'t>(tree: &'t Tree, root: &str) -> Option<(&'t str, u64)> {
    let file = entry(tree, root)?;
    let code = without_comments(tree.text(file)?, Syntax::Script);
    let found = SPECIFIERS
        .iter()
        .filter_map(|specifier| code.match_indices(specifier).map(|(at, _)| at).find(|at| is_import(&code[..*at])));
    found.min().map(|at| (file, line_of(&code, at)))
}

/// Whether what stands before a string makes it an import: `from`, `import`, `import(`.
fn is_import(before: &str) -> bool {
    let before = before.trim_end().trim_end_matches('(').trim_end();
    before.ends_with("from") || before.ends_with("import")
}

/// How it is started: by its task, else by its file.
fn start(tree: &Tree, root: &str) -> Fact<String, Argv> {
    if let Some((_, body, at)) = task(tree, root, &["start"]) {
        return Fact::command(&body, "deno.task", vec![at]);
    }
    match entry(tree, root) {
        Some(file) => run(root, file, "deno.entry"),
        None => Fact::default(),
    }
}

/// How a file is started.
fn run(root: &str, file: &str, rule: &str) -> Fact<String, Argv> {
    let within = file.strip_prefix(&format!("{root}/")).unwrap_or(file);
    Fact::command(&format!("deno run -A {}", quoted(within)), rule, vec![Evidence::new(file, 1)])
}

/// The framework that an import names, in the manifest, its map or the code; with the place, and that of the entry.
fn framework(tree: &Tree, root: &str) -> Option<(&'static str, Vec<Evidence>)> {
    let marker = entry(tree, root).map(|file| Evidence::new(file, 1));
    let (file, node) = manifest(tree, root)?;
    let named = node.text_at(&["importMap"]).and_then(|(name, _)| tree::joined(root, name));
    let map = named.unwrap_or_else(|| tree::path(root, "import_map.json"));
    let lists = [(file.as_str(), Some(node)), (map.as_str(), tree.json(&map))];
    FRAMEWORKS.into_iter().find_map(|(name, imports)| {
        lists.iter().find_map(|(file, node)| {
            let entries = node.as_ref()?.get("imports")?.entries();
            let entry = entries.iter().find(|entry| imports.iter().any(|import| is_named(&entry.key, import)))?;
            let marker = marker.clone()?;
            Some((name, vec![Evidence::new(*file, entry.line), marker]))
        })
    })
}

/// Names are compared whole; a version, and what stands below a name, do not count.
fn is_named(key: &str, import: &str) -> bool {
    let rest = key.strip_prefix(import);
    rest.is_some_and(|rest| rest.is_empty() || import.ends_with('/') || rest.starts_with(['/', '@']))
}

fn port(tree: &Tree, root: &str, application: &Application) -> Fact<u16> {
    if let Some((command, at)) = application.start.value.as_deref().zip(application.start.evidence.first())
        && let Some(port) = command_port(command)
    {
        return Fact::known(port, "port.command", vec![at.clone()]);
    }
    if application.framework.is_known() {
        return Fact::known(PORT, "deno.port", application.framework.evidence.clone());
    }
    let Some(file) = entry(tree, root) else { return Fact::default() };
    let code = without_comments(tree.text(file).unwrap_or_default(), Syntax::Script);
    let calls = ["Deno.serve(", "serve(", "export default { fetch", ".listen("];
    match calls.iter().find_map(|call| code.find(call)) {
        Some(at) => Fact::known(PORT, "deno.port", vec![Evidence::new(file, line_of(&code, at))]),
        None => Fact::default(),
    }
}

/// The version that a file asks for.
fn asked(tree: &Tree, root: &str) -> Option<tools::Asked> {
    let file = || {
        let path = tree::path(root, ".deno-version");
        let mut lines = (1..).zip(tree.text(&path)?.lines().map(str::trim));
        let (line, text) = lines.find(|(_, text)| !text.is_empty())?;
        Some((text.to_owned(), "deno.version-file", Evidence::new(path.clone(), line)))
    };
    file().or_else(|| tools::asked(Dir::of(tree, root), "deno"))
}

#[cfg(test)]
mod tests {
    use crate::{Options, analyze, fact::Application};

    use super::*;

    fn one(files: &[(&str, &str)]) -> Application {
        let analysis = analyze(&Tree::of(files.iter().copied()), &Options::default()).unwrap();
        analysis.primary().unwrap().clone()
    }

    #[test]
    fn tasks_and_files_start_it() {
        for (files, start, port) in [
            (vec![("deno.json", r#"{"tasks":{"start":"deno run -A x.ts"}}"#)], "deno run -A x.ts", None),
            (vec![("deno.jsonc", "{ // c\n}"), ("main.ts", "Deno.serve(() => 1)")], "deno run -A main.ts", Some(8000)),
            (
                vec![("deno.json", "{}"), ("main.ts", "Deno.serve({ port: 4444 }, f)")],
                "deno run -A main.ts",
                Some(4444),
            ),
            (vec![("main.ts", "import a from \"npm:express@4\"\na().listen(3005)")], "deno run -A main.ts", Some(3005)),
            (vec![("src/index.ts", "import a from 'https://deno.land/x/a.ts'\n")], "deno run -A src/index.ts", None),
        ] {
            let application = one(&files);
            assert_eq!(application.provider.value, Some(ProviderName::Deno), "{files:?}");
            assert_eq!((application.start.value.as_deref(), application.port.value), (Some(start), port), "{files:?}");
        }
    }

    #[test]
    fn pkg_09_an_address_that_is_no_import_proves_nothing() {
        let tree = Tree::of([("main.ts", "fetch(\"https://deno.land/x\") // from \"https://x\"\n")]);
        assert!(Deno.candidates(&tree).is_empty());
    }
}
