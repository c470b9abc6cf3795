//! Rust.

mod manifest;

use manifest::Manifest;

use crate::{
    code::{Code, Syntax},
    fact::{Application, Evidence, Fact, MODEL, Managed, ProviderName},
    provider::{
        Candidate, Provider,
        dir::{Dir, holding, known, runtime},
        entry::{self, Entry},
        listen::{Listening, listens},
        needs, tools,
    },
    tree::Tree,
};

/// Rust, with Cargo.
#[derive(Debug)]
pub(crate) struct Rust;

/// Server frameworks, with the port on which they listen by themselves.
const FRAMEWORKS: [(&str, Option<u16>); 12] = [
    ("rocket", Some(8000)),
    ("loco-rs", None),
    ("axum", None),
    ("actix-web", None),
    ("warp", None),
    ("poem", None),
    ("salvo", None),
    ("tide", None),
    ("gotham", None),
    ("ntex", None),
    ("tonic", None),
    ("hyper", None),
];
/// What is used below others, and is no framework by itself.
const PLAIN: [&str; 2] = ["tonic", "hyper"];
const LISTENING: Listening =
    Listening { syntax: Syntax::Rust, calls: &["TcpListener", "HttpServer", "serve", "bind", "launch", "UdpSocket"] };
/// Most packages of a workspace that are looked at.
const MOST: usize = 500;

impl Provider for Rust {
    fn name(&self) -> ProviderName {
        ProviderName::Rust
    }

    #[cfg(test)]
    fn frameworks(&self) -> Vec<&'static str> {
        FRAMEWORKS.iter().map(|(name, ..)| *name).collect()
    }

    fn looks_for(&self) -> &'static str {
        "Cargo.toml"
    }

    fn candidates(&self, tree: &Tree) -> Vec<Candidate> {
        let found = holding(tree, |name| name == "Cargo.toml");
        found.into_keys().filter_map(|root| candidate(Dir::of(tree, root))).collect()
    }

    fn application(&self, tree: &Tree, chosen: &Candidate) -> Application {
        let dir = Dir::of(tree, &chosen.root);
        let mut app = Application::of(ProviderName::Rust, chosen);
        let manifest = Manifest::read(dir);
        let context = chosen.workspace.as_deref().map_or(dir, |root| Dir::of(tree, root));
        let asked = tools::asked(dir, "rust").or_else(|| toolchain(dir)).or_else(|| manifest.version(context));
        runtime(&mut app, "rust", asked, chosen);
        let lock = context.has("Cargo.lock").then(|| context.path("Cargo.lock"));
        let locked = lock.is_some();
        app.package_manager = known("cargo".to_owned(), "rust.manifest", manifest.evidence()).with(Managed {
            version: None,
            lock,
            locked,
        });
        if let Some((name, port, evidence)) = framework(dir, &manifest) {
            app.framework = known(name.to_owned(), "rust.framework", evidence.clone());
            app.port = port.map(|port| known(port, "rust.framework-port", evidence)).unwrap_or_default();
        }
        needs::add(&mut app, ProviderName::Rust, needed(context, &manifest));
        app.details.project_name = manifest.name.clone();
        if locked {
            fetch(&mut app, context);
        }
        start(&mut app, context, &manifest, locked, chosen.wanted.as_deref());
        app
    }
}

fn candidate(dir: Dir<'_>) -> Option<Candidate> {
    let manifest = Manifest::read(dir);
    let mut evidence: Vec<Evidence> = dir.seen("Cargo.toml").into_iter().collect();
    let entries = entries(&manifest);
    let framework = framework(dir, &manifest);
    let (score, rule) = match (entries.is_empty(), &framework) {
        (false, Some((_, _, found))) => {
            evidence.extend(found.iter().cloned());
            (80, "rust.framework")
        }
        (false, None) => (70, "rust.manifest"),
        (true, _) => (60, "rust.manifest"),
    };
    evidence.extend(entry::choose(&entries, manifest.name.as_deref().unwrap_or_default()).map(|entry| entry.evidence));
    let workspace = manifest::workspace(dir).map(|root| root.root().to_owned());
    (!evidence.is_empty()).then(|| {
        Candidate::new(dir.root(), score, rule, evidence).with_entry(!entries.is_empty()).in_workspace(workspace)
    })
}

