//! What people do with chains: end them, hold them, have them go on.

use aigis_tests::{Mesh, Running, docker, until};
use rustix::process::Signal;
use serde_json::Value;

use super::{COPY, LIMIT, Source, ended, interrupted};

const SLOW: &str = "echo begun\nfor i in $(seq 20); do date; sleep 1; done\n";

fn shown(mesh: &Mesh, id: &str) -> Value {
    mesh.aish(["chains", "show", id, "--json"]).good().json()
}

fn becomes(mesh: &Mesh, id: &str, status: &str) -> Value {
    until(&format!("{id} is {status}"), LIMIT, || {
        let chain = shown(mesh, id);
        (chain["status"] == status).then_some(chain)
    })
}

#[test]
fn chn_43_ctrl_c_ends_a_chain_and_leaves_nothing() {
    let (mesh, source) = (Mesh::up(), Source::new(&[("keep", "")]));
    let folder = source.assistant("slow", SLOW);
    let path = source.path();
    let mut push = Running::of_stderr(mesh.spawn(["push", path.to_str().unwrap(), "--assistant", &folder]));
    push.until("the step runs", LIMIT, |line| line.contains("[local:slow] begun").then_some(()));
    push.signal(Signal::INT);
    let ran = push.end(LIMIT);
    assert_eq!(ran.code, 130, "{ran:?}");
    let id = source.chain(&mesh)["id"].as_str().unwrap().to_owned();
    let chain = becomes(&mesh, &id, "cancelled");
    assert!(chain["status_reason"].as_str().is_some_and(|reason| !reason.is_empty()), "{chain}");
    until("no container is left", LIMIT, || {
        docker(None, &["ps", "-aq", "--filter", &format!("label=aigis.owner=chain/{id}")])
            .trim()
            .is_empty()
            .then_some(())
    });
}

#[test]
fn chn_45_a_chain_outlives_who_pushed_it() {
    let (mesh, source) = (Mesh::up(), Source::new(&[("keep", "")]));
    let folder = source.assistant("slow", &format!("{}{COPY}", SLOW.replace("20", "5")));
    let path = source.path();
    let mut push = Running::of_stderr(mesh.spawn(["push", path.to_str().unwrap(), "--assistant", &folder]));
    push.until("the step runs", LIMIT, |line| line.contains("[local:slow] begun").then_some(()));
    push.signal(Signal::KILL);
    let id = source.chain(&mesh)["id"].as_str().unwrap().to_owned();
    let ran = ended(mesh.aish(["chains", "follow", &id]), 0);
    assert!(ran.stderr.contains("[local:slow]"), "{}", ran.stderr);
    assert_eq!(shown(&mesh, &id)["status"], "done");
}

#[test]
fn chn_51_a_held_chain_says_who_why_and_until_when() {
    let (mesh, source) = (Mesh::up(), Source::new(&[("keep", "")]));
    source.known(&mesh, "then", COPY);
    let folder = source.assistant("slow", &format!("echo begun\nsleep 4\n{COPY}echo local:then > /out/state/next"));
    let id = source.begun(&mesh, &["--assistant", &folder]);
    let bare = mesh.aish(["chains", "hold", &id]);
    assert_eq!(bare.code, 2, "{bare:?}");
    let _held = mesh.aish(["chains", "hold", &id, "--why", "maintenance", "--until", "+8s"]).good();
    let chain = becomes(&mesh, &id, "held");
    assert_eq!(chain["hold"]["why"], "maintenance", "{chain}");
    assert!(chain["hold"]["by"].is_string() && chain["hold"]["until"].is_string(), "{chain}");
    let chain = becomes(&mesh, &id, "done");
    assert_eq!(chain["steps"].as_array().map(Vec::len), Some(2), "{chain}");

    let id = source.begun(&mesh, &["--assistant", &folder]);
    until("its step runs", LIMIT, || (shown(&mesh, &id)["steps"][0]["status"] == "running").then_some(()));
    let _held = mesh.aish(["chains", "hold", &id, "--why", "now", "--now"]).good();
    let _chain = becomes(&mesh, &id, "held");
    let _resumed = mesh.aish(["chains", "resume", &id]).good();
    let chain = becomes(&mesh, &id, "done");
    assert!(chain["steps"][0]["attempt"].as_u64() >= Some(2), "{chain}");
}

