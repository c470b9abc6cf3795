//! The container of an assistant: made, attended until it ends, and removed.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs, io,
    os::unix::fs::PermissionsExt as _,
    path::Path,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use aigis_proxy::{
    Code, Error,
    chain::Attempt,
    fault::{self, Point},
    services::steps::{AssistantWork, Finished, Order},
};
use aigis_registry::{Timestamp, tree};
use futures::StreamExt as _;
use time::{OffsetDateTime, format_description::well_known::Rfc3339};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, timeout};
use zeroize::Zeroizing;

use super::{
    attempt::Live,
    cache, collect,
    folder::{Begun, trouble},
    init,
    place::{Outcome, Place, is_cancelled, too_long},
    trial,
    user::{self, Told},
};
use crate::{
    engine::{Bind, ContainerId, Engine, Error as EngineError, LogQuery, Recipe},
    host,
    mask::{Mask, Masking},
    shelf::Shelf,
};

/// How a step's container is called first.
const PREFIX: &str = "aigis-step-";
/// What a step may use unless it is said.
const MEMORY: u64 = 2 * 1024 * 1024 * 1024;
const PIDS: u64 = 1_024;
/// How long a container has to end after TERM.
const GRACE: Duration = Duration::from_secs(10);
/// What a container ends with that is not ended by itself: with its engine, or with the machine.
const TAKEN_DOWN: [i64; 3] = [137, 143, 255];
/// How long an engine may be away before what ran there counts as lost.
const AWAY: Duration = Duration::from_secs(60);
/// How long is waited until it is asked again.
const PAUSE: Duration = Duration::from_secs(1);
/// How often the time that a step has taken is looked at.
const TICK: Duration = Duration::from_millis(250);
/// How long the end of a log may be behind the container's, and how long where it still grows.
const BEHIND: (Duration, Duration) = (Duration::from_secs(10), Duration::from_secs(5 * 60));
/// How long the build of an assistant's image may take.
const BUILD: Duration = Duration::from_secs(60 * 60);
/// How long the inputs may take to come while the bus is away.
const INPUTS: Duration = Duration::from_secs(5 * 60);

/// What an attempt's container is called: no two attempts at a step can run under one name.
pub(super) fn name(attempt: &Attempt) -> String {
    let id = attempt.chain.as_str();
    let suffix = id.get(id.len().saturating_sub(12)..).unwrap_or(id);
    format!("{PREFIX}{suffix}-{}-{}", attempt.step, attempt.attempt)
}

/// Runs an assistant; `again` for one that a former life of this process began.
pub(super) async fn run(place: &Place, live: &Arc<Live>, order: &Order, work: &AssistantWork, again: bool) -> Outcome {
    let began = match again {
        true => taken_up(place, live).await,
        false => Box::pin(begin(place, live, order, work)).await,
    };
    match began {
        Ok(Began::Cached(finished)) => Ok(*finished).into(),
        Ok(Began::Running { id, _shelf }) => {
            let outcome = Box::pin(attend(place, live, order, work, (&id, again))).await;
            outcome.unwrap_or_else(|error| Err(error).into())
        }
        Err(error) => Err(error).into(),
    }
}

enum Began {
    Cached(Box<Finished>),
    Running { id: ContainerId, _shelf: Option<Shelf> },
}

/// The container that a former life of this process began.
async fn taken_up(place: &Place, live: &Live) -> Result<Began, Error> {
    let lost = || Error::unavailable("the place restarted");
    if live.folder.begun().is_none() {
        return Err(lost());
    }
    let until = Instant::now() + AWAY;
    loop {
        match place.parts.engine.find(&name(&live.attempt)).await {
            Ok(Some(found)) if found.started_at.is_some() => {
                return Ok(Began::Running { id: found.id, _shelf: None });
            }
            Ok(_) => return Err(lost()),
            Err(error) if Instant::now() >= until => return Err(error.into()),
            Err(_) => sleep(PAUSE).await,
        }
    }
}

