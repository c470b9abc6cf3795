//! Which packages build a site of files, and where it stands then.

use super::{
    config::Config,
    framework::{Found, Kind},
    package::Package,
    script,
};
use crate::{
    document::Node,
    fact::{Evidence, Fact},
    tree::{file_name, joined},
};

/// Scripts that build.
pub(super) const BUILDS: [&str; 3] = ["build", "prod", "production"];
/// What of astro serves pages that are made when they are asked for.
const ADAPTERS: [&str; 5] =
    ["@astrojs/node", "@astrojs/vercel", "@astrojs/netlify", "@astrojs/cloudflare", "@astrojs/deno"];

/// A site of files.
#[derive(Debug, Clone)]
pub(super) struct Site {
    pub(super) found: Found,
    /// Relative to the package.
    pub(super) output: Fact<String>,
    /// Whether each path leads to one page.
    pub(super) single: bool,
}

/// The site that a package builds, if it is one and no server.
pub(super) fn of(package: &Package<'_>, found: &[Found]) -> Option<Site> {
    let one = found.iter().find(|one| one.framework.kind != Kind::Server)?;
    let start = package.script("start").or_else(|| package.script("serve"));
    let is_served = start.is_some_and(|(body, _)| !script::is_for_developers(package, body));
    // What is written as files has nothing that its own server could serve, whatever a start script says.
    let exported =
        matches!(one.framework.name, "next" | "nuxt" | "react-router" | "remix" | "sveltekit" | "tanstack-start");
    if is_served && !exported {
        return None;
    }
    let has_server = found.iter().any(|other| other.framework.kind == Kind::Server) && package.main().is_some();
    if has_server {
        return None;
    }
    let (output, single) = match one.framework.name {
        "next" => (next(package)?, false),
        "nuxt" => (nuxt(package)?, false),
        "remix" | "react-router" => (router(package)?, true),
        "tanstack-start" => (tanstack(package)?, true),
        "sveltekit" => (sveltekit(package)?, true),
        "astro" => (astro(package, one)?, false),
        "solid-start" | "analog" | "qwik-city" | "blitz" | "redwood" | "nitro" => return None,
        "expo" => expo(package, one)?,
        "angular" => (angular(package, one)?, true),
        "vite" => (vite(package, one)?, true),
        other => files(package, one, other)?,
    };
    Some(Site { found: one.clone(), output, single })
}

fn fact(directory: &str, rule: &str, evidence: Vec<Evidence>) -> Option<Fact<String>> {
    within(".", directory, rule, evidence)
}

/// A directory that is told relative to another. What leads out of the package is no output of it.
fn within(base: &str, directory: &str, rule: &str, evidence: Vec<Evidence>) -> Option<Fact<String>> {
    Some(Fact::known(joined(base, directory.trim_start_matches('/'))?, rule, evidence))
}

/// What an option of the build script says, or a key of the configuration; else the tool's default.
fn told(
    package: &Package<'_>,
    one: &Found,
    options: &[&str],
    config: Option<&Config<'_>>,
    keys: &[&str],
    default: &str,
) -> Option<Fact<String>> {
    told_below(".", package, one, options, config, keys, default)
}

/// The same, where all of them are relative to a directory of the package.
fn told_below(
    base: &str,
    package: &Package<'_>,
    one: &Found,
    options: &[&str],
    config: Option<&Config<'_>>,
    keys: &[&str],
    default: &str,
) -> Option<Fact<String>> {
    let name = one.framework.name;
    for build in BUILDS {
        let Some((body, at)) = package.script(build) else { continue };
        if let Some(directory) = script::option(body, options) {
            return within(base, directory, &format!("node.{name}.output-option"), vec![at]);
        }
    }
    for key in keys {
        if let Some((directory, at)) = config.and_then(|config| config.text(key)) {
            return within(base, directory, &format!("node.{name}.output-config"), vec![at]);
        }
    }
    within(base, default, &format!("node.{name}.output-default"), one.evidence.clone())
}

