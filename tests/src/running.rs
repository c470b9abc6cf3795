//! A command that goes on, and the lines that it prints.

use std::{
    io::{BufRead as _, BufReader, Read as _},
    process::Child,
    sync::mpsc::{Receiver, RecvTimeoutError, channel},
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};

use crate::Ran;

/// A command that runs in the background, with the lines of one of its outputs as they come; killed with this.
#[derive(Debug)]
pub struct Running {
    child: Child,
    incoming: Receiver<String>,
    seen: Vec<String>,
    started: Instant,
    of_stderr: bool,
}

impl Running {
    /// Takes over a child whose output is piped.
    ///
    /// # Panics
    ///
    /// Panics when its output is not piped.
    #[must_use]
    pub fn new(mut child: Child) -> Self {
        let stdout = child.stdout.take().unwrap_or_else(|| panic!("the output of {child:?} is not piped"));
        Self { child, incoming: lines(stdout), seen: Vec::new(), started: Instant::now(), of_stderr: false }
    }

    /// Takes over a child whose output is piped, for the lines of its standard error.
    ///
    /// # Panics
    ///
    /// As [`Running::new`].
    #[must_use]
    pub fn of_stderr(mut child: Child) -> Self {
        let stderr = child.stderr.take().unwrap_or_else(|| panic!("the errors of {child:?} are not piped"));
        Self { child, incoming: lines(stderr), seen: Vec::new(), started: Instant::now(), of_stderr: true }
    }

    /// Its process id.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Every line that has been taken so far.
    #[must_use]
    pub fn seen(&self) -> &[String] {
        &self.seen
    }

    /// Reads on until a line satisfies, at most for `limit`, and gives what was made of that line.
    ///
    /// # Panics
    ///
    /// Panics with all lines when the time is over, or the command ended.
    pub fn until<T>(&mut self, what: &str, limit: Duration, mut condition: impl FnMut(&str) -> Option<T>) -> T {
        let deadline = Instant::now() + limit;
        loop {
            match self.incoming.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(line) => {
                    let found = condition(&line);
                    self.seen.push(line);
                    if let Some(found) = found {
                        return found;
                    }
                }
                Err(RecvTimeoutError::Timeout) => panic!("{what}: not within {limit:?}: {:#?}", self.seen),
                Err(RecvTimeoutError::Disconnected) => panic!("{what}: the command ended: {:#?}", self.seen),
            }
        }
    }

    /// The next line, if one comes within `limit`.
    pub fn next(&mut self, limit: Duration) -> Option<String> {
        let line = self.incoming.recv_timeout(limit).ok()?;
        self.seen.push(line.clone());
        Some(line)
    }

    /// Sends it a signal.
    ///
    /// # Panics
    ///
    /// Panics when there is no such process.
    pub fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        let sent = pid.map(|pid| kill_process(pid, signal));
        assert_eq!(sent, Some(Ok(())), "{signal:?}");
    }

    /// Whether it has ended.
    pub fn has_ended(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(Some(_)))
    }

    /// Waits for its end, and gives all that it printed.
    ///
    /// # Panics
    ///
    /// Panics when it does not end within `limit`.
    pub fn end(mut self, limit: Duration) -> Ran {
        let status = crate::until("the command ends", limit, || self.child.try_wait().ok().flatten());
        self.seen.extend(self.incoming.iter());
        let mut other = String::new();
        if let Some(mut pipe) = self.child.stderr.take() {
            let _ = pipe.read_to_string(&mut other);
        }
        if let Some(mut pipe) = self.child.stdout.take() {
            let _ = pipe.read_to_string(&mut other);
        }
        let seen = self.seen.iter().map(|line| format!("{line}\n")).collect();
        let (stdout, stderr) = if self.of_stderr { (other, seen) } else { (seen, other) };
        Ran { code: status.code().unwrap_or(-1), stdout, stderr, took: self.started.elapsed() }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The lines of a pipe, as they come.
fn lines(pipe: impl std::io::Read + Send + 'static) -> Receiver<String> {
    let (send, incoming) = channel();
    // A thread, since a read from a pipe has no bound; it ends with the pipe.
    std::thread::spawn(move || {
        for line in BufReader::new(pipe).lines().map_while(Result::ok) {
            if send.send(line).is_err() {
                return;
            }
        }
    });
    incoming
}
