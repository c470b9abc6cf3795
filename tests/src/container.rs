//! Containers on the real engine.

use std::process::{Command, Output};

use serde_json::Value;

/// Runs `docker` and gives its standard output, trimmed.
///
/// # Panics
///
/// Panics with its words when it fails.
#[must_use]
pub fn docker(host: Option<&str>, args: &[&str]) -> String {
    let output = run(host, args);
    let words = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "docker {args:?}: {words}");
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

fn run(host: Option<&str>, args: &[&str]) -> Output {
    let mut command = Command::new("docker");
    if let Some(host) = host {
        command.args(["--host", host]);
    }
    command.args(args).output().unwrap_or_else(|error| panic!("docker cannot be run: {error}"))
}

/// A container that is removed, by id, when this is dropped.
#[derive(Debug)]
pub struct Container {
    /// Its full id.
    pub id: String,
    /// Its name.
    pub name: String,
    host: Option<String>,
}

impl Container {
    /// Runs a container of that name: `options` stand before the image, `command` after it.
    #[must_use]
    pub fn run(name: &str, options: &[&str], image: &str, command: &[&str]) -> Self {
        Self::run_on(None, name, options, image, command)
    }

    /// As [`Container::run`], on another engine.
    #[must_use]
    pub fn run_on(host: Option<&str>, name: &str, options: &[&str], image: &str, command: &[&str]) -> Self {
        let args = [&["run", "-d", "--name", name], options, &[image], command].concat();
        Self { id: docker(host, &args), name: name.to_owned(), host: host.map(str::to_owned) }
    }

    /// What the engine says of it.
    #[must_use]
    pub fn inspect(&self) -> Value {
        let text = docker(self.host.as_deref(), &["inspect", &self.id]);
        let mut list: Value = serde_json::from_str(&text).unwrap_or_default();
        list.get_mut(0).map(Value::take).unwrap_or_default()
    }

    /// The engine's events of this container since an instant (seconds), but for `top` and the end of the test.
    #[must_use]
    pub fn events_since(&self, since: &str) -> Vec<String> {
        let filter = format!("container={}", self.id);
        let now = now();
        let args = ["events", "--since", since, "--until", &now, "--filter", &filter, "--format", "{{.Action}}"];
        docker(self.host.as_deref(), &args).lines().filter(|action| *action != "top").map(str::to_owned).collect()
    }
}

/// Now, as the engine takes it.
#[must_use]
pub fn now() -> String {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    format!("{}.{:09}", since.as_secs(), since.subsec_nanos())
}

impl Drop for Container {
    fn drop(&mut self) {
        let _ = run(self.host.as_deref(), &["rm", "--force", "--volumes", &self.id]);
    }
}
