//! What a model chose once is built without it.

use std::{fs, path::Path};

use aigis_tests::{Completions, Mesh, Reply};
use serde_json::{Value, json};

/// A page and a script that are as likely.
fn write(directory: &Path) {
    fs::create_dir_all(directory).unwrap();
    fs::write(directory.join("index.html"), "<p>page</p>\n").unwrap();
    fs::write(directory.join("start.sh"), "#!/bin/sh\necho up\n").unwrap();
}

#[test]
fn pkg_24_what_a_model_chose_is_packaged_without_it() {
    let model = Completions::saying(Reply::Content(json!({"provider": "shell"}).to_string()));
    let folder = tempfile::tempdir().unwrap();
    let (demo, elsewhere) = (folder.path().join("demo"), folder.path().join("elsewhere"));
    write(&demo);
    write(&elsewhere);
    let settings = format!("[bases]\ndebian = \"busybox:latest\"\n[projects]\ndemo = {demo:?}\n");
    fs::write(folder.path().join("packages.toml"), settings).unwrap();
    let mesh = Mesh::up_in(vec![("AIGIS_CONFIG_DIR", folder.path().display().to_string())]);
    let call = |skill: &str, arguments: &[&str]| mesh.aish([&["call", skill, "--json"], arguments].concat());

    // A host without a model says so; one whose model answers nonsense proposes what it does without.
    let refused = call("alpha.dockerfile.propose", &["project=demo", "fill=true"]).failed(1);
    assert!(refused.stderr.contains("no model is configured"), "{refused:?}");
    fs::write(folder.path().join("model.toml"), model.settings()).unwrap();
    let plain = call("alpha.dockerfile.propose", &["project=demo"]).good();
    model.say(Reply::Content(json!({"provider": "rm -rf /"}).to_string()));
    let nonsense = call("alpha.dockerfile.propose", &["project=demo", "fill=true"]).good();
    assert_eq!((nonsense.stdout, model.asked().len()), (plain.stdout, 1));

    // Whoever may only read has no model asked.
    let viewer = mesh.user("vera", "viewer");
    let propose = ["--creds", &viewer, "call", "alpha.dockerfile.propose", "project=demo"];
    let refused = mesh.aish([&propose[..], &["fill=true"]].concat()).failed(77);
    assert!(refused.stderr.contains("leave fill out"), "{refused:?}");
    let _ = mesh.aish(propose).good();
    assert_eq!(model.asked().len(), 0);

    // What is chosen is saved as it was shown, and nobody is asked again.
    model.say(Reply::Content(json!({"provider": "shell"}).to_string()));
    let proposed = call("alpha.dockerfile.propose", &["project=demo", "fill=true"]).good().json();
    assert_eq!(proposed["plan"]["image"]["argv"], json!(["sh", "start.sh"]), "{proposed}");
    assert!(proposed["notes"].as_array().unwrap().iter().any(|note| note["code"] == "model"), "{proposed}");
    assert_eq!(model.asked().len(), 1);
    let saved =
        call("alpha.dockerfile.save", &[&format!("proposal={}", proposed["id"].as_str().unwrap())]).good().json();
    assert_eq!((&saved["changed"], model.asked().len()), (&json!(true), 0));
    fs::remove_file(demo.join("Dockerfile")).unwrap();
    fs::remove_file(demo.join(".dockerignore")).unwrap();

    let init = |directory: &Path, options: &[&str]| {
        // It says on stderr what was chosen.
        let ran = mesh.aish([&["manifests", "init", directory.to_str().unwrap()], options].concat());
        assert_eq!(ran.code, 0, "{ran:?}");
        fs::read(directory.join("aigis.json")).unwrap()
    };
    assert_eq!(init(&demo, &["--fill"]), init(&elsewhere, &["--fill"]));
    assert_eq!(model.asked().len(), 2);
    fs::remove_file(folder.path().join("model.toml")).unwrap();
    let build = |directory: &Path| -> Value {
        let ran = mesh.aish(["packages", "build", directory.to_str().unwrap(), "--json"]);
        assert_eq!(ran.code, 0, "{ran:?}");
        ran.json()
    };
    let (first, second) = (build(&demo), build(&elsewhere));
    assert_eq!((&first["created"], &second["created"]), (&json!(true), &json!(false)));
    assert_eq!((&first["id"], first["id"].is_string()), (&second["id"], true));
    assert_eq!(model.asked().len(), 0, "packaging asks no model");
}
