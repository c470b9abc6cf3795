//! A mesh of one node, run by the real binary in a directory of its own.

use std::{
    io::Write as _,
    path::{Path, PathBuf},
    time::Duration,
};

use serde_json::Value;

mod commands;
mod ran;
mod several;
mod start;

pub use ran::Ran;
pub(crate) use several::GROWN;

/// A mesh that ends with the test.
#[derive(Debug)]
pub struct Mesh {
    binary: PathBuf,
    data: PathBuf,
    place: Place,
    up: Vec<String>,
    environment: Vec<(&'static str, String)>,
}

/// Where the node and its commands run.
#[derive(Debug)]
enum Place {
    /// On this machine, in a directory that ends with the test.
    Here(#[expect(dead_code, reason = "held for its end")] tempfile::TempDir),
    /// On a host of a lab, which ends it.
    Host(aigis_lab::Host),
}

impl Mesh {
    /// What the node wrote.
    #[must_use]
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.path().join("node.log")).unwrap_or_default()
    }

    /// The mesh's own directory.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        self.data.join("main")
    }

    /// Where its bus listens.
    ///
    /// # Panics
    ///
    /// Panics when the mesh's file does not say so.
    #[must_use]
    pub fn bus(&self) -> String {
        let text = std::fs::read_to_string(self.path().join("mesh.json")).unwrap_or_default();
        let file: Value = serde_json::from_str(&text).unwrap_or_default();
        file["bus"].as_str().unwrap_or_else(|| panic!("no bus in {text}")).to_owned()
    }

    /// Kills a process of the mesh, as a crash would, and gives its former process id once it has let go of its locks.
    ///
    /// # Panics
    ///
    /// Panics when there is none.
    pub fn kill(&self, file: &str) -> rustix::process::Pid {
        let pid = self.pid(file).unwrap_or_else(|| panic!("no process in {file}"));
        assert!(aigis_lab::Process::open(pid).is_some_and(|process| process.kill()), "{file}");
        pid
    }

    /// The process id in a file of the mesh.
    #[must_use]
    pub fn pid(&self, file: &str) -> Option<rustix::process::Pid> {
        let text = std::fs::read_to_string(self.path().join(file)).ok()?;
        rustix::process::Pid::from_raw(text.trim().parse().ok()?)
    }

    /// The binary that the commands of this mesh are.
    #[must_use]
    pub fn binary(&self) -> &Path {
        &self.binary
    }

    /// Makes a credential of that role and gives its file.
    ///
    /// # Panics
    ///
    /// Panics when it is refused.
    #[must_use]
    pub fn user(&self, name: &str, role: &str) -> String {
        let file = self.data.join(format!("{name}.creds")).display().to_string();
        let made = self.aish(["users", "create", name, "--role", role, "--out", &file]);
        assert_eq!(made.code, 0, "{made:?}");
        file
    }

    /// The rows of `aish list` with these options; none when it fails.
    #[must_use]
    pub fn rows(&self, options: &[&str]) -> Vec<Value> {
        let list = self.aish([&["list", "--json"], options].concat());
        serde_json::from_str(&list.stdout).unwrap_or_default()
    }

    /// The audit lines of a CI, the oldest first, once there are so many.
    #[must_use]
    pub fn audit(&self, ci: &str, least: usize) -> Vec<Value> {
        crate::until(&format!("{least} audit lines of {ci}"), Duration::from_secs(60), || {
            let ran = self.aish(["audit", "--ci", ci, "--json"]);
            let lines: Vec<Value> = serde_json::from_str(&ran.stdout).ok()?;
            (lines.len() >= least).then_some(lines)
        })
    }

    /// The row of a CI in `aish list`, if it is there.
    #[must_use]
    pub fn row(&self, name: &str) -> Option<Value> {
        self.rows(&[]).into_iter().find(|row| row["name"] == name)
    }

    /// Waits until a CI is listed as live, bound to that container.
    #[must_use]
    pub fn live(&self, name: &str, container: &str) -> Value {
        crate::until(&format!("{name} is live"), Duration::from_secs(60), || {
            self.row(name).filter(|row| row["state"] == "live" && row["container"]["id"] == container)
        })
    }
}

impl Drop for Mesh {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let log = self.log();
            let tail = log.lines().rev().take(30).collect::<Vec<_>>().into_iter().rev().collect::<Vec<_>>().join("\n");
            let _ = std::io::stderr().write_all(format!("the node's last lines:\n{tail}\n").as_bytes());
        }
        if matches!(self.place, Place::Host(_)) {
            return;
        }
        let (node, bus) = (self.pid("node.pid"), self.pid("bus/nats-server.pid"));
        let down = self.aish(["down"]);
        for pid in [node, bus].into_iter().flatten().filter(|_| down.code != 0) {
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
        }
    }
}
