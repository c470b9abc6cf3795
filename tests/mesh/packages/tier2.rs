//! Images that an engine takes in, and images that Dockerfiles make.

use std::{
    path::Path,
    process::Command,
    time::{Duration, Instant},
};

use aigis_registry::archive::{Sink as _, Writer};
use aigis_tests::{Mesh, docker, nonce, until};
use serde_json::{Value, json};

use super::build::{golden, shown, write};

/// Removes images by their names at the end, whatever happens.
pub(super) struct Names(pub(super) Vec<String>);

impl Drop for Names {
    fn drop(&mut self) {
        for name in &self.0 {
            let _ = std::process::Command::new("docker").args(["image", "rm", name]).output();
        }
    }
}

/// What the engine calls the image of a container of a package.
pub(super) fn name_of(record: &Value, container: &str) -> String {
    let digits = record["id"].as_str().unwrap().strip_prefix("sha256:").unwrap().get(..12).unwrap();
    format!("{}/{container}:{digits}", record["project"].as_str().unwrap())
}

/// The id of an image of the engine.
pub(super) fn id_of(name: &str) -> String {
    docker(None, &["image", "inspect", "--format", "{{.Id}}", name])
}

#[test]
fn pkg_47_an_image_that_is_loaded_is_the_one_that_was_built() {
    let (mesh, project) = (Mesh::up(), golden(0o644));
    // An image of this test alone, so that none of another's is taken away.
    write(project.path(), "own", &nonce());
    let built = mesh.aish(["packages", "build", shown(project.path()), "--load", "--json"]);
    assert_eq!(built.code, 0, "{built:?}");
    let record = built.json();
    let name = name_of(&record, "hello");
    let _names = Names(vec![name.clone()]);
    assert!(built.stderr.contains(&name), "{built:?}");
    assert_eq!(id_of(&name), record["images"][0]["config"].as_str().unwrap());
    let again = mesh.aish(["packages", "build", shown(project.path()), "--load"]);
    assert_eq!((again.code, again.stdout.trim()), (0, record["id"].as_str().unwrap()), "{again:?}");

    // A host without a node has no engine to give them to, and says so before it builds.
    let alone = Mesh::absent();
    let _ = alone.aish(["packages", "build", shown(project.path()), "--load"]).refused(69);
    assert_eq!(alone.aish(["packages", "list", "--json"]).good().json(), json!([]));
}

/// A project that a Dockerfile makes; its directory is in the way of nobody.
fn project(dockerfile: &str) -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    let manifest = json!({
        "manifest_version": "1.0", "project": {"name": format!("tier2-{}", nonce())},
        "containers": {"api": {"dockerfile": "Dockerfile"}},
    });
    write(directory.path(), "aigis.json", &manifest.to_string());
    write(directory.path(), "Dockerfile", dockerfile);
    write(directory.path(), ".dockerignore", "Dockerfile\n.dockerignore\naigis.*\nleft-out\n");
    write(directory.path(), "word.txt", &nonce());
    write(directory.path(), "left-out", "x");
    directory
}

fn build(mesh: &Mesh, project: &Path, options: &[&str]) -> Value {
    let ran = mesh.aish([&["packages", "build", shown(project), "--json"], options].concat());
    assert_eq!(ran.code, 0, "{ran:?}");
    ran.json()
}

