//! Test builds: what is proposed for a project is built under a name of its own, started without a published port, looked at,
//! and gone again.
//!
//! A test belongs to who asked for it: it ends when nobody listens any more. It waits for its turn among the builds of steps.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, atomic::Ordering},
    time::Duration,
};

use aigis_proxy::{
    Code, Error,
    chain::{Attempt, ChainId},
    services::{
        projects::{Projects, Test, Trial},
        steps::Room,
    },
    task,
};
use futures::{Stream, stream};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::{
    sync::oneshot,
    time::{Instant, sleep, timeout},
};

use super::{
    attempt::Live,
    build,
    container::pump,
    folder::{Folder, trouble},
    place::Place,
};
use crate::{
    engine::{ContainerId, ImageConfig, Inspection, Recipe, State},
    home,
    listening::{self, address, silent},
    mask::Mask,
};

/// How its container is called first.
pub(super) const PREFIX: &str = "aigis-work-";
/// How its image is called first.
const IMAGE: &str = "aigis-work:";
/// How long a build may take.
const BUILD: Duration = Duration::from_secs(15 * 60);
/// How much memory the container may use.
const MEMORY: u64 = 4 * 1024 * 1024 * 1024;
const PIDS: u64 = 1_024;
/// How long a container has until it listens.
const LISTENS: Duration = Duration::from_secs(60);
/// How long the answer to a request may take to begin.
const ANSWER: Duration = Duration::from_secs(10);
/// How long one without ports has to run.
const RUNS: Duration = Duration::from_secs(10);
/// How often it is looked at.
const LOOK: Duration = Duration::from_millis(200);
/// How long the end of its log may be behind it.
const BEHIND: Duration = Duration::from_secs(5);
/// How long what it left may take to be removed, and how often that is tried.
const CLEARED: (Duration, usize) = (Duration::from_secs(20), 3);
/// How many lines of its log a report has.
const LAST: usize = 20;
/// How much of its log is read at once.
const PIECE: usize = 64 * 1024;
/// From which status on an answer says that the application fails.
const FAILS: u16 = 500;

/// What is told of a test: its lines as they come, and then how it went.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub(crate) enum Frame {
    /// A line.
    Line {
        /// `build` or `run`.
        phase: String,
        /// What was said.
        line: String,
    },
    /// How it went.
    Report(Report),
}

/// How a test went.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct Report {
    /// Whether it could be built.
    builds: bool,
    /// Whether it could be started, and did what it is to do.
    starts: bool,
    /// How large the image is; none if there is none.
    image_bytes: Option<u64>,
    /// Who the image says that runs it.
    user: Option<String>,
    /// The ports on which it listened.
    listens: Vec<u16>,
    /// The status of what it answered to `GET /`, if it speaks HTTP.
    answers: Option<u16>,
    /// How long all that took.
    seconds: u64,
    /// Why it failed, if it did.
    why: Option<String>,
    /// What the image is called, if it was to be kept.
    image: Option<String>,
    /// The last lines.
    log: Vec<String>,
}

/// The tests that run, by the names of their containers.
#[derive(Debug, Default)]
pub(super) struct Trials(Mutex<BTreeMap<String, Arc<Live>>>);

impl Trials {
    fn all(&self) -> MutexGuard<'_, BTreeMap<String, Arc<Live>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a container of that name belongs to one of them.
    pub(super) fn has(&self, container: &str) -> bool {
        self.all().contains_key(container)
    }

    /// Ends all of them, and waits until nothing is left of them, at most for that time.
    pub(super) async fn end_all(&self, grace: Duration) {
        let until = Instant::now() + grace;
        let ask = || self.all().values().for_each(|live| live.end());
        ask();
        while !self.all().is_empty() && Instant::now() < until {
            sleep(LOOK).await;
        }
    }
}

/// What goes with the last who looks at it.
struct Files(Folder);

impl Drop for Files {
    fn drop(&mut self) {
        self.0.remove();
    }
}

/// One test.
struct Running {
    place: Arc<Place>,
    live: Arc<Live>,
    /// Where in the log the container's own words begin.
    runs_from: OnceLock<u64>,
    image: String,
    container: String,
    keep: bool,
    _files: Files,
}

/// Begins a test.
///
/// # Errors
///
/// Its folder cannot be made.
pub(crate) fn begin(
    place: &Arc<Place>,
    projects: Arc<dyn Projects>,
    test: Test,
) -> Result<impl Stream<Item = Result<Frame, Error>> + Send + use<>, Error> {
    // No chain has this id: the folder lies where the attempts of chains lie, and is cleared away with them.
    let attempt = Attempt { chain: ChainId::new(), step: 1, attempt: 1 };
    let folder = Folder::new(&place.root, &attempt);
    home::make_directory(folder.path())
        .map_err(|error| Error::internal(format!("no directory for a test can be made: {error}")))?;
    let files = Files(folder.clone());
    let live = Live::open(attempt, folder).map_err(|error| trouble("a log cannot be made", &error))?;
    let id = uuid::Uuid::now_v7();
    let running = Arc::new(Running {
        place: place.clone(),
        live: live.clone(),
        runs_from: OnceLock::new(),
        image: format!("{IMAGE}{id}"),
        container: format!("{PREFIX}{id}"),
        keep: test.keep,
        _files: files,
    });
    let (tell, told) = oneshot::channel();
    place.trials.all().insert(running.container.clone(), live.clone());
    let known = running.clone();
    live.keep(task::Owned::spawn("test-build", async move {
        let outcome = Box::pin(known.run(projects, test)).await;
        known.place.trials.all().remove(&known.container);
        // Who asked may have gone.
        let _ = tell.send(outcome);
    }));
    Ok(frames(Watched {
        running,
        told: Some(told),
        outcome: None,
        from: 0,
        rest: String::new(),
        ready: VecDeque::new(),
    }))
}

