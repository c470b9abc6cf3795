//! The registry with many CIs: a cold `aish list`, and a name from the cache. The records are written by their node, as
//! always, and the node's lease is renewed.

use std::{
    hint::black_box,
    path::Path,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use aigis_proxy::{Address, Effect, Name, NodeName, Role, SkillPath};
use aigis_registry::{Cache, CiRecord, Container, Kind, LeaseKeeper, Registry, SkillNote, Timestamp};
use futures::{StreamExt, TryStreamExt, stream};
use tokio::runtime::Runtime;

use crate::{
    Effort,
    bus::BusServer,
    callee::SKILL,
    error::{Error, part, system},
    rounds::{Figures, median, turns},
    runtimes::shared,
    table::{Goal, Table, milliseconds},
};

/// The sizes of the registry for which a list is measured, and what a list may take.
const LISTS: [(usize, Duration); 2] = [(100, Duration::from_millis(60)), (10_000, Duration::from_millis(400))];
/// What a name may take, in seconds.
const NAME: f64 = 1e-6;
/// How many names a round resolves.
const NAMES: u32 = 200_000;
/// How many records are written at once.
const AT_ONCE: usize = 256;
/// How long things around the measurement may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// Measures all of it, while the registry grows.
pub(crate) fn measure(effort: Effort, table: &mut Table) -> Result<(), Error> {
    let server = BusServer::start_in_memory()?;
    let runtime = shared()?;
    runtime.block_on(server.create_store())?;
    let node = NodeName::parse(SKILL).map_err(part("name the node"))?;
    let lease = LeaseKeeper::start(server.options(SKILL, Role::Node)?, &node).map_err(system("renew a lease"))?;
    runtime.block_on(lease.ready(PATIENCE)).map_err(part("renew a lease"))?;
    let bus = runtime.block_on(server.connect(SKILL, Role::Node))?;
    let registry = Registry::new(bus.clone(), node.clone());
    let credential = server.credential_file("lisa", Role::Viewer)?;
    let mut written = 0;
    for (size, limit) in LISTS {
        write(&runtime, &registry, &node, written..size)?;
        written = size;
        list(server.url(), &credential, size, limit, effort, table)?;
    }
    write(&runtime, &registry, &node, written..effort.cis.max(written))?;
    let cache = runtime.block_on(Cache::open(&bus, None, PATIENCE)).map_err(part("fill the cache"))?;
    resolve(&cache, effort.cis, effort, table)
}

fn write(runtime: &Runtime, registry: &Registry, node: &NodeName, which: std::ops::Range<usize>) -> Result<(), Error> {
    let writing =
        stream::iter(which)
            .map(|number| async move {
                registry.put_ci(record(number, node)?).await.map_err(part("write a record")).map(drop)
            })
            .buffer_unordered(AT_ONCE)
            .try_collect::<()>();
    runtime.block_on(writing)
}

fn name(number: usize) -> String {
    format!("service-{number}")
}

/// A record as a node writes it of a container.
fn record(number: usize, node: &NodeName) -> Result<CiRecord, Error> {
    let name = name(number);
    let parsed = |text: &str| Name::parse(text).map_err(part("name a CI"));
    let mut record = CiRecord::new(parsed(&name)?, node.clone(), Kind::Container);
    record.aliases = vec![parsed(&format!("{name}-ci"))?];
    let skills = ["describe", "health", "logs", "message", "monitor", "services", "stats", "status"];
    let note = |path: &&str| {
        let path = SkillPath::parse(path).map_err(part("name a skill"))?;
        Ok(SkillNote { path, effect: Effect::Read, stream: false, timeout_s: None })
    };
    record.skills = skills.iter().map(note).collect::<Result<_, Error>>()?;
    record.container = Some(Container {
        id: format!("{number:064x}"),
        name,
        state: "running".to_owned(),
        health: None,
        exit_code: None,
        image: "nginx:1.27".to_owned(),
        image_id: format!("sha256:{number:064x}"),
        created_at: Some(Timestamp::now()),
    });
    Ok(record)
}

/// A fresh process that lists all.
fn list(
    url: &str,
    credential: &Path,
    size: usize,
    limit: Duration,
    effort: Effort,
    table: &mut Table,
) -> Result<(), Error> {
    let own = std::env::current_exe().map_err(system("find the own program"))?;
    let program = own.with_file_name("aish");
    let times = turns(effort.rounds, || {
        let mut command = Command::new(&program);
        command.args(["--bus", url, "--creds"]).arg(credential).arg("list").stdin(Stdio::null());
        // Not the mesh of this host.
        command.env("AIGIS_DATA", credential.with_extension("data"));
        let started = Instant::now();
        let output = command.output().map_err(system("run aish"))?;
        let took = started.elapsed().as_secs_f64();
        let live = String::from_utf8_lossy(&output.stdout).lines().filter(|line| line.contains("\tlive\t")).count();
        if live == size {
            return Ok(took);
        }
        let said = String::from_utf8_lossy(&output.stderr);
        Err(Error::Part { what: "list the CIs", reason: format!("{live} of {size} are live; {said}") })
    })?;
    let shown = milliseconds(median(times.iter().copied()));
    let ratios = times.into_iter().collect::<Figures>().times(1.0 / limit.as_secs_f64());
    let work = format!("`aish list`, cold process, {size} CIs");
    table.row(&work, shown, milliseconds(limit.as_secs_f64()), &ratios, Goal::AtMost(1.0));
    Ok(())
}

fn resolve(cache: &Cache, size: usize, effort: Effort, table: &mut Table) -> Result<(), Error> {
    let addresses: Vec<Address> = (0..1_000)
        .map(|step| Address::parse(&name(step * size / 1_000)).map_err(part("read an address")))
        .collect::<Result<_, _>>()?;
    let resolve_all = || -> Result<(), Error> {
        for (address, _) in addresses.iter().cycle().zip(0..NAMES) {
            black_box(cache.snapshot().resolve(black_box(address)).map_err(part("resolve a name"))?);
        }
        Ok(())
    };
    let times = turns(effort.rounds, || {
        let before = on_processor()?;
        resolve_all()?;
        Ok((on_processor()? - before) / f64::from(NAMES))
    })?;
    let mut result = Ok(());
    let allocations = allocation_counter::measure(|| result = resolve_all()).count_total;
    result?;
    let here = format!("{:.0} ns · {allocations} allocations", median(times.iter().copied()) * 1e9);
    // One allocation is as much of a miss as a name that takes too long.
    let allocated = f64::from(u32::try_from(allocations).unwrap_or(u32::MAX)) * 2.0;
    let ratios = times.into_iter().map(|time| (time / NAME).max(allocated)).collect();
    let work = format!("resolve a name among {size}");
    table.row(&work, here, "1,000 ns · 0 allocations".to_owned(), &ratios, Goal::AtMost(1.0));
    Ok(())
}

/// The seconds that this thread has had a processor: whatever else the machine does is left out.
fn on_processor() -> Result<f64, Error> {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").map_err(system("ask for processor time"))?;
    let nanoseconds: f64 =
        text.split(' ').next().unwrap_or_default().parse().map_err(part("ask for processor time"))?;
    Ok(nanoseconds / 1e9)
}
