//! Packages in a registry of images: sent there, pulled from there by the engine, taken in from there.

use std::fs;

use aigis_tests::{Mesh, Registry, docker, nonce};
use serde_json::{Value, json};

use super::build::{golden, shown, write};

/// Ann with the password `U*U`, as htpasswd writes it with bcrypt.
const ANN: &str = "ann:$2a$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW\n";
/// The same, as `docker login` keeps it.
const LOGIN: &str = "YW5uOlUqVQ==";

/// The golden project with something of its own, so that no image of another test is its; and what became of it.
fn built(host: &Mesh, options: &[&str]) -> (tempfile::TempDir, Value) {
    let project = golden(0o644);
    write(project.path(), "own", &nonce());
    let made = host.aish([&["packages", "build", shown(project.path()), "--local", "--json"], options].concat());
    assert_eq!(made.code, 0, "{made:?}");
    (project, made.json())
}

fn push(host: &Mesh, words: &[&str]) -> Value {
    host.aish([&["packages", "push"], words, &["--local", "--json"]].concat()).good().json()
}

/// The id of the image that the engine pulls by that name.
fn pulled(name: &str) -> String {
    docker(None, &["pull", "--quiet", name]);
    let id = docker(None, &["image", "inspect", "--format", "{{.Id}}", name]);
    docker(None, &["image", "rm", "--force", name]);
    id
}

#[test]
fn pkg_48_what_is_pulled_is_what_was_pushed_and_nothing_is_sent_twice() {
    let (host, there, registry) = (Mesh::absent(), Mesh::absent(), Registry::open());
    let (_project, package) = built(&host, &["--tag", "v1"]);
    let name = format!("{}/acme/golden", registry.address);
    let first = push(&host, &["golden", &name]);
    assert_eq!((&first["reference"], &first["digest"]), (&json!(format!("{name}:v1")), &package["output"]));
    assert!(first["sent_bytes"].as_u64() > Some(0), "{first}");
    let image = &package["images"][0];
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    assert_eq!(pulled(&format!("{name}@{}", text(&image["output"]))), text(&image["config"]));
    assert_eq!(pulled(&format!("{name}@{}", text(&package["output"]))), text(&image["config"]));

    let uploads = registry.asked("\"POST /v2/");
    let again = host.aish(["packages", "push", "golden:v1", &name, "--local"]).good();
    assert_eq!(again.stdout.trim(), format!("{name}:v1@{}", text(&package["output"])));
    assert_eq!(push(&host, &["golden", &format!("{name}:v1")])["sent_bytes"], 0);
    assert!(uploads > 0 && registry.asked("\"POST /v2/") == uploads);

    // Elsewhere it is the same package, with what was said of it.
    let taken = there.aish(["packages", "import", again.stdout.trim(), "--json"]);
    assert_eq!((&taken.json()["id"], &taken.json()["created"]), (&package["id"], &json!(true)), "{taken:?}");
    assert_eq!(there.aish(["packages", "show", "golden:v1", "--json"]).good().json()["inputs"], package["inputs"]);
    let absent = format!("{name}@sha256:{}", "0".repeat(64));
    let _ = there.aish(["packages", "import", &absent]).refused(65);
    // An image of it is no package.
    let _ = there.aish(["packages", "import", &format!("{name}@{}", text(&image["output"]))]).refused(65);
}

