//! Chains over several hosts: steps run where they are placed, and go on when whoever had them dies.

use std::{fs, os::unix::fs::PermissionsExt as _, path::PathBuf, time::Duration};

use aigis_tests::{Fleet, Mesh, Ran, docker, nonce, until};
use rustix::process::Signal;
use serde_json::Value;

use crate::crew::operator;

/// A bound on every wait, far above what is granted: what is asked here is whether, not how soon.
pub(crate) const LIMIT: Duration = Duration::from_secs(180);
const COPY: &str = "cp -a /in/app/. /out/app/\n";

/// Something to push, an assistant, and who pushes it. The hosts share the machine's files.
pub(crate) struct Work {
    pub(crate) name: String,
    folder: tempfile::TempDir,
    creds: String,
}

impl Work {
    pub(crate) fn new(fleet: &Fleet, hosts: &[&str]) -> Self {
        for host in hosts {
            fleet.lab().engine(host).unwrap().load("busybox:latest").unwrap();
        }
        let work =
            Self { name: format!("app-{}", nonce()), folder: tempfile::tempdir().unwrap(), creds: operator(fleet) };
        fs::create_dir(work.path()).unwrap();
        work.write("keep", "kept\n");
        work
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join(&self.name)
    }

    pub(crate) fn write(&self, file: &str, content: &str) {
        fs::write(self.path().join(file), content).unwrap();
    }

    pub(crate) fn assistant(&self, name: &str, script: &str) -> String {
        let folder = self.folder.path().join(name);
        fs::create_dir(&folder).unwrap();
        fs::write(folder.join("name"), name).unwrap();
        fs::write(folder.join("Dockerfile"), "FROM busybox\nCOPY . /assistant\nENTRYPOINT [\"/assistant/run\"]\n")
            .unwrap();
        let run = folder.join("run");
        fs::write(&run, format!("#!/bin/sh\nset -e\n{script}\n")).unwrap();
        fs::set_permissions(&run, fs::Permissions::from_mode(0o755)).unwrap();
        folder.to_str().unwrap().to_owned()
    }

    pub(crate) fn aish(&self, mesh: &Mesh, args: &[&str]) -> Ran {
        mesh.aish([&["--creds", self.creds.as_str()], args].concat())
    }

    pub(crate) fn push(&self, mesh: &Mesh, options: &[&str]) -> Ran {
        let path = self.path();
        self.aish(mesh, &[&["push", path.to_str().unwrap()], options].concat())
    }

    pub(crate) fn begun(&self, mesh: &Mesh, options: &[&str]) -> String {
        let ran = self.push(mesh, &[options, &["--no-follow"]].concat());
        assert_eq!(ran.code, 0, "{ran:?}");
        ran.stdout.trim().to_owned()
    }
}

fn shown(mesh: &Mesh, id: &str) -> Option<Value> {
    let ran = mesh.aish(["chains", "show", id, "--json"]);
    (ran.code == 0).then(|| ran.json())
}

pub(crate) fn becomes(mesh: &Mesh, id: &str, what: &str, is: impl Fn(&Value) -> bool) -> Value {
    until(&format!("{id}: {what}"), LIMIT, || shown(mesh, id).filter(|chain| is(chain)))
}

pub(crate) fn slow(seconds: u32) -> String {
    format!("echo begun\nfor i in $(seq {seconds}); do date; sleep 1; done\n{COPY}")
}

#[test]
fn chn_54_chn_70_steps_run_where_they_are_asked_to() {
    let fleet = Fleet::shared();
    let (alpha, work) = (fleet.on("alpha"), Work::new(&fleet, &["beta"]));
    let _label = alpha.aish(["nodes", "label", "beta", &format!("for={}", work.name)]).good();
    until("the label is known", LIMIT, || {
        let nodes = alpha.aish(["nodes", "--json"]).good().stdout;
        nodes.contains(&work.name).then_some(())
    });
    let folder = work.assistant("greets", "printf 'FROM busybox\\nCMD [\"echo\", \"hello\"]\\n' > /out/app/Dockerfile\necho builtin:dockerfile > /out/state/next");
    for place in ["beta".to_owned(), format!("for={}", work.name)] {
        let ran = work.push(alpha, &["--assistant", &folder, "--on", &place]);
        assert_eq!((ran.code, ran.stdout.as_str()), (0, "hello\n"), "{}", ran.stderr);
        let chains = alpha.aish(["chains", "list", "--app", &work.name, "--json"]).good().json();
        let id = chains.as_array().unwrap().last().unwrap()["id"].as_str().unwrap().to_owned();
        let chain = shown(alpha, &id).unwrap();
        assert_eq!(chain["steps"][0]["node"], "beta", "{chain}");
    }
    let removed = work.aish(alpha, &["apps", "rm", &work.name, "--yes"]);
    assert_eq!(removed.code, 0, "{removed:?}");
}

