//! C and C++.

use crate::{
    code::{Code, Syntax, is_word},
    fact::{Application, Evidence, Fact, ProviderName},
    provider::{
        Candidate, Provider,
        dir::{Dir, holding, known, runtime},
        entry::{self, Entry},
        listen::{Listening, listens},
    },
    tree::{Tree, joined, parent},
};

/// C and C++, with CMake and Meson.
#[derive(Debug)]
pub(crate) struct Cpp;

const CMAKE: &str = "CMakeLists.txt";
const MESON: &str = "meson.build";
const LISTENING: Listening = Listening { syntax: Syntax::Slash, calls: &["listen", "bind", "accept", "async_accept"] };
const SOURCES: [&str; 4] = [".c", ".cc", ".cpp", ".cxx"];

impl Provider for Cpp {
    fn name(&self) -> ProviderName {
        ProviderName::Cpp
    }

    fn looks_for(&self) -> &'static str {
        "CMakeLists.txt, meson.build"
    }

    fn candidates(&self, tree: &Tree) -> Vec<Candidate> {
        let found = holding(tree, |name| matches!(name, CMAKE | MESON));
        let candidates = found.into_keys().filter_map(|root| {
            let dir = Dir::of(tree, root);
            // What stands below another is a part of that.
            let inside = dir.above().is_some_and(|above| above.upwards(&[CMAKE, MESON]).is_some());
            (!inside).then(|| candidate(dir)).flatten()
        });
        candidates.collect()
    }

    fn application(&self, tree: &Tree, chosen: &Candidate) -> Application {
        let dir = Dir::of(tree, &chosen.root);
        let mut app = Application::of(ProviderName::Cpp, chosen);
        runtime(&mut app, "cpp", None, chosen);
        let Some(file) = file(dir) else { return app };
        let (name, entries) = programs(dir, file);
        app.details.project_name = name.clone();
        let Some(chosen) = entry::choose(&entries, name.as_deref().unwrap_or_default()) else { return app };
        app.ambiguous = entries.len() > 1;
        let build = if file == CMAKE {
            ["cmake -S . -B build -DCMAKE_BUILD_TYPE=Release", "cmake --build build --parallel"]
        } else {
            ["meson setup build --buildtype=release", "meson compile -C build"]
        };
        let evidence = vec![chosen.evidence.clone()];
        app.build = known(build.map(str::to_owned).to_vec(), "cpp.build", evidence.clone());
        app.start = Fact::command(&format!("./bin/{}", chosen.name), "cpp.program", evidence);
        let made = parent(&chosen.path);
        let made = if made == "." { String::new() } else { format!("{made}/") };
        app.details.artifact = Some(format!("build/{made}{}", chosen.name));
        app
    }
}

fn file(dir: Dir<'_>) -> Option<&'static str> {
    dir.first(&[CMAKE, MESON])
}

fn candidate(dir: Dir<'_>) -> Option<Candidate> {
    let file = file(dir)?;
    let (_, entries) = programs(dir, file);
    let mut evidence: Vec<Evidence> = dir.seen(file).into_iter().collect();
    evidence.extend(entries.first().map(|entry| entry.evidence.clone()));
    let score = if entries.is_empty() { 60 } else { 70 };
    (!evidence.is_empty())
        .then(|| Candidate::new(dir.root(), score, "cpp.build-file", evidence).with_entry(!entries.is_empty()))
}

/// The name of a project, and the programs that its files of that name declare.
fn programs(dir: Dir<'_>, file: &str) -> (Option<String>, Vec<Entry>) {
    let cmake = file == CMAKE;
    let call = if cmake { "add_executable" } else { "executable" };
    let mut name = None;
    let mut entries = Vec::new();
    for path in dir.sources(&[file]).into_iter().filter(|path| crate::tree::file_name(path) == file) {
        let code = Code::of(dir.text(path).unwrap_or_default(), Syntax::Hash);
        let word = |at: usize, call: &str| -> Option<(String, Vec<String>)> {
            let rest = code.plain().get(at + call.len()..)?.trim_start().strip_prefix('(')?;
            let inside = rest.split(')').next()?;
            let mut words = inside
                .split([' ', '\n', '\t', ',', '\r'])
                .map(|word| word.trim_matches(['"', '\'']))
                .filter(|word| !word.is_empty());
            Some((words.next()?.to_owned(), words.map(str::to_owned).collect()))
        };
        if name.is_none() {
            name = code.word("project").and_then(|at| word(at, "project")).map(|(name, _)| name);
        }
        for at in code.words(call) {
            let Some((program, sources)) = word(at, call) else { continue };
            let project = name.as_deref().unwrap_or_default();
            let program = ["${PROJECT_NAME}", "${CMAKE_PROJECT_NAME}"]
                .iter()
                .fold(program, |text, variable| text.replace(variable, project));
            let is_plain = program.chars().all(|c| is_word(c) || c == '-' || c == '.');
            if !is_plain
                || sources.iter().any(|word| matches!(word.as_str(), "ALIAS" | "IMPORTED"))
                || is_test(&program)
            {
                continue;
            }
            let own: Vec<String> = sources
                .iter()
                .filter_map(|source| joined(parent(path), source))
                .filter(|source| SOURCES.iter().any(|end| source.ends_with(end)))
                .collect();
            let own: Vec<&str> = own.iter().map(String::as_str).collect();
            let serves = listens(dir, &own, &LISTENING);
            entries.push(Entry { name: program, path: path.to_owned(), serves, evidence: dir.at(path, code.line(at)) });
        }
    }
    (name, entries)
}

/// Whether a program's name says that it tests.
fn is_test(name: &str) -> bool {
    name.to_ascii_lowercase()
        .split(['_', '-', '.'])
        .any(|part| matches!(part, "test" | "tests" | "bench" | "benchmark" | "unittests"))
}
