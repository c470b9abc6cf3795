//! Node.js and Bun.

use super::{
    Candidate, Provider,
    dir::{Dir, runtime},
    needs, site, tools,
};
use crate::{
    analysis::port::{self, command_port},
    fact::{Application, Evidence, Fact, ProviderName, Role},
    tree::Tree,
};

mod config;
mod framework;
mod manager;
mod package;
mod pages;
mod script;
mod start;
mod tooling;
mod workspace;

use framework::{Found, Kind};
use manager::{Manager, Managing};
use package::Package;
use pages::{BUILDS, Site};

/// Files of which the first line that is no comment is a version.
const VERSION_FILES: [&str; 2] = [".nvmrc", ".node-version"];
/// Where a server listens that does not say where.
const PORT: u16 = 3000;
/// What an install and a client generator read beside manifest and lock file.
const DEPENDENCY_FILES: [&str; 3] = ["prisma/schema.prisma", "schema.prisma", "patches/"];

/// The provider of Node.js and Bun.
pub(super) struct Node;

impl Provider for Node {
    fn name(&self) -> ProviderName {
        ProviderName::Node
    }

    fn entries(&self) -> &'static [&'static str] {
        &start::ENDS
    }

    #[cfg(test)]
    fn frameworks(&self) -> Vec<&'static str> {
        framework::ALL.iter().map(|framework| framework.name).collect()
    }

    fn looks_for(&self) -> &'static str {
        "package.json, package.json5"
    }

    fn candidates(&self, tree: &Tree) -> Vec<Candidate> {
        let workspaces = workspace::all(tree);
        let packages: Vec<Package<'_>> = Package::all(tree).collect();
        let roots: Vec<&str> = packages.iter().map(|package| package.root).collect();
        packages.iter().map(|package| candidate(package, &roots, &workspaces)).collect()
    }

    fn application(&self, tree: &Tree, chosen: &Candidate) -> Application {
        let mut application = Application::of(self.name(), chosen);
        let Some(package) = Package::of(tree, &chosen.root) else { return application };
        let roots: Vec<&str> = Package::all(tree).map(|package| package.root).collect();
        let found = framework::all(&package, &roots);
        let site = pages::of(&package, &found);
        // A member takes what its workspace has.
        let outer = chosen.workspace.as_deref().and_then(|workspace| Package::of(tree, workspace)).unwrap_or(package);
        let managing = manager::of(&outer);
        let chosen_framework = best(&found, site.as_ref());
        if let Some(one) = chosen_framework {
            let rule = format!("node.framework.{}", one.framework.name);
            application.framework = Fact::known(one.framework.name.to_owned(), &rule, one.evidence.clone());
        }
        set_runtime(&mut application, &package, &outer, managing.manager, chosen);
        application.build = build(&package, chosen, managing.manager, site.as_ref());
        match &site {
            Some(site) => serve(&mut application, site),
            None => {
                let chosen = || start::by_file(&package, managing.manager, chosen.wanted.as_deref()?);
                application.start = start::of(&package, managing.manager, &found).or_else(chosen).unwrap_or_default();
                application.port = port(&package, chosen_framework, managing.manager, &roots);
            }
        }
        let dependencies = package.dependencies().map(|(name, at)| (name.to_owned(), at));
        needs::add(&mut application, ProviderName::Node, dependencies);
        application.details.project_name = package.text(&["name"]).map(|(name, _)| name.to_owned());
        application.details.dependency_files = dependency_files(&package, &outer, &managing);
        application.details.keeps_development = keeps_development(&package, application.start.value.as_deref());
        application.package_manager = managing.fact;
        application.install = managing.install;
        application.details.warnings.extend(managing.warnings);
        application
    }
}

/// Whether what starts it is a development dependency.
fn keeps_development<'t>(package: &Package<'t>, start: Option<&'t str>) -> bool {
    let is_one = |word: &str| {
        let name = if word == "tsc" { "typescript" } else { word };
        let listed = package.at(&["devDependencies"]).is_some_and(|listed| listed.entry(name).is_some());
        listed && package.run_dependency(name).is_none()
    };
    script::commands(script::resolved(package, start.unwrap_or_default())).flatten().any(is_one)
}

