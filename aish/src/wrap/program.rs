//! Runs a program, one process after the other, and passes messages to it: a task with a handle.

use std::{
    collections::VecDeque,
    os::unix::process::ExitStatusExt as _,
    path::{Path, PathBuf},
    process::ExitStatus,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use aigis_node::process::Process;
use aigis_proxy::{Code, Error, Name, socket::Offering, trace};
use aigis_registry::Timestamp;
use serde_json::Value;
use tokio::sync::{mpsc, oneshot, watch};

use super::{
    child::{Child, Spec},
    exchange::{Ask, Exchange, Reply, Stray},
    framing::Framing,
    logs::{Logs, Source},
    secrets::VARIABLE,
};

/// How soon a program that failed is started again, at first and at most.
const BACK_OFF: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));
/// So many failures within that time are a crash loop.
const CRASH_LOOP: (usize, Duration) = (5, Duration::from_secs(60));
/// How long a program that closed a stream may take to end.
const LEAVING: Duration = Duration::from_millis(500);

/// When a program that ended is started again.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Restart {
    /// Never: its name goes with it.
    #[default]
    Never,
    /// When it ended with another exit code than 0.
    OnFailure,
}

/// What a program is up to.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Status {
    /// The state's word.
    pub(crate) state: &'static str,
    pub(crate) pid: Option<i32>,
    pub(crate) started_at: Option<String>,
    /// How many messages it got.
    pub(crate) requests: u64,
    pub(crate) in_flight: usize,
    pub(crate) queued: usize,
    /// How it ended last.
    pub(crate) exit_code: Option<i32>,
    pub(crate) restarts: u64,
}

enum Order {
    Ask(Ask),
    Restart(oneshot::Sender<Result<(), Error>>),
    Stop(oneshot::Sender<Result<(), Error>>),
}

/// The way to a program.
#[derive(Debug, Clone)]
pub(crate) struct Handle {
    name: Name,
    orders: mpsc::Sender<Order>,
    /// Ids of messages whose callers gave up: at most one for each that was sent.
    gone: mpsc::UnboundedSender<u64>,
    next: Arc<AtomicU64>,
    status: watch::Receiver<Status>,
}

/// Tells the program's task when a caller gives up.
struct Waiting<'a> {
    gone: &'a mpsc::UnboundedSender<u64>,
    id: u64,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        // To one whose reply has come, this says nothing new.
        let _ = self.gone.send(self.id);
    }
}

impl Handle {
    /// Sends a message and awaits the reply.
    ///
    /// # Errors
    ///
    /// What the framing refuses, a full queue, the program's own error, its end.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future gives the message up.
    pub(crate) async fn ask(&self, text: String, input: Option<Value>, deadline: Instant) -> Result<Reply, Error> {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let (reply, replied) = oneshot::channel();
        let waiting = Waiting { gone: &self.gone, id };
        let traceparent = trace::current();
        self.order(Order::Ask(Ask { id, text, input, deadline, traceparent, reply })).await?;
        let replied = replied.await;
        drop(waiting);
        replied.unwrap_or_else(|_| Err(self.over().sent(true)))
    }

    /// Ends the program and starts it again.
    ///
    /// # Errors
    ///
    /// What keeps it from starting.
    pub(crate) async fn restart(&self) -> Result<(), Error> {
        let (done, outcome) = oneshot::channel();
        self.order(Order::Restart(done)).await?;
        outcome.await.unwrap_or_else(|_| Err(self.over()))
    }

    /// Ends the program, and what wraps it.
    ///
    /// # Errors
    ///
    /// `unavailable` where it ends already.
    pub(crate) async fn stop(&self) -> Result<(), Error> {
        let (done, outcome) = oneshot::channel();
        self.order(Order::Stop(done)).await?;
        outcome.await.unwrap_or_else(|_| Err(self.over()))
    }

    /// What the program is up to.
    pub(crate) fn status(&self) -> Status {
        self.status.borrow().clone()
    }

    async fn order(&self, order: Order) -> Result<(), Error> {
        self.orders.send(order).await.map_err(|_| self.over().sent(false))
    }

    fn over(&self) -> Error {
        Error::unavailable(format!("{} has ended", self.name))
    }
}

/// How a program ended.
#[derive(Debug)]
pub(crate) enum Ended {
    /// By itself, or because it was asked to; whether that was in order.
    Over { good: bool },
    /// It did not start.
    NotStarted(Error),
    /// Too often.
    CrashLoop(Error),
}

/// Why a process is no longer served.
enum Left {
    Exited,
    Silent,
    Closed,
    Restart(oneshot::Sender<Result<(), Error>>),
    Stop(oneshot::Sender<Result<(), Error>>),
}

/// The task's parts.
#[derive(Debug)]
pub(crate) struct Program {
    name: Name,
    spec: Spec,
    framing: Framing,
    concurrency: usize,
    restart: Restart,
    logs: Arc<Logs>,
    orders: mpsc::Receiver<Order>,
    gone: mpsc::UnboundedReceiver<u64>,
    status: watch::Sender<Status>,
    failures: VecDeque<Instant>,
}

