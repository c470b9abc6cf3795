//! The process of one plugin: the `launch` of an internal one, or any program.

use std::{ffi::OsString, sync::Arc, time::Duration};

use aigis_proxy::{
    Code, Error,
    bridge::{Answered, Invocation, Mode, Way},
    task,
};
use serde_json::Value;
use tokio::sync::watch;

use super::{
    core_host::{LAST_WORDS, end_together},
    line::Sink,
    process::{Ended, Process},
    socket::{Door, Host, Socket, Standing},
    start::{Python, Start},
};
use crate::plugins::Told;

/// A program that runs. Dropping this kills it.
#[derive(Debug)]
pub(crate) struct Program {
    process: Arc<Process>,
    /// Whether it says when it has entered `launch`.
    launches: bool,
    standing: watch::Receiver<Standing>,
    _door: Door,
    _ending: task::Owned,
}

impl Program {
    /// Starts the program of an internal plugin. One of type `internal-local` has copies of the core plugins `core`, in load
    /// order and with their leaves.
    ///
    /// # Errors
    ///
    /// It does not start.
    pub(crate) fn launch(
        start: &Start,
        python: &Python,
        plugin: &Told,
        core: &[Told],
        way: Arc<impl Way>,
        sink: Arc<dyn Sink>,
    ) -> Result<Self, Error> {
        let told = |plugin: &Told| -> Result<Value, Error> {
            serde_json::to_value(plugin)
                .map_err(|error| Error::internal(format!("{} cannot be described: {error}", plugin.name)))
        };
        let core = core.iter().map(told).collect::<Result<_, _>>()?;
        let mut welcome = start.welcome().launching(told(plugin)?, core);
        if let Some(ci) = &start.plugin {
            welcome = welcome.reached_at(ci.clone());
        }
        let main = Some((Mode::Run, welcome));
        let host = Host { way, main, client: start.welcome(), sink: sink.clone() };
        Self::start(start, python.arguments("run"), Some(python), host, sink)
    }

    /// Starts any program, which may be a client of the bridge.
    ///
    /// # Errors
    ///
    /// It does not start.
    pub(crate) fn external(
        start: &Start,
        arguments: Vec<OsString>,
        way: Arc<impl Way>,
        sink: Arc<dyn Sink>,
    ) -> Result<Self, Error> {
        let host = Host { way, main: None, client: start.welcome(), sink: sink.clone() };
        Self::start(start, arguments, None, host, sink)
    }

    fn start(
        start: &Start,
        arguments: Vec<OsString>,
        python: Option<&Python>,
        host: Host<impl Way>,
        sink: Arc<dyn Sink>,
    ) -> Result<Self, Error> {
        let socket = Socket::make(&start.socket)?;
        let process = Arc::new(Process::spawn(&start.spec(arguments, python.map(|python| &python.sdk)), sink)?);
        let door = socket.open(process.pid(), host);
        let standing = door.standing.clone();
        let ending = task::Owned::spawn("program-end", end_together(standing.clone(), process.clone()));
        Ok(Self { process, launches: python.is_some(), standing, _door: door, _ending: ending })
    }

    /// Its process.
    pub(crate) fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// Awaits that `launch` is about to be entered; of an external program there is nothing to await.
    ///
    /// # Errors
    ///
    /// There is no `launch`, which `failed_precondition` says; the process ended before; or that took longer than `within`.
    pub(crate) async fn entered(&self, within: Duration) -> Result<(), Error> {
        if !self.launches {
            return Ok(());
        }
        let mut standing = self.standing.clone();
        let ended = tokio::select! {
            biased;
            found = standing.wait_for(|standing| standing.entered || standing.failure.is_some()) => {
                // It may have entered and failed since: then that is how it ended.
                return match found.map(|found| (found.entered, found.failure.clone())) {
                    Ok((false, Some(failure))) => Err(failure),
                    _ => Ok(()),
                };
            }
            ended = self.ended() => ended,
            () = tokio::time::sleep(within) => {
                let late = format!("launch was not entered within {} s", within.as_secs_f64());
                return Err(Error::new(Code::DeadlineExceeded, late).hint("a larger START_TIMEOUT gives it longer"));
            }
        };
        // The last that it said is read after it has ended.
        let last = standing.wait_for(|standing| standing.is_lost || standing.invocations.is_none());
        let _ = tokio::time::timeout(LAST_WORDS, last).await;
        let Standing { entered, failure, .. } = standing.borrow().clone();
        match failure {
            _ if entered => Ok(()),
            Some(failure) => Err(failure),
            None => Err(Error::unavailable(format!("the process {ended} before launch was entered"))
                .hint("its last lines are in the log")),
        }
    }

    /// Uses a handle of this process.
    ///
    /// # Errors
    ///
    /// What it answers; `unavailable` with `data.sent` if it ends, or speaks no bridge.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future, or the items that it gives, cancels the call.
    pub(crate) async fn invoke(&self, invocation: Invocation) -> Result<Answered, Error> {
        let invocations = self.standing.borrow().invocations.clone();
        let resting = || Error::unavailable("the process of the plugin takes no calls").sent(false);
        invocations.ok_or_else(resting)?.invoke(invocation, ()).await
    }

    /// Resolves when the process has ended.
    pub(crate) async fn ended(&self) -> Ended {
        self.process.ended().await
    }

    /// Tells the process and all it started to end, and kills what is left after `grace`.
    pub(crate) async fn stop(&self, grace: Duration) -> Ended {
        self.process.stop(grace).await
    }
}
