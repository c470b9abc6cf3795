//! Frameworks: each proved by a dependency and a marker.

use super::{config, package::Package, script};
use crate::{
    code::{Syntax, line_of, without_comments},
    fact::Evidence,
    tree::{Tree, joined},
};

/// What a framework makes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Pages that a server of its own makes, unless it was told to write them as files.
    Pages,
    /// Files that anything can serve.
    Files,
    /// A server that the project's code starts.
    Server,
}

/// What code calls that listens.
const LISTENING: [&str; 5] = ["listen(", "serve(", "Server(", "server.start(", ".http("];

/// What is known of a framework.
#[derive(Debug)]
pub(super) struct Framework {
    pub(super) name: &'static str,
    /// One of these is a dependency.
    dependencies: &'static [&'static str],
    /// A file whose name begins so.
    configs: &'static [&'static str],
    /// A command that a script runs.
    commands: &'static [&'static str],
    pub(super) kind: Kind,
    /// How what it built is started, if its own server does that: an own command of a package stands behind `@`.
    pub(super) start: Option<&'static str>,
    /// On which port that listens, unless it is told another.
    pub(super) port: u16,
}

const fn of(
    name: &'static str,
    dependencies: &'static [&'static str],
    configs: &'static [&'static str],
    commands: &'static [&'static str],
    kind: Kind,
    start: Option<&'static str>,
    port: u16,
) -> Framework {
    Framework { name, dependencies, configs, commands, kind, start, port }
}

use Kind::{Files, Pages, Server};

const NITRO: Option<&str> = Some("node .output/server/index.mjs");

