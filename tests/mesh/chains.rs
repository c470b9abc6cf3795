//! Chains: a pushed tree becomes a running app, by assistants in containers and builtins.

mod commands;
mod control;
mod deaths;
mod first;
mod gateway;
mod kept;
mod library;
mod places;
mod ports;
mod python;
mod questions;
mod repository;
pub(crate) mod running;
mod skills;
mod state;
mod steps;
mod trees;
mod watch;
mod wrong;

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    time::Duration,
};

use aigis_tests::{Mesh, Ran, Running, nonce, until};
use rustix::process::Signal;
use serde_json::Value;

/// A bound on every wait, far above what is granted: what is asked here is whether, not how soon.
pub(crate) const LIMIT: Duration = Duration::from_secs(120);
/// What an assistant copies the app with.
pub(crate) const COPY: &str = "cp -a /in/app/. /out/app/\n";

/// Interrupts a push until it has ended: an app hears the first, and is killed at the third.
pub(crate) fn interrupted(push: &mut Running) {
    until("it ends", LIMIT, || {
        push.signal(Signal::INT);
        push.next(Duration::from_secs(2));
        push.has_ended().then_some(())
    });
}

/// A directory that is pushed, and assistants that lie beside it; gone with the test.
pub(crate) struct Source {
    /// The app's name, which no other test has.
    pub(crate) name: String,
    folder: tempfile::TempDir,
}

impl Source {
    /// A directory with these files.
    pub(crate) fn new(files: &[(&str, &str)]) -> Self {
        let source = Self { name: format!("app-{}", nonce()), folder: tempfile::tempdir().unwrap() };
        fs::create_dir(source.folder.path().join("assistants")).unwrap();
        fs::create_dir(source.path()).unwrap();
        files.iter().for_each(|(file, content)| source.write(file, content));
        source
    }

    /// The directory that is pushed.
    pub(crate) fn path(&self) -> PathBuf {
        self.folder.path().join(&self.name)
    }

    /// Writes a file of it.
    pub(crate) fn write(&self, file: &str, content: &str) {
        write(&self.path().join(file), content);
    }

    /// A file of it.
    pub(crate) fn read(&self, file: &str) -> Option<String> {
        fs::read_to_string(self.path().join(file)).ok()
    }

    /// A file of its state.
    pub(crate) fn state(&self, file: &str) -> Option<String> {
        self.read(&format!(".aigis/{file}"))
    }

    /// Makes an assistant on busybox that runs that script; gives its folder.
    pub(crate) fn assistant(&self, name: &str, script: &str) -> String {
        let folder = self.folder.path().join("assistants").join(name);
        write(&folder.join("name"), &format!("{name}\n"));
        write(&folder.join("Dockerfile"), "FROM busybox\nCOPY . /assistant\nENTRYPOINT [\"/assistant/run\"]\n");
        let run = folder.join("run");
        write(&run, &format!("#!/bin/sh\nset -e\n{script}\n"));
        fs::set_permissions(&run, fs::Permissions::from_mode(0o755)).unwrap();
        folder.to_str().unwrap().to_owned()
    }

    /// As [`Source::assistant`], known in the mesh.
    pub(crate) fn known(&self, mesh: &Mesh, name: &str, script: &str) {
        let folder = self.assistant(name, script);
        let ran = mesh.aish(["assistants", "push", &folder]);
        assert!(ran.code == 0 && ran.stdout.starts_with(&format!("local:{name} sha256:")), "{ran:?}");
    }

    /// Pushes it.
    pub(crate) fn push(&self, mesh: &Mesh, options: &[&str]) -> Ran {
        let path = self.path();
        mesh.aish([&["push", path.to_str().unwrap()], options].concat())
    }

    /// Pushes it and leaves; gives the chain's id.
    pub(crate) fn begun(&self, mesh: &Mesh, options: &[&str]) -> String {
        let ran = ended(self.push(mesh, &[options, &["--no-follow"]].concat()), 0);
        ran.stdout.trim().to_owned()
    }

    /// What the last chain of it is.
    pub(crate) fn chain(&self, mesh: &Mesh) -> Value {
        let chains = mesh.aish(["chains", "list", "--app", &self.name, "--json"]).good().json();
        let last = chains.as_array().unwrap().last().unwrap_or_else(|| panic!("no chain of {}", self.name));
        mesh.aish(["chains", "show", last["id"].as_str().unwrap(), "--json"]).good().json()
    }

    /// The assistants of the last chain's steps.
    pub(crate) fn steps(&self, mesh: &Mesh) -> Vec<String> {
        let chain = self.chain(mesh);
        let steps = chain["steps"].as_array().unwrap_or_else(|| panic!("{chain}"));
        steps.iter().map(|step| step["assistant"].as_str().unwrap().to_owned()).collect()
    }
}

/// Writes a file, and the directories above it.
pub(crate) fn write(path: &Path, content: &str) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, content).unwrap();
}

/// A folder of another product's, as it is.
pub(crate) fn ayup(folder: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/ayup").join(folder)
}

/// Copies a folder of another product's into a source.
pub(crate) fn copied(folder: &str, source: &Source) {
    for entry in fs::read_dir(ayup(folder)).unwrap() {
        let entry = entry.unwrap();
        if entry.file_type().unwrap().is_file() {
            fs::copy(entry.path(), source.path().join(entry.file_name())).unwrap();
        }
    }
}

/// Asserts that a push ended with that code, and says what it wrote otherwise.
pub(crate) fn ended(ran: Ran, code: i32) -> Ran {
    assert_eq!(ran.code, code, "stdout:\n{}\nstderr:\n{}", ran.stdout, ran.stderr);
    ran
}
