//! What phases stand on, what they are given, and what becomes of them when somebody dies.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use aigis_tests::{Events, Mesh, Ran, docker, nonce, until};
use serde_json::{Value, json};

/// How long a build with a few short phases may take.
pub(super) const BUILT: Duration = Duration::from_secs(120);

/// A project in a directory of its own.
pub(super) struct Project {
    directory: tempfile::TempDir,
    name: String,
}

impl Project {
    fn new(applications: &Value, containers: &Value) -> Self {
        let project = Self { directory: tempfile::tempdir().unwrap(), name: format!("tier-{}", nonce()) };
        let manifest = json!({
            "manifest_version": "1.0", "project": {"name": project.name},
            "applications": applications, "containers": containers,
        });
        project.write("aigis.json", &manifest.to_string());
        project.write("source.txt", "source\n");
        project
    }

    /// One whose only application is built by these commands, on busybox and without a network.
    pub(super) fn built_by(commands: &[&str], more: &Value) -> Self {
        let mut application = json!({
            "type": "files", "build_commands": commands, "run_command": ["/bin/cat", "/app/out.txt"], "network": false,
        });
        application.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        Self::new(&json!({"api": application}), &json!({"api": {"base_image": "busybox", "applications": ["api"]}}))
    }

    pub(super) fn write(&self, path: &str, content: &str) {
        fs::write(self.directory.path().join(path), content).unwrap();
    }

    pub(super) fn path(&self) -> PathBuf {
        self.directory.path().to_owned()
    }

