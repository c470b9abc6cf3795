//! Steps in containers: a chain of several, beside as many work items that each are a `docker run`.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::Path,
    process::{Command, Stdio},
    time::{Duration, Instant, SystemTime},
};

use aigis_registry::Timestamp;
use aigis_tests::{Mesh, nonce};
use async_nats::jetstream::{self, consumer::pull, stream};
use futures::StreamExt as _;

use super::STEP;
use crate::{
    Effort,
    error::{Error, part, system},
    rounds::{median, turns},
    runtimes::single,
    table::{Goal, Table, milliseconds},
};

/// How many steps the chain of a round has.
const STEPS: u32 = 5;
/// How many steps a chain has whose results are known, how many such chains there are at once, and how many steps a second they are
/// to do together.
const KNOWN: u32 = 20;
const AT_ONCE: usize = 8;
const RATE: f64 = 1_000.0;

pub(super) fn measure(mesh: &Mesh, effort: Effort, table: &mut Table) -> Result<(), Error> {
    let folder = tempfile::tempdir().map_err(system("make a directory"))?;
    teach(mesh, folder.path())?;
    let raw = RawBus::start()?;
    let rounds = turns(effort.large.max(3), || -> Result<_, Error> {
        let ours = chain(mesh, folder.path())?;
        let floor = single()?.block_on(raw.run(folder.path()))?;
        Ok((ours / STEPS, floor / STEPS + STEP))
    })?;
    let seconds = |which: fn(&(Duration, Duration)) -> Duration| median(rounds.iter().map(|r| which(r).as_secs_f64()));
    let ratios = rounds.iter().map(|(ours, limit)| ours.as_secs_f64() / limit.as_secs_f64()).collect();
    let limit = format!("{} (work item + docker run + 5 ms)", milliseconds(seconds(|round| round.1)));
    table.row("a step of a chain, in a container", milliseconds(seconds(|r| r.0)), limit, &ratios, Goal::AtMost(1.0));
    empty(mesh, folder.path(), effort, table)
}

/// Steps that run nothing, since what comes of them is known: what the engine of chains itself can do.
fn empty(mesh: &Mesh, folder: &Path, effort: Effort, table: &mut Table) -> Result<(), Error> {
    let script = format!(
        "#!/bin/sh\nn=$(($(cat /in/state/count 2>/dev/null || echo 0) + 1))\necho $n > /out/state/count\n\
        [ $n -ge {KNOWN} ] || echo local:bench-count > /out/state/next\n"
    );
    assistant(mesh, &folder.join("bench-count"), &script, "network = \"none\"\ndeterministic = true\n")?;
    let path = folder.join("app");
    // The first turn, which does not count, runs them.
    for (work, chains) in [("one chain", 1), ("8 chains at once", AT_ONCE)] {
        let rates = turns(effort.large, || counted(mesh, &path, chains))?;
        let here = format!("{:.0} steps/s", median(rates.iter().copied()));
        let ratios = rates.iter().map(|rate| rate / RATE).collect();
        let name = format!("steps of known result, {work}");
        let goal = if chains > 1 { Goal::AtLeast(1.0) } else { Goal::None };
        table.row(&name, here, "1,000 steps/s".to_owned(), &ratios, goal);
    }
    Ok(())
}