/// The programs of a package.
fn entries(manifest: &Manifest<'_>) -> Vec<Entry> {
    let dir = manifest.dir;
    let asked: Vec<&str> =
        FRAMEWORKS.iter().map(|(name, _)| *name).filter(|name| manifest.dependency(name).is_some()).collect();
    let entry = |(name, path): (String, String)| {
        let own: Vec<&str> = if path == "src/main.rs" {
            let is_own = |file: &&str| file.starts_with("src/") && !file.starts_with("src/bin/");
            dir.sources(&[".rs"]).into_iter().filter(is_own).collect()
        } else {
            vec![path.as_str()]
        };
        let used = own.iter().find_map(|file| asked.iter().find_map(|name| uses(dir, file, name)));
        let serves = used.or_else(|| listens(dir, &own, &LISTENING));
        let line = dir.text(&path).and_then(|text| {
            let code = Code::of(text, Syntax::Rust);
            code.bare().find("fn main").or_else(|| code.bare().find("#[launch]")).map(|at| code.line(at))
        });
        let evidence = dir.seen(&path).map(|at| Evidence { line: line.unwrap_or(1), ..at })?;
        Some(Entry { name, serves, evidence, path })
    };
    manifest.programs().into_iter().filter_map(entry).collect()
}

/// The framework that a package asks for and a file of it uses: the line of both, and its own port.
fn framework(dir: Dir<'_>, manifest: &Manifest<'_>) -> Option<(&'static str, Option<u16>, Vec<Evidence>)> {
    let mut sources = dir.sources(&[".rs"]);
    sources.retain(|file| !dir.is_of_another(file, &["Cargo.toml"]));
    FRAMEWORKS.iter().filter(|(name, _)| !PLAIN.contains(name)).find_map(|(name, port)| {
        let asked = manifest.dependency(name)?;
        let used = sources.iter().find_map(|file| uses(dir, file, name))?;
        Some((*name, *port, vec![asked, used]))
    })
}

/// Where a file uses a package: `use axum::…`, `axum::serve`, `extern crate rocket`.
fn uses(dir: Dir<'_>, file: &str, package: &str) -> Option<Evidence> {
    let name = package.replace('-', "_");
    let text = dir.text(file).filter(|text| text.contains(&name))?;
    let code = Code::of(text, Syntax::Rust);
    let at = code.words(&name).find(|at| {
        let before = code.bare().get(..*at).unwrap_or_default().trim_end();
        let after = code.bare().get(at + name.len()..).unwrap_or_default();
        after.starts_with("::") || before.ends_with("use") || before.ends_with("extern crate")
    })?;
    Some(dir.at(file, code.line(at)))
}

fn toolchain(dir: Dir<'_>) -> Option<tools::Asked> {
    let (dir, file) = dir.upwards(&["rust-toolchain.toml"])?;
    let (channel, line) = dir.toml(file)?.text_at(&["toolchain", "channel"])?;
    Some((channel.to_owned(), "rust.toolchain-file", dir.at(file, line)))
}

/// What the package asks for itself, and what of its lock file is built with packages of Debian.
fn needed(context: Dir<'_>, manifest: &Manifest<'_>) -> Vec<(String, Evidence)> {
    let lines = (1..).zip(context.text("Cargo.lock").unwrap_or_default().lines());
    let locked = lines.filter_map(|(line, text)| {
        let name = text.strip_prefix("name = \"")?.strip_suffix('"')?;
        name.ends_with("-sys").then(|| (name.to_owned(), context.at("Cargo.lock", line)))
    });
    manifest.dependencies().into_iter().chain(locked).collect()
}

