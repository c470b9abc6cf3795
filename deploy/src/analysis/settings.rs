//! What other files say of how an application is started: the manifest, a `Procfile`, and the settings of other tools.

use crate::{
    document::Node,
    fact::{Application, Evidence, Fact, ProviderName},
    tree::{Tree, file_name, joined, parent, path},
};

/// Names of providers in the settings of other tools, where they are not ours.
const OTHER_NAMES: [(&str, ProviderName); 9] = [
    ("golang", ProviderName::Go),
    ("bun", ProviderName::Node),
    ("nodejs", ProviderName::Node),
    ("csharp", ProviderName::Dotnet),
    ("fsharp", ProviderName::Dotnet),
    ("staticfile", ProviderName::Static),
    ("haskellstack", ProviderName::Haskell),
    ("haunt", ProviderName::Scheme),
    ("c++", ProviderName::Cpp),
];
/// What is looked into, and the paths to a start command and to a provider.
const FILES: [(&str, &str, &[&str], &[&str]); 3] = [
    ("railpack.json", "railpack", &["deploy", "startCommand"], &["provider"]),
    ("nixpacks.toml", "nixpacks", &["start", "cmd"], &["providers"]),
    ("nixpacks.json", "nixpacks", &["start", "cmd"], &["providers"]),
];

/// What the manifest of a project tells of one application.
pub(super) struct Told {
    /// Its directory.
    pub(super) root: String,
    /// Whose it is.
    pub(super) provider: Option<(ProviderName, Evidence)>,
    /// How it is started.
    start: Option<(String, Evidence)>,
    /// What runs once for each release.
    release: Option<(String, Evidence)>,
}

/// What the manifest at the root tells; nothing where there is none.
pub(super) fn manifest(tree: &Tree) -> Vec<Told> {
    const MANIFEST: &str = "aigis.json";
    let Some(applications) = tree.json(MANIFEST).and_then(|manifest| manifest.get("applications")) else {
        return Vec::new();
    };
    let at = |node: &Node| Evidence::new(MANIFEST, node.line);
    let told = applications.entries().iter().filter_map(|entry| {
        let root = joined(".", entry.node.get("root").and_then(Node::text).unwrap_or("."))?;
        let provider = ["language", "type"].into_iter().find_map(|key| {
            let node = entry.node.get(key)?;
            Some((known(node.text()?)?, at(node)))
        });
        let command = |key: &str| entry.node.get(key).and_then(|node| Some((command(node)?, at(node))));
        Some(Told { root, provider, start: command("run_command"), release: command("release_command") })
    });
    told.collect()
}

/// The provider that the settings of another tool in a directory name first.
pub(super) fn provider(tree: &Tree, directory: &str) -> Option<(ProviderName, &'static str, Evidence)> {
    FILES.into_iter().find_map(|(file, tool, _, key)| {
        let file = path(directory, file);
        let named = document(tree, &file)?.at(key)?;
        let texts = named.text().map(|text| (text, named.line)).into_iter();
        let items = named.items().iter().filter_map(|item| Some((item.text()?, item.line)));
        let (provider, line) = texts.chain(items).find_map(|(name, line)| Some((known(name)?, line)))?;
        let rule = if tool == "railpack" { "railpack.provider" } else { "nixpacks.providers" };
        Some((provider, rule, Evidence::new(file, line)))
    })
}

/// Sets how an application is started and released where a file says so; whether one did.
pub(super) fn apply(tree: &Tree, application: &mut Application) -> bool {
    let told = manifest(tree).into_iter().find(|told| told.root == application.root);
    let (told_start, told_release) = told.map(|told| (told.start, told.release)).unwrap_or_default();
    let procfile = procfile(tree, &application.root);
    if let Some((command, at)) = told_release {
        application.release = Fact::known(command, "manifest.release-command", vec![at]);
    } else if let Some((_, command, at)) = procfile.iter().find(|(process, ..)| process == "release") {
        application.release = Fact::known(command.clone(), "procfile.release", vec![at.clone()]);
    }
    let start = match told_start {
        Some((command, at)) => Some(Fact::command(&command, "manifest.run-command", vec![at])),
        None => from_procfile(&procfile, application).or_else(|| from_tools(tree, &application.root)),
    };
    let is_told = start.is_some();
    application.start = start.unwrap_or_else(|| application.start.clone());
    is_told
}

