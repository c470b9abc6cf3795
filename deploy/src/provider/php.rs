//! PHP.

use crate::{
    fact::{Application, Evidence, Fact, ProviderName},
    provider::{
        Candidate, Provider,
        dir::{Dir, holding, known, runtime},
        needs, tools,
    },
    tree::Tree,
};

/// PHP, with Composer, behind Apache.
#[derive(Debug)]
pub(crate) struct Php;

const MANIFEST: &str = "composer.json";
const LOCK: &str = "composer.lock";
/// Directories that are served rather than the whole, if they have an `index.php`.
const PUBLIC: [&str; 5] = ["public", "web", "webroot", "htdocs", "www"];

/// A framework: what it asks for, the files one of which shows it, what it writes to.
struct Framework {
    package: &'static str,
    name: &'static str,
    markers: &'static [&'static str],
    writable: &'static [&'static str],
}

const FRAMEWORKS: [Framework; 8] = [
    Framework {
        package: "laravel/framework",
        name: "laravel",
        markers: &["artisan", "bootstrap/app.php"],
        writable: &["bootstrap/cache", "storage"],
    },
    Framework {
        package: "laravel/lumen-framework",
        name: "lumen",
        markers: &["artisan", "bootstrap/app.php"],
        writable: &["storage"],
    },
    Framework {
        package: "symfony/framework-bundle",
        name: "symfony",
        markers: &["config/bundles.php", "bin/console"],
        writable: &["var"],
    },
    Framework { package: "slim/slim", name: "slim", markers: &["public/index.php", "index.php"], writable: &[] },
    Framework {
        package: "cakephp/cakephp",
        name: "cakephp",
        markers: &["bin/cake.php", "config/app.php"],
        writable: &["logs", "tmp"],
    },
    Framework { package: "codeigniter4/framework", name: "codeigniter", markers: &["spark"], writable: &["writable"] },
    Framework { package: "yiisoft/yii2", name: "yii", markers: &["yii", "config/web.php"], writable: &["runtime"] },
    Framework { package: "drupal/core-recommended", name: "drupal", markers: &["web/index.php"], writable: &[] },
];

impl Provider for Php {
    fn name(&self) -> ProviderName {
        ProviderName::Php
    }

    #[cfg(test)]
    fn frameworks(&self) -> Vec<&'static str> {
        FRAMEWORKS.iter().map(|framework| framework.name).collect()
    }

    fn looks_for(&self) -> &'static str {
        "composer.json, index.php"
    }

    fn candidates(&self, tree: &Tree) -> Vec<Candidate> {
        let found = holding(tree, |name| matches!(name, MANIFEST | "index.php"));
        found.into_keys().filter_map(|root| candidate(Dir::of(tree, root))).collect()
    }

    fn application(&self, tree: &Tree, chosen: &Candidate) -> Application {
        let dir = Dir::of(tree, &chosen.root);
        let mut app = Application::of(ProviderName::Php, chosen);
        runtime(&mut app, "php", tools::asked(dir, "php").or_else(|| asked(dir)), chosen);
        if let Some((framework, evidence)) = framework(dir) {
            app.framework = known(framework.name.to_owned(), "php.framework", evidence);
            app.writable = framework.writable.iter().map(|path| (*path).to_owned()).collect();
        }
        let managed = dir.locked_by(LOCK);
        let manifest: Vec<Evidence> = dir.seen(MANIFEST).into_iter().collect();
        let evidence = if manifest.is_empty() { chosen.evidence.clone() } else { manifest.clone() };
        app.package_manager = known("composer".to_owned(), "php.composer", evidence).with(managed);
        let required = required(dir);
        if required.iter().any(|(name, _)| name.contains('/')) {
            let install =
                "composer install --no-dev --no-interaction --no-progress --prefer-dist --no-scripts --no-autoloader";
            app.install = known(vec![install.to_owned()], "php.composer", manifest.clone());
            let build = "composer dump-autoload --no-dev --optimize --no-interaction";
            app.build = known(vec![build.to_owned()], "php.composer", manifest);
            let files = [MANIFEST, LOCK, "symfony.lock"].into_iter().filter(|file| dir.has(file));
            app.details.dependency_files = files.map(str::to_owned).collect();
        }
        needs::add(&mut app, ProviderName::Php, required);
        app.details.project_name = dir.json(MANIFEST).and_then(|file| Some(file.text_at(&["name"])?.0.to_owned()));
        if let Some((public, at)) = served(dir) {
            app.output_dir = known(public.to_owned(), "php.index", vec![at.clone()]);
            app.start = Fact::command("apache2-foreground", "php.index", vec![at.clone()]);
            app.port = known(80, "php.apache", vec![at]);
        }
        app
    }
}

fn candidate(dir: Dir<'_>) -> Option<Candidate> {
    let served = served(dir);
    if !dir.has(MANIFEST) {
        // What stands below a manifest, or is what another directory serves, is that one's.
        let inside = dir.upwards(&[MANIFEST]).is_some();
        let (_, at) = served.filter(|(public, _)| !inside && *public == ".")?;
        return Some(Candidate::new(dir.root(), 45, "php.source", vec![at]).with_entry(true));
    }
    let mut evidence: Vec<Evidence> = dir.seen(MANIFEST).into_iter().collect();
    let entry = served.is_some();
    let (score, rule) = match (framework(dir), served) {
        (Some((_, found)), _) => {
            evidence.extend(found);
            (80, "php.framework")
        }
        (None, Some((_, at))) => {
            evidence.push(at);
            (70, "php.composer")
        }
        (None, None) => (60, "php.composer"),
    };
    (!evidence.is_empty()).then(|| Candidate::new(dir.root(), score, rule, evidence).with_entry(entry))
}

/// The framework that a package and a file prove.
fn framework(dir: Dir<'_>) -> Option<(&'static Framework, Vec<Evidence>)> {
    let required = required(dir);
    FRAMEWORKS.iter().find_map(|framework| {
        let (_, asked) = required.iter().find(|(name, _)| name == framework.package)?;
        let marker = framework.markers.iter().find_map(|file| dir.seen(file))?;
        Some((framework, vec![asked.clone(), marker]))
    })
}

/// The directory that is served, and its index.
fn served(dir: Dir<'_>) -> Option<(&'static str, Evidence)> {
    let public = PUBLIC.iter().find_map(|public| Some((*public, dir.seen(&format!("{public}/index.php"))?)));
    public.or_else(|| Some((".", dir.seen("index.php")?)))
}

/// What is required for running, in small letters.
fn required(dir: Dir<'_>) -> Vec<(String, Evidence)> {
    let table = dir.json(MANIFEST).and_then(|file| file.get("require"));
    let entries = table.map(|table| table.entries()).unwrap_or_default();
    entries.iter().map(|entry| (entry.key.to_ascii_lowercase(), dir.at(MANIFEST, entry.line))).collect()
}

/// The version that the manifest asks for.
fn asked(dir: Dir<'_>) -> Option<tools::Asked> {
    let file = dir.json(MANIFEST)?;
    let at = |path: &[&str], rule| {
        let (version, line) = file.text_at(path)?;
        Some((version.to_owned(), rule, dir.at(MANIFEST, line)))
    };
    at(&["config", "platform", "php"], "php.platform").or_else(|| at(&["require", "php"], "php.require"))
}