#[test]
fn chn_52_a_failed_chain_goes_on_where_it_is_told() {
    let (mesh, source) = (Mesh::up(), Source::new(&[("keep", "")]));
    source.known(&mesh, "picky", &format!("[ -e /in/state/good ]\n{COPY}"));
    let folder = source.assistant("first", &format!("{COPY}echo local:picky > /out/state/next"));
    let _ran = ended(source.push(&mesh, &["--assistant", &folder]), 1);
    let id = source.chain(&mesh)["id"].as_str().unwrap().to_owned();
    let _retried = mesh.aish(["chains", "retry", &id]).good();
    let chain = becomes(&mesh, &id, "failed");
    until("the second step ran again", LIMIT, || {
        let chain = shown(&mesh, &id);
        (chain["status"] == "failed" && chain["steps"][1]["attempt"].as_u64() >= Some(2)).then_some(())
    });
    assert_eq!(chain["steps"][0]["attempt"], 1, "{chain}");
    source.known(&mesh, "picky", COPY);
    let _retried = mesh.aish(["chains", "retry", &id, "--from", "1"]).good();
    until("the first step ran again", LIMIT, || {
        let chain = shown(&mesh, &id);
        (chain["status"].as_str().is_some_and(|status| status != "running" && status != "queued")
            && chain["steps"][0]["attempt"].as_u64() >= Some(2))
        .then_some(())
    });
    let done = Source::new(&[("keep", "")]);
    let folder = done.assistant("cp", COPY);
    let _ran = ended(done.push(&mesh, &["--assistant", &folder]), 0);
    let id = done.chain(&mesh)["id"].as_str().unwrap().to_owned();
    let refused = mesh.aish(["chains", "retry", &id]).failed(1);
    assert!(refused.stderr.contains("done"), "{refused:?}");
}

#[test]
fn chn_53_a_newer_push_takes_the_place_of_an_older_one() {
    let (mesh, source) = (Mesh::up(), Source::new(&[("keep", "")]));
    let slow = source.assistant("slow", &format!("{SLOW}{COPY}"));
    let quick = source.assistant("quick", COPY);
    let first = source.begun(&mesh, &["--assistant", &slow]);
    until("it runs", LIMIT, || (shown(&mesh, &first)["status"] == "running").then_some(()));
    let _ran = ended(source.push(&mesh, &["--assistant", &quick]), 0);
    let chain = becomes(&mesh, &first, "cancelled");
    assert!(chain["status_reason"].as_str().is_some_and(|reason| reason.contains("superseded by chn_")), "{chain}");

    let held = source.begun(&mesh, &["--assistant", &slow]);
    let _held = mesh.aish(["chains", "hold", &held, "--why", "waits", "--now"]).good();
    let _chain = becomes(&mesh, &held, "held");
    let refused = source.push(&mesh, &["--assistant", &quick]).failed(1);
    assert!(refused.stderr.contains("waits"), "{refused:?}");
    let _cancelled = mesh.aish(["chains", "cancel", &held]).good();
    let _chain = becomes(&mesh, &held, "cancelled");

    let brief = source.assistant("brief", &format!("sleep 3\n{COPY}"));
    let first = source.begun(&mesh, &["--assistant", &brief]);
    let _ran = ended(source.push(&mesh, &["--assistant", &quick, "--queue"]), 0);
    assert_eq!(shown(&mesh, &first)["status"], "done");
}

#[test]
fn chn_53_of_pushes_at_once_one_goes_on() {
    let (mesh, source) = (Mesh::up(), Source::new(&[("keep", "")]));
    let quick = source.assistant("quick", COPY);
    let _first = ended(source.push(&mesh, &["--assistant", &quick]), 0);
    let slow = source.assistant("slow", &format!("{SLOW}{COPY}"));
    let push = || source.begun(&mesh, &["--assistant", &slow]);
    let ids: Vec<String> = std::thread::scope(|scope| {
        let pushes: Vec<_> = (0..4).map(|_| scope.spawn(push)).collect();
        pushes.into_iter().map(|push| push.join().unwrap()).collect()
    });
    let over = |id: &String| {
        let chain = shown(&mesh, id);
        (!chain["ended_at"].is_null()).then_some(chain)
    };
    let chains = until("all have ended", LIMIT, || ids.iter().map(over).collect::<Option<Vec<_>>>());
    let (done, others): (Vec<_>, Vec<_>) = chains.iter().partition(|chain| chain["status"] == "done");
    assert_eq!(done.len(), 1, "{chains:?}");
    for other in others {
        let reason = other["status_reason"].as_str().unwrap();
        assert!(other["status"] == "cancelled" && reason.contains("superseded by chn_"), "{other}");
    }
}

