//! A whole mesh over the real engine: `status` beside the engine's own time, names from the cache, a cold `aish list`,
//! and the node's memory.

use std::{
    hint::black_box,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use aigis_proxy::{
    Address, Bus, Name, Request, SkillPath, UserName,
    bus::Options,
    client::{self, Target},
    identity::Credential,
};
use aigis_registry::Cache;
use aigis_tests::{Container, Mesh, nonce};

use crate::{
    Effort,
    engine::{Engine, list_and_inspect_all},
    error::{Error, part, system},
    rounds::{median, middle},
    table::{Goal, Table, milliseconds},
};

/// The image of the containers that are asked.
const IMAGE: &str = "aigis-test/busybox";
/// What `status` may take beside the engine's own time and a plain request, for one container.
const ONE: Duration = Duration::from_millis(5);
/// The same for all containers at once.
const ALL: Duration = Duration::from_millis(10);
/// How often a name is resolved.
const NAMES: u32 = 200_000;

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
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(system("make a runtime"))?;
    runtime.block_on(over_the_bus(&mesh, &containers, effort, table))?;
    cold(&mesh, containers.len(), effort, table);
    memory(&mesh, containers.len(), table)
}

async fn over_the_bus(mesh: &Mesh, containers: &[Container], effort: Effort, table: &mut Table) -> Result<(), Error> {
    let file = mesh.user("olga", "operator");
    let credential = Credential::read(Path::new(&file), None).map_err(part("read the credential"))?;
    let options = Options { url: url(mesh)?, ca: None, credential: Arc::new(credential), label: "bench".to_owned() };
    let bus = Bus::connect(options).await.map_err(part("connect to the bus"))?;
    let targets = containers.iter().map(|container| target(&container.name)).collect::<Result<Vec<_>, _>>()?;
    one(&bus, containers, &targets, effort, table).await?;
    all(&bus, containers, &targets, effort, table).await?;
    let cache = Cache::open(&bus, None, Duration::from_secs(10)).await.map_err(part("fill the cache"))?;
    names(&cache, containers, table)
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
    let (mut ours, mut limits) = (Vec::new(), Vec::new());
    for turn in 0..=effort.asks {
        let request = echo(bus).await?;
        let limit = request + engine.inspect(&container.id).await? + engine.list().await? + ONE;
        let status = status(bus, target).await?;
        if turn > 0 {
            ours.push(status);
            limits.push(limit);
        }
    }
    let (ours, limit) = (middle(ours).as_secs_f64(), middle(limits).as_secs_f64());
    let shown = format!("{} (request + inspect + list + 5 ms)", milliseconds(limit));
    table.row("`status` of a container", milliseconds(ours), shown, ours / limit, Goal::AtMost(1.0));
    Ok(())
}

async fn all(
    bus: &Bus,
    containers: &[Container],
    targets: &[Target],
    effort: Effort,
    table: &mut Table,
) -> Result<(), Error> {
    let ids: Vec<String> = containers.iter().map(|container| container.id.clone()).collect();
    let (mut ours, mut limits) = (Vec::new(), Vec::new());
    for turn in 0..=effort.rounds {
        let limit = list_and_inspect_all(&ids).await? + ALL;
        let started = Instant::now();
        futures::future::try_join_all(targets.iter().map(|target| status(bus, target))).await?;
        let took = started.elapsed();
        if turn > 0 {
            ours.push(took);
            limits.push(limit);
        }
    }
    let (ours, limit) = (middle(ours).as_secs_f64(), middle(limits).as_secs_f64());
    let shown = format!("{} (list + inspect of all + 10 ms)", milliseconds(limit));
    let work = format!("`status` of {} containers at once", ids.len());
    table.row(&work, milliseconds(ours), shown, ours / limit, Goal::AtMost(1.0));
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

fn names(cache: &Cache, containers: &[Container], table: &mut Table) -> Result<(), Error> {
    let Some(container) = containers.first() else { return Ok(()) };
    let address = Address::parse(&container.name).map_err(part("read an address"))?;
    let started = Instant::now();
    for _ in 0..NAMES {
        black_box(cache.snapshot().resolve(black_box(&address)).map_err(part("resolve a name"))?);
    }
    let each = started.elapsed() / NAMES;
    let shown = format!("{} ns", each.as_nanos());
    table.row(
        "resolve a name from the cache",
        shown,
        "1,000 ns".to_owned(),
        each.as_secs_f64() * 1e6,
        Goal::AtMost(1.0),
    );
    Ok(())
}

fn cold(mesh: &Mesh, containers: usize, effort: Effort, table: &mut Table) {
    let times = (0..effort.rounds.max(5)).map(|_| mesh.aish(["list"]).good().took.as_secs_f64());
    let took = median(times);
    let work = format!("`aish list`, cold process, {containers} containers");
    table.row(&work, milliseconds(took), "60.0 ms".to_owned(), took / 0.060, Goal::AtMost(1.0));
}

fn memory(mesh: &Mesh, containers: usize, table: &mut Table) -> Result<(), Error> {
    let missing = || Error::Part { what: "measure the node's memory", reason: "it has no process".to_owned() };
    let pid = mesh.pid("node.pid").ok_or_else(missing)?.as_raw_nonzero();
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).map_err(system("measure the node's memory"))?;
    let kib: f64 = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:")?.trim().strip_suffix("kB")?.trim().parse().ok())
        .ok_or_else(missing)?;
    let mib = kib / 1_024.0;
    let work = format!("the node's memory, {containers} containers");
    table.row(&work, format!("{mib:.0} MB"), "30 MB".to_owned(), mib / 30.0, Goal::AtMost(1.0));
    Ok(())
}

fn url(mesh: &Mesh) -> Result<String, Error> {
    let text = std::fs::read(mesh.path().join("mesh.json")).map_err(system("read mesh.json"))?;
    let known: serde_json::Value = serde_json::from_slice(&text).map_err(part("read mesh.json"))?;
    known["bus"].as_str().map(str::to_owned).ok_or_else(|| part("read mesh.json")("it names no bus"))
}