/// A test, as who asked for it sees it; it ends with this.
struct Watched {
    running: Arc<Running>,
    told: Option<oneshot::Receiver<Result<Report, Error>>>,
    outcome: Option<Result<Report, Error>>,
    from: u64,
    rest: String,
    ready: VecDeque<Frame>,
}

impl Drop for Watched {
    fn drop(&mut self) {
        self.running.live.end();
    }
}

fn frames(watched: Watched) -> impl Stream<Item = Result<Frame, Error>> + Send {
    stream::unfold(watched, |mut watched| async move {
        let mut grown = watched.running.live.log.grown();
        loop {
            if let Some(frame) = watched.ready.pop_front() {
                return Some((Ok(frame), watched));
            }
            if watched.read() {
                continue;
            }
            if let Some(outcome) = watched.outcome.take() {
                return Some((outcome.map(Frame::Report), watched));
            }
            let told = watched.told.as_mut()?;
            tokio::select! {
                // The task ends only once its log is whole.
                outcome = told => {
                    let lost = || Error::internal("the test was given up");
                    watched.outcome = Some(outcome.unwrap_or_else(|_| Err(lost())));
                    watched.told = None;
                }
                _ = grown.changed() => {}
            }
        }
    })
}

impl Watched {
    /// Reads more of the log; whether there was any.
    fn read(&mut self) -> bool {
        let log = &self.running.live.log;
        let Ok((bytes, from)) = log.read(self.from, PIECE) else { return false };
        let is_end = bytes.is_empty();
        let from_run = self.running.runs_from.get().is_some_and(|runs| from >= *runs);
        let phase = if from_run { "run" } else { "build" };
        // A piece never goes over from one phase to the other.
        let most = match self.running.runs_from.get().filter(|runs| from < **runs) {
            Some(runs) => usize::try_from(runs - from).unwrap_or(usize::MAX).min(bytes.len()),
            None => bytes.len(),
        };
        let bytes = bytes.get(..most).unwrap_or_default();
        self.from = from + bytes.len() as u64;
        self.rest.push_str(&String::from_utf8_lossy(bytes));
        while let Some((line, rest)) = self.rest.split_once('\n') {
            self.ready.push_back(Frame::Line { phase: phase.to_owned(), line: line.trim_end_matches('\r').to_owned() });
            self.rest = rest.to_owned();
        }
        let is_cut = self.rest.len() > PIECE || (is_end && self.outcome.is_some());
        if is_cut && !self.rest.is_empty() {
            let line = std::mem::take(&mut self.rest);
            self.ready.push_back(Frame::Line { phase: phase.to_owned(), line });
        }
        !is_end || !self.ready.is_empty()
    }
}

impl Running {
    /// Builds, starts, looks, and clears away, whatever comes of it.
    async fn run(&self, projects: Arc<dyn Projects>, test: Test) -> Result<Report, Error> {
        let begun = Instant::now();
        let done = Box::pin(self.test(projects, test)).await;
        self.clear(matches!(&done, Ok(report) if report.builds) && self.keep).await;
        let mut report = done?;
        report.seconds = begun.elapsed().as_secs();
        report.log = self.last();
        Ok(report)
    }

    async fn test(&self, projects: Arc<dyn Projects>, test: Test) -> Result<Report, Error> {
        let live = &self.live;
        let context = live.folder.path().join("work");
        let trial = live.unless_ended(projects.context(test, context.clone())).await?;
        let _room = live.unless_ended(async { Ok(self.place.rooms.enter(Room::Build).await) }).await?;
        let wanted = build::Wanted { context: &context, dockerfile: Some(&trial.dockerfile), tag: &self.image };
        let building = live.unless_ended(Box::pin(build::build(&self.place, live, &wanted)));
        let built = match timeout(BUILD, building).await {
            Ok(Ok(built)) => built.image,
            // What the Dockerfile is to blame for is a result; what this host is to blame for is not.
            Ok(Err(error)) if error.code == Code::FailedPrecondition => {
                return Ok(Report::failed(first(&error.message)));
            }
            Ok(Err(error)) => return Err(error),
            Err(_) => return Ok(Report::failed(format!("the build did not end within {} s", BUILD.as_secs()))),
        };
        drop(_room);
        let _ = self.runs_from.set(live.log.len());
        let mut report = Report {
            builds: true,
            image_bytes: built.bytes,
            user: Some(built.user.clone()),
            image: self.keep.then(|| self.image.clone()),
            ..Report::default()
        };
        live.unless_ended(self.start(&built, &trial, &mut report)).await?;
        Ok(report)
    }

