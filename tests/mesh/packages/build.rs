//! Packages that need no engine: built, tagged by commit, exported, taken in, loaded.

use std::{fs, os::unix::fs::PermissionsExt as _, path::Path, process::Command};

pub(super) use aigis_tests::{GOLDEN as PACKAGE, golden};
use aigis_tests::{GOLDEN_MANIFEST as MANIFEST, Mesh, docker};
use serde_json::Value;

const CONFIG: &str = "sha256:9b1b0bd7d1aeb6623a8ce049751391878e748e927d4a772e37f5877ba40924a5";

pub(super) fn write(directory: &Path, path: &str, content: &str) {
    let path = directory.join(path);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, content).unwrap();
}

pub(super) fn shown(path: &Path) -> &str {
    path.to_str().unwrap()
}

fn build(host: &Mesh, project: &Path, options: &[&str]) -> Value {
    let ran = host.aish([&["packages", "build", shown(project), "--local", "--json"], options].concat());
    assert_eq!(ran.code, 0, "{ran:?}");
    ran.json()
}

#[test]
fn pkg_32_pkg_33_the_golden_project_is_the_same_everywhere() {
    let (host, project, copy) = (Mesh::absent(), golden(0o644), golden(0o600));
    let first = build(&host, project.path(), &[]);
    assert_eq!((first["id"].as_str(), first["created"].as_bool()), (Some(PACKAGE), Some(true)));
    assert_eq!(first["images"][0]["config"], CONFIG);
    assert_eq!(first["inputs"], "sha256:400408a16f889204b7aca687f643e3ad551931f61558cc931561c0dd802dda91");
    let second = build(&host, copy.path(), &[]);
    assert_eq!((second["id"].as_str(), second["created"].as_bool()), (Some(PACKAGE), Some(false)));
    let shown = host.aish(["packages", "show", "golden", "--json"]).good().json();
    assert_eq!(shown["builds"].as_array().map(Vec::len), Some(2));
    assert_eq!((&shown["reproducible"], &shown["tags"]), (&"unchecked".into(), &serde_json::json!(["400408a16f88"])));
}

#[test]
fn pkg_54_both_platforms_are_two_images_of_equal_layers() {
    let (host, project) = (Mesh::absent(), golden(0o644));
    let one = build(&host, project.path(), &[]);
    let asked = build(&host, project.path(), &["--platform", "linux/arm64", "--platform", "linux/amd64"]);
    let platforms = "\"platforms\":[\"linux/amd64\",\"linux/arm64\"]";
    write(project.path(), "aigis.json", &MANIFEST.replace("\"platforms\":[\"linux/amd64\"]", platforms));
    let said = build(&host, project.path(), &[]);
    let document = |digest: &Value| -> Value {
        let hex = digest.as_str().unwrap().strip_prefix("sha256:").unwrap();
        let blob = host.path().with_file_name("packages/blobs/sha256").join(hex);
        serde_json::from_slice(&fs::read(blob).unwrap()).unwrap()
    };
    for both in [&asked, &said] {
        let images = both["images"].as_array().unwrap();
        assert_eq!(images.len(), 2);
        let listed = document(&both["output"])["manifests"].clone();
        for (place, (image, architecture)) in images.iter().zip(["amd64", "arm64"]).enumerate() {
            assert_eq!(image["platform"], format!("linux/{architecture}"));
            assert_eq!(document(&image["config"])["architecture"], architecture);
            assert_eq!(listed[place + 1]["platform"]["architecture"], architecture);
            assert_eq!(listed[place + 1]["digest"], image["output"]);
            assert_eq!(image["layers"], one["images"][0]["layers"]);
        }
        assert_eq!(images[0], one["images"][0]);
        assert_ne!(images[1]["output"], images[0]["output"]);
    }
}