/// How a program is run.
#[derive(Debug)]
pub(crate) struct Options {
    pub(crate) name: Name,
    pub(crate) spec: Spec,
    pub(crate) framing: Framing,
    pub(crate) concurrency: usize,
    pub(crate) restart: Restart,
}

impl Program {
    /// Makes the task's parts and its handle; nothing runs until [`Program::run`].
    pub(crate) fn new(options: Options, logs: Arc<Logs>) -> (Self, Handle) {
        let Options { name, spec, framing, concurrency, restart } = options;
        let (sender, orders) = mpsc::channel(64);
        let (gone_sender, gone) = mpsc::unbounded_channel();
        let (status, observed) = watch::channel(Status {
            state: "starting",
            pid: None,
            started_at: None,
            requests: 0,
            in_flight: 0,
            queued: 0,
            exit_code: None,
            restarts: 0,
        });
        let next = Arc::new(AtomicU64::new(1));
        let handle = Handle { name: name.clone(), orders: sender, gone: gone_sender, next, status: observed };
        let failures = VecDeque::new();
        (Self { name, spec, framing, concurrency, restart, logs, orders, gone, status, failures }, handle)
    }

    /// Says where its secrets are, and which of them are to be variables.
    pub(crate) fn finds(&mut self, secrets: &Path, variables: Vec<(String, PathBuf)>) {
        self.spec.env.push((VARIABLE.to_owned(), secrets.display().to_string()));
        self.spec.env_files = variables;
    }

    /// Runs the program until it is over; `ready` is called when it has started first.
    pub(crate) async fn run(mut self, offering: &Offering, ready: impl FnOnce()) -> Ended {
        let mut ready = Some(ready);
        let mut asked: Option<oneshot::Sender<Result<(), Error>>> = None;
        let mut wait = BACK_OFF.0;
        loop {
            let left = match Child::start(&self.spec, &self.logs) {
                Ok(mut child) => {
                    // Where the offer is over, whoever runs this hears of it.
                    let _ = offering.stands_on(Some(child.group())).await;
                    self.started(&child);
                    if let Some(ready) = ready.take() {
                        ready();
                    }
                    if let Some(asked) = asked.take() {
                        let _ = asked.send(Ok(()));
                    }
                    let started = Instant::now();
                    let mut exchange = Exchange::new(&self.framing, self.concurrency);
                    let left = self.serve(&mut child, &mut exchange).await;
                    if started.elapsed() > CRASH_LOOP.1 {
                        wait = BACK_OFF.0;
                    }
                    let good = self.leave(child, exchange, &left).await;
                    (left, good)
                }
                Err(error) => {
                    let program = self.spec.argv.first().map(String::as_str).unwrap_or_default();
                    let message = format!("\"{}\" cannot be run: {error}", aigis_proxy::quoted(program));
                    let error =
                        Error::new(Code::NotFound, message).hint("is it installed, and in the PATH of this command?");
                    if ready.is_some() {
                        return Ended::NotStarted(error);
                    }
                    self.logs.say(Source::Wrap, error.message.as_bytes());
                    if let Some(asked) = asked.take() {
                        let _ = asked.send(Err(error));
                    }
                    (Left::Exited, false)
                }
            };
            match left {
                (Left::Stop(done), _) => {
                    let _ = done.send(Ok(()));
                    return Ended::Over { good: true };
                }
                (Left::Restart(done), _) => {
                    asked = Some(done);
                    self.status.send_modify(|status| status.restarts += 1);
                    continue;
                }
                (_, good) if good || self.restart == Restart::Never => return Ended::Over { good },
                _ => {}
            }
            if let Some(error) = self.crash_loop() {
                return Ended::CrashLoop(error);
            }
            match self.pause(wait).await {
                Some(Left::Stop(done)) => {
                    let _ = done.send(Ok(()));
                    return Ended::Over { good: true };
                }
                Some(Left::Restart(done)) => asked = Some(done),
                _ => {}
            }
            wait = (wait * 2).min(BACK_OFF.1);
            self.status.send_modify(|status| status.restarts += 1);
        }
    }

    fn started(&self, child: &Child) {
        let pid = child.group().pid;
        self.logs.say(Source::Wrap, format!("started as process {pid}").as_bytes());
        self.status.send_modify(|status| {
            status.state = "running";
            status.pid = Some(pid);
            status.started_at = Some(Timestamp::now().to_string());
        });
    }

