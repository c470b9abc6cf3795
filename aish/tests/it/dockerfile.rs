//! `aish dockerfile` as a program: what it prints, what it writes and where it does not, what it finds in others'.

use std::{fs, os::unix::fs::symlink, path::Path, process::Output};

use serde_json::Value;

use super::{aish, project, put, snapshot, text};

/// An app of express.
const EXPRESS: [(&str, &str); 3] = [
    (
        "package.json",
        r#"{"name":"shop","dependencies":{"express":"4.19.2"},"scripts":{"start":"node server.js"},"engines":{"node":"22"}}"#,
    ),
    ("package-lock.json", r#"{"name":"shop","lockfileVersion":3,"packages":{}}"#),
    ("server.js", "const app = require('express')()\napp.listen(process.env.PORT || 3000)\n"),
];
const OTHER: &str = "FROM busybox\n# mine\n";

fn run(home: &Path, project: &Path, options: &[&str]) -> Output {
    aish(home).arg("dockerfile").arg(project).args(options).output().expect("the program")
}

fn home() -> tempfile::TempDir {
    tempfile::tempdir().expect("a directory")
}

#[test]
fn pkg_17_only_the_dockerfile_is_printed_and_nothing_is_written() {
    let (dir, home) = (project(&EXPRESS), home());
    let before = snapshot(dir.path());
    let said = run(home.path(), dir.path(), &[]);
    assert_eq!(said.status.code(), Some(0), "{}", text(&said.stderr));
    let dockerfile = text(&said.stdout);
    for line in dockerfile.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        let word = line.split(' ').next().unwrap_or_default();
        let known = ["CMD", "COPY", "ENTRYPOINT", "ENV", "EXPOSE", "FROM", "HEALTHCHECK", "RUN", "USER", "WORKDIR"];
        assert!(known.contains(&word), "{line}");
    }
    assert!(dockerfile.ends_with("\nCMD [\"npm\",\"run\",\"start\"]\n"), "{dockerfile}");
    assert!(dockerfile.contains("\nEXPOSE 3000\n") && dockerfile.contains("\nRUN [\"npm\",\"ci\"]\n"), "{dockerfile}");
    // The proposal holds the same, and so does the difference to nothing.
    let proposal: Value = serde_json::from_slice(&run(home.path(), dir.path(), &["--json"]).stdout).expect("JSON");
    let file =
        |path: &str| proposal["files"].as_array().and_then(|files| files.iter().find(|file| file["path"] == path));
    assert_eq!(file("Dockerfile").expect("it")["content"], dockerfile);
    assert_eq!(file(".dockerignore").expect("it")["exists"], false);
    let diff = text(&run(home.path(), dir.path(), &["--diff"]).stdout);
    assert!(dockerfile.lines().all(|line| diff.contains(&format!("+{line}\n"))), "{diff}");
    assert!(diff.contains("--- /dev/null\n+++ b/Dockerfile\n"), "as git apply reads it: {diff}");
    assert_eq!(snapshot(dir.path()), before);
    assert_eq!(snapshot(home.path()).len(), 0, "nothing is kept of who only looked");
}

#[test]
fn pkg_18_what_is_proposed_has_no_error() {
    let (dir, home) = (project(&EXPRESS), home());
    assert_eq!(run(home.path(), dir.path(), &["--save"]).status.code(), Some(0));
    let said = run(home.path(), dir.path(), &["--lint", "--json"]);
    assert_eq!(said.status.code(), Some(0), "{}", text(&said.stdout));
    let findings: Value = serde_json::from_slice(&said.stdout).expect("findings");
    let rules: Vec<&str> = findings.as_array().expect("a list").iter().filter_map(|one| one["rule"].as_str()).collect();
    assert!(!rules.is_empty() && rules.iter().all(|rule| *rule == "base-not-pinned"), "{rules:?}");
}

