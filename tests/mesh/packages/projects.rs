//! The projects of a host, by the skills of its node: analysed, a Dockerfile proposed, saved.

use std::{collections::BTreeMap, fs, os::unix::fs::symlink, path::Path};

use aigis_tests::Mesh;
use serde_json::{Value, json};
use tempfile::TempDir;

/// A host whose user has named some projects, and the directory that holds them.
fn host(projects: &[&str]) -> (Mesh, TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let mut settings = String::from("[projects]\n");
    for name in projects {
        let directory = folder.path().join(name);
        write(&directory.join("package.json"), &package(name));
        write(&directory.join("server.js"), "require('express')().listen(process.env.PORT || 4321)\n");
        settings.push_str(&format!("{name} = {directory:?}\n"));
    }
    write(&folder.path().join("packages.toml"), &settings);
    let configuration = ("AIGIS_CONFIG_DIR", folder.path().display().to_string());
    (Mesh::up_in(vec![configuration]), folder)
}

fn package(description: &str) -> String {
    json!({
        "name": "shop", "description": format!("{description} <script>alert(1)</script>"), "main": "server.js",
        "scripts": {"start": "node server.js"}, "dependencies": {"express": "4.19.2"},
    })
    .to_string()
}

fn write(path: &Path, content: &str) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, content).unwrap();
}

/// All files below a directory, by their paths.
fn files(directory: &Path) -> BTreeMap<String, Vec<u8>> {
    let entries = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    let named = |path: &Path| path.file_name().unwrap().to_str().unwrap().to_owned();
    entries.filter(|path| path.is_file()).map(|path| (named(&path), fs::read(&path).unwrap())).collect()
}

fn call(mesh: &Mesh, skill: &str, arguments: &[&str]) -> Value {
    mesh.aish([&["call", skill, "--json"], arguments].concat()).good().json()
}

/// The error of a call that has to be refused with that code.
fn refused(mesh: &Mesh, code: i32, skill: &str, arguments: &[&str]) -> Value {
    let ran = mesh.aish([&["call", skill, "--json"], arguments].concat()).failed(code);
    serde_json::from_str(&ran.stderr).unwrap_or_else(|error| panic!("{error}: {ran:?}"))
}

#[test]
fn pkg_70_what_is_proposed_is_saved_once_and_only_then_written() {
    let (mesh, folder) = host(&["demo"]);
    let directory = folder.path().join("demo");
    let before = files(&directory);
    let listed = call(&mesh, "alpha.project.list", &[]);
    assert_eq!(listed, json!([{"name": "demo", "directory": directory.to_str(), "manifest": null}]));
    let here = mesh.aish(["analyze", directory.to_str().unwrap(), "--json"]).good().json();
    assert_eq!(call(&mesh, "alpha.project.analyze", &["project=demo"]), here);

    let proposed = call(&mesh, "alpha.dockerfile.propose", &["project=demo"]);
    let here = mesh.aish(["dockerfile", directory.to_str().unwrap(), "--json"]).good().json();
    assert_eq!(proposed, here);
    assert_eq!(call(&mesh, "alpha.dockerfile.propose", &["demo"]), proposed, "again the same");
    assert_eq!(files(&directory), before, "nothing is written before it is saved");

    let id = format!("proposal={}", proposed["id"].as_str().unwrap());
    let saved = call(&mesh, "alpha.dockerfile.save", &[&id]);
    let written = |yes: bool| {
        json!({
            "files": [{"path": ".dockerignore", "written": yes}, {"path": "Dockerfile", "written": yes}],
            "changed": yes,
        })
    };
    assert_eq!(saved, written(true));
    let dockerfile = proposed["files"][1]["content"].as_str().unwrap();
    assert_eq!(fs::read_to_string(directory.join("Dockerfile")).unwrap(), dockerfile);
    assert_eq!(call(&mesh, "alpha.dockerfile.save", &[&id]), written(false));
    let found = call(&mesh, "alpha.dockerfile.lint", &[&format!("content={}", json!(dockerfile))]);
    assert_eq!(found.as_array().unwrap().iter().filter(|finding| finding["level"] == "error").count(), 0, "{found}");
    let found = call(&mesh, "alpha.dockerfile.lint", &["content=\"FROM a:1\\nADD https://x.example/y /\\n\""]);
    assert!(found.as_array().unwrap().iter().any(|one| one["rule"] == "add-url" && one["line"] == 2), "{found}");

    // The id is all that is kept by name: what somebody else wrote there stays, unless it is told to go.
    write(&directory.join("Dockerfile"), "FROM scratch\n");
    let error = refused(&mesh, 1, "alpha.dockerfile.save", &[&id]);
    assert_eq!(error["code"], "failed_precondition", "{error}");
    let error = {
        let _again = call(&mesh, "alpha.dockerfile.propose", &["project=demo"]);
        refused(&mesh, 1, "alpha.dockerfile.save", &[&id])
    };
    assert_eq!(error["code"], "already_exists", "{error}");
    assert!(error["data"]["diff"].as_str().is_some_and(|diff| diff.contains("-FROM scratch")), "{error}");
    assert_eq!(fs::read_to_string(directory.join("Dockerfile")).unwrap(), "FROM scratch\n");
    let saved = call(&mesh, "alpha.dockerfile.save", &[&id, "replace=true"]);
    assert_eq!(saved["changed"], true);
    assert_eq!(fs::read_to_string(directory.join("Dockerfile")).unwrap(), dockerfile);
}

