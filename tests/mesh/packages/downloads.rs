//! What phases download: kept for the next ones of the same person and project, in no output, and trusted by no fresh build.

use std::fs;

use aigis_tests::{Mesh, Ran, docker, nonce};
use serde_json::{Value, json};

/// What a package manager does with its cache, and one that builds into it: what was there is said.
const COMMAND: &str = "cd \"$PIP_CACHE_DIR\" && cat http/* wheels/* 2>/dev/null; test -e http/seen || echo nothing there; \
    mkdir wheels && cp /app/source.txt http/seen && cp /app/source.txt wheels/built && \
    test -d \"$npm_config_cache\"/_cacache && env | sort > /app/out.txt";

fn project(name: &str, source: &str) -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    let manifest = json!({
        "manifest_version": "1.0", "project": {"name": name},
        "applications": {"api": {"type": "files", "build_commands": [COMMAND], "run_command": ["/bin/cat", "/app/out.txt"]}},
        "containers": {"api": {"base_image": "busybox", "applications": ["api"]}},
    });
    fs::write(directory.path().join("aigis.json"), manifest.to_string()).unwrap();
    fs::write(directory.path().join("source.txt"), format!("{source}\n")).unwrap();
    directory
}

/// The volumes of a mesh's own node, gone with the test.
struct Volumes(String);

impl Volumes {
    fn of(mesh: &Mesh) -> Self {
        let nodes = mesh.aish(["nodes", "--json"]).good().json();
        Self(format!("label=aigis.node={}", nodes[0]["id"].as_str().unwrap()))
    }

    fn all(&self) -> Vec<String> {
        let listed =
            docker(None, &["volume", "ls", "-q", "--filter", &self.0, "--filter", "label=aigis.owner=downloads"]);
        listed.split_whitespace().map(str::to_owned).collect()
    }
}

impl Drop for Volumes {
    fn drop(&mut self) {
        for volume in self.all() {
            docker(None, &["volume", "rm", &volume]);
        }
    }
}

#[test]
fn pkg_44_downloads_are_of_one_person_and_project_and_change_no_output() {
    let mesh = Mesh::up();
    let volumes = Volumes::of(&mesh);
    let (name, first, second) = (format!("downloads-{}", nonce()), nonce(), nonce());
    let built = |directory: &tempfile::TempDir, options: &[&str]| -> Ran {
        let path = directory.path().to_str().unwrap();
        let ran = mesh.aish([&["packages", "build", path, "--json"], options].concat());
        assert_eq!(ran.code, 0, "{ran:?}");
        ran
    };
    let id = |ran: &Ran| -> Value { ran.json()["id"].clone() };
    let shop = project(&name, &first);
    let before = built(&shop, &["--no-cache"]);
    assert!(before.stderr.contains("nothing there") && volumes.all().is_empty(), "{before:?}");

    // Another source: the phase runs, and finds what was downloaded; not what was built.
    let again = built(&project(&name, &second), &[]);
    assert!(again.stderr.contains("nothing there"), "{again:?}");
    assert_eq!(volumes.all().len(), 1);
    let third = project(&name, &format!("{first} "));
    let found = built(&third, &[]);
    assert!(found.stderr.contains(&second), "{found:?}");
    assert_eq!(found.stderr.matches(&second).count(), 1, "of wheels nothing is kept: {found:?}");
    // With what was there and without: the very same image, of one layer.
    let fresh = built(&third, &["--no-cache"]);
    assert!(fresh.stderr.contains("nothing there"), "{fresh:?}");
    assert_eq!((id(&fresh), fresh.json()["created"].clone()), (id(&found), json!(false)));
    let layers = found.json()["images"][0]["layers"].clone();
    let kinds: Vec<&Value> = layers.as_array().unwrap().iter().map(|layer| &layer["kind"]).collect();
    assert_eq!(kinds, ["base", "files"]);

    // Nobody else finds it: neither another project, nor another person.
    let other = built(&project(&format!("{name}-other"), &nonce()), &[]);
    assert!(other.stderr.contains("nothing there"), "{other:?}");
    let otto = mesh.user("otto", "operator");
    let by_otto = built(&project(&name, &nonce()), &["--creds", &otto]);
    assert!(by_otto.stderr.contains("nothing there"), "{by_otto:?}");
    assert_eq!(volumes.all().len(), 3);
}
