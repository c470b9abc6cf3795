//! Who ends a process group when this node is killed, and could not do it itself.

use std::{io, process::Stdio};

use tokio::process::{Child, Command};

/// Waits for the end of its input, which only this node holds open; then tells the group `$1` to end, and kills what is
/// left of it after 5 s. It waits on the pipe and not on the death of its parent, which for the kernel is a thread.
const SCRIPT: &str = r#"trap '' HUP INT QUIT TERM
read -r _
kill -s TERM -- "-$1" || exit 0
left=25
while [ "$left" -gt 0 ]; do
    sleep 0.2
    kill -s 0 -- "-$1" || exit 0
    left=$((left - 1))
done
kill -s KILL -- "-$1""#;

/// A guard of one process group; dropping this dismisses it.
#[derive(Debug)]
pub(super) struct Guard(Child);

impl Guard {
    /// Sets a guard.
    pub(super) fn start(group: u32) -> io::Result<Self> {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", SCRIPT, "aigis-guard"]).arg(group.to_string());
        // It needs the program `sleep`, and nothing else.
        command.env_clear().env("PATH", "/usr/bin:/bin").current_dir("/").process_group(0);
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).kill_on_drop(true);
        command.spawn().map(Self)
    }

    /// Ends it: the group is gone, and its number may become another's.
    pub(super) async fn dismiss(&mut self) {
        if let Err(error) = self.0.kill().await {
            tracing::warn!(%error, "the guard of a process group was not dismissed");
        }
    }
}
