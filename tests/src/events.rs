//! The engine's own event stream, followed.

use std::{
    process::{Command, Stdio},
    time::Duration,
};

use serde_json::Value;

use crate::{Container, Running, docker, nonce, now};

/// How long the engine may take to tell what happened.
const TOLD: Duration = Duration::from_secs(120);

/// All that an engine says happens on it, from now on. The engine remembers its last 256 events only, and other tests
/// make events too: who asks it afterwards may miss the first.
#[derive(Debug)]
pub struct Events {
    host: Option<String>,
    stream: Running,
}

impl Events {
    /// Follows the machine's engine.
    #[must_use]
    pub fn follow() -> Self {
        Self::follow_on(None)
    }

    /// Follows the engine at that address.
    ///
    /// # Panics
    ///
    /// Panics when `docker` cannot be run.
    #[must_use]
    pub fn follow_on(host: Option<&str>) -> Self {
        let mut command = Command::new("docker");
        if let Some(host) = host {
            command.args(["--host", host]);
        }
        command.args(["events", "--since", &now(), "--format", "{{json .}}"]);
        let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn();
        let stream = Running::new(child.unwrap_or_else(|error| panic!("docker cannot be run: {error}")));
        Self { host: host.map(str::to_owned), stream }
    }

    /// What has happened to a container so far, in order, but for `top`: by it the engine tells that its processes
    /// were listed, which changes nothing.
    pub fn of(&mut self, container: &Container) -> Vec<String> {
        self.about(&container.id)
    }

    /// As [`Events::of`], of the container with that id.
    pub fn about(&mut self, id: &str) -> Vec<String> {
        let told = self.so_far().into_iter().filter(|event| event["Actor"]["ID"] == id);
        told.map(|event| word(&event["Action"])).filter(|action| action != "top").collect()
    }

    /// The names of the containers that bear a label and have been made so far, in order.
    pub fn made(&mut self, label: &str, value: &str) -> Vec<String> {
        let bears = |event: &Value| event["Action"] == "create" && event["Actor"]["Attributes"][label] == value;
        self.so_far()
            .iter()
            .filter(|event| bears(event))
            .map(|event| word(&event["Actor"]["Attributes"]["name"]))
            .collect()
    }

    /// What has happened to containers so far.
    fn so_far(&mut self) -> Vec<Value> {
        // A volume made now is the last event: when it has come, so has all before it.
        let mark = docker(self.host.as_deref(), &["volume", "create", &format!("aigis-mark-{}", nonce())]);
        self.stream.until("the mark", TOLD, |line| line.contains(&mark).then_some(()));
        let _ = docker(self.host.as_deref(), &["volume", "rm", &mark]);
        let events = self.stream.seen().iter().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        events.filter(|event| event["Type"] == "container").collect()
    }
}

fn word(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}
