//! The engine's own event stream, followed.

use std::{
    process::{Command, Stdio},
    time::Duration,
};

use crate::{Container, Running, docker, nonce, now};

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
        command.args(["events", "--since", &now(), "--format", "{{.Type}} {{.Actor.ID}} {{.Action}}"]);
        let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn();
        let stream = Running::new(child.unwrap_or_else(|error| panic!("docker cannot be run: {error}")));
        Self { host: host.map(str::to_owned), stream }
    }

    /// What has happened to a container so far, in order, but for `top`: by it the engine tells that its processes
    /// were listed, which changes nothing.
    pub fn of(&mut self, container: &Container) -> Vec<String> {
        // A volume made now is the last event: when it has come, so has all before it.
        let mark = docker(self.host.as_deref(), &["volume", "create", &format!("aigis-mark-{}", nonce())]);
        let made = format!("volume {mark} create");
        self.stream.until("the mark", Duration::from_secs(30), |line| (line == made).then_some(()));
        let _ = docker(self.host.as_deref(), &["volume", "rm", &mark]);
        let prefix = format!("container {} ", container.id);
        let actions = self.stream.seen().iter().filter_map(|line| line.strip_prefix(prefix.as_str()));
        actions.filter(|action| *action != "top").map(str::to_owned).collect()
    }
}