/// `web`, else the first line that is not `release`; unless that runs what only the platform has that it was written for.
fn from_procfile(
    lines: &[(String, String, Evidence)],
    application: &Application,
) -> Option<Fact<String, crate::fact::Argv>> {
    let (process, command, at) = main_process(lines)?;
    let program = command.split(' ').next().map(file_name)?;
    if program.starts_with("heroku-php-") && application.start.is_known() {
        return None;
    }
    let rule = if process == "web" { "procfile.web" } else { "procfile.first" };
    Some(Fact::command(&built(command, application), rule, vec![at.clone()]))
}

fn main_process(lines: &[(String, String, Evidence)]) -> Option<&(String, String, Evidence)> {
    let web = lines.iter().find(|(process, ..)| process == "web");
    web.or_else(|| lines.iter().find(|(process, ..)| process != "release"))
}

/// A command whose program is named as other tools place it, where the build of this one does: `server`, `bin/server`.
fn built(command: &str, application: &Application) -> String {
    let (program, rest) = command.split_at(command.find(' ').unwrap_or(command.len()));
    let own = application.start.value.as_deref().and_then(|start| start.split(' ').next()).unwrap_or_default();
    let is_it = own.starts_with("./") && matches!(parent(program), "." | "bin") && file_name(program) == file_name(own);
    if is_it { format!("{own}{rest}") } else { command.to_owned() }
}

/// The script that a `Procfile` or the settings of another tool in a directory start, if it is there, and where they do.
pub(crate) fn script(tree: &Tree, directory: &str) -> Option<(String, Evidence)> {
    let lines = procfile(tree, directory);
    let process = main_process(&lines).map(|(_, command, at)| (command.clone(), at.clone()));
    let told = || from_tools(tree, directory).and_then(|start| Some((start.value?, start.evidence.first()?.clone())));
    let (command, at) = process.or_else(told)?;
    let mut words = command.split_whitespace().skip_while(|word| matches!(*word, "sh" | "bash" | "exec"));
    let script = words.next().filter(|word| word.ends_with(".sh"))?;
    let file = joined(directory, script).filter(|file| tree.has(file))?;
    Some((file, at))
}

fn from_tools(tree: &Tree, root: &str) -> Option<Fact<String, crate::fact::Argv>> {
    FILES.into_iter().find_map(|(file, tool, key, _)| {
        let file = path(root, file);
        let (command, line) = document(tree, &file)?.text_at(key)?;
        let command = command.trim();
        (!command.is_empty()).then(|| Fact::command(command, &format!("{tool}.start"), vec![Evidence::new(file, line)]))
    })
}

/// The lines of a `Procfile`: the process, its command, where.
fn procfile(tree: &Tree, root: &str) -> Vec<(String, String, Evidence)> {
    let file = path(root, "Procfile");
    let text = tree.text(&file).unwrap_or_default();
    let line = |(number, line): (usize, &str)| {
        let (process, command) = line.split_once(':')?;
        let (process, command) = (process.trim(), command.trim());
        let is_name =
            !process.is_empty() && process.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-'));
        (is_name && !command.is_empty())
            .then(|| (process.to_owned(), command.to_owned(), Evidence::new(file.clone(), number as u64 + 1)))
    };
    text.lines().enumerate().filter_map(line).collect()
}

fn document<'a>(tree: &'a Tree, file: &str) -> Option<&'a Node> {
    if file.ends_with(".toml") { tree.toml(file) } else { tree.json(file) }
}

fn known(name: &str) -> Option<ProviderName> {
    let name = name.trim().to_ascii_lowercase();
    let other = OTHER_NAMES.iter().find(|(other, _)| *other == name).map(|(_, provider)| *provider);
    other.or_else(|| name.parse().ok())
}

/// A command of the manifest: a string, or its words.
fn command(node: &Node) -> Option<String> {
    if let Some(text) = node.text() {
        return Some(text.to_owned());
    }
    let words: Option<Vec<String>> = node.items().iter().map(|word| word.text().map(quoted)).collect();
    words.filter(|words| !words.is_empty()).map(|words| words.join(" "))
}

/// A word so that it stays one.
fn quoted(word: &str) -> String {
    let is_plain = !word.is_empty() && word.chars().all(|c| c.is_ascii_alphanumeric() || "-_./:=@%+,".contains(c));
    if is_plain { word.to_owned() } else { format!("'{}'", word.replace('\'', "'\\''")) }
}