#[test]
fn pkg_48_an_image_on_a_base_is_pulled_whole_and_its_base_is_sent_once() {
    let (mesh, registry, project) = (Mesh::up(), Registry::open(), tempfile::tempdir().unwrap());
    let manifest = json!({
        "manifest_version": "1.0", "project": {"name": "based"},
        "applications": {"api": {
            "type": "files", "build_commands": ["cp word.txt out.txt"], "run_command": ["/bin/cat", "/app/out.txt"],
            "network": false,
        }},
        "containers": {"api": {"base_image": "busybox", "applications": ["api"]}},
    });
    write(project.path(), "aigis.json", &manifest.to_string());
    let name = format!("{}/acme/based", registry.address);
    let sent = |word: &str| {
        write(project.path(), "word.txt", word);
        let built = mesh.aish(["packages", "build", shown(project.path()), "--json"]);
        assert_eq!(built.code, 0, "{built:?}");
        let pushed = mesh.aish(["packages", "push", "based", &format!("{name}:v1"), "--json"]).good().json();
        (built.json(), pushed["sent_bytes"].as_u64().unwrap())
    };
    let word = nonce();
    let (package, first) = sent(&word);
    let image = &package["images"][0];
    let size = |kind: &str| -> u64 {
        let layers = image["layers"].as_array().unwrap().iter().filter(|layer| layer["kind"] == kind);
        layers.map(|layer| layer["size_bytes"].as_u64().unwrap()).sum()
    };
    assert!(size("base") > 0 && first > size("base") + size("files"), "{first}: {package}");
    let again = mesh.aish(["packages", "push", "based", &format!("{name}:v1"), "--json"]).good().json();
    assert_eq!(again["sent_bytes"], 0);

    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let pinned = format!("{name}@{}", text(&image["output"]));
    docker(None, &["pull", "--quiet", &pinned]);
    let said = docker(None, &["run", "--rm", "--network", "none", &pinned]);
    let id = docker(None, &["image", "inspect", "--format", "{{.Id}}", &pinned]);
    docker(None, &["image", "rm", "--force", &pinned]);
    assert_eq!((said, id), (word, text(&image["config"])));
    assert_eq!(pulled(&format!("{name}@{}", text(&package["output"]))), text(&image["config"]));
    // What follows stands on the same base.
    let (_, second) = sent(&nonce());
    assert!(0 < second && second < size("base"), "{second} of a base of {}", size("base"));
}

#[test]
fn pkg_49_compressed_layers_are_another_digest_of_the_same_image() {
    let (host, there, registry) = (Mesh::absent(), Mesh::absent(), Registry::open());
    let (_project, package) = built(&host, &[]);
    let name = format!("{}/golden:z", registry.address);
    let first = push(&host, &["golden", &name, "--layers", "gzip"]);
    let second = push(&host, &["golden", &name, "--layers", "gzip"]);
    assert_ne!(first["digest"], package["output"]);
    assert_eq!((&second["digest"], &second["sent_bytes"]), (&first["digest"], &json!(0)));
    let digest = first["digest"].as_str().unwrap();
    assert_eq!(pulled(&name), package["images"][0]["config"]);
    let places = host.aish(["packages", "show", "golden", "--json"]).good().json()["places"].clone();
    assert_eq!(places, json!([{"reference": name, "digest": digest, "layers": "gzip"}]));
    push(&host, &["golden", &name]);
    let places = host.aish(["packages", "show", "golden", "--json"]).good().json()["places"].clone();
    assert_eq!((places.as_array().map(Vec::len), &places[0]["digest"]), (Some(2), &package["output"]));
    // Unpacked, it is the package itself again.
    let taken = there.aish(["packages", "import", &format!("{name}@{digest}"), "--json"]);
    assert_eq!((&taken.json()["id"], &taken.json()["created"]), (&package["id"], &json!(true)), "{taken:?}");
}

#[test]
fn pkg_48_a_registry_with_users_takes_the_login_of_docker_and_tells_what_it_lacks() {
    let (host, registry) = (Mesh::absent(), Registry::guarded(ANN));
    let (project, _package) = built(&host, &[]);
    let name = format!("{}/golden", registry.address);
    let config = project.path().join("config.json");
    let environment = [("DOCKER_CONFIG", shown(project.path()).to_owned())];
    let attempt = || host.aish_in(&environment, ["packages", "push", "golden", &name, "--local"]);
    let refused = attempt().failed(77);
    assert!(refused.stderr.contains("docker login"), "{refused:?}");
    fs::write(&config, json!({"auths": {&registry.address: {}}, "credsStore": "x"}).to_string()).unwrap();
    let unread = attempt().failed(1);
    assert!(unread.stderr.contains("docker-credential-x"), "{unread:?}");
    fs::write(&config, json!({"auths": {&registry.address: {"auth": LOGIN}}}).to_string()).unwrap();
    let _ = attempt().good();
    let _ = host.aish(["packages", "push", "golden", "127.0.0.1:1/golden", "--local"]).failed(69);
    let _ = host.aish(["packages", "push", "golden", "--local"]).failed(1);
}

