//! `aish` as a program, for what needs no mesh: what it prints, how it ends, what it touches.

use std::{fs, path::Path, process::Command};

mod analyze;
#[expect(unreachable_pub, reason = "tests of whole meshes use it as a library's")]
#[path = "../../../tests/src/completions.rs"]
mod completions;
mod dockerfile;
mod fill;
#[expect(unreachable_pub, reason = "tests of whole meshes use it as a library's")]
#[path = "../../../tests/src/golden.rs"]
mod golden;
mod large;
mod manifests;
mod packages;

/// A directory with these files.
fn project(files: &[(&str, &str)]) -> tempfile::TempDir {
    let dir = tempfile::tempdir().expect("a directory");
    put(dir.path(), files);
    dir
}

/// Writes files into a directory.
fn put(dir: &Path, files: &[(&str, &str)]) {
    for (path, content) in files {
        let path = dir.join(path);
        fs::create_dir_all(path.parent().expect("a parent")).expect("a directory");
        fs::write(path, content).expect("a file");
    }
}

/// The program on a host that never joined, of which nothing is known, run by whose home that is.
fn aish(home: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_aish"));
    command.env_clear().env("HOME", home);
    command
}

/// The program, with a log of the calls of that kind that it makes of the system.
fn traced(program: &Command, calls: &str, log: &Path) -> Command {
    let mut traced = Command::new("strace");
    traced.args(["-f", "-e", &format!("trace={calls}"), "-o"]).arg(log).arg(program.get_program());
    for (name, value) in program.get_envs() {
        match value {
            Some(value) => traced.env(name, value),
            None => traced.env_remove(name),
        };
    }
    traced
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Every file and link of a directory, by its path: what it holds, or where it leads to.
fn snapshot(dir: &Path) -> std::collections::BTreeMap<String, String> {
    let (mut all, mut waiting) = (std::collections::BTreeMap::new(), vec![dir.to_owned()]);
    while let Some(directory) = waiting.pop() {
        for entry in fs::read_dir(directory).expect("a directory") {
            let path = entry.expect("an entry").path();
            let name = path.strip_prefix(dir).unwrap_or(&path).display().to_string();
            if let Ok(target) = fs::read_link(&path) {
                all.insert(name, format!("-> {}", target.display()));
            } else if path.is_dir() {
                waiting.push(path);
            } else {
                all.insert(name, fs::read_to_string(&path).expect("a file"));
            }
        }
    }
    all
}
