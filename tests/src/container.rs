//! Containers on the real engine.

use std::process::{Command, Output};

use serde_json::Value;

/// Runs `docker` and gives its standard output, trimmed.
///
/// # Panics
///
/// Panics with its words when it fails.
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

    /// What `docker stats` says of its memory, in bytes: used without inactive file cache, and the limit.
    ///
    /// # Panics
    ///
    /// Panics when that cannot be read.
    #[must_use]
    pub fn memory(&self) -> (f64, f64) {
        let args = ["stats", "--no-stream", "--format", "{{.MemUsage}}", &self.id];
        let text = docker(self.host.as_deref(), &args);
        let read = text.split_once(" / ").and_then(|(used, limit)| Some((amount(used)?, amount(limit)?)));
        read.unwrap_or_else(|| panic!("docker stats says {text}"))
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

/// Reads an amount as `docker stats` writes it, such as `12.3MiB`.
fn amount(text: &str) -> Option<f64> {
    let (number, unit) = text.split_at(text.find(|c: char| c.is_ascii_alphabetic())?);
    let exponent = ["B", "KiB", "MiB", "GiB", "TiB"].iter().position(|known| *known == unit)?;
    Some(number.parse::<f64>().ok()? * 1024_f64.powi(i32::try_from(exponent).ok()?))
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
