//! `aish packages` as a program, for what needs no mesh and no engine.

use std::{fs, path::Path, process::Command};

use aigis_proxy::blob::Digest;
use serde_json::{Value, json};

use super::{aish, golden, text, traced};

/// What the golden vectors say of the project: where the record has it, and what it is.
const RECORD: [(&str, &str); 10] = [
    ("/output", "4ae8dd081b62c37ffaf9ad6bea31f5519f51e0eee2b7919e2183dc2198e76142"),
    ("/spec", "36baced5c33e3311360a4beb80482b916670c7efced183e9dd7adfe78667814a"),
    ("/inputs", "400408a16f889204b7aca687f643e3ad551931f61558cc931561c0dd802dda91"),
    ("/trees/hello", "2b9afd0568eafcd5192a923886d1125011a0d9cd5effb4cae05d37a10b9d8f8d"),
    ("/images/0/spec", "fa900cda3c07875f01cfd2048c6a3673b6fbdbefd0262330aedc812619889346"),
    ("/images/0/inputs", "9a2e2749db373a39ad8483fe482fe062b26b9c24f558e5fe3a3d9176bcc5e39d"),
    ("/images/0/output", "07c926b1d365e8c367183db56acad7f8e7d209b38f3c187797e38156f8da3b39"),
    ("/images/0/config", "9b1b0bd7d1aeb6623a8ce049751391878e748e927d4a772e37f5877ba40924a5"),
    ("/images/0/layers/0/digest", "863504307e6f8b3829c43c022d30c6f51545422f0e60072e1ed69e74d5e0e37d"),
    ("/images/0/tier", "0"),
];
/// Of the manifest that holds its document.
const DOCUMENT: &str = "49e7c36ec3510d9fd9fc0c492e326ff0bdc7bf6660cd92200a6e0c615c8cc517";

#[test]
fn pkg_32_the_golden_project_is_built_without_an_engine_and_its_blobs_are_what_they_are_called() {
    let (home, project) = (tempfile::tempdir().expect("a directory"), golden::golden(0o644));
    let (log, archive) = (home.path().join("calls"), home.path().join("golden.tar"));
    let run = |words: &[&str]| {
        let mut program = traced(&aish(home.path()), "execve,connect,sendto", &log);
        program.env("DOCKER_HOST", "unix:///nowhere/docker.sock").args(words);
        let said = program.output().expect("strace, which scripts/test installs");
        assert_eq!(said.status.code(), Some(0), "{words:?}: {}", text(&said.stderr));
        let calls = fs::read_to_string(&log).expect("what was called");
        // Git is asked for the commit, and nobody else for anything.
        let started = calls.lines().filter(|line| line.contains(" execve(")).skip(1);
        assert_eq!(started.filter(|line| !line.contains("[\"git\", ")).count(), 0, "{words:?}: {calls}");
        let asks = calls.lines().find(|line| line.contains("connect(") || line.contains("sendto("));
        assert_eq!(asks, None, "{words:?}");
        said
    };
    let path = |path: &Path| path.display().to_string();
    let made = run(&["packages", "build", &path(project.path()), "--local", "--json"]);
    let record: Value = serde_json::from_slice(&made.stdout).expect("a record");
    for (pointer, expected) in RECORD {
        let said = record.pointer(pointer).unwrap_or_else(|| panic!("no {pointer} in {record}"));
        let said = said.as_str().map_or_else(|| said.to_string(), str::to_owned);
        assert_eq!(said.strip_prefix("sha256:").unwrap_or(&said), expected, "{pointer}");
    }
    assert_eq!((&record["id"], &record["created"]), (&json!(golden::GOLDEN), &json!(true)));

    run(&["packages", "export", "golden", "-o", &path(&archive), "--sources"]);
    let unpacked = home.path().join("unpacked");
    fs::create_dir(&unpacked).expect("a directory");
    let tar = Command::new("tar").arg("-xf").arg(&archive).arg("-C").arg(&unpacked).status().expect("tar");
    assert!(tar.success());
    let mut there = Vec::new();
    for entry in fs::read_dir(unpacked.join("blobs/sha256")).expect("blobs") {
        let file = entry.expect("an entry").path();
        let name = file.file_name().expect("a name").to_string_lossy().into_owned();
        assert_eq!(Digest::of(&fs::read(&file).expect("a blob")).to_string(), format!("sha256:{name}"));
        there.push(name);
    }
    let of_content = ["/output", "/trees/hello", "/images/0/output", "/images/0/config", "/images/0/layers/0/digest"];
    let known = RECORD.iter().filter(|(pointer, _)| of_content.contains(pointer)).map(|(_, digest)| *digest);
    for digest in known.chain([DOCUMENT]) {
        assert!(there.iter().any(|name| name == digest), "{digest} is not in {there:?}");
    }
}