#[test]
fn pkg_22_what_changed_since_it_was_shown_is_not_written() {
    let (mesh, folder) = host(&["changed", "linked"]);
    let propose = |project: &str| {
        let proposed = call(&mesh, "alpha.dockerfile.propose", &[project]);
        format!("proposal={}", proposed["id"].as_str().unwrap())
    };
    let (changed, directory) = (propose("changed"), folder.path().join("changed"));
    write(&directory.join("server.js"), "require('express')().listen(5000)\n");
    let before = files(&directory);
    let error = refused(&mesh, 1, "alpha.dockerfile.save", &[&changed]);
    assert_eq!(error["code"], "failed_precondition", "{error}");
    assert_eq!(files(&directory), before, "neither file is written");

    let directory = folder.path().join("linked");
    write(&folder.path().join("x"), "FROM scratch\n");
    symlink("../x", directory.join("Dockerfile")).unwrap();
    let linked = propose("linked");
    let error = refused(&mesh, 1, "alpha.dockerfile.save", &[&linked, "replace=true"]);
    assert_eq!(error["code"], "failed_precondition", "{error}");
    assert_eq!(fs::read_to_string(folder.path().join("x")).unwrap(), "FROM scratch\n");
    assert!(!directory.join(".dockerignore").exists(), "both files or neither");
}

#[test]
fn pkg_71_a_viewer_looks_and_writes_nothing_and_no_path_is_a_project() {
    let (mesh, folder) = host(&["demo"]);
    let directory = folder.path().join("demo");
    write(&directory.join("Procfile"), "web: node server.js '<script>two</script>'\n");
    let vera = mesh.user("vera", "viewer");
    let viewer = |words: &[&str]| mesh.aish([&["--creds", vera.as_str(), "--json"], words].concat());
    let proposed = viewer(&["call", "alpha.dockerfile.propose", "project=demo"]).good();
    let proposed = proposed.json();
    let started = &proposed["plan"]["image"]["argv"];
    assert_eq!(*started, json!(["node", "server.js", "<script>two</script>"]), "text is data, and unchanged");
    assert!(!proposed.to_string().contains("alert(1)"), "descriptions lead to nothing");
    let id = format!("proposal={}", proposed["id"].as_str().unwrap());
    let _refused = viewer(&["call", "alpha.dockerfile.save", &id]).failed(77);
    assert!(!directory.join("Dockerfile").exists());

    for (project, code) in [
        ("../demo", "invalid_argument"),
        ("/etc", "invalid_argument"),
        ("", "invalid_argument"),
        ("sha256:abc", "invalid_argument"),
        ("nosuch", "not_found"),
    ] {
        for skill in ["project.analyze", "dockerfile.propose"] {
            let error = refused(&mesh, 65, &format!("alpha.{skill}"), &[&format!("project={}", json!(project))]);
            assert_eq!(error["code"], code, "{skill} {project}: {error}");
        }
    }
    let unknown = format!("project=sha256:{}", "0".repeat(64));
    assert_eq!(refused(&mesh, 65, "alpha.project.analyze", &[&unknown])["code"], "not_found");
    for (proposal, code) in [("prop-0123456789abcdef", "not_found"), ("../../x", "invalid_argument")] {
        let error = refused(&mesh, 65, "alpha.dockerfile.save", &[&format!("proposal={}", json!(proposal))]);
        assert_eq!(error["code"], code, "{error}");
    }
}
