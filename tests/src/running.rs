//! A command that goes on, and the lines that it prints.

use std::{
    fs::File,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    os::fd::OwnedFd,
    process::{Child, Command},
    sync::mpsc::{Receiver, RecvTimeoutError, channel},
    time::{Duration, Instant},
};

use rustix::{
    fs::{Mode, OFlags},
    process::{Pid, Signal, kill_process},
    pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt},
};

use crate::Ran;

/// A command that runs in the background, with the lines of one of its outputs as they come; killed with this.
#[derive(Debug)]
pub struct Running {
    child: Child,
    incoming: Receiver<String>,
    seen: Vec<String>,
    started: Instant,
    of_stderr: bool,
    /// The terminal at which it runs, if it does at one.
    terminal: Option<File>,
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
        Self::of(child, lines(stdout), false)
    }

    /// Takes over a child whose output is piped, for the lines of its standard error.
    ///
    /// # Panics
    ///
    /// As [`Running::new`].
    #[must_use]
    pub fn of_stderr(mut child: Child) -> Self {
        let stderr = child.stderr.take().unwrap_or_else(|| panic!("the errors of {child:?} are not piped"));
        Self::of(child, lines(stderr), true)
    }

    /// Starts a command at a terminal of its own, on which all of its output is.
    ///
    /// # Panics
    ///
    /// Panics when there is no terminal, or the command cannot be run.
    #[must_use]
    pub fn at_terminal(mut command: Command) -> Self {
        let opened = || -> std::io::Result<(OwnedFd, OwnedFd)> {
            let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC)?;
            grantpt(&master)?;
            unlockpt(&master)?;
            let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
            let slave = rustix::fs::open(ptsname(&master, Vec::new())?, flags, Mode::empty())?;
            Ok((master, slave))
        };
        let (master, slave) = opened().unwrap_or_else(|error| panic!("there is no terminal: {error}"));
        let copy = || slave.try_clone().unwrap_or_else(|error| panic!("{error}"));
        command.stdin(copy()).stdout(copy()).stderr(copy());
        let child = command.spawn().unwrap_or_else(|error| panic!("{error}"));
        // It would be held open, and its end never seen.
        drop((command, slave));
        let master = File::from(master);
        let read = master.try_clone().unwrap_or_else(|error| panic!("{error}"));
        let mut running = Self::of(child, lines(read), false);
        running.terminal = Some(master);
        running
    }

    fn of(child: Child, incoming: Receiver<String>, of_stderr: bool) -> Self {
        Self { child, incoming, seen: Vec::new(), started: Instant::now(), of_stderr, terminal: None }
    }

    /// Types a line at its terminal.
    ///
    /// # Panics
    ///
    /// Panics when it runs at none.
    pub fn enter(&mut self, line: &str) {
        let terminal = self.terminal.as_mut().unwrap_or_else(|| panic!("it runs at no terminal"));
        terminal.write_all(format!("{line}\n").as_bytes()).unwrap_or_else(|error| panic!("{error}"));
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
