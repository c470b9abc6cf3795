//! What a project of Python says of itself: its manifests and what they ask for.

use std::collections::BTreeSet;

use crate::{
    code::{Code, Syntax},
    fact::Evidence,
    provider::{
        dir::Dir,
        python::requirement::{self, Requirement},
    },
};

/// Files of requirements that are installed for running, the first that exists.
const LISTS: [&str; 8] = [
    "requirements.txt",
    "requirements/production.txt",
    "requirements/prod.txt",
    "requirements/base.txt",
    "requirements/requirements.txt",
    "requirements-prod.txt",
    "requirements.in",
    "requirements/main.txt",
];
/// Most files of requirements that name each other.
const MOST: usize = 32;

/// A project of Python.
#[derive(Debug)]
pub(crate) struct Project<'t> {
    pub(crate) dir: Dir<'t>,
    /// What it asks for, each with the file it stands in, relative to the project.
    asked: Vec<(Requirement, String)>,
    /// The file of requirements that is installed.
    pub(crate) list: Option<&'static str>,
    /// Further files that it names.
    pub(crate) further: Vec<String>,
}

/// Whether a directory has a manifest of Python: more than the settings of tools.
pub(crate) fn manifest(dir: Dir<'_>) -> Option<&'static str> {
    let names = ["Pipfile", "Pipfile.lock", "uv.lock", "poetry.lock", "pdm.lock", "setup.py", "manage.py"];
    let project = dir.toml("pyproject.toml").is_some_and(|file| {
        let tool = |name: &str| file.at(&["tool", name]).is_some();
        file.get("project").is_some() || tool("poetry") || tool("pdm") || tool("uv") || tool("flit")
    });
    let setup = || dir.text("setup.cfg").is_some_and(|text| text.lines().any(|line| line.trim() == "[metadata]"));
    // One that cannot be read is there all the same.
    let unread = || dir.has("pyproject.toml") && dir.toml("pyproject.toml").is_none();
    if project || unread() {
        return Some("pyproject.toml");
    }
    dir.first(&LISTS).or_else(|| dir.first(&names)).or_else(|| setup().then_some("setup.cfg"))
}

impl<'t> Project<'t> {
    /// Reads the manifests of a directory.
    pub(crate) fn read(dir: Dir<'t>) -> Self {
        let mut project = Self { dir, asked: Vec::new(), list: dir.first(&LISTS), further: Vec::new() };
        project.read_lists();
        project.read_pyproject();
        project.read_pipfile();
        project.read_setup();
        project
    }

    fn read_lists(&mut self) {
        let mut seen = BTreeSet::new();
        let mut todo: Vec<String> = self.list.iter().map(|list| (*list).to_owned()).collect();
        while let (Some(file), true) = (todo.pop(), seen.len() < MOST) {
            if !seen.insert(file.clone()) {
                continue;
            }
            let Some(text) = self.dir.text(&file) else { continue };
            let listed = requirement::list(text);
            self.asked.extend(listed.requirements.into_iter().map(|found| (found, file.clone())));
            let beside = crate::tree::parent(&file);
            for name in listed.files.iter().filter_map(|name| crate::tree::joined(beside, name)) {
                if self.dir.has(&name) {
                    self.further.push(name.clone());
                    todo.push(name);
                }
            }
        }
    }

    fn read_pyproject(&mut self) {
        const FILE: &str = "pyproject.toml";
        let Some(file) = self.dir.toml(FILE) else { return };
        let listed = file.at(&["project", "dependencies"]).map(|node| node.items()).unwrap_or_default();
        let listed = listed.iter().filter_map(|item| requirement::parse(item.text()?, item.line));
        let poetry = file.at(&["tool", "poetry", "dependencies"]).map(|node| node.entries()).unwrap_or_default();
        let poetry = poetry.iter().filter(|entry| entry.key != "python").filter_map(|entry| {
            let mut found = requirement::parse(&entry.key, entry.line)?;
            let extras = entry.node.get("extras").map(|node| node.items()).unwrap_or_default();
            found.extras = extras.iter().filter_map(|extra| Some(extra.text()?.to_owned())).collect();
            Some(found)
        });
        self.asked.extend(listed.chain(poetry).map(|found| (found, FILE.to_owned())));
    }

    fn read_pipfile(&mut self) {
        let packages = self.dir.toml("Pipfile").and_then(|file| file.get("packages"));
        let entries = packages.map(|node| node.entries()).unwrap_or_default();
        let found = entries.iter().filter_map(|entry| requirement::parse(&entry.key, entry.line));
        self.asked.extend(found.map(|found| (found, "Pipfile".to_owned())));
    }

    /// `install_requires` of `setup.py`, as strings in its brackets, and of `setup.cfg`, line by line.
    fn read_setup(&mut self) {
        const WORD: &str = "install_requires";
        if let Some(text) = self.dir.text("setup.py") {
            let code = Code::of(text, Syntax::Hash);
            if let Some(at) = code.word(WORD) {
                let end = code.bare().get(at..).and_then(|rest| rest.find(']')).map_or(text.len(), |end| at + end);
                let mut next = at;
                while let Some((value, start)) = code.string_from(next).filter(|(_, start)| *start < end) {
                    let found = requirement::parse(value, code.line(start));
                    self.asked.extend(found.map(|found| (found, "setup.py".to_owned())));
                    next = start + value.len() + 1;
                }
            }
        }
        let lines = (1..).zip(self.dir.text("setup.cfg").unwrap_or_default().lines());
        let lines = lines.skip_while(|(_, line)| !line.trim_start().starts_with(WORD));
        for (number, line) in lines.take_while(|(_, line)| line.starts_with([' ', '\t']) || line.starts_with(WORD)) {
            let value = line.trim().strip_prefix(WORD).map_or(line, |rest| rest.trim_start_matches([' ', '=']));
            self.asked.extend(requirement::parse(value, number).map(|found| (found, "setup.cfg".to_owned())));
        }
    }

    /// Where a distribution is asked for, by its normalised name.
    pub(crate) fn dependency(&self, name: &str) -> Option<Evidence> {
        let (found, file) = self.asked.iter().find(|(found, _)| found.name == name)?;
        Some(self.dir.at(file, found.line))
    }

    /// Whether a distribution is asked for with one of those extras.
    pub(crate) fn with_extra(&self, name: &str, extras: &[&str]) -> bool {
        let wanted = |found: &Requirement| {
            found.name == name && found.extras.iter().any(|extra| extras.contains(&extra.as_str()))
        };
        self.asked.iter().any(|(found, _)| wanted(found))
    }

    /// All that is asked for: names, and where.
    pub(crate) fn dependencies(&self) -> Vec<(String, Evidence)> {
        self.asked.iter().map(|(found, file)| (found.name.clone(), self.dir.at(file, found.line))).collect()
    }

    /// Whether each requirement of the list has its version and digests.
    pub(crate) fn is_hashed(&self) -> bool {
        let mut listed = self.asked.iter().filter(|(_, file)| file.ends_with(".txt")).peekable();
        listed.peek().is_some() && listed.all(|(found, _)| found.hashed)
    }

    /// Whether it can be installed as a distribution itself.
    pub(crate) fn is_packaged(&self) -> bool {
        let pyproject = self.dir.toml("pyproject.toml");
        self.dir.has("setup.py") || pyproject.is_some_and(|file| file.get("build-system").is_some())
    }

    /// The first script that it installs, and where it stands.
    pub(crate) fn script(&self) -> Option<(String, Evidence)> {
        let file = self.dir.toml("pyproject.toml")?;
        let scripts = file.at(&["project", "scripts"]).or_else(|| file.at(&["tool", "poetry", "scripts"]))?;
        let name =
            file.at(&["project", "name"]).or_else(|| file.at(&["tool", "poetry", "name"])).and_then(|name| name.text());
        let same = |key: &str| name.is_some_and(|name| requirement::normalised(name) == requirement::normalised(key));
        let entries = scripts.entries();
        let entry = entries.iter().find(|entry| same(&entry.key)).or_else(|| entries.first())?;
        Some((entry.key.clone(), self.dir.at("pyproject.toml", entry.line)))
    }

    /// What it is called.
    pub(crate) fn name(&self) -> Option<String> {
        let file = self.dir.toml("pyproject.toml")?;
        let name = file.at(&["project", "name"]).or_else(|| file.at(&["tool", "poetry", "name"]))?;
        Some(name.text()?.to_owned())
    }

    /// The version of Python that its manifests ask for.
    pub(crate) fn python(&self) -> Option<(String, &'static str, Evidence)> {
        let in_toml = |file: &str, path: &[&str], rule| {
            let (version, line) = self.dir.toml(file)?.text_at(path)?;
            Some((version.to_owned(), rule, self.dir.at(file, line)))
        };
        in_toml("pyproject.toml", &["project", "requires-python"], "python.requires-python")
            .or_else(|| in_toml("pyproject.toml", &["tool", "poetry", "dependencies", "python"], "python.poetry"))
            .or_else(|| in_toml("Pipfile", &["requires", "python_full_version"], "python.pipfile"))
            .or_else(|| in_toml("Pipfile", &["requires", "python_version"], "python.pipfile"))
    }
}
