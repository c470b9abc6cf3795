//! The process of one plugin, kept as its manifest asks: started again after a pause, or not.

use std::{
    ffi::OsString,
    sync::{Arc, Weak},
    time::{Duration, Instant},
};

use aigis_proxy::{Code, Error, serve::Open, task};
use aigis_registry::Timestamp;
use tokio::sync::{Mutex as Turn, oneshot};

use super::{
    Hosting,
    away::{self, Pauses},
    cores::Cores,
    line::{Line, Sink},
    means::Means,
    plugin::Plugin,
    prepare::Prepared,
    process::Ended,
    program::Program,
    restart::{Next, Restarts},
    serving::Serving,
    standing::{LastExit, State},
    start::Start,
    ways::Ways,
};
use crate::plugins::{Type, manifest::Launch, users};

/// How long a process has to end after it was told to.
const TERM: Duration = Duration::from_secs(5);

/// What programs are started with.
pub(crate) struct Parts {
    pub(crate) means: Arc<Means>,
    /// Whose plugins are copied into those of type `internal-local`.
    pub(crate) cores: Arc<Cores>,
    /// Where programs that serve by themselves are made known, if their home is here.
    pub(crate) hosting: Option<Weak<Hosting>>,
}

/// A plugin's process for as long as it is wanted. Dropping this kills it.
#[derive(Debug)]
pub(crate) struct Runner {
    end: Turn<Option<oneshot::Sender<()>>>,
    ended: Turn<oneshot::Receiver<()>>,
    program: Arc<std::sync::Mutex<Weak<Program>>>,
    _task: task::Owned,
}

impl Sink for Plugin {
    fn line(&self, line: Line<'_>) {
        self.journal.take(line);
    }
}

impl Runner {
    /// Begins to run a plugin that was made ready.
    pub(crate) fn start(parts: Arc<Parts>, plugin: Arc<Plugin>, prepared: Arc<Prepared>) -> Self {
        let (end, told_to_end) = oneshot::channel();
        let (has_ended, ended) = oneshot::channel();
        let program = Arc::new(std::sync::Mutex::new(Weak::new()));
        let shown = program.clone();
        let task = task::Owned::spawn("plugin", async move {
            Run { parts, plugin, prepared, shown }.keep(told_to_end).await;
            // Who asked for it may have left.
            let _ = has_ended.send(());
        });
        Self { end: Turn::new(Some(end)), ended: Turn::new(ended), program, _task: task }
    }

    /// Its process, if there is one now.
    pub(crate) fn program(&self) -> Option<Arc<Program>> {
        aigis_proxy::sync::lock(&self.program).upgrade()
    }

    /// Has it end, and does not wait for that.
    pub(crate) async fn tell_to_end(&self) {
        if let Some(end) = self.end.lock().await.take() {
            // One that has ended by itself needs not be told.
            let _ = end.send(());
        }
    }

    /// Ends it: TERM, then KILL, to all that it started.
    pub(crate) async fn stop(&self) {
        self.tell_to_end().await;
        let _ = (&mut *self.ended.lock().await).await;
    }
}

struct Run {
    parts: Arc<Parts>,
    plugin: Arc<Plugin>,
    prepared: Arc<Prepared>,
    shown: Arc<std::sync::Mutex<Weak<Program>>>,
}

/// How a run ended.
enum Over {
    /// By itself.
    Ended(Ended),
    /// It did not come to run.
    Failed(Error),
    /// Nobody wants it any more.
    Told,
}

impl Run {
    async fn keep(&self, mut told: oneshot::Receiver<()>) {
        let manifest = &self.prepared.manifest;
        let mut restarts = Restarts::new(manifest.restart, manifest.restart_on);
        let mut pauses = Pauses::default();
        loop {
            let began = Instant::now();
            let over = self.once(&mut told).await;
            let (is_success, error) = match over {
                Over::Told => return,
                Over::Ended(ended) => {
                    self.note_exit(ended);
                    (ended.code == Some(0), Error::precondition(format!("its process {ended}")))
                }
                // It did not come to run, which uses up no restart.
                Over::Failed(error) if away::is_away(&error) => {
                    self.plugin.fail(State::BackingOff, error);
                    tokio::select! {
                        () = tokio::time::sleep(pauses.next()) => continue,
                        _ = &mut told => return,
                    }
                }
                // Another try would meet the same.
                Over::Failed(error)
                    if matches!(error.code, Code::FailedPrecondition | Code::InvalidArgument | Code::AlreadyExists) =>
                {
                    self.plugin.fail(State::Failed, error);
                    return;
                }
                Over::Failed(error) => (false, error),
            };
            pauses = Pauses::default();
            let (state, pause) = match restarts.ended(began.elapsed(), is_success, Instant::now()) {
                Next::Again(pause) => (State::BackingOff, pause),
                Next::Looping(pause) => (State::CrashLooping, pause),
                Next::Done => return self.plugin.enter(State::Done),
                Next::Failed => return self.plugin.fail(State::Failed, error),
            };
            match is_success && state == State::BackingOff {
                true => self.plugin.enter(state),
                false => self.plugin.fail(state, error),
            }
            tokio::select! {
                () = tokio::time::sleep(pause) => self.plugin.change(|standing| standing.restarts += 1),
                _ = &mut told => return,
            }
        }
    }

