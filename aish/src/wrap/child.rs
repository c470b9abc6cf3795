//! The process of a wrapped program: a group of its own, and its three streams.

use std::{io, path::PathBuf, process::ExitStatus, process::Stdio, sync::Arc, time::Duration};

use aigis_node::process::Process;
use aigis_proxy::{socket::ProcessGroup, task};
use rustix::process::{Pid, Signal, kill_process_group};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    process::{ChildStdin, ChildStdout, Command},
    sync::mpsc,
};

use super::{framing::LineEnds, init, logs::Logs, terminal::Terminal};

/// How long a program may take to end after it was told to.
const GRACE: Duration = Duration::from_secs(10);
/// How long output may still come after the program has ended: others may hold its pipe.
const LAST_WORDS: Duration = Duration::from_millis(200);
/// How much output is taken at once.
const CHUNK: usize = 64 * 1024;

/// What to run.
#[derive(Debug, Clone)]
pub(crate) struct Spec {
    /// The program and its arguments.
    pub(crate) argv: Vec<String>,
    /// Variables beside those of this process.
    pub(crate) env: Vec<(String, String)>,
    /// Variables that are the content of files, read when it starts.
    pub(crate) env_files: Vec<(String, PathBuf)>,
    /// Whether it gets a terminal.
    pub(crate) pty: bool,
}

/// A program that runs. Its group is killed when this is dropped.
#[derive(Debug)]
pub(crate) struct Child {
    process: tokio::process::Child,
    handle: Process,
    group: ProcessGroup,
    reaped: bool,
    /// What it writes; ends when it has closed its output.
    output: mpsc::Receiver<Vec<u8>>,
    /// What it is to read; closed when it has closed its input.
    input: mpsc::Sender<Vec<u8>>,
    _tasks: Vec<task::Owned>,
}

impl Child {
    /// Starts the program.
    ///
    /// # Errors
    ///
    /// What the operating system says.
    pub(crate) fn start(spec: &Spec, logs: &Arc<Logs>) -> io::Result<Self> {
        let (program, arguments) =
            spec.argv.split_first().ok_or_else(|| io::Error::other("there is no program to run"))?;
        let mut command = if spec.env_files.is_empty() {
            let mut command = Command::new(program);
            command.args(arguments);
            command
        } else {
            init::check(program)?;
            let mut command = Command::new(init::BINARY);
            command.arg0(init::NAME).args(init::arguments(&spec.env_files, &spec.argv));
            command
        };
        command.process_group(0);
        let terminal = if spec.pty {
            let (terminal, end) = Terminal::open()?;
            command.stdin(end.try_clone()?).stdout(end.try_clone()?).stderr(end);
            // Colours and cursor keys are no part of a reply.
            command.env("TERM", "dumb");
            Some(terminal)
        } else {
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
            None
        };
        command.envs(spec.env.iter().map(|(key, value)| (key, value)));
        let mut process = command.spawn()?;
        // Its ends of a terminal are the program's alone from now on.
        drop(command);
        let pid = process.id().and_then(|pid| i32::try_from(pid).ok());
        let known = pid.and_then(|pid| Process::open(pid).zip(ProcessGroup::led_by(pid)));
        let (handle, group) = known.ok_or_else(|| io::Error::other("the program cannot be watched"))?;
        let (sender, output) = mpsc::channel(4);
        let (input, receiver) = mpsc::channel(1);
        let mut tasks = Vec::new();
        match terminal {
            Some(terminal) => {
                tasks.push(task::Owned::spawn("wrapped-output", shown(terminal.clone(), sender)));
                tasks.push(task::Owned::spawn("wrapped-input", typed(terminal, receiver)));
            }
            None => {
                if let (Some(stdout), Some(stdin)) = (process.stdout.take(), process.stdin.take()) {
                    tasks.push(task::Owned::spawn("wrapped-output", read(stdout, sender)));
                    tasks.push(task::Owned::spawn("wrapped-input", write(stdin, receiver)));
                }
                if let Some(mut stderr) = process.stderr.take() {
                    let logs = logs.clone();
                    tasks.push(task::Owned::spawn("wrapped-stderr", async move {
                        let mut chunk = vec![0; CHUNK];
                        while let Ok(count @ 1..) = stderr.read(&mut chunk).await {
                            logs.stderr(chunk.get(..count).unwrap_or_default());
                        }
                        logs.end();
                    }));
                }
            }
        }
        Ok(Self { process, handle, group, reaped: false, output, input, _tasks: tasks })
    }

    /// Its process group.
    pub(crate) fn group(&self) -> ProcessGroup {
        self.group
    }

    /// What it writes, what it is to read, and what tells of its end.
    pub(crate) fn streams(&mut self) -> (&mut mpsc::Receiver<Vec<u8>>, &mpsc::Sender<Vec<u8>>, &Process) {
        (&mut self.output, &self.input, &self.handle)
    }

    /// What it still has to say after its end.
    pub(crate) async fn last_words(&mut self) -> Option<Vec<u8>> {
        tokio::time::timeout(LAST_WORDS, self.output.recv()).await.ok().flatten()
    }

    /// Tells the group to end, kills it where it does not within the grace, and gives how the program ended.
    pub(crate) async fn end(mut self) -> Option<ExitStatus> {
        self.signal(Signal::TERM);
        let _ = tokio::time::timeout(GRACE, self.handle.ended()).await;
        self.reap().await
    }

    /// Kills what is left of the group, and gives how the program ended.
    pub(crate) async fn reap(&mut self) -> Option<ExitStatus> {
        self.signal(Signal::KILL);
        let status = self.process.wait().await.ok();
        self.reaped = true;
        status
    }

    /// Until the program was waited for, its number is nobody else's.
    fn signal(&self, signal: Signal) {
        if let Some(group) = Pid::from_raw(self.group.pid).filter(|_| !self.reaped) {
            // A group that is empty already is what is wanted.
            let _ = kill_process_group(group, signal);
        }
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        self.signal(Signal::KILL);
    }
}

async fn read(mut stdout: ChildStdout, sender: mpsc::Sender<Vec<u8>>) {
    let mut chunk = vec![0; CHUNK];
    while let Ok(count @ 1..) = stdout.read(&mut chunk).await {
        if sender.send(chunk.get(..count).unwrap_or_default().to_vec()).await.is_err() {
            return;
        }
    }
}

async fn write(mut stdin: ChildStdin, mut receiver: mpsc::Receiver<Vec<u8>>) {
    while let Some(bytes) = receiver.recv().await {
        if stdin.write_all(&bytes).await.is_err() || stdin.flush().await.is_err() {
            return;
        }
    }
}

async fn shown(terminal: Terminal, sender: mpsc::Sender<Vec<u8>>) {
    let mut chunk = vec![0; CHUNK];
    let mut ends = LineEnds::default();
    while let Ok(count @ 1..) = terminal.read(&mut chunk).await {
        let bytes = ends.plain(chunk.get(..count).unwrap_or_default());
        if sender.send(bytes).await.is_err() {
            return;
        }
    }
}

async fn typed(terminal: Terminal, mut receiver: mpsc::Receiver<Vec<u8>>) {
    while let Some(bytes) = receiver.recv().await {
        if terminal.write(&bytes).await.is_err() {
            return;
        }
    }
}
