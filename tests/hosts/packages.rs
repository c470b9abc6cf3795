//! Packages that several hosts build of the same sources.

use std::fs;

use aigis_tests::{Fleet, GOLDEN, Mesh, golden, nonce};
use serde_json::{Value, json};

use crate::crew::operator;

/// How many builds there are at once.
const BUILDS: usize = 20;

/// Begins a build on a host, and gives what waits for it.
fn begin(mesh: &Mesh, creds: &str, path: &str) -> impl FnOnce() -> Value {
    let build = mesh.spawn(["--creds", creds, "packages", "build", path, "--json"]);
    move || {
        let ended = build.wait_with_output().unwrap();
        assert!(ended.status.success(), "{ended:?}");
        serde_json::from_slice(&ended.stdout).unwrap()
    }
}

#[test]
fn pkg_33_pkg_55_whichever_hosts_build_it_it_is_one_package() {
    let fleet = Fleet::shared();
    let [alpha, beta, gamma] = ["alpha", "beta", "gamma"].map(|host| fleet.on(host));
    let creds = operator(&fleet);
    let (project, copy) = (golden(0o644), golden(0o600));
    let [here, there] = [&project, &copy].map(|one| one.path().to_str().unwrap());
    let [first, second] = [(alpha, here), (beta, there)].map(|(host, path)| begin(host, &creds, path)());
    for (built, created) in [(&first, true), (&second, false)] {
        assert_eq!((built["id"].as_str(), &built["created"]), (Some(GOLDEN), &json!(created)), "{built}");
    }
    let shown = |id: &str| gamma.aish(["packages", "show", id, "--json"]).good().json();
    let nodes = |shown: &Value| -> Vec<String> {
        let builds = shown["builds"].as_array().unwrap().iter();
        builds.map(|build| build["node"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(nodes(&shown(GOLDEN)), ["alpha", "beta"]);

    // At once, from all three.
    let own = nonce();
    for directory in [&project, &copy] {
        fs::write(directory.path().join("own"), &own).unwrap();
    }
    let hosts = [alpha, beta, gamma].into_iter().cycle();
    let builds: Vec<_> = hosts
        .zip([here, there].into_iter().cycle())
        .take(BUILDS)
        .map(|(host, path)| begin(host, &creds, path))
        .collect();
    let made: Vec<Value> = builds.into_iter().map(|build| build()).collect();
    assert_eq!(made.iter().filter(|one| one["created"] == true).count(), 1);
    let id = made[0]["id"].as_str().unwrap();
    assert!(id != GOLDEN && made.iter().all(|one| one["id"] == id), "{made:?}");
    let mut counted = nodes(&shown(id));
    counted.sort();
    assert_eq!(counted.len(), BUILDS);
    counted.dedup();
    assert_eq!(counted, ["alpha", "beta", "gamma"]);
}