    async fn once(&self, told: &mut oneshot::Receiver<()>) -> Over {
        self.plugin.enter(State::Starting);
        let program = tokio::select! {
            program = self.spawn() => program,
            _ = &mut *told => return Over::Told,
        };
        let (program, serving) = match program {
            Ok((program, serving)) => (Arc::new(program), serving),
            Err(error) => return Over::Failed(error),
        };
        *aigis_proxy::sync::lock(&self.shown) = Arc::downgrade(&program);
        self.plugin.change(|standing| standing.runs(program.pid()));
        let entered = tokio::select! {
            entered = self.entered(&program, serving.as_ref()) => entered,
            _ = &mut *told => {
                program.stop(TERM).await;
                return Over::Told;
            }
        };
        let _open = match entered {
            Ok(open) => open,
            Err(error) => {
                let ended = program.stop(TERM).await;
                self.note_exit(ended);
                return Over::Failed(error);
            }
        };
        self.plugin.enter(State::Running);
        tokio::select! {
            ended = program.ended() => {
                // What it has started ends with it.
                program.stop(TERM).await;
                Over::Ended(ended)
            }
            _ = told => {
                let ended = program.stop(TERM).await;
                self.note_exit(ended);
                Over::Told
            }
        }
    }

    /// Awaits that the program has begun; of one that serves by itself, that it is known what it offers. Calls by hand reach it
    /// for as long as what it gives is held.
    async fn entered(&self, program: &Program, serving: Option<&Serving>) -> Result<Option<Open>, Error> {
        let within = self.prepared.manifest.start_timeout;
        let Some(serving) = serving else { return program.entered(within).await.map(|()| None) };
        tokio::select! {
            opened = serving.take(self.parts.means.ways.bus(), self.parts.hosting.as_ref(), &self.plugin, within) => opened,
            ended = program.ended() => Err(Error::unavailable(format!("the process {ended} before it answered describe"))
                .hint("its last lines are in the log")),
        }
    }

    fn note_exit(&self, ended: Ended) {
        let exit = LastExit { code: ended.code, signal: ended.signal, at: Timestamp::now().to_string() };
        self.plugin.journal.note("info", &format!("its process {ended}"));
        self.plugin.change(|standing| standing.last_exit = Some(exit));
    }

    async fn spawn(&self) -> Result<(Program, Option<Serving>), Error> {
        let Self { parts, plugin, prepared, .. } = self;
        let manifest = &prepared.manifest;
        let mut environment: Vec<(OsString, OsString)> = Vec::new();
        let given = [&manifest.env, &plugin.entry().env];
        environment.extend(given.iter().flat_map(|given| given.iter().map(|(key, value)| (key.into(), value.into()))));
        let user = users::of_plugin(&plugin.name)?;
        let way = parts.means.ways.of(&user, Ways::grants(plugin.entry().grants.as_ref())?).await?;
        let start = parts.means.start(user, Some(plugin.name.clone()));
        let mut start = Start { directory: manifest.entrypoint.clone(), environment, ..start };
        let sink: Arc<dyn Sink> = plugin.clone();
        if let (Type::External, Some(Launch::Command(words))) = (manifest.kind, &manifest.launch) {
            if let Some(python) = &prepared.python {
                let own = start.environment.iter().rev().find(|(key, _)| key == "PATH").map(|(_, path)| path.clone());
                let path = own.or_else(|| std::env::var_os("PATH")).unwrap_or_default();
                let first = python.environment.path.join("bin");
                let all = std::iter::once(first).chain(std::env::split_paths(&path));
                let joined = std::env::join_paths(all).map_err(|error| Error::invalid(format!("PATH: {error}")))?;
                start.environment.push(("PATH".into(), joined));
            }
            let mut serving = None;
            if manifest.serves {
                let papers = parts.means.papers(&plugin.name, &way)?;
                start.environment.extend(papers.environment());
                serving = Some(Serving { way: way.clone(), _papers: papers });
            }
            let program = Program::external(&start, words.iter().map(OsString::from).collect(), way, sink)?;
            return Ok((program, serving));
        }
        let python = prepared.python.as_ref().ok_or_else(|| Error::internal("no interpreter was chosen"))?;
        let python = parts.means.python(python.environment.python())?;
        let copies = if manifest.kind == Type::InternalLocal { parts.cores.copies() } else { Vec::new() };
        Ok((Program::launch(&start, &python, &plugin.told(prepared), &copies, way, sink)?, None))
    }
}