/// Steps a second, of so many chains of as many apps.
fn counted(mesh: &Mesh, path: &Path, chains: usize) -> Result<f64, Error> {
    let mut ids = Vec::new();
    for chain in 0..chains {
        let name = format!("bench-count-{chain}");
        let options = ["--assistant", "local:bench-count", "--name", &name, "--replace", "--no-save", "--no-follow"];
        let pushed = mesh.aish([&["push", path.to_str().unwrap_or_default()][..], &options[..]].concat());
        if pushed.code != 0 {
            return Err(Error::Part { what: "push an app", reason: pushed.stderr });
        }
        ids.push(pushed.stdout.trim().to_owned());
    }
    let mut busy = Duration::ZERO;
    let mut steps = 0;
    let (mut first, mut last) = (None, None);
    for id in ids {
        // Followed, not asked again and again: that would be measured too.
        let followed = mesh.aish(["chains", "follow", &id]);
        let chain = mesh.aish(["chains", "show", &id, "--json"]).json();
        if followed.code != 0 {
            return Err(Error::Part { what: "follow a chain", reason: followed.stderr });
        }
        if chain["status"] != "done" {
            return Err(Error::Part { what: "run a chain", reason: chain["status_reason"].to_string() });
        }
        let at = |field: &str| -> Result<SystemTime, Error> {
            let text = chain[field].as_str().unwrap_or_default();
            text.parse::<Timestamp>().map(|at| SystemTime::from(at.time())).map_err(part("read a time"))
        };
        let (began, ended) = (at("created_at")?, at("ended_at")?);
        steps += KNOWN;
        busy += ended.duration_since(began).unwrap_or_default();
        first = Some(first.map_or(began, |first: SystemTime| first.min(began)));
        last = Some(last.map_or(ended, |last: SystemTime| last.max(ended)));
    }
    let whole = last.zip(first).and_then(|(last, first)| last.duration_since(first).ok()).unwrap_or(busy);
    Ok(f64::from(steps) / whole.as_secs_f64())
}

/// Makes known the assistants that each copy the app and name the next.
fn teach(mesh: &Mesh, folder: &Path) -> Result<(), Error> {
    for step in 1..=STEPS {
        let next = if step < STEPS { format!("local:bench-{}", step + 1) } else { "nil".to_owned() };
        let script = format!("#!/bin/sh\ncp -a /in/app/. /out/app/\necho {next} > /out/state/next\n");
        assistant(mesh, &folder.join(format!("bench-{step}")), &script, "network = \"none\"\n")?;
    }
    fs::create_dir_all(folder.join("app")).map_err(system("make a directory"))?;
    fs::write(folder.join("app/file"), nonce()).map_err(system("write an app"))
}

/// Makes an assistant known that is a script on busybox.
pub(super) fn assistant(mesh: &Mesh, folder: &Path, script: &str, settings: &str) -> Result<(), Error> {
    let write = |file: &str, text: &str| fs::write(folder.join(file), text).map_err(system("write an assistant"));
    fs::create_dir_all(folder).map_err(system("make a directory"))?;
    let name = folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
    write("name", &name)?;
    write("Dockerfile", "FROM busybox\nCOPY run /assistant\nENTRYPOINT [\"/assistant\"]\n")?;
    write("run", script)?;
    write("assistant.toml", settings)?;
    let executable = fs::Permissions::from_mode(0o755);
    fs::set_permissions(folder.join("run"), executable).map_err(system("write an assistant"))?;
    let pushed = mesh.aish(["assistants", "push", folder.to_str().unwrap_or_default()]);
    match pushed.code {
        0 => Ok(()),
        _ => Err(Error::Part { what: "push an assistant", reason: pushed.stderr }),
    }
}

/// The time that a chain takes from its record to its end.
fn chain(mesh: &Mesh, folder: &Path) -> Result<Duration, Error> {
    let failed = |reason: String| Error::Part { what: "run a chain", reason };
    let path = folder.join("app");
    let begun = Instant::now();
    let options = ["--assistant", "local:bench-1", "--name", "bench-steps", "--no-save", "--no-follow"];
    let pushed = mesh.aish([&["push", path.to_str().unwrap_or_default()][..], &options[..]].concat());
    let (id, pushing) = (pushed.stdout.trim().to_owned(), begun.elapsed());
    let begun = Instant::now();
    let followed = mesh.aish(["chains", "follow", &id]);
    if pushed.code != 0 || followed.code != 0 {
        return Err(failed(format!("{}{}", pushed.stderr, followed.stderr)));
    }
    tracing::debug!(?pushing, "the push");
    Ok(begun.elapsed())
}

