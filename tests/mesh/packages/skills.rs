//! Packages that a node builds of the projects of its host, for whoever calls its skills.

use std::{fs, path::Path, time::Duration};

use aigis_tests::{Mesh, nonce, until};
use serde_json::{Value, json};
use tempfile::TempDir;

/// What the host's user has named: projects, each a script of a shell, and the base that they stand on.
fn named(projects: &[&str]) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let mut settings = String::from("[bases]\ndebian = \"busybox:latest\"\n[projects]\n");
    for name in projects {
        let directory = folder.path().join(name);
        fs::create_dir(&directory).unwrap();
        fs::write(directory.join("start.sh"), format!("#!/bin/sh\n# <script>{}</script>\necho up\n", nonce())).unwrap();
        settings.push_str(&format!("{name} = {directory:?}\n"));
    }
    fs::write(folder.path().join("packages.toml"), settings).unwrap();
    folder
}

fn host(folder: &TempDir) -> Mesh {
    Mesh::up_in(vec![("AIGIS_CONFIG_DIR", folder.path().display().to_string())])
}

/// The frames of a stream.
fn frames(mesh: &Mesh, skill: &str, arguments: &[&str]) -> Vec<Value> {
    let ran = mesh.aish([&["call", skill, "--json"], arguments].concat());
    assert_eq!(ran.code, 0, "{ran:?}");
    ran.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn files(directory: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn pkg_70_a_node_builds_what_its_host_has_and_all_hosts_know_it() {
    let folder = named(&["demo"]);
    let alpha = host(&folder);
    let (beta, gamma) = (alpha.joined("beta"), alpha.joined("gamma"));
    let directory = folder.path().join("demo");
    let before = files(&directory);
    let proposed = alpha.aish(["call", "beta.dockerfile.propose", "project=demo", "--json"]).good().json();
    let here = beta.aish(["dockerfile", directory.to_str().unwrap(), "--json"]);
    assert_eq!((here.code, &proposed, files(&directory)), (0, &here.json(), before), "{here:?}");
    // Twice: the second time there is nothing to write.
    let proposal = format!("proposal={}", proposed["id"].as_str().unwrap());
    for changed in [true, false] {
        let saved = alpha.aish(["call", "beta.dockerfile.save", &proposal, "--json"]).good().json();
        assert_eq!(saved["changed"], changed, "{saved}");
    }

    let first = frames(&alpha, "beta.package.build", &["project=demo"]);
    let (record, lines) = first.split_last().unwrap();
    assert_eq!((&record["created"], &record["node"]), (&json!(true), &json!("beta")), "{record}");
    assert!(lines.iter().any(|frame| frame["container"] == "app"), "{lines:?}");
    for frame in lines {
        let mut keys: Vec<&String> = frame.as_object().unwrap().keys().collect();
        keys.sort();
        assert_eq!(keys, ["container", "line", "percent", "phase"], "{frame}");
        assert!(frame["percent"].as_u64().is_some_and(|percent| percent <= 100), "{frame}");
    }
    let again = frames(&alpha, "beta.package.build", &["demo", "tag=second"]);
    let again = again.last().unwrap();
    assert_eq!((&again["created"], &again["id"]), (&json!(false), &record["id"]));
    let id = record["id"].as_str().unwrap();
    let known = until("gamma knows it", Duration::from_secs(30), || {
        let shown = gamma.aish(["packages", "show", id, "--json"]);
        (shown.code == 0).then(|| shown.json())
    });
    assert_eq!(known["created_by"], record["created_by"], "it is on record for whom");
    let builds = known["builds"].as_array().unwrap();
    assert_eq!(builds.len(), 2);
    assert!(builds.iter().all(|build| build["measured"] == true && build["node"] == "beta"), "{builds:?}");
    assert!(known["tags"].as_array().unwrap().contains(&json!("second")), "{known}");

    // What is verified is what is on record, whatever became of the files.
    fs::write(directory.join("start.sh"), "#!/bin/sh\necho another\n").unwrap();
    let report = frames(&gamma, "alpha.package.verify", &[&format!("id={id}")]);
    let report = report.last().unwrap();
    assert_eq!((&report["output"], &report["differences"]), (&json!(id), &json!([])), "{report}");
}

#[test]
fn pkg_71_a_viewer_builds_nothing_and_no_path_is_a_project() {
    let folder = named(&["demo"]);
    let mesh = host(&folder);
    let vera = mesh.user("vera", "viewer");
    for (skill, argument) in [("package.build", "project=demo"), ("package.verify", "id=demo")] {
        let _ = mesh.aish(["--creds", &vera, "call", &format!("alpha.{skill}"), argument]).failed(77);
    }
    let refused = |arguments: &[&str], code: i32| -> Value {
        let ran = mesh.aish([&["call", "alpha.package.build", "--json"], arguments].concat()).failed(code);
        serde_json::from_str(ran.stderr.lines().last().unwrap()).unwrap_or_else(|error| panic!("{error}: {ran:?}"))
    };
    for (project, code) in [("../x", "invalid_argument"), ("/etc", "invalid_argument"), ("nosuch", "not_found")] {
        assert_eq!(refused(&[&format!("project={}", json!(project))], 65)["code"], code, "{project}");
    }
    for wrong in ["containers=[\"../x\"]", "platforms=[\"vax/vms\"]", "tag=\"a b\"", "containers=[\"nosuch\"]"] {
        assert_eq!(refused(&["project=demo", wrong], 65)["code"], "invalid_argument", "{wrong}");
    }
    let unknown = mesh.aish(["call", "alpha.package.verify", "id=nosuch", "--json"]).failed(65);
    assert!(unknown.stderr.contains("not_found"), "{unknown:?}");
    assert_eq!(mesh.aish(["packages", "list", "--json"]).good().json(), json!([]));
}
