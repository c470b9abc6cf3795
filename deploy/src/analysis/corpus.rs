//! What the analysis says of the projects in `corpus`, which are described there.

use std::{fs, path::Path};

use serde_json::{Value, json};

use super::{Analysis, Options, analyze};
use crate::Tree;

/// A project as one file describes it.
pub(super) struct Project {
    pub(super) name: String,
    expected: Value,
    pub(super) files: Vec<(String, Vec<u8>)>,
}

impl Project {
    fn parse(name: &str, text: &str) -> Self {
        let mut expected = None;
        let mut files: Vec<(String, String, String)> = Vec::new();
        for line in text.lines() {
            if let Some(header) = line.strip_prefix("-- ").and_then(|rest| rest.strip_suffix(" --")) {
                let (path, how) = header.split_once(' ').unwrap_or((header, ""));
                files.push((path.to_owned(), how.to_owned(), String::new()));
            } else if let Some((_, _, content)) = files.last_mut() {
                content.push_str(line);
                content.push('\n');
            } else if let Some(json) = line.strip_prefix("expect ") {
                expected = Some(serde_json::from_str(json).unwrap_or_else(|error| panic!("{name}: {error}: {json}")));
            }
        }
        let files = files.into_iter().map(|(path, how, content)| (path, written(&how, content))).collect();
        Self { name: name.to_owned(), expected: expected.unwrap_or_else(|| panic!("{name} expects nothing")), files }
    }

    /// Its directory.
    pub(super) fn written(&self) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for (path, content) in &self.files {
            let path = dir.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, content).unwrap();
        }
        dir
    }

    /// What it is said to be, in the form of what is expected.
    fn facts(&self) -> Value {
        let dir = self.written();
        let tree = Tree::read(dir.path()).unwrap();
        match analyze(&tree, &Options::default()) {
            Ok(analysis) => facts(&analysis),
            Err(_) => json!({"nothing": true}),
        }
    }
}

/// All of them.
pub(super) fn all() -> Vec<Project> {
    projects("corpus").into_iter().chain(projects("corpus/adversarial")).collect()
}

fn written(how: &str, content: String) -> Vec<u8> {
    match how {
        "crlf" => content.replace('\n', "\r\n").into_bytes(),
        "bom" => format!("\u{feff}{content}").into_bytes(),
        "utf16" => [0xff, 0xfe].into_iter().chain(content.encode_utf16().flat_map(u16::to_le_bytes)).collect(),
        "latin1" => content.chars().map(|character| u8::try_from(u32::from(character)).unwrap()).collect(),
        "bare" => content.trim_end_matches('\n').as_bytes().to_vec(),
        "" => content.into_bytes(),
        other => panic!("there is no way to write {other:?}"),
    }
}

fn facts(analysis: &Analysis) -> Value {
    let application = analysis.primary().unwrap();
    let names = analysis.applications.iter().map(|one| one.name.as_str());
    let alternatives = application.alternatives.iter().map(|other| {
        let role = serde_json::to_value(other.role).unwrap();
        format!("{} {}", other.provider, role.as_str().unwrap())
    });
    json!({
        "provider": application.provider.value,
        "framework": application.framework.value,
        "runtime": application.runtime.value,
        "package_manager": application.package_manager.value,
        "install": application.install.value,
        "build": application.build.value,
        "start": application.start.value,
        "release": application.release.value,
        "port": application.port.value,
        "output_dir": application.output_dir.value,
        "dockerfile": application.dockerfile.value,
        "ambiguous": application.ambiguous,
        "primary": analysis.primary,
        "applications": names.collect::<Vec<_>>(),
        "assets": application.assets.as_ref().and_then(|assets| assets.package_manager.value.clone()),
        "env": application.env.iter().map(|one| one.name.as_str()).collect::<Vec<_>>(),
        "services": application.services.iter().map(|one| one.name.as_str()).collect::<Vec<_>>(),
        "alternatives": alternatives.collect::<Vec<_>>(),
        "warnings": analysis.warnings.iter().map(|one| one.code.as_str()).collect::<Vec<_>>(),
        "nothing": false,
    })
}

fn projects(directory: &str) -> Vec<Project> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join(directory);
    let entries = fs::read_dir(&directory).unwrap().map(|entry| entry.unwrap().path());
    let files = entries.filter(|path| path.extension().is_some_and(|extension| extension == "txt"));
    let mut projects: Vec<Project> = files
        .map(|path| Project::parse(path.file_stem().unwrap().to_str().unwrap(), &fs::read_to_string(&path).unwrap()))
        .collect();
    projects.sort_by(|one, other| one.name.cmp(&other.name));
    projects
}

/// What of the projects is said otherwise than expected.
fn misses(projects: &[Project]) -> Vec<String> {
    let mut misses = Vec::new();
    for project in projects {
        let facts = project.facts();
        for (key, expected) in project.expected.as_object().unwrap() {
            let said = facts.get(key).unwrap_or(&Value::Null);
            if said != expected {
                misses.push(format!("{}: {key} is {said}, not {expected}", project.name));
            }
        }
    }
    misses
}

#[test]
fn pkg_02_our_own_projects_are_known() {
    let projects = projects("corpus");
    assert!(projects.len() >= 70, "only {} are there", projects.len());
    let misses = misses(&projects);
    assert!(misses.is_empty(), "{}", misses.join("\n"));
}

#[test]
fn pkg_16_adversarial_projects_mislead_nobody() {
    let projects = projects("corpus/adversarial");
    assert!(projects.len() >= 20, "only {} are there", projects.len());
    let misses = misses(&projects);
    assert!(misses.is_empty(), "{}", misses.join("\n"));
}