    pub(super) fn arguments<'a>(&'a self, options: &[&'a str]) -> Vec<&'a str> {
        [&["packages", "build", self.directory.path().to_str().unwrap(), "--json"], options].concat()
    }

    pub(super) fn build(&self, mesh: &Mesh, options: &[&str]) -> Ran {
        mesh.aish(self.arguments(options))
    }

    fn has_lock(&self) -> bool {
        self.path().join("aigis.lock").exists()
    }
}

/// What an image of a package writes when it is run.
fn answer(mesh: &Mesh, project: &Project, id: &Value, container: &str) -> String {
    let id = id.as_str().unwrap();
    let archive = project.path().with_extension("tar");
    let _ = mesh.aish(["packages", "export", id, "-o", archive.to_str().unwrap()]).good();
    docker(None, &["load", "-i", archive.to_str().unwrap()]);
    fs::remove_file(&archive).unwrap();
    let short = id.strip_prefix("sha256:").unwrap().get(..12).unwrap();
    let record = mesh.aish(["packages", "show", id, "--json"]).good().json();
    let images = record["images"].as_array().unwrap().clone();
    let tag = |container: &str| format!("{}/{container}:{short}", project.name);
    let said = docker(None, &["run", "--rm", "--network", "none", &tag(container)]);
    for image in images {
        docker(None, &["rmi", &tag(image["container"].as_str().unwrap())]);
    }
    said
}

/// The label that containers of a mesh's own node bear.
pub(super) fn label(mesh: &Mesh) -> String {
    label_of(mesh, "alpha")
}

/// The label that containers of the node of that name bear.
fn label_of(mesh: &Mesh, name: &str) -> String {
    let nodes = mesh.aish(["nodes", "--json"]).good().json();
    let node = nodes.as_array().unwrap().iter().find(|node| node["name"] == name).unwrap();
    format!("aigis.node={}", node["id"].as_str().unwrap())
}

/// The containers of builds on a node.
pub(super) fn building(label: &str) -> Vec<String> {
    let listed = docker(None, &["ps", "-aq", "--filter", &format!("label={label}"), "--filter", "name=aigis-build-"]);
    listed.lines().map(str::to_owned).collect()
}

/// The containers of phases that a node has made since these events are followed.
pub(super) fn phases(events: &mut Events, label: &str) -> Vec<String> {
    let (label, value) = label.split_once('=').unwrap();
    events.made(label, value).into_iter().filter(|name| name.starts_with("aigis-build-")).collect()
}

/// Whether a file below a directory holds some bytes.
fn holds(directory: &Path, bytes: &[u8]) -> bool {
    fs::read_dir(directory).unwrap().filter_map(Result::ok).any(|entry| match entry.file_type() {
        Ok(kind) if kind.is_dir() => holds(&entry.path(), bytes),
        Ok(kind) if kind.is_file() => {
            fs::read(entry.path()).is_ok_and(|content| content.windows(bytes.len()).any(|window| window == bytes))
        }
        _ => false,
    })
}

/// Whether a process of this machine was started with some bytes among its arguments or in its environment.
fn is_told(bytes: &[u8]) -> bool {
    let processes = fs::read_dir("/proc").unwrap().filter_map(|entry| Some(entry.ok()?.path()));
    let told = processes.flat_map(|process| ["cmdline", "environ"].map(|file| fs::read(process.join(file))));
    told.flatten().any(|told| told.windows(bytes.len()).any(|window| window == bytes))
}

#[test]
fn pkg_34_phases_stand_on_another_container_and_get_what_is_copied() {
    let files = |commands: &[&str]| json!({"type": "files", "network": false, "build_commands": commands});
    let mut kit = files(&["mkdir -p /opt/kit /srv/old", "echo kit > /opt/kit/word", "echo old > /srv/old/word"]);
    kit["env"] = json!({"KIT": "known"});
    let mut web = files(&["mkdir dist", "cat source.txt > dist/page.txt", "echo no > other.txt"]);
    web["build_image"] = "busybox".into();
    web["outputs"] = json!(["dist"]);
    let mut api =
        files(&["cat /opt/kit/word public/page.txt /srv/page.txt > out.txt", "echo $KIT >> out.txt", "rm -r /srv/old"]);
    api["run_command"] = json!(["/bin/sh", "-c", "cat /app/out.txt; ls /srv"]);
    api["copy"] = json!([
        {"from": "web", "path": "dist", "to": "public"}, {"from": "web", "path": "dist/page.txt", "to": "/srv/"},
    ]);
    let project = Project::new(
        &json!({"kit": kit, "web": web, "api": api}),
        &json!({
            "base": {"base_image": "busybox", "applications": ["kit"]},
            "api": {"base_image": "container:base", "applications": ["api"]},
        }),
    );
    let mesh = Mesh::up();
    let record = project.build(&mesh, &[]).built().json();
    let [api, base] = [0, 1].map(|index| record["images"][index].clone());
    assert_eq!((&api["container"], &api["tier"], &base["container"]), (&json!("api"), &json!(1), &json!("base")));
    assert_eq!(api["applications"], json!(["api", "web"]));
    let digests = |image: &Value| -> Vec<Value> {
        image["layers"].as_array().unwrap().iter().map(|layer| layer["digest"].clone()).collect()
    };
    assert!(digests(&api).starts_with(&digests(&base)), "{record}");
    assert_eq!(digests(&api).len(), digests(&base).len() + 2, "what lies below is in no layer of its own: {record}");
    let said = answer(&mesh, &project, &record["id"], "api");
    assert_eq!(said, "kit\nsource\nsource\nknown\npage.txt");
    let again = project.build(&mesh, &["--no-cache", "--locked"]).built().json();
    assert_eq!((&again["id"], &again["created"]), (&record["id"], &json!(false)));
    assert_eq!(building(&label(&mesh)), Vec::<String>::new());
}

#[test]
fn pkg_40_a_build_secret_is_read_and_is_in_nothing_that_stays() {
    let mesh = Mesh::up();
    let value = |word: &str| format!("{word}{}", "x".repeat(30)).chars().take(30).collect::<String>();
    let own = json!({"build_secrets": ["KEY"]});
    let project = Project::built_by(
        &[
            "test $(wc -c < /run/secrets/KEY) = 30 && sha256sum < /run/secrets/KEY > /tmp/x",
            "cat /run/secrets/KEY",
            // No process was given it, neither as an argument nor by its environment.
            "for one in /proc/[0-9]*/cmdline /proc/[0-9]*/environ; do ! grep -qFf /run/secrets/KEY $one || exit 3; done",
            "echo read > out.txt",
        ],
        &own,
    );
    let set = |project: &Project, value: &str| {
        let name = format!("project/{}", project.name);
        let _ = mesh.with_input(["secrets", "set", &name, "KEY"], Some(value.as_bytes())).good();
    };
    let missing = project.build(&mesh, &[]).failed(65);
    assert!(missing.stderr.contains("secrets set project/"), "{missing:?}");
    let [first, second] = [nonce(), nonce()].map(|word| value(&word));
    set(&project, &first);
    let mut building = mesh.running(project.arguments(&[]));
    until("the build ends", BUILT, || {
        assert!(!is_told(first.as_bytes()), "a process was started with the value");
        building.has_ended().then_some(())
    });
    let record = building.end(BUILT);
    assert!(!record.stderr.contains(&first), "{record:?}");
    let record = record.built().json();
    set(&project, &second);
    let again = project.build(&mesh, &["--no-cache"]).built().json();
    assert_eq!((&again["id"], &again["inputs"]), (&record["id"], &record["inputs"]));
    let before = mesh.aish(["packages", "list", "--json"]).good().json();
    for (command, form) in [
        ("cat /run/secrets/KEY > leak.txt", "as it is"),
        ("(printf a; cat /run/secrets/KEY) | base64 > leak.txt", "in base64"),
        ("mkdir -p x && ln -s $(cat /run/secrets/KEY) leak.txt", "as it is"),
    ] {
        let leaking = Project::built_by(&[command], &own);
        set(&leaking, &first);
        let refused = leaking.build(&mesh, &[]).failed(1);
        assert!(refused.stderr.contains("/app/leak.txt") && refused.stderr.contains(form), "{refused:?}");
        assert!(!leaking.has_lock() && !refused.stderr.contains(&first), "{refused:?}");
    }
    assert_eq!(mesh.aish(["packages", "list", "--json"]).good().json(), before);
    for value in [&first, &second] {
        assert!(!holds(&mesh.path(), value.as_bytes()), "a value is on the disk");
    }
    let audited = mesh.audit("alpha", 1);
    assert!(audited.iter().any(|entry| entry.to_string().contains("secrets.give")), "{audited:?}");
}

#[test]
fn pkg_41_certificates_and_variables_of_a_host_are_seen_and_stay_outside() {
    let (mesh, config, word) = (Mesh::up(), tempfile::tempdir().unwrap(), nonce());
    let bundle = config.path().join("company.pem");
    fs::write(&bundle, format!("{word}\n")).unwrap();
    let settings = format!("[build]\nca_bundle = {bundle:?}\nenv = {{ PIP_INDEX_URL = \"http://{word}/\" }}\n");
    fs::write(config.path().join("packages.toml"), settings).unwrap();
    let command =
        "echo seen:$PIP_INDEX_URL:$(cat /run/aigis/ca.pem):$SSL_CERT_FILE:$NODE_EXTRA_CA_CERTS; echo x > out.txt";
    let project = Project::built_by(&[command], &json!({}));
    let environment = [("AIGIS_CONFIG_DIR", config.path().display().to_string())];
    let with = mesh.aish_in(&environment, project.arguments(&[]));
    let seen = format!("seen:http://{word}/:{word}:/run/aigis/ca.pem:/run/aigis/ca.pem");
    assert!(with.stderr.contains(&seen), "{with:?}");
    let record = with.built().json();
    let without = project.build(&mesh, &["--no-cache"]);
    assert!(without.stderr.contains("seen:::"), "{without:?}");
    let without = without.built().json();
    assert_eq!((&without["id"], &without["inputs"]), (&record["id"], &record["inputs"]));
}

#[test]
fn pkg_39_pkg_54_a_base_or_a_platform_that_nobody_has_is_69_and_leaves_nothing() {
    let mesh = Mesh::up();
    let project = Project::built_by(&["echo x > out.txt"], &json!({}));
    let arm = project.build(&mesh, &["--platform", "linux/arm64"]).refused(69);
    assert!(arm.stderr.contains("linux/arm64") && arm.stderr.contains("alpha builds for linux/"), "{arm:?}");
    let manifest = fs::read_to_string(project.path().join("aigis.json")).unwrap();
    project.write("aigis.json", &manifest.replace("busybox", "127.0.0.1:1/nowhere/nothing:1"));
    let absent = project.build(&mesh, &[]).refused(69);
    assert!(absent.stderr.contains("nowhere/nothing"), "{absent:?}");
    project.write("aigis.json", &manifest);
    let _ = project.build(&mesh, &["--locked"]).failed(1);
    assert!(!project.has_lock());
    assert_eq!(mesh.aish(["packages", "list", "--json"]).good().json(), json!([]));
}

#[test]
fn pkg_54_a_host_whose_engine_is_away_has_another_node_build() {
    let alpha = Mesh::up();
    let beta = alpha.joined("beta");
    let _ = beta.aish(["down"]).good();
    beta.start_with(&[("DOCKER_HOST", "unix:///nowhere/docker.sock".to_owned())]);
    let project = Project::built_by(&["echo x > out.txt"], &json!({}));
    let refused = project.build(&beta, &["--on", "beta"]).refused(69);
    assert!(refused.stderr.contains("no node can build for linux/"), "{refused:?}");
    let built = project.build(&beta, &[]);
    assert!(built.stderr.contains("=> alpha builds for linux/"), "{built:?}");
    let id = built.built().json()["id"].clone();
    assert_eq!(project.build(&alpha, &["--no-cache"]).built().json()["id"], id);
}

#[test]
fn pkg_44_pkg_55_twenty_builds_at_once_run_a_phase_once_on_each_node_and_are_one_package() {
    let alpha = Mesh::up();
    let (beta, mut events) = (alpha.joined("beta"), Events::follow());
    let project = Project::built_by(&["sleep 8", "echo x > out.txt"], &json!({}));
    let hosts = [&alpha, &beta].into_iter().cycle().take(20);
    let running: Vec<_> = hosts.map(|host| host.running(project.arguments(&[]))).collect();
    let made: Vec<Value> = running.into_iter().map(|one| one.end(BUILT).built().json()).collect();
    assert_eq!(made.iter().filter(|one| one["created"] == true).count(), 1, "{made:?}");
    assert!(made.iter().all(|one| one["id"] == made[0]["id"]), "{made:?}");
    for node in ["alpha", "beta"] {
        let phases = phases(&mut events, &label_of(&alpha, node));
        assert_eq!(phases.len(), 1, "{phases:?}");
    }
    let known = beta.aish(["packages", "show", made[0]["id"].as_str().unwrap(), "--json"]).good().json();
    assert_eq!(known["builds"].as_array().map(Vec::len), Some(20), "{known}");
    assert_eq!(beta.aish(["packages", "list", "--json"]).good().json().as_array().map(Vec::len), Some(1));
}

/// Makes packages of Debian, and a place from which they are installed: TOOL is a version.
const MAKE: &str = r#"set -e
mkdir -p /app/repo && cd /app/repo
make_one() {
    rm -rf /tmp/p && mkdir -p /tmp/p/DEBIAN "/tmp/p/usr/share/$1" && echo "$2" > "/tmp/p/usr/share/$1/version"
    printf 'Package: %s\nVersion: %s\nArchitecture: all\nMaintainer: none\nDescription: none\n' "$1" "$2" > /tmp/p/DEBIAN/control
    test -z "$3" || echo "Depends: $3" >> /tmp/p/DEBIAN/control
    dpkg-deb -b /tmp/p "$1.deb" >&2
    cat /tmp/p/DEBIAN/control
    echo "Filename: ./$1.deb"
    echo "Size: $(stat -c %s "$1.deb")"
    echo "SHA256: $(sha256sum "$1.deb" | cut -d' ' -f1)"
    echo
}
(make_one tool TOOL lib; make_one lib 3; make_one maker 2) > Packages
echo 'deb [trusted=yes] file:/app/repo ./' > /etc/apt/sources.list
"#;

#[test]
fn pkg_34_system_packages_have_the_versions_of_the_lock_and_those_of_builds_stay_outside() {
    let files = |more: Value| {
        let mut application = json!({"type": "files"});
        application.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        application
    };
    let project = Project::new(
        &json!({
            "repo": files(json!({"build_commands": ["sh make.sh"]})),
            "api": files(json!({
                "root": "api", "build_commands": ["cat /usr/share/*/version > out.txt"],
                "run_command": ["/bin/sh", "-c", "cat /app/out.txt; ls /usr/share | grep -x -e tool -e lib -e maker"],
                "system_packages": {"run": ["tool"], "build": ["maker"]},
            })),
        }),
        &json!({
            "deb": {"base_image": "aigis-test/debian", "applications": ["repo"]},
            "api": {"base_image": "container:deb", "applications": ["api"]},
        }),
    );
    fs::create_dir(project.path().join("api")).unwrap();
    project.write("api/source.txt", "source\n");
    project.write("make.sh", &MAKE.replace("TOOL", "1"));
    let mesh = Mesh::up();
    let record = project.build(&mesh, &[]).built().json();
    let lock = || -> Value { serde_json::from_slice(&fs::read(project.path().join("aigis.lock")).unwrap()).unwrap() };
    let platform = record["images"][0]["platform"].as_str().unwrap().to_owned();
    assert_eq!(lock()["system_packages"]["api"][&platform], json!({"tool": "1", "lib": "3", "maker": "2"}));
    let api = &record["images"][0];
    assert_eq!(api["system_packages"], json!({"tool": "1", "lib": "3", "maker": "2"}));
    let kinds = api["layers"].as_array().unwrap().iter().map(|layer| layer["kind"].as_str().unwrap());
    let kinds: Vec<&str> = kinds.filter(|kind| *kind != "base").collect();
    assert_eq!(kinds, ["packages", "files"]);
    assert_eq!(answer(&mesh, &project, &record["id"], "api"), "3\n2\n1\nlib\ntool");
    let again = project.build(&mesh, &["--no-cache", "--locked"]).built().json();
    assert_eq!((&again["id"], &again["created"]), (&record["id"], &json!(false)));
    // The place offers another version, and no longer that one.
    project.write("make.sh", &MAKE.replace("TOOL", "4"));
    let refused = project.build(&mesh, &[]).failed(1);
    assert!(refused.stderr.contains("--update") && refused.stderr.contains("tool"), "{refused:?}");
    let updated = project.build(&mesh, &["--update"]).built().json();
    assert_eq!(updated["images"][0]["system_packages"]["tool"], "4");
    assert_eq!(lock()["system_packages"]["api"][&platform]["tool"], "4");
}

/// A build that succeeded; what is said on the way is no failure.
trait Built {
    fn built(self) -> Self;
}

impl Built for Ran {
    fn built(self) -> Self {
        assert_eq!(self.code, 0, "{self:?}");
        self
    }
}