/// All of them: those that are built on others stand before these.
#[rustfmt::skip]
pub(super) const ALL: [Framework; 54] = [
    of("next", &["next"], &["next.config."], &["next"], Pages, Some("@next start"), 3000),
    of("nuxt", &["nuxt", "nuxt3", "nuxt-nightly"], &["nuxt.config."], &["nuxt", "nuxi"], Pages, NITRO, 3000),
    of("remix", &["@remix-run/react", "@remix-run/node", "@remix-run/serve", "@remix-run/dev", "@remix-run/express"],
        &["remix.config."], &["remix", "remix-serve"], Pages, Some("@remix-serve ./build/server/index.js"), 3000),
    of("react-router", &["@react-router/dev"], &["react-router.config."], &["react-router", "react-router-serve"], Pages,
        Some("@react-router-serve ./build/server/index.js"), 3000),
    of("tanstack-start", &["@tanstack/react-start", "@tanstack/solid-start", "@tanstack/start"],
        &["vite.config.", "app.config.", "tsr.config."], &["vinxi", "vite"], Pages,
        Some("@srvx --prod -s ../client dist/server/server.js"), 3000),
    of("sveltekit", &["@sveltejs/kit"], &["svelte.config."], &["svelte-kit"], Pages, Some("node build"), 3000),
    of("astro", &["astro"], &["astro.config."], &["astro"], Pages, Some("node ./dist/server/entry.mjs"), 4321),
    of("solid-start", &["@solidjs/start", "solid-start"], &["app.config."], &["vinxi", "solid-start"], Pages, NITRO, 3000),
    of("qwik-city", &["@builder.io/qwik-city", "@qwik.dev/router"], &["vite.config."], &["qwik"], Pages, None, 3000),
    of("analog", &["@analogjs/platform"], &["vite.config."], &["analog"], Pages, Some("node dist/analog/server/index.mjs"), 3000),
    of("blitz", &["blitz"], &["blitz.config.", "next.config."], &["blitz"], Pages, Some("@blitz start"), 3000),
    of("redwood", &["@redwoodjs/core"], &["redwood.toml", "redwood."], &["rw", "redwood"], Pages, None, 8910),
    of("nitro", &["nitropack", "nitro"], &["nitro.config."], &["nitro", "nitropack"], Pages, NITRO, 3000),
    of("gatsby", &["gatsby"], &["gatsby-config."], &["gatsby"], Files, None, 80),
    of("docusaurus", &["@docusaurus/core"], &["docusaurus.config."], &["docusaurus"], Files, None, 80),
    of("vitepress", &["vitepress"], &[], &["vitepress"], Files, None, 80),
    of("vuepress", &["vuepress"], &[], &["vuepress"], Files, None, 80),
    of("eleventy", &["@11ty/eleventy"], &[".eleventy.", "eleventy.config."], &["eleventy", "@11ty/eleventy"], Files, None, 80),
    of("hexo", &["hexo"], &["_config."], &["hexo"], Files, None, 80),
    of("expo", &["expo"], &["app.json", "app.", "app.config."], &["expo"], Files, None, 80),
    of("angular", &["@angular/core"], &["angular."], &["ng"], Files, None, 80),
    of("strapi", &["@strapi/strapi", "strapi"], &[], &["strapi"], Server, Some("@strapi start"), 1337),
    of("medusa", &["@medusajs/medusa"], &["medusa-config."], &["medusa"], Server, Some("@medusa start"), 9000),
    of("keystone", &["@keystone-6/core"], &["keystone."], &["keystone"], Server, Some("@keystone start"), 3000),
    of("adonis", &["@adonisjs/core"], &["adonisrc.", ".adonisrc.", "ace."], &[], Server, None, 3333),
    of("nestjs", &["@nestjs/core"], &["nest-cli."], &["nest"], Server, Some("node dist/main.js"), 3000),
    of("sails", &["sails"], &[".sailsrc", ".sails"], &["sails"], Server, None, 1337),
    of("loopback", &["@loopback/core", "loopback"], &[".yo-rc."], &[], Server, None, 3000),
    of("cra", &["react-scripts"], &["craco.config.", "config-overrides."], &["react-scripts", "craco", "react-app-rewired"], Files, None, 80),
    of("vue-cli", &["@vue/cli-service"], &["vue.config."], &["vue-cli-service"], Files, None, 80),
    of("ember", &["ember-cli"], &["ember-cli-build."], &["ember"], Files, None, 80),
    of("preact-cli", &["preact-cli"], &["preact.config."], &["preact"], Files, None, 80),
    of("umi", &["umi", "@umijs/max"], &[".umirc."], &["umi", "max"], Files, None, 80),
    of("rsbuild", &["@rsbuild/core"], &["rsbuild.config."], &["rsbuild"], Files, None, 80),
    of("parcel", &["parcel", "parcel-bundler"], &[".parcelrc."], &["parcel"], Files, None, 80),
    of("vite", &["vite", "rolldown-vite"], &["vite.config."], &["vite"], Files, None, 80),
    of("elysia", &["elysia"], &[], &[], Server, None, 3000),
    of("hono", &["hono"], &[], &[], Server, None, 3000),
    of("fastify", &["fastify"], &[], &["fastify"], Server, None, 3000),
    of("express", &["express"], &[], &[], Server, None, 3000),
    of("koa", &["koa"], &[], &[], Server, None, 3000),
    of("hapi", &["@hapi/hapi"], &[], &[], Server, None, 3000),
    of("feathers", &["@feathersjs/feathers"], &[], &[], Server, None, 3030),
    of("restify", &["restify"], &[], &[], Server, None, 3000),
    of("polka", &["polka"], &[], &[], Server, None, 3000),
    of("h3", &["h3"], &[], &[], Server, None, 3000),
    of("apollo", &["@apollo/server", "apollo-server"], &[], &[], Server, None, 4000),
    of("graphql-yoga", &["graphql-yoga"], &[], &[], Server, None, 4000),
    of("socket.io", &["socket.io"], &[], &[], Server, None, 3000),
    of("micro", &["micro"], &[], &["micro"], Server, Some("@micro"), 3000),
    of("moleculer", &["moleculer"], &["moleculer.config."], &["moleculer-runner"], Server, None, 3000),
    of("probot", &["probot"], &[], &["probot"], Server, None, 3000),
    of("hyper-express", &["hyper-express"], &[], &[], Server, None, 3000),
    of("total", &["total4"], &[], &[], Server, None, 8000),
];

impl Framework {
    /// Whether it only listens where code of the project tells it to: it has no command of its own that a script runs.
    pub(super) fn is_library(&self, package: &Package<'_>) -> bool {
        let is_bare = self.kind == Kind::Server && self.start.is_none() && self.configs.is_empty();
        is_bare && !self.commands.iter().any(|command| script::runs(package, command).is_some())
    }
}

/// A framework that is proved.
#[derive(Debug, Clone)]
pub(super) struct Found {
    pub(super) framework: &'static Framework,
    /// The dependency and the marker.
    pub(super) evidence: Vec<Evidence>,
}

