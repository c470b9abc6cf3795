//! `aish analyze` as a program: what it prints, how it ends, what it touches.

use std::{
    path::Path,
    process::{Command, Output},
};

use serde_json::Value;

use super::{aish, project, text, traced};

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

/// The files of one of our own projects that are written as they stand there.
fn of_corpus(file: &Path) -> Vec<(String, String)> {
    let mut files: Vec<(String, String)> = Vec::new();
    for line in std::fs::read_to_string(file).expect("a project").lines() {
        if let Some(path) = line.strip_prefix("-- ").and_then(|rest| rest.strip_suffix(" --")) {
            files.push((path.to_owned(), String::new()));
        } else if let Some((_, content)) = files.last_mut() {
            *content += &format!("{line}\n");
        }
    }
    files.retain(|(path, _)| !path.contains(' '));
    files
}

#[test]
fn pkg_03_no_surroundings_change_what_is_said_of_a_project() {
    // User mask, time zone, language, home, and how the directory is named.
    let surroundings = [
        ("022", "UTC", "C.UTF-8", "/", true),
        ("077", "Asia/Kathmandu", "tr_TR.UTF-8", "/tmp", false),
        ("000", "America/St_Johns", "", "/nowhere/at/all", false),
        ("027", "Pacific/Chatham", "zh_CN.GB18030", "/usr", true),
    ];
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/corpus");
    let mut projects: Vec<_> =
        std::fs::read_dir(corpus).expect("projects").map(|one| one.expect("one").path()).collect();
    projects.retain(|path| path.extension().is_some_and(|end| end == "txt"));
    projects.sort();
    assert!(projects.len() > 50, "{projects:?}");
    for path in projects.iter().step_by(8) {
        let mut said = std::collections::BTreeSet::new();
        for (mask, zone, language, home, is_named) in surroundings {
            let mut files = of_corpus(path);
            if is_named {
                files.reverse();
            }
            let dir = project(&[]);
            let run = |script: &str, arguments: &[&str]| {
                let line = format!("umask {mask}; {script}");
                let mut command = Command::new("/bin/sh");
                command.args(["-c", &line, "sh"]).args(arguments).env_clear().current_dir(dir.path());
                command.env("TZ", zone).env("LANG", language).env("LC_ALL", language).env("HOME", home);
                command.output().expect("a shell")
            };
            for (file, content) in &files {
                let made = run("mkdir -p \"$(dirname \"$1\")\" && printf %s \"$2\" > \"$1\"", &[file, content]);
                assert!(made.status.success(), "{}", text(&made.stderr));
            }
            let here = if is_named { text(dir.path().as_os_str().as_encoded_bytes()) } else { ".".to_owned() };
            let program = env!("CARGO_BIN_EXE_aish");
            let [analysis, dockerfile] =
                [&[program, "analyze", &here, "--json"], &[program, "dockerfile", &here, "--json"]]
                    .map(|words| run("exec \"$@\"", words));
            assert!(matches!(analysis.status.code(), Some(0 | 1)), "{}", text(&analysis.stderr));
            said.insert((analysis.status.code(), analysis.stdout, dockerfile.status.code(), dockerfile.stdout));
        }
        assert_eq!(said.len(), 1, "{}", path.display());
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

    // Two programs of one module, and nothing to warn of.
    let server = "package main\n\nimport \"net/http\"\n\nfunc main() {\n\thttp.ListenAndServe(\":8085\", nil)\n}\n";
    let dir = project(&[
        ("go.mod", "module example.org/a\n\ngo 1.25\n"),
        ("cmd/admin/main.go", "package main\n\nfunc main() {}\n"),
        ("cmd/server/main.go", server),
    ]);
    let (plain, strict) = (analyze(dir.path(), &["--json"]), analyze(dir.path(), &["--json", "--strict"]));
    assert_eq!((plain.status.code(), strict.status.code()), (Some(0), Some(1)), "{}", text(&plain.stderr));
    assert_eq!(text(&plain.stdout), text(&strict.stdout));
    let value: Value = serde_json::from_slice(&plain.stdout).expect("an analysis");
    assert_eq!(value["warnings"], serde_json::json!([]));
    let application = &value["applications"][0];
    assert_eq!((&application["ambiguous"], &application["start"]["value"]), (&true.into(), &"./bin/server".into()));
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
    for words in [
        &["analyze"][..],
        &["analyze", "--json"],
        &["dockerfile"],
        &["dockerfile", "--json"],
        &["manifests", "init", "--stdout"],
    ] {
        let scratch = tempfile::tempdir().expect("a directory");
        let log = scratch.path().join("calls");
        let mut traced = traced(&aish(scratch.path()), "%file", &log);
        let said = traced.args(words).arg(dir.path()).output().expect("strace, which scripts/test installs");
        assert_eq!(said.status.code(), Some(0), "{words:?}: {}", text(&said.stderr));
        assert!(!(text(&said.stdout) + &text(&said.stderr)).contains("NONCE4711"), "{words:?}");
        let calls = std::fs::read_to_string(&log).expect("what was called");
        assert!(calls.contains("/package.json\"") || calls.contains("\"package.json\""), "{words:?}: {calls}");
        let opened = calls.lines().find(|line| line.contains("open") && line.contains(".env\""));
        assert_eq!(opened, None, "{words:?}");
    }
}

#[test]
fn pkg_04_nothing_is_started_asked_or_written() {
    let trees = [
        project(&[
            ("package.json", r#"{"dependencies":{"express":"4"},"scripts":{"start":"node a.js"}}"#),
            ("a.js", ""),
        ]),
        project(&[("requirements.txt", "flask\n"), ("app.py", "from flask import Flask\napp = Flask(__name__)\n")]),
        project(&[("go.mod", "module example.org/a\n\ngo 1.22\n"), ("main.go", "package main\nfunc main() {}\n")]),
    ];
    for tree in &trees {
        let scratch = tempfile::tempdir().expect("a directory");
        let log = scratch.path().join("calls");
        for command in ["analyze", "dockerfile"] {
            let calls = "execve,execveat,connect,sendto,%file,ftruncate";
            let mut traced = traced(&aish(scratch.path()), calls, &log);
            traced.arg(command).arg(tree.path());
            let said = traced.output().expect("strace, which scripts/test installs");
            assert_eq!(said.status.code(), Some(0), "{command}: {}", text(&said.stderr));
            let calls = std::fs::read_to_string(&log).expect("what was called");
            assert_eq!(calls.matches(" execve(").count(), 1, "{command} starts nothing: {calls}");
            let harms = ["execveat(", "connect(", "sendto(", "O_WRONLY", "O_RDWR", "O_CREAT", "O_TRUNC", "truncate("];
            let changes = ["mkdir", "unlink", "rename", "symlink", "link(", "linkat(", "chmod", "chown", "utime"];
            for harm in harms.iter().chain(&changes) {
                let line = calls.lines().find(|line| line.contains(harm) && !line.contains("readlink"));
                assert_eq!(line, None, "{command}");
            }
        }
    }
}

#[test]
fn pkg_05_nothing_of_a_project_runs_and_nothing_outside_is_read() {
    let outside = tempfile::tempdir().expect("a directory");
    let marker = outside.path().join("M");
    let touch = format!("touch {}", marker.display());
    let dir = project(&[
        ("package.json", &format!(r#"{{"scripts":{{"preinstall":"{touch}","start":"{touch}"}}}}"#)),
        ("setup.py", &format!("open('{}', 'w')\n", marker.display())),
        (".git/config", &format!("[core]\n\tfsmonitor = {touch}\n")),
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
    assert!(!(text(&said.stdout) + &text(&said.stderr)).contains("root:"));
    assert!(!marker.exists(), "something of the project ran");
}

#[test]
fn pkg_12_a_provider_that_was_asked_for_is_taken() {
    let dir = project(&[("index.html", "<p>"), ("Dockerfile", "FROM x\nCMD [\"x\"]\n")]);
    let said = analyze(dir.path(), &["--json", "--provider", "dockerfile"]);
    let value: Value = serde_json::from_slice(&said.stdout).expect("an analysis");
    assert_eq!(value["applications"][0]["provider"]["value"], "dockerfile");
    assert_eq!(analyze(dir.path(), &["--provider", "nosuch"]).status.code(), Some(2));
}
