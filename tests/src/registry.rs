//! A registry of images, as Debian ships it.

use std::{
    fs,
    net::{TcpListener, TcpStream},
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::Duration,
};

use crate::until;

/// How long it may take until it listens.
const SOON: Duration = Duration::from_secs(30);

/// A registry on a port of this machine, which ends with this.
#[derive(Debug)]
pub struct Registry {
    place: tempfile::TempDir,
    server: Child,
    /// Its host and port.
    pub address: String,
}

impl Registry {
    /// Starts one that everybody may write to.
    ///
    /// # Panics
    ///
    /// Panics when it does not listen.
    #[must_use]
    pub fn open() -> Self {
        Self::start("")
    }

    /// Starts one for these users alone: lines of htpasswd.
    ///
    /// # Panics
    ///
    /// As [`Registry::open`].
    #[must_use]
    pub fn guarded(users: &str) -> Self {
        Self::start(users)
    }

    fn start(users: &str) -> Self {
        let place = tempfile::tempdir().unwrap_or_else(|error| panic!("{error}"));
        let free = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
        let address = free.unwrap_or_else(|error| panic!("{error}")).to_string();
        let root = place.path().display();
        let mut config = format!(
            "version: 0.1\nlog:\n  level: info\n  accesslog:\n    disabled: false\nstorage:\n  filesystem:\n    rootdirectory: {root}/store\nhttp:\n  \
            addr: {address}\n  secret: x\n"
        );
        if !users.is_empty() {
            fs::write(place.path().join("users"), users).unwrap_or_else(|error| panic!("{error}"));
            config += &format!("auth:\n  htpasswd:\n    realm: tests\n    path: {root}/users\n");
        }
        let file = place.path().join("config.yml");
        let log = fs::write(&file, config).and_then(|()| fs::File::create(place.path().join("log")));
        let log = log.unwrap_or_else(|error| panic!("{error}"));
        let mut command = Command::new("docker-registry");
        command.arg("serve").arg(&file).stdout(log).stderr(Stdio::null());
        let server = command.spawn().unwrap_or_else(|error| panic!("docker-registry cannot be run: {error}"));
        let started = Self { place, server, address };
        until("the registry listens", SOON, || TcpStream::connect(&started.address).ok().map(drop));
        started
    }

    /// The lines of its access log that hold these words.
    ///
    /// # Panics
    ///
    /// Panics when there is no log.
    #[must_use]
    pub fn asked(&self, words: &str) -> usize {
        let log = fs::read_to_string(self.place.path().join("log")).unwrap_or_else(|error| panic!("{error}"));
        log.lines().filter(|line| line.contains(words)).count()
    }

    /// Where it keeps everything.
    #[must_use]
    pub fn store(&self) -> PathBuf {
        self.place.path().join("store")
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}