async fn begin(place: &Place, live: &Arc<Live>, order: &Order, work: &AssistantWork) -> Result<Began, Error> {
    let engine = &place.parts.engine;
    let making = Box::pin(timeout(BUILD, place.images.of(place, live, work)));
    let image = live.unless_ended(async { making.await.unwrap_or_else(|_| Err(too_long(BUILD))) }).await?;
    if image.entrypoint.is_empty() && image.cmd.is_empty() {
        let message = format!("{} has neither ENTRYPOINT nor CMD in its Dockerfile", work.assistant);
        return Err(Error::precondition(message).hint("say in its Dockerfile what runs"));
    }
    if work.deterministic
        && let Some(finished) = live.unless_ended(async { Ok(cache::find(place, &image.id, work).await) }).await?
    {
        live.log.say("the result of the same inputs is taken; nothing runs");
        return Ok(Began::Cached(Box::new(finished)));
    }
    let secrets = secrets(place, work).await?;
    live.folder.make()?;
    let fetching = Box::pin(timeout(INPUTS, place.patiently(async || fetch(place, live, work).await)));
    let fetched = live.unless_ended(async { Ok(fetching.await) }).await?;
    fetched.map_err(|_| Error::unavailable("the inputs of the step cannot be had: the bus is away"))??;
    let mut recipe = recipe(place, live, order, work);
    recipe.image.clone_from(&image.id);
    let shelf = match secrets.is_empty() {
        true => None,
        false => Some(init::wrap(&mut recipe, &image, &secrets, &live.folder.input())?),
    };
    let name = name(&live.attempt);
    if let Some(left) = engine.find(&name).await? {
        engine.remove(&left.id).await?;
    }
    let id = live.unless_ended(async { Ok(engine.create(&name, &recipe).await?) }).await?;
    let at = Timestamp::now().to_string();
    live.folder.keep_begun(&Begun { log_from: live.log.len(), at, image: image.id })?;
    fault::point(Point::PlaceMade);
    engine.start(&id).await.map_err(|error| match &error {
        EngineError::Refused { words, .. } => {
            Error::precondition(format!("{} cannot be started: {words}", work.assistant))
        }
        _ => error.into(),
    })?;
    fault::point(Point::PlaceStarted);
    Ok(Began::Running { id, _shelf: shelf })
}

/// Puts the inputs where the container finds them.
async fn fetch(place: &Place, live: &Live, work: &AssistantWork) -> Result<(), Error> {
    let input = live.folder.input();
    for (name, tree) in [("app", &work.app_tree), ("state", &work.state_tree)] {
        let path = input.join(name);
        let cleared = match fs::remove_dir_all(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        };
        cleared.map_err(|error| trouble("the inputs of a step cannot be replaced", &error))?;
        tree::fetch(&place.blobs, tree, &path).await?;
        let readable = fs::set_permissions(&path, fs::Permissions::from_mode(0o755));
        readable.map_err(|error| trouble("the inputs of a step cannot be opened", &error))?;
    }
    let next = input.join("state").join("next");
    fs::write(&next, "nil")
        .and_then(|()| fs::set_permissions(&next, fs::Permissions::from_mode(0o644)))
        .map_err(|error| trouble("the state of a step cannot be written", &error))
}

fn recipe(place: &Place, live: &Live, order: &Order, work: &AssistantWork) -> Recipe {
    let Attempt { chain, step, .. } = &live.attempt;
    let bind =
        |source: &Path, target: &str, writable| Bind { source: source.to_owned(), target: target.to_owned(), writable };
    let billionths = |cpus: f64| {
        // Between 10⁷ and 10¹², and so exact.
        (cpus.clamp(0.01, 1024.0) * 1e9).round() as u64
    };
    Recipe {
        env: vec![
            format!("AIGIS_APP={}", order.app),
            format!("AIGIS_CHAIN={chain}"),
            format!("AIGIS_STEP={step}"),
            format!("AIGIS_ASSISTANT={}", work.assistant),
            "AIGIS_USER_SOCKET=/in/user.sock".to_owned(),
        ],
        // As Docker has it: an image without one begins at the root.
        workingdir: None,
        labels: place.parts.mark.labels(format!("chain/{chain}")),
        binds: vec![bind(&live.folder.input(), "/in", false), bind(&live.folder.output(), "/out", true)],
        network: if work.network { "bridge" } else { "none" }.to_owned(),
        memory: Some(work.limits.memory_bytes.unwrap_or(MEMORY)),
        nano_cpus: work.limits.cpus.map(billionths),
        pids: Some(work.limits.pids.map_or(PIDS, u64::from)),
        ..Recipe::default()
    }
}

/// The environment variables that are secrets.
async fn secrets(place: &Place, work: &AssistantWork) -> Result<BTreeMap<String, Zeroizing<String>>, Error> {
    let Some(name) = &work.secret else { return Ok(BTreeMap::new()) };
    let names = BTreeSet::from([name.clone()]);
    match place.parts.vault.has(&names).await {
        Ok(()) => {}
        // They were removed meanwhile.
        Err(error) if error.code == Code::NotFound => return Ok(BTreeMap::new()),
        // Another place may open them.
        Err(error) => return Err(Error { code: Code::Unavailable, ..error }),
    }
    let values = place.parts.vault.values([name]);
    let Some(value) = values.get(name) else { return Ok(BTreeMap::new()) };
    let text =
        std::str::from_utf8(&value.bytes).map_err(|_| Error::invalid("the assistant's secrets are no UTF-8 text"))?;
    init::pairs(name.as_str(), text)
}

