//! Apps that run: their output, their end, their ports, their place in the mesh.

use std::{
    io::{Read as _, Write as _},
    net::TcpStream,
    time::Duration,
};

use aigis_tests::{Mesh, Running, docker, until};

use super::{LIMIT, Source, ended};

/// A port of an app, on this host.
pub(crate) struct Forward {
    _running: Running,
    address: String,
}

/// Brings a port of an app here.
pub(crate) fn forward(mesh: &Mesh, app: &str, port: &str) -> Forward {
    let mut running = Running::new(mesh.spawn(["apps", "forward", app, port]));
    let address = running.until("the port is here", LIMIT, |line| {
        let (url, _) = line.split_once(" -> ")?;
        Some(url.rsplit("http://").next()?.trim().replace("localhost", "127.0.0.1"))
    });
    Forward { _running: running, address }
}

impl Forward {
    /// What a GET answers, head and all.
    pub(crate) fn get(&mut self, path: &str) -> String {
        until("it answers", LIMIT, || get(&self.address, path))
    }
}

/// What a GET answers there, head and all, if anything does.
pub(crate) fn get(address: &str, path: &str) -> Option<String> {
    let mut stream = TcpStream::connect(address).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").ok()?;
    let mut answer = String::new();
    let _ = stream.read_to_string(&mut answer);
    (!answer.is_empty()).then_some(answer)
}

/// Ends an app, and all that it has.
pub(crate) fn removed(mesh: &Mesh, source: &Source) {
    gone(mesh, &source.name);
}

/// Ends an app of that name, and all that it has.
pub(crate) fn gone(mesh: &Mesh, app: &str) {
    let _removed = ended(mesh.aish(["apps", "rm", app, "--data", "--yes"]), 0);
    until("no container is left", LIMIT, || containers(app).is_empty().then_some(()));
}

pub(crate) fn containers(app: &str) -> Vec<String> {
    let listed = docker(None, &["ps", "-aq", "--no-trunc", "--filter", &format!("label=aigis.owner=app/{app}")]);
    listed.split_whitespace().map(str::to_owned).collect()
}

/// A page on 8080.
pub(crate) const WEB: &str = "FROM busybox\nCOPY index.html /www/index.html\nEXPOSE 8080\nCMD [\"httpd\", \"-f\", \"-p\", \"8080\", \"-h\", \"/www\"]\n";

/// An app that is a page.
pub(crate) fn web(body: &str) -> Source {
    Source::new(&[("Dockerfile", WEB), ("index.html", body)])
}

#[test]
fn chn_23_what_an_app_prints_comes_as_it_prints() {
    let (mesh, source) = (Mesh::up(), Source::new(&[]));
    source.write("Dockerfile", "FROM busybox\nCMD echo first; echo wrong >&2; sleep 4; echo second\n");
    let path = source.path();
    let mut push = Running::new(mesh.spawn(["push", path.to_str().unwrap()]));
    push.until("the first line", LIMIT, |line| (line == "first").then_some(()));
    assert!(!push.has_ended());
    let ran = push.end(LIMIT);
    assert!(ran.code == 0 && ran.stderr.contains("wrong\n"), "{ran:?}");
    assert_eq!(push_lines(&ran.stdout), ["first", "second"]);
}

fn push_lines(stdout: &str) -> Vec<&str> {
    stdout.lines().collect()
}

#[test]
fn chn_24_an_app_that_fails_says_how() {
    let (mesh, source) = (Mesh::up(), Source::new(&[("Dockerfile", "FROM busybox\nCMD exit 7\n")]));
    let ran = ended(source.push(&mesh, &[]), 1);
    assert!(ran.stderr.contains("exited with 7"), "{}", ran.stderr);
    assert_eq!(source.state("exit").as_deref().map(str::trim), Some("7"));
    assert!(containers(&source.name).is_empty());
}

#[test]
fn chn_25_an_app_is_built_run_and_mended_until_it_runs() {
    let (mesh, source) = (Mesh::up(), Source::new(&[("tries", "")]));
    source.write("Dockerfile", "FROM busybox\nCOPY . /app\nCMD echo ran; [ -e /app/ok ]\n");
    source.write(".aigis/after", "local:fix");
    source.known(
        &mesh,
        "fix",
        "grep -q ran /in/state/log\ncp -a /in/app/. /out/app/\necho x >> /out/app/tries\n\
        [ $(wc -l < /out/app/tries) -lt 2 ] || touch /out/app/ok\necho builtin:dockerfile > /out/state/next",
    );
    let _ran = ended(source.push(&mesh, &[]), 0);
    let round = ["builtin:dockerfile", "builtin:exec", "local:fix"];
    let expected = [&round[..], &round[..], &round[..2]].concat();
    assert_eq!(source.steps(&mesh), expected);
    assert!(source.read("ok").is_some());
}

