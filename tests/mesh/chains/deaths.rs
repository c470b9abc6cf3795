//! What chains and apps stand on goes away, and comes back.

use std::{
    fs,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use aigis_tests::{Mesh, Running, docker, until};
use serde_json::Value;

use super::{COPY, LIMIT, Source, ended};

/// How long the bus is away.
const AWAY: Duration = Duration::from_secs(20);
/// More than a bus takes in before it is killed.
const LARGE: usize = 64 * 1024 * 1024;

/// A bus server that can be kept away: nodes start it by a link.
struct Server {
    folder: tempfile::TempDir,
}

impl Server {
    fn new() -> Self {
        let server = Self { folder: tempfile::tempdir().unwrap() };
        server.put();
        server
    }

    fn link(&self) -> PathBuf {
        self.folder.path().join("nats-server")
    }

    fn put(&self) {
        let named = std::env::var_os("AIGIS_NATS_SERVER").map(PathBuf::from);
        let path = std::env::var_os("PATH").unwrap_or_default();
        let found = std::env::split_paths(&path).map(|folder| folder.join("nats-server"));
        let program = named.into_iter().chain(found).find(|program| program.is_file()).expect("there is a nats-server");
        std::os::unix::fs::symlink(program, self.link()).unwrap();
    }

    /// Kills the bus, and keeps it away for a while.
    fn outage(&self, mesh: &Mesh) {
        fs::remove_file(self.link()).unwrap();
        mesh.kill("bus/nats-server.pid");
        let since = Instant::now();
        until("the bus was away", LIMIT, || (since.elapsed() > AWAY).then_some(()));
        self.put();
        until("the bus is back", LIMIT, || (mesh.aish(["nodes", "list", "--json"]).code == 0).then_some(()));
    }
}

fn size(folder: &Path) -> u64 {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let sizes = entries.map(|entry| match entry.file_type() {
        Ok(kind) if kind.is_dir() => size(&entry.path()),
        _ => entry.metadata().map_or(0, |about| about.len()),
    });
    sizes.sum()
}

fn own(source: &Source) -> String {
    format!("label=aigis.owner=app/{}", source.name)
}

/// When the only container of the app was started, with its id.
fn container(source: &Source) -> String {
    let ids = docker(None, &["ps", "--quiet", "--no-trunc", "--filter", &own(source)]);
    assert_eq!(ids.lines().count(), 1, "{ids:?}");
    docker(None, &["inspect", "--format", "{{.Id}} {{.State.StartedAt}} {{.RestartCount}}", &ids])
}

fn steps(chain: &Value) -> &[Value] {
    chain["steps"].as_array().map_or(&[], Vec::as_slice)
}

#[test]
fn chn_49_a_bus_that_goes_away_disturbs_nothing() {
    let server = Server::new();
    let mesh = Mesh::up_in(vec![("AIGIS_NATS_SERVER", server.link().display().to_string())]);
    let source = Source::new(&[("Dockerfile", "FROM busybox\nEXPOSE 8080\nCMD [\"httpd\",\"-f\",\"-p\",\"8080\"]\n")]);
    let mut noise = vec![0; LARGE];
    std::io::Read::read_exact(&mut fs::File::open("/dev/urandom").unwrap(), &mut noise).unwrap();
    fs::write(source.path().join("noise"), noise).unwrap();
    let slow = "echo begun\nfor i in $(seq 30); do date; sleep 1; done\ncp /in/app/Dockerfile /out/app/\n";
    source.known(&mesh, "slow", &format!("{slow}echo builtin:dockerfile > /out/state/next"));

    let (path, store) = (source.path(), mesh.path().join("bus"));
    let before = size(&store);
    let push = ["push", path.to_str().unwrap(), "--assistant", "local:slow", "--name", &source.name];
    let mut push = Running::of_stderr(mesh.spawn(push));
    until("a part has arrived", LIMIT, || (size(&store) > before + 2 * 1024 * 1024).then_some(()));
    assert!(!push.seen().iter().any(|line| line.contains("uploaded")), "{:?}", push.seen());
    server.outage(&mesh);

    push.until("the step runs", LIMIT, |line| line.contains("[local:slow] begun").then_some(()));
    server.outage(&mesh);

    push.until("the app has a place", LIMIT, |line| line.contains("http://localhost").then_some(()));
    let shown = || mesh.aish(["chains", "list", "--app", &source.name, "--json"]);
    until("the app serves", LIMIT, || {
        let shown = shown();
        (shown.code == 0 && shown.json()[0]["status"] == "serving").then_some(())
    });
    let serves = container(&source);
    server.outage(&mesh);
    assert_eq!(container(&source), serves, "its process goes on");

    let chain = until("the chain is told", LIMIT, || (shown().code == 0).then(|| source.chain(&mesh)));
    assert_eq!(chain["status"], "serving", "{chain}");
    assert_eq!(steps(&chain).len(), 3, "{chain}");
    assert!(steps(&chain).iter().all(|step| step["attempt"] == 1), "{chain}");
    let _removed = ended(mesh.aish(["apps", "rm", &source.name, "--yes"]), 0);
    let _ended = push.end(LIMIT);
}

#[test]
fn chn_48_a_step_that_no_place_takes_any_more_is_tried_again() {
    let (mesh, source) = (Mesh::up(), Source::new(&[("keep", "")]));
    source.known(&mesh, "then", COPY);
    let folder = source.assistant("first", &format!("sleep 5\n{COPY}echo local:then > /out/state/next"));
    let id = source.begun(&mesh, &["--assistant", &folder]);
    let shown = || mesh.aish(["chains", "show", &id, "--json"]).good().json();
    until("its first step runs", LIMIT, || (shown()["steps"][0]["status"] == "running").then_some(()));
    let cordoned = mesh.aish(["nodes", "cordon", "alpha"]);
    assert_eq!(cordoned.code, 0, "{cordoned:?}");
    until("its second step has no place", LIMIT, || (shown()["steps"][1]["status"] == "superseded").then_some(()));
    let uncordoned = mesh.aish(["nodes", "uncordon", "alpha"]);
    assert_eq!(uncordoned.code, 0, "{uncordoned:?}");
    let chain = until("it ends", LIMIT, || Some(shown()).filter(|chain| chain["status"] != "running"));
    assert_eq!(chain["status"], "done", "{chain}");
    assert!(steps(&chain)[1]["attempt"].as_u64() >= Some(2), "{chain}");
}

#[test]
fn chn_53_a_chain_is_not_tried_again_while_a_newer_one_goes_on() {
    let (mesh, source) = (Mesh::up(), Source::new(&[("keep", "")]));
    let fails = source.assistant("fails", "exit 3");
    let failed = source.begun(&mesh, &["--assistant", &fails]);
    let shown = |id: &str| mesh.aish(["chains", "show", id, "--json"]).good().json();
    until("it fails", LIMIT, || (shown(&failed)["status"] == "failed").then_some(()));
    let slow = source.assistant("slow", &format!("sleep 30\n{COPY}"));
    let newer = source.begun(&mesh, &["--assistant", &slow]);
    let refused = mesh.aish(["chains", "retry", &failed]).failed(1);
    assert!(refused.stderr.contains(&newer), "{refused:?}");
    let _cancelled = mesh.aish(["chains", "cancel", &newer]).good();
    until("it is over", LIMIT, || (shown(&newer)["status"] == "cancelled").then_some(()));
    let _retried = mesh.aish(["chains", "retry", &failed]).good();
    until("it has failed again", LIMIT, || {
        let chain = shown(&failed);
        (chain["status"] == "failed" && chain["steps"][0]["attempt"] == 2).then_some(())
    });
}