/// Attends a container until it has ended, and takes what it left. `again` says that a former life of this process began it.
async fn attend(
    place: &Place,
    live: &Arc<Live>,
    order: &Order,
    work: &AssistantWork,
    (id, again): (&ContainerId, bool),
) -> Result<Outcome, Error> {
    let begun = live.folder.begun();
    if let Some(begun) = &begun {
        // What was read of it before is read again, to the same places.
        live.log.cut(begun.log_from).map_err(|error| trouble("the log cannot be cut", &error))?;
    }
    let since = begun.and_then(|begun| OffsetDateTime::parse(&begun.at, &Rfc3339).ok());
    let mut used =
        since.map_or(Duration::ZERO, |since| Duration::try_from(OffsetDateTime::now_utc() - since).unwrap_or_default());
    let limit = Duration::from_secs(order.timeout_s);
    let masks = secrets(place, work).await.unwrap_or_default();
    let mask = Arc::new(Mask::of(masks.values().map(|value| value.as_bytes())));
    drop(masks);
    let mut pumping = Box::pin(pump(place, live, id, mask.clone()));
    let mut ending = Box::pin(ended(place, id));
    let told = Told { own: mask.clone(), all: place.parts.masks.clone() };
    let mut attending = Box::pin(user::attend(live.clone(), work.clone(), told));
    let mut clock = interval(TICK);
    clock.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut last = Instant::now();
    let (mut is_pumped, mut was_away) = (false, false);
    let why = loop {
        tokio::select! {
            biased;
            () = live.is_to_end() => break Some(live.why()),
            done = &mut ending => match done {
                Ok(away) => {
                    was_away = away;
                    break None;
                }
                Err(error) => break Some(error),
            },
            error = &mut attending => break Some(error),
            () = &mut pumping, if !is_pumped => is_pumped = true,
            now = clock.tick() => {
                if !live.is_asking() {
                    used += now.saturating_duration_since(last);
                }
                last = now;
                if used >= limit {
                    break Some(too_long(limit));
                }
            }
        }
    };
    drop((attending, ending));
    fault::point(Point::PlaceRan);
    let engine = &place.parts.engine;
    if why.is_some() {
        end(engine, id).await;
    }
    if !is_pumped {
        match why {
            // Nobody waits for all that was written by what had to be ended.
            Some(_) => drop(timeout(BEHIND.0, pumping).await),
            None => tokio::select! {
                () = catch_up(live, pumping) => {}
                () = live.is_to_end() => {}
            },
        }
    }
    if let Some(error) = why.as_ref().filter(|error| is_cancelled(error) || error.code == Code::Unavailable) {
        return Err(error.clone());
    }
    let found = engine.inspect(id).await?;
    let exit_code = found.exit_code.unwrap_or(-1);
    // An engine that goes takes with it what it runs; it may have gone and come back before this process did.
    let is_taken_down = was_away || (again && !found.oom_killed && TAKEN_DOWN.contains(&exit_code));
    if why.is_none() && exit_code != 0 && is_taken_down {
        return Err(Error::unavailable(format!("engine lost: the container ended with {exit_code} while it was away")));
    }
    let (input, output, assistant) = (live.folder.input(), live.folder.output(), work.assistant.clone());
    let left = tokio::task::spawn_blocking(move || collect::state(&input, &output, &assistant)).await;
    let left = left.map_err(|_| Error::internal("the thread that reads a state ended"))??;
    let remains = live.unless_ended(collect::remains(place, live, &left, exit_code)).await?;
    let result = match why {
        Some(error) => Err(error),
        None if found.oom_killed && exit_code != 0 => {
            let most = work.limits.memory_bytes.unwrap_or(MEMORY);
            let message = format!("{} was killed for memory: it may use {most} bytes", work.assistant);
            Err(Error::new(Code::ResourceExhausted, message).hint("let it use more: memory in its assistant.toml"))
        }
        None if exit_code != 0 => {
            Err(Error::precondition(format!("{} exited with {exit_code}", work.assistant)).with("exit_code", exit_code))
        }
        None => live.unless_ended(collect::finished(place, live, left, &remains)).await,
    };
    Ok(Outcome { result, remains })
}

/// Ends a container: TERM, 10 s, KILL; at once if its first process would wait out its time without a notice.
async fn end(engine: &Engine, id: &ContainerId) {
    let first = engine.inspect(id).await.ok().and_then(|found| found.pid);
    let ended = match first.is_some_and(|pid| host::is_deaf(pid, id)) {
        true => engine.signal(id, "SIGKILL").await,
        false => engine.stop(id, GRACE).await,
    };
    // One that is gone needs no end, and an engine that is away is asked again when it is swept.
    if let Err(error) = ended {
        tracing::debug!(%error, container = %id, "the container of a step is not ended");
    }
}

