//! JavaScript: with npm, pnpm, yarn or bun, as a server or a site.

use super::super::{
    draft::{self, BUILD, Draft, HOME},
    site,
};
use crate::{
    fact::{Application, Assets, Fact, Managed, ProviderName, Requested},
    plan::{Error, Plan},
};

/// Where package managers stand that the base does not have.
const TOOLS: &str = "/opt/tools";
/// That and what every Debian has.
const PATH: &str = "/opt/tools/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// A package manager: its name, its package, the version where none is asked for, and how development dependencies go.
type Manager = (&'static str, &'static str, &'static str, &'static [&'static str]);
/// Those that there are. The yarn of today is the second of its name.
const MANAGERS: [Manager; 5] = [
    ("npm", "", "", &["npm", "prune", "--omit=dev"]),
    ("pnpm", "pnpm", "9.15.9", &["pnpm", "install", "--prod", "--frozen-lockfile", "--ignore-scripts"]),
    ("yarn", "yarn", "1.22.22", &["yarn", "install", "--production", "--frozen-lockfile", "--ignore-scripts"]),
    ("berry", "@yarnpkg/cli-dist", "4.9.2", &["yarn", "workspaces", "focus", "--all", "--production"]),
    ("bun", "", "", &["/bin/sh", "-c", "rm -rf node_modules && exec bun install --frozen-lockfile --production"]),
];

pub(super) fn plan(app: &Application) -> Result<Plan, Error> {
    let manager = manager(&app.package_manager, &app.install);
    let base = base(manager, &app.runtime);
    let is_site = app.output_dir.is_known() && app.start.more.argv.first().is_some_and(|word| word == "caddy");
    let last = if is_site { draft::plain("static") } else { base.clone() };
    let mut draft = Draft::new(app, base, last);
    let has_tool = tool(&mut draft, BUILD, manager, &app.package_manager);
    draft.install_first(BUILD, &app.details.dependency_files, "", &app.install);
    let member = draft.member();
    draft.commands(BUILD, &member, &app.build);
    draft.ignore(&["**/.next", "**/.nuxt", "**/.turbo", "**/npm-debug.log*"]);
    if is_site {
        let directory = app.output_dir.value.as_deref().unwrap_or_default();
        site::built(&mut draft, directory);
        return draft.done();
    }
    // npm takes away by what it installed; the others install again, by a lock file.
    let can_prune = app.package_manager.more.locked || manager.0 == "npm";
    if app.install.value.as_ref().is_some_and(|install| !install.is_empty())
        && can_prune
        && !app.details.keeps_development
    {
        draft.run(BUILD, manager.3.iter().map(|word| (*word).to_owned()).collect(), None);
    }
    draft.copy("app", Some(BUILD), &[HOME], HOME);
    if has_tool {
        draft.copy("app", Some(BUILD), &[TOOLS], TOOLS);
        draft.env("PATH", PATH);
    }
    draft.env("NODE_ENV", "production");
    draft.done()
}

/// Builds what the application serves, by the toolchain of its assets, then the application itself, and puts all of it into the
/// image. What it needs is installed by then.
pub(super) fn built_with_assets(draft: &mut Draft<'_>, member: &str) {
    let app = draft.app;
    if let Some(found) = &app.assets
        && let Some((from, to)) = assets(draft, found)
    {
        draft.copy(BUILD, Some("assets"), &[&from], &to);
    }
    draft.commands(BUILD, member, &app.build);
    draft.copy("app", Some(BUILD), &[HOME], HOME);
}

/// The stage in which the assets of an application are built, and where they stand then.
fn assets(draft: &mut Draft<'_>, assets: &Assets) -> Option<(String, String)> {
    if assets.provider != ProviderName::Node {
        return None;
    }
    let manager = manager(&assets.package_manager, &assets.install);
    draft.stage("assets", base(manager, &assets.runtime));
    tool(draft, "assets", manager, &assets.package_manager);
    draft.copy("assets", None, &["."], "./");
    // They stand in the directory of what serves them.
    let member = draft.member();
    draft.commands("assets", &member, &assets.install);
    draft.commands("assets", &member, &assets.build);
    let Some(output) = assets.output_dir.value.as_deref() else {
        // Whatever it made, and wherever: all but the packages.
        draft.run("assets", draft::shell("rm -rf \"$1\"", [format!("{HOME}/{member}/node_modules")]), None);
        return Some((HOME.to_owned(), "./".to_owned()));
    };
    let output = output.trim_matches('/');
    let parts = [member.as_str(), output].into_iter().filter(|part| !matches!(*part, "" | "."));
    let below = parts.collect::<Vec<_>>().join("/");
    Some((format!("{HOME}/{below}"), format!("./{below}")))
}

/// The manager of an application. The yarn of today is known by its version, or by how it installs.
fn manager(fact: &Fact<String, Managed>, install: &Fact<Vec<String>>) -> Manager {
    let name = fact.value.as_deref().unwrap_or("npm");
    let version = fact.more.version.as_deref().map(|version| version.trim_start_matches(['^', '~', '>', '=', 'v']));
    let is_new = match version {
        Some(version) => !version.starts_with('1') && is_exact(version.split(['-', ' ']).next().unwrap_or_default()),
        None => install.value.iter().flatten().any(|command| command.contains("--immutable")),
    };
    let name = if name == "yarn" && is_new { "berry" } else { name };
    MANAGERS.into_iter().find(|(known, ..)| *known == name).unwrap_or(MANAGERS[0])
}

/// What runs it; bun's version is that of the runtime.
fn base(manager: Manager, runtime: &Fact<String, Requested>) -> crate::plan::Base {
    draft::base(if manager.0 == "bun" { "bun" } else { "node" }, Some(runtime))
}

/// Installs a package manager that the base does not have; whether it did.
fn tool(draft: &mut Draft<'_>, stage: &str, manager: Manager, fact: &Fact<String, Managed>) -> bool {
    let (_, package, usual, _) = manager;
    draft.stage_env(stage, "CI", "1");
    if package.is_empty() {
        return false;
    }
    let version = fact.more.version.as_deref().filter(|version| is_exact(version)).unwrap_or(usual);
    let package = format!("{package}@{version}");
    let words = ["npm", "install", "--global", "--prefix", TOOLS, &package].map(str::to_owned);
    draft.run(stage, words.to_vec(), draft::because(fact));
    draft.stage_env(stage, "PATH", PATH);
    true
}

/// Whether a version is one, and no range.
fn is_exact(version: &str) -> bool {
    let is_digits = |part: &str| !part.is_empty() && part.chars().all(|c| c.is_ascii_digit());
    version.split('.').count() <= 3 && version.split('.').all(is_digits)
}
