//! What an app's CI does with the tree that was pushed last: a Dockerfile proposed and kept in the state, a package built.

use std::fs;

use aigis_tests::{Mesh, nonce, until};
use serde_json::{Value, json};

use crate::chains::{COPY, LIMIT, Source, ended, running::removed};

const OWN: &str = "FROM busybox\nCOPY start.sh /start.sh\nCMD [\"sleep\", \"600\"]\n";

/// An app that a Dockerfile of its own builds, and that analysis knows besides; its package needs no engine.
fn app() -> Source {
    let manifest = json!({
        "manifest_version": "1.0", "project": {"name": format!("pushed-{}", nonce())},
        "applications": {"app": {"type": "files", "run_command": ["/app/start.sh"]}},
        "containers": {"app": {"base_image": "scratch", "applications": ["app"]}},
    });
    let script = format!("#!/bin/sh\n# <script>{}</script>\necho up\n", nonce());
    Source::new(&[("Dockerfile", OWN), ("start.sh", &script), ("aigis.json", &manifest.to_string())])
}

/// The state file, as `aish apps pull` brings it.
fn kept(mesh: &Mesh, source: &Source) -> Option<String> {
    let into = tempfile::tempdir().unwrap();
    let ran = mesh.aish(["apps", "pull", &source.name, into.path().to_str().unwrap()]);
    assert_eq!(ran.code, 0, "{ran:?}");
    fs::read_to_string(into.path().join(".aigis/dockerfile")).ok()
}

fn serving(mesh: &Mesh, source: &Source) {
    let _ran = ended(source.push(mesh, &["--until", "ready"]), 0);
    until("it answers", LIMIT, || (mesh.aish([&source.name, "status", "--json"]).code == 0).then_some(()));
}

#[test]
fn pkg_70_pkg_71_an_apps_ci_proposes_saves_and_builds_for_its_last_pushed_tree() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("packages.toml"), "[bases]\ndebian = \"busybox:latest\"\n").unwrap();
    let mesh = Mesh::up_in(vec![("AIGIS_CONFIG_DIR", folder.path().display().to_string())]);
    let source = app();
    let name = source.name.as_str();
    let skill = |skill: &str| format!("{name}.{skill}");
    let propose = || mesh.aish(["call", &skill("dockerfile.propose"), "--json"]).good().json();
    let save = |proposed: &Value, more: &[&str]| {
        let proposal = format!("proposal={}", proposed["id"].as_str().unwrap());
        mesh.aish([&["call", &skill("dockerfile.save"), &proposal, "--json"], more].concat())
    };
    let refused = |proposed: &Value| -> Value {
        let ran = save(proposed, &[]).failed(1);
        serde_json::from_str(&ran.stderr).unwrap_or_else(|error| panic!("{error}: {ran:?}"))
    };
    serving(&mesh, &source);

    let proposed = propose();
    // What it warns of stands beside it.
    let here = mesh.aish(["dockerfile", source.path().to_str().unwrap(), "--json"]).json();
    assert_eq!((&proposed, &propose()), (&here, &here));
    let content = proposed["files"].as_array().unwrap().iter().find(|file| file["path"] == "Dockerfile").unwrap();
    let content = content["content"].as_str().unwrap();
    assert_eq!(kept(&mesh, &source), None, "nothing is written before it is saved");

    // A viewer looks, and writes nothing.
    let vera = mesh.user("vera", "viewer");
    let viewer = |words: &[&str]| mesh.aish([&["--creds", vera.as_str(), "call"], words].concat());
    assert_eq!(viewer(&[&skill("dockerfile.propose"), "--json"]).good().json(), proposed);
    let _refused = viewer(&[&skill("dockerfile.propose"), "fill=true"]).failed(77);
    let _refused = viewer(&[&skill("dockerfile.save"), proposed["id"].as_str().unwrap()]).failed(77);
    let _refused = viewer(&[&skill("package.build")]).failed(77);

    // The state of a chain that serves is the app's once it ends.
    let before = source.chain(&mesh)["state_tree"].clone();
    let saved = |written: bool| json!({"files": [{"path": "dockerfile", "written": written}], "changed": written});
    assert_eq!(save(&proposed, &[]).good().json(), saved(true));
    assert_eq!(save(&proposed, &[]).good().json(), saved(false));
    assert_eq!(kept(&mesh, &source).as_deref(), Some(content));
    assert_ne!(source.chain(&mesh)["state_tree"], before);

    let mut ids = Vec::new();
    for created in [true, false] {
        let built = mesh.aish(["call", &skill("package.build"), "--json"]);
        assert_eq!(built.code, 0, "{built:?}");
        let record: Value = serde_json::from_str(built.stdout.lines().last().unwrap()).unwrap();
        assert_eq!((&record["created"], &record["node"]), (&json!(created), &json!("alpha")), "{record}");
        ids.push(record["id"].clone());
    }
    assert_eq!(ids[0], ids[1]);
    let here = mesh.aish(["packages", "build", source.path().to_str().unwrap(), "--json"]);
    assert_eq!((&here.json()["id"], &here.json()["created"]), (&ids[0], &json!(false)), "{here:?}");

    // While a chain is under way the state is its own; and what is saved is what was proposed of the tree that was pushed.
    source.write("start.sh", "#!/bin/sh\necho another\n");
    let slow = source.assistant("slow", &format!("sleep 600\n{COPY}"));
    let id = source.begun(&mesh, &["--assistant", &slow]);
    assert!(refused(&proposed)["message"].as_str().unwrap().contains("another tree"));
    let other = propose();
    assert_ne!(other["id"], proposed["id"]);
    let error = refused(&other);
    assert!(error["code"] == "failed_precondition" && error["message"].as_str().unwrap().contains(&id), "{error}");
    let _cancelled = ended(mesh.aish(["chains", "cancel", &id]), 0);
    until("it is cancelled", LIMIT, || {
        (mesh.aish(["chains", "show", &id, "--json"]).good().json()["status"] == "cancelled").then_some(())
    });
    assert_eq!(save(&other, &[]).good().json(), saved(true));
    assert_eq!(save(&other, &[]).good().json(), saved(false));
    removed(&mesh, &source);
}
