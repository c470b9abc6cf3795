//! Running a command in a container.

use std::{fmt, pin::Pin, time::Duration};

use bollard::{
    container::LogOutput,
    exec::{StartExecOptions, StartExecResults},
    models::ExecConfig,
};
use bytes::Bytes;
use futures::{Stream, StreamExt, stream};
use serde_json::Value;
use tokio::{io::AsyncWrite, time::Instant};

use super::{ContainerId, Engine, Error, REQUEST, Source, error::Asked, query};
use crate::host;

/// How the engine begins its words when a command could not be started; they come as the command's own output.
const NOT_STARTED: [&str; 2] = ["OCI runtime exec failed", "failed to create runc"];

/// A command for a container.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ExecRequest {
    /// The program and its arguments, as they are: no shell.
    pub argv: Vec<String>,
    /// `KEY=VALUE` lines.
    pub env: Vec<String>,
    /// The working directory.
    pub workdir: Option<String>,
    /// The user, and group, to run as.
    pub user: Option<String>,
    /// Whether it gets a terminal.
    pub tty: bool,
    /// Whether it gets standard input.
    pub input: bool,
}

/// A piece of a command's output.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExecOutput {
    /// Where it came from; all of a terminal is standard output.
    pub source: Source,
    /// The bytes.
    pub bytes: Bytes,
}

/// A command's output. Dropping it does not end the command: see [`ExecHandle::kill`].
pub type OutputStream = Pin<Box<dyn Stream<Item = Result<ExecOutput, Error>> + Send>>;

/// A command that was started.
pub struct ExecSession {
    /// Its output; the first item is the error of a program that could not be started.
    pub output: OutputStream,
    /// Its standard input, if that was asked for: shut down to end it.
    pub input: Option<Pin<Box<dyn AsyncWrite + Send>>>,
    /// Asks for its exit code, and ends it.
    pub handle: ExecHandle,
}

impl fmt::Debug for ExecSession {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ExecSession").field("handle", &self.handle).finish_non_exhaustive()
    }
}

/// What is left of a command once its output is being read.
#[derive(Debug, Clone)]
pub struct ExecHandle {
    engine: Engine,
    exec: String,
    container: ContainerId,
}

/// What the engine knows of a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ExecState {
    /// Whether it runs.
    pub running: bool,
    /// How it ended.
    pub exit_code: Option<i64>,
    /// Its process, as the host numbers it.
    pub pid: Option<u32>,
}

const RUN: Asked = Asked { what: "run the command", endpoint: "POST /exec/ID/start" };

impl Engine {
    /// Starts a command in a running container.
    ///
    /// # Errors
    ///
    /// As every request; [`Error::Conflict`] if the container is paused or does not run. A program that the image does
    /// not have is the first item of the output.
    pub async fn exec(&self, id: &ContainerId, request: ExecRequest) -> Result<ExecSession, Error> {
        const CREATE: Asked = Asked { what: "prepare the command", endpoint: "POST /containers/ID/exec" };
        let docker = self.shared.docker()?;
        let ExecRequest { argv, env, workdir, user, tty, input } = request;
        let program = argv.first().cloned().unwrap_or_default();
        let config = ExecConfig {
            attach_stdin: Some(input),
            attach_stdout: Some(true),
            attach_stderr: Some(true),
            tty: Some(tty),
            env: Some(env),
            cmd: Some(argv),
            working_dir: workdir,
            user,
            ..ExecConfig::default()
        };
        let made = self.bounded(CREATE, REQUEST, docker.create_exec(id.as_str(), config)).await?;
        let options = StartExecOptions { detach: false, tty, output_capacity: None };
        let started = self.bounded(RUN, REQUEST, docker.start_exec(&made.id, Some(options))).await?;
        let handle = ExecHandle { engine: self.clone(), exec: made.id, container: id.clone() };
        let StartExecResults::Attached { output, input: writer } = started else {
            return Err(self.malformed(RUN, "it did not attach the command".to_owned()));
        };
        let reading = Reading { output, handle: handle.clone(), program, begun: false, ended: false };
        let output = Box::pin(stream::unfold(reading, Reading::next));
        Ok(ExecSession { output, input: input.then_some(writer), handle })
    }
}