/// A package as a candidate.
fn candidate(package: &Package<'_>, roots: &[&str], workspaces: &[workspace::Workspace]) -> Candidate {
    let found = framework::all(package, roots);
    let site = pages::of(package, &found);
    let workspace = workspace::of(workspaces, package.root);
    // A member that only has a main file is a library of others, unless it listens.
    let is_member = workspace.is_some_and(|workspace| workspace != package.root);
    let started = package.script("start").map(|(_, at)| at);
    let has_server = found.iter().any(|one| one.framework.kind != Kind::Files && one.framework.start.is_some())
        || found.iter().any(|one| one.framework.kind == Kind::Server);
    let entry = started.is_some() || site.is_some() || has_server || start::has_file(package, is_member);
    let mut evidence = vec![package.line(1)];
    let (score, rule) = match best(&found, site.as_ref()) {
        Some(one) => {
            evidence.extend(one.evidence.iter().cloned());
            (80, "node.framework")
        }
        None if entry => (70, "node.entry"),
        None => (60, "node.manifest"),
    };
    evidence.extend(started);
    let mut candidate = Candidate::new(package.root, score, rule, evidence);
    candidate.beside = beside(package, &found);
    candidate.with_entry(entry).in_workspace(workspace.map(str::to_owned))
}

/// What a package is beside an application of another language: it itself only where it has a server.
fn beside(package: &Package<'_>, found: &[Found]) -> Role {
    let serves = found.iter().any(|one| one.framework.kind == Kind::Server);
    let starts = package.script("start").is_some_and(|(body, _)| script::is_server(package, body));
    let has_main = package.main().is_some_and(|(file, _)| framework::listens(package, &file));
    if serves || starts || has_main {
        return Role::App;
    }
    let only_tools = package.dependencies().all(|(name, _)| tooling::is_tool(name));
    let builds = BUILDS.iter().any(|script| package.script(script).is_some());
    let bundles = package.dependencies().any(|(name, _)| tooling::is_bundler(name));
    if (package.has_run_dependencies() && !only_tools) || builds || bundles { Role::Assets } else { Role::Tooling }
}

/// The framework that an application is named after: the one that makes its site; otherwise not one that only would.
fn best<'f>(found: &'f [Found], site: Option<&'f Site>) -> Option<&'f Found> {
    if let Some(site) = site {
        return Some(&site.found);
    }
    let serves = found.iter().find(|one| one.framework.kind != Kind::Files);
    serves.or_else(|| found.first())
}

/// What serves a site is no part of the project.
fn serve(application: &mut Application, site: &Site) {
    let rule = format!("node.{}.site", site.found.framework.name);
    application.start = Fact::command(site::SERVE, &rule, site.output.evidence.clone());
    application.port = Fact::known(site::PORT, &rule, site.output.evidence.clone());
    application.output_dir = site.output.clone();
    application.details.single_page = site.single;
}

/// How it is built: by its script, else by the tool that makes its site.
fn build(package: &Package<'_>, chosen: &Candidate, manager: Manager, site: Option<&Site>) -> Fact<Vec<String>> {
    let names = if chosen.role == Role::Assets { BUILDS.as_slice() } else { &BUILDS[..1] };
    let generates = ["generate", "export"].into_iter().filter(|_| site.is_some());
    let script = names.iter().copied().chain(generates).find_map(|name| Some((name, package.script(name)?.1)));
    if let Some((name, at)) = script {
        return Fact::known(vec![manager.run(name)], "node.build-script", vec![at]);
    }
    let Some(site) = site else { return Fact::default() };
    let command = match site.found.framework.name {
        name @ ("next" | "vite" | "astro" | "gatsby" | "docusaurus" | "vitepress" | "vuepress" | "parcel" | "nuxt"
        | "umi" | "rsbuild") => {
            format!("{name} build")
        }
        "cra" => "react-scripts build".to_owned(),
        "vue-cli" => "vue-cli-service build".to_owned(),
        "angular" => "ng build".to_owned(),
        "expo" => "expo export --platform web".to_owned(),
        "eleventy" => "@11ty/eleventy".to_owned(),
        "hexo" => "hexo generate".to_owned(),
        "react-router" => "react-router build".to_owned(),
        "sveltekit" | "tanstack-start" => "vite build".to_owned(),
        _ => return Fact::default(),
    };
    let rule = format!("node.{}.build", site.found.framework.name);
    Fact::known(vec![manager.command(&command)], &rule, site.found.evidence.clone())
}

