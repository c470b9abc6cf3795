//! Gleam.

use crate::{
    code::{Code, Syntax},
    fact::{Application, Evidence, Fact, ProviderName},
    provider::{
        Candidate, Provider,
        dir::{Dir, holding, known, runtime},
        needs, tools,
    },
    tree::Tree,
};

/// Gleam, as a shipment for Erlang.
#[derive(Debug)]
pub(crate) struct Gleam;

const MANIFEST: &str = "gleam.toml";
const LOCK: &str = "manifest.toml";

impl Provider for Gleam {
    fn name(&self) -> ProviderName {
        ProviderName::Gleam
    }

    #[cfg(test)]
    fn frameworks(&self) -> Vec<&'static str> {
        vec!["wisp"]
    }

    fn looks_for(&self) -> &'static str {
        MANIFEST
    }

    fn candidates(&self, tree: &Tree) -> Vec<Candidate> {
        holding(tree, |name| name == MANIFEST).into_keys().filter_map(|root| candidate(Dir::of(tree, root))).collect()
    }

    fn application(&self, tree: &Tree, chosen: &Candidate) -> Application {
        let dir = Dir::of(tree, &chosen.root);
        let mut app = Application::of(ProviderName::Gleam, chosen);
        let file = dir.toml(MANIFEST);
        let in_manifest = file.and_then(|file| file.text_at(&["gleam"]));
        let in_manifest = in_manifest.map(|(asked, line)| (asked.to_owned(), "gleam.manifest", dir.at(MANIFEST, line)));
        runtime(&mut app, "gleam", tools::asked(dir, "gleam").or(in_manifest), chosen);
        let managed = dir.locked_by(LOCK);
        let manifest: Vec<Evidence> = dir.seen(MANIFEST).into_iter().collect();
        app.package_manager = known("gleam".to_owned(), "gleam.manifest", manifest.clone()).with(managed);
        app.install = known(vec!["gleam deps download".to_owned()], "gleam.manifest", manifest.clone());
        app.details.dependency_files =
            [MANIFEST, LOCK].into_iter().filter(|name| dir.has(name)).map(str::to_owned).collect();
        app.build = known(vec!["gleam export erlang-shipment".to_owned()], "gleam.manifest", manifest.clone());
        let evidence = entry(dir).map(|at| vec![at]).unwrap_or(manifest);
        app.start = Fact::command("./build/erlang-shipment/entrypoint.sh run", "gleam.shipment", evidence);
        app.details.artifact = Some("build/erlang-shipment".to_owned());
        let dependencies =
            file.and_then(|file| file.get("dependencies")).map(|table| table.entries()).unwrap_or_default();
        let asked = dependencies.iter().map(|entry| (entry.key.clone(), dir.at(MANIFEST, entry.line)));
        needs::add(&mut app, ProviderName::Gleam, asked.clone());
        if let Some((_, at)) = asked.clone().find(|(name, _)| name == "wisp")
            && let Some(used) = imports(dir, "wisp")
        {
            app.framework = known("wisp".to_owned(), "gleam.framework", vec![at, used]);
        }
        app.details.project_name = name(dir);
        app
    }
}

fn candidate(dir: Dir<'_>) -> Option<Candidate> {
    let mut evidence: Vec<Evidence> = dir.seen(MANIFEST).into_iter().collect();
    let entry = entry(dir);
    let (score, is_entry) = if entry.is_some() { (70, true) } else { (60, false) };
    evidence.extend(entry);
    (!evidence.is_empty()).then(|| Candidate::new(dir.root(), score, "gleam.manifest", evidence).with_entry(is_entry))
}

fn name(dir: Dir<'_>) -> Option<String> {
    Some(dir.toml(MANIFEST)?.text_at(&["name"])?.0.to_owned())
}

/// The main function of the module that has the project's name.
fn entry(dir: Dir<'_>) -> Option<Evidence> {
    let file = format!("src/{}.gleam", name(dir)?);
    let code = Code::of(dir.text(&file)?, Syntax::Rust);
    let at = code.bare().find("pub fn main")?;
    Some(dir.at(&file, code.line(at)))
}

/// Where a module of a package is imported.
fn imports(dir: Dir<'_>, package: &str) -> Option<Evidence> {
    dir.sources(&[".gleam"]).into_iter().find_map(|file| {
        let lines = (1..).zip(dir.text(file)?.lines());
        let found = lines.into_iter().find(|(_, line)| {
            line.strip_prefix("import ").is_some_and(|rest| rest.split(['/', '.', ' ']).next() == Some(package))
        });
        found.map(|(line, _)| dir.at(file, line))
    })
}