fn next(package: &Package<'_>) -> Option<Fact<String>> {
    let config = Config::of(package.tree, package.root, "next.config.");
    if let Some(config) = &config
        && let Some((_, at)) = config.text("output").filter(|(output, _)| *output == "export")
    {
        return match config.text("distDir") {
            Some((directory, at)) => fact(directory, "node.next.output-config", vec![at]),
            None => fact("out", "node.next.export", vec![at]),
        };
    }
    let exports =
        |(_, body, _): &(&str, &str, u64)| script::commands(body).any(|words| words.starts_with(&["next", "export"]));
    let (_, body, line) = package.scripts().find(exports)?;
    let directory = script::option(body, &["-o", "--outdir"]).unwrap_or("out");
    fact(directory, "node.next.export", vec![package.line(line)])
}

fn nuxt(package: &Package<'_>) -> Option<Fact<String>> {
    let (body, at) =
        package.script("build").or_else(|| package.script("generate").filter(|_| package.script("start").is_none()))?;
    let generates = script::commands(script::resolved(package, body)).any(|words| words.contains(&"generate"));
    if generates { fact(".output/public", "node.nuxt.generate", vec![at]) } else { None }
}

/// `ssr: false` of react-router, and of remix in vite.
fn router(package: &Package<'_>) -> Option<Fact<String>> {
    let configs = ["react-router.config.", "vite.config.", "remix.config."];
    let configs: Vec<Config<'_>> =
        configs.iter().filter_map(|start| Config::of(package.tree, package.root, start)).collect();
    let at = configs.iter().find_map(|config| config.says("ssr", "false"))?;
    let directory =
        configs.iter().find_map(|config| config.text("buildDirectory")).map_or("build", |(directory, _)| directory);
    fact(&format!("{directory}/client"), "node.router.no-server", vec![at])
}

fn tanstack(package: &Package<'_>) -> Option<Fact<String>> {
    let config = Config::of(package.tree, package.root, "vite.config.")?;
    config.word("spa:")?;
    fact("dist/client", "node.tanstack-start.single-page", vec![config.says("enabled", "true")?])
}

fn sveltekit(package: &Package<'_>) -> Option<Fact<String>> {
    let at = package.dependency("@sveltejs/adapter-static")?;
    let config = Config::of(package.tree, package.root, "svelte.config.");
    match config.as_ref().and_then(|config| config.text("pages")) {
        Some((directory, at)) => fact(directory, "node.sveltekit.output-config", vec![at]),
        None => fact("build", "node.sveltekit.static", vec![at]),
    }
}

fn astro(package: &Package<'_>, one: &Found) -> Option<Fact<String>> {
    let config = Config::of(package.tree, package.root, "astro.config.");
    if let Some(config) = &config {
        let is_server = config.text("output").is_some_and(|(output, _)| matches!(output, "server" | "hybrid"));
        let adapts =
            ADAPTERS.iter().any(|adapter| package.dependency(adapter).is_some()) && config.word("adapter").is_some();
        if is_server || adapts {
            return None;
        }
    }
    told(package, one, &["--outDir"], config.as_ref(), &["outDir"], "dist")
}

fn expo(package: &Package<'_>, one: &Found) -> Option<(Fact<String>, bool)> {
    let file = package.path("app.json");
    let settings = package.tree.json(&file);
    let output = settings.and_then(|settings| settings.text_at(&["expo", "web", "output"]));
    let exports = package.scripts().find(|(_, body, _)| {
        script::commands(body)
            .any(|words| words.starts_with(&["expo", "export"]) || words.starts_with(&["expo", "export:web"]))
    });
    let single = !matches!(output, Some(("static", _)));
    if matches!(output, Some(("server", _))) || exports.is_none() && output.is_none() {
        return None;
    }
    Some((told(package, one, &["--output-dir"], None, &[], "dist")?, single))
}