#[test]
fn pkg_18_bases_are_pinned_by_what_a_registry_says_they_are() {
    let (host, registry, project) = (Mesh::absent(), Registry::open(), tempfile::tempdir().unwrap());
    let (_golden, package) = built(&host, &[]);
    push(&host, &["golden", &format!("{}/library/python:3.13", registry.address)]);
    write(project.path(), "main.py", "print('x')\n");
    write(project.path(), ".python-version", "3.13\n");
    let settings = tempfile::tempdir().unwrap();
    let environment = [("AIGIS_CONFIG_DIR", shown(settings.path()).to_owned())];
    let propose = |bases: String| {
        fs::write(settings.path().join("packages.toml"), bases).unwrap();
        host.aish_in(&environment, ["dockerfile", shown(project.path()), "--pin"])
    };
    let output = package["output"].as_str().unwrap();
    // At the registry that its name says, and at a mirror of that.
    let own = format!("{}/library/python:3.13", registry.address);
    let found = propose(format!("[bases]\npython = \"{own}\"\n"));
    assert!(found.code == 0 && found.stdout.contains(&format!("FROM {own}@{output}")), "{found:?}");
    let mirrored = format!(
        "[bases]\npython = \"registry.invalid/library/python:3.13\"\n[mirrors]\n\"registry.invalid\" = [\"{}\"]\n",
        registry.address
    );
    let found = propose(mirrored);
    assert!(
        found.code == 0 && found.stdout.contains(&format!("FROM registry.invalid/library/python:3.13@{output}")),
        "{found:?}"
    );
    let absent = propose(format!("[bases]\npython = \"{}/nothing:1\"\n", registry.address));
    assert!(absent.code == 65 && absent.stderr.contains("--pin") && absent.stdout.is_empty(), "{absent:?}");
}

#[test]
fn pkg_50_what_a_registry_changed_is_not_taken() {
    let (host, there, registry) = (Mesh::absent(), Mesh::absent(), Registry::open());
    let (_project, package) = built(&host, &[]);
    let pushed = push(&host, &["golden", &format!("{}/golden:v1", registry.address)]);
    let layer = package["images"][0]["layers"][0]["digest"].as_str().unwrap().strip_prefix("sha256:").unwrap();
    let blob = registry.store().join(format!("docker/registry/v2/blobs/sha256/{}/{layer}/data", &layer[..2]));
    let mut bytes = fs::read(&blob).unwrap();
    bytes[1000] ^= 1;
    fs::write(&blob, bytes).unwrap();
    let name = format!("{}@{}", pushed["reference"].as_str().unwrap(), pushed["digest"].as_str().unwrap());
    let _ = there.aish(["packages", "import", &name]).refused(65);
    assert_eq!(there.aish(["packages", "list", "--json"]).good().json(), json!([]));
}

#[test]
fn pkg_59_an_operator_pushes_and_a_viewer_does_not() {
    let (mesh, registry) = (Mesh::up(), Registry::open());
    let project = golden(0o644);
    let _ = mesh.aish(["packages", "build", shown(project.path())]).good();
    let (vera, otto) = (mesh.user("vera", "viewer"), mesh.user("otto", "operator"));
    let name = format!("{}/golden:v1", registry.address);
    let by = |creds: &str| mesh.aish(["--creds", creds, "packages", "push", "golden", &name]);
    let _ = by(&vera).failed(77);
    assert_eq!(registry.asked("/v2/golden"), 0);
    let _ = by(&otto).good();
    let known = mesh.aish(["packages", "show", "golden", "--json"]).good().json();
    assert_eq!(known["places"][0]["reference"], json!(name));
    aigis_tests::until("the push on record", std::time::Duration::from_secs(30), || {
        let lines: Vec<Value> = serde_json::from_str(&mesh.aish(["audit", "--json"]).stdout).ok()?;
        let has = |caller: &str, phase: &str| {
            lines
                .iter()
                .any(|line| line["caller"] == caller && line["phase"] == phase && line["skill"] == "packages.push")
        };
        (has("vera", "refused") && has("otto", "end")).then_some(())
    });
}