#[test]
fn pkg_21_another_one_is_written_over_only_where_that_is_asked_for_and_is_kept() {
    let (dir, home) = (project(&EXPRESS), home());
    put(dir.path(), &[("Dockerfile", OTHER)]);
    let before = snapshot(dir.path());
    let said = run(home.path(), dir.path(), &["--save"]);
    assert_eq!((said.status.code(), text(&said.stdout).as_str()), (Some(1), ""));
    let diff = text(&said.stderr);
    assert!(
        diff.contains("--- a/Dockerfile\n") && diff.contains("\n-# mine\n") && diff.contains("--replace"),
        "{diff}"
    );
    assert_eq!(snapshot(dir.path()), before, "neither of both files was written");

    let said = run(home.path(), dir.path(), &["--save", "--replace"]);
    assert_eq!((said.status.code(), text(&said.stdout).as_str()), (Some(0), ".dockerignore\nDockerfile\n"));
    let told = text(&said.stderr);
    let kept = told.lines().find_map(|line| line.strip_prefix("what Dockerfile held is in ")).expect("a path");
    assert_eq!(fs::read_to_string(kept).expect("what was kept"), OTHER);
    let proposed = text(&run(home.path(), dir.path(), &[]).stdout);
    assert_eq!(fs::read_to_string(dir.path().join("Dockerfile")).expect("it"), proposed);

    // The same once more is nothing to be written, with --replace or without it.
    let after = snapshot(dir.path());
    for options in [&["--save"][..], &["--save", "--replace"]] {
        let said = run(home.path(), dir.path(), options);
        assert_eq!((said.status.code(), text(&said.stdout).as_str()), (Some(0), ""), "{}", text(&said.stderr));
        assert_eq!(text(&said.stderr), "note: nothing was written: all of it is as proposed\n");
    }
    assert_eq!(snapshot(dir.path()), after);
}

#[test]
fn pkg_17_what_its_reader_should_know_stands_beside_a_proposal_and_a_refusal() {
    let home = home();
    let api = EXPRESS.map(|(path, content)| (format!("api/{path}"), content));
    let mut files: Vec<(&str, &str)> = api.iter().map(|(path, content)| (path.as_str(), *content)).collect();
    files.push(("site/index.html", "<h1>hello</h1>"));
    let several = project(&files);
    for options in [&[][..], &["--save"]] {
        let told = text(&run(home.path(), several.path(), options).stderr);
        assert!(told.contains("note: this is of api, one of api, site; of another: --app NAME\n"), "{told}");
    }
    let told = text(&run(home.path(), several.path(), &["--app", "site"]).stderr);
    assert!(!told.contains("--app"), "{told}");
    let said = run(home.path(), several.path(), &["--strict"]);
    assert_eq!(said.status.code(), Some(1));
    let told = text(&said.stderr);
    assert!(told.contains("Dockerfile:3: warning: base-not-pinned: "), "{told}");

    let broken = project(&[("pyproject.toml", "[project\n")]);
    let said = run(home.path(), broken.path(), &[]);
    assert_eq!(said.status.code(), Some(1));
    let told = text(&said.stderr);
    assert!(told.starts_with("note: pyproject.toml:1: cannot be read: ") && told.contains("is not known"), "{told}");
}

#[test]
fn pkg_22_nothing_is_written_through_a_link() {
    for link in ["Dockerfile", ".dockerignore"] {
        let (above, home) = (project(&[("x", OTHER)]), home());
        let dir = above.path().join("project");
        put(&dir, &EXPRESS);
        symlink("../x", dir.join(link)).expect("a link");
        let before = snapshot(above.path());
        for options in [&["--save"][..], &["--save", "--replace"]] {
            let said = run(home.path(), &dir, options);
            let told = text(&said.stderr);
            // A link that stands where nothing is to be written is nobody's business.
            if link == "Dockerfile" || said.status.code() != Some(0) {
                assert_eq!(said.status.code(), Some(1), "{link}: {told}");
                assert_eq!(snapshot(above.path()), before, "{link}");
            }
            assert_eq!(fs::read_to_string(above.path().join("x")).expect("it"), OTHER, "{link}");
            assert!(fs::symlink_metadata(dir.join(link)).expect("it").is_symlink(), "{link}");
        }
    }
}