#[test]
fn chn_46_another_coordinator_goes_on_and_the_step_runs_once() {
    let fleet = Fleet::alone();
    fleet.past_the_guard();
    let (alpha, work) = (fleet.on("alpha"), Work::new(&fleet, &["beta"]));
    let folder = work.assistant("slow", &slow(40));
    let id = work.begun(alpha, &["--assistant", &folder, "--on", "beta"]);
    let chain = becomes(alpha, &id, "its step runs", |chain| chain["steps"][0]["status"] == "running");
    let holder = chain["holder"]["node"].as_str().unwrap().to_owned();
    if holder == "alpha" || holder == "gamma" {
        assert!(fleet.lab().host(&holder).unwrap().node().unwrap().kill(), "{holder}");
    } else {
        println!("not run: the place itself holds the chain");
    }
    let watcher = fleet.on(if holder == "alpha" { "gamma" } else { "alpha" });
    let chain = becomes(watcher, &id, "it ends", |chain| chain["status"] == "done");
    assert_eq!(chain["steps"][0]["attempt"], 1, "{chain}");
}

#[test]
fn chn_48_a_step_runs_elsewhere_when_its_place_dies() {
    let fleet = Fleet::alone();
    fleet.past_the_guard();
    let (alpha, work) = (fleet.on("alpha"), Work::new(&fleet, &["beta", "gamma"]));
    let _cordoned = alpha.aish(["nodes", "cordon", "alpha"]);
    let folder = work.assistant("slow", &slow(8));
    let id = work.begun(alpha, &["--assistant", &folder]);
    let chain = becomes(alpha, &id, "its step runs", |chain| chain["steps"][0]["status"] == "running");
    let place = chain["steps"][0]["node"].as_str().unwrap().to_owned();
    assert_ne!(place, "alpha");
    fleet.lab().cut(&place).unwrap();
    let chain = becomes(alpha, &id, "it ends elsewhere", |chain| chain["status"] == "done");
    assert!(chain["steps"][0]["attempt"].as_u64() >= Some(2) && chain["steps"][0]["node"] != place.as_str(), "{chain}");
    fleet.lab().heal(&place).unwrap();
    // Its lease is back before it answers: each has a connection of its own.
    until("it answers again", LIMIT, || (alpha.aish([place.as_str(), "status"]).code == 0).then_some(()));
    let engine = fleet.lab().engine(&place).unwrap().host();
    until("the stale container is ended", LIMIT, || {
        let left = docker(Some(&engine), &["ps", "-q", "--filter", &format!("label=aigis.owner=chain/{id}")]);
        left.is_empty().then_some(())
    });
    let _uncordoned = alpha.aish(["nodes", "uncordon", "alpha"]);
}

#[test]
fn chn_37_three_apps_are_pushed_from_three_hosts_at_once() {
    let fleet = Fleet::shared();
    let works: Vec<(String, Work)> =
        fleet.nodes().map(|(host, _)| (host.to_owned(), Work::new(&fleet, &["alpha", "beta", "gamma"]))).collect();
    for (host, work) in &works {
        work.write("index.html", &format!("body of {host}"));
        work.write("Dockerfile", "FROM busybox\nCOPY index.html /www/index.html\nEXPOSE 8080\nCMD [\"httpd\",\"-f\",\"-p\",\"8080\",\"-h\",\"/www\"]\n");
    }
    let hosts: &Fleet = &fleet;
    std::thread::scope(|scope| {
        for (host, work) in &works {
            scope.spawn(move || {
                let ran = work.push(hosts.on(host), &["--until", "ready"]);
                assert_eq!(ran.code, 0, "{host}: {ran:?}");
            });
        }
    });
    let body = |host: &str, work: &Work| {
        let command = ["--creds", work.creds.as_str(), "apps", "forward", &work.name, "8080"];
        let mut forward = aigis_tests::Running::new(fleet.on("alpha").spawn(command));
        let port = forward.until("the port is here", LIMIT, |line| {
            line.split_once(" -> ")?.0.rsplit(':').next()?.trim().parse::<u16>().ok()
        });
        let body = until("it answers", LIMIT, || {
            aigis_tests::inside(fleet.lab().host("alpha").unwrap().namespace(), || {
                use std::io::{Read as _, Write as _};
                let mut stream = std::net::TcpStream::connect(("127.0.0.1", port)).ok()?;
                stream.write_all(b"GET / HTTP/1.0\r\n\r\n").ok()?;
                let mut answer = String::new();
                let _ = stream.read_to_string(&mut answer);
                (!answer.is_empty()).then_some(answer)
            })
        });
        forward.signal(Signal::INT);
        assert!(body.contains(&format!("body of {host}")), "{host}: {body}");
    };
    works.iter().for_each(|(host, work)| body(host, work));
    let chains = fleet.on("alpha").aish(["chains", "list", "--app", &works[0].1.name, "--json"]).good().json();
    let _cancelled = works[0].1.aish(fleet.on("alpha"), &["chains", "cancel", chains[0]["id"].as_str().unwrap()]);
    works[1..].iter().for_each(|(host, work)| body(host, work));
    for (_, work) in &works {
        let removed = work.aish(fleet.on("alpha"), &["apps", "rm", &work.name, "--yes"]);
        assert_eq!(removed.code, 0, "{removed:?}");
    }
}
