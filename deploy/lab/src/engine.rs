//! The Docker engine of a host, in a network of its own, so that it disturbs no other.

use std::{
    fs,
    path::PathBuf,
    process::{Command, Stdio},
    time::Duration,
};

use rustix::process::Signal;

use crate::{
    Error, Namespace, Process,
    program::{missing, run, spawn_detached, within},
};

/// How long an engine may take until it answers: several start at once.
const READY: Duration = Duration::from_secs(60);

/// A host's engine. Whether it runs is looked at each time: anybody may end it, this lab too.
#[derive(Debug, Clone)]
pub struct Engine {
    namespace: Namespace,
    directory: PathBuf,
    /// The host's number, which its containers' addresses bear too.
    number: u8,
}

impl Engine {
    pub(crate) fn new(namespace: Namespace, directory: PathBuf, number: u8) -> Self {
        Self { namespace, directory, number }
    }

    /// Its address, as `DOCKER_HOST` takes it.
    #[must_use]
    pub fn host(&self) -> String {
        format!("unix://{}", self.socket().display())
    }

    /// Its socket.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        self.directory.join("docker.sock")
    }

    /// What it wrote.
    #[must_use]
    pub fn log(&self) -> PathBuf {
        self.directory.join("log")
    }

    fn pid_file(&self) -> PathBuf {
        self.directory.join("pid")
    }

    /// Its process, while it runs.
    #[must_use]
    pub fn process(&self) -> Option<Process> {
        self.namespace.process(&self.pid_file())
    }

    /// A `docker` command to it.
    #[must_use]
    pub fn docker(&self) -> Command {
        let mut command = Command::new("docker");
        command.args(["--host", &self.host()]);
        command
    }

    /// Starts it, unless it runs, and waits until it answers.
    ///
    /// # Errors
    ///
    /// It is missing, or does not answer in time.
    pub fn start(&self) -> Result<(), Error> {
        if self.process().is_none() {
            fs::create_dir_all(&self.directory).map_err(|source| Error::Io { path: self.directory.clone(), source })?;
            self.forget();
            let path = |name: &str| self.directory.join(name).display().to_string();
            // The machine's own configuration is not this engine's: what stands in both is refused.
            let config = self.directory.join("daemon.json");
            fs::write(&config, "{}").map_err(|source| Error::Io { path: config.clone(), source })?;
            let mut command = self.namespace.command(crate::program::find("dockerd")?);
            command.args(["--config-file", &config.display().to_string()]);
            command.args(["--live-restore", "--log-level", "warn", "--bip", &format!("172.30.{}.1/24", self.number)]);
            command.args(["--data-root", &path("data"), "--exec-root", &path("exec"), "--pidfile", &path("pid")]);
            command.args(["--host", &self.host()]);
            spawn_detached(&command, &self.log())?;
        }
        let answers = || run(self.docker().arg("version")).ok();
        within(READY, answers).map(drop).ok_or_else(|| Error::NotReady {
            what: "the engine answers".to_owned(),
            seconds: READY.as_secs(),
            log: Some(self.log()),
        })
    }

    /// Ends what a killed engine leaves for its successor to misread: its containerd, which ends with it, but may still
    /// be counted as running while nobody has waited for it, and the files with their numbers.
    fn forget(&self) {
        let containerd = self.directory.join("exec/containerd/containerd.pid");
        if let Some(process) = self.namespace.process(&containerd) {
            let _ = process.kill();
        }
        for file in [containerd, self.pid_file()] {
            // Mostly they are not there.
            let _ = fs::remove_file(file);
        }
    }

    /// Starts it again after [`Engine::kill`].
    ///
    /// # Errors
    ///
    /// As [`Engine::start`].
    pub fn resume(&self) -> Result<(), Error> {
        self.start()
    }

    /// Kills it, as a crash would; its containers go on.
    ///
    /// # Errors
    ///
    /// It is not running, or does not end.
    pub fn kill(&self) -> Result<(), Error> {
        let ended = self.running()?.kill();
        let left = || Error::NotReady { what: "the engine ends".to_owned(), seconds: 10, log: Some(self.log()) };
        ended.then_some(()).ok_or_else(left)
    }

    /// Stops it where it stands, as a hang would.
    ///
    /// # Errors
    ///
    /// It is not running.
    pub fn freeze(&self) -> Result<(), Error> {
        self.running().map(|process| process.signal(Signal::STOP))
    }

    /// Lets it go on after [`Engine::freeze`].
    ///
    /// # Errors
    ///
    /// It is not running.
    pub fn thaw(&self) -> Result<(), Error> {
        self.running().map(|process| process.signal(Signal::CONT))
    }

    fn running(&self) -> Result<Process, Error> {
        self.process().ok_or_else(|| Error::NotRunning("the engine".to_owned()))
    }

    /// Gives it an image of the machine's own engine, unless it has one of that name.
    ///
    /// # Errors
    ///
    /// There is no such image, or one of the engines fails.
    pub fn load(&self, image: &str) -> Result<(), Error> {
        if run(self.docker().args(["image", "inspect", image])).is_ok() {
            return Ok(());
        }
        let mut save = Command::new("docker");
        save.args(["save", image]).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut saving = save.spawn().map_err(|source| missing(&save, source))?;
        let mut load = self.docker();
        load.arg("load").stdin(saving.stdout.take().map_or_else(Stdio::null, Stdio::from));
        let loaded = load.output().map_err(|source| missing(&load, source))?;
        let saved = saving.wait_with_output().map_err(|source| missing(&save, source))?;
        for (verb, output) in [("save", &saved), ("load", &loaded)] {
            if !output.status.success() {
                let words = String::from_utf8_lossy(&output.stderr).trim().to_owned();
                return Err(Error::Command { command: format!("docker {verb} {image}"), words });
            }
        }
        Ok(())
    }
}
