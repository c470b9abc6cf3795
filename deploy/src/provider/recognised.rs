//! Ecosystems that are only recognised: by their manifest or a source file, with a command that starts them.

use crate::{
    code::{Code, Syntax, is_word},
    fact::{Application, Evidence, Fact, ProviderName, Requested},
    provider::{
        Candidate, Provider,
        dir::{Dir, holding, known},
        tools,
    },
    tree::{Tree, parent},
};

/// How an ecosystem is recognised and started.
#[derive(Debug)]
pub(crate) struct Recognised {
    name: ProviderName,
    looks_for: &'static str,
    /// The names, or `*.END`, of its manifests.
    manifests: &'static [&'static str],
    /// Ends of its sources; a lone one of a usual name is enough where there is no manifest.
    sources: &'static [&'static str],
    /// Names of its main file without its end, the likeliest first; `*` is the only one that there is.
    main: &'static [&'static str],
    /// What manages its packages.
    manager: Option<&'static str>,
    /// The command; `{}` is the name of the program.
    start: &'static str,
    /// The name of the program, from the manifest.
    program: fn(Dir<'_>, &str) -> Option<(String, Evidence)>,
}

pub(crate) const ALL: [Recognised; 9] = [
    Recognised {
        name: ProviderName::Clojure,
        looks_for: "project.clj, deps.edn, build.clj",
        manifests: &["project.clj", "deps.edn"],
        sources: &[],
        main: &[],
        manager: None,
        start: "java -jar {}",
        program: clojure,
    },
    Recognised {
        name: ProviderName::Cobol,
        looks_for: "index.cbl",
        manifests: &[],
        sources: &[".cbl", ".cob"],
        main: &["index", "main", "app", "*"],
        manager: None,
        start: "./{}",
        program: |_, _| None,
    },
    Recognised {
        name: ProviderName::Crystal,
        looks_for: "shard.yml",
        manifests: &["shard.yml"],
        sources: &[],
        main: &[],
        manager: None,
        start: "./bin/{}",
        program: crystal,
    },
    Recognised {
        name: ProviderName::Dart,
        looks_for: "pubspec.yaml",
        manifests: &["pubspec.yaml"],
        sources: &[],
        main: &[],
        manager: Some("pub"),
        start: "./bin/{}.exe",
        program: |dir, file| named(dir, file, "name"),
    },
    Recognised {
        name: ProviderName::Haskell,
        looks_for: "package.yaml, stack.yaml, *.cabal",
        manifests: &["package.yaml", "stack.yaml", "*.cabal"],
        sources: &[],
        main: &[],
        manager: None,
        start: "stack exec {}",
        program: haskell,
    },
    Recognised {
        name: ProviderName::Scala,
        looks_for: "build.sbt",
        manifests: &["build.sbt"],
        sources: &[],
        main: &[],
        manager: None,
        start: "./target/universal/stage/bin/{}",
        program: |dir, file| assigned(dir, file, "name"),
    },
    Recognised {
        name: ProviderName::Scheme,
        looks_for: "haunt.scm, init.scm",
        manifests: &["haunt.scm"],
        sources: &[".scm"],
        main: &["init", "main", "index", "app"],
        manager: None,
        start: "guile {}.scm --auto-compile",
        program: |_, _| None,
    },
    Recognised {
        name: ProviderName::Swift,
        looks_for: "Package.swift",
        manifests: &["Package.swift"],
        sources: &[],
        main: &[],
        manager: None,
        start: "./.build/release/{}",
        program: swift,
    },
    Recognised {
        name: ProviderName::Zig,
        looks_for: "build.zig",
        manifests: &["build.zig"],
        sources: &[],
        main: &[],
        manager: None,
        start: "./zig-out/bin/{}",
        program: |dir, file| assigned(dir, file, ".name"),
    },
];

impl Provider for Recognised {
    fn name(&self) -> ProviderName {
        self.name
    }