    /// Starts the container and looks at it.
    async fn start(&self, image: &ImageConfig, trial: &Trial, report: &mut Report) -> Result<(), Error> {
        let engine = &self.place.parts.engine;
        let recipe = Recipe {
            image: image.id.clone(),
            labels: self.place.parts.mark.labels(format!("work/{}", self.container)),
            network: listening::BRIDGE.to_owned(),
            memory: Some(MEMORY),
            pids: Some(PIDS),
            ..Recipe::default()
        };
        let id = engine.create(&self.container, &recipe).await?;
        if let Err(error) = engine.start(&id).await {
            report.why = Some(format!("it cannot be started: {error}"));
            return Ok(());
        }
        let mask = Arc::new(Mask::of(std::iter::empty()));
        let mut pumping = Box::pin(pump(&self.place, &self.live, &id, mask));
        let mut is_pumped = false;
        let judged = {
            let mut judging = Box::pin(self.judge(&id, trial, report));
            loop {
                tokio::select! {
                    judged = &mut judging => break judged,
                    () = &mut pumping, if !is_pumped => is_pumped = true,
                }
            }
        };
        let judged = judged?;
        report.starts = judged.is_ok();
        report.why = judged.err();
        // It may have ended a moment ago: its last words say why, or what it found.
        if !is_pumped && (report.why.is_some() || ended(&engine.inspect(&id).await?).is_some()) {
            let _ = timeout(BEHIND, pumping).await;
        }
        Ok(())
    }

    /// Whether the container does what it is to do; why not.
    async fn judge(&self, id: &ContainerId, trial: &Trial, report: &mut Report) -> Result<Result<(), String>, Error> {
        let engine = &self.place.parts.engine;
        let begun = Instant::now();
        let limit = if trial.ports.is_empty() { RUNS } else { LISTENS };
        loop {
            let seen = engine.inspect(id).await?;
            if let Some(ended) = ended(&seen) {
                return Ok(match (trial.ports.is_empty(), ended) {
                    (true, 0) => Ok(()),
                    (_, code) if seen.oom_killed => Err(format!("it was killed for memory, and ended with {code}")),
                    (_, code) => Err(format!("it ended with {code}")),
                });
            }
            if let Some(at) = address(&seen, listening::BRIDGE).filter(|_| !trial.ports.is_empty()) {
                let quiet = silent(at, &trial.ports).await;
                report.listens = trial.ports.iter().copied().filter(|port| !quiet.contains(port)).collect();
                if quiet.is_empty() {
                    report.answers = match report.listens.first() {
                        Some(port) => listening::status(at, *port, "/", ANSWER).await,
                        None => None,
                    };
                    return Ok(match report.answers {
                        Some(status) if status >= FAILS => Err(format!("it answers GET / with {status}")),
                        _ => Ok(()),
                    });
                }
            }
            if begun.elapsed() >= limit {
                return Ok(match trial.ports.is_empty() {
                    true => Ok(()),
                    false => Err(format!("nothing listens on {:?} after {} s", trial.ports, limit.as_secs())),
                });
            }
            sleep(LOOK).await;
        }
    }

    /// Removes the container, and the image unless it is kept.
    async fn clear(&self, keep: bool) {
        let engine = &self.place.parts.engine;
        for _ in 0..CLEARED.1 {
            let clearing = async {
                if let Some(found) = engine.find(&self.container).await? {
                    engine.remove(&found.id).await?;
                }
                if keep { Ok(()) } else { engine.remove_image(&self.image).await }
            };
            match timeout(CLEARED.0, clearing).await {
                Ok(Ok(())) => return,
                Ok(Err(error)) => tracing::warn!(%error, image = %self.image, "what a test left is not removed yet"),
                Err(_) => tracing::warn!(image = %self.image, "the engine does not say whether a test is removed"),
            }
        }
        // The container at least is found again by its name.
        self.place.left_over.store(true, Ordering::Relaxed);
    }

    /// The last lines of the log.
    fn last(&self) -> Vec<String> {
        let log = &self.live.log;
        let from = log.len().saturating_sub(PIECE as u64);
        let bytes = log.read(from, PIECE).map(|(bytes, _)| bytes).unwrap_or_default();
        let text = String::from_utf8_lossy(&bytes);
        let lines: Vec<&str> = text.lines().collect();
        lines.iter().skip(lines.len().saturating_sub(LAST)).map(|line| (*line).to_owned()).collect()
    }
}

impl Report {
    fn failed(why: String) -> Self {
        Self { why: Some(why), ..Self::default() }
    }
}

/// With what a container ended, if it did.
fn ended(seen: &Inspection) -> Option<i64> {
    matches!(seen.state, State::Exited | State::Dead).then(|| seen.exit_code.unwrap_or(-1))
}

fn first(message: &str) -> String {
    message.lines().next().unwrap_or_default().to_owned()
}
