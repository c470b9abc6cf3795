//! A whole mesh over the real engine: `status` beside the engine's own time, and what the node itself takes.

use std::{
    hint::black_box,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use aigis_proxy::{
    Bus, Name, Request, SkillPath, UserName,
    bus::Options,
    client::{self, Target},
    identity::Credential,
};
use aigis_tests::{Container, Mesh, cpu_seconds, nonce, resident_bytes};

use crate::{
    Effort,
    engine::{Engine, list_and_inspect_all},
    error::{Error, part, system},
    rounds::{Figures, median, turns},
    runtimes::single,
    table::{Goal, Table, milliseconds},
};

/// The image of the containers that are asked.
const IMAGE: &str = "aigis-test/busybox";
/// What `status` may take beside the engine's own time and a plain request, for one container.
const ONE: Duration = Duration::from_millis(5);
/// The same for all containers at once.
const ALL: Duration = Duration::from_millis(10);
/// What a node may take from its start until it serves.
const READY: Duration = Duration::from_millis(100);

/// Measures all of it.
pub(crate) fn measure(effort: Effort, table: &mut Table) -> Result<(), Error> {
    let word = nonce();
    let containers: Vec<Container> = (0..effort.containers)
        .map(|n| Container::run(&format!("bench{n}-{word}"), &[], IMAGE, &["sleep", "3600"]))
        .collect();
    let mesh = Mesh::up();
    for container in &containers {
        // Returns when it is listed.
        drop(mesh.live(&container.name, &container.id));
    }
    single()?.block_on(over_the_bus(&mesh, &containers, effort, table))?;
    own(&mesh, containers.len(), effort, table)?;
    ready(&mesh, effort, table)
}

async fn over_the_bus(mesh: &Mesh, containers: &[Container], effort: Effort, table: &mut Table) -> Result<(), Error> {
    let file = mesh.user("olga", "operator");
    let credential = Credential::read(Path::new(&file), None).map_err(part("read the credential"))?;
    let options = Options { url: url(mesh)?, ca: None, credential: Arc::new(credential), label: "bench".to_owned() };
    let bus = Bus::connect(options).await.map_err(part("connect to the bus"))?;
    let targets = containers.iter().map(|container| target(&container.name)).collect::<Result<Vec<_>, _>>()?;
    one(&bus, containers, &targets, effort, table).await?;
    all(&bus, containers, &targets, effort, table).await
}

async fn one(
    bus: &Bus,
    containers: &[Container],
    targets: &[Target],
    effort: Effort,
    table: &mut Table,
) -> Result<(), Error> {
    let (Some(container), Some(target)) = (containers.first(), targets.first()) else { return Ok(()) };
    let mut engine = Engine::connect().await?;
    let mut rounds = Vec::new();
    for _ in 0..=effort.asks {
        let request = echo(bus).await?;
        let limit = request + engine.inspect(&container.id).await? + engine.list().await? + ONE;
        rounds.push((status(bus, target).await?, limit));
    }
    row("`status` of a container", "request + inspect + list + 5 ms", &rounds, table);
    Ok(())
}

/// What was measured beside the limits of the same turns; the first turn warms everything up.
fn row(work: &str, limit: &str, rounds: &[(Duration, Duration)], table: &mut Table) {
    let rounds = rounds.get(1..).unwrap_or_default();
    let seconds =
        |which: fn(&(Duration, Duration)) -> Duration| median(rounds.iter().map(|round| which(round).as_secs_f64()));
    let ratios = rounds.iter().map(|(ours, limit)| ours.as_secs_f64() / limit.as_secs_f64()).collect();
    let raw = format!("{} ({limit})", milliseconds(seconds(|round| round.1)));
    table.row(work, milliseconds(seconds(|round| round.0)), raw, &ratios, Goal::AtMost(1.0));
}

async fn all(
    bus: &Bus,
    containers: &[Container],
    targets: &[Target],
    effort: Effort,
    table: &mut Table,
) -> Result<(), Error> {
    let ids: Vec<String> = containers.iter().map(|container| container.id.clone()).collect();
    let mut rounds = Vec::new();
    for _ in 0..=effort.rounds {
        let limit = list_and_inspect_all(&ids).await? + ALL;
        let started = Instant::now();
        futures::future::try_join_all(targets.iter().map(|target| status(bus, target))).await?;
        rounds.push((started.elapsed(), limit));
    }
    let work = format!("`status` of {} containers at once", ids.len());
    row(&work, "list + inspect of all + 10 ms", &rounds, table);
    Ok(())
}

/// The time of a plain request and its reply: an own message through the own inbox, which is one way less than a
/// request, and so the stricter measure.
async fn echo(bus: &Bus) -> Result<Duration, Error> {
    let started = Instant::now();
    bus.echo().await.map_err(part("reach the bus"))?;
    Ok(started.elapsed())
}

async fn status(bus: &Bus, target: &Target) -> Result<Duration, Error> {
    let started = Instant::now();
    black_box(client::call(bus, target, Request::default()).await.map_err(part("ask for a status"))?);
    Ok(started.elapsed())
}

fn target(name: &str) -> Result<Target, Error> {
    Ok(Target {
        server: UserName::parse("alpha").map_err(part("name the server"))?,
        ci: Name::parse(name).map_err(part("name the CI"))?,
        path: SkillPath::parse("status").map_err(part("name the skill"))?,
        timeout: None,
    })
}

/// What the node takes while nobody asks it for anything.
fn own(mesh: &Mesh, containers: usize, effort: Effort, table: &mut Table) -> Result<(), Error> {
    let missing = || Error::Part { what: "measure the node", reason: "it has no process".to_owned() };
    let pid = mesh.pid("node.pid").ok_or_else(missing)?;
    let (mut memory, mut processor) = (Vec::new(), Vec::new());
    // What the questions before left behind is over.
    std::thread::park_timeout(effort.idle);
    for _ in 0..effort.idles {
        let (before, started) = (cpu_seconds(pid), Instant::now());
        while started.elapsed() < effort.idle {
            std::thread::park_timeout(effort.idle.saturating_sub(started.elapsed()));
        }
        processor.push((cpu_seconds(pid) - before) / started.elapsed().as_secs_f64());
        memory.push(mebibytes(resident_bytes(pid)));
    }
    let (memory, processor): (Figures, Figures) = (memory.into_iter().collect(), processor.into_iter().collect());
    let work = |what: &str| format!("the node's {what}, {containers} idle containers");
    let here = format!("{:.1} MB", memory.median());
    table.row(&work("memory"), here, "30 MB".to_owned(), &memory.times(1.0 / 30.0), Goal::AtMost(1.0));
    let here = format!("{:.1} % of a core", processor.median() * 100.0);
    table.row(&work("CPU"), here, "1 % of a core".to_owned(), &processor.times(100.0), Goal::AtMost(1.0));
    Ok(())
}

#[expect(clippy::cast_precision_loss, reason = "a process is smaller than 2^52 bytes")]
fn mebibytes(bytes: u64) -> f64 {
    bytes as f64 / 1024.0 / 1024.0
}

/// How long a second node takes from its start until it serves, with the bus up.
fn ready(mesh: &Mesh, effort: Effort, table: &mut Table) -> Result<(), Error> {
    let beside = mesh.joined("beta");
    let times: Vec<f64> = turns(effort.rounds, || {
        drop(beside.aish(["down"]).good());
        let started = Instant::now();
        beside.start();
        Ok::<_, Error>(started.elapsed().as_secs_f64())
    })?;
    let times: Figures = times.into_iter().collect();
    let here = milliseconds(times.median());
    let ratios = times.times(1.0 / READY.as_secs_f64());
    table.row("a node ready after its start", here, milliseconds(READY.as_secs_f64()), &ratios, Goal::AtMost(1.0));
    Ok(())
}

/// Where the mesh's bus listens.
pub(crate) fn url(mesh: &Mesh) -> Result<String, Error> {
    let text = std::fs::read(mesh.path().join("mesh.json")).map_err(system("read mesh.json"))?;
    let known: serde_json::Value = serde_json::from_slice(&text).map_err(part("read mesh.json"))?;
    known["bus"].as_str().map(str::to_owned).ok_or_else(|| part("read mesh.json")("it names no bus"))
}
