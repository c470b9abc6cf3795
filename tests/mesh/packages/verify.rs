//! Packages that are built again: whether the same comes out, and in what it differs.

use std::{
    collections::BTreeSet,
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use aigis_tests::{Mesh, Ran, Running, docker, nonce, until};
use serde_json::{Value, json};
use tempfile::TempDir;

/// An image of this test alone, by whose id its containers are known among those of others.
struct Base {
    name: String,
    directory: TempDir,
}

impl Base {
    fn on(image: &str) -> Self {
        let base = Self { name: format!("aigis-verify-{}", nonce()), directory: tempfile::tempdir().unwrap() };
        base.made(image, "one");
        base
    }

    /// Gives its name to an image with that word; answers with the image's id.
    fn made(&self, image: &str, word: &str) -> String {
        let file = self.directory.path().join("Dockerfile");
        fs::write(&file, format!("FROM {image}\nLABEL test=\"{} {word}\"\n", self.name)).unwrap();
        docker(None, &["build", "--quiet", "--tag", &self.name, shown(self.directory.path())])
    }
}

/// The containers of an image that the engine makes from now on, a line each.
fn containers(image: &str) -> Running {
    let mut command = Command::new("docker");
    let (image, now) = (format!("image={image}"), aigis_tests::now());
    command.args(["events", "--since", &now, "--filter", "type=container", "--filter", "event=create"]);
    command.args(["--filter", &image, "--format", "{{.ID}}"]);
    Running::new(command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap())
}

impl Drop for Base {
    fn drop(&mut self) {
        let _ = Command::new("docker").args(["rmi", "--force", &self.name]).output();
    }
}

/// A project whose commands run on a base, in a directory of its own.
struct Project {
    directory: TempDir,
    name: String,
}

impl Project {
    fn new(base: &str, build: &[&str], run: &[&str]) -> Self {
        let project = Self { directory: tempfile::tempdir().unwrap(), name: format!("verify-{}", nonce()) };
        let manifest = json!({
            "manifest_version": "1.0", "project": {"name": project.name},
            "applications": {"api": {
                "type": "files", "dependencies": "requirements.txt", "network": false,
                "install_commands": ["mkdir -p /opt/kit && cp requirements.txt /opt/kit/"],
                "build_commands": build, "run_command": run,
            }},
            "containers": {"api": {"base_image": base, "applications": ["api"], "ci_name": "api-ci"}},
        });
        project.write("aigis.json", &manifest.to_string());
        project.write("requirements.txt", "none==1.0 --hash=sha256:00\n");
        project.write(".gitignore", "ignored\n");
        project.write("README.md", "words\n");
        project
    }

    fn path(&self) -> &Path {
        self.directory.path()
    }

    fn write(&self, path: &str, content: &str) {
        fs::write(self.path().join(path), content).unwrap();
    }

    /// The same project elsewhere, with other modes and times.
    fn elsewhere(&self) -> TempDir {
        let copy = tempfile::tempdir().unwrap();
        let mut files: Vec<PathBuf> = fs::read_dir(self.path()).unwrap().map(|entry| entry.unwrap().path()).collect();
        files.sort();
        for file in files.iter().rev() {
            let to = copy.path().join(file.file_name().unwrap());
            fs::write(&to, fs::read(file).unwrap()).unwrap();
            let runs = fs::metadata(file).unwrap().permissions().mode() & 0o100;
            fs::set_permissions(&to, fs::Permissions::from_mode(0o600 | runs)).unwrap();
        }
        copy
    }
}

fn shown(path: &Path) -> &str {
    path.to_str().unwrap()
}

fn build(mesh: &Mesh, path: &Path, options: &[&str]) -> Value {
    mesh.aish([&["packages", "build", shown(path), "--json"], options].concat()).ok().json()
}

/// The record of a package that a command may have said more about on the way.
trait Done {
    fn ok(self) -> Self;
}

impl Done for Ran {
    fn ok(self) -> Self {
        assert_eq!(self.code, 0, "{self:?}");
        self
    }
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_else(|| panic!("no text: {value}"))
}

fn show(mesh: &Mesh, id: &str) -> Value {
    mesh.aish(["packages", "show", id, "--json"]).good().json()
}

/// The digests of an image's own layers.
fn layers(record: &Value) -> BTreeSet<String> {
    let layers = record["images"][0]["layers"].as_array().unwrap().iter();
    layers.filter(|layer| layer["kind"] != "base").map(|layer| text(&layer["digest"]).to_owned()).collect()
}

#[test]
fn pkg_36_what_differs_each_time_is_found_named_and_remembered() {
    // The clock of busybox knows no nanoseconds.
    let base = Base::on("aigis-test/python");
    let alpha = Mesh::up();
    let project = Project::new(&base.name, &["date +%N > out.txt"], &["/bin/cat", "/app/out.txt"]);
    let first = build(&alpha, project.path(), &[]);
    let id = text(&first["id"]);
    assert_eq!(show(&alpha, id)["reproducible"], "unchecked");
    let ran = alpha.aish(["packages", "verify", id, "--json"]);
    assert_eq!(ran.code, 1, "{ran:?}");
    let report = ran.json();
    let found = report["differences"].as_array().unwrap();
    assert_eq!(found.len(), 1, "{report}");
    let one = (&found[0]["path"], &found[0]["kind"], &found[0]["layer"], &found[0]["container"]);
    assert_eq!(one, (&json!("app/out.txt"), &json!("content"), &json!("files api"), &json!("api")), "{report}");
    assert_ne!(found[0]["a"], found[0]["b"]);
    let known = show(&alpha, id);
    assert_eq!(known["reproducible"], "no");
    let builds = known["builds"].as_array().unwrap();
    let outputs: BTreeSet<&str> = builds.iter().map(|build| text(&build["outputs"]["api"]["linux/amd64"])).collect();
    assert_eq!((builds.len(), outputs.len()), (2, 2), "{known}");
    assert_eq!((&builds[0]["verify_of"], &builds[1]["verify_of"]), (&Value::Null, &json!(id)));
    assert_eq!((&builds[0]["measured"], &builds[1]["measured"]), (&json!(false), &json!(true)));
    let listed = |value: &str| {
        let options = ["packages", "list", "--project", &project.name, "--reproducible", value, "--json"];
        alpha.aish(options).good().json().as_array().unwrap().len()
    };
    assert_eq!(["yes", "no", "unchecked"].map(listed), [0, 1, 0]);
    let said = alpha.aish(["packages", "verify", id]);
    assert!(said.code == 1 && said.stdout.contains("content app/out.txt (api linux/amd64, files api)"), "{said:?}");
}

#[test]
fn pkg_35_pkg_37_two_builds_agree_and_a_verified_one_ran_anew() {
    let base = Base::on("aigis-test/python");
    let image = base.made("aigis-test/python", "one");
    let word = nonce();
    let alpha = Mesh::up();
    let beta = alpha.joined("beta");
    let project = Project::new(
        &base.name,
        &["python3 -m compileall -q /app", "sleep 1", "sort requirements.txt > sorted.txt"],
        &["python3", "/app/main.py"],
    );
    let serves = format!(
        "import http.server\n\nclass Api(http.server.BaseHTTPRequestHandler):\n    def do_GET(self):\n        \
         self.send_response(200)\n        self.end_headers()\n        self.wfile.write(b'{word}')\n\n\
         http.server.HTTPServer(('127.0.0.1', 8000), Api).serve_forever()\n"
    );
    project.write("main.py", &serves);
    let first = build(&alpha, project.path(), &["--no-cache"]);
    let copy = project.elsewhere();
    let environment = [("TZ", "Asia/Tokyo".to_owned()), ("LANG", "de_DE.UTF-8".to_owned())];
    let options = ["packages", "build", shown(copy.path()), "--no-cache", "--json"];
    let second = beta.aish_in(&environment, options).ok().json();
    let image_of = |record: &Value| (record["images"][0]["config"].clone(), record["images"][0]["output"].clone());
    assert_eq!(image_of(&first), image_of(&second));
    assert_eq!((&first["id"], &second["created"]), (&second["id"], &json!(false)));
    let id = text(&first["id"]);
    // Two that were told, and none that a node has measured.
    assert_eq!(show(&alpha, id)["reproducible"], "unchecked");

    let mut nodes = BTreeSet::new();
    for _ in 0..2 {
        let mut made = containers(&image);
        let report = alpha.aish(["packages", "verify", id, "--json"]).ok().json();
        assert_eq!((&report["differences"], &report["reproducible"]), (&json!([]), &json!("yes")), "{report}");
        assert_eq!((&report["package"], &report["output"]), (&json!(id), &json!(id)));
        // Both phases ran, though what they leave is known.
        for phase in ["install", "build"] {
            made.until(phase, Duration::from_secs(60), |_| Some(()));
        }
        nodes.insert(text(&report["node"]).to_owned());
    }
    let known = show(&beta, id);
    assert_eq!((&known["reproducible"], known["builds"].as_array().unwrap().len()), (&json!("yes"), 4), "{known}");
    let on = alpha.aish(["packages", "verify", id, "--on", "beta", "--json"]).ok().json();
    assert_eq!(on["node"], "beta");
    let _ = alpha.aish(["packages", "verify", id, "--on", "nosuch"]).failed(68);
    assert_eq!(answer(&alpha, &project.name, id), word);
}

/// What the image of a package answers on its port.
fn answer(mesh: &Mesh, project: &str, id: &str) -> String {
    let archive = mesh.path().join("package.tar");
    let _ = mesh.aish(["packages", "export", id, "-o", shown(&archive)]).good();
    docker(None, &["load", "--quiet", "--input", shown(&archive)]);
    let tag = format!("{project}/api:{}", id.strip_prefix("sha256:").unwrap().get(..12).unwrap());
    let container = docker(None, &["run", "--detach", "--network", "none", &tag]);
    let asks =
        "import urllib.request; print(urllib.request.urlopen('http://127.0.0.1:8000', timeout=5).read().decode())";
    let said = until("the image answers", Duration::from_secs(60), || {
        let asked = Command::new("docker").args(["exec", &container, "python3", "-c", asks]).output();
        let output = asked.unwrap();
        output.status.success().then(|| String::from_utf8(output.stdout).unwrap().trim().to_owned())
    });
    docker(None, &["rm", "--force", &container]);
    docker(None, &["rmi", &tag]);
    said
}

#[test]
fn pkg_34_only_what_counts_makes_another_package_and_only_in_its_own_layer() {
    let base = Base::on("busybox");
    let alpha = Mesh::up();
    let project = Project::new(&base.name, &["cat source.txt > out.txt"], &["/bin/cat", "/app/out.txt"]);
    project.write("source.txt", "first\n");
    let first = build(&alpha, project.path(), &[]);
    let against = |record: &Value, other: &Value| {
        alpha.aish(["packages", "show", text(&record["id"]), "--against", text(&other["id"]), "--json"])
    };
    project.write("source.txt", "firsT\n");
    let second = build(&alpha, project.path(), &[]);
    for key in ["inputs", "output"] {
        assert_ne!(first[key], second[key], "{key}");
    }
    assert_ne!(first["trees"], second["trees"]);
    let (one, other) = (layers(&first), layers(&second));
    assert_eq!((one.difference(&other).count(), other.difference(&one).count()), (1, 1));
    let report = against(&second, &first);
    assert_eq!(report.code, 1, "{report:?}");
    assert_eq!(report.json()["files"], json!([{"application": "api", "path": "source.txt", "kind": "content"}]));

    // Another time says nothing.
    let file = fs::File::options().write(true).open(project.path().join("source.txt")).unwrap();
    file.set_modified(std::time::UNIX_EPOCH + Duration::from_secs(1_234_567_890)).unwrap();
    assert_eq!(build(&alpha, project.path(), &[])["created"], false);
    project.write("ignored", "anything\n");
    assert_eq!(build(&alpha, project.path(), &[])["created"], false);
    fs::set_permissions(project.path().join("source.txt"), fs::Permissions::from_mode(0o755)).unwrap();
    let runs = build(&alpha, project.path(), &[]);
    assert_eq!(runs["created"], true);
    assert_eq!(against(&runs, &second).json()["files"][0]["kind"], "mode");
    project.write("README.md", "other words\n");
    let read = build(&alpha, project.path(), &[]);
    assert_eq!(read["created"], true);
    assert_eq!(against(&read, &runs).json()["files"][0]["path"], "README.md");
}

#[test]
fn pkg_38_another_image_under_a_locked_name_is_refused_until_it_is_taken() {
    let base = Base::on("busybox");
    let locked = base.made("busybox", "one");
    let alpha = Mesh::up();
    let project = Project::new(&base.name, &["echo made > out.txt"], &["/bin/cat", "/app/out.txt"]);
    let first = build(&alpha, project.path(), &[]);
    let other = base.made("busybox", "two");
    assert_ne!(locked, other);
    // Under another name it may still be there; then that is used.
    let kept = build(&alpha, project.path(), &["--no-cache"]);
    assert_eq!(kept["id"], first["id"]);
    docker(None, &["rmi", "--force", &locked]);
    project.write("source.txt", "more\n");
    let refused = alpha.aish(["packages", "build", shown(project.path()), "--no-cache"]).failed(1);
    assert!(refused.stderr.contains(&locked) && refused.stderr.contains(&other), "{refused:?}");
    fs::remove_file(project.path().join("source.txt")).unwrap();
    let taken = build(&alpha, project.path(), &["--update", &base.name]);
    assert_ne!((&taken["lock"], &taken["inputs"]), (&first["lock"], &first["inputs"]));
    assert_ne!(taken["lock"], first["lock"]);
}

#[test]
fn pkg_37_what_no_engine_made_is_always_the_same_and_needs_none() {
    let project = super::build::golden(0o644);
    let alone = Mesh::absent();
    let built = build(&alone, project.path(), &[]);
    let id = text(&built["id"]);
    let report = alone.aish(["packages", "verify", id, "--json"]).ok().json();
    assert_eq!((&report["differences"], &report["reproducible"]), (&json!([]), &json!("unchecked")));
    assert_eq!(show(&alone, id)["builds"].as_array().unwrap().len(), 2);
    let built = alone.aish(["packages", "build", shown(project.path()), "--verify", "--json"]).ok().json();
    assert_eq!((&built["id"], &built["verified"]["output"]), (&json!(id), &json!(id)));
    let mesh = Mesh::up();
    let built = build(&mesh, project.path(), &[]);
    let report = mesh.aish(["packages", "verify", text(&built["id"]), "--json"]).ok().json();
    assert_eq!((&report["node"], &report["output"]), (&json!("alpha"), &json!(id)));
    let vera = mesh.user("vera", "viewer");
    let _ = mesh.aish(["--creds", &vera, "packages", "verify", id]).failed(77);
}