    fn looks_for(&self) -> &'static str {
        self.looks_for
    }

    fn candidates(&self, tree: &Tree) -> Vec<Candidate> {
        let named = |name: &str| {
            self.manifests.iter().any(|manifest| match manifest.strip_prefix('*') {
                Some(end) => name.ends_with(end),
                None => *manifest == name,
            }) || self.stem(name).is_some_and(|stem| self.main.iter().any(|main| [stem, "*"].contains(main)))
        };
        let found = holding(tree, named).into_iter();
        found.filter_map(|(root, files)| self.candidate(Dir::of(tree, own_root(root)), root, &files)).collect()
    }

    fn application(&self, tree: &Tree, chosen: &Candidate) -> Application {
        let dir = Dir::of(tree, &chosen.root);
        let mut app = Application::of(self.name, chosen);
        if let Some((asked, rule, at)) = tools::asked(dir, &self.name.to_string()) {
            app.runtime = known(asked.clone(), rule, vec![at]).with(Requested { requested: Some(asked) });
        }
        if let Some(manager) = self.manager {
            app.package_manager = known(manager.to_owned(), chosen.rule, chosen.evidence.clone());
        }
        let program = chosen.evidence.iter().find_map(|at| (self.program)(dir, dir.within(&at.file)));
        if let Some((name, at)) = program.or_else(|| self.main_file(dir)) {
            app.start = Fact::command(&self.start.replace("{}", &name), chosen.rule, vec![at]);
            app.details.project_name = match self.name {
                ProviderName::Clojure => clojure_name(&name),
                _ => Some(name),
            };
        }
        app
    }
}

/// A source in `src` speaks of the directory above.
fn own_root(root: &str) -> &str {
    if crate::tree::file_name(root) == "src" { parent(root) } else { root }
}

impl Recognised {
    fn stem<'n>(&self, name: &'n str) -> Option<&'n str> {
        self.sources.iter().find_map(|end| name.strip_suffix(end))
    }

    fn candidate(&self, dir: Dir<'_>, found_in: &str, files: &[&str]) -> Option<Candidate> {
        let is_manifest = |file: &&&str| {
            self.stem(crate::tree::file_name(file))
                .is_none_or(|_| self.manifests.contains(&crate::tree::file_name(file)))
        };
        let manifest = files.iter().find(is_manifest);
        let dir = if manifest.is_some() { Dir::of(dir.tree(), found_in) } else { dir };
        let Some(manifest) = manifest else {
            let (_, at) = self.main_file(dir)?;
            return Some(Candidate::new(dir.root(), 45, "recognised.source", vec![at]).with_entry(true));
        };
        let at = dir.seen(dir.within(manifest))?;
        let program = (self.program)(dir, dir.within(manifest)).or_else(|| self.main_file(dir));
        let score = if program.is_some() { 70 } else { 60 };
        let mut evidence = vec![at];
        evidence.extend(program.clone().map(|(_, at)| at));
        Some(Candidate::new(dir.root(), score, "recognised.manifest", evidence).with_entry(program.is_some()))
    }

    /// The main file, by its usual names, in the directory or in its `src`.
    fn main_file(&self, dir: Dir<'_>) -> Option<(String, Evidence)> {
        let named = ["", "src/"].iter().find_map(|above| {
            self.main.iter().find_map(|stem| {
                let found = self.sources.iter().find_map(|end| dir.seen(&format!("{above}{stem}{end}")))?;
                Some(((*stem).to_owned(), found))
            })
        });
        let alone = || {
            let is_near = |file: &&str| matches!(parent(file), "." | "src");
            let mut sources = dir.below().filter(is_near).filter_map(|file| Some((self.stem(file)?, file)));
            let (stem, file) = sources.next().filter(|_| sources.next().is_none() && self.main.contains(&"*"))?;
            Some((crate::tree::file_name(stem).to_owned(), dir.seen(file)?))
        };
        named.or_else(alone)
    }
}

/// A text of a file of YAML.
fn named(dir: Dir<'_>, file: &str, key: &str) -> Option<(String, Evidence)> {
    let (name, line) = dir.tree().yaml(&dir.path(file))?.text_at(&[key])?;
    plain(name, dir.at(file, line))
}

