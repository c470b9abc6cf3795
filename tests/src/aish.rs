//! A mesh of one node, run by the real binary in a directory of its own.

use std::{
    ffi::OsStr,
    io::Write as _,
    net::TcpListener,
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
    fn of(output: std::process::Output, started: Instant) -> Self {
        Self {
            code: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
            took: started.elapsed(),
        }
    }

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

impl Ran {
    /// Asserts a refusal of bad input: that code, nothing on standard output, and no control character in what is said.
    ///
    /// # Panics
    ///
    /// Panics with all there is.
    #[must_use]
    pub fn refused(self, code: i32) -> Self {
        let ran = self.failed(code);
        assert!(!ran.stderr.is_empty() && !ran.stderr.chars().any(|c| c.is_control() && c != '\n'), "{ran:?}");
        ran
    }
}

/// How long three lone servers may take to be one bus.
pub(crate) const GROWN: Duration = Duration::from_secs(120);
/// How far the port for the other servers lies behind that for clients.
const ROUTES: u16 = 2_000;

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
        Self::up_in(engine.map(|engine| ("DOCKER_HOST", engine.to_owned())).into_iter().collect())
    }

    /// The directory of a mesh that nobody has started yet.
    #[must_use]
    pub fn absent() -> Self {
        Self::new(&[], Vec::new())
    }

    /// Starts a mesh whose bus listens there.
    ///
    /// # Panics
    ///
    /// As [`Mesh::up_over`].
    #[must_use]
    pub fn up_at(listen: &str) -> Self {
        let mesh = Self::new(&["--name", "alpha", "--listen", listen], Vec::new());
        mesh.start();
        mesh
    }

    /// Starts a mesh of one node, `alpha`, with more options of `aish up`.
    ///
    /// # Panics
    ///
    /// As [`Mesh::up_over`].
    #[must_use]
    pub fn up_with(options: &[&str]) -> Self {
        let mesh = Self::new(&[&["--name", "alpha", "--listen", "127.0.0.1:0"], options].concat(), Vec::new());
        mesh.start();
        mesh
    }

    /// Starts a mesh, every command of it with these variables in its environment.
    ///
    /// # Panics
    ///
    /// As [`Mesh::up_over`].
    #[must_use]
    pub fn up_in(environment: Vec<(&'static str, String)>) -> Self {
        let mesh = Self::new(&["--name", "alpha", "--listen", "127.0.0.1:0"], environment);
        mesh.start();
        mesh
    }

    /// Starts a mesh of one node, `alpha`, whose Aigis config file holds that text.
    ///
    /// # Panics
    ///
    /// As [`Mesh::up_over`].
    #[must_use]
    pub fn hosting(config: &str) -> Self {
        Self::hosting_in(config, Vec::new())
    }

    /// As [`Mesh::hosting`], every command of it with these variables in its environment.
    ///
    /// # Panics
    ///
    /// As [`Mesh::up_over`].
    #[must_use]
    pub fn hosting_in(config: &str, environment: Vec<(&'static str, String)>) -> Self {
        let mesh = Self::new(&["--name", "alpha", "--listen", "127.0.0.1:0"], environment);
        mesh.configure(config);
        mesh.start();
        mesh
    }

    /// Writes that into the node's Aigis config file.
    ///
    /// # Panics
    ///
    /// Panics when it cannot be written.
    pub fn configure(&self, config: &str) {
        std::fs::write(self.config(), config).unwrap_or_else(|error| panic!("{error}"));
    }

    /// Where that file lies.
    #[must_use]
    pub fn config(&self) -> PathBuf {
        self.data.join("config.aigis")
    }

    /// Starts three nodes of this machine over the engine at that address, whose bus is a cluster of a server of each. The
    /// first issues credentials.
    ///
    /// # Panics
    ///
    /// Panics when they do not come up, or their servers do not become one bus.
    #[must_use]
    pub fn clustered(engine: &str) -> [Self; 3] {
        let names = ["alpha", "beta", "gamma"];
        let others = format!("--bus-cluster={},{}", names[1], names[2]);
        let mut first: Option<Self> = None;
        let mut rest = Vec::new();
        for (name, port) in names.into_iter().zip(ports()) {
            let listen = format!("127.0.0.1:{port}");
            let cluster = if first.is_none() { others.as_str() } else { "--bus-cluster" };
            let environment = vec![("DOCKER_HOST", engine.to_owned())];
            let node = Self::new(&["--name", name, "--listen", &listen, cluster], environment);
            if let Some(first) = &first {
                let token = first.token("node");
                let joined = node.with_input(["join", "-", "--name", name, "--no-start"], Some(token.as_bytes()));
                assert_eq!(joined.code, 0, "{joined:?}");
            }
            node.start();
            match first {
                None => first = Some(node),
                Some(_) => rest.push(node),
            }
        }
        let nodes: Vec<Self> = first.into_iter().chain(rest).collect();
        // Each node starts anew once the third is known.
        crate::until("the bus is a cluster", GROWN, || nodes.iter().all(Self::is_grown).then_some(()));
        nodes.try_into().unwrap_or_else(|_| panic!("three nodes"))
    }

    /// Whether this host knows three servers of its bus, and each of these has all of the store.
    #[must_use]
    pub fn is_grown(&self) -> bool {
        if self.bus().split(',').count() != 3 {
            return false;
        }
        let doctor = self.aish(["doctor", "--json"]);
        let told: Value = serde_json::from_str(&doctor.stdout).unwrap_or_default();
        let checks = told["checks"].as_array().cloned().unwrap_or_default();
        checks.iter().any(|check| check["name"] == "copies" && check["outcome"] == "pass")
    }

    /// Makes a join token of that role.
    ///
    /// # Panics
    ///
    /// Panics when it is refused.
    #[must_use]
    pub fn token(&self, role: &str) -> String {
        let made = self.aish(["tokens", "create", "--role", role]);
        assert_eq!(made.code, 0, "{made:?}");
        made.stdout.trim().to_owned()
    }

    /// Starts a second node of this mesh over the same bus and engine, in a directory of its own, by a join token; an
    /// admin joins there too.
    ///
    /// # Panics
    ///
    /// Panics when it does not come up.
    #[must_use]
    pub fn joined(&self, name: &str) -> Self {
        self.joined_by(name, &[])
    }

    /// As [`Mesh::joined`], with more options of `aish join`.
    ///
    /// # Panics
    ///
    /// As [`Mesh::joined`].
    #[must_use]
    pub fn joined_by(&self, name: &str, options: &[&str]) -> Self {
        let node = Self::new(&["--name", name], self.environment.clone());
        let joined = node.aish([&["join", &self.token("node"), "--name", name], options].concat());
        assert_eq!(joined.code, 0, "{joined:?}\n{}", node.log());
        let admin = format!("admin-{name}");
        let _admin = node.aish([&["join", &self.token("admin"), "--name", &admin], options].concat()).good();
        node
    }

    fn new(up: &[&str], environment: Vec<(&'static str, String)>) -> Self {
        let directory = tempfile::Builder::new().prefix("aigis-mesh").tempdir().unwrap_or_else(|e| panic!("{e}"));
        let data = directory.path().to_owned();
        Self { binary: binary(), data, place: Place::Here(directory), up: up_detached(up), environment }
    }

    /// The node of a lab's host, which nobody has started yet.
    pub(crate) fn on(host: aigis_lab::Host, up: &[&str]) -> Self {
        let (data, up) = (host.data(), up_detached(up));
        Self { binary: binary(), data, place: Place::Host(host), up, environment: Vec::new() }
    }

    /// The node of a lab's host that runs a bus server of its own, by that program.
    pub(crate) fn with_server(host: aigis_lab::Host, up: &[&str], program: &Path) -> Self {
        let mut node = Self::on(host, up);
        node.environment.push(("AIGIS_NATS_SERVER", program.display().to_string()));
        node
    }

    /// Starts the node, as at first or after a stop.
    ///
    /// # Panics
    ///
    /// Panics when it does not come up.
    pub fn start(&self) {
        let up = self.try_start();
        assert_eq!(up.code, 0, "{up:?}\n{}", self.log());
    }

    /// Starts the node with these variables in its environment as well.
    ///
    /// # Panics
    ///
    /// As [`Mesh::start`].
    pub fn start_with(&self, environment: &[(&str, String)]) {
        let up = self.aish_in(environment, &self.up);
        assert_eq!(up.code, 0, "{up:?}\n{}", self.log());
    }

    /// Starts the node if that can be done.
    pub fn try_start(&self) -> Ran {
        self.aish(&self.up)
    }

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

    /// Runs `aish` with no input.
    pub fn aish<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Ran {
        self.with_input(args, None)
    }

    /// Runs `aish` in that directory, with no input.
    ///
    /// # Panics
    ///
    /// Panics when the binary cannot be run.
    pub fn in_directory<S: AsRef<OsStr>>(&self, directory: &Path, args: impl IntoIterator<Item = S>) -> Ran {
        let started = Instant::now();
        let mut command = self.command();
        command.current_dir(directory).args(args).stdin(Stdio::null());
        Ran::of(command.output().unwrap_or_else(|error| panic!("{error}")), started)
    }

    /// Runs `aish` with these variables in its environment as well.
    ///
    /// # Panics
    ///
    /// Panics when the binary cannot be run.
    pub fn aish_in<S: AsRef<OsStr>>(&self, environment: &[(&str, String)], args: impl IntoIterator<Item = S>) -> Ran {
        let started = Instant::now();
        let mut command = self.command();
        command.envs(environment.iter().map(|(name, value)| (name, value))).args(args).stdin(Stdio::null());
        Ran::of(command.output().unwrap_or_else(|error| panic!("{error}")), started)
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
        Ran::of(child.wait_with_output().unwrap_or_else(|error| panic!("{error}")), started)
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

    /// Starts `aish` and leaves it running, its lines to be read as they come.
    ///
    /// # Panics
    ///
    /// Panics when the binary cannot be run.
    pub fn running<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> crate::Running {
        crate::Running::new(self.spawn(args))
    }

    /// Starts `aish` at a terminal of its own.
    ///
    /// # Panics
    ///
    /// Panics when the binary cannot be run.
    pub fn at_terminal<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> crate::Running {
        let mut command = self.command();
        command.args(args);
        crate::Running::at_terminal(command)
    }

    /// Starts `aish wrap` and waits until it says as what the program answers.
    ///
    /// # Panics
    ///
    /// Panics when it does not within 20 s.
    pub fn wrap<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> crate::Running {
        let mut wrap = self.wrapping(args);
        wrap.until("the program is wrapped", Duration::from_secs(20), |line| line.strip_prefix("wrapped ").map(drop));
        wrap
    }

    /// Starts `aish wrap`, its standard error to be read as it comes.
    ///
    /// # Panics
    ///
    /// Panics when the binary cannot be run.
    pub fn wrapping<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> crate::Running {
        let args: Vec<_> = args.into_iter().map(|arg| arg.as_ref().to_owned()).collect();
        crate::Running::of_stderr(self.spawn(std::iter::once("wrap".into()).chain(args)))
    }

    /// Runs a line of `bash` with `pipefail`, in which `aish` is the binary.
    ///
    /// # Panics
    ///
    /// Panics when there is no shell.
    #[must_use]
    pub fn shell(&self, line: &str) -> Ran {
        let started = Instant::now();
        let output = self.shell_command(line).output();
        Ran::of(output.unwrap_or_else(|error| panic!("{error}")), started)
    }

    /// As [`Mesh::shell`], left running with its output piped.
    ///
    /// # Panics
    ///
    /// Panics when there is no shell.
    pub fn spawn_shell(&self, line: &str) -> Child {
        let mut command = self.shell_command(line);
        let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
        child.unwrap_or_else(|error| panic!("{error}"))
    }

    fn shell_command(&self, line: &str) -> Command {
        let mut command = self.prepared(Path::new("bash"));
        let place = self.binary.parent().unwrap_or(Path::new("/")).display().to_string();
        let path = format!("{place}:{}", std::env::var("PATH").unwrap_or_default());
        command.env("PATH", path).args(["-c", &format!("set -o pipefail; {line}")]).stdin(Stdio::null());
        command
    }

    fn command(&self) -> Command {
        self.prepared(&self.binary)
    }

    fn prepared(&self, program: &Path) -> Command {
        let mut command = match &self.place {
            Place::Here(_) => Command::new(program),
            Place::Host(host) => host.command(program),
        };
        for unset in ["AIGIS_BUS", "AIGIS_CA", "AIGIS_CREDS", "AIGIS_MESH", "AIGIS_LOG"] {
            command.env_remove(unset);
        }
        if matches!(self.place, Place::Here(_)) {
            command.env_remove("DOCKER_HOST");
        }
        // No config file of this machine's user is any test's.
        command.env("AIGIS_CONFIG_DIR", &self.data);
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        command.env("AIGIS_DATA", &self.data);
        command
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
        crate::until(&format!("{least} audit lines of {ci}"), Duration::from_secs(15), || {
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
        crate::until(&format!("{name} is live"), Duration::from_secs(15), || {
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

/// Three ports of this machine that are free, and so are those at which servers of a bus speak to each other.
fn ports() -> Vec<u16> {
    let mut held = Vec::new();
    let mut ports = Vec::new();
    while ports.len() < 3 {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap_or_else(|error| panic!("{error}"));
        let port = listener.local_addr().unwrap_or_else(|error| panic!("{error}")).port();
        let routes = port.checked_add(ROUTES).and_then(|routes| TcpListener::bind(("127.0.0.1", routes)).ok());
        if let Some(routes) = routes {
            ports.push(port);
            held.push(routes);
        }
        held.push(listener);
    }
    ports
}

fn up_detached(options: &[&str]) -> Vec<String> {
    ["up", "--detach"].iter().chain(options).map(ToString::to_string).collect()
}

/// The binary that was built with this test.
fn binary() -> PathBuf {
    let test = std::env::current_exe().unwrap_or_else(|error| panic!("{error}"));
    let target = test.ancestors().find(|path| path.join("aish").is_file()).map(Path::to_path_buf);
    target.unwrap_or_else(|| panic!("build the binary first: cargo build --bin aish")).join("aish")
}