    /// Serves one process until it ends, or has to.
    async fn serve(&mut self, child: &mut Child, exchange: &mut Exchange) -> Left {
        let mut closed_output = false;
        let (output, input, process) = child.streams();
        loop {
            let mut full = false;
            loop {
                match input.try_reserve() {
                    Ok(room) => match exchange.next(Instant::now()) {
                        Some(bytes) => room.send(bytes),
                        None => break,
                    },
                    Err(mpsc::error::TrySendError::Full(())) => {
                        full = true;
                        break;
                    }
                    Err(mpsc::error::TrySendError::Closed(())) => return leaving(process).await,
                }
            }
            self.count(exchange);
            let due = exchange.due();
            let tick = async {
                match due {
                    Some(due) => tokio::time::sleep_until(due.into()).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                // What was said before the next request is no answer to it.
                bytes = output.recv(), if !closed_output => match bytes {
                    Some(bytes) => self.stray(exchange.came(&bytes, Instant::now())),
                    None => closed_output = true,
                },
                () = process.ended() => return Left::Exited,
                Some(id) = self.gone.recv() => exchange.gone(id, Instant::now()),
                order = self.orders.recv() => match order {
                    Some(Order::Ask(ask)) => {
                        self.status.send_modify(|status| status.requests += 1);
                        exchange.admit(ask);
                    }
                    Some(Order::Restart(done)) => return Left::Restart(done),
                    Some(Order::Stop(done)) => return Left::Stop(done),
                    None => return Left::Exited,
                },
                () = tick => if exchange.tick(Instant::now()) { return Left::Silent },
                _ = input.reserve(), if full => {}
                () = tokio::time::sleep(LEAVING), if closed_output => return Left::Closed,
            }
        }
    }

    fn count(&self, exchange: &Exchange) {
        let (in_flight, queued) = exchange.load();
        self.status.send_if_modified(|status| {
            let changed = (status.in_flight, status.queued) != (in_flight, queued);
            (status.in_flight, status.queued) = (in_flight, queued);
            changed
        });
    }

    fn stray(&self, stray: Stray) {
        for bytes in stray.0 {
            self.logs.stray(&bytes);
        }
    }

    /// Ends a process, tells all who wait for it, and says whether its end was in order.
    async fn leave(&self, mut child: Child, mut exchange: Exchange, left: &Left) -> bool {
        let name = &self.name;
        self.status.send_modify(|status| status.state = "stopping");
        let status = match left {
            Left::Exited => {
                // A reply may stand before the end.
                while let Some(bytes) = child.last_words().await {
                    self.stray(exchange.came(&bytes, Instant::now()));
                }
                child.reap().await
            }
            _ => {
                let why = match left {
                    Left::Restart(_) => "was restarted",
                    Left::Stop(_) => "was stopped",
                    Left::Silent => "said nothing for 60 s after a call that was given up",
                    _ => "closed its input or output",
                };
                self.logs.say(Source::Wrap, format!("{why}: it is ended").as_bytes());
                let stray = exchange.end(&Error::unavailable(format!("{name} {why}")));
                self.stray(stray);
                child.end().await
            }
        };
        let how = status.map_or_else(|| "ended".to_owned(), words);
        let code = status.and_then(|status| status.code());
        self.logs.say(Source::Wrap, how.as_bytes());
        let error = Error::unavailable(format!("{name} {how}")).with("exit_code", code);
        self.stray(exchange.end(&error));
        self.logs.stray_end();
        self.status.send_modify(|status| {
            (status.state, status.pid, status.exit_code) = ("ended", None, code);
            (status.in_flight, status.queued) = (0, 0);
        });
        matches!(left, Left::Exited) && code == Some(0)
    }

    /// Notes a failure; an error if there were too many.
    fn crash_loop(&mut self) -> Option<Error> {
        let now = Instant::now();
        self.failures.push_back(now);
        self.failures.retain(|at| now.duration_since(*at) < CRASH_LOOP.1);
        if self.failures.len() < CRASH_LOOP.0 {
            return None;
        }
        let (name, (count, time)) = (&self.name, CRASH_LOOP);
        let message = format!("{name} failed {count} times in {} s, and is not started again", time.as_secs());
        Some(Error::precondition(message).hint("run the program by itself and see why it ends"))
    }

    /// Waits before the next start, and answers meanwhile.
    async fn pause(&mut self, wait: Duration) -> Option<Left> {
        self.status.send_modify(|status| status.state = "restarting");
        let until = tokio::time::Instant::now() + wait;
        loop {
            tokio::select! {
                () = tokio::time::sleep_until(until) => return None,
                Some(_) = self.gone.recv() => {}
                order = self.orders.recv() => match order {
                    Some(Order::Ask(ask)) => {
                        let message = format!("{} has failed and is started again soon", self.name);
                        ask.answer(Err(Error::unavailable(message).hint("try again").sent(false)));
                    }
                    Some(Order::Restart(done)) => return Some(Left::Restart(done)),
                    Some(Order::Stop(done)) => return Some(Left::Stop(done)),
                    None => return None,
                },
            }
        }
    }
}

/// Awaits the end of a program that closed its input.
async fn leaving(process: &Process) -> Left {
    match tokio::time::timeout(LEAVING, process.ended()).await {
        Ok(()) => Left::Exited,
        Err(_) => Left::Closed,
    }
}

/// How a process ended, in words.
fn words(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("ended with exit code {code}"),
        (None, Some(signal)) => format!("was ended by signal {signal}"),
        (None, None) => "ended".to_owned(),
    }
}