/// Resolves once a container has ended, and says whether the engine was away meanwhile; an error if nobody can tell.
async fn ended(place: &Place, id: &ContainerId) -> Result<bool, Error> {
    let (mut away, mut was_away): (Option<Instant>, bool) = (None, false);
    loop {
        match place.parts.engine.wait(id).await {
            Ok(_) => return Ok(was_away),
            Err(EngineError::NotFound { .. }) => return Err(Error::unavailable("the container of the step is gone")),
            Err(error) => {
                was_away = true;
                let since = *away.get_or_insert_with(Instant::now);
                if since.elapsed() >= AWAY {
                    return Err(Error::unavailable(format!("engine lost: {error}")));
                }
                // An engine that starts anew ends what it ran, and says so.
                if error.is_engine_away() {
                    tracing::debug!(%error, "the engine is waited for");
                } else {
                    away = None;
                }
                sleep(PAUSE).await;
            }
        }
    }
}

/// Brings what a container writes into the log, until it has ended.
pub(super) async fn pump(place: &Place, live: &Live, id: &ContainerId, mask: Arc<Mask>) {
    // The engine may end what it follows a moment before the last words are in it: then the rest is read once more. It is asked
    // for by its time, since what was read may be gone from the engine by then.
    let (mut follow, mut last) = (true, None);
    let (mut own, mut all) = (Masking::by(mask), place.parts.masks.stream());
    let put = |bytes: &[u8]| {
        if let Err(error) = live.log.append(bytes) {
            tracing::warn!(%error, "the log of a step cannot be written");
        }
    };
    loop {
        let since = last.map(|last| last + time::Duration::nanoseconds(1));
        let wanted = LogQuery { tail: None, since, follow, ..LogQuery::default() };
        match place.parts.engine.logs(id, false, &wanted).await {
            Ok(mut entries) => {
                let mut broken = false;
                while let Some(entry) = entries.next().await {
                    let Ok(entry) = entry else {
                        broken = true;
                        break;
                    };
                    last = entry.at.or(last);
                    let shown = own.push(&entry.bytes);
                    put(&all.push(&shown));
                }
                if !broken && std::mem::replace(&mut follow, false) {
                    continue;
                }
                if !broken {
                    let rest = own.finish();
                    put(&all.push(&rest));
                    put(&all.finish());
                    return;
                }
            }
            Err(EngineError::NotFound { .. }) => return,
            Err(error) => tracing::debug!(%error, "the log of a step is read again"),
        }
        sleep(PAUSE).await;
    }
}

/// Waits for the rest of a log as long as it grows. What is missing of it by then stays so.
async fn catch_up(live: &Live, mut pumping: impl Future<Output = ()> + Unpin) {
    let (least, longest) = BEHIND;
    let until = Instant::now() + longest;
    loop {
        let before = live.log.len();
        let is_whole = timeout(least, &mut pumping).await.is_ok();
        if is_whole || live.log.len() == before || Instant::now() >= until {
            return;
        }
    }
}

/// Removes an attempt's container, if there is one.
pub(super) async fn remove(place: &Place, attempt: &Attempt) {
    let engine = &place.parts.engine;
    let removed = async {
        match engine.find(&name(attempt)).await? {
            Some(found) => engine.remove(&found.id).await,
            None => Ok(()),
        }
    };
    if let Err(error) = removed.await {
        tracing::debug!(%error, %attempt, "the container of a step stays for now");
        place.left_over.store(true, Ordering::Relaxed);
    }
}

/// Removes containers of steps of this node that it knows nothing of, or whose attempts have ended.
pub(super) async fn sweep(place: &Place) {
    let Ok(listing) = place.parts.engine.list().await else {
        place.left_over.store(true, Ordering::Relaxed);
        return;
    };
    let running: BTreeSet<String> =
        place.attempts().values().filter(|live| !live.is_ended()).map(|live| name(&live.attempt)).collect();
    for container in listing.containers.values() {
        let is_ours = place.parts.mark.is_on(&container.labels);
        let is_step = container.name.starts_with(PREFIX) && !running.contains(&container.name);
        let is_test = container.name.starts_with(trial::PREFIX) && !place.trials.has(&container.name);
        if is_ours && (is_step || is_test) {
            tracing::info!(container = %container.name, "a container of a step is removed: nobody waits for it");
            if let Err(error) = place.parts.engine.remove(&container.id).await {
                tracing::debug!(%error, "it is removed later");
                place.left_over.store(true, Ordering::Relaxed);
            }
        }
    }
}