#[test]
fn chn_59_an_app_is_a_ci_and_its_container_is_none() {
    let (mesh, source) = (Mesh::up(), web("here"));
    let _ran = ended(source.push(&mesh, &["--until", "ready"]), 0);
    let name = source.name.as_str();
    // At once: who was told that it is ready knows it by its name.
    let status = mesh.aish([name, "status", "--json"]).good().json();
    let ids = containers(name);
    assert_eq!(ids.len(), 1);
    let image = docker(None, &["inspect", "--format", "{{.Image}}", &ids[0]]);
    assert_eq!(status["image"]["id"].as_str(), Some(image.trim()), "{status}");
    assert_eq!(status["ports"], serde_json::json!([8080]), "{status}");
    let rows = mesh.aish(["list", "--kind", "app", "--json"]).good().json();
    assert_eq!(rows.as_array().unwrap().iter().filter(|row| row["name"] == name).count(), 1, "{rows}");
    let all = mesh.aish(["list", "--json"]).good().stdout;
    assert!(!all.contains(&format!("aigis-{name}")), "{all}");
    let _restarted = mesh.aish([name, "restart", "--yes"]).good();
    until("it answers again", LIMIT, || (mesh.aish([name, "health"]).code == 0).then_some(()));
    removed(&mesh, &source);
}

#[test]
fn chn_58_an_app_outlives_its_nodes_process() {
    let (mesh, source) = (Mesh::up(), web("stays"));
    let _ran = ended(source.push(&mesh, &["--until", "ready"]), 0);
    let before = containers(&source.name);
    mesh.kill("node.pid");
    mesh.start();
    let mut forward = forward(&mesh, &source.name, "8080");
    assert!(forward.get("/").contains("stays"));
    assert_eq!(containers(&source.name), before);
    removed(&mesh, &source);
}

#[test]
fn chn_60_a_name_that_another_has_is_refused() {
    let (mesh, source) = (Mesh::up(), web("one"));
    let _ran = ended(source.push(&mesh, &["--until", "ready"]), 0);
    let other = web("two");
    let refused = other.push(&mesh, &["--name", &source.name]).failed(1);
    assert!(refused.stderr.contains(&source.name), "{refused:?}");
    let _ran = ended(other.push(&mesh, &["--name", &source.name, "--replace", "--until", "ready"]), 0);
    let mut forward = forward(&mesh, &source.name, "8080");
    assert!(forward.get("/").contains("two"));
    removed(&mesh, &source);
}

#[test]
fn chn_42_a_version_that_never_listens_leaves_the_old_one() {
    let (mesh, source) = (Mesh::up(), web("old"));
    let _ran = ended(source.push(&mesh, &["--until", "ready"]), 0);
    source.write("Dockerfile", "FROM busybox\nEXPOSE 8080\nCMD sleep 1000\n");
    let _ran = ended(source.push(&mesh, &["--until", "ready", "--ready-timeout", "3s"]), 1);
    let mut forward = forward(&mesh, &source.name, "8080");
    assert!(forward.get("/").contains("old"));
    removed(&mesh, &source);
}

#[test]
fn chn_44_an_app_that_ignores_signals_is_killed_at_the_third() {
    let (mesh, source) = (Mesh::up(), Source::new(&[]));
    source.write(
        "Dockerfile",
        "FROM busybox\nCMD trap 'echo heard' INT TERM; echo begun; while true; do sleep 1; done\n",
    );
    let path = source.path();
    let mut push = Running::new(mesh.spawn(["push", path.to_str().unwrap()]));
    push.until("it runs", LIMIT, |line| (line == "begun").then_some(()));
    until("it serves", LIMIT, || (source.chain(&mesh)["status"] == "serving").then_some(()));
    for _ in 0..2 {
        push.signal(rustix::process::Signal::INT);
        push.until("it is heard", LIMIT, |line| (line == "heard").then_some(()));
    }
    push.signal(rustix::process::Signal::INT);
    let ran = push.end(LIMIT);
    assert_eq!(ran.code, 130, "{ran:?}");
    until("no container is left", LIMIT, || containers(&source.name).is_empty().then_some(()));
}
