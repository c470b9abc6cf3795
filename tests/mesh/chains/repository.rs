//! Apps that come from a git repository.

use std::{path::Path, process::Command};

use aigis_tests::{Mesh, nonce};
use serde_json::Value;

use super::{COPY, Source, ended, running, write};

fn git(directory: &Path, words: &[&str]) {
    let done = Command::new("git").arg("-C").arg(directory).args(words).output().unwrap();
    assert!(done.status.success(), "{done:?}");
}

fn commit(directory: &Path, body: &str) {
    write(&directory.join("index.html"), body);
    git(directory, &["add", "."]);
    git(directory, &["-c", "user.name=a", "-c", "user.email=a@b", "commit", "--quiet", "-m", "x"]);
}

#[test]
fn a_repository_that_is_pushed_again_is_an_update() {
    let mesh = Mesh::up();
    let above = tempfile::tempdir().unwrap();
    let name = format!("repo-{}", nonce());
    let directory = above.path().join(format!("{name}.git"));
    std::fs::create_dir(&directory).unwrap();
    git(&directory, &["init", "--quiet", "--initial-branch=main"]);
    commit(&directory, "<p>first</p>");
    let url = format!("file://{}", directory.display());
    let push = |options: &[&str]| mesh.aish([&["push", url.as_str(), "--until", "ready"], options].concat());
    let _ran = ended(push(&[]), 0);
    let mut forward = running::forward(&mesh, &name, "8080");
    assert!(forward.get("/").contains("first"));
    commit(&directory, "<p>second</p>");
    let _ran = ended(push(&[]), 0);
    assert!(forward.get("/").contains("second"));
    // What a named assistant adds is done once the tree is there.
    let source = Source::new(&[]);
    let folder = source.assistant(
        &format!("mark-{name}"),
        &format!("{COPY}echo '<p>marked</p>' > /out/app/index.html\necho remote:static > /out/state/next"),
    );
    let ran = ended(push(&["--assistant", &folder]), 0);
    assert!(ran.stderr.contains(&format!("local:mark-{name}")), "{}", ran.stderr);
    assert!(forward.get("/").contains("marked"));
    let chains = mesh.aish(["chains", "list", "--app", &name, "--json"]).good().json();
    assert_eq!(chains.as_array().map(Vec::len), Some(3), "{chains}");
    // Another repository of that name is another project.
    let other = above.path().join("other").join(format!("{name}.git"));
    std::fs::create_dir_all(&other).unwrap();
    git(&other, &["init", "--quiet", "--initial-branch=main"]);
    commit(&other, "<p>other</p>");
    let refused = mesh.aish(["push", &format!("file://{}", other.display()), "--no-follow"]).failed(1);
    assert!(refused.stderr.contains(&name), "{refused:?}");
    running::gone(&mesh, &name);
}

#[test]
fn a_password_in_a_url_stands_in_no_record() {
    let (mesh, word) = (Mesh::up(), nonce());
    let name = format!("secret-{word}");
    let url = format!("https://me:{word}@git.invalid/a/shop#main");
    let ran = ended(mesh.aish(["push", &url, "--name", "shop"]), 1);
    assert!(ran.stderr.contains("password"), "{}", ran.stderr);
    assert!(!ran.stderr.contains(&word), "{name}: {}", ran.stderr);
    let chains = mesh.aish(["chains", "list", "--app", "shop", "--json"]).good().json();
    let id = chains[0]["id"].as_str().unwrap();
    let shown = mesh.aish(["chains", "show", id, "--json"]).good();
    let log = mesh.aish(["chains", "show", id, "--step", "1", "--log"]);
    let chain: Value = shown.json();
    assert_eq!(chain["source"]["from"], "https://me:***@git.invalid/a/shop#main", "{chain}");
    assert!(!shown.stdout.contains(&word) && !log.stdout.contains(&word), "{shown:?} {log:?}");
    let listed = mesh.aish(["apps", "list", "--json"]).good();
    assert!(!listed.stdout.contains(&word) && !mesh.log().contains(&word), "{listed:?}");
    let _removed = ended(mesh.aish(["apps", "rm", "shop", "--yes"]), 0);
}
