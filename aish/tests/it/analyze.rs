//! `aish analyze` as a program: what it prints, how it ends, what it touches.

use std::{
    path::Path,
    process::{Command, Output},
};

use serde_json::Value;

use super::{aish, project, text};

fn analyze(path: &Path, options: &[&str]) -> Output {
    let home = tempfile::tempdir().expect("a directory");
    aish(home.path()).arg("analyze").arg(path).args(options).output().expect("the program")
}

#[test]
fn pkg_01_nothing_to_be_found_and_no_directory_end_otherwise() {
    let dir = project(&[("README.md", "# nothing")]);
    let said = analyze(dir.path(), &["--json"]);
    assert_eq!((said.status.code(), text(&said.stdout).as_str()), (Some(1), ""));
    let error: Value = serde_json::from_slice(&said.stderr).expect("an error");
    assert_eq!(error["code"], "failed_precondition");
    for looked in ["package.json", "Cargo.toml", "index.html", "pyproject.toml"] {
        assert!(error["message"].as_str().unwrap_or_default().contains(looked), "{looked}");
    }
    let said = analyze(&dir.path().join("README.md"), &["--json"]);
    assert_eq!((said.status.code(), text(&said.stdout).as_str()), (Some(2), ""));
}

#[test]
fn pkg_03_the_same_tree_gives_the_same_bytes_everywhere() {
    let files = [("package.json", r#"{"main":"a.js"}"#), ("a.js", "require('http').createServer().listen(4000)")];
    let (one, other) = (project(&files), project(&[files[1], files[0]]));
    let first = analyze(one.path(), &["--json"]);
    assert_eq!(first.status.code(), Some(0), "{}", text(&first.stderr));
    for dir in [&one, &other] {
        for _ in 0..5 {
            assert_eq!(text(&analyze(dir.path(), &["--json"]).stdout), text(&first.stdout));
        }
    }
}

#[test]
fn pkg_12_what_is_ambiguous_fails_only_where_that_was_asked_for() {
    let lock = ("package-lock.json", "{}");
    let dir = project(&[("package.json", r#"{"packageManager":"yarn@4.1.0","main":"a.js"}"#), ("a.js", ""), lock]);
    let said = analyze(dir.path(), &[]);
    assert_eq!(said.status.code(), Some(0));
    assert!(text(&said.stderr).contains("lock.two") && text(&said.stdout).contains("package manager: yarn"));
    let said = analyze(dir.path(), &["--strict", "--json"]);
    assert_eq!(said.status.code(), Some(1));
    assert!(serde_json::from_slice::<Value>(&said.stdout).is_ok(), "the report is printed all the same");
}

#[test]
fn pkg_14_values_of_the_environment_are_in_no_output() {
    let dir = project(&[
        (".env", "A=NONCE4711"),
        (".env.example", "API_KEY=NONCE4711"),
        ("package.json", r#"{"scripts":{"start":"node a.js"}}"#),
        ("a.js", "console.log(process.env.OTHER)"),
    ]);
    let said = analyze(dir.path(), &["--json"]);
    let value: Value = serde_json::from_slice(&said.stdout).expect("an analysis");
    let env = value["applications"][0]["env"].as_array().cloned().unwrap_or_default();
    let names: Vec<(&str, bool)> =
        env.iter().map(|one| (one["name"].as_str().unwrap_or_default(), one["secret"] == true)).collect();
    assert_eq!(names, [("API_KEY", true), ("OTHER", false)]);
    for said in [said, analyze(dir.path(), &[])] {
        assert!(!(text(&said.stdout) + &text(&said.stderr)).contains("NONCE4711"));
    }
}

#[test]
fn pkg_05_nothing_of_a_project_runs_and_nothing_outside_is_read() {
    let dir = project(&[
        ("package.json", r#"{"scripts":{"preinstall":"touch M","start":"touch M"}}"#),
        ("setup.py", "open('M', 'w')\n"),
        (".git/config", "[core]\n\tfsmonitor = touch M\n"),
    ]);
    std::os::unix::fs::symlink("/etc/passwd", dir.path().join("passwd")).expect("a link");
    std::os::unix::fs::symlink("around", dir.path().join("around")).expect("a link");
    let fifo = dir.path().join("requirements.txt");
    assert!(Command::new("mkfifo").arg(&fifo).status().expect("mkfifo").success());
    let said = analyze(dir.path(), &["--json"]);
    assert_eq!(said.status.code(), Some(0), "{}", text(&said.stderr));
    let value: Value = serde_json::from_slice(&said.stdout).expect("an analysis");
    let warnings = value["warnings"].as_array().cloned().unwrap_or_default();
    let warned: Vec<&str> = warnings.iter().filter_map(|warning| warning["file"].as_str()).collect();
    assert_eq!(warned, ["around", "passwd", "requirements.txt"]);
    assert!(!text(&said.stdout).contains("root:") && !dir.path().join("M").exists());
}

#[test]
fn pkg_12_a_provider_that_was_asked_for_is_taken() {
    let dir = project(&[("index.html", "<p>"), ("Dockerfile", "FROM x\nCMD [\"x\"]\n")]);
    let said = analyze(dir.path(), &["--json", "--provider", "dockerfile"]);
    let value: Value = serde_json::from_slice(&said.stdout).expect("an analysis");
    assert_eq!(value["applications"][0]["provider"]["value"], "dockerfile");
    assert_eq!(analyze(dir.path(), &["--provider", "nosuch"]).status.code(), Some(2));
}
