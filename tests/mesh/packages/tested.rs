//! `aish dockerfile --test`: what is proposed is built and started on a node, and nothing of it stays.

use std::{fs, os::unix::fs::PermissionsExt, path::Path, process::Command, time::Duration};

use aigis_tests::{Mesh, Running, docker, nonce, until};
use rustix::process::Signal;
use serde_json::json;
use tempfile::TempDir;

/// A mesh, and a project on a base whose `npm` and `node` run what scripts of the project say.
struct Stage {
    mesh: Mesh,
    folder: TempDir,
    nonce: String,
    base: String,
}

impl Stage {
    fn new(build: &str, run: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let nonce = nonce();
        let base = format!("aigis-test/tested-{nonce}:1");
        let write = |path: &str, content: &str, mode| {
            let path = folder.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, content).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        };
        write("bin/npm", "#!/bin/sh\n[ \"$*\" != 'run build' ] || exec sh build.sh\n", 0o755);
        write("bin/node", "#!/bin/sh\nexec sh \"$@\"\n", 0o755);
        let container = docker(None, &["create", "aigis-test/tools"]);
        for program in ["npm", "node"] {
            let program = folder.path().join("bin").join(program);
            docker(None, &["cp", program.to_str().unwrap(), &format!("{container}:/bin/")]);
        }
        // What is built on it has its label too.
        docker(None, &["commit", "--change", &format!("LABEL aigis.test={nonce}"), &container, &base]);
        docker(None, &["rm", &container]);
        write("packages.toml", &format!("[bases]\nnode = {base:?}\n"), 0o644);
        let manifest = r#"{"name": "tested", "main": "index.js", "scripts": {"build": "of the base"}}"#;
        write("project/package.json", manifest, 0o644);
        write("project/build.sh", &build.replace("NONCE", &nonce), 0o644);
        write("project/index.js", &run.replace("NONCE", &nonce), 0o644);
        let configuration = ("AIGIS_CONFIG_DIR", folder.path().display().to_string());
        Self { mesh: Mesh::up_in(vec![configuration]), folder, nonce, base }
    }

    fn project(&self) -> String {
        Path::join(self.folder.path(), "project").display().to_string()
    }

    /// The containers and images that stand on the base, itself among them.
    fn there(&self) -> (usize, usize) {
        let label = format!("label=aigis.test={}", self.nonce);
        let count = |words: &[&str]| docker(None, &[words, &["--filter", &label]].concat()).lines().count();
        (count(&["ps", "-aq"]), count(&["image", "ls", "-q"]))
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        docker(None, &["image", "rm", &self.base]);
    }
}

/// A project in whose names, scripts and descriptions some words stand.
fn worded(words: &str) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let write = |path: &str, content: &str| {
        let path = folder.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    };
    let manifest = json!({
        "name": words, "description": words, "main": "index.js", "author": words, "license": words,
        "scripts": {"build": format!("echo {words}"), words: "true"},
    });
    write("package.json", &manifest.to_string());
    write("README.md", words);
    write(".env.example", &format!("A={words}\n"));
    write("index.js", &format!("// {words}\n"));
    write("build.sh", "true\n");
    write(&format!("{}/{}.js", words.replace(['/', '\n'], " "), "it's"), "");
    folder
}

