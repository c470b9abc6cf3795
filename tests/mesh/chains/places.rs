//! Apps at their place: what runs again and again, what is left behind, and where images come from.

use aigis_tests::{Container, Mesh, docker, nonce, until};

use crate::plugins;

use super::{
    COPY, LIMIT, Source, ended,
    running::{containers, removed, web},
};

/// The name of an image, which goes with the test.
struct Tag(String);

impl Drop for Tag {
    fn drop(&mut self) {
        let _ = std::process::Command::new("docker").args(["rmi", &self.0]).output();
    }
}

#[test]
fn chn_57_an_app_that_crashes_again_and_again_is_unhealthy_and_says_why() {
    let (mesh, source) = (Mesh::up(), Source::new(&[]));
    source.write("Dockerfile", "FROM busybox\nEXPOSE 8080\nCMD httpd -p 8080 -h /; sleep 2; exit 3\n");
    let _ran = ended(source.push(&mesh, &["--until", "ready"]), 0);
    let health = until("it is called a crash loop", LIMIT, || {
        let ran = mesh.aish([source.name.as_str(), "health", "--json"]);
        (ran.code == 0).then(|| ran.json()).filter(|health| health["verdict"] == "unhealthy")
    });
    assert!(health["checks"].to_string().contains("crash loop: it was started again 4 times"), "{health}");
    let said = mesh.aish([source.name.as_str(), "health"]).stdout;
    assert!(said.contains("unhealthy") && said.contains("crash loop"), "{said}");
    let status = mesh.aish([source.name.as_str(), "status", "--json"]).good().json();
    assert_eq!(status["health"], "unhealthy", "{status}");
    assert_eq!(status["instance"]["restarts"], 4, "{status}");
    removed(&mesh, &source);
}

#[test]
fn chn_60_the_name_of_a_container_is_not_taken_over() {
    let (mesh, source, name) = (Mesh::up(), web("none"), format!("c-{}", nonce()));
    let container = Container::run(&name, &[], "busybox", &["sleep", "1000"]);
    let _row = mesh.live(&name, &container.id);
    for options in [&["--name", name.as_str()][..], &["--name", name.as_str(), "--replace"]] {
        let refused = ended(source.push(&mesh, options), 1);
        assert!(refused.stderr.contains(&name) && refused.stderr.contains("container"), "{}", refused.stderr);
    }
    assert_eq!(mesh.aish(["apps", "list", "--json"]).good().json(), serde_json::json!([]));
    assert_eq!(container.inspect()["State"]["Status"], "running");
}

#[test]
fn chn_60_the_name_of_a_plugin_is_not_taken_over() {
    let ((_plugins, mesh), source) = (plugins::fx(), web("none"));
    for options in [&["--name", "fx"][..], &["--name", "fx", "--replace"]] {
        let refused = ended(source.push(&mesh, options), 1);
        assert!(refused.stderr.contains("fx") && refused.stderr.contains("plugin"), "{}", refused.stderr);
    }
    assert_eq!(mesh.aish(["apps", "list", "--json"]).good().json(), serde_json::json!([]));
    assert_eq!(mesh.aish(["call", "cool.nolog", "21"]).good().stdout.trim(), "42");
}

#[test]
fn an_app_that_is_stopped_has_no_container_when_its_node_goes_down_at_once() {
    let (mesh, source) = (Mesh::up(), web("stops"));
    let _ran = ended(source.push(&mesh, &["--until", "ready"]), 0);
    assert_eq!(containers(&source.name).len(), 1);
    let _stopped = ended(mesh.aish(["apps", "stop", &source.name]), 0);
    let _down = ended(mesh.aish(["down"]), 0);
    assert!(containers(&source.name).is_empty(), "{:?}\n{}", containers(&source.name), mesh.log());
    mesh.start();
    let stopped = |row: &serde_json::Value| row["name"] == source.name.as_str() && row["status"] == "stopped";
    let rows = mesh.aish(["apps", "list", "--json"]).good().json();
    assert!(rows.as_array().unwrap().iter().any(stopped), "{rows}");
    removed(&mesh, &source);
}