/// The path that the build of the first project that is an application is told.
fn angular(package: &Package<'_>, one: &Found) -> Option<Fact<String>> {
    let file = package.path("angular.json");
    let workspace = package.tree.json(&file)?;
    let default = workspace.text_at(&["defaultProject"]).map(|(name, _)| name);
    let mut projects = workspace.get("projects")?.entries().iter();
    let is_application = |node: &Node| node.text_at(&["projectType"]).is_none_or(|(kind, _)| kind == "application");
    let project = projects.find(|entry| default.is_none_or(|name| name == entry.key) && is_application(&entry.node))?;
    let targets = project.node.get("architect").or_else(|| project.node.get("targets"))?;
    let build = targets.get("build")?;
    let options = build.get("options")?;
    // With a server of its own it is no site; a mode that writes files is one all the same.
    let writes = options.text_at(&["outputMode"]).is_some_and(|(mode, _)| mode == "static");
    let serves = options.get("ssr").is_some_and(|ssr| ssr.is_true() || !ssr.entries().is_empty());
    if serves && !writes {
        return None;
    }
    // The builder that is called application puts what a browser gets into a directory of its own.
    let (builder, builder_line) = build.text_at(&["builder"]).unwrap_or(("", build.line));
    let browser = if builder.ends_with(":application") { "/browser" } else { "" };
    let path = options.get("outputPath");
    let (directory, line) = match path {
        Some(path) => match path.text() {
            Some(text) => (format!("{text}{browser}"), path.line),
            None => {
                let base = path.get("base").and_then(Node::text)?;
                let browser = path.get("browser").and_then(Node::text).unwrap_or("browser");
                (format!("{base}/{browser}"), path.line)
            }
        },
        None => (format!("dist/{}{browser}", project.key), builder_line),
    };
    let _ = one;
    fact(&directory, "node.angular.output", vec![Evidence::new(file, line)])
}

fn vite(package: &Package<'_>, one: &Found) -> Option<Fact<String>> {
    let config = Config::of(package.tree, package.root, "vite.config.");
    // Without a page it builds a library, or what a server of another language serves.
    if !package.tree.below(package.root).any(|path| file_name(path) == "index.html") {
        return None;
    }
    // What it is told is relative to its root, which may be another directory.
    let root = config.as_ref().and_then(|config| config.text("root")).and_then(|(root, _)| joined(".", root));
    let root = root.filter(|root| joined(package.root, root).is_some_and(|path| package.tree.has_directory(&path)));
    let base = root.as_deref().unwrap_or(".");
    told_below(base, package, one, &["--outDir"], config.as_ref(), &["outDir"], "dist")
}

/// Tools that have one directory: options, configuration, keys, default, whether all paths lead to one page.
type Tool = (&'static str, &'static [&'static str], &'static str, &'static [&'static str], &'static str, bool);

const TOOLS: [Tool; 13] = [
    ("cra", &["BUILD_PATH"], "craco.config.", &[], "build", true),
    ("vue-cli", &["--dest"], "vue.config.", &["outputDir"], "dist", true),
    ("gatsby", &[], "gatsby-config.", &[], "public", false),
    ("docusaurus", &["--out-dir"], "docusaurus.config.", &[], "build", false),
    ("eleventy", &["--output"], "eleventy.config.", &["output"], "_site", false),
    ("hexo", &[], "_config.", &["public_dir"], "public", false),
    ("ember", &["--output-path"], "ember-cli-build.", &[], "dist", true),
    ("preact-cli", &["--dest"], "preact.config.", &[], "build", true),
    ("umi", &[], ".umirc.", &["outputPath"], "dist", true),
    ("rsbuild", &["--dist-path"], "rsbuild.config.", &["root"], "dist", true),
    ("parcel", &["--dist-dir", "-d"], ".parcelrc.", &[], "dist", true),
    ("vitepress", &[], "", &[], ".vitepress/dist", false),
    ("vuepress", &["--dest"], "", &[], ".vuepress/dist", false),
];

fn files(package: &Package<'_>, one: &Found, name: &str) -> Option<(Fact<String>, bool)> {
    let (_, options, start, keys, default, single) = TOOLS.iter().find(|tool| tool.0 == name)?;
    let config = if start.is_empty() { None } else { Config::of(package.tree, package.root, start) };
    // The name is that of other directories too.
    let is_told = name != "rsbuild" || config.as_ref().is_some_and(|config| config.word("distPath").is_some());
    let keys = if is_told { *keys } else { &[] };
    // These are told the directory of their pages, beside which they write.
    let pages = if start.is_empty() { pages(package, name) } else { None };
    let default = pages.map_or_else(|| (*default).to_owned(), |pages| format!("{pages}/{default}"));
    Some((told(package, one, options, config.as_ref(), keys, &default)?, *single))
}

fn pages<'t>(package: &Package<'t>, name: &str) -> Option<&'t str> {
    BUILDS.iter().chain(&["docs:build"]).filter_map(|build| package.script(build)).find_map(|(body, _)| {
        let words = script::commands(body).find(|words| words.starts_with(&[name, "build"]))?;
        words.get(2).copied().filter(|word| !word.starts_with('-') && *word != ".")
    })
}