/// A Dockerfile in which nothing is found.
const CLEAN: &str = "FROM go@sha256:0000000000000000000000000000000000000000000000000000000000000000 AS build
COPY [\"app.py\",\"/x/\"]
FROM debian@sha256:0000000000000000000000000000000000000000000000000000000000000000
COPY --from=build [\"/a\",\"/b\"]
ENV PORT=8000
EXPOSE 8000
HEALTHCHECK CMD [\"/b\"]
USER 10001:10001
CMD [\"/b\"]
";
/// What is put in the place of what of that, what is found then, and on which line.
const RULES: [(&str, &str, &str, &str, u64); 18] = [
    ("ENV PORT=8000", "ENV A", "syntax", "error", 5),
    ("ENV PORT=8000", "RUNN x", "unknown-instruction", "error", 5),
    ("--from=build", "--from=biuld", "stage-unknown", "error", 4),
    ("app.py", "nothing.py", "source-missing", "error", 2),
    ("app.py", "../x", "source-outside", "error", 2),
    ("PORT=8000", "API_KEY=abc", "secret-value", "error", 5),
    ("app.py", "tls/server.key", "env-file-copied", "error", 2),
    ("COPY [\"app.py\",\"/x/\"]", "ADD https://example.org/x.tar /x", "add-url", "error", 2),
    (
        "debian@sha256:0000000000000000000000000000000000000000000000000000000000000000",
        "debian:12",
        "base-not-pinned",
        "warning",
        3,
    ),
    (
        "debian@sha256:0000000000000000000000000000000000000000000000000000000000000000",
        "debian",
        "base-latest",
        "warning",
        3,
    ),
    ("USER 10001:10001", "USER root", "root-user", "warning", 8),
    ("CMD [\"/b\"]\n", "CMD /b\n", "shell-form-cmd", "warning", 9),
    ("HEALTHCHECK CMD [\"/b\"]", "WORKDIR /x", "no-health-check", "warning", 6),
    ("EXPOSE 8000", "WORKDIR /x", "port-not-exposed", "warning", 5),
    ("ENV PORT=8000", "RUN npm install", "unlocked", "warning", 5),
    ("ENV PORT=8000", "RUN apt-get update && apt-get install -y gcc", "apt-no-clean", "warning", 5),
    ("[\"app.py\",\"/x/\"]", ". /x", "ignore-lacks", "warning", 2),
    ("COPY [", "COPY --link [", "outside-subset", "warning", 2),
];

#[test]
fn pkg_23_a_name_with_a_control_character_is_refused() {
    let home = home();
    for path in ["a\nRUN touch M/package.json", "a\u{1b}[2J/package.json", "x\rRUN touch M.csproj"] {
        let sdk = r#"<Project Sdk="Microsoft.NET.Sdk.Web"></Project>"#;
        let content = if path.ends_with("json") { r#"{"scripts":{"start":"node ."}}"# } else { sdk };
        let said = run(home.path(), project(&[(path, content)]).path(), &[]);
        let told = text(&said.stderr);
        assert_eq!((said.status.code(), text(&said.stdout).as_str()), (Some(65), ""), "{path:?}: {told}");
        assert!(!told.trim_end().contains(char::is_control), "{told:?}");
    }
}

#[test]
fn pkg_25_each_rule_says_its_line_and_how_bad_it_is() {
    let files = [("app.py", ""), (".dockerignore", "dist\n"), ("tls/server.key", ""), (".env", "")];
    let home = home();
    let judged = |content: &str, options: &[&str]| {
        // Where all is copied, nothing of it is secret.
        let dir = project(if content.contains("COPY . ") { &files[..2] } else { &files });
        put(dir.path(), &[("Dockerfile", content)]);
        let said = run(home.path(), dir.path(), &[&["--lint", "--json"], options].concat());
        let findings: Vec<Value> = serde_json::from_slice(&said.stdout).expect("findings");
        (said.status.code(), findings)
    };
    assert_eq!(judged(CLEAN, &[]), (Some(0), Vec::new()));
    assert_eq!(judged(CLEAN, &["--strict"]).0, Some(0));
    for (what, with, rule, level, line) in RULES {
        let content = match rule {
            // The last of both places.
            "shell-form-cmd" => CLEAN.replace("\nCMD [\"/b\"]\n", "\nCMD /b\n"),
            _ => CLEAN.replacen(what, with, 1),
        };
        assert_ne!(content, CLEAN, "{rule}");
        let (code, findings) = judged(&content, &[]);
        let found = findings.iter().find(|one| one["rule"] == rule && one["line"] == line && one["level"] == level);
        assert!(found.is_some_and(|one| one["message"].is_string() && one["hint"].is_string()), "{rule}: {findings:?}");
        let is_error = findings.iter().any(|one| one["level"] == "error");
        assert_eq!(code, Some(if is_error { 65 } else { 0 }), "{rule}: {findings:?}");
        assert_eq!(is_error, level == "error", "{rule}: {findings:?}");
        assert_eq!(judged(&content, &["--strict"]).0, Some(65), "{rule}");
    }
    // A file that is named is read for the same context.
    let dir = project(&files);
    put(dir.path(), &[("deploy/Other", &CLEAN.replace("app.py", "nothing.py"))]);
    let file = dir.path().join("deploy/Other").display().to_string();
    let said = run(home.path(), dir.path(), &["--lint", &file]);
    assert_eq!(said.status.code(), Some(65));
    assert!(text(&said.stdout).contains("deploy/Other:2: error: source-missing: "), "{}", text(&said.stdout));
}
