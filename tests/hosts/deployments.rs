//! Projects that are deployed over several hosts, each with an engine of its own.

use std::{
    fs,
    sync::atomic::{AtomicBool, Ordering},
    thread,
};

use aigis_tests::{Fleet, Mesh, Ran, docker, nonce, until};
use serde_json::{Value, json};

use crate::{chains::LIMIT, crew::operator};

const SERVES: [&str; 6] = ["/bin/httpd", "-f", "-p", "8080", "-h", "/app"];

/// A project whose containers serve one directory. What hosts have of it goes with this.
struct Project<'a> {
    fleet: &'a Fleet,
    directory: tempfile::TempDir,
    name: String,
    creds: String,
}

impl<'a> Project<'a> {
    fn new(fleet: &'a Fleet, word: &str) -> Self {
        // Whoever builds takes the base from the engine of alpha; the others get it with the package.
        fleet.lab().engine("alpha").unwrap().load("busybox:latest").unwrap();
        let name = format!("shop-{}", nonce());
        let project = Self { fleet, directory: tempfile::tempdir().unwrap(), name, creds: operator(fleet) };
        project.write("index.html", word);
        project
    }

    fn write(&self, file: &str, content: &str) {
        fs::write(self.directory.path().join(file), content).unwrap();
    }

    /// What a container, or its CI, is called.
    fn called(&self, name: &str) -> String {
        format!("{name}-{}", self.name)
    }

    fn manifest(&self, containers: &[(&str, Value)]) {
        let container = |(name, keys): &(&str, Value)| {
            let mut all = json!({"base_image": "busybox", "applications": ["site"], "ports": [8080], "grace_s": 1});
            all.as_object_mut().unwrap().extend(keys.as_object().unwrap().clone());
            (self.called(name), all)
        };
        let manifest = json!({
            "manifest_version": "1.0", "project": {"name": self.name},
            "applications": {"site": {"type": "files", "run_command": SERVES}},
            "containers": containers.iter().map(container).collect::<serde_json::Map<_, _>>(),
        });
        self.write("aigis.json", &manifest.to_string());
    }

    fn path(&self) -> String {
        self.directory.path().to_str().unwrap().to_owned()
    }

    fn aish(&self, mesh: &Mesh, args: &[&str]) -> Ran {
        mesh.aish([&["--creds", self.creds.as_str()], args].concat())
    }

    fn deployed(&self) -> Value {
        let alpha = self.fleet.on("alpha");
        let ran = self.aish(alpha, &["deploy", &self.path(), "--json"]);
        assert_eq!(ran.code, 0, "{ran:?}\n{}", alpha.log());
        ran.json()
    }

    fn shown(&self, mesh: &Mesh) -> Option<Value> {
        let ran = mesh.aish(["deployments", "show", &self.name, "--json"]);
        (ran.code == 0).then(|| ran.json())
    }

    /// The names of its containers that run, on all hosts.
    fn running(&self) -> Vec<String> {
        let label = format!("label=aigis.deployment={}", self.name);
        let mut all = Vec::new();
        for host in ["alpha", "beta", "gamma"] {
            let engine = self.fleet.lab().engine(host).unwrap().host();
            let names = docker(Some(&engine), &["ps", "--filter", &label, "--format", "{{.Names}}"]);
            all.extend(names.lines().map(str::to_owned));
        }
        all.sort();
        all
    }

    fn removed(&self) {
        let ran = self.aish(self.fleet.on("alpha"), &["deployments", "remove", &self.name, "--volumes", "--yes"]);
        assert_eq!(ran.code, 0, "{ran:?}");
        assert!(self.running().is_empty());
    }
}

fn skills(described: &Value) -> Vec<&str> {
    described["skills"].as_array().unwrap().iter().filter_map(|skill| skill["path"].as_str()).collect()
}

#[test]
fn pkg_60_pkg_61_pkg_62_a_project_stands_on_two_hosts_and_is_asked_from_a_third() {
    let fleet = Fleet::shared();
    let word = format!("word-{}", nonce());
    let project = Project::new(&fleet, &word);
    let (api, db) = (project.called("api"), project.called("db"));
    let ci = format!("{api}-ci");
    let capabilities = json!(["monitor", "optimize", "debug"]);
    project.manifest(&[
        ("db", json!({"place": {"node": "alpha"}})),
        ("api", json!({"depends_on": [db], "place": {"node": "beta"}, "ci_name": ci, "ci_capabilities": capabilities})),
    ]);
    let deployed = project.deployed();
    let events = deployed["events"].as_array().unwrap();
    let at = |what: &str, name: &str| events.iter().position(|event| event["what"] == what && event["name"] == name);
    assert!(at("healthy", &db).unwrap() < at("created", &api).unwrap(), "{deployed}");
    // By its name, through the mesh.
    let beta = fleet.lab().engine("beta").unwrap().host();
    let url = format!("http://{db}:8080/index.html");
    assert_eq!(docker(Some(&beta), &["exec", &api, "wget", "-qO-", &url]), word);

    let gamma = fleet.on("gamma");
    let admin = fleet.on("alpha").user(&format!("ad-{}", nonce()), "admin");
    let as_admin = |args: &[&str]| gamma.aish([&["--creds", admin.as_str()], args].concat());
    let local = "http://127.0.0.1:8080/index.html";
    let fetched = until("the container of db is asked from gamma", LIMIT, || {
        let ran = as_admin(&["exec", &db, "--", "wget", "-qO-", local]);
        (ran.code == 0).then_some(ran.stdout)
    });
    assert_eq!(fetched, word);
    let status =
        until("the CI answers", LIMIT, || Some(gamma.aish([ci.as_str(), "status"])).filter(|ran| ran.code == 0));
    assert!(status.stdout.contains("running"), "{status:?}");
    let described = gamma.aish(["describe", &ci, "--json"]).good().json();
    let shown = gamma.aish(["packages", "show", &project.name, "--json"]).good().json();
    let image = shown["images"].as_array().unwrap().iter().find(|image| image["container"] == api.as_str()).unwrap();
    let told = &described["manifest"];
    assert_eq!(told["package"], shown["id"], "{told}");
    for digest in ["spec", "inputs", "output"] {
        assert_eq!(told[digest], image[digest], "{digest}");
    }
    let part = gamma.aish(["call", &format!("{ci}.manifest")]).good().json();
    assert!(part.to_string().contains("depends_on"), "{part}");
    let skills = skills(&described);
    for absent in ["exec", "logs", "stats"] {
        assert!(!skills.contains(&absent), "{skills:?}");
    }
    assert!(skills.contains(&"optimize.apply") && skills.contains(&"restart"), "{skills:?}");
    let refused = as_admin(&["exec", &ci, "--", "id"]);
    assert_eq!(refused.code, 65, "{refused:?}");
    project.removed();
}

