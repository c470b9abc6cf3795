//! A mesh of one node, run by the real binary in a directory of its own.

use std::{
    ffi::OsStr,
    io::Write as _,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use serde_json::Value;

/// How a command ended, and what it wrote.
#[derive(Debug)]
pub struct Ran {
    /// Its exit code.
    pub code: i32,
    /// Its standard output.
    pub stdout: String,
    /// Its standard error.
    pub stderr: String,
    /// How long it took.
    pub took: Duration,
}

impl Ran {
    /// The standard output as JSON.
    ///
    /// # Panics
    ///
    /// Panics with what there is instead.
    #[must_use]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("no JSON ({error}): {self:?}"))
    }

    /// Asserts success with nothing on standard error, and gives the result.
    ///
    /// # Panics
    ///
    /// Panics with all there is.
    #[must_use]
    pub fn good(self) -> Self {
        assert!(self.code == 0 && self.stderr.is_empty(), "{self:?}");
        self
    }

    /// Asserts a failure of that code with nothing on standard output.
    ///
    /// # Panics
    ///
    /// Panics with all there is.
    #[must_use]
    pub fn failed(self, code: i32) -> Self {
        assert!(self.code == code && self.stdout.is_empty(), "expected {code}: {self:?}");
        self
    }
}

/// A mesh that ends with the test.
#[derive(Debug)]
pub struct Mesh {
    binary: PathBuf,
    directory: tempfile::TempDir,
    engine: Option<String>,
}

impl Mesh {
    /// Starts a mesh of one node, `alpha`, over the machine's engine.
    #[must_use]
    pub fn up() -> Self {
        Self::up_over(None)
    }

    /// Starts a mesh over the engine at that address.
    ///
    /// # Panics
    ///
    /// Panics when it does not come up.
    #[must_use]
    pub fn up_over(engine: Option<&str>) -> Self {
        let directory = tempfile::Builder::new().prefix("aigis-mesh").tempdir().unwrap_or_else(|e| panic!("{e}"));
        let mesh = Self { binary: binary(), directory, engine: engine.map(str::to_owned) };
        mesh.start();
        mesh
    }

    /// Starts the node, as at first or after a stop.
    ///
    /// # Panics
    ///
    /// Panics when it does not come up.
    pub fn start(&self) {
        let up = self.aish(["up", "--detach", "--name", "alpha", "--listen", "127.0.0.1:0"]);
        assert_eq!(up.code, 0, "{up:?}\n{}", self.log());
    }

    /// What the node wrote.
    #[must_use]
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.path().join("node.log")).unwrap_or_default()
    }

    /// The mesh's own directory.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        self.directory.path().join("main")
    }

    /// The process id in a file of the mesh.
    #[must_use]
    pub fn pid(&self, file: &str) -> Option<rustix::process::Pid> {
        let text = std::fs::read_to_string(self.path().join(file)).ok()?;
        rustix::process::Pid::from_raw(text.trim().parse().ok()?)
    }

    /// Runs `aish` with no input.
    pub fn aish<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Ran {
        self.with_input(args, None)
    }

    /// Runs `aish` with a pipe as its input.
    ///
    /// # Panics
    ///
    /// Panics when the binary cannot be run.
    pub fn with_input<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>, input: Option<&[u8]>) -> Ran {
        let started = Instant::now();
        let mut command = self.command();
        command.args(args).stdin(if input.is_some() { Stdio::piped() } else { Stdio::null() });
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap_or_else(|e| panic!("{e}"));
        if let (Some(input), Some(mut pipe)) = (input, child.stdin.take()) {
            // A command that does not read its input closes the pipe: that is its right.
            let _ = pipe.write_all(input);
        }
        let output = child.wait_with_output().unwrap_or_else(|error| panic!("{error}"));
        Ran {
            code: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
            took: started.elapsed(),
        }
    }

    /// Starts `aish` and leaves it running, its output piped.
    ///
    /// # Panics
    ///
    /// Panics when the binary cannot be run.
    pub fn spawn<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Child {
        let mut command = self.command();
        command.args(args).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command.spawn().unwrap_or_else(|error| panic!("{error}"))
    }

    fn command(&self) -> Command {
        let mut command = Command::new(&self.binary);
        for unset in ["AIGIS_BUS", "AIGIS_CREDS", "AIGIS_MESH", "AIGIS_LOG", "DOCKER_HOST"] {
            command.env_remove(unset);
        }
        if let Some(engine) = &self.engine {
            command.env("DOCKER_HOST", engine);
        }
        command.env("AIGIS_DATA", self.directory.path());
        command
    }

    /// Makes a credential of that role and gives its file.
    ///
    /// # Panics
    ///
    /// Panics when it is refused.
    #[must_use]
    pub fn user(&self, name: &str, role: &str) -> String {
        let file = self.directory.path().join(format!("{name}.creds")).display().to_string();
        let made = self.aish(["users", "create", name, "--role", role, "--out", &file]);
        assert_eq!(made.code, 0, "{made:?}");
        file
    }

    /// The row of a CI in `aish list`, if it is there.
    #[must_use]
    pub fn row(&self, name: &str) -> Option<Value> {
        let list = self.aish(["list", "--json"]);
        let rows: Vec<Value> = serde_json::from_str(&list.stdout).ok()?;
        rows.into_iter().find(|row| row["name"] == name)
    }

    /// Waits until a CI is listed as live, bound to that container.
    #[must_use]
    pub fn live(&self, name: &str, container: &str) -> Value {
        crate::until(&format!("{name} is live"), Duration::from_secs(5), || {
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
        let (node, bus) = (self.pid("node.pid"), self.pid("bus/nats-server.pid"));
        let down = self.aish(["down"]);
        for pid in [node, bus].into_iter().flatten().filter(|_| down.code != 0) {
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
        }
    }
}

/// The binary that was built with this test.
fn binary() -> PathBuf {
    let test = std::env::current_exe().unwrap_or_else(|error| panic!("{error}"));
    let target = test.ancestors().find(|path| path.join("aish").is_file()).map(Path::to_path_buf);
    target.unwrap_or_else(|| panic!("build the binary first: cargo build --bin aish")).join("aish")
}
