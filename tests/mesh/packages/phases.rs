//! Packages whose commands run in containers of a node.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use aigis_tests::{Events, Mesh, Ran, docker, nonce};
use serde_json::{Value, json};

use super::{
    tier_one::{building, label, phases},
    tier2::{Names, id_of, name_of},
};

/// A project that a command builds; its directory is in the way of nobody.
struct Project {
    directory: tempfile::TempDir,
    name: String,
}

impl Project {
    fn new(install: &[&str], build: &[&str]) -> Self {
        let project = Self { directory: tempfile::tempdir().unwrap(), name: format!("phases-{}", nonce()) };
        let mut manifest = json!({
            "manifest_version": "1.0", "project": {"name": project.name},
            "applications": {"api": {
                "type": "files", "dependencies": "needs.txt", "install_commands": install, "build_commands": build,
                "run_command": ["/bin/cat", "/app/out.txt"], "network": false, "writable": ["data"],
            }},
            "containers": {"api": {"base_image": "busybox", "applications": ["api"]}},
        });
        if install.is_empty() {
            manifest["applications"]["api"].as_object_mut().unwrap().remove("install_commands");
        }
        project.write("aigis.json", &manifest.to_string());
        project.write("needs.txt", "one\n");
        project.write("source.txt", "first\n");
        project.write("README.md", "words\n");
        project
    }

    fn write(&self, path: &str, content: &str) {
        fs::write(self.directory.path().join(path), content).unwrap();
    }

    fn path(&self) -> PathBuf {
        self.directory.path().to_owned()
    }

    /// Builds it; what is said on the way is no failure.
    fn built(&self, mesh: &Mesh, options: &[&str]) -> Ran {
        let ran = self.build(mesh, options);
        assert_eq!(ran.code, 0, "{ran:?}");
        ran
    }

    fn build(&self, mesh: &Mesh, options: &[&str]) -> Ran {
        let path = self.path();
        mesh.aish([&["packages", "build", path.to_str().unwrap(), "--json"], options].concat())
    }
}

fn layers(record: &Value) -> Vec<(String, String)> {
    let layers = record["images"][0]["layers"].as_array().unwrap().iter();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    layers.filter(|layer| layer["kind"] != "base").map(|layer| (text(&layer["kind"]), text(&layer["digest"]))).collect()
}

/// What the image of a package writes when it is run.
fn answer(mesh: &Mesh, project: &Project, id: &str) -> String {
    let archive = project.path().with_extension("tar");
    let _ = mesh.aish(["packages", "export", id, "-o", archive.to_str().unwrap()]).good();
    let loaded = loaded(&archive);
    fs::remove_file(&archive).unwrap();
    let short = id.strip_prefix("sha256:").unwrap().get(..12).unwrap();
    let tag = format!("{}/api:{short}", project.name);
    assert!(loaded.contains(&tag), "{loaded}");
    let said = docker(None, &["run", "--rm", "--network", "none", &tag]);
    docker(None, &["rmi", &tag]);
    said.trim().to_owned()
}

fn loaded(archive: &Path) -> String {
    let output = Command::new("docker").args(["load", "-i"]).arg(archive).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn pkg_34_pkg_35_pkg_44_what_commands_make_is_the_same_each_time_and_runs() {
    let word = nonce();
    let install = "mkdir -p /opt/kit && cp needs.txt /opt/kit/ && test ! -e source.txt && echo kit > kit.txt";
    let build = format!("cat source.txt /opt/kit/needs.txt kit.txt > out.txt && echo {word} >> out.txt && id -u");
    let (mesh, project) = (Mesh::up(), Project::new(&[install], &[&build]));
    let (label, mut events, mut so_far) = (label(&mesh), Events::follow(), 0);
    // How many phases ran since this was asked last, by the engine's word.
    let mut ran = || {
        let before = so_far;
        so_far = phases(&mut events, &label).len();
        so_far - before
    };
    let first = project.built(&mesh, &[]);
    assert!(first.stderr.contains("aigis.lock"), "{first:?}");
    let record = first.json();
    assert_eq!((&record["created"], &record["images"][0]["tier"]), (&json!(true), &json!(1)));
    let kinds: Vec<String> = layers(&record).into_iter().map(|(kind, _)| kind).collect();
    assert_eq!(kinds, ["system", "install", "files"]);
    let id = record["id"].as_str().unwrap();
    assert_eq!(answer(&mesh, &project, id), format!("first\none\nkit\n{word}"));
    assert_eq!(ran(), 2);
    // Nothing of it is known, and all of it comes out the same.
    let again = project.built(&mesh, &["--no-cache", "--locked"]);
    assert_eq!((&again.json()["id"], &again.json()["created"]), (&json!(id), &json!(false)), "{again:?}");
    assert_eq!(ran(), 2);
    let known = project.built(&mesh, &["--load"]);
    let name = name_of(&known.json(), "api");
    let _names = Names(vec![name.clone()]);
    assert_eq!((ran(), id_of(&name)), (0, record["images"][0]["config"].as_str().unwrap().to_owned()));
    assert!(known.stderr.contains("install api is known") && known.stderr.contains("build api is known"), "{known:?}");
    // Another source: only the build runs, and only its layer is another.
    project.write("source.txt", "second\n");
    let other = project.built(&mesh, &[]);
    assert!(other.stderr.contains("install api is known"), "{other:?}");
    assert!(!other.stderr.contains("build api is known"), "{other:?}");
    assert_eq!(ran(), 1);
    let (one, two) = (layers(&record), layers(&other.json()));
    assert_eq!((&one[..2], one.len(), two.len()), (&two[..2], 3, 3));
    assert_ne!(one[2], two[2]);
    project.write("needs.txt", "two\n");
    let other = project.built(&mesh, &[]);
    assert!(!other.stderr.contains("is known"), "{other:?}");
    assert_eq!((ran(), building(&label).len()), (2, 0));
}

#[test]
fn pkg_36_a_command_that_fails_ends_the_build_and_leaves_nothing() {
    let (mesh, project) =
        (Mesh::up(), Project::new(&[], &["echo begun", "echo wrong; exit 9", "echo never > out.txt"]));
    let failed = project.build(&mesh, &[]).failed(1);
    assert!(failed.stderr.contains("failed with code 9") && failed.stderr.contains("wrong"), "{failed:?}");
    assert!(!failed.stderr.contains("never\n"), "{failed:?}");
    assert!(!project.path().join("aigis.lock").exists());
    assert_eq!(mesh.aish(["packages", "list", "--json"]).good().json(), json!([]));
    let _ = project.build(&mesh, &["--locked"]).failed(1);
    let _ = project.build(&mesh, &["--local"]).refused(69);
    assert_eq!(building(&label(&mesh)), [""; 0]);
}