#[test]
fn pkg_64_no_call_of_a_service_fails_while_its_replicas_are_replaced() {
    let fleet = Fleet::shared();
    let project = Project::new(&fleet, "first");
    let service = project.called("api");
    project.manifest(&[("api", json!({"replicas": 3, "ci_name": service}))]);
    project.deployed();
    assert_eq!(project.running().len(), 3);
    let (alpha, gamma) = (fleet.on("alpha"), fleet.on("gamma"));
    let _answers = until("the service answers", LIMIT, || {
        Some(gamma.aish([service.as_str(), "status"])).filter(|ran| ran.code == 0)
    });
    project.write("index.html", "second");
    let is_over = AtomicBool::new(false);
    let (failed, least) = thread::scope(|scope| {
        let calling = |mesh: &'static str| {
            let (is_over, service, fleet) = (&is_over, &service, &fleet);
            scope.spawn(move || {
                let mut failed = Vec::new();
                while !is_over.load(Ordering::Relaxed) {
                    let ran = fleet.on(mesh).aish(["call", &format!("{service}.status")]);
                    if ran.code != 0 {
                        failed.push(ran);
                    }
                }
                failed
            })
        };
        let callers = [calling("gamma"), calling("beta")];
        let mut deploying = alpha.running(["--creds", &project.creds, "deploy", &project.path()]);
        let mut least = 3;
        until("it ends", LIMIT, || {
            least = least.min(project.running().len());
            deploying.has_ended().then_some(())
        });
        let ran = deploying.end(LIMIT);
        is_over.store(true, Ordering::Relaxed);
        let failed: Vec<Ran> = callers.into_iter().flat_map(|caller| caller.join().unwrap()).collect();
        assert_eq!(ran.code, 0, "{ran:?}");
        (failed, least)
    });
    assert!(failed.is_empty(), "{failed:?}");
    assert!(least >= 2, "only {least} of three ran");
    for name in project.running() {
        let page = ["alpha", "beta", "gamma"].into_iter().find_map(|host| {
            let engine = fleet.lab().engine(host).unwrap().host();
            let is_there = !docker(Some(&engine), &["ps", "-q", "--filter", &format!("name=^{name}$")]).is_empty();
            is_there.then(|| docker(Some(&engine), &["exec", &name, "cat", "/app/index.html"]))
        });
        assert_eq!(page.as_deref(), Some("second"), "{name}");
    }
    project.removed();
}

#[test]
fn pkg_68_another_node_ends_a_release_whose_carrier_is_killed_in_the_middle() {
    let fleet = Fleet::alone();
    fleet.past_the_guard();
    let project = Project::new(&fleet, "first");
    project.manifest(&[("api", json!({"replicas": 3}))]);
    project.deployed();
    project.write("index.html", "second");
    let alpha = fleet.on("alpha");
    let built = project.aish(alpha, &["packages", "build", &project.path()]);
    assert_eq!(built.code, 0, "{built:?}");
    let mut deploying = alpha.running(["--creds", &project.creds, "deploy", built.stdout.trim()]);
    let carrier = until("the first replica is replaced", LIMIT, || {
        let shown = project.shown(alpha)?;
        let is_replaced = shown["events"].as_array()?.iter().any(|event| event["what"] == "replaced");
        (is_replaced && shown["release"]["n"] == 2).then(|| shown["carried_by"].as_str().map(str::to_owned)).flatten()
    });
    assert!(fleet.lab().host(&carrier).unwrap().node().unwrap().kill(), "{carrier}");
    let watcher = fleet.on(if carrier == "alpha" { "gamma" } else { "alpha" });
    let shown = until("another node has it", LIMIT, || {
        project.shown(watcher).filter(|shown| shown["carried_by"] != json!(carrier) && shown["release"]["n"] == 2)
    });
    // Its own replica waits for it.
    fleet.on(&carrier).start();
    let ended =
        until("it ends", LIMIT, || project.shown(watcher).filter(|shown| shown["release"]["outcome"] != "running"));
    assert!(
        ended["release"]["outcome"] == "deployed" || ended["release"]["outcome"] == "rolled_back",
        "{shown} {ended}"
    );
    until("the command ends", LIMIT, || deploying.has_ended().then_some(()));
    let _told = deploying.end(LIMIT);
    let expected: Vec<String> = (1..=3).map(|number| format!("{}-{number}", project.called("api"))).collect();
    assert_eq!(project.running(), expected, "one container for each replica");
    project.removed();
}
