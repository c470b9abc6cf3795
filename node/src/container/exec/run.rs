//! A command that runs in a container and never outlives who asked for it.

use std::{collections::VecDeque, time::Duration};

use aigis_proxy::{Error, quoted, task};
use futures::StreamExt;
use tokio::{io::AsyncWriteExt, sync::oneshot, time::Instant};

use crate::{
    container::lifecycle::Target,
    engine::{self, ExecHandle, ExecOutput, ExecRequest, ExecSession, OutputStream, State},
};

/// How long a command that is to end is looked for: the engine may still be starting it.
const KILL: Duration = Duration::from_secs(5);
const AGAIN: Duration = Duration::from_millis(50);

/// A command that runs. Dropping it kills the process that was started.
pub(super) struct Running {
    output: OutputStream,
    program: String,
    address: String,
    leash: Leash,
    /// Feeds the input; ends with this.
    _writer: Option<task::Owned>,
}

impl Running {
    /// The next piece of output; none when there is no more.
    pub(super) async fn next(&mut self) -> Option<Result<ExecOutput, Error>> {
        let output = self.output.next().await?;
        Some(output.map_err(|error| not_started(&self.address, &self.program, error)))
    }

    /// How the command ended, once its output has.
    pub(super) async fn exit_code(mut self) -> Result<i64, Error> {
        let Some(handle) = &self.leash.0 else { return Err(Error::internal("the command has no handle")) };
        let code = handle.exit_code().await?;
        self.leash.0 = None;
        Ok(code)
    }
}

/// Kills the process when it is dropped with a handle in it.
struct Leash(Option<ExecHandle>);

impl Drop for Leash {
    fn drop(&mut self) {
        // Without a runtime the whole node ends, and nothing can be asked any more.
        if let Some(handle) = self.0.take().filter(|_| tokio::runtime::Handle::try_current().is_ok()) {
            drop(task::spawn("exec-kill", kill(handle)));
        }
    }
}

/// Kills the process of a command as soon as the engine names it.
async fn kill(handle: ExecHandle) {
    let end = Instant::now() + KILL;
    while Instant::now() < end {
        match handle.kill().await {
            Ok(true) => return,
            // Not started yet, or over.
            Ok(false) => match handle.state().await {
                Ok(state) if !state.running && state.exit_code.is_some() => return,
                Ok(_) => {}
                Err(engine::Error::NotFound { .. }) => return,
                Err(error) => tracing::debug!(%error, "a command that is to end cannot be asked about"),
            },
            Err(engine::Error::NotFound { .. }) => return,
            Err(error) => tracing::debug!(%error, "a command that is to end cannot be asked about"),
        }
        tokio::time::sleep(AGAIN).await;
    }
    tracing::warn!(?handle, "a command whose caller is gone could not be ended");
}

/// Starts a command and feeds it its input.
///
/// # Errors
///
/// `failed_precondition` for a container that is paused or does not run. A program that is not there may be told of by
/// the first output instead.
///
/// # Cancel safety
///
/// A command that was being started when this is dropped is killed.
pub(super) async fn begin(target: Target<'_>, request: ExecRequest, input: Option<Vec<u8>>) -> Result<Running, Error> {
    let container = target.inspect().await?;
    let program = request.argv.first().cloned().unwrap_or_default();
    let (address, tty) = (target.address.to_owned(), request.tty);
    if container.state != State::Running {
        let (shown, state) = (quoted(&program), container.state);
        let hint = format!("make it run: aish call {address}.start");
        return Err(Error::precondition(format!("{address} is {state}: {shown} was not run")).hint(hint));
    }
    // Awaited in a task of its own: whoever stops waiting must not leave a command behind that nobody holds.
    let (send, receive) = oneshot::channel();
    let (engine, id) = (target.engine.clone(), target.id.clone());
    drop(task::spawn("exec-start", async move {
        let started = engine.exec(&id, request).await;
        let held = started.map(|ExecSession { output, input, handle }| (output, input, Leash(Some(handle))));
        // A receiver that is gone drops the leash, and that kills.
        drop(send.send(held));
    }));
    let started = receive.await.map_err(|_| Error::internal("the task that starts commands ended"))?;
    let (output, writer, leash) = match started {
        Ok(started) => started,
        Err(error @ engine::Error::NotFound { .. }) => return Err(target.refused("run a command in", error).await),
        Err(error) => return Err(not_started(&address, &program, error)),
    };
    let writer = writer.zip(input).map(|(mut writer, bytes)| {
        task::Owned::spawn("exec-input", async move {
            // A command that ends without having read everything is its own affair.
            let written = writer.write_all(&bytes).await.is_ok() && writer.flush().await.is_ok();
            // A terminal that is closed hangs up on the command; its input ended with a character.
            if written && !tty {
                drop(writer.shutdown().await);
            }
            // Held until the command ends: dropping it would break off the connection of its output.
            std::future::pending::<()>().await;
        })
    });
    Ok(Running { output, program, address, leash, _writer: writer })
}

/// A failure to run a command, naming its program.
fn not_started(address: &str, program: &str, error: engine::Error) -> Error {
    let shown = quoted(program);
    match &error {
        engine::Error::Conflict { words, .. } | engine::Error::Refused { words, .. } => {
            let words = quoted_words(words);
            Error::precondition(format!("\"{shown}\" could not be run in {address}: {words}"))
                .hint("see that its image has the program: one without a shell has no \"sh\"")
        }
        _ => error.into(),
    }
}

fn quoted_words(words: &str) -> String {
    words.chars().map(|c| if c.is_control() { ' ' } else { c }).take(500).collect()
}

/// How a command ran that was awaited.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::container) struct Ran {
    /// Its exit code.
    pub(in crate::container) exit_code: i64,
    /// The end of what it printed, both sources in the order in which they came.
    pub(in crate::container) output: Vec<u8>,
}

/// Runs a command to its end within `limit`, and keeps the last `keep` bytes of its output.
///
/// # Errors
///
/// As of a command that cannot be started; `deadline_exceeded` with the output so far, after which it was killed.
pub(in crate::container) async fn to_the_end(
    target: Target<'_>,
    request: ExecRequest,
    limit: Duration,
    keep: usize,
) -> Result<Ran, Error> {
    let mut running = begin(target, request, None).await?;
    let mut kept = VecDeque::new();
    let reading = async {
        while let Some(output) = running.next().await {
            kept.extend(output?.bytes);
            kept.drain(..kept.len().saturating_sub(keep));
        }
        Ok::<(), Error>(())
    };
    match tokio::time::timeout(limit, reading).await {
        Ok(read) => read?,
        Err(_) => {
            let output: Vec<u8> = kept.into();
            let message = format!(
                "\"{}\" in {} did not end within {} s, and was killed",
                quoted(&running.program),
                running.address,
                limit.as_secs()
            );
            return Err(Error::new(aigis_proxy::Code::DeadlineExceeded, message)
                .with("output", String::from_utf8_lossy(&output).into_owned())
                .sent(true));
        }
    }
    Ok(Ran { exit_code: running.exit_code().await?, output: kept.into() })
}
