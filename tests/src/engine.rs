//! An engine of the test's own, in a network namespace of its own, so that it disturbs no other.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use crate::{nonce, until};

/// A Docker engine that ends with the test.
#[derive(Debug)]
pub struct PrivateEngine {
    namespace: String,
    directory: tempfile::TempDir,
    child: Option<Child>,
}

impl PrivateEngine {
    /// Starts an engine with nothing on it.
    ///
    /// # Panics
    ///
    /// Panics when it does not answer within 30 s.
    #[must_use]
    pub fn start() -> Self {
        let namespace = format!("aigis-{}", nonce());
        ip(&["netns", "add", &namespace]);
        ip(&["-n", &namespace, "link", "set", "lo", "up"]);
        let directory = tempfile::Builder::new().prefix("aigis-engine").tempdir().unwrap_or_else(|e| panic!("{e}"));
        let mut engine = Self { namespace, directory, child: None };
        engine.resume();
        engine
    }

    /// Its address, as `DOCKER_HOST` takes it.
    #[must_use]
    pub fn host(&self) -> String {
        format!("unix://{}", self.socket().display())
    }

    /// Gives it an image of the machine's own engine.
    ///
    /// # Panics
    ///
    /// Panics when there is no such image.
    pub fn load(&self, image: &str) {
        let mut save = Command::new("docker")
            .args(["save", image])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("docker cannot be run: {error}"));
        let from = save.stdout.take().unwrap_or_else(|| panic!("docker save has no output"));
        let load = Command::new("docker").args(["--host", &self.host(), "load"]).stdin(from).output();
        let load = load.unwrap_or_else(|error| panic!("docker cannot be run: {error}"));
        let saved = save.wait().is_ok_and(|status| status.success());
        assert!(saved && load.status.success(), "{image}: {}", String::from_utf8_lossy(&load.stderr));
    }

    fn socket(&self) -> PathBuf {
        self.directory.path().join("docker.sock")
    }

    /// Starts it again after [`PrivateEngine::kill`].
    ///
    /// # Panics
    ///
    /// As [`PrivateEngine::start`].
    pub fn resume(&mut self) {
        let path = |name: &str| self.directory.path().join(name).display().to_string();
        // The machine's own configuration is not this engine's: what stands in both is refused.
        fs::write(path("daemon.json"), "{}").unwrap_or_else(|error| panic!("{error}"));
        let log = fs::File::create(path("log")).unwrap_or_else(|error| panic!("{error}"));
        let child = Command::new("nsenter")
            .arg(format!("--net=/run/netns/{}", self.namespace))
            .args(["dockerd", "--live-restore", "--data-root", &path("data"), "--exec-root", &path("exec")])
            .args(["--config-file", &path("daemon.json")])
            .args(["--pidfile", &path("pid"), "--host", &self.host()])
            .stdout(Stdio::null())
            .stderr(log)
            .spawn();
        self.child = Some(child.unwrap_or_else(|error| panic!("dockerd cannot be run: {error}")));
        let host = self.host();
        until("a private engine answers", Duration::from_secs(30), || {
            let answer = Command::new("docker").args(["--host", &host, "version"]).output().ok()?;
            answer.status.success().then_some(())
        });
    }

    /// Kills it, as a crash would.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
        let _ = fs::remove_file(self.directory.path().join("pid"));
    }
}

impl Drop for PrivateEngine {
    fn drop(&mut self) {
        // With live restore, containers would outlive their engine.
        if let Ok(list) = Command::new("docker").args(["--host", &self.host(), "ps", "-aq"]).output() {
            let ids = String::from_utf8_lossy(&list.stdout).split_whitespace().map(str::to_owned).collect::<Vec<_>>();
            let _ = Command::new("docker").args(["--host", &self.host(), "rm", "-f"]).args(ids).output();
        }
        if let Some(child) = &mut self.child {
            // An orderly end takes its containerd along, which a kill would leave behind.
            if let Some(pid) = i32::try_from(child.id()).ok().and_then(rustix::process::Pid::from_raw) {
                let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
            }
            let _ = child.wait();
        }
        // It leaves its data mounted over itself, which would keep the directory.
        let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
        let places = mounts.lines().filter_map(|line| line.split(' ').nth(1)).map(Path::new);
        let mut own: Vec<_> = places.filter(|place| place.starts_with(self.directory.path())).collect();
        own.reverse();
        for place in own {
            let _ = Command::new("umount").arg("--lazy").arg(place).output();
        }
        let _ = Command::new("ip").args(["netns", "delete", &self.namespace]).output();
    }
}

fn ip(args: &[&str]) {
    let output = Command::new("ip").args(args).output().unwrap_or_else(|error| panic!("ip cannot be run: {error}"));
    assert!(output.status.success(), "ip {args:?}: {}", String::from_utf8_lossy(&output.stderr));
}