#[test]
fn what_apps_left_on_the_engine_goes_with_the_next_start() {
    let (mesh, source) = (Mesh::up(), web("left"));
    let _ran = ended(source.push(&mesh, &["--until", "ready"]), 0);
    let own = containers(&source.name);
    let labels = docker(None, &["inspect", "--format", "{{index .Config.Labels \"aigis.node\"}}", &own[0]]);
    let app = format!("gone-{}", nonce());
    let (owner, node) = (format!("aigis.owner=app/{app}"), format!("aigis.node={}", labels.trim()));
    // A node that runs would clear it away at once.
    let _down = ended(mesh.aish(["down"]), 0);
    let network = docker(None, &["network", "create", "--label", &owner, "--label", &node, &format!("aigis-{app}.x")]);
    let (network, name) = (network.trim(), format!("aigis-{app}-1"));
    let container = ["run", "-d", "--name", &name, "--label", &owner, "--label", &node, "--network", network];
    let _left = docker(None, &[&container[..], &["busybox", "sleep", "1000"]].concat());
    mesh.start();
    until("the container is gone", LIMIT, || containers(&app).is_empty().then_some(()));
    until("the network is gone", LIMIT, || {
        docker(None, &["network", "ls", "-q", "--filter", &format!("label={owner}")]).is_empty().then_some(())
    });
    assert_eq!(containers(&source.name), own, "what is named runs on");
    removed(&mesh, &source);
}

#[test]
fn a_host_says_what_stands_for_an_image_and_which_mirror_is_asked() {
    let (mesh, mark) = (Mesh::absent(), nonce());
    // What a mirror would have given, as if it had been pulled before.
    let mirrored = format!("localhost:1/hub/tools/{mark}:1");
    docker(None, &["tag", "busybox", &mirrored]);
    let _tag = Tag(mirrored);
    std::fs::create_dir_all(mesh.path()).unwrap();
    let settings = "name = \"alpha\"\n[builds.base_images]\n\"nosuch.example/base:1\" = \"busybox\"\n\
        [builds.mirrors]\n\"mirrored.example\" = \"localhost:1/hub\"\n";
    std::fs::write(mesh.path().join("node.toml"), settings).unwrap();
    let _up = ended(mesh.aish(["up", "--detach", "--listen", "127.0.0.1:0"]), 0);
    let source = Source::new(&[]);
    let dockerfile = format!(
        "ARG V=1\nFROM nosuch.example/base:$V\nCOPY --from=mirrored.example/tools/{mark}:1 /bin/busybox /tool/busybox\n\
        CMD [\"/tool/busybox\", \"echo\", \"built\"]\n"
    );
    source.write("Dockerfile", &dockerfile);
    let ran = ended(source.push(&mesh, &[]), 0);
    assert_eq!(ran.stdout, "built\n", "{}", ran.stderr);
    assert_eq!(source.read("Dockerfile"), Some(dockerfile), "the app's own is as it was");
    // The same for what an app runs without a build.
    let runs = source.assistant(
        "runs",
        &format!(
            "{COPY}echo nosuch.example/base:1 > /out/state/image\n\
            echo '[\"echo\", \"run\"]' > /out/state/cmd\necho builtin:exec > /out/state/next"
        ),
    );
    let ran = ended(source.push(&mesh, &["--assistant", &runs]), 0);
    assert_eq!(ran.stdout, "run\n", "{}", ran.stderr);
    let absent = source.assistant(
        "absent",
        &format!("{COPY}echo mirrored.example/no/{mark}:2 > /out/state/image\necho builtin:exec > /out/state/next"),
    );
    let ran = source.push(&mesh, &["--assistant", &absent]);
    assert!(ran.code != 0 && ran.stderr.contains("cannot be pulled"), "{ran:?}");
    removed(&mesh, &source);
}