#[test]
fn chn_46_a_chain_goes_on_after_its_coordinator_died() {
    let (mesh, source) = (Mesh::up(), Source::new(&[("keep", "")]));
    let folder = source.assistant("slow", &format!("{}{COPY}", SLOW.replace("20", "10")));
    let id = source.begun(&mesh, &["--assistant", &folder]);
    let mut follow = Running::of_stderr(mesh.spawn(["chains", "follow", &id]));
    follow.until("its step runs", LIMIT, |line| line.contains("[local:slow] begun").then_some(()));
    mesh.kill("node.pid");
    mesh.start();
    let chain = becomes(&mesh, &id, "done");
    assert_eq!(chain["steps"][0]["attempt"], 1, "{chain}");
}

/// The size of all files below a directory.
fn size(directory: &std::path::Path) -> u64 {
    let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
    let of = |entry: std::fs::DirEntry| match entry.metadata() {
        Ok(metadata) if metadata.is_dir() => size(&entry.path()),
        Ok(metadata) => metadata.len(),
        Err(_) => 0,
    };
    entries.map(of).sum()
}

/// Whether a process with that among its arguments runs on this machine.
fn runs(argument: &str) -> bool {
    let processes = std::fs::read_dir("/proc").unwrap().flatten();
    let mut lines = processes.filter_map(|process| std::fs::read(process.path().join("cmdline")).ok());
    lines.any(|line| line.split(|byte| *byte == 0).any(|word| word == argument.as_bytes()))
}

#[test]
fn chn_43_ctrl_c_during_an_upload_begins_nothing() {
    let (mesh, source) = (Mesh::up(), Source::new(&[("Dockerfile", "FROM busybox\nCMD true\n")]));
    let mut random = std::io::Read::take(std::fs::File::open("/dev/urandom").unwrap(), 400 << 20);
    let mut large = std::fs::File::create(source.path().join("large")).unwrap();
    std::io::copy(&mut random, &mut large).unwrap();
    let store = mesh.path().join("bus/store");
    let before = size(&store);
    let path = source.path();
    let push = Running::of_stderr(mesh.spawn(["push", path.to_str().unwrap()]));
    until("chunks are sent", LIMIT, || (size(&store) > before + (4 << 20)).then_some(()));
    push.signal(Signal::INT);
    let ran = push.end(LIMIT);
    assert_eq!(ran.code, 130, "{ran:?}");
    let chains = mesh.aish(["chains", "list", "--app", &source.name, "--json"]).good().json();
    assert_eq!(chains, serde_json::json!([]));
}

#[test]
fn chn_43_ctrl_c_ends_a_build() {
    let seconds = format!("9{}", std::process::id());
    let (mesh, source) = (Mesh::up(), Source::new(&[]));
    source.write("Dockerfile", &format!("FROM busybox\nRUN sleep {seconds}\nCMD true\n"));
    let path = source.path();
    let push = Running::of_stderr(mesh.spawn(["push", path.to_str().unwrap()]));
    until("it is built", LIMIT, || runs(&seconds).then_some(()));
    push.signal(Signal::INT);
    let ran = push.end(LIMIT);
    assert_eq!(ran.code, 130, "{ran:?}");
    until("nothing is built", LIMIT, || (!runs(&seconds)).then_some(()));
    let chain = becomes(&mesh, source.chain(&mesh)["id"].as_str().unwrap(), "cancelled");
    assert!(chain["status_reason"].as_str().is_some_and(|reason| reason.starts_with("cancelled by ")), "{chain}");
}

#[test]
fn chn_43_ctrl_c_ends_an_app_and_says_who() {
    let (mesh, source) = (Mesh::up(), Source::new(&[]));
    source.write("Dockerfile", "FROM busybox\nCMD echo begun; sleep 100000\n");
    let path = source.path();
    let mut push = Running::new(mesh.spawn(["push", path.to_str().unwrap()]));
    push.until("it runs", LIMIT, |line| (line == "begun").then_some(()));
    until("it serves", LIMIT, || (source.chain(&mesh)["status"] == "serving").then_some(()));
    interrupted(&mut push);
    let ran = push.end(LIMIT);
    assert_eq!(ran.code, 130, "{ran:?}");
    let id = source.chain(&mesh)["id"].as_str().unwrap().to_owned();
    let chain = becomes(&mesh, &id, "cancelled");
    assert!(chain["status_reason"].as_str().is_some_and(|reason| reason.contains("by ")), "{chain}");
    until("no container is left", LIMIT, || {
        docker(None, &["ps", "-aq", "--filter", &format!("label=aigis.owner=app/{}", source.name)])
            .trim()
            .is_empty()
            .then_some(())
    });
}
