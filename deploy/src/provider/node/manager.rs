//! Which program manages a package's dependencies.

use super::package::Package;
use crate::{
    Warning,
    fact::{Evidence, Fact, Managed},
    words::quoted,
};

/// Package managers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Manager {
    Npm,
    Pnpm,
    Yarn,
    Bun,
}

/// Lock files, those of a better claim first.
const LOCKS: [(&str, Manager); 6] = [
    ("pnpm-lock.yaml", Manager::Pnpm),
    ("bun.lock", Manager::Bun),
    ("bun.lockb", Manager::Bun),
    ("yarn.lock", Manager::Yarn),
    ("package-lock.json", Manager::Npm),
    ("npm-shrinkwrap.json", Manager::Npm),
];
const ALL: [Manager; 4] = [Manager::Pnpm, Manager::Bun, Manager::Yarn, Manager::Npm];
/// What else an install reads, where it is there.
const SETTINGS: [&str; 7] =
    [".npmrc", ".yarnrc", ".yarnrc.yml", "pnpm-workspace.yaml", "bunfig.toml", ".pnpmfile.cjs", "lerna.json"];

impl Manager {
    /// As people call it.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Npm => "npm",
            Self::Pnpm => "pnpm",
            Self::Yarn => "yarn",
            Self::Bun => "bun",
        }
    }

    /// How it runs a script.
    pub(super) fn run(self, script: &str) -> String {
        format!("{} run {script}", self.name())
    }

    /// How it runs a command of a package that is installed.
    pub(super) fn command(self, command: &str) -> String {
        let prefix = match self {
            Self::Npm => "npx",
            Self::Pnpm => "pnpm exec",
            Self::Yarn => "yarn run",
            Self::Bun => "bunx",
        };
        format!("{prefix} {command}")
    }

    /// How it runs a file.
    pub(super) fn file(self, file: &str) -> String {
        format!("{} {}", if self == Self::Bun { "bun" } else { "node" }, quoted(file))
    }
}

/// A manager and what speaks for it.
#[derive(Debug, Clone)]
pub(super) struct Managing {
    pub(super) manager: Manager,
    pub(super) fact: Fact<String, Managed>,
    /// The commands of an install.
    pub(super) install: Fact<Vec<String>>,
    /// What an install reads, relative to the tree's root.
    pub(super) files: Vec<String>,
    pub(super) warnings: Vec<Warning>,
}

/// What manages a package, or the workspace that it is of.
pub(super) fn of(package: &Package<'_>) -> Managing {
    let locks: Vec<(String, Manager)> = LOCKS
        .iter()
        .filter(|(file, _)| package.has(file))
        .map(|(file, manager)| (package.path(file), *manager))
        .collect();
    let (manager, rule, version, at) = claimed(package, &locks);
    let lock = locks.iter().find(|(_, of)| *of == manager).map(|(file, _)| file.clone());
    let mut warnings = Vec::new();
    for (file, other) in locks.iter().filter(|(_, other)| *other != manager) {
        let chosen = lock.as_deref().map_or_else(|| format!("{}:{}", at.file, at.line), str::to_owned);
        let message = format!(
            "{file} is a lock file of {}, but {} is used, which {chosen} speaks for: remove one of both",
            other.name(),
            manager.name()
        );
        warnings.push(Warning::new("lock.two", Evidence::new(file.clone(), 1), message));
    }
    let proof: Vec<Evidence> = lock.iter().map(|file| Evidence::new(file.clone(), 1)).collect();
    let install = Fact::known(
        vec![install(package, manager, version.as_deref(), lock.as_deref()).to_owned()],
        if lock.is_some() { "node.install-locked" } else { "node.install" },
        if proof.is_empty() { vec![at.clone()] } else { proof },
    );
    let settings = SETTINGS.iter().filter(|file| package.has(file)).map(|file| package.path(file));
    let files = lock.iter().cloned().chain(settings).collect();
    let locked = lock.is_some();
    let fact = Fact::known(manager.name().to_owned(), rule, vec![at]).with(Managed { version, lock, locked });
    Managing { manager, fact, install, files, warnings }
}

/// The best claim: which manager, by which rule, which version, where.
fn claimed(package: &Package<'_>, locks: &[(String, Manager)]) -> (Manager, &'static str, Option<String>, Evidence) {
    if let Some((text, at)) = package.text(&["packageManager"]) {
        let (name, version) = text.split_once('@').unwrap_or((text, ""));
        if let Some(manager) = ALL.into_iter().find(|manager| manager.name() == name.trim()) {
            // Behind the plus stands a hash.
            let version = version.split('+').next().unwrap_or_default().trim();
            return (manager, "node.package-manager", (!version.is_empty()).then(|| version.to_owned()), at);
        }
    }
    let asked = |manager: Manager| {
        let entry = package.at(&["engines"])?.entry(manager.name())?;
        Some((entry.node.text().unwrap_or_default().to_owned(), package.line(entry.line)))
    };
    if let Some((file, manager)) = locks.first() {
        let version = asked(*manager).map(|(version, _)| version);
        return (*manager, "node.lock", version, Evidence::new(file.clone(), 1));
    }
    for manager in ALL {
        if let Some((version, at)) = asked(manager) {
            return (manager, "node.engines", Some(version), at);
        }
    }
    let workspace = package.path("pnpm-workspace.yaml");
    if package.tree.has(&workspace) {
        return (Manager::Pnpm, "node.pnpm-workspace", None, Evidence::new(workspace, 1));
    }
    (Manager::Npm, "node.default-manager", None, package.line(1))
}

fn install(package: &Package<'_>, manager: Manager, version: Option<&str>, lock: Option<&str>) -> &'static str {
    let is_locked = lock.is_some();
    match manager {
        Manager::Npm if is_locked => "npm ci",
        Manager::Npm => "npm install",
        Manager::Pnpm if is_locked => "pnpm install --frozen-lockfile",
        Manager::Pnpm => "pnpm install",
        Manager::Yarn if !is_locked => "yarn install",
        Manager::Yarn if is_berry(package, version) => "yarn install --immutable",
        Manager::Yarn => "yarn install --frozen-lockfile",
        Manager::Bun if is_locked => "bun install --frozen-lockfile",
        Manager::Bun => "bun install",
    }
}

/// Whether yarn is of the line that has other options: 2 and later.
fn is_berry(package: &Package<'_>, version: Option<&str>) -> bool {
    let named = |version: &str| -> Option<u32> {
        version.trim_start_matches(['^', '~', '>', '=', 'v']).split('.').next()?.parse().ok()
    };
    match version.and_then(named) {
        Some(major) => major >= 2,
        None => {
            let lock = package.tree.text(&package.path("yarn.lock")).unwrap_or_default();
            package.has(".yarnrc.yml") || lock.lines().any(|line| line.starts_with("__metadata:"))
        }
    }
}