/// The port that a start script names, else where the framework listens, else where any server does.
fn port(package: &Package<'_>, found: Option<&Found>, manager: Manager, roots: &[&str]) -> Fact<u16> {
    if let Some((body, at)) = package.script("start")
        && let Some(port) = command_port(script::resolved(package, body))
    {
        return Fact::known(port, "port.command", vec![at]);
    }
    // The file that is started may be another member's.
    if let Some(port) = script::file(package).and_then(|file| port::in_code(package.tree, &[file.as_str()])) {
        return port;
    }
    // Each is below the one before, so that this ends.
    if let Some(member) = package.script("start").and_then(|(body, _)| script::handed(package, body)) {
        return port(&member, best(&framework::all(&member, roots), None), manager, roots);
    }
    // A library of servers listens where code says so.
    let listens = |one: &&Found| {
        let is_library = one.framework.is_library(package);
        one.framework.kind != Kind::Files && (!is_library || framework::any_listens(package, manager == Manager::Bun))
    };
    if let Some(one) = found.filter(listens) {
        let rule = format!("node.{}.port", one.framework.name);
        return Fact::known(one.framework.port, &rule, one.evidence.clone());
    }
    let mut sources = framework::sources(package.tree, package.root);
    let imports = ["http", "node:http", "https", "node:https", "ws"];
    let listens = sources.find_map(|file| {
        let text = package.tree.text(file)?;
        let line = imports.iter().find_map(|name| framework::import(package.tree, file, name));
        let serves = text.contains("listen(") && line.is_some() || text.contains("Bun.serve(");
        serves.then(|| Evidence::new(file, line.unwrap_or(1)))
    });
    listens.map_or_else(Fact::default, |at| Fact::known(PORT, "node.server.port", vec![at]))
}

/// Says which version of node is asked for, or of bun where that runs it.
fn set_runtime(
    application: &mut Application,
    package: &Package<'_>,
    outer: &Package<'_>,
    manager: Manager,
    chosen: &Candidate,
) {
    let name = if manager == Manager::Bun { "bun" } else { "node" };
    let file = |package: &Package<'_>| {
        VERSION_FILES.iter().filter(|_| name == "node").find_map(|file| {
            let path = package.path(file);
            let mut lines = (1..).zip(package.tree.text(&path)?.lines().map(str::trim));
            let (line, text) = lines.find(|(_, text)| !text.is_empty() && !text.starts_with('#'))?;
            Some((text.to_owned(), "node.version-file", Evidence::new(path.clone(), line)))
        })
    };
    let managed = || {
        let dir = Dir::of(package.tree, package.root);
        tools::asked(dir, name).or_else(|| tools::asked(dir, "nodejs").filter(|_| name == "node"))
    };
    let engines = |package: &Package<'_>| {
        let (text, at) = package.text(&["engines", name])?;
        Some((text.to_owned(), "node.engines", at))
    };
    let asked =
        file(package).or_else(|| file(outer)).or_else(managed).or_else(|| engines(package)).or_else(|| engines(outer));
    let said = asked.as_ref().map(|(text, ..)| text.clone());
    runtime(application, name, asked.map(|(text, rule, at)| (named_line(&text), rule, at)), chosen);
    application.runtime.more.requested = said;
}

/// Lines of node that have names: `lts/jod`.
fn named_line(asked: &str) -> String {
    const NAMES: [(&str, &str); 8] = [
        ("carbon", "8"),
        ("dubnium", "10"),
        ("erbium", "12"),
        ("fermium", "14"),
        ("gallium", "16"),
        ("hydrogen", "18"),
        ("iron", "20"),
        ("jod", "22"),
    ];
    let lower = asked.trim().to_ascii_lowercase();
    let name = lower.trim_start_matches("lts/");
    match NAMES.iter().find(|(known, _)| *known == name) {
        Some((_, line)) => (*line).to_owned(),
        None if matches!(name, "*" | "node" | "stable" | "latest" | "current" | "lts") => "*".to_owned(),
        None => asked.to_owned(),
    }
}

/// What an install reads: manifests, lock file, settings; of a workspace, those of all its members.
fn dependency_files(package: &Package<'_>, outer: &Package<'_>, managing: &Managing) -> Vec<String> {
    let mut files = managing.files.clone();
    files.push(package.file.to_owned());
    files.push(outer.file.to_owned());
    if package.root != outer.root || !workspace::all(package.tree).is_empty() {
        let workspaces = workspace::all(package.tree);
        let members = Package::all(package.tree)
            .filter(|member| workspaces.iter().any(|one| one.root == outer.root && one.holds(member.root)));
        files.extend(members.map(|member| member.file.to_owned()));
    }
    for name in DEPENDENCY_FILES {
        let path = package.path(name);
        match path.strip_suffix('/') {
            Some(directory) => files.extend(package.tree.below(directory).map(str::to_owned)),
            None if package.tree.has(&path) => files.push(path),
            None => {}
        }
    }
    // They are relative to the context of the build.
    let mut files: Vec<String> = files
        .iter()
        .map(|file| match outer.root {
            "." => file.clone(),
            root => file.strip_prefix(root).map_or(file.as_str(), |rest| rest.trim_start_matches('/')).to_owned(),
        })
        .collect();
    files.sort();
    files.dedup();
    files
}

#[cfg(test)]
mod tests;