/// Dependencies are fetched before sources are there, of which Cargo asks only that they exist.
fn fetch(app: &mut Application, context: Dir<'_>) {
    let mut files = vec!["Cargo.lock".to_owned()];
    let mut targets = Vec::new();
    for path in context.below().filter(|path| crate::tree::file_name(path) == "Cargo.toml").take(MOST) {
        let root = context.path(crate::tree::parent(path));
        let root = crate::tree::joined(".", &root).unwrap_or_else(|| ".".to_owned());
        let dir = Dir::of(context.tree(), &root);
        let manifest = Manifest::read(dir);
        let found = manifest.targets().into_iter().map(|target| context.within(&dir.path(&target)).to_owned());
        targets.extend(found);
        files.push(path.to_owned());
    }
    for name in ["rust-toolchain", "rust-toolchain.toml", ".cargo/config.toml"] {
        files.extend(context.has(name).then(|| name.to_owned()));
    }
    let plain = |path: &String| path.chars().all(|c| c.is_ascii_alphanumeric() || "._-/".contains(c));
    targets.retain(plain);
    let mut above: Vec<&str> = targets.iter().map(|target| crate::tree::parent(target)).collect();
    above.sort_unstable();
    above.dedup();
    let evidence: Vec<Evidence> = context.seen("Cargo.lock").into_iter().collect();
    if targets.is_empty() {
        return;
    }
    let install = vec![
        format!("mkdir -p {}", above.join(" ")),
        format!("touch {}", targets.join(" ")),
        "cargo fetch --locked".to_owned(),
    ];
    app.install = known(install, "rust.lock", evidence);
    app.details.dependency_files = files;
}

fn start(app: &mut Application, context: Dir<'_>, manifest: &Manifest<'_>, locked: bool, wanted: Option<&str>) {
    let entries = entries(manifest);
    let name = manifest.name.as_deref().unwrap_or_default();
    let told = manifest.default_run().and_then(|(told, at)| {
        let entry = entries.iter().find(|entry| entry.name == told)?;
        Some((entry.clone(), Some(at)))
    });
    let by_default = told.is_some();
    let told = told.or_else(|| Some((entry::of_file(&entries, &manifest.dir.path(wanted?))?, None)));
    let is_told = told.is_some();
    let Some((chosen, at)) = told.or_else(|| entry::choose(&entries, name).map(|entry| (entry, None))) else { return };
    // Other members of a workspace that have programs are as likely.
    let members = context.below().filter(|path| crate::tree::file_name(path) == "Cargo.toml").take(MOST);
    let others = || {
        members.map(|path| {
            let root = crate::tree::joined(".", &context.path(crate::tree::parent(path))).unwrap_or_default();
            usize::from(
                root != manifest.dir.root() && !Manifest::read(Dir::of(context.tree(), &root)).programs().is_empty(),
            )
        })
    };
    app.ambiguous = !is_told && (entries.len() > 1 || others().sum::<usize>() > 0);
    if app.ambiguous {
        app.details.programs = entries.into_iter().map(|entry| entry.evidence).collect();
    }
    let package = if context.root() == manifest.dir.root() { String::new() } else { format!(" -p {name}") };
    let locked = if locked { " --locked" } else { "" };
    let mut evidence = vec![chosen.evidence];
    evidence.extend(at);
    evidence.extend(chosen.serves);
    evidence.sort();
    evidence.dedup();
    let build = format!("cargo build --release{locked}{package} --bin {}", chosen.name);
    app.build = known(vec![build], "rust.build", evidence.clone());
    let rule = match (by_default, is_told) {
        (true, _) => "rust.default-run",
        (false, true) => MODEL,
        (false, false) => "rust.program",
    };
    app.start = Fact::command(&format!("./bin/{}", chosen.name), rule, evidence);
    app.details.artifact = Some(format!("target/release/{}", chosen.name));
}
