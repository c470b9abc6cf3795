//! Manifests of small projects: what is in them, that they are valid, and that nothing of a value is.

use super::*;
use crate::{
    Options, analyze,
    manifest::{Checked, Found, check},
};

fn made(files: &[(&str, &str)]) -> (Manifest, Tree) {
    let tree = source_of(Tree::of(files.iter().copied()));
    let analysis = analyze(&tree, &Options::default()).unwrap();
    (propose(&analysis, &tree, &Bases::known()).unwrap(), tree)
}

/// The manifest as it is read back, held against the very files that it was made of.
fn checked(manifest: &Manifest, tree: &Tree) -> Checked {
    let files = |path: &str| match path {
        path if tree.has(path) => Found::File,
        path if tree.has_directory(path) => Found::Directory,
        _ => Found::Missing,
    };
    check(manifest.text().as_bytes(), &files)
}

const FLASK: &[(&str, &str)] = &[
    ("app.py", "import os\nfrom flask import Flask\napp = Flask(__name__)\nkey = os.environ['API_KEY']\n"),
    ("requirements.txt", "flask==3.1.0\ngunicorn==23.0.0\n"),
    (".env.example", "API_KEY=NONCE\nLOG_LEVEL=NONCE\n"),
];

#[test]
fn pkg_30_a_server_is_one_application_and_one_container() {
    let (manifest, tree) = made(FLASK);
    let valid = checked(&manifest, &tree);
    assert_eq!((valid.problems, valid.warnings), (vec![], vec![]));
    assert_eq!(valid.document.unwrap().manifest, manifest, "it says the same when it is read");
    let (name, application) = manifest.applications.first_key_value().unwrap();
    let container = &manifest.containers[name];
    assert_eq!(
        (application.kind.as_str(), application.dependencies.all()),
        ("flask", &["requirements.txt".to_owned()][..])
    );
    assert!(application.build_image.is_none() && application.outputs.is_none());
    assert_eq!(container.ports, [8000]);
    assert!(container.base_image.as_deref().unwrap().starts_with("python:"));
    assert_eq!(manifest.containers.len(), 1);
}

#[test]
fn pkg_14_secrets_are_named_and_values_are_not() {
    let text = made(FLASK).0.text();
    assert!(text.contains("\"key\": \"API_KEY\"") && !text.contains("NONCE") && !text.contains("LOG_LEVEL"), "{text}");
}

#[test]
fn pkg_30_the_same_tree_gives_the_same_bytes_whatever_manifest_stands_there() {
    let first = made(FLASK).0.text();
    assert!(first.ends_with("}\n") && first.starts_with("{\n  \"manifest_version\""));
    let mut turned: Vec<_> = FLASK.iter().rev().copied().collect();
    turned.extend([(FILE, "{\"any\": 1}"), (LOCK_FILE, "{}")]);
    assert_eq!(made(&turned).0.text(), first);
}

#[test]
fn pkg_30_a_site_takes_what_its_build_made() {
    let files = [
        (
            "package.json",
            r#"{"name": "@me/shop", "scripts": {"build": "vite build"}, "devDependencies": {"vite": "6.0.0"}}"#,
        ),
        ("package-lock.json", "{}"),
        ("vite.config.js", "export default {}\n"),
        ("index.html", "<p>x</p>\n"),
    ];
    let (manifest, tree) = made(&files);
    let valid = checked(&manifest, &tree);
    assert_eq!((valid.problems, valid.warnings), (vec![], vec![]));
    let application = &manifest.applications["shop"];
    assert_eq!(application.site.as_ref().unwrap().root, "dist");
    assert_eq!(application.outputs.as_deref(), Some(&["dist".to_owned()][..]));
    assert!(application.build_image.as_deref().unwrap().starts_with("node:"));
    assert!(application.run_command.is_none());
    assert_eq!(application.install_commands, [Command::Line("npm ci".to_owned())]);
    assert_eq!(application.build_commands, [Command::Line("npm run build".to_owned())]);
}

#[test]
fn pkg_30_a_dockerfile_of_the_project_makes_the_image() {
    let files = [
        ("package.json", r#"{"name": "api", "main": "index.js", "dependencies": {"express": "5.0.0"}}"#),
        ("index.js", "require('express')().listen(3000)\n"),
        ("Dockerfile", "FROM node:22\nCOPY . .\nEXPOSE 9000\nCMD [\"node\", \"index.js\"]\n"),
    ];
    let (manifest, tree) = made(&files);
    assert_eq!(checked(&manifest, &tree).problems, []);
    let container = &manifest.containers["api"];
    assert_eq!((container.dockerfile.as_deref(), container.base_image.as_deref()), (Some("Dockerfile"), None));
    assert_eq!(container.ports, [9000]);
}

#[test]
fn what_has_no_plan_has_no_manifest() {
    let tree = Tree::of([("package.json", r#"{"name": "lib", "dependencies": {"left-pad": "1.0.0"}}"#)]);
    let Ok(analysis) = analyze(&tree, &Options::default()) else { return };
    let error = propose(&analysis, &tree, &Bases::known()).unwrap_err();
    assert_eq!(error.application, "lib");
}

#[test]
fn paths_are_written_from_the_work_directory() {
    for (given, expected) in [
        ("/app", "."),
        ("/app/", "."),
        ("/app/dist/", "dist"),
        ("./bin/x", "bin/x"),
        ("/opt/venv", "/opt/venv"),
        ("/apple", "/apple"),
        (".", "."),
    ] {
        assert_eq!(short(given), expected, "{given}");
    }
    assert_eq!(cut(&"a".repeat(63), "assets").len(), 63);
}