#[test]
fn pkg_34_what_changed_is_told() {
    let (host, project) = (Mesh::absent(), golden(0o644));
    build(&host, project.path(), &["--tag", "v1", "--label", "a=1"]);
    write(project.path(), ".env", "A=1");
    assert_eq!(build(&host, project.path(), &["--tag", "v1"])["created"], false);
    write(project.path(), "data/\u{e4}.txt", "o\n");
    build(&host, project.path(), &["--tag", "v2"]);
    let report = host.aish(["packages", "show", "golden:v2", "--against", "golden:v1", "--json"]);
    assert_eq!(report.code, 1, "{report:?}");
    let report = report.json();
    assert_eq!(
        report["files"],
        serde_json::json!([{"application": "hello", "path": "data/\u{e4}.txt", "kind": "content"}])
    );
    assert_eq!(
        (report["spec"].as_array().map(Vec::len), report["layers"].as_array().map(Vec::len)),
        (Some(0), Some(1))
    );
    let same = host.aish(["packages", "show", "golden:v2", "--against", "golden"]).good();
    assert_eq!(same.stdout, "no difference\n");
    let ids = |options: &[&str]| {
        let listed = host.aish([&["packages", "list", "--json"], options].concat()).good().json();
        listed.as_array().unwrap().iter().map(|row| row["id"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!((ids(&[]).len(), ids(&["--tag", "v1"])), (2, vec![PACKAGE.to_owned()]));
    assert_eq!(ids(&["--label", "a=1"]), ids(&["--digest", CONFIG]));
    assert_eq!((ids(&["--limit", "1"]), ids(&["--after", "golden:v2"])), (vec![PACKAGE.to_owned()], vec![]));
    let _ = host.aish(["packages", "rm", "golden:v1"]).failed(1);
    let line = host.aish(["packages", "lineage", "golden", "--json"]).good().json();
    assert_eq!(line[1]["id"], PACKAGE);
    for name in ["golden", "golden"] {
        let removed = host.aish(["packages", "rm", name]).good();
        assert!(removed.stdout.starts_with("sha256:"), "{removed:?}");
    }
    assert_eq!(ids(&[]), [] as [String; 0]);
    let _ = host.aish(["packages", "show", "golden"]).refused(65);
}

/// Runs git on a project, as a person would.
fn git(project: &Path, words: &[&str]) -> String {
    let identity = ["-c", "user.name=ann", "-c", "user.email=ann@example.com", "-c", "init.defaultBranch=main"];
    let output = Command::new("git").args(identity).args(words).current_dir(project).output().unwrap();
    assert!(output.status.success(), "{words:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

#[test]
fn pkg_42_pkg_43_a_tag_by_commit_is_of_what_was_committed_and_nothing_of_it_runs() {
    let (host, project) = (Mesh::absent(), golden(0o644));
    let marker = tempfile::tempdir().unwrap();
    let marker = marker.path().join("M");
    write(project.path(), "aigis.json", &MANIFEST.replace("\"platforms\"", "\"tagging\":\"git-sha\",\"platforms\""));
    let attempt = || host.aish(["packages", "build", shown(project.path()), "--local"]);
    let none = attempt().failed(1);
    assert!(none.stderr.contains("--tag"), "{none:?}");
    write(project.path(), ".gitignore", "*.log\n");
    git(project.path(), &["init", "--quiet"]);
    git(project.path(), &["add", "--all"]);
    git(project.path(), &["commit", "--quiet", "--message", "x"]);
    let head = git(project.path(), &["rev-parse", "HEAD"]);
    let makes = format!("touch {}; cat", marker.display());
    for (name, value) in [("core.fsmonitor", &makes), ("filter.f.clean", &makes), ("filter.f.process", &makes)] {
        git(project.path(), &["config", name, value]);
    }
    write(project.path(), ".git/info/attributes", "* filter=f\n");
    for hook in ["post-index-change", "reference-transaction", "post-checkout", "pre-commit"] {
        let path = format!(".git/hooks/{hook}");
        write(project.path(), &path, &format!("#!/bin/sh\n{makes}\n"));
        fs::set_permissions(project.path().join(&path), fs::Permissions::from_mode(0o755)).unwrap();
    }
    assert_eq!(attempt().code, 0);
    write(project.path(), "a.log", "ignored");
    assert_eq!(attempt().code, 0);
    let shown_package = host.aish(["packages", "show", "golden", "--json"]).good().json();
    assert_eq!(shown_package["tags"], serde_json::json!([&head[..12]]));
    let source = &shown_package["builds"][0]["source"];
    assert_eq!((&source["commit"], &source["dirty"]), (&head.as_str().into(), &false.into()));
    write(project.path(), "new.txt", "x");
    let untracked = attempt().failed(1);
    assert!(untracked.stderr.contains("new.txt"), "{untracked:?}");
    fs::remove_file(project.path().join("new.txt")).unwrap();
    write(project.path(), "run.sh", "#!/bin/sh\n");
    let edited = attempt().failed(1);
    assert!(edited.stderr.contains("run.sh") && !edited.stderr.contains("new.txt"), "{edited:?}");
    let tagged = build(&host, project.path(), &["--tag", "own"]);
    assert_eq!(tagged["created"], true);
    assert!(!marker.exists(), "something of the repository ran");
}

#[test]
fn pkg_47_pkg_52_the_engine_knows_an_exported_image_by_its_configuration() {
    let (host, project) = (Mesh::absent(), golden(0o644));
    // An image of this test alone, so that none of another's is taken away.
    write(project.path(), "own", &format!("{:?}", std::time::SystemTime::now()));
    let built = build(&host, project.path(), &[]);
    let file = project.path().join("golden.tar");
    let _ = host.aish(["packages", "export", "golden", "-o", shown(&file), "--sources"]).good();
    let loaded = docker(None, &["load", "--input", shown(&file)]);
    let name = loaded.strip_prefix("Loaded image: ").unwrap_or_else(|| panic!("{loaded}"));
    let id = docker(None, &["image", "inspect", "--format", "{{.Id}}", name]);
    docker(None, &["image", "rm", name]);
    let image = &built["images"][0];
    assert!(id == image["config"] || id == image["output"], "{id} is neither of {image}");
}