/// The string that a name is given: `name := "shop"`.
fn assigned(dir: Dir<'_>, file: &str, key: &str) -> Option<(String, Evidence)> {
    let code = Code::of(dir.text(file)?, Syntax::Slash);
    let at = code.words(key.trim_start_matches('.')).find(|at| code.rest_of_line(*at).contains('='))?;
    let (name, _) = code.string_from(at)?;
    plain(name, dir.at(file, code.line(at)))
}

/// What can be part of a command.
fn plain(name: &str, at: Evidence) -> Option<(String, Evidence)> {
    let is_plain = !name.is_empty() && name.chars().all(|c| is_word(c) || c == '-' || c == '.');
    is_plain.then(|| (name.to_owned(), at))
}

/// The archive that is built: `(defproject shop "1.0" …)`, or what the build with `deps.edn` is told.
fn clojure(dir: Dir<'_>, file: &str) -> Option<(String, Evidence)> {
    let told = |file: &str, words: &[&str]| {
        let code = Code::of(dir.text(file)?, Syntax::Semicolon);
        let at = words.iter().find_map(|word| code.bare().find(word))?;
        // What the name is put together of is only known when it is built.
        let archive = code.string_from(at)?.0.replace("%s", "*");
        let is_plain = archive.chars().all(|c| is_word(c) || "-./*".contains(c));
        (is_plain && archive.ends_with(".jar")).then(|| (archive, dir.at(file, code.line(at))))
    };
    if file == "deps.edn" {
        let in_build = || told("build.clj", &["uber-file", "jar-file"]);
        return told(file, &[":uber-file", ":jar "]).or_else(in_build);
    }
    if let Some((name, at)) = told(file, &[":uberjar-name"]) {
        return Some((format!("target/{name}"), at));
    }
    let code = Code::of(dir.text(file)?, Syntax::Semicolon);
    let at = code.word("defproject")?;
    let name = code.bare().get(at..)?.split_whitespace().nth(1)?;
    let (version, _) = code.string_from(at)?;
    let name = name.rsplit('/').next().unwrap_or(name);
    let (stem, at) = plain(&format!("{name}-{version}"), dir.at(file, code.line(at)))?;
    Some((format!("target/uberjar/{stem}-standalone.jar"), at))
}

/// What an archive is named after, without its version: none where only the build says so.
fn clojure_name(archive: &str) -> Option<String> {
    let name = crate::tree::file_name(archive);
    let stem = name.strip_suffix("-standalone.jar").or_else(|| name.strip_suffix(".jar"))?;
    let version = stem
        .match_indices('-')
        .find(|(at, _)| stem.get(at + 1..).is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit())));
    let stem = version.and_then(|(at, _)| stem.get(..at)).unwrap_or(stem);
    (!stem.contains('*')).then(|| stem.to_owned())
}

/// The first target, else the name.
fn crystal(dir: Dir<'_>, file: &str) -> Option<(String, Evidence)> {
    let shard = dir.tree().yaml(&dir.path(file))?;
    let target = shard.get("targets").and_then(|targets| targets.entries().first());
    match target {
        Some(target) => plain(&target.key, dir.at(file, target.line)),
        None => named(dir, file, "name"),
    }
}

/// The first executable of hpack or Cabal.
fn haskell(dir: Dir<'_>, file: &str) -> Option<(String, Evidence)> {
    if let Some(executables) = dir.tree().yaml(&dir.path("package.yaml")).and_then(|file| file.get("executables")) {
        let first = executables.entries().first()?;
        return plain(&first.key, dir.at("package.yaml", first.line));
    }
    let file = if file.ends_with(".cabal") { file } else { dir.names().find(|name| name.ends_with(".cabal"))? };
    let lines = (1..).zip(dir.text(file)?.lines());
    let (line, name) = lines.into_iter().find_map(|(line, text)| Some((line, text.strip_prefix("executable ")?)))?;
    plain(name.trim(), dir.at(file, line))
}

/// The first executable target, or product, else the package's name.
fn swift(dir: Dir<'_>, file: &str) -> Option<(String, Evidence)> {
    let code = Code::of(dir.text(file)?, Syntax::Slash);
    let at = ["executableTarget", "executable", "Package"].iter().find_map(|word| code.word(word))?;
    let (name, _) = code.string_from(at)?;
    plain(name, dir.at(file, code.line(at)))
}