/// The frameworks of a package that are proved, the one that is built on others first.
///
/// A server is proved by the code that takes it in; where none does, as where that is made by a build, the only one is
/// proved by a start script that is a server.
pub(super) fn all(package: &Package<'_>, packages: &[&str]) -> Vec<Found> {
    let mut found = proved(package, packages);
    if found.iter().any(|one| one.framework.kind == Kind::Server) {
        return found;
    }
    let started = package.script("start").filter(|(body, _)| script::is_server(package, body));
    let mut servers = ALL.iter().filter(|framework| framework.kind == Kind::Server).filter_map(|framework| {
        let dependency = framework.dependencies.iter().find_map(|name| package.run_dependency(name))?;
        Some((framework, dependency))
    });
    if let (Some((_, at)), Some((framework, dependency)), None) = (started, servers.next(), servers.next()) {
        found.push(Found { framework, evidence: vec![dependency, at] });
    }
    found
}

fn proved(package: &Package<'_>, packages: &[&str]) -> Vec<Found> {
    let found = ALL.iter().filter_map(|framework| {
        let (name, dependency) =
            framework.dependencies.iter().find_map(|name| Some((*name, package.dependency(name)?)))?;
        let marker = marked(package, packages, framework).or_else(|| imported(package, framework, name))?;
        Some(Found { framework, evidence: vec![dependency, marker] })
    });
    found.collect()
}

/// A configuration file, or a script that runs the framework's command.
fn marked(package: &Package<'_>, packages: &[&str], framework: &Framework) -> Option<Evidence> {
    let near = framework.configs.iter().find_map(|start| {
        package
            .tree
            .within(package.root)
            .find(|path| config::is_named(path, start) || path.ends_with(&format!("/{start}")) || path == start)
    });
    let script = || {
        let (_, line) = framework.commands.iter().find_map(|command| script::runs(package, command))?;
        Some(package.line(line))
    };
    let below = || {
        let starts = framework.configs.iter().filter(|start| start.ends_with(".config."));
        starts.filter_map(|start| config::somewhere(package.tree, package.root, packages, start)).next()
    };
    near.map(|file| Evidence::new(file, 1)).or_else(script).or_else(|| below().map(|file| Evidence::new(file, 1)))
}

/// Where code of a package takes in a server: it is a server's only marker.
fn imported(package: &Package<'_>, framework: &Framework, name: &str) -> Option<Evidence> {
    if framework.kind != Kind::Server {
        return None;
    }
    sources(package.tree, package.root).find_map(|file| Some(Evidence::new(file, import(package.tree, file, name)?)))
}

/// The line at which a file takes in a package.
pub(super) fn import(tree: &Tree, file: &str, name: &str) -> Option<u64> {
    let text = tree.text(file)?;
    if !text.contains(name) {
        return None;
    }
    let code = without_comments(text, Syntax::Script);
    [format!("'{name}'"), format!("\"{name}\""), format!("'{name}/"), format!("\"{name}/"), format!("'npm:{name}")]
        .iter()
        .filter_map(|quoted| code.find(quoted.as_str()))
        .min()
        .map(|at| line_of(&code, at))
}

/// The code of a package, not that of its tests and what it was built to.
pub(super) fn sources<'t>(tree: &'t Tree, root: &'t str) -> impl Iterator<Item = &'t str> {
    tree.below(root).filter(move |path| {
        let within = path.strip_prefix(root).unwrap_or(path);
        let is_code = path
            .rsplit_once('.')
            .is_some_and(|(_, end)| matches!(end, "js" | "mjs" | "cjs" | "ts" | "mts" | "cts" | "tsx" | "jsx"));
        let mut parts = within.split('/');
        is_code && !parts.any(|part| matches!(part, "test" | "tests" | "__tests__" | "spec" | "e2e" | "dist" | "build"))
    })
}

/// Whether a file of a package listens, or takes in something that does.
pub(super) fn listens(package: &Package<'_>, file: &str) -> bool {
    joined(package.root, file).is_some_and(|path| calls(package.tree, &path, &["listen(", "serve(", "createServer("]))
}

/// Whether any code of a package listens; bun itself serves what the file that it starts exports.
pub(super) fn any_listens(package: &Package<'_>, is_bun: bool) -> bool {
    let started = script::file(package);
    let exported: &[&str] = if is_bun { &["export default"] } else { &[] };
    let mut files = sources(package.tree, package.root).chain(started.as_deref());
    files.any(|file| calls(package.tree, file, &LISTENING) || calls(package.tree, file, exported))
}

/// Whether code in a file has one of those in it.
fn calls(tree: &Tree, file: &str, calls: &[&str]) -> bool {
    let text = tree.text(file).unwrap_or_default();
    let has = |text: &str| calls.iter().any(|call| text.contains(call));
    has(text) && has(&without_comments(text, Syntax::Script))
}
