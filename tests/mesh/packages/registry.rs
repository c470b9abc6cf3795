//! Packages of a mesh: built on one host, known and at hand on all.

use std::{fs, time::Duration};

use aigis_tests::{Mesh, until};
use serde_json::Value;

use super::build::{PACKAGE, golden, shown, write};

/// Builds what stands there, and registers it in the mesh.
fn build(host: &Mesh, project: &std::path::Path, options: &[&str]) -> Value {
    host.aish([&["packages", "build", shown(project), "--json"], options].concat()).good().json()
}

fn ids(host: &Mesh, options: &[&str]) -> Vec<String> {
    let listed = host.aish([&["packages", "list", "--json"], options].concat()).good().json();
    listed.as_array().unwrap().iter().map(|row| row["id"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn pkg_33_pkg_56_a_package_of_one_host_is_known_and_at_hand_on_another() {
    let alpha = Mesh::up();
    let beta = alpha.joined("beta");
    let (project, copy) = (golden(0o644), golden(0o600));
    let first = build(&alpha, project.path(), &["--tag", "v1", "--label", "a=1"]);
    assert_eq!((first["id"].as_str(), first["created"].as_bool()), (Some(PACKAGE), Some(true)));
    let again = build(&beta, copy.path(), &["--tag", "v1"]);
    assert_eq!((again["id"].as_str(), again["created"].as_bool()), (Some(PACKAGE), Some(false)));
    assert_eq!((&again["created_at"], &again["node"]), (&first["created_at"], &"alpha".into()));
    let known = beta.aish(["packages", "show", "golden:v1", "--json"]).good().json();
    let made: Vec<&str> = known["builds"].as_array().unwrap().iter().filter_map(|row| row["node"].as_str()).collect();
    assert_eq!((made, &known["labels"]["a"]), (vec!["alpha", "beta"], &"1".into()));
    assert_eq!(known["created_by"], alpha.aish(["packages", "show", "golden", "--json"]).good().json()["created_by"]);

    // What was never on this host comes to it.
    write(project.path(), "data/\u{e4}.txt", "o\n");
    let second = build(&alpha, project.path(), &["--tag", "v2"]);
    let report = beta.aish(["packages", "show", "golden:v2", "--against", "golden:v1", "--json"]);
    assert_eq!(report.code, 1, "{report:?}");
    assert_eq!(report.json()["files"][0]["path"], "data/\u{e4}.txt");
    let (here, there) = (alpha.path().join("a.tar"), beta.path().join("b.tar"));
    let _ = alpha.aish(["packages", "export", "golden:v2", "--sources", "-o", shown(&here)]).good();
    let _ = beta.aish(["packages", "export", "golden:v2", "--sources", "-o", shown(&there)]).good();
    assert_eq!(fs::read(here).unwrap(), fs::read(&there).unwrap());
    let alone = Mesh::absent();
    let taken = alone.aish(["packages", "import", shown(&there)]);
    assert_eq!((taken.code, taken.stdout.trim()), (0, second["id"].as_str().unwrap()), "{taken:?}");
    assert_eq!(ids(&alone, &[]), [second["id"].as_str().unwrap()]);

    let line = beta.aish(["packages", "lineage", "golden", "--json"]).good().json();
    assert_eq!((&line[0]["id"], &line[1]["id"]), (&second["id"], &PACKAGE.into()));
    let refused = beta.aish(["packages", "rm", "golden:v1"]).failed(1);
    assert!(refused.stderr.contains(second["id"].as_str().unwrap()), "{refused:?}");
    let _ = alpha.aish(["packages", "build", shown(project.path()), "--parent", "nosuch"]).refused(65);
    for name in ["golden:v2", "golden:v1"] {
        let _ = beta.aish(["packages", "rm", name]).good();
    }
    assert_eq!((ids(&alpha, &[]), ids(&beta, &["--local"])), (vec![], vec![]));
    assert_eq!(build(&beta, copy.path(), &[])["created"], true);
    let local = build(&beta, copy.path(), &["--local"]);
    assert_eq!((local["id"].as_str(), local["created"].as_bool()), (Some(PACKAGE), Some(true)));
    assert_eq!(ids(&beta, &["--local"]), [PACKAGE]);
}

#[test]
fn pkg_56_of_a_parent_and_its_child_one_is_refused_in_each_of_50_rounds() {
    let alpha = Mesh::up();
    let beta = alpha.joined("beta");
    let (parent, child) = (golden(0o644), golden(0o644));
    write(child.path(), "data/child.txt", "o\n");
    let project = shown(child.path());
    // The removal comes by one command later where it won, and sooner where it lost: so both come to the point where it matters.
    let (mut born, mut gone, mut later) = (0, 0, 0_u32);
    for round in 0..50 {
        let parent = build(&alpha, parent.path(), &[])["id"].as_str().unwrap().to_owned();
        let (removed, built) = std::thread::scope(|scope| {
            let building = scope.spawn(|| beta.aish(["packages", "build", project, "--parent", &parent, "--json"]));
            for _ in 0..later {
                let _ = ids(&alpha, &[]);
            }
            (alpha.aish(["packages", "rm", &parent]), building.join().unwrap())
        });
        let left = ids(&alpha, &[]);
        match (built.code, removed.code) {
            (0, 1) => {
                let child = built.json()["id"].as_str().unwrap().to_owned();
                assert!(removed.stderr.contains(&child), "round {round}: {removed:?}");
                assert_eq!(left, [parent.clone(), child.clone()], "round {round}");
                let _ = beta.aish(["packages", "rm", &child]).good();
                let _ = beta.aish(["packages", "rm", &parent]).good();
                (born, later) = (born + 1, later.saturating_sub(1));
            }
            // It was gone when it was looked up, or when the child was to follow it.
            (65 | 1, 0) => {
                assert!(left.is_empty(), "round {round}: {left:?}");
                (gone, later) = (gone + 1, later + 1);
            }
            _ => panic!("round {round}: {built:?} {removed:?}"),
        }
    }
    assert!(born > 0 && gone > 0, "{born} children were born, of {gone} the parent was gone");
}

#[test]
fn pkg_55_twenty_builds_at_once_are_one_package() {
    let alpha = Mesh::up();
    let beta = alpha.joined("beta");
    let project = golden(0o644);
    let builds: Vec<_> = (0..20)
        .map(|number| {
            let host = if number % 2 == 0 { &alpha } else { &beta };
            host.spawn(["packages", "build", shown(project.path()), "--json"])
        })
        .collect();
    let made: Vec<Value> = builds
        .into_iter()
        .map(|running| {
            let ended = running.wait_with_output().unwrap();
            assert!(ended.status.success(), "{ended:?}");
            serde_json::from_slice(&ended.stdout).unwrap()
        })
        .collect();
    assert_eq!(made.iter().filter(|row| row["created"] == true).count(), 1);
    assert_eq!(ids(&beta, &[]), [PACKAGE]);
    let known = beta.aish(["packages", "show", "golden", "--json"]).good().json();
    assert_eq!(known["builds"].as_array().map(Vec::len), Some(20));
}

#[test]
fn pkg_59_a_viewer_sees_packages_and_an_operator_removes_none() {
    let mesh = Mesh::up();
    let project = golden(0o644);
    let (vera, otto) = (mesh.user("vera", "viewer"), mesh.user("otto", "operator"));
    let by = |creds: &str, words: &[&str]| mesh.aish([&["--creds", creds], words].concat());
    let path = shown(project.path());
    let _ = by(&vera, &["packages", "build", path]).failed(77);
    assert_eq!(ids(&mesh, &[]), [""; 0]);
    let made = by(&otto, &["packages", "build", path, "--json"]).good().json();
    assert_eq!((&made["created_by"], made["id"].as_str()), (&"otto".into(), Some(PACKAGE)));
    for words in [&["packages", "list"][..], &["packages", "show", "golden"], &["packages", "lineage", "golden"]] {
        let said = by(&vera, words).good();
        assert!(said.stdout.contains("golden"), "{said:?}");
    }
    for creds in [&vera, &otto] {
        let _ = by(creds, &["packages", "rm", "golden"]).failed(77);
    }
    let _ = mesh.aish(["packages", "rm", "golden"]).good();
    let noted = until("what was done with packages on record", Duration::from_secs(30), || {
        let lines: Vec<Value> = serde_json::from_str(&mesh.aish(["audit", "--json"]).stdout).ok()?;
        let of = |line: &Value, key: &str| line[key].as_str().unwrap_or_default().to_owned();
        let all = lines.iter().map(|line| (of(line, "caller"), of(line, "phase"), of(line, "skill")));
        let packages: Vec<_> = all.filter(|(_, _, skill)| skill.starts_with("packages.")).collect();
        let has = |caller: &str, phase: &str, skill: &str| {
            packages.contains(&(caller.to_owned(), phase.to_owned(), skill.to_owned()))
        };
        let refused = [("vera", "register"), ("vera", "rm"), ("otto", "rm")];
        let is_refused = refused.iter().all(|(caller, verb)| has(caller, "refused", &format!("packages.{verb}")));
        (is_refused && has("otto", "end", "packages.register")).then_some(packages)
    });
    assert!(noted.iter().any(|(caller, _, skill)| caller != "otto" && caller != "vera" && skill == "packages.rm"));
}

#[test]
fn packages_of_a_mesh_whose_bus_is_away_are_not_there() {
    let mesh = Mesh::up();
    let project = golden(0o644);
    let path = shown(project.path());
    let _ = mesh.aish(["down"]).good();
    for words in [&["packages", "build", path][..], &["packages", "list"]] {
        let _ = mesh.aish(words).refused(69);
    }
    assert_eq!(build(&mesh, project.path(), &["--local"])["id"], PACKAGE);
    let alone = Mesh::absent();
    let told = alone.aish(["packages", "build", path]);
    assert!(told.code == 0 && told.stderr.contains("data directory of this host"), "{told:?}");
}