fn parsed(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

#[test]
fn pkg_45_pkg_47_an_image_of_a_dockerfile_stands_unchanged_on_its_base_and_is_the_same_again() {
    let project =
        project("FROM busybox\nWORKDIR /srv/app\nCOPY . .\nRUN date > /dev/null\nCMD [\"cat\", \"word.txt\"]\n");
    let (alpha, begun) = (Mesh::up(), Instant::now());
    let first = build(&alpha, project.path(), &["--no-cache", "--load"]);
    let name = name_of(&first, "api");
    let _names = Names(vec![name.clone()]);
    let image = &first["images"][0];
    assert_eq!((&image["tier"], &first["created"]), (&json!(2), &json!(true)));
    assert_eq!(id_of(&name), image["config"].as_str().unwrap());
    let said = docker(None, &["run", "--rm", "--network", "none", &name]);
    assert_eq!(said.trim(), std::fs::read_to_string(project.path().join("word.txt")).unwrap());
    let base = docker(None, &["image", "inspect", "--format", "{{json .RootFS.Layers}}", "busybox"]);
    let of_base = image["layers"].as_array().unwrap().iter().filter(|layer| layer["kind"] == "base");
    let of_base: Vec<Value> = of_base.map(|layer| layer["digest"].clone()).collect();
    assert_eq!(Value::from(of_base), parsed(&base));

    // Whatever tells times has moved on.
    until("two seconds have passed", Duration::from_secs(10), || {
        (begun.elapsed() >= Duration::from_secs(2)).then_some(())
    });
    let again = build(&alpha, project.path(), &["--no-cache"]);
    assert_eq!((&again["id"], &again["created"]), (&first["id"], &json!(false)));
    let known = alpha.aish(["packages", "show", first["id"].as_str().unwrap(), "--json"]).good().json();
    assert_eq!((&known["reproducible"], known["builds"].as_array().map(Vec::len)), (&json!("unchecked"), Some(2)));

    // Whoever verifies it measures it.
    let verified = alpha.aish(["packages", "verify", first["id"].as_str().unwrap(), "--json"]);
    assert_eq!(verified.code, 0, "{verified:?}");
    let report = verified.json();
    assert_eq!((&report["differences"], &report["reproducible"]), (&json!([]), &json!("yes")), "{report}");

    // A line that fails is told, and nothing of it is kept.
    write(project.path(), "Dockerfile", "FROM busybox\nRUN echo begun && exit 9\n");
    let failed = alpha.aish(["packages", "build", shown(project.path())]).failed(1);
    assert!(failed.stderr.contains("Dockerfile:2") && failed.stderr.contains("begun"), "{failed:?}");
    assert_eq!(alpha.aish(["packages", "list", "--json"]).good().json().as_array().map(Vec::len), Some(1));
    let _ = alpha.aish(["packages", "build", shown(project.path()), "--local"]).refused(69);
}

/// A file with the capability to read whatever it likes, in an archive that `ADD` unpacks.
fn capable(program: &[u8]) -> Vec<u8> {
    // Version 2, effective; permitted: the first bit, `CAP_DAC_OVERRIDE`.
    let mut capability = [0; 20];
    capability[..8].copy_from_slice(&[1, 0, 0, 2, 2, 0, 0, 0]);
    let mut writer = Writer::new(Vec::new());
    writer.capability(&capability).unwrap();
    writer.file("busybox", true, program.len() as u64).unwrap();
    writer.content(program).unwrap();
    writer.end_file(program.len() as u64).unwrap();
    writer.end().unwrap()
}

#[test]
fn pkg_46_pkg_47_special_files_are_as_the_engine_itself_builds_them() {
    const LOOKS: &str = "stat -c '%n %a %u:%g %F' /srv/deep /srv/deep/empty /opt/set /opt/busybox /tmp /kept /srv/app; \
        ls -A /srv/app; ls /etc/group 2>&1; /opt/busybox cat /kept; cat /kept 2>&1; id -u; pwd; echo $WORD; readlink /link";
    let project = project(
        "FROM busybox\nWORKDIR /srv/deep/empty\nADD caps.tar /opt/\n\
        RUN cp /bin/busybox /opt/set && chmod 4755 /opt/set && mkdir -p /tmp/sub && chmod 1777 /tmp && rm /etc/group\n\
        RUN echo kept > /kept && chmod 600 /kept && touch /tmp/sub/x && ln -s /opt/set /link\n\
        RUN rm -r /tmp/sub && mkdir /tmp/sub && touch /tmp/sub/y\n\
        COPY . /srv/app\nUSER 7:7\nENV WORD=said\nVOLUME /data\nHEALTHCHECK CMD [\"true\"]\nENTRYPOINT [\"sh\", \"-c\"]\n",
    );
    let program = Command::new("docker").args(["run", "--rm", "busybox", "cat", "/bin/busybox"]).output().unwrap();
    assert!(program.status.success(), "{program:?}");
    std::fs::write(project.path().join("caps.tar"), capable(&program.stdout)).unwrap();
    let mesh = Mesh::up();
    let record = build(&mesh, project.path(), &["--load", "--no-cache"]);
    let ours = name_of(&record, "api");
    let engines = format!("{}:engine", ours.split(':').next().unwrap());
    let _names = Names(vec![ours.clone(), engines.clone()]);
    let made = Command::new("docker")
        .args(["build", "--quiet", "--tag", &engines, shown(project.path())])
        .env("DOCKER_BUILDKIT", "0")
        .output()
        .unwrap();
    assert!(made.status.success(), "{made:?}");
    let looks = |name: &str| docker(None, &["run", "--rm", "--network", "none", name, LOOKS]);
    let seen = looks(&ours);
    assert_eq!(seen, looks(&engines));
    for line in ["/opt/set 4755 0:0 regular file", "/tmp 1777 0:0 directory", "/srv/deep/empty 755 0:0 directory"] {
        assert!(seen.contains(line), "{seen}");
    }
    // The capability reads what the user may not.
    assert!(seen.contains("\nkept\n") && seen.contains("can't open '/kept'"), "{seen}");
    assert!(seen.contains("/etc/group: No such file") && !seen.contains(".aigis"), "{seen}");
    let about = |name: &str| parsed(&docker(None, &["image", "inspect", "--format", "{{json .Config}}", name]));
    let (own, engines) = (about(&ours), about(&engines));
    for key in ["User", "Env", "Entrypoint", "Cmd", "Volumes", "Healthcheck", "WorkingDir", "ExposedPorts"] {
        assert_eq!(own[key], engines[key], "{key}");
    }
    assert_eq!(id_of(&ours), record["images"][0]["config"].as_str().unwrap());
}
