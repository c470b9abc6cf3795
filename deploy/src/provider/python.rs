//! Python.

mod manager;
mod object;
mod project;
mod requirement;
mod start;

use project::Project;

use crate::{
    fact::{Application, ProviderName},
    provider::{
        Candidate, Provider,
        dir::{Dir, holding, known, runtime},
        needs, tools,
    },
    tree::Tree,
};

/// Python, with pip, uv, Poetry, PDM and Pipenv.
#[derive(Debug)]
pub(crate) struct Python;

/// Names of a source file that stands for a program.
const LONE: [&str; 5] = ["main.py", "app.py", "server.py", "bot.py", "run.py"];

impl Provider for Python {
    fn name(&self) -> ProviderName {
        ProviderName::Python
    }

    fn entries(&self) -> &'static [&'static str] {
        &[".py"]
    }

    #[cfg(test)]
    fn frameworks(&self) -> Vec<&'static str> {
        object::frameworks().chain(start::frameworks()).collect()
    }

    fn looks_for(&self) -> &'static str {
        "pyproject.toml, requirements.txt, Pipfile, setup.py, manage.py, main.py"
    }

    fn candidates(&self, tree: &Tree) -> Vec<Candidate> {
        let named = |name: &str| {
            LONE.contains(&name)
                || matches!(
                    name,
                    "pyproject.toml" | "Pipfile" | "setup.py" | "setup.cfg" | "manage.py" | "uv.lock" | "poetry.lock"
                )
                || (name.starts_with("requirements") && (name.ends_with(".txt") || name.ends_with(".in")))
        };
        let mut roots: Vec<&str> = holding(tree, named).into_keys().collect();
        // `requirements/base.txt` speaks of the directory above.
        let lists = tree.directories().filter(|root| crate::tree::file_name(root) == "requirements");
        roots.extend(lists.map(crate::tree::parent));
        roots.sort_unstable();
        roots.dedup();
        roots.into_iter().filter_map(|root| candidate(Dir::of(tree, root))).collect()
    }

    fn application(&self, tree: &Tree, chosen: &Candidate) -> Application {
        let project = Project::read(Dir::of(tree, &chosen.root));
        let mut app = Application::of(ProviderName::Python, chosen);
        let mut start = start::find(&project);
        if let (None, Some(wanted)) = (&start.command, &chosen.wanted) {
            start = start::by_entry(&project, wanted).unwrap_or(start);
        }
        let asked = tools::asked(project.dir, "python").or_else(|| project.python());
        runtime(&mut app, "python", asked, chosen);
        start::add(&mut app, &start);
        manager::add(&mut app, &project, &start.servers);
        let mut build = manager::own_packages(&project);
        build.extend(start.installs_itself.then(|| "pip install --no-deps .".to_owned()));
        if !build.is_empty() {
            app.build = known(build, "python.packaged", chosen.evidence.clone());
        }
        needs::add(&mut app, ProviderName::Python, project.dependencies());
        app.details.project_name = project.name();
        app
    }
}

fn candidate(dir: Dir<'_>) -> Option<Candidate> {
    let workspace = dir.upwards(&["uv.lock"]).map(|(dir, _)| dir.root().to_owned());
    let Some(manifest) = project::manifest(dir) else {
        let file = dir.first(&LONE)?;
        return Some(Candidate::new(dir.root(), 45, "python.source", vec![dir.seen(file)?]).with_entry(true));
    };
    let project = Project::read(dir);
    let found = start::find(&project);
    let mut evidence: Vec<_> = dir.seen(manifest).into_iter().collect();
    let entry = found.command.is_some();
    let (score, rule) = match (&found.framework, &found.command) {
        (Some((_, rule, framework)), _) => {
            evidence.extend(framework.iter().cloned());
            (80, *rule)
        }
        (None, Some((_, _, command))) => {
            evidence.extend(command.iter().cloned());
            (70, "python.manifest")
        }
        (None, None) => (60, "python.manifest"),
    };
    if evidence.is_empty() {
        // A manifest that is empty: something beside it has a line.
        evidence.extend(dir.below().filter(|file| file.ends_with(".py")).find_map(|file| dir.seen(file)));
    }
    evidence.sort();
    evidence.dedup();
    (!evidence.is_empty())
        .then(|| Candidate::new(dir.root(), score, rule, evidence).with_entry(entry).in_workspace(workspace))
}

#[cfg(test)]
mod tests;