/// A bus of the raw layer's own.
struct RawBus {
    child: std::process::Child,
    url: String,
    _store: tempfile::TempDir,
}

impl RawBus {
    fn start() -> Result<Self, Error> {
        let store = tempfile::tempdir().map_err(system("make a directory"))?;
        let ports = tempfile::tempdir().map_err(system("make a directory"))?;
        let program = std::env::var_os("AIGIS_NATS_SERVER").unwrap_or_else(|| "nats-server".into());
        let mut command = Command::new(program);
        command.args(["--addr", "127.0.0.1", "--port", "-1", "--jetstream", "--store_dir"]).arg(store.path());
        command.arg("--ports_file_dir").arg(ports.path()).stdout(Stdio::null()).stderr(Stdio::null());
        let child = command.spawn().map_err(system("start nats-server"))?;
        let file = ports.path().join(format!("nats-server_{}.ports", child.id()));
        let mut bus = Self { child, url: String::new(), _store: store };
        let started = Instant::now();
        while started.elapsed() < Duration::from_secs(20) {
            let text = fs::read_to_string(&file).unwrap_or_default();
            let told: serde_json::Value = serde_json::from_str(&text).unwrap_or_default();
            if let Some(url) = told["nats"][0].as_str() {
                url.clone_into(&mut bus.url);
                return Ok(bus);
            }
            std::thread::park_timeout(Duration::from_millis(20));
        }
        Err(Error::Part { what: "start nats-server", reason: "it named no port within 20 s".to_owned() })
    }

    /// The time of as many work items, each published by the one before it and each a `docker run` with the same mounts.
    async fn run(&self, folder: &Path) -> Result<Duration, Error> {
        let client = async_nats::connect(&self.url).await.map_err(part("connect to the raw bus"))?;
        let context = jetstream::new(client);
        let config = stream::Config {
            name: "WORK".to_owned(),
            subjects: vec!["work".to_owned()],
            retention: stream::RetentionPolicy::WorkQueue,
            ..stream::Config::default()
        };
        let work = context.get_or_create_stream(config).await.map_err(part("make a stream"))?;
        let config = pull::Config { durable_name: Some("worker".to_owned()), ..pull::Config::default() };
        let consumer = work.get_or_create_consumer("worker", config).await.map_err(part("make a consumer"))?;
        let mut items = consumer.messages().await.map_err(part("take work"))?;
        let (input, begun) = (folder.join("app"), Instant::now());
        publish(&context).await?;
        for step in 1..=STEPS {
            let item = items.next().await.and_then(Result::ok);
            let item = item.ok_or_else(|| Error::Part { what: "take work", reason: "none came".to_owned() })?;
            let output = tempfile::tempdir().map_err(system("make a directory"))?;
            run_container(&input, output.path())?;
            if step < STEPS {
                publish(&context).await?;
            }
            item.ack().await.map_err(part("acknowledge work"))?;
        }
        Ok(begun.elapsed())
    }
}

impl Drop for RawBus {
    fn drop(&mut self) {
        // It is only ours to wait for.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

async fn publish(context: &jetstream::Context) -> Result<(), Error> {
    let published = context.publish("work", "item".into()).await.map_err(part("publish work"))?;
    published.await.map(drop).map_err(part("publish work"))
}

fn run_container(input: &Path, output: &Path) -> Result<(), Error> {
    let mut command = Command::new("docker");
    command.args(["run", "--rm", "--network", "none", "--security-opt", "no-new-privileges", "--memory", "2g"]);
    command.arg("-v").arg(format!("{}:/in/app:ro", input.display()));
    command.arg("-v").arg(format!("{}:/out/app", output.display()));
    command.args(["busybox", "cp", "-a", "/in/app/.", "/out/app/"]);
    let ran = command.output().map_err(system("run docker"))?;
    if ran.status.success() {
        return Ok(());
    }
    Err(Error::Part { what: "run a container", reason: String::from_utf8_lossy(&ran.stderr).into_owned() })
}