struct Reading {
    output: Pin<Box<dyn Stream<Item = Result<LogOutput, bollard::errors::Error>> + Send>>,
    handle: ExecHandle,
    program: String,
    begun: bool,
    ended: bool,
}

impl Reading {
    async fn next(mut self) -> Option<(Result<ExecOutput, Error>, Self)> {
        if self.ended {
            return None;
        }
        let (source, bytes) = match self.output.next().await? {
            Ok(LogOutput::StdErr { message }) => (Source::Stderr, message),
            Ok(LogOutput::StdOut { message } | LogOutput::StdIn { message } | LogOutput::Console { message }) => {
                (Source::Stdout, message)
            }
            Err(error) => {
                self.ended = true;
                return Some((Err(self.handle.engine.failed(RUN, &error)), self));
            }
        };
        if !std::mem::replace(&mut self.begun, true)
            && NOT_STARTED.iter().any(|words| bytes.starts_with(words.as_bytes()))
            && let Ok(ExecState { running: false, pid: None, .. }) = self.handle.state().await
        {
            self.ended = true;
            let words = String::from_utf8_lossy(&bytes).trim().to_owned();
            let engine = self.handle.engine.address();
            let words = format!("{} could not be started: {words}", self.program);
            return Some((Err(Error::Refused { engine, what: RUN.what, status: 400, words }), self));
        }
        Some((Ok(ExecOutput { source, bytes }), self))
    }
}

impl ExecHandle {
    /// Asks the engine how the command stands.
    ///
    /// # Errors
    ///
    /// As every request.
    pub async fn state(&self) -> Result<ExecState, Error> {
        const ASK: Asked = Asked { what: "inspect the command", endpoint: "GET /exec/ID/json" };
        let value = self.engine.json(ASK, &format!("/exec/{}/json", query::escape(&self.exec))).await?;
        let pid = value.get("Pid").and_then(Value::as_u64).and_then(|pid| i32::try_from(pid).ok());
        Ok(ExecState {
            running: value.get("Running").and_then(Value::as_bool).unwrap_or(false),
            exit_code: value.get("ExitCode").and_then(Value::as_i64),
            pid: pid.filter(|pid| *pid > 0).map(i32::unsigned_abs),
        })
    }

    /// The exit code, once the output has ended: the engine writes it down a moment later.
    ///
    /// # Errors
    ///
    /// As every request; [`Error::Timeout`] if it still runs after 5 s.
    pub async fn exit_code(&self) -> Result<i64, Error> {
        let limit = Duration::from_secs(5);
        let end = Instant::now() + limit;
        while Instant::now() < end {
            if let ExecState { running: false, exit_code: Some(code), .. } = self.state().await? {
                return Ok(code);
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Err(self.engine.timeout(Asked { what: "tell how the command ended", ..RUN }, limit, false))
    }

    /// Kills the process that was started, on this host, by its handle; others in the container are left alone.
    /// Answers whether there was one to kill.
    ///
    /// # Errors
    ///
    /// As every request.
    pub async fn kill(&self) -> Result<bool, Error> {
        // A budget that ran out is often why the command is to end: it must not keep it alive.
        let fresh = Self { engine: Engine { deadline: None, ..self.engine.clone() }, ..self.clone() };
        // The engine learns the process's number a moment after the command's first output.
        let end = Instant::now() + Duration::from_secs(2);
        loop {
            match fresh.state().await? {
                ExecState { running: true, pid: Some(pid), .. } => return Ok(host::kill(pid, &self.container)),
                ExecState { running: true, pid: None, .. } if Instant::now() < end => {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
                _ => return Ok(false),
            }
        }
    }
}
