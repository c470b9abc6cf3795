//! `aish analyze` as a program on trees that are large or deep: it ends as ever, and takes no more memory than it is granted.

use std::{
    fs,
    path::Path,
    process::{Command, Output},
};

use serde_json::Value;

use super::{aish, project, text};

/// More data than the program may have, in KiB: whoever wants more is refused by the system, and ends by a signal.
const MEMORY: u32 = 150 * 1024;
/// More files than one tree is read of.
const FILES: usize = 30_000;

fn analyze(path: &Path) -> Output {
    let home = tempfile::tempdir().expect("a directory");
    let program = aish(home.path());
    let mut bounded = Command::new("/bin/sh");
    bounded.args(["-c", &format!("ulimit -d {MEMORY} && exec \"$@\""), "sh"]).arg(program.get_program());
    bounded.env_clear().env("HOME", home.path()).arg("analyze").arg(path).arg("--json");
    bounded.output().expect("a shell")
}

#[test]
fn pkg_15_what_is_long_or_deep_is_read_within_bounds() {
    let line = format!("x = '{}'\n", "y".repeat(20_000_000));
    let (brackets, keys) = ("[".repeat(10_000), "{\"a\":".repeat(10_000));
    let (items, blocks) = ("- ".repeat(10_000), "{\n".repeat(10_000));
    for (path, content) in [
        ("main.py", &line),
        ("package.json", &format!("{{\"main\":\"{line}\"}}")),
        ("package.json", &format!("{{\"x\":{brackets}")),
        ("package.json", &keys),
        ("pyproject.toml", &format!("x = {brackets}")),
        ("compose.yaml", &items),
        ("pom.xml", &"<a>".repeat(10_000)),
        ("Gemfile", &blocks),
        ("Dockerfile", &format!("FROM x\nRUN {line}")),
        ("requirements.txt", &line),
    ] {
        let dir = project(&[(path, content), ("index.html", "<p>")]);
        let said = analyze(dir.path());
        assert!(matches!(said.status.code(), Some(0 | 1)), "{path}: {said:?}");
        assert!(!text(&said.stderr).contains("panicked"), "{path}: {}", text(&said.stderr));
    }
}

#[test]
fn pkg_15_of_too_many_files_the_same_ones_are_left_out_each_time() {
    let dir = project(&[("index.html", "<p>")]);
    for number in 0..FILES {
        let below = dir.path().join(format!("d{:03}", number % 300));
        if number < 300 {
            fs::create_dir(&below).expect("a directory");
        }
        fs::write(below.join(format!("{number}.js")), "").expect("a file");
    }
    let first = analyze(dir.path());
    assert_eq!(first.status.code(), Some(0), "{}", text(&first.stderr));
    let said: Value = serde_json::from_slice(&first.stdout).expect("an analysis");
    assert_eq!((&said["tree"]["truncated"], &said["tree"]["files"]), (&true.into(), &20_000.into()));
    assert!(text(&first.stderr).contains("limit.files"), "{}", text(&first.stderr));
    for _ in 0..9 {
        assert_eq!(text(&analyze(dir.path()).stdout), text(&first.stdout));
    }
}