#[test]
fn pkg_23_words_of_a_project_run_nowhere_in_a_build() {
    let stage = Stage::new("", "");
    let (clean, hostile) = (worded("words"), worded("x\nRUN touch M\n$(touch M) `touch M` \"; touch M; ' touch M"));
    let proposed = |project: &TempDir| {
        let ran = stage.mesh.aish(["dockerfile", project.path().to_str().unwrap()]);
        assert_eq!(ran.code, 0, "{ran:?}");
        ran.stdout
    };
    let instructions = |text: &str| -> Vec<String> {
        let lines = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
        lines.map(|line| line.split(' ').next().unwrap().to_owned()).collect()
    };
    let made = proposed(&hostile);
    assert_eq!(instructions(&made), instructions(&proposed(&clean)), "{made}");
    let (file, image) = (stage.folder.path().join("Hostile"), format!("{}-hostile", stage.base));
    fs::write(&file, made).unwrap();
    let words = ["build", "--force-rm", "--tag", &image, "--file", file.to_str().unwrap()];
    let mut classic = Command::new("docker");
    classic.args(words).arg(hostile.path()).env("DOCKER_BUILDKIT", "0");
    let built = classic.output().unwrap();
    let found = Command::new("docker")
        .args(["run", "--rm", "--network", "none", "--user", "0:0", &image])
        .args(["find", "/", "-xdev", "(", "-name", "M", "-o", "-name", "it's.js", ")"])
        .output()
        .unwrap();
    // The last image, and that of the stage before, which has no name.
    let label = format!("label=aigis.test={}", stage.nonce);
    let all = docker(None, &["image", "ls", "-q", "--filter", &label]);
    let base = docker(None, &["image", "ls", "-q", &stage.base]);
    all.lines().filter(|id| *id != base).for_each(|id| drop(docker(None, &["image", "rm", "--force", id])));
    assert!(built.status.success() && found.status.success(), "{built:?} {found:?}");
    let found = String::from_utf8(found.stdout).unwrap();
    assert!(!found.lines().any(|path| path.ends_with("/M")) && found.contains("it's.js"), "{found}");
}

#[test]
fn pkg_26_a_build_that_fails_tells_its_last_lines_and_leaves_nothing() {
    let stage = Stage::new("echo last words NONCE\nexit 9\n", "");
    let ran = stage.mesh.aish(["dockerfile", &stage.project(), "--test"]).failed(1);
    assert!(ran.stdout.is_empty(), "{ran:?}");
    for words in [&format!("last words {}", stage.nonce), "the test failed", "[\"npm\",\"run\",\"build\"]"] {
        assert!(ran.stderr.contains(words), "{words} in {ran:?}");
    }
    assert_eq!(stage.there(), (0, 1));
}

#[test]
fn pkg_26_a_test_that_is_interrupted_leaves_nothing() {
    let stage = Stage::new("true\n", "echo running NONCE\nsleep 600\n");
    let mut testing = Running::of_stderr(stage.mesh.spawn(["dockerfile", &stage.project(), "--test"]));
    let words = format!("running {}", stage.nonce);
    testing.until("it runs", Duration::from_secs(180), |line| line.contains(&words).then_some(()));
    assert_eq!(stage.there(), (1, 2));
    testing.signal(Signal::INT);
    let ran = testing.end(Duration::from_secs(120));
    assert_eq!(ran.code, 130, "{ran:?}");
    until("nothing is left", Duration::from_secs(60), || (stage.there() == (0, 1)).then_some(()));
}

#[test]
fn pkg_19_what_is_tested_runs_as_no_root_and_stays_only_when_it_is_kept() {
    let stage = Stage::new("true\n", "echo user NONCE $(id -u)\n");
    let test = |options: &[&str]| {
        let ran = stage.mesh.aish([&["dockerfile", &stage.project(), "--test", "--json"], options].concat());
        assert_eq!(ran.code, 0, "{ran:?}");
        ran
    };
    let ran = test(&[]);
    let report = ran.json();
    assert_eq!((&report["builds"], &report["starts"]), (&true.into(), &true.into()), "{report}");
    assert_eq!((&report["user"], &report["image"]), (&"10001:10001".into(), &json!(null)), "{report}");
    assert!(ran.stderr.contains(&format!("user {} 10001", stage.nonce)), "{ran:?}");
    assert_eq!(stage.there(), (0, 1));
    let kept = test(&["--keep"]).json();
    assert_eq!(stage.there(), (0, 2));
    docker(None, &["image", "rm", kept["image"].as_str().unwrap()]);
    assert_eq!(stage.there(), (0, 1));
}
