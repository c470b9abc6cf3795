//! How a package is started that is no site.

use super::{
    framework::{Found, listens},
    manager::Manager,
    package::Package,
    script,
};
use crate::{
    document::Node,
    fact::{Argv, Evidence, Fact, MODEL},
    tree::joined,
    words::quoted,
};

/// Files that are looked for where nothing names one.
const INDEXES: [&str; 14] = [
    "index.js",
    "index.mjs",
    "index.cjs",
    "server.js",
    "server.mjs",
    "app.js",
    "main.js",
    "src/index.js",
    "src/server.js",
    "src/main.js",
    "src/app.js",
    "index.ts",
    "src/index.ts",
    "server.ts",
];
/// How the names of files end that can be run.
pub(super) const ENDS: [&str; 5] = [".js", ".mjs", ".cjs", ".ts", ".mts"];
/// What runs TypeScript, where node is too old to do so itself.
const TYPESCRIPT: [&str; 3] = ["tsx", "ts-node", "@swc-node/register"];

/// How it is started, if anything says so.
pub(super) fn of(package: &Package<'_>, manager: Manager, found: &[Found]) -> Option<Fact<String, Argv>> {
    let command = |command: String, rule: &str, at: Vec<Evidence>| Some(Fact::command(&command, rule, at));
    if let Some((file, at)) = of_nx(package) {
        return command(manager_file(manager, &file), "node.nx", vec![at]);
    }
    if let Some((name, at)) = server_script(package) {
        return command(manager.run(name), "node.start-script", vec![at]);
    }
    if let Some((file, at)) = package.main() {
        return command(runner(package, manager, &file)?, "node.main", vec![at]);
    }
    if let Some((file, text)) = index(package, manager) {
        let at = Evidence::new(package.path(file), 1);
        return command(text, "node.index", vec![at]);
    }
    let (start, one) = found.iter().find_map(|one| Some((one.framework.start?, one)))?;
    let rule = format!("node.{}.start", one.framework.name);
    // One that is built by nitro is started as what that makes, whatever its own is.
    let is_nitro = one.framework.name == "tanstack-start"
        && ["nitro", "@tanstack/nitro-v2-vite-plugin"].iter().any(|name| package.dependency(name).is_some());
    let start = if is_nitro { "node .output/server/index.mjs" } else { start };
    let text = match start.strip_prefix('@') {
        Some(own) => manager.command(own),
        None => start.to_owned(),
    };
    command(text, &rule, one.evidence.clone())
}

/// The script that starts the server: `start`; where that is for developers, one that is named as what it serves.
fn server_script<'t>(package: &Package<'t>) -> Option<(&'t str, Evidence)> {
    let start = package.script("start");
    let serves = package
        .scripts()
        .find(|(name, ..)| name.starts_with("serve:ssr") || matches!(*name, "start:prod" | "start:production"));
    match (start, serves) {
        (Some((body, _)), Some((name, _, line))) if script::is_for_developers(package, body) => {
            Some((name, package.line(line)))
        }
        (Some((_, at)), _) => Some(("start", at)),
        (None, Some((name, _, line))) => Some((name, package.line(line))),
        (None, None) => None,
    }
}

fn manager_file(manager: Manager, file: &str) -> String {
    manager.file(file)
}

/// How a file is run; none where its language is not the runtime's.
fn runner(package: &Package<'_>, manager: Manager, file: &str) -> Option<String> {
    let is_typescript = file.ends_with(".ts") || file.ends_with(".mts") || file.ends_with(".tsx");
    if manager == Manager::Bun || !is_typescript {
        return Some(manager.file(file));
    }
    let tool = TYPESCRIPT.into_iter().find(|tool| package.dependency(tool).is_some())?;
    let file = quoted(file);
    Some(match tool {
        "@swc-node/register" => format!("node -r {tool} {file}"),
        tool => manager.command(&format!("{tool} {file}")),
    })
}

/// How a file that was chosen is run.
pub(super) fn by_file(package: &Package<'_>, manager: Manager, file: &str) -> Option<Fact<String, Argv>> {
    let is_code = package.has(file) && ENDS.iter().any(|end| file.ends_with(end));
    let command = runner(package, manager, file).filter(|_| is_code)?;
    Some(Fact::command(&command, MODEL, vec![Evidence::new(package.path(file), 1)]))
}

/// A file of a usual name that can be run.
fn index(package: &Package<'_>, manager: Manager) -> Option<(&'static str, String)> {
    let mut there = INDEXES.into_iter().filter(|file| package.has(file));
    there.find_map(|file| Some((file, runner(package, manager, file)?)))
}

/// Whether there is a file that can be run, or one that listens where that matters.
pub(super) fn has_file(package: &Package<'_>, must_listen: bool) -> bool {
    let main = package.main().map(|(file, _)| file);
    let index = || INDEXES.into_iter().find(|file| package.has(file)).map(str::to_owned);
    main.or_else(index).is_some_and(|file| !must_listen || listens(package, &file))
}

/// What the default project of a workspace of nx is built to, if a script only hands on to nx.
fn of_nx(package: &Package<'_>) -> Option<(String, Evidence)> {
    let settings = package.tree.json(&package.path("nx.json"))?;
    let start = package.script("start").map(|(body, _)| body);
    if start.is_some_and(|body| !script::commands(body).any(|words| words.first() == Some(&"nx"))) {
        return None;
    }
    let (name, _) = settings.text_at(&["defaultProject"])?;
    let workspace = package.tree.json(&package.path("workspace.json"));
    let listed = workspace.and_then(|workspace| workspace.at(&["projects", name])).and_then(Node::text);
    let directories = listed.map(str::to_owned).into_iter().chain([
        format!("apps/{name}"),
        format!("packages/{name}"),
        name.to_owned(),
    ]);
    let (file, project) = directories.into_iter().find_map(|directory| {
        let file = joined(package.root, &format!("{directory}/project.json"))?;
        let project = package.tree.json(&file)?;
        Some((file, project))
    })?;
    let build = project.at(&["targets", "build"])?;
    let (output, line) = build.text_at(&["options", "outputPath"])?;
    let (main, _) = build.text_at(&["options", "main"])?;
    let stem = crate::tree::file_name(main).rsplit_once('.').map_or(main, |(stem, _)| stem);
    Some((format!("{output}/{stem}.js"), Evidence::new(file, line)))
}
